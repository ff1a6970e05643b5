"""One image: read its truth and its predictions, count, measure, or say what is the matter. Runs in workers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.data.coding import LabelCoding, StoredMask
from segcrit.data.formats import file_format, probe
from segcrit.data.reading import shown_size
from segcrit.errors import DataError, LabelError, SegcritError, ShapeError
from segcrit.evaluating.arrays import Strange, decode, prediction_of, target_of, to_logits
from segcrit.evaluating.matching import Pair
from segcrit.evaluating.store import Counted, Row, Trouble
from segcrit.evaluating.windows import Source, open_source, size_of, window_shape, windows
from segcrit.evaluation.counts import count_batch
from segcrit.evaluation.inputs import read_batch
from segcrit.evaluation.measure import Values
from segcrit.evaluation.measuring import measure_batch
from segcrit.evaluation.settings import Settings
from segcrit.evaluation.tables import CountTable

__all__ = ["Plan", "count_pair"]

Array = npt.NDArray[Any]

# Measures whose arrays of an image are sums over its pixels: those of its windows add up.
_ADDITIVE: Final = frozenset({"calibration", "curves"})
_UNREADABLE, _SIZES, _UNKNOWN, _LOSSY, _UNFIT = "unreadable", "sizes-differ", "unknown-labels", "lossy", "does-not-fit"


@dataclass(frozen=True)
class Plan:
    """What every worker needs to know.

    Attributes:
        settings: of the counting.
        target: coding of the label maps.
        models: their names.
        predictions: coding of each model's predictions.
        values: what floating predictions hold.
        tile: images of more than twice the square of this are read by windows of this side.
    """

    settings: Settings
    target: LabelCoding
    models: tuple[str, ...]
    predictions: tuple[LabelCoding, ...]
    values: str
    tile: int

    @property
    def can_tile(self) -> bool:
        """Whether everything that is measured adds up over windows."""
        additive = all(measure.kind in _ADDITIVE for measure in self.settings.measures)
        return additive and self.settings.task != "multilabel" and self.settings.upsample is None


def count_pair(pair: Pair, plan: Plan) -> Row:
    """Count one image; nothing raises for a bad file."""
    try:
        size = size_of(pair.target) if plan.can_tile else None
    except DataError:
        size = None  # the reason is told when the file is read
    if size is not None and size[0] * size[1] > 2 * plan.tile**2:
        return _count_windows(pair, plan, size)
    return _count_whole(pair, plan)


def _count_whole(pair: Pair, plan: Plan) -> Row:
    settings = plan.settings
    try:
        target, mode = target_of(pair.target, plan.target, settings)
    except SegcritError as error:
        return Row(pair.id, 0, (), (), (_trouble(error, pair, pair.target, ""),))
    spacing = _spacing(pair.target) if settings.measures else None
    modes, models, troubles = [mode], [], []
    for place, (path, coding) in enumerate(zip(pair.predictions, plan.predictions, strict=True)):
        role = plan.models[place]
        try:
            prediction, mode = prediction_of(path, target.shape, coding, settings, plan.values)
            modes.append(mode)
            models.append(_count(prediction, target, settings, spacing, pair, path, plan, coding))
        except _WrongTruth as found:
            troubles.append(found.trouble)
            break
        except SegcritError as error:
            troubles.append(_trouble(error, pair, path, role))
    if troubles and all(trouble.role for trouble in troubles) and settings.task != "multilabel":
        # Where no prediction could be counted, nothing has looked at the values of the truth yet.
        strange = _strange_truth(target, plan)
        if strange is not None:
            troubles.append(_trouble(strange, pair, pair.target, ""))
    return Row(pair.id, int(target.size), tuple(models), tuple(modes), tuple(troubles))


class _WrongTruth(SegcritError):
    """The truth, not the prediction, is the matter."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.expected, trouble.got, trouble.advice)
        self.trouble = trouble


def _count(
    prediction: Array,
    target: Array,
    settings: Settings,
    spacing: tuple[float, ...] | None,
    pair: Pair,
    path: Path,
    plan: Plan,
    coding: LabelCoding,
) -> Counted:
    is_logits = prediction.dtype.kind == "f"
    if is_logits and settings.upsample is None:
        found = prediction.shape[1:] if settings.task != "multilabel" else prediction.shape
        _require_size(path, found, target.shape)
    elif not is_logits and prediction.ndim == target.ndim:
        _require_size(path, prediction.shape, target.shape)
    try:
        batch = read_batch(prediction[None], target[None], settings)
        entries = count_batch(batch, settings).row(0)
        measured = {kind: rows[0] for kind, rows in measure_batch(batch, settings, spacing).items()}
    except LabelError as error:
        _explain_labels(error, prediction, target, pair, path, plan, coding)
        raise
    return Counted(entries, measured)


