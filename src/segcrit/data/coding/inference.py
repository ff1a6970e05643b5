"""The classes of a folder without classes.json, from the values in its masks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segcrit.data.coding.classes import VOID, ClassTable, make_table
from segcrit.data.coding.mask_coding import LabelCoding, value_ranges
from segcrit.data.coding.values import IN_FILE, classes_json, grey_counts, mixed_coding, real_values
from segcrit.data.files.stored_labels import NO_DATA
from segcrit.data.problems import FolderError, Problem
from segcrit.data.scanning import MaskValues
from segcrit.labels.class_list import Entry

__all__ = ["infer_table"]

# More values with a real share of the pixels are the grey levels of an image.
_MOST_LEVELS = 40


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
    mixed = mixed_coding({os.path.relpath(path, folder): grey_counts(mask) for path, mask in found.items()})
    problem = mixed.problem(IN_FILE) if mixed is not None else _instances(found) or _not_classes(values, files)
    if problem is not None:
        raise FolderError([problem])
    declared = {mask.nodata for mask in found.values() if mask.nodata is not None}
    if NO_DATA in declared and VOID not in values:
        declared.add(VOID)  # a label for pixels whose declared value is none
    numbers = sorted(set(values) - declared)
    notes = []
    ignored = tuple(value for value in numbers if value < 0)
    if numbers == [0, VOID]:
        notes.append("Masks hold 0 and 255 only: read as two classes, 0 background and 255 foreground.")
        entries = [Entry(0, "background", (0, 0, 0)), Entry(1, "foreground", (230, 159, 0))]
        return make_table(entries, [(0,), (VOID,)], tuple(sorted(declared)), "error", None, notes, folder)
    if VOID in numbers:
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
    left_out = (*ignored, *sorted(declared))
    table = make_table(entries, [(value,) for value in numbers], left_out, "error", None, notes, folder)
    # The palette of one file is good enough to draw with, not to overrule the numbers of all the others.
    coding = LabelCoding(table.coding.classes, table.coding.ignored, table.ignore_index, assumed=ignored)
    return ClassTable(table.classes, table.ignore_index, coding, table.notes)


def _gathered(found: Mapping[Path, MaskValues]) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Pixels of each value, pixels of each colour that is not grey, and files of each value."""
    values: Counter[int] = Counter()
    colored: Counter[int] = Counter()
    files: Counter[int] = Counter()
    for mask in found.values():
        grey = grey_counts(mask)
        values.update(grey)
        files.update(grey.keys())
        if mask.is_color:
            colored.update({key: pixels for key, pixels in mask.counts.items() if key != (key & 255) * 0x010101})
    return values, colored, files


def _palette_of(found: Mapping[Path, MaskValues], numbers: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    colors: dict[int, tuple[int, int, int]] = {}
    for mask in found.values():
        for value in mask.counts if mask.palette is not None else ():
            if mask.palette is not None and value < len(mask.palette):
                red, green, blue = mask.palette[value].tolist()
                colors.setdefault(value, (red, green, blue))
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
    return Problem.error(
        "color-masks",
        "class numbers in the masks, or a classes.json that tells the colours",
        f"{count} colour masks with {len(colored)} colours ({examples}, ...) and no classes.json",
        advice,
        [path.name for path, mask in found.items() if mask.is_color],
    )


def _instances(found: Mapping[Path, MaskValues]) -> Problem | None:
    """Numbers 0 ... n in every mask, with another n in each: objects are numbered, not classes."""
    highest = [max(mask.counts, default=0) for mask in found.values()]
    if max(highest, default=0) < 20 or len(set(highest)) < 3:
        return None
    dense = sum(mask.distinct >= 0.95 * high for mask, high in zip(found.values(), highest, strict=True) if high > 1)
    if dense < 0.9 * sum(high > 1 for high in highest):
        return None
    return Problem.error(
        "instance-masks",
        "class numbers in the masks",
        f"what looks like numbered objects: every mask holds 0 to n, with n up to {max(highest)}",
        "Save class numbers (for one class of objects: mask > 0), or list the classes in classes.json.",
        count=len(found),
    )


def _remedy(values: Counter[int]) -> str:
    """How to tell the classes of masks whose values are no class numbers; no value that is meant is merged into another."""
    meant = real_values(values)
    if len(meant) > _MOST_LEVELS or len(meant) < 2:
        return "Save one number a class, 0, 1, 2, ...; a grey image of probabilities is a prediction and no mask."
    moved = 1 - sum(values[value] for value in meant) / sum(values.values())
    if not moved:
        return f"Tell the classes in classes.json: {classes_json([[value] for value in meant])}."
    content = classes_json([[value] for value in meant], unknown="nearest")
    return (
        f"Tell the classes in classes.json: {content} takes the nearest of them for stray values, {moved:.2%} of the "
        'pixels ("ignore" leaves such pixels out).'
    )


def _not_classes(values: Counter[int], files: Counter[int]) -> Problem | None:
    """Grey levels where class numbers should be."""
    numbers = sorted(values)
    total = sum(values.values())
    other = [value for value in numbers if value not in (0, VOID)]
    listing = ", ".join(f"{value} ({pixels / total:.2%})" for value, pixels in values.most_common(5))
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    negative = [value for value in numbers if value < 0]
    remedy = _remedy(values)
    if len(numbers) == 1:
        return Problem.error(
            "one-value",
            "at least two classes in the masks",
            f"the value {numbers[0]} everywhere",
            "Check that masks/ holds the label images.",
        )
    if len(negative) > 1:
        return Problem.error(
            "negative-labels", "class numbers from 0", f"the negative values {value_ranges(negative)}", remedy
        )
    common = sum(pixels for _, pixels in values.most_common(2)) / total
    if (VOID in values and other and max(other) > len(other) * 2 + 8) or (len(numbers) > 40 and common > 0.9):
        rare = sum(values[value] for value in other) / total
        kind = "smooth edges or JPEG in a mask of 0 and 255" if len(other) > 8 and rare < 0.3 else "grey levels"
        return Problem.error(
            "grey-masks",
            "class numbers 0, 1, 2, ... in the masks",
            f"{kind}: the values {listing}{more}, {rare:.1%} of the pixels neither 0 nor 255",
            remedy,
            count=max(files.values()),
        )
    if len(numbers) > 256:
        return Problem.error(
            "too-many-values",
            "class numbers in the masks",
            f"{len(numbers)} different values: {listing}{more}",
            "Check that masks/ holds the label images, or list the classes in classes.json.",
        )
    return None
