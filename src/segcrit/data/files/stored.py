"""What a file of an image or mask holds: its header, and its array as it is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EXIF_ORIENTATION", "Header", "Stored", "equals_nodata", "oriented", "parse_nodata"]

# Turning a stored (H, W, ...) array as its EXIF orientation says (EXIF 2.32, tag 0x0112).
EXIF_ORIENTATION = 0x0112
# Texts of declared values are rounded to about six digits by some writers.
_ROUNDED_FROM = 1e9
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Header:
    """What a file says about its array, read without decoding it.

    Attributes:
        shape: as stored, colour channels included.
        axes: one letter a dimension: ``"S"`` colour samples, ``"Y"``, ``"X"``, ``"Z"``, ``"C"`` channels, ``"?"`` unknown.
        dtype: NumPy name of the stored type.
        mode: the kind of pixel in words: ``"grey"``, ``"colour"``, ``"palette"``, ``"uint16"``, ...
        lossy: whether the compression changes values (JPEG): such a file cannot hold many labels.
        orientation: EXIF orientation, 1 where there is none.
        nodata: the declared value of missing pixels, if any (GeoTIFF's GDAL_NODATA); NaN is possible.
        spacing: distance of voxel centres in the unit of the file, if known.
        affine: the voxel-to-world matrix, row by row, if known.
        doubt: why no class numbers can be read from the file, although it is a whole image; empty where they can.
        step: distance of neighbouring stored values where they are scaled (NIfTI's slope), 0 where they are not.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: str
    mode: str
    lossy: bool = False
    orientation: int = 1
    nodata: float | None = None
    spacing: tuple[float, ...] | None = None
    affine: tuple[float, ...] | None = None
    doubt: str = ""
    step: float = 0.0

    @property
    def nbytes(self) -> int:
        """Memory that the decoded array takes."""
        try:
            itemsize = 8 if self.step else np.dtype(self.dtype).itemsize
        except TypeError:  # fields, which no image has
            itemsize = 8
        return math.prod(self.shape) * itemsize

    def lies_like(self, other: Header) -> bool:
        """Whether no voxel lies elsewhere in space by more than a twentieth of a voxel; True where one does not say."""
        if self.affine is None or other.affine is None:
            return True
        own, others = (np.reshape(affine, (-1, 4))[:3] for affine in (self.affine, other.affine))
        # A corner is moved most: steps that differ a little add up to it.
        reach = np.array([*self.shape[:3], 1, 1, 1][:3]) - 1
        moved = np.abs(own - others)
        farthest = (moved[:, :3] @ reach + moved[:, 3]).max()
        return bool(farthest <= 0.05 * np.linalg.norm(own[:, :3], axis=0).min())


@dataclass(frozen=True)
class Stored:
    """The decoded array of a file with its header.

    Attributes:
        array: as stored.
        header: of the file.
        palette: ``uint8 (P, 3)``, the colours of a palette file, otherwise None.
        valid: ``bool (H, W)``, False where the file itself says that there is no data (GDAL's mask band), or None.
    """

    array: npt.NDArray[Any]
    header: Header
    palette: npt.NDArray[np.uint8] | None = None
    valid: npt.NDArray[np.bool_] | None = None


def oriented(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn a stored ``(H, W, ...)`` array upright, as its EXIF orientation (1 to 8) says.

    Example:
        >>> oriented(np.array([[1, 2, 3]]), 6).tolist()  # the camera was turned: rotate clockwise
        [[1], [2], [3]]
    """
    if orientation in (5, 7):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7):
        array = array[::-1]
    if orientation in (6, 8):
        array = np.rot90(array, -1 if orientation == 6 else 1)
    return array


def parse_nodata(text: str) -> float | None:
    """The number that a file declares for missing pixels, or None where the text is no number.

    Example:
        >>> parse_nodata(" -9999 \\0"), parse_nodata("nan"), parse_nodata("-3,4e38"), parse_nodata("none")
        (-9999.0, nan, -3.4e+38, None)
    """
    try:
        return float(text.strip("\0 \t\r\n").replace(",", "."))
    except ValueError:
        return None


def equals_nodata(array: npt.NDArray[Any], value: float) -> npt.NDArray[np.bool_]:
    """Where an array holds a declared value; nowhere if its type cannot hold it. Large values may be rounded.

    Example:
        >>> equals_nodata(np.array([1.0, -3.4028235e38], dtype=np.float32), -3.4028e38).tolist()
        [False, True]
        >>> equals_nodata(np.array([0, 255], dtype=np.uint8), -1).tolist()
        [False, False]
    """
    value = float(value)
    if math.isnan(value):
        missing: npt.NDArray[np.bool_] = array != array  # NaN is the only value that differs from itself
        return missing
    if array.dtype.kind == "f" and _ROUNDED_FROM < abs(value) < math.inf:
        found: npt.NDArray[np.bool_] = np.abs(array / value - 1) <= _ROUNDING
        return found
    if array.dtype.kind in "ui":
        limits = np.iinfo(array.dtype)
        if not value.is_integer() or not limits.min <= int(value) <= limits.max:
            return np.zeros(array.shape, dtype=np.bool_)
        value = int(value)
    with np.errstate(over="ignore"):  # a value beyond the type becomes infinite, which is as little there
        equal: npt.NDArray[np.bool_] = array == array.dtype.type(value)
    return equal
