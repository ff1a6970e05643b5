"""The classes of an evaluation, and how label maps and predictions are read into them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from segcrit.apps.evaluate.options import Options, parse_measure
from segcrit.apps.evaluate.reading.mapping import identity_coding, is_identity, parse_map, reduced_coding
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.core.atomic import user_path
from segcrit.core.constants import DEFAULT_IGNORE_INDEX
from segcrit.core.errors import DataError, ParameterError
from segcrit.data.audit.survey import damaged
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.coding.class_names import TEXT_SUFFIXES
from segcrit.data.coding.classes import VOID, ClassTable, build_table, free_void, make_table, read_classes_file
from segcrit.data.coding.inference import infer_table
from segcrit.data.coding.known_classes import known_classes
from segcrit.data.coding.mask_coding import LabelCoding, value_ranges
from segcrit.data.files.formats import file_format
from segcrit.data.files.nodata import declared_values, nodata_sentences
from segcrit.data.problems import FolderError
from segcrit.data.reading import read_stored_mask
from segcrit.data.scanning import Scanner
from segcrit.labels.class_list import Entry
from segcrit.labels.palette import Palette
from segcrit.metrics.background import BY_NAME
from segcrit.metrics.checks import make_settings
from segcrit.metrics.policy import get_policy
from segcrit.metrics.settings import Settings, check_most

__all__ = ["Labels", "codings_of", "describe", "read_labels"]

# Predictions that are looked at to tell class numbers from stored values.
_LOOKED_AT: Final = 32
# Headers of label maps that are looked at for declared missing values.
_MOST_HEADERS: Final = 2000
_MASKS: Final = frozenset({".npy", ".npz"})
# As many grey levels may be classes.
_FEW_VALUES: Final = 12
_CLASSES: Final = "classes.json"


@dataclass(frozen=True)
class Labels:
    """Classes and codings.

    Attributes:
        classes: with their colours, for pictures.
        settings: of the counting.
        target: coding of the label maps.
        predictions: coding of the predictions of each model.
        notes: what was decided, in sentences.
        declared: whether label maps declare missing values.
    """

    classes: tuple[ClassInfo, ...]
    settings: Settings
    target: LabelCoding
    predictions: tuple[LabelCoding, ...]
    notes: tuple[str, ...] = ()
    declared: bool = False


def read_labels(
    options: Options, target: Path, pairs: Sequence[Pair], models: Sequence[str], *, sharded: bool
) -> Labels:
    """Decide about classes and codings; the same for every shard of one evaluation.

    Raises:
        ParameterError, DataError: the options contradict each other or the files.
    """
    table, origin = _table(options, target, pairs, models, sharded)
    count = len(table.classes)
    if options.task == "binary" and count > 2:
        raise ParameterError(
            "two classes in a binary task",
            f"{count}, from {origin}",
            "Pass --classes 2 (and --map if the label maps hold more values), or leave out --task binary.",
        )
    void = _void(options, table)
    palette = _palette(table, void)
    # Without a word about 255 it is ignored: the audit tells how much that leaves out.
    assumed: tuple[int, ...] = () if options.ignore_index is not None or void is None else (void,)
    if options.map is not None:
        rules = parse_map(options.map)
        coding = rules.coding(count, void, palette)
        assumed = () if rules.others else tuple(value for value in assumed if value not in rules.values)
    elif options.reduce_zero_label is not None:
        coding = reduced_coding(count, void)
    else:
        coding = _with_void(table.coding, void, count)
        assumed = () if options.ignore_index is not None else table.coding.assumed
    coding = replace(coding, assumed=tuple(value for value in assumed if value in coding.ignored))
    settings = make_settings(
        count,
        task=options.task,
        threshold=options.threshold,
        ignore_index=DEFAULT_IGNORE_INDEX if void is None else void,
        class_names=[entry.name for entry in table.classes],
        policy=options.policy,
        upsample=options.upsample,
        align_corners=options.align_corners,
        measures=[parse_measure(text) for text in options.measures],
        background=table.background if options.task == "multiclass" else BY_NAME,
    )
    predicted_void = void if get_policy(options.policy).ignored_prediction != "error" else None
    plain = identity_coding(count, predicted_void, palette)
    plain = replace(plain, assumed=() if options.ignore_index is not None else plain.ignored)
    told = _declared(pairs, coding, options, origin)
    notes = [*table.notes, *told]
    codings = []
    for place, model in enumerate(models):
        chosen, note = _prediction_coding(options, coding, plain, pairs, place, model)
        codings.append(chosen)
        notes += note
    return Labels(table.classes, settings, coding, tuple(codings), tuple(notes), bool(told))


def _declared(pairs: Sequence[Pair], coding: LabelCoding, options: Options, origin: str) -> list[str]:
    """What is done with the values that label maps declare as missing.

    Raises:
        ParameterError: such a value is a class only because of the number of classes.
    """
    rasters = [pair.target for pair in pairs if file_format(pair.target) == "tiff"]
    headers = (
        Scanner(rasters[0].parent).headers(rasters[:: max(1, len(rasters) // _MOST_HEADERS)]).found if rasters else {}
    )
    classes = set(coding.classes) - {0, coding.ignore_index}
    counted = next((text for text in declared_values(headers.values()) if float(text) in classes), None)
    by_number = origin == "--classes" and options.map is None and not os.path.isfile(str(options.classes))
    if counted is not None and by_number:
        raise ParameterError(
            f"--ignore-index or --map beside label maps that declare {counted} as missing (nodata)",
            f"--classes {options.classes}, which makes it a class",
            f"If it means no data, pass --ignore-index {counted}; if it is a class, name its value with --map.",
            code="nodata-is-class",
        )
    return nodata_sentences(headers.values(), coding, "label maps", "pass --ignore-index {value}")


def _table(
    options: Options, target: Path, pairs: Sequence[Pair], models: Sequence[str], sharded: bool
) -> tuple[ClassTable, str]:
    """The classes, and where they come from."""
    given = options.classes
    if given is not None:
        return _given_table(given, options.task), "--classes"
    if (file := _classes_file(target)) is not None:
        return build_table(read_classes_file(file), file), str(file)
    _require_order(pairs, models, target)
    known = known_classes((target, target.parent), [pair.target for pair in pairs]) if options.map is None else None
    if known is not None and options.task == "multiclass":
        return build_table(*known), str(known[1])
    if options.map is not None:
        labels = [label for label in parse_map(options.map).values.values() if label is not None and label != VOID]
        return _numbered(max(labels, default=0) + 1, options.task), "--map"
    if sharded or options.task == "multilabel":
        why = "a shard sees a part of the label maps only" if sharded else "channels cannot be told from the values"
        raise ParameterError(f"--classes, because {why}", "none", "Write --classes 19, or their names.")
    return _inferred(target if target.is_dir() else target.parent, pairs), "the values in the label maps"


def _given_table(given: str, task: str) -> ClassTable:
    if re.fullmatch(r"\s*\d{1,20}\s*", given):
        return _numbered(int(given), task)
    if given.lower().endswith((".json", *TEXT_SUFFIXES)) or os.path.isfile(user_path(given)):
        file = user_path(given)
        return build_table(read_classes_file(file), file)
    names = [name.strip() for name in given.split(",")]
    if len(names) < 2 and task == "multiclass":
        raise ParameterError(
            "the number of classes, names separated by commas, or a file with them", repr(given), "Write --classes 19."
        )
    return _named(names)


def _classes_file(place: Path) -> Path | None:
    """The classes.json in a folder or beside it; of a file, in its folder or beside that."""
    folder = place if place.is_dir() else place.parent
    return next((file for file in (folder / _CLASSES, folder.parent / _CLASSES) if file.is_file()), None)


def _require_order(pairs: Sequence[Pair], models: Sequence[str], target: Path) -> None:
    """Refuse what looks like PRED and TARGET exchanged: only the predictions have a classes.json.

    Precision and recall would be exchanged, and nothing else would tell.
    """
    for model, path in zip(models, pairs[0].predictions if pairs else (), strict=False):
        file = _classes_file(path)
        if file is not None:
            raise ParameterError(
                f"a classes.json in {target} or beside it, as TARGET comes last",
                f"one for the predictions of {model!r} only, {file}",
                f"If PRED and TARGET are exchanged, exchange them; if not, pass --classes {file}.",
            )


def _numbered(count: int, task: str) -> ClassTable:
    check_most(count)
    if task == "binary" and count <= 2:
        return _named(["background", "foreground"])
    return _named([f"class {index}" for index in range(count)])


def _named(names: Sequence[str]) -> ClassTable:
    entries = [Entry(index, name, None) for index, name in enumerate(names)]
    if len(entries) == 1:
        # The one channel of a multilabel task, which make_table knows nothing of.
        coding = replace(identity_coding(1, VOID), assumed=(VOID,))
        return ClassTable((ClassInfo(0, names[0], (230, 159, 0)),), VOID, coding)
    stored = [(index,) for index in range(len(entries))]
    ignored = (VOID,) if len(entries) <= VOID else ()
    table = make_table(entries, stored, ignored, "error", None, (), Path("--classes"))
    return replace(table, coding=replace(table.coding, palette=None, assumed=ignored))


def _inferred(folder: Path, pairs: Sequence[Pair]) -> ClassTable:
    paths = [pair.target for pair in pairs]
    arrays = [path for path in paths if path.suffix.lower() in _MASKS and path.suffix.lower() == ".npz"]
    if arrays:
        raise ParameterError("--classes beside label maps in npz files", "none", "Write --classes 19, or their names.")
    scan = Scanner(folder).mask_values(paths)
    if scan.errors and not scan.found:
        raise FolderError([damaged(scan.errors)])
    # Damaged files are told with everything else that is the matter, by the counting.
    try:
        return infer_table(scan.found, folder)
    except FolderError as error:
        values = sorted({value for mask in scan.found.values() if not mask.is_color for value in mask.counts})
        if error.problems[0].code != "grey-masks" or len(values) > _FEW_VALUES:
            raise
        rules = ",".join(f"{value}:{label}" for label, value in enumerate(values))
        advice = f"If they are classes, pass --classes {len(values)} --map '{rules}'. {error.problems[0].advice}"
        raise FolderError([replace(error.problems[0], advice=advice)]) from None


def _void(options: Options, table: ClassTable) -> int | None:
    wish = options.ignore_index
    if isinstance(wish, int):
        return wish
    if wish is not None:
        return None  # "none"
    if table.ignore_index is None and (options.map is not None or options.reduce_zero_label is not None):
        return free_void(len(table.classes))
    return table.ignore_index


def _with_void(coding: LabelCoding, void: int | None, count: int) -> LabelCoding:
    """The coding with another ignore label than its table has."""
    label = coding.ignore_index
    if void == label or (void is None and not coding.ignored):
        return replace(coding, ignore_index=void)
    classes = {value: own for value, own in coding.classes.items() if value != void}
    if void is None:
        return replace(coding, classes=coding.classes, ignored=(), ignore_index=None)
    if 0 <= void < count and len(classes) < len(coding.classes):
        # A class that is not to be judged: its pixels are left out, the others keep their numbers.
        classes = dict(coding.classes)
    ignored = tuple(sorted({*(value for value in coding.ignored if value != label), void} - set(classes)))
    return LabelCoding(classes, ignored, void, coding.palette, coding.unknown)


def _palette(table: ClassTable, void: int | None) -> Palette | None:
    found = table.coding.palette
    if found is None or (void is not None and 0 <= void < len(table.classes)):
        return None
    return Palette(found.colors, names=found.names, ignore_index=void, ignore_color=found.ignore_color)


def _prediction_coding(
    options: Options, target: LabelCoding, plain: LabelCoding, pairs: Sequence[Pair], place: int, model: str
) -> tuple[LabelCoding, list[str]]:
    wish = options.map_predictions
    if wish == "same" or (wish is None and options.reduce_zero_label == "both"):
        return target, []
    if wish == "index" or (wish is None and options.reduce_zero_label is not None):
        return plain, []
    if wish is not None:
        rules = parse_map(wish)
        if plain.ignore_index is None and rules.ignores:
            raise ParameterError(
                f"--map-predictions to classes only: under policy {options.policy!r} a model decides at every pixel",
                "a map that ignores predicted values",
                "Map them to a class, or pass --policy cityscapes, which counts ignored predictions as missed.",
            )
        return rules.coding(len(set(plain.classes)), plain.ignore_index, plain.palette), []
    # Grey probabilities are shares of the largest value and no class numbers.
    if is_identity(target) or options.map is not None or options.values == "probabilities":
        return plain, []
    return _told_by_values(options.task, target, plain, pairs, place, model)


def _told_by_values(
    task: str, target: LabelCoding, plain: LabelCoding, pairs: Sequence[Pair], place: int, model: str
) -> tuple[LabelCoding, list[str]]:
    """Whether predictions hold class numbers, or the same values as the label maps, from some of the files."""
    step = max(1, len(pairs) // _LOOKED_AT)
    seen: set[int] = set()
    for pair in pairs[::step]:
        path = pair.predictions[place]
        if path.suffix.lower() in _MASKS:
            continue
        try:
            mask = read_stored_mask(path)
        except DataError:
            continue
        if not mask.is_color and mask.array.dtype.kind in "bui":
            seen |= set(mask.value_counts())
    stored, numbers = set(target.table), set(plain.table)
    if not seen or (seen <= stored and not seen <= numbers):
        return target, [f"Predictions of {model!r} hold the same values as the label maps ({value_ranges(stored)})."]
    if seen <= numbers and not seen <= stored:
        return plain, [f"Predictions of {model!r} hold class numbers ({value_ranges(numbers)})."]
    if seen <= numbers and all(target.table[value] == plain.table[value] for value in seen):
        return plain, []
    rules = ",".join(f"{value}:{label}" for value, label in sorted({**plain.classes, **target.classes}.items()))
    advice = "Pass --map-predictions index, same, or a map such as '0:0,255:1'."
    if seen <= stored | numbers and not seen <= numbers:  # some files hold the one, some the other
        advice = f"If they mean the same, pass --map-predictions '{rules}'."
    elif len(plain.classes) == 2 and not seen <= stored | numbers:
        option = "" if task == "binary" else " --task binary"
        advice = f"If they are probabilities of the foreground, pass --values probabilities{option}. If not: {advice}"
    raise ParameterError(
        f"predictions of {model!r} that hold either class numbers ({value_ranges(numbers)}) or the values of the label "
        f"maps ({value_ranges(stored)})",
        f"the values {_some(seen)}" + (", which can be both" if seen <= numbers else ""),
        advice,
    )


def _some(values: set[int]) -> str:
    """The values, of many the first and how many more there are."""
    shown = value_ranges(sorted(values)[:_FEW_VALUES])
    return shown if len(values) <= _FEW_VALUES else f"{shown} and {len(values) - _FEW_VALUES} more"


def describe(labels: Labels) -> dict[str, Any]:
    """What decides about the figures, as plain values: equal for shards that may be merged."""

    def coding(entry: LabelCoding) -> dict[str, Any]:
        return {
            "classes": {str(value): label for value, label in sorted(entry.classes.items())},
            "ignored": list(entry.ignored),
            "unknown": entry.unknown,
            "ignore_index": entry.ignore_index,
            "palette": None if entry.palette is None else [list(color) for color in entry.palette.colors],
            "ignore_color": None if entry.palette is None else list(entry.palette.ignore_color),
        }

    content = {
        "settings": labels.settings.to_dict(),
        "colors": [list(entry.color) for entry in labels.classes],
        "target": coding(labels.target),
        "predictions": [coding(entry) for entry in labels.predictions],
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def codings_of(about: Mapping[str, Any]) -> tuple[LabelCoding, tuple[LabelCoding, ...]]:
    """The codings of label maps and predictions, out of what :func:`describe` gave."""

    def coding(entry: Mapping[str, Any]) -> LabelCoding:
        palette = None
        if entry["palette"] is not None:
            palette = Palette(
                entry["palette"],
                ignore_index=about["target"]["ignore_index"],
                ignore_color=entry["ignore_color"],
            )
        classes = {int(value): int(label) for value, label in entry["classes"].items()}
        return LabelCoding(classes, tuple(entry["ignored"]), entry["ignore_index"], palette, entry["unknown"])

    return coding(about["target"]), tuple(coding(entry) for entry in about["predictions"])
