"""The files of a data set: images with their masks, and what lies beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segcrit.core.atomic import user_path
from segcrit.core.errors import DataError
from segcrit.core.names import near_names
from segcrit.data.files.formats import stem
from segcrit.data.folders.pairing import Pairing, pair_beside, pair_names, split_word
from segcrit.data.folders.places import Place, find_places, nothing_readable
from segcrit.data.folders.splits import listed_names, name_index, resolve, split_files
from segcrit.data.folders.walking import Found, find_images
from segcrit.data.model import SPLITS, Case, Split
from segcrit.data.problems import FolderError, Problem, named, several

__all__ = [
    "Layout",
    "beside",
    "check_root",
    "find_files",
    "images_in",
    "most_common",
    "pair_up",
    "read_valid_areas",
    "train_label_files",
]


@dataclass
class Layout:
    """The files of every case, and what was noticed while looking for them.

    Attributes:
        cases: by id.
        problems: what does not fit.
        notes: what was decided.
        splits: what the folders of the images, or lists that belong to the layout, tell.
        aliases: names of a case's files -> id, for lists and for what lies beside the images.
        around: folders in which a description of the classes may lie.
    """

    cases: dict[str, Case]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[Split, tuple[str, ...]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    around: list[Path] = field(default_factory=list)


def check_root(path: str | Path) -> Path:
    """The data folder as an absolute path.

    Raises:
        DataError: there is no such folder.
    """
    root = user_path(path)
    if root.is_dir():
        return root.absolute()
    if root.is_file():
        raise DataError("a data folder with images/ and masks/", f"the file {root}", "Give the folder that holds it.")
    beside = [entry.name for entry in root.parent.iterdir() if entry.is_dir()] if root.parent.is_dir() else []
    near = near_names(root.name, beside, most=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise DataError("a data folder with images/ and masks/", f"{root}, which does not exist", f"Check the path.{hint}")


def find_files(root: Path, pattern: str | None = None) -> Layout:
    """The cases of a folder in one of the layouts of :func:`find_places`, perhaps with weights/.

    Args:
        root: the folder.
        pattern: an expression that finds in each name what images and masks share.

    Raises:
        FolderError: a folder is missing or holds no images.
    """
    layout = Layout({})
    places = find_places(root)
    listed = listed_names(split_files(root / "splits").values()) if (root / "splits").is_dir() else None
    for place in places:
        # VOC lists the labelled images; where its lists name others, these are left out.
        _read_place(place, layout, pattern, [] if listed is None and _voc_lists(place) else listed)
    _shorten(layout)
    _lists_of_voc(places, layout)
    layout.around = [root, *dict.fromkeys(place.around for place in places), *(place.masks for place in places)]
    if (
        [place.prefix for place in places] != [""]
        or places[0].images.name != "images"
        or places[0].masks.name != "masks"
    ):
        shown = [f"{place.images.relative_to(root)}/ with {place.masks.relative_to(root)}/" for place in places]
        layout.notes.insert(0, f"Images and masks are read from {named(shown, 3)}.")
    if (root / "weights").is_dir():
        _read_weights(root / "weights", layout, pattern)
    return layout


def _read_place(place: Place, layout: Layout, pattern: str | None, listed: Sequence[str] | None) -> None:
    """Add the cases of one place; ids are the names below it, with its prefix."""
    images, masks = (
        images_in(folder, layout, name) for folder, name in ((place.images, "images"), (place.masks, "masks"))
    )
    if place.masks.name.lower() == "gtfine":
        hidden = [name for name in masks if split_word(name.split("/")[0]) == "test"]
        if hidden:
            layout.notes.append(
                "The label maps of Cityscapes' test images are empty by intent, and left out with their images."
            )
            masks = {name: path for name, path in masks.items() if name not in hidden}
    pairing = pair_names(images, masks, pattern)
    if pairing.how:
        layout.notes.append(pairing.how)
    _tell_leftovers(pairing, layout, listed)
    for key in pairing.common:
        image, mask = pairing.first[key], pairing.second[key]
        folder, _, base = image.rpartition("/")
        # Where folders were left out to pair them, those of the image still tell its split and its scene.
        own = f"{folder}/{key}" if folder and "/" not in key and key in base else key
        name, *others = (f"{place.prefix}/{part}" if place.prefix else part for part in (own, image, mask))
        layout.cases[name] = Case((images[image],), masks[mask])
        layout.aliases |= dict.fromkeys(others, name)


def images_in(folder: Path, layout: Layout, kind: str = "images") -> dict[str, Path]:
    """The image files of a folder and its folders by their names; what is odd becomes a note or a problem.

    Raises:
        FolderError: there is none.
    """
    found = find_images(folder)
    if not found.files:
        raise FolderError([nothing_readable(folder, kind, found.skipped)])
    _tell_found(found, folder, layout)
    return found.files


def _tell_found(found: Found, folder: Path, layout: Layout) -> None:
    if found.twice:
        names = [path.name for paths in found.twice.values() for path in paths[1:]]
        layout.problems.append(
            Problem.error(
                "same-name",
                f"one file a name in {folder}",
                f"{several(names, 'name')} twice: {named(names)}",
                "Rename or remove one of the two.",
                names,
            )
        )
    if found.skipped:
        layout.notes.append(
            f"{len(found.skipped)} files in {folder.name}/ are no images and were passed over: {named(found.skipped, 3)}."
        )
    if found.folders:
        inside = sorted(found.folders)
        layout.notes.append(f"{folder.name}/ is read with the folders in it: {named(inside, 3)}.")


def pair_up(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    layout: Layout,
    pattern: str | None = None,
    listed: Sequence[str] | None = None,
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by the id that they share; what is left over becomes a problem or a note."""
    pairing = pair_names(images, masks, pattern)
    if pairing.how:
        layout.notes.append(pairing.how)
    _tell_leftovers(pairing, layout, listed)
    layout.aliases |= {name: key for side in (pairing.first, pairing.second) for key, name in side.items()}
    return (
        {key: images[name] for key, name in pairing.first.items()},
        {key: masks[name] for key, name in pairing.second.items()},
    )


