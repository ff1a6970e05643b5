"""The classes of a data set, as its classes.json tells them."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcrit.core.atomic import read_text
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import parse_json
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.coding.class_names import TEXT_SUFFIXES, read_class_names
from segcrit.data.coding.mask_coding import LabelCoding, UnknownPolicy, value_ranges
from segcrit.labels.class_list import Entry, entries_of, fill_colors
from segcrit.labels.palette import Palette
from segcrit.metrics.background import background_of
from segcrit.metrics.settings import check_most

__all__ = ["ClassTable", "ClassesFile", "background_of", "build_table", "make_table", "read_classes_file"]

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
        background: 0 or None as the file says, or "by name".
    """

    entries: tuple[Entry, ...]
    stored: tuple[tuple[int, ...], ...]
    ignored: tuple[int, ...]
    says_ignored: bool
    num_classes: int | None
    ignore_color: tuple[int, int, int] | None
    unknown: UnknownPolicy
    background: int | str | None = "by name"


@dataclass(frozen=True)
class ClassTable:
    """The classes of a data set and how its masks are read."""

    classes: tuple[ClassInfo, ...]
    ignore_index: int | None
    coding: LabelCoding
    notes: tuple[str, ...] = ()
    background: int | None = 0


def read_classes_file(path: Path) -> ClassesFile:
    """Read a classes.json, or a text file with the name of a class on each line (see ``class_names``).

    Beside ``num_classes``, ``ignore_index`` and ``classes: [{index, name, color}]`` it may hold, in a class,
    ``"value"`` or ``"values"``: the numbers that stand for it in the mask files where they are not its index; and at
    the top ``"unknown"``: ``"error"`` (default), ``"ignore"`` or ``"nearest"``, the meaning of all other values, and
    ``"background"``: 0 where class 0 is the background, null where it is a class like the others (default: by its name).

    Raises:
        DataError: the file is damaged or contradicts itself.
    """
    content: Any
    if path.suffix.lower() in TEXT_SUFFIXES:
        content = {"classes": read_class_names(path)}
    else:
        content = parse_json(read_text(path), f"a readable {path.name}", f"Correct {path}.")
    if not isinstance(content, dict):
        raise DataError(f"an object in {path}", type(content).__name__, 'Write {"classes": [...]}.')
    count = content.get("num_classes")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise DataError(f"a positive integer as num_classes in {path}", repr(count), "Correct it.")
    if count is not None:
        check_most(count)
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
    check_most(len(listed))
    try:
        entries = entries_of(listed)
    except ParameterError as error:
        raise DataError(error.expected, f"{error.got} in {path}", error.advice, code=error.code) from error
    unknown = content.get("unknown", "error")
    if unknown not in ("error", "ignore", "nearest"):
        raise DataError(f'"error", "ignore" or "nearest" as "unknown" in {path}', repr(unknown), "Correct it.")
    background = content.get("background", "by name")
    if background not in (0, None, "by name") or isinstance(background, bool):
        raise DataError(
            f'0 or null as "background" in {path}',
            repr(background),
            "Number the background 0, or write null where class 0 is a class like the others.",
        )
    void = content.get("ignore_index", VOID)
    if void is not None and not _can_be_stored(void):
        raise DataError(f"an integer or null as ignore_index in {path}", reprlib.repr(void), "Correct it.")
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
        background=background,
    )


def _stored_values(item: Any, index: int, path: Path) -> tuple[int, ...]:
    if not isinstance(item, Mapping):
        return (index,)
    values = item.get("values", item.get("value", index))
    values = values if isinstance(values, list) else [values]
    if not values or not all(map(_can_be_stored, values)):
        raise DataError(f"integers as values of class {index} in {path}", reprlib.repr(values), "Correct them.")
    return tuple(values)


def _can_be_stored(value: Any) -> bool:
    """Whether a value is an integer that label maps can hold: of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


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
    table = make_table(entries, stored, file.ignored, file.unknown, file.ignore_color, notes, path)
    if not file.says_ignored:
        table = replace(table, coding=replace(table.coding, assumed=file.ignored))
    return table if isinstance(file.background, str) else replace(table, background=file.background)


def make_table(
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
    coding = LabelCoding(taken, ignored, ignore_index, palette, unknown)
    return ClassTable(classes, ignore_index, coding, tuple(notes), background_of([entry.name for entry in classes]))


def free_void(num_classes: int) -> int:
    """A label for ignored pixels that is no class: 255 where possible."""
    return VOID if num_classes <= VOID else WIDE_VOID
