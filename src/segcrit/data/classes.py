"""The classes of a data set: from classes.json, or inferred from the values that its masks hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcrit.data.coding import LabelCoding, UnknownPolicy, value_ranges
from segcrit.data.model import ClassInfo
from segcrit.data.problems import FolderError, Problem
from segcrit.data.scanning import MaskValues
from segcrit.encodings import Palette
from segcrit.encodings.class_list import Entry, entries_of, fill_colors
from segcrit.errors import DataError, ParameterError

__all__ = ["ClassTable", "ClassesFile", "build_table", "infer_table", "read_classes_file"]

VOID = 255
# Label of ignored pixels where 255 is a class; PyTorch's default.
WIDE_VOID = -100


@dataclass(frozen=True)
class ClassesFile:
    """What a classes.json says.

    Attributes:
        entries: the classes as listed, the ignored one left out.
        stored: for each listed class the values that stand for it in mask files.
        ignored: values of pixels that do not count.
        says_ignored: whether the file names them itself, or 255 is only assumed.
        num_classes: as stated, or None.
        ignore_color: colour of ignored pixels in colour masks, or None.
        unknown: what other values mean.
    """

    entries: tuple[Entry, ...]
    stored: tuple[tuple[int, ...], ...]
    ignored: tuple[int, ...]
    says_ignored: bool
    num_classes: int | None
    ignore_color: tuple[int, int, int] | None
    unknown: UnknownPolicy


@dataclass(frozen=True)
class ClassTable:
    """The classes of a data set and how its masks are read."""

    classes: tuple[ClassInfo, ...]
    ignore_index: int | None
    coding: LabelCoding
    notes: tuple[str, ...] = ()


def read_classes_file(path: Path) -> ClassesFile:
    """Read a classes.json.

    Beside ``num_classes``, ``ignore_index`` and ``classes: [{index, name, color}]`` it may hold, in a class,
    ``"value"`` or ``"values"``: the numbers that stand for it in the mask files where they are not its index; and at
    the top ``"unknown"``: ``"error"`` (default), ``"ignore"`` or ``"nearest"``, the meaning of all other values.

    Raises:
        DataError: the file is damaged or contradicts itself.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError("a readable classes.json", f"{path}: {error}", "Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"an object in {path}", type(content).__name__, 'Write {"classes": [...]}.')
    count = content.get("num_classes")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise DataError(f"a positive integer as num_classes in {path}", repr(count), "Correct it.")
    listed = content.get("classes")
    if listed is None and count is not None:
        listed = [f"class {index}" for index in range(count)]
    if isinstance(listed, dict):  # {"background": 0, "tumour": 1}
        listed = [{"index": index, "name": name} for name, index in listed.items()]
    if not isinstance(listed, list) or not listed:
        raise DataError(
            f"a list 'classes' in {path}",
            "none",
            'Write {"classes": [{"index": 0, "name": "background", "color": [0, 0, 0]}, ...]}.',
        )
    try:
        entries = entries_of(listed)
    except ParameterError as error:
        raise DataError(error.expected, f"{error.got} in {path}", error.advice) from error
    unknown = content.get("unknown", "error")
    if unknown not in ("error", "ignore", "nearest"):
        raise DataError(f'"error", "ignore" or "nearest" as "unknown" in {path}', repr(unknown), "Correct it.")
    void = content.get("ignore_index", VOID)
    if void is not None and (isinstance(void, bool) or not isinstance(void, int)):
        raise DataError(f"an integer or null as ignore_index in {path}", repr(void), "Correct it.")
    repeated = [index for index, times in Counter(entry.index for entry in entries).items() if times > 1]
    if repeated:
        raise DataError(f"every index once in {path}", f"index {repeated[0]} twice", "Number the classes anew.")
    says = content.get("ignore_index") is not None
    stored = {entry.index: _stored_values(item, entry.index, path) for item, entry in zip(listed, entries, strict=True)}
    used = {value for values in stored.values() for value in values}
    ignored = stored.pop(void, (void,)) if void is not None and (says or void not in used) else ()
    return ClassesFile(
        entries=tuple(entry for entry in entries if entry.index in stored),
        stored=tuple(stored.values()),
        ignored=ignored,
        says_ignored=says,
        num_classes=count,
        ignore_color=next((entry.color for entry in entries if entry.index not in stored), None),
        unknown=unknown,
    )


def _stored_values(item: Any, index: int, path: Path) -> tuple[int, ...]:
    if not isinstance(item, Mapping):
        return (index,)
    values = item.get("values", item.get("value", index))
    values = values if isinstance(values, list) else [values]
    if not values or not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise DataError(f"integers as values of class {index} in {path}", repr(values), "Correct them.")
    return tuple(values)


def build_table(file: ClassesFile, path: Path) -> ClassTable:
    """Labels 0, 1, ... for the classes of a classes.json, with a note where they are not the listed indices.

    Raises:
        DataError: ``num_classes`` and the list contradict each other, or one stored value means two classes.
    """
    order = sorted(range(len(file.entries)), key=lambda position: file.entries[position].index)
    entries = [file.entries[position] for position in order]
    stored = [file.stored[position] for position in order]
    indices = [entry.index for entry in entries]
    notes: list[str] = []
    if (
        file.num_classes is not None
        and file.num_classes > len(entries)
        and indices[0] >= 0
        and indices[-1] < file.num_classes
    ):
        missing = sorted(set(range(file.num_classes)) - set(indices))
        notes.append(
            f"classes.json names no class {value_ranges(missing)}; they are called 'class {missing[0]}' and so on."
        )
        by_index = dict(zip(indices, zip(entries, stored, strict=True), strict=True))
        filled = [by_index.get(i, (Entry(i, f"class {i}", None), (i,))) for i in range(file.num_classes)]
        entries, stored = [entry for entry, _ in filled], [values for _, values in filled]
    elif file.num_classes is not None and file.num_classes != len(entries):
        raise DataError(
            f"{file.num_classes} classes in {path}, as its num_classes says",
            f"{len(entries)} (indices {value_ranges(indices)})",
            "Correct num_classes; a class without meaning (void) is named by ignore_index and not counted.",
        )
    elif indices != list(range(len(entries))):
        notes.append(
            f"The class indices {value_ranges(indices)} have gaps: in all results they are numbered 0 to {len(entries) - 1}."
        )
    return _table(entries, stored, file.ignored, file.unknown, file.ignore_color, notes, path)


def _table(
    entries: Sequence[Entry],
    stored: Sequence[tuple[int, ...]],
    ignored: tuple[int, ...],
    unknown: UnknownPolicy,
    ignore_color: tuple[int, int, int] | None,
    notes: Sequence[str],
    place: Path,
) -> ClassTable:
    if len(entries) < 2:
        raise DataError(
            f"at least two classes in {place}",
            f"{len(entries)} ({', '.join(entry.name for entry in entries)})",
            "Name the background as a class of its own, with index 0.",
        )
    taken: dict[int, int] = {}
    for label, values in enumerate(stored):
        for value in values:
            if value in taken or value in ignored:
                raise DataError(f"one meaning for the value {value} in {place}", "two", "Correct the values.")
            taken[value] = label
    colors = fill_colors(entries, [ignore_color] if ignore_color else [])
    classes = tuple(
        ClassInfo(label, entry.name, color) for label, (entry, color) in enumerate(zip(entries, colors, strict=True))
    )
    ignore_index: int | None = None
    if ignored or unknown == "ignore":
        wish = ignored[0] if len(ignored) == 1 else VOID
        ignore_index = wish if not 0 <= wish < len(classes) else free_void(len(classes))
    has_colors = all(entry.color is not None for entry in entries) and len(set(colors)) == len(colors)
    palette = None
    if has_colors:
        palette = Palette(
            colors, names=[entry.name for entry in entries], ignore_index=ignore_index, ignore_color=ignore_color
        )
    return ClassTable(classes, ignore_index, LabelCoding(taken, ignored, ignore_index, palette, unknown), tuple(notes))


def free_void(num_classes: int) -> int:
    """A label for ignored pixels that is no class: 255 where possible."""
    return VOID if num_classes <= VOID else WIDE_VOID


def infer_table(found: Mapping[Path, MaskValues], folder: Path) -> ClassTable:
    """The classes of a folder without classes.json, from the values in its masks.

    0 and 255 alone are background and foreground; 255 beside small numbers is ignored, and so is one negative
    value; gaps are closed. What could mean two things is an error that says how to tell.

    Raises:
        FolderError: the values do not tell the classes: colours, grey levels, instance numbers, mixed codings.
    """
    values, colored, files = _gathered(found)
    if colored:
        raise FolderError([_color_problem(colored, found, folder)])
    problem = _mixed_coding(found) or _instances(found) or _not_classes(values, files)
    if problem is not None:
        raise FolderError([problem])
    numbers = sorted(values)
    notes = []
    ignored = tuple(value for value in numbers if value < 0)
    if numbers == [0, VOID]:
        notes.append("Masks hold 0 and 255 only: read as two classes, 0 background and 255 foreground.")
        entries = [Entry(0, "background", (0, 0, 0)), Entry(1, "foreground", (230, 159, 0))]
        return _table(entries, [(0,), (VOID,)], (), "error", None, notes, folder)
    if VOID in values:
        ignored += (VOID,)
    numbers = [value for value in numbers if value not in ignored]
    share = sum(values[value] for value in ignored) / sum(values.values())
    if ignored:
        notes.append(
            f"There is no classes.json: mask values {value_ranges(numbers)} are taken as classes, "
            f"{' and '.join(map(str, ignored))} ({share:.1%} of the pixels) as ignored."
        )
    else:
        notes.append(
            f"There is no classes.json: mask values {value_ranges(numbers)} are taken as classes, none as ignored."
        )
    if numbers != list(range(len(numbers))):
        notes.append(
            f"They have gaps: in all results they are numbered 0 to {len(numbers) - 1}, and named by their value."
        )
    if numbers == [0, 1]:
        entries = [Entry(0, "background", None), Entry(1, "foreground", None)]
    else:
        entries = [Entry(label, f"class {value}", None) for label, value in enumerate(numbers)]
    colors = _palette_of(found, numbers)
    entries = [Entry(entry.index, entry.name, colors.get(value)) for entry, value in zip(entries, numbers, strict=True)]
    table = _table(entries, [(value,) for value in numbers], ignored, "error", None, notes, folder)
    # The palette of one file is good enough to draw with, not to overrule the numbers of all the others.
    coding = LabelCoding(table.coding.classes, table.coding.ignored, table.ignore_index)
    return ClassTable(table.classes, table.ignore_index, coding, table.notes)


def _gathered(found: Mapping[Path, MaskValues]) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Pixels of each value, pixels of each colour that is not grey, and files of each value."""
    values: Counter[int] = Counter()
    colored: Counter[int] = Counter()
    files: Counter[int] = Counter()
    for mask in found.values():
        for value, pixels in mask.counts.items():
            number = value
            if mask.is_color:
                number = value & 255
                if value != number * 0x010101:
                    colored[value] += pixels
                    continue
            values[number] += pixels
            files[number] += 1
    return values, colored, files


def _palette_of(found: Mapping[Path, MaskValues], numbers: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    colors: dict[int, tuple[int, int, int]] = {}
    for mask in found.values():
        for value, color in (mask.palette or {}).items():
            colors.setdefault(value, (color >> 16, color >> 8 & 255, color & 255))
    chosen = {value: colors[value] for value in numbers if value in colors}
    return chosen if len(set(chosen.values())) == len(numbers) else {}


def _color_problem(colored: Counter[int], found: Mapping[Path, MaskValues], folder: Path) -> Problem:
    examples = ", ".join(str((color >> 16, color >> 8 & 255, color & 255)) for color, _ in colored.most_common(4))
    count = sum(mask.is_color for mask in found.values())
    if len(colored) > 300:
        advice = "So many colours come from JPEG or smooth edges: export the masks again as PNG without smoothing."
    else:
        advice = (
            f'Write {folder / "classes.json"} with {{"classes": [{{"index": 0, "name": "...", "color": [...]}}, ...]}}.'
        )
    return Problem(
        "error",
        "color-masks",
        "class numbers in the masks, or a classes.json that tells the colours",
        f"{count} colour masks with {len(colored)} colours ({examples}, ...) and no classes.json",
        advice,
        tuple(path.name for path, mask in found.items() if mask.is_color)[:20],
        count,
    )


def _mixed_coding(found: Mapping[Path, MaskValues]) -> Problem | None:
    """Binary masks of which some say 1 and some 255 for the same thing."""
    ones = [path for path, mask in found.items() if 1 in mask.counts and VOID not in mask.counts]
    highs = [path for path, mask in found.items() if VOID in mask.counts and 1 not in mask.counts]
    everything = {value for mask in found.values() if not mask.is_color for value in mask.counts}
    if everything != {0, 1, VOID} or not ones or not highs:
        return None
    if any(1 in mask.counts and VOID in mask.counts for mask in found.values()):
        return None
    return Problem(
        "error",
        "mixed-coding",
        "one coding in all masks",
        f"{len(ones)} masks of 0 and 1 and {len(highs)} masks of 0 and 255, never both in one mask",
        'If 255 means the same as 1, write {"classes": [{"index": 0, "name": "background"}, {"index": 1, "name": '
        '"foreground", "values": [1, 255]}]} into classes.json; if it means ignored, add "ignore_index": 255 there.',
        tuple(path.name for path in highs)[:20],
        len(highs),
    )


def _instances(found: Mapping[Path, MaskValues]) -> Problem | None:
    """Numbers 0 ... n in every mask, with another n in each: objects are numbered, not classes."""
    highest = [max(mask.counts, default=0) for mask in found.values()]
    if max(highest, default=0) < 20 or len(set(highest)) < 3:
        return None
    dense = sum(mask.distinct >= 0.95 * high for mask, high in zip(found.values(), highest, strict=True) if high > 1)
    if dense < 0.9 * sum(high > 1 for high in highest):
        return None
    return Problem(
        "error",
        "instance-masks",
        "class numbers in the masks",
        f"what looks like numbered objects: every mask holds 0 to n, with n up to {max(highest)}",
        "Save class numbers (for one class of objects: mask > 0), or list the classes in classes.json.",
        count=len(found),
    )


def _not_classes(values: Counter[int], files: Counter[int]) -> Problem | None:
    """Grey levels where class numbers should be."""
    numbers = sorted(values)
    total = sum(values.values())
    other = [value for value in numbers if value not in (0, VOID)]
    listing = ", ".join(f"{value} ({pixels / total:.2%})" for value, pixels in values.most_common(5))
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    negative = [value for value in numbers if value < 0]
    remedy = (
        'Tell the classes in classes.json: {"classes": [{"index": 0, "name": "...", "value": 0}, {"index": 1, "name": "...", '
        '"value": 255}], "unknown": "nearest"} takes the nearest of them for stray values ("ignore" leaves such pixels out).'
    )
    if len(numbers) == 1:
        return Problem(
            "error", "one-value", "at least two classes in the masks", f"the value {numbers[0]} everywhere",
            "Check that masks/ holds the label images.",
        )  # fmt: skip
    if len(negative) > 1:
        return Problem(
            "error", "negative-labels", "class numbers from 0", f"the negative values {value_ranges(negative)}", remedy
        )
    common = sum(pixels for _, pixels in values.most_common(2)) / total
    if (VOID in values and other and max(other) > len(other) * 2 + 8) or (len(numbers) > 40 and common > 0.9):
        rare = sum(values[value] for value in other) / total
        kind = "smooth edges or JPEG in a mask of 0 and 255" if len(other) > 2 and rare < 0.1 else "grey levels"
        return Problem(
            "error", "grey-masks", "class numbers 0, 1, 2, ... in the masks",
            f"{kind}: the values {listing}{more}, {rare:.1%} of the pixels neither 0 nor 255", remedy, count=max(files.values()),
        )  # fmt: skip
    if len(numbers) > 256:
        return Problem(
            "error", "too-many-values", "class numbers in the masks", f"{len(numbers)} different values: {listing}{more}",
            "Check that masks/ holds the label images, or list the classes in classes.json.",
        )  # fmt: skip
    return None