def _tell_leftovers(pairing: Pairing, layout: Layout, listed: Sequence[str] | None) -> None:
    """Files without a partner: a problem, unless no split needs them or no file of their folder has one."""
    common = set(pairing.common)
    with_partner = {_top(key) for key in common}
    index = name_index([*pairing.first, *pairing.second]) if listed else {}
    wanted = {resolve(name, index) for name in listed or ()}
    for own, other, code, kind, partner in (
        (pairing.first, pairing.second, "image-without-mask", "image", "mask"),
        (pairing.second, pairing.first, "mask-without-image", "mask", "image"),
    ):
        alone = sorted(set(own) - common)
        # Beside files that are paired without folders, folders hold something else: thumbnails, older versions.
        is_whole = "" in with_partner or (common and not (set(other) - common))
        whole = [key for key in alone if "/" in key and _top(key) not in with_partner] if is_whole else []
        if whole:
            folders = sorted({f"{_top(key)}/" for key in whole})
            layout.notes.append(f"The {several(whole, kind)} in {named(folders)} have no {partner} and are left out.")
        rest = sorted(set(alone) - set(whole))
        needed = rest if listed is None or not common else [key for key in rest if key in wanted]
        if rest and not needed:
            layout.notes.append(
                f"{several(rest, kind)} without {'an' if partner == 'image' else 'a'} {partner} that no list of a split "
                f"names: left out ({named(rest, 3)})."
            )
        elif needed:
            article = "an" if partner == "image" else "a"
            tried = f" {pairing.listing()}" if not common else ""
            layout.problems.append(
                Problem.error(
                    code,
                    f"{article} {partner} for every {kind}, of the same name",
                    f"{several(needed, kind)} without {article} {partner}: {named([own[key] for key in needed])}",
                    "Bring the missing files, move these out of the folder, or list the images to use in splits/."
                    f"{tried}",
                    needed,
                )
            )


def _top(key: str) -> str:
    return key.partition("/")[0] if "/" in key else ""


def _shorten(layout: Layout) -> None:
    """Splits from folders called train, val, test; ids without these folders, where they still tell images apart."""
    places: dict[str, list[str]] = {}
    short: dict[str, str] = {}
    for name in layout.cases:
        folders = name.split("/")[:-1]
        found = next((folder for folder in folders if split_word(folder)), None)
        if found is not None:
            places.setdefault(split_word(found) or "", []).append(name)
            folders.remove(found)
        short[name] = "/".join([*folders, name.rpartition("/")[2]])
    if len(set(short.values())) < len(short):
        short = {name: name for name in short}
    if sum(map(len, places.values())) == len(layout.cases) and len(places) > 1 and "train" in places:
        layout.splits = {split: tuple(short[name] for name in places[split]) for split in SPLITS if split in places}
    layout.aliases = {alias: short[name] for alias, name in layout.aliases.items()} | short
    layout.cases = {short[name]: case for name, case in sorted(layout.cases.items())}


def _lists_of_voc(places: Sequence[Place], layout: Layout) -> None:
    """The lists of VOC, ImageSets/Segmentation/train.txt and val.txt; names without a mask are left out."""
    index = name_index(layout.cases, layout.aliases)
    for place in places:
        for split, file in _voc_lists(place).items():
            found = [resolve(name, index) for name in listed_names([file])]
            known = tuple(dict.fromkeys(name for name in found if name is not None))
            if len(known) < len(found):
                layout.notes.append(f"{file.name} in ImageSets names {len(found) - len(known)} images without a mask.")
            if known:
                layout.splits[split] = (*layout.splits.get(split, ()), *known)


