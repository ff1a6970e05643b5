"""One image: read its truth and its predictions, count, measure, or say what is the matter. Runs in workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from segcrit.apps.evaluate.counting.store import Counted, Row, Trouble
from segcrit.apps.evaluate.reading.arrays import Strange, prediction_of, target_of, without_missing
from segcrit.apps.evaluate.reading.axes import companion, turned_for
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.apps.evaluate.reading.readers import Area, Reader, open_area, open_readers
from segcrit.apps.evaluate.reading.windows import open_sources, size_of, window_shape, windows
from segcrit.core.errors import DataError, LabelError, SegcritError, ShapeError
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.files.axes import may_be_reversed, order_of
from segcrit.data.files.formats import Header, file_format, probe
from segcrit.data.folders.valid_area import read_valid, without_invalid
from segcrit.data.reading import shown_size
from segcrit.labels.mask import is_labelled
from segcrit.metrics.counts import count_batch, predict_labels
from segcrit.metrics.inputs import read_batch
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.batches import measure_batch
from segcrit.metrics.settings import Settings
from segcrit.metrics.tables import CountTable

__all__ = ["Plan", "count_pair"]

Array = npt.NDArray[Any]

# Postprocessing changes few of the labels that the largest probability gives.
_LEAST_ALIKE: Final = 0.5
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
        turned: for each model, whether its axes run in the opposite order to those of the label maps where a shape fits
            both; empty where they cannot.
    """

    settings: Settings
    target: LabelCoding
    models: tuple[str, ...]
    predictions: tuple[LabelCoding, ...]
    values: str
    tile: int
    turned: tuple[bool, ...] = ()

    @property
    def needs_probabilities(self) -> bool:
        """Whether something is measured that labels cannot tell."""
        return any(measure.reads_probabilities for measure in self.settings.measures)

    @property
    def can_tile(self) -> bool:
        """Whether everything that is measured adds up over windows."""
        additive = all(measure.is_additive for measure in self.settings.measures)
        return additive and self.settings.task != "multilabel" and self.settings.upsample is None


def count_pair(pair: Pair, plan: Plan) -> Row:
    """Count one image; nothing raises for a bad file."""
    beside = plan.needs_probabilities and any(companion(path) for path in pair.predictions)
    try:
        size = size_of(pair.target) if plan.can_tile and not beside else None
    except DataError:
        size = None  # the reason is told when the file is read
    if size is not None and size[0] * size[1] > 2 * plan.tile**2:
        return _count_windows(pair, plan, size)
    return _count_whole(pair, plan)


def _count_whole(pair: Pair, plan: Plan) -> Row:
    settings = plan.settings
    try:
        target, mode = target_of(pair.target, plan.target, settings, pair.predictions[0])
        if pair.valid is not None:
            valid = read_valid(pair.valid, target.shape[1:] if settings.task == "multilabel" else target.shape)
            target = without_invalid(target, valid, settings.ignore_index)
    except SegcritError as error:
        return Row(pair.id, 0, (), (), (_trouble(error, pair, pair.target, ""),))
    header = probe(pair.target) if file_format(pair.target) in ("nifti", "itk") else None
    spacing = _spacing(header, target.ndim) if header is not None and settings.takes_spacing else None
    modes, models, troubles = [mode], [], []
    for place, (path, coding) in enumerate(zip(pair.predictions, plan.predictions, strict=True)):
        role = plan.models[place]
        try:
            turned = turned_for(plan.turned, place, path, pair.target)
            prediction, mode = prediction_of(path, target.shape, coding, settings, plan.values, turned)
            prediction = without_missing(prediction, target, settings.ignore_index, path)
            modes.append(mode)
            beside = companion(path) if plan.needs_probabilities and prediction.dtype.kind != "f" else None
            shares = None if beside is None else _shares(beside, prediction, pair.target, coding, settings)
            models.append(_count(prediction, target, settings, spacing, pair, path, plan, coding, shares))
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
    doubts = () if troubles or header is None else tuple(_doubts(header, pair, plan))
    dims = target.ndim - (settings.task == "multilabel")
    sizes = None if header is None else header.spacing
    voxel = float("nan") if sizes is None else float(np.prod(sizes))
    return Row(
        pair.id, int(target.size), tuple(models), tuple(modes), tuple(troubles), doubts, voxel, spatial_dims=dims
    )


