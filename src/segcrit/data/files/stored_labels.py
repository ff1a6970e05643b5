"""Class numbers out of stored arrays: floats, scaled integers, channels, alpha, loss, declared missing values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.coding.mask_coding import StoredMask
from segcrit.data.files.stored import Header, equals_nodata

__all__ = [
    "NO_DATA",
    "are_whole",
    "folded",
    "label_tolerance",
    "require_plain",
    "short_axis",
    "stored_labels",
    "two_levels",
    "whole_labels",
    "without_alpha",
]

# Stands for "no data" where the declared value is no label. No class has it: labels end before it.
NO_DATA = -(2**31)
# Channels of a grey JPEG differ by no more than the rounding of its colour space.
_MOST_TINT = 4


def require_plain(header: Header, path: Path) -> None:
    """Refuse a file from which class numbers cannot be read without a guess.

    Raises:
        DataError: it is one; its code is ``"doubtful-values"``.
    """
    if header.doubt:
        raise DataError(
            f"a file whose values mean one thing in {path}",
            header.doubt,
            "Save it again as an 8-bit grey or palette PNG with one class number a pixel.",
            code="doubtful-values",
        )


def short_axis(shape: tuple[int, ...]) -> int:
    """The axis of a three-dimensional map that holds channels, if one does: the shorter of the first and the last."""
    return 0 if shape[0] < shape[-1] else len(shape) - 1


def folded(array: npt.NDArray[Any], axis: int) -> npt.NDArray[Any] | None:
    """Labels of a map with channels: of equal ones, or of one-hot ones (0 and 1, or 0 and 255); None if it is neither."""
    channels = np.moveaxis(array, axis, 0)
    if len(channels) < 2:
        return None
    if (channels[1:] == channels[0]).all():
        return np.ascontiguousarray(channels[0])
    top = channels.max(initial=0)
    if top not in (1, 255) or not ((channels == 0) | (channels == top)).all():
        return None
    chosen = channels == top
    if not (chosen.sum(axis=0) == 1).all():
        return None
    labels: npt.NDArray[Any] = chosen.argmax(axis=0)
    return labels.astype(np.uint8) if len(channels) <= 256 else labels


def stored_labels(
    array: npt.NDArray[Any], header: Header, path: Path, valid: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[Any], int | None]:
    """Integers as a file stores them, and the value among them that the file declares as missing.

    A declared value that is no label (NaN, -3.4e38) and the mask band of a raster become ``NO_DATA``. A declared 0 is
    left to the user: programs write it into label maps whose class 0 is the background.

    Raises:
        DataError: fractions, NaN or values that are no numbers, declared ones aside.
    """
    hole = None if header.nodata is None else equals_nodata(array, header.nodata)
    nodata = None
    if header.nodata is not None and hole is not None and hole.any() and header.nodata != 0:
        if array.dtype.kind == "f" and not abs(header.nodata) < -NO_DATA:  # NaN compares as false
            array, nodata = np.where(hole, np.float64(NO_DATA), array), NO_DATA
        elif float(header.nodata).is_integer():
            nodata = int(header.nodata)
    if array.dtype.kind == "f":
        array = whole_labels(array, path, header.step)
    elif array.dtype.kind not in "bui":
        raise DataError(f"whole numbers in {path}", f"values of type {array.dtype}", "Save labels as integers.")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if valid is not None and not valid.all() and array.shape == valid.shape:
        outside = ~valid if nodata is None else ~valid | (array == nodata)
        array, nodata = np.where(outside, np.int64(NO_DATA), array.astype(np.int64)), NO_DATA
    return array, nodata


def two_levels(array: npt.NDArray[Any], header: Header, path: Path) -> StoredMask:
    """A mask of two classes that was stored with loss, as 0 and 255; nothing can bring back more classes than that.

    Raises:
        DataError: its values are not those of two classes.
    """
    grey = np.moveaxis(array, header.axes.index("S"), -1) if "S" in header.axes else array[..., None]
    spread = int(np.ptp(grey, axis=-1).max(initial=0)) if grey.dtype == np.uint8 else 256
    plane = grey[..., 0]
    counts = np.bincount(plane.reshape(-1), minlength=256)[:256] if spread <= _MOST_TINT else np.zeros(256, np.int64)
    between = int(counts[1:255].sum())
    # Blur gives many values with few pixels each, most of them right beside 0 and 255.
    shares = (between / 10, counts[1:255].max() / 3, counts[5:251].max())
    # One class alone is stored without loss. Without white, or with a share, a value is another class and no blur.
    is_binary = between == 0 or bool(counts[0] and counts[255])
    if not counts.any() or not is_binary or max(shares) > plane.size / 100:
        lossy = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "lossy compression"
        raise DataError(
            f"a mask in a format that keeps every value in {path}",
            f"{lossy}, which blurs labels at every border, and values that are not those of two classes, 0 and 255",
            "Export the masks again as PNG; a blurred mask of two classes can be saved with a threshold (mask > 127).",
            code="lossy",
        )
    return StoredMask((plane > 127) * np.uint8(255), False, None, "grey with loss", between)


def label_tolerance(dtype: np.dtype[Any], step: float = 0.0) -> float:
    """How far a label may lie from a whole number: half a step of stored integers that a slope scales, and the rounding
    of floats of this type (of single precision at least, through which most programs go).

    Example:
        >>> label_tolerance(np.dtype("float64"), step=2 / 255) < 0.004, label_tolerance(np.dtype("float16")) > 0.001
        (True, True)
    """
    epsilon = max(float(np.finfo(dtype).eps), float(np.finfo(np.float32).eps)) if dtype.kind == "f" else 0.0
    return min(0.499 * step if step >= 0.98 else 0.501 * step, 0.49) + 4 * epsilon


def are_whole(array: npt.NDArray[Any], step: float = 0.0) -> bool:
    """Whether floats are whole numbers, within :func:`label_tolerance` of their type."""
    if not np.isfinite(array).all():
        return False
    tolerance: Any = label_tolerance(array.dtype, step)
    if not step:  # the rounding of floats grows with them
        tolerance = tolerance * np.maximum(1.0, np.abs(array))
    return bool((np.abs(array - np.rint(array)) <= tolerance).all())


def whole_labels(array: npt.NDArray[Any], path: Path, step: float = 0.0) -> npt.NDArray[np.int64]:
    """Labels that are stored as floats, or as scaled integers of this step, as integers.

    Raises:
        DataError: fractions, NaN, or numbers beyond those of classes.
    """
    if not np.isfinite(array).all():
        raise DataError(
            f"whole numbers in {path}",
            "NaN or infinite values",
            "Write a number for pixels without a label, such as 255.",
        )
    if not are_whole(array, step) or float(np.abs(array).max(initial=0)) > -NO_DATA:
        odd = array[np.abs(array - np.rint(array)) > label_tolerance(array.dtype, step)]
        example = float(odd[0]) if odd.size else float(array.max())
        raise DataError(
            f"whole numbers in {path}",
            f"the value {example:g}",
            "Save class numbers; a mask that was interpolated must be made again by nearest neighbour.",
        )
    labels: npt.NDArray[np.int64] = np.rint(array).astype(np.int64)
    return labels


def without_alpha(array: npt.NDArray[Any], header: Header, mask: Path | None = None) -> npt.NDArray[Any]:
    """The colours without their alpha channel; a ``mask`` whose alpha alone tells anything is refused.

    Raises:
        DataError: it is one.
    """
    if header.mode not in ("grey+alpha", "colour+alpha"):
        return array
    channels = np.moveaxis(array, header.axes.index("S"), -1)
    colors, alpha = channels[..., :-1], channels[..., -1]
    if mask is not None and alpha.size and (alpha != alpha.flat[0]).any() and (colors == colors[0, 0]).all():
        raise DataError(
            f"labels in the colours of {mask}",
            "one colour everywhere, and an alpha channel that varies",
            "Save the alpha channel as a grey image, if it holds the labels.",
            code="doubtful-values",
        )
    return np.moveaxis(colors, -1, header.axes.index("S"))
