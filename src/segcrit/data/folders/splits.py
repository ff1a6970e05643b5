"""Which images train, validate and test: from split files, or a deterministic split that divides no group."""

from __future__ import annotations

import csv
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import read_text
from segcrit.core.csv_tables import name_of_cell
from segcrit.core.errors import DataError
from segcrit.data.files.formats import file_format, stem
from segcrit.data.folders.pairing import compiled
from segcrit.data.model import SPLITS, Split
from segcrit.data.problems import named, several

__all__ = [
    "SHARES",
    "groups_by_pattern",
    "listed_names",
    "make_split",
    "name_index",
    "read_groups",
    "read_groups_file",
    "read_names",
    "read_splits",
    "resolve",
    "split_files",
]

SHARES: dict[Split, float] = {"train": 0.70, "val": 0.15, "test": 0.15}
_FILES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Exchanges tried to improve a split; each costs some microseconds.
_EXCHANGES = 6000


def read_splits(
    folder: Path, ids: Sequence[str], aliases: Mapping[str, str] | None = None
) -> dict[Split, tuple[str, ...]]:
    """The split files of ``folder`` (train.txt, val.txt, test.txt), those that exist.

    A line is the name of an image with or without folder and ending; empty lines and lines that begin with ``#`` are
    skipped.

    Raises:
        DataError: a name is no image, or stands in two splits.
    """
    known = name_index(ids, aliases)
    splits: dict[Split, tuple[str, ...]] = {}
    for split, file in split_files(folder).items():
        splits[split] = read_names(file, known)
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(set(splits.get(first, ())) & set(splits.get(second, ())))  # type: ignore[call-overload]
        if both:
            raise DataError(
                f"every image in one split of {folder}",
                f"{several(both, 'image')} in {first} and {second}: {named(both)}",
                "Remove them from one of the two: a network is not judged on what it was trained on.",
            )
    return splits


def split_files(folder: Path) -> dict[Split, Path]:
    """The split files that a folder holds."""
    files: dict[Split, Path] = {}
    for split, names in _FILES.items():
        file = next((folder / f"{name}.txt" for name in names if (folder / f"{name}.txt").is_file()), None)
        if file is not None:
            files[split] = file
    return files


def listed_names(files: Iterable[Path]) -> list[str]:
    """All lines of lists of names."""
    return [line for file in files for line in _names(file)]