def _voc_lists(place: Place) -> dict[Split, Path]:
    return split_files(place.around / "ImageSets" / "Segmentation")


def beside(cases: Mapping[str, Case], files: Mapping[str, Path], pattern: str | None = None) -> dict[str, Path]:
    """Files that belong to the cases, such as weights, by id: paired with the ids, or the names of images or masks.

    Of the ways the one that pairs most is taken, so that ``01_test_mask`` belongs to ``01_test.tif``.
    """
    names = [
        {name: name for name in cases},
        {stem(case.images[0]): name for name, case in cases.items()},
        {stem(case.mask): name for name, case in cases.items()},
    ]
    unique = [own for own in names if len(own) == len(cases)]
    return {name: files[file] for name, file in pair_beside(unique, files, pattern, "files beside them").items()}


def _read_weights(folder: Path, layout: Layout, pattern: str | None) -> None:
    files = images_in(folder, layout, "weights")
    found = beside(layout.cases, files, pattern)
    strangers = sorted(set(files) - {name for name, path in files.items() if path in found.values()})
    if strangers:
        layout.problems.append(
            Problem.error(
                "weight-without-image",
                "an image for every file in weights/",
                f"{len(strangers)} without one: {named(strangers)}",
                "Give them the image's name, or remove them.",
                strangers,
            )
        )
    layout.notes.append(f"Pixel weights are read from weights/ ({len(found)} of {len(layout.cases)} images).")
    layout.cases = {name: replace(case, weight=found.get(name)) for name, case in layout.cases.items()}


def train_label_files(
    root: Path, wanted: str, cases: Mapping[str, Case], pattern: str | None = None
) -> tuple[dict[str, Path], Path]:
    """The files of other training labels, such as scribbles, by the ids they belong to.

    Args:
        root: the data folder.
        wanted: name of a folder beside masks/, or a path.
        cases: the cases of the data set.
        pattern: as in :func:`find_files`.

    Raises:
        DataError: there is no such folder, or nothing in it fits an image.
    """
    folder = folder_beside(root, wanted, "training labels")
    found = find_images(folder).files
    if "preview" not in cases:
        found.pop("preview", None)  # the picture that segcrit scribble leaves beside its labels
    matching = beside(cases, found, pattern)
    if not matching:
        raise DataError(
            f"training labels in {folder} with the names of the images",
            f"{len(found)} files, none of which fits ({named(sorted(found), 2)})",
            f"Give them the images' names, which look like {named(list(cases), 2)}.",
        )
    return matching, folder


def folder_beside(root: Path, wanted: str, what: str) -> Path:
    """A folder in the data folder by its name, or any folder by its path.

    Raises:
        DataError: there is no such folder.
    """
    folder = next((place for place in (root / wanted, user_path(wanted)) if place.is_dir()), None)
    if folder is None:
        others = sorted(
            entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in ("images", "splits")
        )
        raise DataError(
            f"a folder of {what}",
            f"{wanted!r}, which is neither in {root} nor a path",
            f"Folders there: {named(others, 6)}.",
        )
    return folder


def read_valid_areas(root: Path, wanted: str, layout: Layout, pattern: str | None) -> None:
    """Give every case its mask of valid pixels; a case without one becomes a problem.

    Raises:
        DataError: there is no such folder.
        FolderError: it holds no image.
    """
    folders = [folder / wanted for folder in dict.fromkeys((root, *layout.around)) if (folder / wanted).is_dir()]
    folders = folders or [folder_beside(root, wanted, "masks of valid pixels")]
    files = {
        f"{number}/{name}" if len(folders) > 1 else name: path
        for number, folder in enumerate(folders)
        for name, path in images_in(folder, layout, "valid areas").items()
    }
    found = beside(layout.cases, files, pattern)
    without = sorted(set(layout.cases) - set(found))
    if without:
        layout.problems.append(
            Problem.error(
                "no-valid-area",
                f"a mask of valid pixels in {named([str(folder) for folder in folders])} for every image",
                f"{several(without, 'image')} without one: {named(without)}",
                "Bring them, or leave out --valid.",
                without,
            )
        )
    layout.notes.append(f"Pixels that are 0 in {folders[0].name}/ do not count: they are ignored pixels.")
    layout.cases = {name: replace(case, valid=found.get(name)) for name, case in layout.cases.items()}


def with_train_labels(cases: dict[str, Case], labels: dict[str, Path]) -> dict[str, Case]:
    """The cases with their training labels."""
    return {name: replace(case, train_label=labels.get(name)) for name, case in cases.items()}


def most_common(values: Iterable[object]) -> str:
    """``480×360 (12), 640×480 (3)``: how often each occurs, the first few.

    Example:
        >>> most_common(["a", "b", "a"])
        'a (2), b (1)'
    """
    return named([f"{value} ({count})" for value, count in Counter(values).most_common()])