def _doubts(truth: Header, pair: Pair, plan: Plan) -> Iterator[Trouble]:
    """Predictions that by their headers lie elsewhere in space than their label map, or have voxels of another size."""
    for role, path in zip(plan.models, pair.predictions, strict=True):
        if file_format(path) not in ("nifti", "itk"):
            continue
        header = probe(path)
        if not truth.lies_like(header):
            yield Trouble(
                "affine-differs",
                role,
                pair.id,
                path.name,
                f"voxels of {_shown_spacing(truth)}",
                f"voxels of {_shown_spacing(header)}",
                "",
            )


def _shown_spacing(header: Header) -> str:
    return "unknown size" if header.spacing is None else "×".join(f"{size:.3g}" for size in header.spacing)


class _WrongTruth(SegcritError):
    """The truth, not the prediction, is the matter."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.expected, trouble.got, trouble.advice, code=trouble.code)
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
    shares: Array | None = None,
) -> Counted:
    is_logits = prediction.dtype.kind == "f"
    spatial, size = prediction.shape[1:], target.shape[settings.task == "multilabel" :]
    if is_logits and (settings.upsample is None or spatial == size[::-1]):  # reversed axes are no lower resolution
        _require_size(path, spatial, size)
    elif not is_logits and prediction.ndim == target.ndim:
        _require_size(path, prediction.shape, target.shape)
    try:
        batch = read_batch(prediction[None], target[None], settings)
        entries = count_batch(batch, settings).row(0)
        if shares is None:
            measured = measure_batch(batch, settings, spacing)
        else:
            hard, soft = (
                replace(
                    settings,
                    measures=tuple(entry for entry in settings.measures if entry.reads_probabilities == is_soft),
                )
                for is_soft in (False, True)
            )
            measured = measure_batch(batch, hard, spacing)
            measured |= measure_batch(read_batch(shares[None], target[None], soft), soft, spacing)
    except LabelError as error:
        _explain_labels(error, prediction, target, pair, path, plan, coding)
        raise
    return Counted(entries, {kind: rows[0] for kind, rows in measured.items()})


def _shares(path: Path, labels: Array, truth: Path, coding: LabelCoding, settings: Settings) -> Array:
    """The probabilities beside predicted labels, as logits; axes run so that they agree with these labels.

    Raises:
        DataError: they are no probabilities of these labels.
    """
    found: list[tuple[float, Array]] = []
    for turned in (True, False) if may_be_reversed(path, truth) else (None,):
        shares, _ = prediction_of(path, labels.shape, coding, settings, "probabilities", turned)
        if shares.dtype.kind != "f":
            break
        _require_size(path, shares.shape[1:], labels.shape)
        own = predict_labels(torch.from_numpy(shares[None]), settings, labels.shape)[0].numpy()
        found.append((float((own == labels).mean()), shares))
    best, chosen = max(found, key=lambda entry: entry[0], default=(0.0, labels))
    if best < _LEAST_ALIKE:
        raise DataError(
            f"in {path.name} the probabilities of the labels beside it",
            f"others: at {1 - best:.0%} of the pixels another class is the largest",
            "Write both again, or move one of them elsewhere.",
        )
    return chosen


def _require_size(path: Path, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        advice = "Save predictions at full size (labels by nearest neighbour), or pass --upsample linear with logits."
        if tuple(found) == tuple(wanted)[::-1]:
            advice = "These are its sides in reverse. Transpose the predictions"
            advice += (
                "." if order_of(path) else "; --axes xyz does it for arrays (X, Y, Z) beside images and TIFF stacks."
            )
        raise ShapeError(
            f"a prediction of the size of its label map, {shown_size(wanted)}", f"{shown_size(found)}", advice
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
    unknown = _unknown(target[is_labelled(target, plan.settings.ignore_index)], plan.target)
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
        code = error.code
        values = tuple(sorted(error.values.items(), key=lambda entry: -entry[1])[:64])
    elif isinstance(error, LabelError):
        code = _UNKNOWN
    elif isinstance(error, ShapeError):
        code = _SIZES
    elif isinstance(error, DataError):
        code = _LOSSY if error.code == _LOSSY else _UNREADABLE
    return Trouble(code, role, pair.id, path.name, error.expected, error.got, error.advice, values)


def _spacing(header: Header, dimensions: int) -> tuple[float, ...] | None:
    """Size of a pixel, where the file tells it; of a single slice in its plane."""
    spacing = header.spacing
    if spacing is None or len(spacing) <= dimensions:
        return spacing
    plane = tuple(size for size, length in zip(spacing, header.shape, strict=False) if length != 1)
    return plane if len(plane) == dimensions else spacing[:dimensions]


def _count_windows(pair: Pair, plan: Plan, size: tuple[int, int]) -> Row:
    """Count an image window by window, without ever holding all of it."""
    paths = (pair.target, *pair.predictions)
    with ExitStack() as stack:
        try:
            sources = open_sources(paths, stack)
        except Exception:  # the decoder's own errors: reading the file as a whole tells what is the matter
            sources = None
        if sources is None:
            return _count_whole(pair, plan)
        readers = open_readers(sources, paths, (plan.target, *plan.predictions), plan.settings, plan.values)
        if readers is None:
            return _count_whole(pair, plan)
        area = None if pair.valid is None else open_area(pair.valid, size, stack)
        if pair.valid is not None and area is None:
            return _count_whole(pair, plan)
        for place, source in enumerate(sources[1:]):
            if source.size != size:
                error = ShapeError(
                    f"a prediction of the size of its label map, {shown_size(size)}",
                    shown_size(source.size),
                    "Resize it.",
                )
                trouble = _trouble(error, pair, pair.predictions[place], plan.models[place])
                return Row(pair.id, 0, (), (), (trouble,))
        parts = list(windows(size, window_shape(sources, plan.tile)))
        for place, reader in enumerate(readers):
            try:
                reader.settle(parts)
            except SegcritError as error:
                role = plan.models[place - 1] if place else ""
                return Row(pair.id, 0, (), (), (_trouble(error, pair, paths[place], role),))
        sums = [_Sum(plan.settings) for _ in plan.models]
        modes: list[str] = []
        for window in parts:
            found = _window(readers, window, pair, plan, area)
            if isinstance(found, Trouble):
                return Row(pair.id, 0, (), (), (found,))
            counted, own = found
            # Probabilities are so in every window.
            modes = [min(mode, other, key=len) for mode, other in zip(modes or own, own, strict=True)]
            for total, part in zip(sums, counted, strict=True):
                total.add(part)
    return Row(pair.id, size[0] * size[1], tuple(total.counted() for total in sums), tuple(modes))


def _window(
    readers: list[Reader], window: tuple[slice, slice], pair: Pair, plan: Plan, area: Area | None
) -> tuple[list[Counted], list[str]] | Trouble:
    path, role = pair.target, ""
    try:
        target, mode = readers[0].read(window)
        if area is not None:
            target = without_invalid(target, area(window), plan.settings.ignore_index)
        counted, modes = [], [mode]
        for place, (reader, coding) in enumerate(zip(readers[1:], plan.predictions, strict=True)):
            path, role = pair.predictions[place], plan.models[place]
            prediction, mode = reader.read(window)
            prediction = without_missing(prediction, target, plan.settings.ignore_index, path)
            modes.append(mode)
            counted.append(_count(prediction, target, plan.settings, None, pair, path, plan, coding))
        return counted, modes
    except _WrongTruth as found:
        return found.trouble
    except SegcritError as error:
        return _trouble(error, pair, path, role)


class _Sum:
    """Counts and additive measures of the windows of an image."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries = np.zeros((2, 0), dtype=np.int64)
        self._measures: dict[str, dict[str, Array]] = {}

    def add(self, part: Counted) -> None:
        self._entries = self._table(np.concatenate([self._entries, part.entries], axis=1))
        for kind, values in part.measures.items():
            own = self._measures.setdefault(kind, {})
            for name, array in values.items():
                own[name] = own[name] + array if name in own else np.asarray(array)

    def _table(self, entries: Array) -> Array:
        image = np.zeros_like(entries[0])
        return CountTable.from_entries(1, self._settings.matrix, image, entries[0], entries[1]).row(0)

    def counted(self) -> Counted:
        measures: Mapping[str, Values] = self._measures
        return Counted(self._entries, measures)
