"""Which prediction belongs to which truth: files of several folders, paired by name."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcrit.data.formats import file_format, stem
from segcrit.data.layout import common_ending
from segcrit.data.problems import named, several
from segcrit.data.splits import groups_by_pattern, read_groups_file, read_names
from segcrit.errors import DataError, ParameterError

__all__ = ["Matched", "Pair", "list_files", "match", "name_models", "read_groups", "shard_of"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One image: its truth and the prediction of each model, in the order of the models."""

    id: str
    target: Path
    predictions: tuple[Path, ...]


@dataclass(frozen=True)
class Matched:
    """All pairs, sorted by id, and what fits nothing.

    Attributes:
        pairs: the images that have a truth and a prediction of every model.
        without_prediction: for each model the ids of truths that it did not predict.
        without_target: for each model the ids of predictions that have no truth.
        notes: what was decided about names.
    """

    pairs: tuple[Pair, ...]
    without_prediction: Mapping[str, tuple[str, ...]]
    without_target: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def listing(self) -> str:
        """How many pairs there are, and a digest of their ids: shards of one evaluation have seen the same list."""
        state = hashlib.blake2b("\n".join(pair.id for pair in self.pairs).encode(), digest_size=8)
        return f"{len(self.pairs)} images ({state.hexdigest()})"


def name_models(predictions: Sequence[str]) -> dict[str, Path]:
    """Names for the predictions: given as ``NAME=PATH``, or the shortest end of the path that tells them apart.

    Raises:
        ParameterError: two have one name, or one path is given twice.

    Example:
        >>> {name: path.as_posix() for name, path in name_models(["runs/a/pred", "runs/b/pred", "x=old"]).items()}
        {'a/pred': 'runs/a/pred', 'b/pred': 'runs/b/pred', 'x': 'old'}
    """
    given: list[tuple[str | None, Path]] = []
    for text in predictions:
        name, sign, rest = text.partition("=")
        # A folder whose own name holds the sign is no pair of name and path.
        if sign and name and "/" not in name and not os.path.exists(text):
            given.append((name, Path(rest).expanduser()))
        else:
            given.append((None, Path(text).expanduser()))
    places = [os.path.realpath(path) for _, path in given]  # a link is no other folder
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise ParameterError("different predictions", f"{twice} twice", "Name each folder once.")
    free = [path for name, path in given if name is None]
    names: dict[str, Path] = {}
    for label, path in given:
        chosen = _short_name(path, free) if label is None else label
        if chosen in names:
            raise ParameterError("different names of the models", f"{chosen!r} twice", "Write NAME=FOLDER.")
        names[chosen] = path
    return names


def _short_name(path: Path, all_paths: Sequence[Path]) -> str:
    own = path.absolute().parts
    others = [other.absolute().parts for other in all_paths if other.absolute() != path.absolute()]
    length = next((n for n in range(1, len(own)) if all(part[-n:] != own[-n:] for part in others)), len(own))
    return "/".join(own[-length:])


def list_files(root: Path, role: str) -> dict[str, Path]:
    """The files of a folder and its folders by their path without ending; of a file, the file alone.

    Raises:
        DataError: there is no such folder, it holds no image, or two files have one name.
    """
    if root.is_file():
        if not is_readable(root):
            raise DataError(
                f"a {role} in a format that can be read", str(root), "Give png, tif, npy, npz or nii files."
            )
        _require_text(stem(root), root.parent)
        return {stem(root): root}
    if not root.is_dir():
        raise DataError(f"a folder with the {role}s", f"{root}, which does not exist", "Check the path.")
    found: dict[str, Path] = {}
    twice: list[str] = []
    for place, files in _walk(root, role):
        inside = place.relative_to(root)
        for name in files:
            path = place / name
            if name.startswith(".") or not is_readable(path):
                continue
            # macOS writes an accent as a letter of its own, others do not: names that look alike are alike.
            key = unicodedata.normalize("NFC", (inside / stem(path)).as_posix())
            _require_text(key, root)
            if key in found and ".npz" in (path.suffix.lower(), found[key].suffix.lower()):
                # nnU-Net writes labels and probabilities of a case: the labels are the prediction.
                found[key] = next((file for file in (path, found[key]) if file.suffix.lower() != ".npz"), path)
                continue
            if key in found:
                twice.append(key)
            found[key] = path
    if twice:
        raise DataError(
            f"one file a name in {root}",
            f"{several(twice, 'name')} twice: {named(twice)}",
            "Remove one of the two, or move it elsewhere.",
        )
    if not found:
        raise DataError(
            f"{role}s in {root}", "no file in a format that can be read", "Put png, tif, npy, npz or nii files there."
        )
    return found


