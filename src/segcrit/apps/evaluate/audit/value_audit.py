"""What the values in label maps and predictions mean: what is told about their coding, and which option reads them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from segcrit.apps.evaluate.counting.store import Tally
from segcrit.apps.evaluate.reading.labels import codings_of
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.core.errors import DataError
from segcrit.data.coding.mask_coding import LabelCoding
from segcrit.data.coding.values import ELEMENTS, check_values, differing_palettes, with_option
from segcrit.data.files.formats import file_format, probe
from segcrit.data.problems import Problem
from segcrit.data.scanning import MaskValues, Scanner
from segcrit.metrics.ratios import Integers
from segcrit.metrics.tables import CountTable

__all__ = [
    "advice_for_values",
    "audit_coding",
    "audit_palettes",
    "audit_values",
    "classes_of",
    "expected_values",
    "rules_from_1",
]

_VOID: Final = 255
# Palette files of each folder that are looked at.
_LOOKED_AT: Final = 32
# Larger label maps, which are counted by windows, are not read as a whole.
_MOST_PIXELS: Final = 1 << 26
# More classes than this lie fewer than eight grey levels apart.
_MOST_LEVELS: Final = 32
# Rules of a map that an advice writes out.
_SHOWN_RULES: Final = 12


def classes_of(tally: Tally, table: CountTable, *, truth: bool) -> Integers:
    """Pixels of each class in each image, (images, C)."""
    tp, fp, fn, _ = table.class_counts(tally.settings.task)
    return tp + fn if truth else tp + fp


def audit_coding(tally: Tally, counts: Integers) -> list[Problem]:
    """What the values in the label maps tell about their coding, from the counts of the classes and of the rest."""
    coding = replace(codings_of(tally.about)[0], assumed=tuple(tally.sources.get("assumed", ())))
    if coding.unknown == "ignore" or tally.sources.get("declared"):
        return []  # told by audit_values, which sees the values themselves
    task = tally.settings.task
    judged = np.max([table.class_counts(task)[3] for table in tally.tables], axis=0)
    wording = with_option("--map", "label maps")
    if task == "multilabel":  # 0 and 1 in each channel
        coding = replace(coding, classes={0: 0, 1: 1})
        counts = np.stack([(judged - counts).sum(axis=1), counts.sum(axis=1)], axis=1)
        judged = judged.sum(axis=1)
        wording = ELEMENTS
    stored = {label: value for value, label in sorted(coding.classes.items(), reverse=True)}
    found = {}
    for name, row, left in zip(tally.ids, counts, tally.pixels - judged, strict=True):
        own = {stored[label]: int(row[label]) for label in np.flatnonzero(row).tolist() if label in stored}
        # With a valid area, pixels that do not count need not hold an ignored value.
        if left and coding.ignored and not tally.about.get("valid"):
            own[(coding.assumed or coding.ignored)[0]] = int(left)
        found[name] = MaskValues(own, False, "", None, len(own))
    return check_values(found, replace(coding, unknown="error"), wording)


def audit_values(
    pairs: Sequence[Pair],
    models: Sequence[str],
    target: LabelCoding,
    predictions: Sequence[LabelCoding],
    *,
    declared: bool = False,
) -> list[Problem]:
    """What the values in the files tell where counts of classes cannot: pixels that a coding moves or leaves out.

    Such files are read once more than the others, in which every value is a class or an error.

    Args:
        pairs: the images.
        models: names of the models.
        target: coding of the label maps.
        predictions: of the predictions of each model.
        declared: whether label maps declare missing values, which the counts do not tell from undeclared ones.
    """
    problems = []
    for place, (role, coding) in enumerate(zip(("", *models), (target, *predictions), strict=True)):
        everything = not role and (coding.unknown == "ignore" or declared)
        if coding.unknown == "error" and not everything and (not role or not coding.assumed):
            continue
        paths = {pair.id: pair.target if not role else pair.predictions[place - 1] for pair in pairs}
        paths = {name: path for name, path in paths.items() if _holds_labels(path)}
        if declared and not role:
            paths = {name: path for name, path in paths.items() if math.prod(probe(path).shape) <= _MOST_PIXELS}
        scan = Scanner(next(iter(paths.values())).parent).mask_values(list(paths.values())) if paths else None
        if scan is None:
            continue
        wording = (
            with_option("--map-predictions", f"predictions of {role!r}") if role else with_option("--map", "label maps")
        )
        found = {name: scan.found[path] for name, path in paths.items() if path in scan.found}
        told = {"mixed-coding", "values-moved"} if role else {"values-moved"}  # the rest is told from the counts
        problems += [entry for entry in check_values(found, coding, wording) if everything or entry.code in told]
    return problems


def audit_palettes(
    pairs: Sequence[Pair], models: Sequence[str], target: LabelCoding, predictions: Sequence[LabelCoding]
) -> list[Problem]:
    """Palette files of one folder whose colours have different numbers, from some of the files."""
    problems = []
    some = pairs[:: max(1, len(pairs) // _LOOKED_AT)]
    for place, (role, coding) in enumerate(zip(("", *models), (target, *predictions), strict=True)):
        paths = {pair.id: pair.target if not role else pair.predictions[place - 1] for pair in some}
        paths = {name: path for name, path in paths.items() if file_format(path) == "raster"}
        if not paths:
            continue
        scanner = Scanner(next(iter(paths.values())).parent)
        headers = scanner.headers(list(paths.values())).found
        paths = {name: path for name, path in paths.items() if path in headers and headers[path].mode == "palette"}
        values = scanner.mask_values(list(paths.values())).found
        found = {name: values[path] for name, path in paths.items() if path in values}
        what = f"predictions of {role!r}" if role else "label maps"
        problems += differing_palettes(found, coding, with_option("--map", what))
    return problems


def _holds_labels(path: Path) -> bool:
    """Whether a file, by its name or header, is an image or an array of whole numbers without channels."""
    if path.suffix.lower() == ".npz":
        return False
    if path.suffix.lower() != ".npy":
        return True
    try:
        header = probe(path)
    except DataError:
        return False  # the reason is told when the file is counted
    return np.dtype(header.dtype).kind in "bui" and len(header.shape) == 2


def expected_values(role: str, tally: Tally) -> str:
    about = tally.about["predictions"][tally.models.index(role)] if role else tally.about["target"]
    stored = sorted({*(int(value) for value in about["classes"]), *about["ignored"]})
    shown = f"{stored[0]} to {stored[-1]}" if stored == list(range(len(stored))) else ", ".join(map(str, stored[:40]))
    return f"predicted labels {shown}" if role else f"values {shown} in the label maps"


def advice_for_values(values: Counter[int], role: str, tally: Tally) -> str:
    classes = tally.settings.classes
    option = "--map-predictions" if role else "--map"
    if set(values) == {_VOID} and classes == 2:
        table = tally.tables[tally.models.index(role) if role else 0]
        ones = bool(classes_of(tally, table, truth=not role)[:, 1].any())  # in other files
        rules = "0:0,1:1,255:1" if ones else "0:0,255:1"
        both = " as 1 is in other files" if ones else ""
        void = "" if role else "; if void, --ignore-index 255"
        return f"If 255 is the foreground{both}, pass {option} '{rules}'{void}."
    if len(values) > 8:
        smooth = "save labels without smoothing: so many values come from smooth edges or JPEG"
        if role and classes == 2:
            task = "" if tally.settings.task == "binary" else " --task binary"
            return f"If they are probabilities of the foreground, pass --values probabilities{task}; if not, {smooth}."
        return f"{smooth[0].upper()}{smooth[1:]}."
    levels = _grey_levels(classes)
    # The classes + 1 counted from 1 may be a grey level, too; and levels of many classes are nearly all numbers there are.
    spread = 2 < classes <= _MOST_LEVELS and set(values) not in ({_VOID}, {classes})
    if spread and set(values) <= set(levels):
        rules = ",".join(f"{level}:{levels[level]}" for level in sorted({*values, 0, _VOID}))
        return f"If the classes are grey levels, pass {option} '{rules}'."
    if role:
        return _advice_for_predictions(values, tally)
    if set(values) == {classes}:
        return (
            f"If {classes} is a class too, pass --classes {classes + 1}; if void, --ignore-index {classes}; if the classes "
            f"are numbered from 1, --reduce-zero-label, or {option} to say what 0 means."
        )
    if len(values) == 1:
        (value,) = values
        void = f"If {value} is void, pass --ignore-index {value}"
        return f"{void}; else {option} '{value}:CLASS,...', or --classes {value + 1}."
    return f"Say what they mean: {option} 'VALUE:CLASS,...', with '*:ignore' for all others; or correct --classes."


def _grey_levels(classes: int) -> dict[int, int]:
    """Grey level -> class where classes are spread over 0 to 255, rounded either way."""
    steps = [255 * label / max(classes - 1, 1) for label in range(classes)]
    return {way(step): label for label, step in enumerate(steps) for way in (math.floor, math.ceil)}


def _advice_for_predictions(values: Counter[int], tally: Tally) -> str:
    settings = tally.settings
    if set(values) == {settings.classes}:
        return f"Numbers from 1? Pass --map-predictions '{rules_from_1(settings.classes)}'."
    advice = "Predict classes only, or say what the values mean: --map-predictions 'VALUE:CLASS,...'"
    if settings.ignore_index in values and settings.ignored_prediction == "error":
        return f"{advice}; --policy cityscapes counts pixels of the ignore label {settings.ignore_index} as missed."
    return f"{advice}."


def rules_from_1(classes: int) -> str:
    shown = ",".join(f"{label + 1}:{label}" for label in range(min(classes, _SHOWN_RULES)))
    return shown if classes <= _SHOWN_RULES else f"{shown},..."
