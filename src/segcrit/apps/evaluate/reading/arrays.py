"""Arrays of predictions and label maps from files: labels, logits, probabilities, in one layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.apps.evaluate.reading.axes import channels_to_front, turned_like, without_ones
from segcrit.apps.evaluate.reading.mapping import is_identity
from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError, SegcritError
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.files.axes import order_of
from segcrit.data.files.budget import require_memory
from segcrit.data.files.formats import Header, file_format, load, probe
from segcrit.data.files.npy import npy_header, read_layout
from segcrit.data.files.stored import equals_nodata
from segcrit.data.files.stored_labels import NO_DATA, are_whole, folded, require_plain, whole_labels
from segcrit.data.reading import read_stored_mask, shown_size
from segcrit.labels.mask import is_labelled
from segcrit.metrics.settings import Settings

__all__ = [
    "ONES",
    "SHARES",
    "Strange",
    "as_shares",
    "decode",
    "holds_numbers",
    "load_array",
    "mode_of_floats",
    "prediction_of",
    "shape_of",
    "target_of",
    "to_logits",
    "whole_numbers",
    "with_missing",
    "without_missing",
]

Array = npt.NDArray[Any]

# Names of arrays in npz files, the first that is there; nnU-Net writes "probabilities", older ones "softmax".
_LABELS: Final = ("labels", "label", "segmentation", "mask", "seg", "prediction", "pred")
_LOGITS: Final = ("logits", "logit", "scores")
_PROBABILITIES: Final = ("probabilities", "probs", "softmax", "sigmoid", "probability")
# The smallest probability of float32, so that the logarithm of 0 is finite.
_TINY: Final = 1.1754944e-38
# In the mode of floats that may be probabilities. Resampling leaves some a little below 0 or above 1, and half precision
# keeps about three digits of a sum.
SHARES: Final = " from 0 to 1"
# In the mode of integers read as probabilities whose largest is 1 of 255: they may well be labels.
ONES: Final = " of 0 and 1"
_BEYOND: Final = 1e-4
_ROUNDING: Final = 0.01


class Strange(DataError):
    """Values that are no class; ``values`` tells how many pixels hold each."""

    code = "unknown-labels"

    def __init__(self, expected: str, got: str, advice: str, values: Mapping[int, int] | None = None) -> None:
        super().__init__(expected, got, advice)
        self.values = dict(values or {})


@dataclass(frozen=True)
class Loaded:
    """An array of a file.

    Attributes:
        array: as stored.
        values: "labels", "logits", "probabilities", or "" where the file does not say.
        header: of the file, or None of an npz.
    """

    array: Array
    values: str = ""
    header: Header | None = None


def holds_numbers(path: Path) -> bool:
    """Whether a file may hold logits, probabilities or channels, by its name; the others are images of labels."""
    return path.suffix.lower() == ".npz" or file_format(path) not in ("raster", None)


def load_array(path: Path) -> Loaded:
    """The array of an array file.

    Raises:
        DataError: the file is damaged, or an npz holds several arrays and none with a name that tells.
    """
    if path.suffix.lower() != ".npz":
        stored = load(path)
        require_plain(stored.header, path)
        array, declared = stored.array, stored.header.nodata
        if array.dtype.kind == "f" and declared:  # 0 is a value like others
            array = np.where(equals_nodata(array, declared), array.dtype.type(np.nan), array)
        return Loaded(array, "", stored.header)
    with _open_npz(path) as (content, name, kind):
        return Loaded(_member(content, name, path), kind)


def shape_of(path: Path) -> tuple[int, ...]:
    """The shape of the array of an array file, by its header.

    Raises:
        DataError: as :func:`load_array`.
    """
    if path.suffix.lower() != ".npz":
        return probe(path).shape
    with _open_npz(path) as (content, name, _), content.zip.open(f"{name}.npy") as stream:
        return read_layout(stream).shape


@contextmanager
def _open_npz(path: Path) -> Iterator[tuple[Any, str, str]]:
    """An npz file, with the name of the array that counts and what it holds."""
    try:
        with open_regular(path) as stream, np.load(stream, allow_pickle=False) as content:
            names = list(content.files)
            for kind, known in (("logits", _LOGITS), ("probabilities", _PROBABILITIES), ("labels", _LABELS)):
                found = next((name for name in names if name.lower() in known), None)
                if found is not None:
                    yield content, found, kind
                    return
            if len(names) == 1:
                yield content, names[0], ""
                return
    except (SegcritError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and numpy raise nearly anything for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError("a whole NPZ file", f"{path}, which is damaged ({reason[:160]})", "Write it again.") from error
    raise DataError(
        f"one array in {path}, or one called 'logits', 'probabilities' or 'labels'",
        ", ".join(names) or "none",
        "Name the array.",
    )


def _member(content: Any, name: str, path: Path) -> Array:
    stored = name if name in content.zip.namelist() else f"{name}.npy"
    with content.zip.open(stored) as stream:
        require_memory(npy_header(read_layout(stream)), path)
    array: Any = content[name]
    if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what is no array
        raise DataError("a whole NPZ file", f"{path}, which is damaged ({name!r} is no array)", "Write it again.")
    return array


def target_of(path: Path, coding: LabelCoding, settings: Settings, prediction: Path | None = None) -> tuple[Array, str]:
    """The true labels (\\*S), in a multilabel task (C, \\*S), and how the file stores them.

    The shape of a prediction beside it tells volumes of few equal slices from maps with channels.

    Raises:
        DataError: damaged, lossy, fractions, or values that are no class.
    """
    if settings.task == "multilabel":
        array = _squeezed(load_array(path).array)
        array = channels_to_front(array, settings.channels, array.shape[1:], path)
        if array.ndim < 2 or array.shape[0] != settings.channels:
            raise DataError(
                f"a multilabel map of {settings.channels} channels in {path}",
                shown_size(array.shape),
                "Give (C, H, W).",
            )
        return whole_numbers(array, path), str(array.dtype)
    if path.suffix.lower() == ".npz":
        array = _squeezed(load_array(path).array)
        mask = StoredMask(whole_numbers(array, path), False, None, str(array.dtype))
        mask = _without_channels(mask, settings.channels)
    else:
        mask = read_stored_mask(path, 3 if prediction and _are_volumes(path, prediction, settings.channels) else None)
    return decode(mask, coding, path), mask.mode


def _are_volumes(path: Path, prediction: Path, channels: int) -> bool:
    """Whether an array of three axes is a volume, by the shape of the array that is its prediction."""
    if order_of(path) is not None or not holds_numbers(prediction):
        return False
    size, shape = shape_of(path), tuple(n for n in shape_of(prediction) if n != 1)
    if len(size) != 3:
        return False
    return size in (shape[1:], shape[:-1]) or (size == shape and shape[-1] != channels)


def _without_channels(mask: StoredMask, channels: int) -> StoredMask:
    """Labels of an array with one-hot channels; other masks are left alone, such as volumes of equal slices."""
    array = mask.array
    for axis in (0, -1) if array.ndim in (3, 4) else ():
        is_one = array.shape[axis] == channels and (np.ptp(array, axis=axis) > 0).all()
        if is_one and (labels := folded(array, axis)) is not None:
            return replace(mask, array=labels)
    return mask


def prediction_of(
    path: Path,
    size: tuple[int, ...],
    coding: LabelCoding,
    settings: Settings,
    values: str,
    turned: bool | None = None,
) -> tuple[Array, str]:
    """A prediction: floating logits (C, \\*S), or integer labels, and how the file stores it.

    Args:
        path: of the file.
        size: of the truth, which tells the axes.
        coding: of label files.
        settings: of the counting.
        values: what floating arrays hold: "logits" or "probabilities".
        turned: whether its axes run in the opposite order to those of the truth where its shape fits both; None: they
            cannot.

    Raises:
        DataError: damaged, lossy, of another size, or values that are no class.
    """
    place = size[1:] if settings.task == "multilabel" else size
    dimensions = len(place)
    is_array = holds_numbers(path)
    if is_array or values == "probabilities":
        loaded = load_array(path)
        kind = loaded.values or values
        array = loaded.array
        if not is_array and array.ndim == 3 and array.shape[-1] == 3 and (array == array[..., :1]).all():
            array = array[..., 0]  # a grey image that was saved as colour
        array = channels_to_front(without_ones(array, dimensions + 1), settings.channels, place, path)
        array = turned_like(array, place, turned)
        if array.dtype.kind not in "biuf":
            whole_numbers(array, path)  # refuses it
        mode = str(array.dtype)
        if array.dtype.kind in "ui" and kind == "probabilities" and array.dtype.itemsize <= 2:
            mode += ONES * bool(array.max(initial=0) == 1)
            array = as_shares(array)
        soft = kind == "probabilities" or (kind != "labels" and not _are_labels(array, size, settings, loaded.header))
        if array.dtype.kind == "f" and soft:
            logits = to_logits(array, dimensions, settings, kind, path)
            return logits, mode_of_floats(logits, mode, kind, settings)
        if settings.task == "multilabel":
            return whole_numbers(array, path), mode
        if array.ndim == dimensions + 1 and array.shape[0] == settings.channels > 1 and order_of(path) != "zyx":
            return whole_numbers(array, path), mode  # one-hot
        if path.suffix.lower() in (".npy", ".npz"):
            if array.ndim == dimensions + 1:
                return whole_numbers(array, path), mode
            mask = StoredMask(whole_numbers(array, path), False, None, mode)
            return decode(mask, with_missing(coding, mask), path), mode
    if settings.task == "multilabel":
        raise DataError(f"an array of channels in {path}", "an image of labels", "Save (C, H, W) as npy or npz.")
    mask = read_stored_mask(path, 3 if dimensions == 3 else None)
    return turned_like(decode(mask, with_missing(coding, mask), path), place, turned), mask.mode


def with_missing(coding: LabelCoding, mask: StoredMask) -> LabelCoding:
    """The coding of a prediction whose file declares a missing value: NO_DATA, where no label means ignored.

    The truth decides whether a class is missing there, see :func:`without_missing`.
    """
    if mask.nodata is None or coding.ignore_index is not None or mask.nodata in coding.table:
        return coding
    return replace(coding, ignored=(mask.nodata,), ignore_index=NO_DATA)


def without_missing(prediction: Array, target: Array, ignore_index: int, path: Path) -> Array:
    """A prediction without declared missing values, which may stand only where the truth does not count.

    Raises:
        DataError: they stand elsewhere.
    """
    if prediction.dtype != np.int64 or prediction.shape != target.shape:
        return prediction
    missing = prediction == NO_DATA
    if not missing.any():
        return prediction
    counted = int((missing & is_labelled(target, ignore_index)).sum())
    if counted:
        raise DataError(
            f"a class at every pixel of {path} that counts",
            f"{counted} pixels without data, as the file itself declares",
            "Predict a class there, or pass --policy cityscapes, which counts such pixels as missed.",
            code="missing-values",
        )
    return np.where(missing, 0, prediction)


def decode(mask: StoredMask, coding: LabelCoding, path: Path) -> Array:
    """Labels of a mask.

    Values that the counting can refuse itself are left alone.

    Raises:
        DataError: a colour is unknown.
        Strange: a value is unknown.
    """
    if mask.nodata is None and not mask.is_color and is_identity(coding) and coding.palette_colors(mask) is None:
        return mask.array
    try:
        return coding.decode(mask, path)
    except DataError as error:
        unknown: dict[int, int] = {}
        if not mask.is_color:
            unknown = {value: pixels for value, pixels in mask.value_counts().items() if value not in coding.table}
        if mask.nodata in unknown:
            raise DataError(
                f"a label for the {unknown[mask.nodata]} pixels without data that {path} declares",
                "--ignore-index none",
                "Leave it out, or pass a number.",
                code="missing-values",
            ) from None
        raise Strange(error.expected, error.got, error.advice, unknown) from None


def mode_of_floats(logits: Array, mode: str, values: str, settings: Settings) -> str:
    """How a file stores what was read as logits (C, \\*S), with SHARES at its end where they may well be probabilities:
    between 0 and 1, and those of exclusive classes add up to 1. NaN, which may stand where no truth counts, says nothing.
    """
    if values != "logits" or not logits.size or _outside(logits[..., 0]):  # most logits: a look at few of them
        return mode
    inside = not _outside(logits)
    if inside and settings.task == "multiclass":
        inside = not np.fmax.reduce(np.abs(logits.sum(axis=0, dtype=np.float32) - 1), axis=None) > _ROUNDING
    return mode + SHARES if inside else mode


def _outside(values: Array) -> bool:
    """Whether numbers are no probabilities by more than rounding."""
    return bool(np.fmin.reduce(values, axis=None) < -_BEYOND or np.fmax.reduce(values, axis=None) > 1 + _BEYOND)


def to_logits(array: Array, dimensions: int, settings: Settings, values: str, path: Path) -> Array:
    """Floating (C, \\*S), (\\*S, C) or, with one channel, (\\*S), as logits (C, \\*S)."""
    channels = settings.channels
    if array.ndim == dimensions and channels == 1:
        array = array[None]
    array = _channels_first(array, channels, dimensions)
    if array.ndim != dimensions + 1 or array.shape[0] != channels:
        raise DataError(
            f"{values} of shape ({channels}, *size) in {path}",
            shown_size(array.shape),
            _advice_for_channels(array, dimensions, channels, values),
        )
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if values == "logits":
        return array
    if array.size and _outside(array):
        low, high = float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
        raise DataError(f"probabilities between 0 and 1 in {path}", f"{low:g} to {high:g}", "Pass --values logits.")
    kept = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)
    logits = np.log(np.maximum(kept, _TINY))
    if settings.task != "multiclass":
        logits = logits - np.log(np.maximum(1.0 - kept, _TINY))
    return np.asarray(logits, dtype=kept.dtype)


def _advice_for_channels(array: Array, dimensions: int, channels: int, values: str) -> str:
    if channels == 2 and (array.ndim == dimensions or array.shape[0] == 1):
        return f"One channel with the {values} of the foreground? Pass --task binary."
    found = array.shape[0] if array.ndim == dimensions + 1 else channels
    if found != channels and 1 < found < min(array.shape[1:], default=0):
        return f"Logits of {found} classes? Correct --classes."
    return "Save one channel a class, channels first; or labels as integers."


def as_shares(array: Array) -> Array:
    """Probabilities that are stored as integers of one or two bytes: shares of the largest one."""
    shares: Array = array.astype(np.float32) / np.iinfo(array.dtype).max
    return shares


def _squeezed(array: Array) -> Array:
    """Without a leading axis of one image, as networks write it."""
    while array.ndim > 4 and array.shape[0] == 1:
        array = array[0]
    return array


def _channels_first(array: Array, channels: int, dimensions: int) -> Array:
    if array.ndim != dimensions + 1:
        return array
    if array.shape[0] != channels and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    return array


def _are_labels(array: Array, size: tuple[int, ...], settings: Settings, header: Header | None) -> bool:
    """Whether floating numbers are labels: of the size of the truth, and whole. MONAI and ITK save labels so."""
    if array.shape != size and tuple(n for n in array.shape if n != 1) != tuple(n for n in size if n != 1):
        return False
    if header is not None and header.nodata:
        array = array[~np.isnan(array)]
    step = 0.0 if header is None else header.step
    if settings.task != "multiclass":
        # Whole numbers may be logits that were made by hand; labels are 0 and 1.
        return are_whole(array, step) and bool(np.isin(np.rint(array), (0, 1)).all())
    return are_whole(array, step)


def whole_numbers(array: Array, path: Path) -> Array:
    """Integers of the same values.

    Raises:
        DataError: fractions, NaN, or no numbers.
    """
    if array.dtype.kind == "f":
        return whole_labels(array, path)
    if array.dtype.kind not in "bui":
        raise DataError(f"whole numbers in {path}", f"values of type {array.dtype}", "Save class numbers.")
    return array.astype(np.uint8) if array.dtype.kind == "b" else array