def _walk(root: Path, role: str) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below ``root``, links to folders included, with the names in it; a link to what holds it ends there.

    Raises:
        DataError: a folder cannot be read: its images would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise DataError(
            f"folders of {role}s that can be read in {root}",
            f"{error.filename}: {error.strerror}",
            "Change its rights.",
        ) from error

    above = {str(root): frozenset({os.path.realpath(root)})}
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        holders = above.pop(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in tuple(folders):
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if real in holders:
                folders.remove(name)
            else:
                above[path] = holders | {real}
        yield Path(folder), sorted(files)


def _require_text(name: str, root: Path) -> None:
    """Refuse names that cannot stand in a table, a list or a page."""
    if "\n" in name or "\r" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise DataError(
            f"names of files in {root} that are text on one line", repr(name), "Rename the file, in every folder alike."
        )


def is_readable(path: Path) -> bool:
    """Whether the name is that of an array or image file."""
    return file_format(path) is not None or path.suffix.lower() == ".npz"


def match(models: Mapping[str, Path], target: Path, only: Path | None = None) -> Matched:
    """Pair the files of each model with the truth.

    Names match without their endings (``a/b.png`` and ``a/b.nii.gz`` are one image), and without what all names of a
    folder end with (``_mask``, ``_gtFine_labelIds``) where they do not match otherwise. A text file ``only`` lists the
    images to take; everything else is passed over in silence.

    Raises:
        DataError: a folder is missing or empty, no name of a model is that of a truth, or ``only`` names an image that
            has no truth.
    """
    truths = list_files(target, "label map")
    found = {name: list_files(path, "prediction") for name, path in models.items()}
    notes: list[str] = []
    if target.is_file() and all(path.is_file() for path in models.values()):
        # Two files that were named belong together whatever they are called.
        key = stem(target)
        files = tuple(next(iter(own.values())) for own in found.values())
        return Matched((Pair(key, target, files),), {}, {})
    if not any(set(truths) & set(own) for own in found.values()):
        truths, note = _shortened(truths, next(iter(found.values())), "label maps")
        notes += note
    for name, own in found.items():
        if not set(truths) & set(own):
            found[name], note = _shortened(own, truths, f"predictions of {name!r}")
            notes += note
        if not set(truths) & set(found[name]):
            raise DataError(
                f"predictions of {name!r} with the names of the label maps",
                f"{several(list(own), 'file')} such as {named(sorted(own), 2)} beside {named(sorted(truths), 2)}",
                "Give a prediction the name of its label map.",
            )
    if only is not None:
        wanted = set(read_names(only, set(truths)))
        truths = {key: path for key, path in truths.items() if key in wanted}
        found = {name: {key: path for key, path in own.items() if key in wanted} for name, own in found.items()}
    common = set(truths).intersection(*found.values())
    pairs = tuple(Pair(key, truths[key], tuple(own[key] for own in found.values())) for key in sorted(common))
    missing = {name: tuple(sorted(set(truths) - set(own))) for name, own in found.items()}
    extra = {name: tuple(sorted(set(own) - set(truths))) for name, own in found.items()}
    return Matched(
        pairs,
        {name: ids for name, ids in missing.items() if ids},
        {name: ids for name, ids in extra.items() if ids},
        tuple(notes),
    )


def _shortened(files: dict[str, Path], others: Mapping[str, Path], what: str) -> tuple[dict[str, Path], list[str]]:
    """The files without the ending that all their names share, if they match the others then."""
    own_ending, other_ending = common_ending(files), common_ending(others)
    short = {name.removesuffix(own_ending): path for name, path in files.items()}
    others_short = {name.removesuffix(other_ending) for name in others}
    if own_ending and set(short) & (set(others) | others_short):
        return short, [f"The names of the {what} end with {own_ending!r}, which is left out."]
    return files, []


def shard_of(pairs: Sequence[Pair], part: int, parts: int) -> tuple[Pair, ...]:
    """Part ``part`` (from 1) of ``parts``: every parts-th image, so that all have about the same work.

    Example:
        >>> [pair.id for pair in shard_of([Pair(name, Path(), ()) for name in "abcde"], 2, 2)]
        ['b', 'd']
    """
    return tuple(pairs[part - 1 :: parts])


def read_groups(ids: Sequence[str], groups: str | None, group_by: str | None) -> dict[str, str] | None:
    """The group of each image, from a table or an expression; None without either.

    Raises:
        DataError, ParameterError: they do not fit the images.
    """
    if group_by is not None:
        return groups_by_pattern(ids, group_by)
    if groups is not None:
        return read_groups_file(Path(groups).expanduser(), set(ids))
    return None
