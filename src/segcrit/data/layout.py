"""Finding the files of a data set in a folder: images/ and masks/, or an nnU-Net raw folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segcrit._names import near_names
from segcrit.data.formats import file_format, stem
from segcrit.data.model import Case
from segcrit.data.problems import FolderError, Problem, named, several
from segcrit.errors import DataError

__all__ = ["Layout", "check_root", "common_ending", "files_by_stem", "find_files", "pair_up", "train_label_files"]

# Files that systems and tools leave beside images.
_BYSTANDERS = {"thumbs.db", "desktop.ini", "readme.md", "readme.txt", "license", "license.txt"}


@dataclass
class Layout:
    """The files of every case, and what was noticed while looking for them."""

    cases: dict[str, Case]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_root(path: str | Path) -> Path:
    """The data folder as an absolute path.

    Raises:
        DataError: there is no such folder.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        return root.absolute()
    if root.is_file():
        raise DataError("a data folder with images/ and masks/", f"the file {root}", "Give the folder that holds it.")
    beside = [entry.name for entry in root.parent.iterdir() if entry.is_dir()] if root.parent.is_dir() else []
    near = near_names(root.name, beside, most=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise DataError("a data folder with images/ and masks/", f"{root}, which does not exist", f"Check the path.{hint}")


def find_files(root: Path) -> Layout:
    """The cases of a folder with images/, masks/ and perhaps weights/.

    Raises:
        FolderError: a folder is missing or holds no images.
    """
    layout = Layout({})
    images = _image_files(root, "images", layout)
    masks = _image_files(root, "masks", layout)
    images, masks = pair_up(images, masks, layout)
    weights: dict[str, Path] = {}
    if (root / "weights").is_dir():
        weights = _image_files(root, "weights", layout)
        strangers = sorted(set(weights) - set(images))
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
        layout.notes.append(
            f"Pixel weights are read from weights/ ({len(set(weights) & set(images))} of {len(images)} images)."
        )
    for name in sorted(set(images) & set(masks)):
        layout.cases[name] = Case((images[name],), masks[name], weight=weights.get(name))
    return layout


def _image_files(root: Path, name: str, layout: Layout) -> dict[str, Path]:
    folder = root / name
    if not folder.is_dir():
        present = sorted(entry.name + "/" for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
        raise FolderError(
            [
                Problem.error(
                    f"no-{name}",
                    f"a folder {name}/ in {root}",
                    f"the folders {named(present, 6)}" if present else "no folders at all",
                    "Lay the data out as images/NAME.png and masks/NAME.png (png, jpg, tif, npy, nii).",
                )
            ]
        )
    files = files_by_stem(folder, layout)
    if not files:
        inside = sorted(entry.name for entry in folder.iterdir())
        folders = any(entry.is_dir() for entry in folder.iterdir())
        raise FolderError(
            [
                Problem.error(
                    f"empty-{name}",
                    f"image files in {folder}",
                    f"none ({named(inside)})" if inside else "an empty folder",
                    "Move the files up out of their folders and list the splits in splits/train.txt, val.txt, test.txt."
                    if folders
                    else "Put the files there (png, jpg, tif, npy, nii).",
                )
            ]
        )
    return files


def files_by_stem(folder: Path, layout: Layout) -> dict[str, Path]:
    """The image files of a folder by their names without ending; two files of one name are a problem."""
    found: dict[str, Path] = {}
    twice: list[str] = []
    skipped: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _BYSTANDERS or path.is_dir():
            continue
        if file_format(path) is None:
            skipped.append(path.name)
        elif stem(path) in found:
            twice.append(path.name)
        else:
            found[stem(path)] = path
    if twice:
        layout.problems.append(
            Problem.error(
                "same-name",
                f"one file a name in {folder}",
                f"{several(twice, 'name')} twice: {named(twice)}",
                "Rename or remove one of the two.",
                twice,
            )
        )
    if skipped and found:
        layout.notes.append(
            f"{len(skipped)} files in {folder.name}/ are no images and were passed over: {named(skipped, 3)}."
        )
    return found


def pair_up(images: dict[str, Path], masks: dict[str, Path], layout: Layout) -> tuple[dict[str, Path], dict[str, Path]]:
    """Match images and masks by name, a fixed ending such as ``_mask`` aside; what is left over is a problem."""
    if not set(images) & set(masks):
        images, masks = _without_common_ending(images, masks, layout)
    for one, other, code, kind in (
        (images, masks, "image-without-mask", ("mask for every image", "image", "without a mask")),
        (masks, images, "mask-without-image", ("image for every mask", "mask", "without an image")),
    ):
        alone = sorted(set(one) - set(other))
        if alone:
            layout.problems.append(
                Problem.error(
                    code,
                    f"a {kind[0]}, of the same name",
                    f"{several(alone, kind[1])} {kind[2]}: {named(alone)}",
                    "Bring the missing files, or move these out of the folder.",
                    alone,
                )
            )
    return images, masks


def _without_common_ending(
    images: dict[str, Path], masks: dict[str, Path], layout: Layout
) -> tuple[dict[str, Path], dict[str, Path]]:
    """``car_01.jpg`` and ``car_01_mask.png``: drop what all names of a folder end with, if that makes them match."""
    endings = [
        ("", common_ending(masks)),
        (common_ending(images), common_ending(masks)),
        (common_ending(images), ""),
    ]
    for image_ending, mask_ending in endings:
        short_images = {name.removesuffix(image_ending): path for name, path in images.items()}
        short_masks = {name.removesuffix(mask_ending): path for name, path in masks.items()}
        if len(set(short_images) & set(short_masks)) >= max(1, len(images) // 2):
            layout.notes.append(
                f"Images are called NAME{image_ending}, masks NAME{mask_ending}; both go by NAME in all results."
            )
            return short_images, short_masks
    return images, masks


def common_ending(names: Iterable[str]) -> str:
    """The ending that all names share, from a separator on: ``_mask``."""
    listed = list(names)
    shortest = min(listed, key=len)
    for start in range(1, len(shortest)):
        ending = shortest[start:]
        if ending[0] in "_-." and not ending[1:].isdigit() and all(name.endswith(ending) for name in listed):
            return ending
    return ""


def train_label_files(root: Path, wanted: str, ids: Sequence[str]) -> tuple[dict[str, Path], Path]:
    """The files of other training labels, such as scribbles, by the ids they belong to.

    Args:
        root: the data folder.
        wanted: name of a folder beside masks/, or a path.
        ids: the ids of the data set.

    Raises:
        DataError: there is no such folder, or nothing in it fits an image.
    """
    folder = next((place for place in (root / wanted, Path(wanted).expanduser()) if place.is_dir()), None)
    if folder is None:
        beside = sorted(
            entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in ("images", "splits")
        )
        raise DataError(
            "a folder of training labels",
            f"{wanted!r}, which is neither in {root} nor a path",
            f"Folders there: {named(beside, 6)}.",
        )
    found = files_by_stem(folder, Layout({}))
    if "preview" not in ids:
        found.pop("preview", None)  # the picture that segcrit scribble leaves beside its labels
    matching = {name: found[name] for name in ids if name in found}
    if not matching and found:
        ending = common_ending(found)
        matching = {name: found[name + ending] for name in ids if name + ending in found}
    if not matching:
        raise DataError(
            f"training labels in {folder} with the names of the images",
            f"{len(found)} files, none of which fits ({named(sorted(found), 2)})",
            f"Give them the images' names, which look like {named(list(ids), 2)}.",
        )
    return matching, folder


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