def name_index(ids: Iterable[str], aliases: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a line of a list may call an image, and the image's id.

    An image goes by its id, by the names of its files, and by the last parts of these where they mean no other image.

    Example:
        >>> sorted(name_index(["a/1", "b/1", "b/2"]).items())
        [('2', 'b/2'), ('a/1', 'a/1'), ('b/1', 'b/1'), ('b/2', 'b/2')]
    """
    listed = list(ids)
    meant: dict[str, set[str]] = {}
    for alias, id in [*zip(listed, listed, strict=True), *(aliases or {}).items()]:
        while alias:
            meant.setdefault(alias, set()).add(id)
            alias = alias.partition("/")[2]
    index = {alias: next(iter(found)) for alias, found in meant.items() if len(found) == 1}
    return index | dict(zip(listed, listed, strict=True))


def read_names(file: Path, known: Mapping[str, str]) -> tuple[str, ...]:
    """The images that a text file lists; a line is as in :func:`read_splits`.

    Raises:
        DataError: the file is missing or empty, or a name is no image.
    """
    listed = list(dict.fromkeys(_names(file)))
    found = [resolve(name, known) for name in listed]
    unknown = [name for name, result in zip(listed, found, strict=True) if result is None]
    if unknown:
        raise DataError(
            f"names of images in {file}",
            f"{several(unknown, 'name')} without an image: {named(unknown)}",
            f"Names look like {named(sorted(set(known.values())), 2)}; correct the file or bring the images.",
        )
    if not listed:
        raise DataError(f"at least one name in {file}", "an empty file", "Fill it, or remove it.")
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _names(file: Path) -> list[str]:
    lines = (line.strip() for line in read_text(file).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def resolve(name: str, known: Mapping[str, str]) -> str | None:
    """The id that a line means: a name with or without folders and ending, or the first of two columns."""
    words = [name, *name.split()[:1]]
    for word in dict.fromkeys([*words, *(unicodedata.normalize("NFC", word) for word in words)]):
        path = Path(word.replace("\\", "/"))
        bare = path.with_name(stem(path)).as_posix() if path.name and file_format(path) else path.as_posix()
        for candidate in (word, bare):
            while candidate:
                if candidate in known:
                    return known[candidate]
                candidate = candidate.partition("/")[2]
    return None


def read_groups(
    root: Path, ids: Sequence[str], group_by: str | None, aliases: Mapping[str, str] | None = None
) -> tuple[dict[str, str] | None, str]:
    """For every id its group, from a regular expression or from groups.csv; None where there is neither.

    Args:
        root: the data folder.
        ids: all ids.
        group_by: an expression searched in each id; its first bracket, or the whole match, names the group.
        aliases: further names -> id, as in :func:`name_index`.

    Returns:
        The groups, and a sentence for the notes (empty without groups).

    Raises:
        ParameterError: the expression cannot be read.
        DataError: an id has no group.
    """
    if group_by is not None:
        groups = groups_by_pattern(ids, group_by)
        return groups, f"Images are grouped by {group_by!r}: {len(set(groups.values()))} groups of {len(ids)} images."
    file = root / "groups.csv"
    if not file.is_file():
        return None, ""
    groups = read_groups_file(file, name_index(ids, aliases))
    return groups, f"Images are grouped by groups.csv: {len(set(groups.values()))} groups of {len(ids)} images."


def groups_by_pattern(ids: Sequence[str], group_by: str) -> dict[str, str]:
    """For every id what a regular expression finds in it: its first bracket, or the whole match.

    Raises:
        ParameterError: the expression cannot be read.
        DataError: it does not match every id.

    Example:
        >>> groups_by_pattern(["patient1_a", "patient2_b"], r"patient\\d+")
        {'patient1_a': 'patient1', 'patient2_b': 'patient2'}
    """
    pattern = compiled(group_by, "group_by")
    matches = {name: pattern.search(name) for name in ids}
    missing = [name for name, match in matches.items() if match is None]
    if missing:
        raise DataError(
            f"an expression that matches every image name ({group_by!r})",
            f"{several(missing, 'name')} that it does not match: {named(missing)}",
            "Widen it; 'patient\\d+' groups patient001_slice_3 by patient001.",
        )
    return {
        name: str(match.group(1) if pattern.groups and match.group(1) is not None else match.group(0))
        for name, match in matches.items()
        if match is not None
    }


def read_groups_file(file: Path, known: Mapping[str, str]) -> dict[str, str]:
    """For every known id its group, from a table of two columns, image and group.

    Rows of other images are passed over.

    Raises:
        DataError: the file cannot be read, or an id has no group.
    """
    text = read_text(file)
    first_line = text.split("\n", 1)[0]
    delimiter = next((mark for mark in ",;\t" if mark in first_line), ",")
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row and row[0].strip()]
    except csv.Error as error:
        raise DataError(f"a table of image and group in {file}", str(error), "Save it as CSV again.") from error
    groups: dict[str, str] = {}
    for number, row in enumerate(rows):
        cell = row[0].strip()
        name = resolve(cell, known) or resolve(name_of_cell(cell), known)
        if name is None:
            # The first row may be a title; further unknown rows belong to images that are not in this folder.
            continue
        if len(row) < 2 or not row[1].strip():
            raise DataError(f"two columns, image and group, in {file}", f"row {number + 1}: {row}", "Complete it.")
        group = name_of_cell(row[1].strip())
        if groups.setdefault(name, group) != group:
            raise DataError(f"one group for each image in {file}", f"two for {name}", "Remove one of its rows.")
    missing = sorted(set(known.values()) - set(groups))
    if missing:
        raise DataError(
            f"a group for every image in {file}",
            f"{several(missing, 'image')} without one: {named(missing)}",
            "Add them.",
        )
    return groups


def make_split(
    ids: Sequence[str],
    content: npt.NDArray[np.int64],
    *,
    groups: Mapping[str, str] | None = None,
    shares: Mapping[Split, float] = SHARES,
    seed: int = 0,
) -> dict[Split, tuple[str, ...]]:
    """A deterministic split that divides no group and gives every split every class, where that is possible.

    Start: groups in the order of how rare their rarest class is, each to the split that lacks most of it. Then seeded
    exchanges of groups between splits, kept when they lower the cost: missing classes first, then squared
    relative deviations of each split's share of images, of each class's pixels and of each class's images.

    Args:
        ids: the images.
        content: ``(images, classes)``, pixels of each class in each image.
        groups: for every id its group, or None.
        shares: the share of the images of each split wanted.
        seed: another seed gives another split.

    Raises:
        DataError: there are fewer groups than splits.

    Example:
        >>> split = make_split([f"tile{i}" for i in range(20)], np.ones((20, 2), dtype=np.int64))
        >>> {name: len(members) for name, members in split.items()}
        {'train': 14, 'val': 3, 'test': 3}
    """
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    names = sorted(ids)
    row_of = {name: row for row, name in enumerate(ids)}
    keys = [name if groups is None else groups[name] for name in names]
    units = sorted(set(keys))
    if len(units) < len(wanted):
        kind = "images" if groups is None else "groups"
        raise DataError(
            f"at least {len(wanted)} {kind} to make the splits {', '.join(wanted)}",
            f"{len(units)} {kind}",
            "Add data, or write splits/train.txt, val.txt and test.txt yourself.",
        )
    index = {unit: number for number, unit in enumerate(units)}
    unit_of = np.array([index[key] for key in keys])
    table = content[[row_of[name] for name in names]].astype(np.float64)
    amounts = _amounts(table, unit_of, len(units))
    target = np.array([shares[split] for split in wanted])
    place = _assign(amounts, target / target.sum(), _draws(seed, len(units)))
    return {
        split: tuple(name for name, unit in zip(names, unit_of, strict=True) if place[unit] == number)
        for number, split in enumerate(wanted)
    }


def _amounts(table: npt.NDArray[np.float64], unit_of: npt.NDArray[np.int64], units: int) -> npt.NDArray[np.float64]:
    """(units, 1 + 2 classes): each unit's share of all images, of each class's pixels, of each class's images."""
    columns = np.concatenate([np.ones((len(table), 1)), table, table > 0], axis=1)
    sums = np.zeros((units, columns.shape[1]))
    np.add.at(sums, unit_of, columns)
    total = sums.sum(axis=0)
    shares: npt.NDArray[np.float64] = sums[:, total > 0] / total[total > 0]
    return shares


def _draws(seed: int, units: int) -> npt.NDArray[np.float64]:
    """Uniform random numbers for ``_assign``. Python promises this sequence for all versions, NumPy does not."""
    generator = random.Random(seed)
    return np.array([generator.random() for _ in range(units + 3 * _EXCHANGES)])


def _assign(
    amounts: npt.NDArray[np.float64], target: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    units, splits = len(amounts), len(target)
    # A share that one unit holds alone cannot be divided; rarest first means largest share first.
    order = np.lexsort((draws[:units], -amounts.max(axis=1)))
    sums = np.zeros((splits, amounts.shape[1]))
    place = np.zeros(units, dtype=np.int64)
    for unit in order:
        lacking = ((target[:, None] - sums) * amounts[unit]).sum(axis=1) / target
        place[unit] = int(lacking.argmax())
        sums[place[unit]] += amounts[unit]
    for split in range(splits):  # no split may stay empty
        if not (place == split).any():
            largest = np.bincount(place, minlength=splits).argmax()
            mover = min(np.flatnonzero(place == largest), key=lambda unit: amounts[unit, 0])
            place[mover] = split
    sums = np.stack([amounts[place == split].sum(axis=0) for split in range(splits)])
    divisible = (amounts > 0).sum(axis=0) >= splits
    cost = _cost(sums, target, divisible)
    first_units, second_units, goals = draws[units:].reshape(3, _EXCHANGES)
    for first, second, goal in zip(
        (first_units * units).astype(int).tolist(),
        (second_units * units).astype(int).tolist(),
        (goals * splits).astype(int).tolist(),
        strict=True,
    ):
        # Exchange two units, or with the same unit drawn twice move it to another split.
        old, new = place[first], goal if first == second else place[second]
        if old == new or (first == second and (place == old).sum() == 1):
            continue
        change = amounts[first] - (0 if first == second else amounts[second])
        trial = sums.copy()
        trial[old] -= change
        trial[new] += change
        trial_cost = _cost(trial, target, divisible)
        if trial_cost < cost - 1e-12:
            sums, cost = trial, trial_cost
            place[first] = new
            if first != second:
                place[second] = old
    return place


def _cost(sums: npt.NDArray[np.float64], target: npt.NDArray[np.float64], divisible: npt.NDArray[np.bool_]) -> float:
    relative = sums / target[:, None] - 1
    missing = float(((sums < 1e-12) & divisible).sum())
    # The share of images counts as much as all classes together.
    return 1e3 * missing + float((relative[:, 1:] ** 2).mean() + (relative[:, 0] ** 2).mean())


def split_summary(splits: Mapping[Split, Sequence[str]], groups: Mapping[str, str] | None) -> str:
    """``train 57, val 12, test 13 images``, with groups where there are some.

    Example:
        >>> split_summary({"train": ["a", "b"], "val": ["c"], "test": ["d"]}, None)
        'train 2, val 1, test 1 images'
    """
    text = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS if split in splits) + " images"
    if groups is None:
        return text
    counts = Counter({split: len({groups[name] for name in splits[split]}) for split in SPLITS if split in splits})
    return text + " (" + ", ".join(f"{split} {count}" for split, count in counts.items()) + " groups)"
