"""Masks of the pixels that count, such as the field of view of a camera or the valid area of a scene.

0 does not count, anything else does. A pixel that does not count is an ignored pixel, for losses and figures alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.files.formats import file_format, load
from segcrit.data.files.stored import equals_nodata
from segcrit.data.files.stored_labels import require_plain, without_alpha
from segcrit.data.reading import mask_shape, shown_size

__all__ = ["counted", "read_valid", "require_valid_size", "without_invalid"]

Array = npt.NDArray[Any]


def read_valid(path: Path, size: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which pixels count, ``(*S)``.

    Args:
        path: an image or array file, with one value or one colour a pixel.
        size: of the label map.

    Raises:
        DataError: the file is damaged, compressed with loss, or of another size.
    """
    stored = load(path)
    header = stored.header
    array = without_alpha(stored.array, header, path)
    if file_format(path) == "tiff":
        require_plain(header, path)  # such as 0 and 1 of which nobody knows which is bright
    if header.lossy:
        raise DataError(
            f"a mask of valid pixels in a format that keeps every value in {path}",
            "lossy compression, which leaves few values at 0",
            "Save it as PNG.",
        )
    colors = "S" in header.axes
    valid = counted(np.moveaxis(array, header.axes.index("S"), -1) if colors else array, header.nodata, colors=colors)
    if stored.valid is not None and stored.valid.shape == valid.shape:
        valid &= stored.valid
    valid = valid.reshape(mask_shape(header, 3 if len(size) == 3 else None))
    require_valid_size(valid.shape, size, path)
    return valid


def counted(array: Array, nodata: float | None = None, *, colors: bool = False) -> npt.NDArray[np.bool_]:
    """Which pixels are neither 0 nor missing; of ``colors`` (\\*S, samples), which are not black.

    Example:
        >>> counted(np.array([0.0, 1.0, np.nan, -9.0]), -9).tolist()
        [False, True, False, False]
    """
    valid: npt.NDArray[np.bool_] = (array != 0) & (array == array)  # NaN differs from itself
    if nodata is not None:
        valid &= ~equals_nodata(array, nodata)
    if colors:
        valid = np.any(valid, axis=-1)
    return valid


def require_valid_size(found: Sequence[int], size: Sequence[int], path: Path) -> None:
    """Refuse a mask of another size than the label map.

    Raises:
        DataError: the sizes differ.
    """
    if tuple(found) != tuple(size):
        raise DataError(
            f"a mask of valid pixels of the size of its label map, {shown_size(size)}, in {path}",
            shown_size(found),
            "Resize it by nearest neighbour.",
            code="sizes-differ",
        )


def without_invalid(labels: Array, valid: npt.NDArray[np.bool_], ignore_index: int) -> Array:
    """Labels with the ignore label where pixels do not count; a copy, of a wider type where the label needs it.

    Example:
        >>> without_invalid(np.array([1, 2], dtype=np.uint8), np.array([True, False]), -100).tolist()
        [1, -100]
    """
    fits = np.can_cast(np.min_scalar_type(ignore_index), labels.dtype)
    result = labels.copy() if fits else labels.astype(np.int64)
    result[..., ~valid] = ignore_index
    return result