def _require_size(path: Path, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise ShapeError(
            f"a prediction of the size of its label map, {shown_size(wanted)}",
            f"{shown_size(found)}",
            "Save predictions at full size (labels by nearest neighbour), or pass --upsample linear with logits.",
        )


def _explain_labels(
    error: LabelError, prediction: Array, target: Array, pair: Pair, path: Path, plan: Plan, coding: LabelCoding
) -> None:
    """Name the values that are no class, those of the truth first.

    Raises:
        _WrongTruth, Strange: they were found.
    """
    if plan.settings.task == "multilabel":
        return
    strange = _strange_truth(target, plan)
    if strange is not None:
        raise _WrongTruth(_trouble(strange, pair, pair.target, "")) from error
    if prediction.dtype.kind != "f" and prediction.shape == target.shape:
        unknown = _unknown(prediction, coding)
        if unknown:
            raise Strange(error.expected, error.got, error.advice, unknown) from error


def _strange_truth(target: Array, plan: Plan) -> Strange | None:
    """The error for a label map with values that are no class, if it has some."""
    unknown = _unknown(target, plan.target)
    if not unknown:
        return None
    explained = plan.target.unknown_error(unknown)
    return Strange(explained.expected, explained.got, explained.advice, unknown)


def _unknown(labels: Array, coding: LabelCoding) -> dict[int, int]:
    counts = StoredMask(labels, False, None, "").value_counts()
    known = {*coding.classes.values()}
    if coding.ignore_index is not None:
        known.add(coding.ignore_index)
    return {value: pixels for value, pixels in counts.items() if value not in known}


def _trouble(error: SegcritError, pair: Pair, path: Path, role: str) -> Trouble:
    code = _UNFIT
    values: tuple[tuple[int, int], ...] = ()
    if isinstance(error, Strange):
        code = _UNKNOWN
        values = tuple(sorted(error.values.items(), key=lambda entry: -entry[1])[:64])
    elif isinstance(error, LabelError):
        code = _UNKNOWN
    elif isinstance(error, ShapeError):
        code = _SIZES
    elif isinstance(error, DataError):
        code = _LOSSY if "JPEG" in error.got or "lossy" in error.got else _UNREADABLE
    return Trouble(code, role, pair.id, path.name, error.expected, error.got, error.advice, values)


def _spacing(path: Path) -> tuple[float, ...] | None:
    """Size of a pixel, where the file tells it."""
    return probe(path).spacing if file_format(path) == "nifti" else None


def _count_windows(pair: Pair, plan: Plan, size: tuple[int, int]) -> Row:
    """Count an image window by window, without ever holding all of it."""
    paths = (pair.target, *pair.predictions)
    with ExitStack() as stack:
        sources: list[Source] = []
        for path in paths:
            try:
                source = stack.enter_context(open_source(path))
            except Exception:  # the decoder's own errors: reading the file as a whole tells what is the matter
                return _count_whole(pair, plan)
            if source is None:
                return _count_whole(pair, plan)
            sources.append(source)
        for place, source in enumerate(sources[1:]):
            if source.size != size:
                error = ShapeError(
                    f"a prediction of the size of its label map, {shown_size(size)}",
                    shown_size(source.size),
                    "Resize it.",
                )
                trouble = _trouble(error, pair, pair.predictions[place], plan.models[place])
                return Row(pair.id, 0, (), (), (trouble,))
        shape = window_shape(sources, plan.tile)
        sums = [_Sum(plan.settings) for _ in plan.models]
        modes: list[str] = []
        for rows, columns in windows(size, shape):
            found = _window(sources, rows, columns, pair, plan)
            if isinstance(found, Trouble):
                return Row(pair.id, 0, (), (), (found,))
            parts, modes = found
            for total, part in zip(sums, parts, strict=True):
                total.add(part)
    return Row(pair.id, size[0] * size[1], tuple(total.counted() for total in sums), tuple(modes))


def _window(
    sources: list[Source], rows: slice, columns: slice, pair: Pair, plan: Plan
) -> tuple[list[Counted], list[str]] | Trouble:
    path, role = pair.target, ""
    try:
        stored = _read(sources[0], rows, columns, path)
        if not isinstance(stored, StoredMask):
            raise DataError(f"whole numbers in {path}", f"values of type {stored.dtype}", "Save class numbers.")
        target = decode(stored, plan.target, path)
        counted, modes = [], [stored.mode]
        for place, (source, coding) in enumerate(zip(sources[1:], plan.predictions, strict=True)):
            path, role = pair.predictions[place], plan.models[place]
            part = _read(source, rows, columns, path)
            if isinstance(part, StoredMask):
                prediction = decode(part, coding, path)
                modes.append(part.mode)
            else:
                prediction = to_logits(part, 2, plan.settings, plan.values, path)
                modes.append(str(part.dtype))
            counted.append(_count(prediction, target, plan.settings, None, pair, path, plan, coding))
        return counted, modes
    except _WrongTruth as found:
        return found.trouble
    except SegcritError as error:
        return _trouble(error, pair, path, role)


def _read(source: Source, rows: slice, columns: slice, path: Path) -> Array | StoredMask:
    try:
        return source.read(rows, columns)
    except (SegcritError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            "a whole file", f"{path}, which is damaged or cut off ({reason[:160]})", "Copy it again."
        ) from error


class _Sum:
    """Counts and additive measures of the windows of an image."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._counts = np.zeros(int(np.prod(settings.matrix)), dtype=np.int64)
        self._measures: dict[str, dict[str, Array]] = {}

    def add(self, part: Counted) -> None:
        self._counts[part.entries[0]] += part.entries[1]
        for kind, values in part.measures.items():
            own = self._measures.setdefault(kind, {})
            for name, array in values.items():
                own[name] = own[name] + array if name in own else np.asarray(array)

    def counted(self) -> Counted:
        cells = np.flatnonzero(self._counts)
        table = CountTable.from_entries(1, self._settings.matrix, np.zeros_like(cells), cells, self._counts[cells])
        measures: Mapping[str, Values] = self._measures
        return Counted(table.row(0), measures)
