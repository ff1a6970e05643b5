"""Writing weak labels in the form of the mask that they come from."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import atomic_path, atomic_write_bytes
from segcrit.core.errors import DataError
from segcrit.core.optional import require
from segcrit.data.coding.mask_coding import StoredMask
from segcrit.data.files.formats import file_format, stem
from segcrit.labels.colors import Color
from segcrit.labels.palette import Palette

__all__ = ["output_name", "save_like"]

# Where on the earth a TIFF lies: ModelPixelScale, ModelTiepoint, ModelTransformation and the GeoKey tags.
_GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)


def output_name(source: Path) -> str:
    """The name of the weak labels of a mask: its own, except that raster formats other than PNG become PNG.

    Example:
        >>> output_name(Path("masks/a.nii.gz")), output_name(Path("masks/b.bmp"))
        ('a.nii.gz', 'b.png')
    """
    return f"{stem(source)}.png" if file_format(source) == "raster" else source.name


def save_like(
    source: Path,
    mask: StoredMask,
    kept: npt.NDArray[np.bool_],
    target: Path,
    *,
    ignore_value: int,
    values: npt.NDArray[Any] | None = None,
    colors: Mapping[int, Color] | None = None,
) -> None:
    """Write the kept pixels of a mask, and ``ignore_value`` everywhere else, atomically.

    Args:
        source: the file of the mask; its format, palette, and place in space are kept.
        mask: what it holds.
        kept: (*S) bool, the pixels that keep their value.
        target: the file to write, named by :func:`output_name`.
        ignore_value: the value of all other pixels.
        values: (*S), what to write for kept pixels where ``mask`` holds colours; they become a palette image.
        colors: the colour of each of ``values``.

    Raises:
        DataError: the format cannot hold ``ignore_value``, or cannot be written.
    """
    if file_format(source) == "itk":
        raise DataError(
            "masks in a format that can be written (png, tif, npy, nii)", str(source), "Convert them to .nii.gz."
        )
    content = mask.array if values is None else values
    dtype = _dtype_with(content.dtype, ignore_value)
    array = np.where(kept, content, np.array(ignore_value, dtype=dtype)).astype(dtype)
    if file_format(source) == "nifti":
        atomic_write_bytes(target, _nifti_bytes(source, array))
        return
    with atomic_path(target) as temporary:
        match file_format(source):
            case "npy":
                np.save(temporary, array)
            case "tiff" if colors is None:
                _save_tiff(source, mask, array, ignore_value, temporary)
            case _:
                _save_png(mask, array, ignore_value, colors, temporary)


def _dtype_with(dtype: np.dtype[Any], value: int) -> np.dtype[Any]:
    """``dtype`` if it can hold ``value``, otherwise the smallest integer type for both."""
    if dtype.kind in "iu" and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return dtype
    return np.promote_types(dtype, np.min_scalar_type(value))


def _save_png(
    mask: StoredMask,
    array: npt.NDArray[Any],
    ignore_value: int,
    colors: Mapping[int, Color] | None,
    path: Path,
) -> None:
    pil = require("PIL.Image", extra="data")
    if array.dtype not in (np.uint8, np.uint16):
        raise DataError(
            "an unlabelled value from 0 to 255 for PNG masks",
            f"{ignore_value}, with values of type {array.dtype}",
            "Choose another value with --ignore-index.",
        )
    image = pil.fromarray(array)
    if array.dtype == np.uint8 and (mask.palette is not None or colors is not None):
        entries = np.zeros((256, 3), dtype=np.uint8)
        if mask.palette is not None:
            entries[: len(mask.palette)] = mask.palette[:256]
        for value, color in (colors or {}).items():
            entries[value] = color
        used = [value for value in np.unique(array).tolist() if value != ignore_value]
        entries[ignore_value] = _visible(entries, used, ignore_value)
        image.putpalette(entries.reshape(-1).tolist())
    image.save(path, format="PNG")


def _visible(entries: npt.NDArray[np.uint8], used: list[int], ignore_value: int) -> Color:
    """The colour of unlabelled pixels: its own unless a class has it, as black often is."""
    own = _color(entries[ignore_value])
    # Every entry up to the last class that occurs may be a class in another file.
    classes = [_color(entries[value]) for value in range(max(used, default=0) + 1) if value != ignore_value]
    return own if own not in classes else Palette(classes, ignore_index=None).ignore_color


def _color(entry: npt.NDArray[np.uint8]) -> Color:
    red, green, blue = entry.tolist()
    return red, green, blue


def _save_tiff(source: Path, mask: StoredMask, array: npt.NDArray[Any], ignore_value: int, path: Path) -> None:
    tifffile = require("tifffile", extra="data")
    with tifffile.TiffFile(source) as tiff:
        page = tiff.series[0].keyframe
        tags = [page.tags.get(code) for code in _GEO_TAGS]
        shape = tiff.series[0].shape
        kept_tags = [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in tags if tag is not None]
    options: dict[str, Any] = {"photometric": "minisblack"}
    if mask.palette is not None and array.dtype == np.uint8:
        entries = np.zeros((256, 3), dtype=np.uint8)
        entries[: len(mask.palette)] = mask.palette[:256]
        used = [value for value in np.unique(array).tolist() if value != ignore_value]
        entries[ignore_value] = _visible(entries, used, ignore_value)
        # TIFF colours have 16 bits; 257 spreads 255 to 65535.
        options = {"photometric": "palette", "colormap": entries.T.astype(np.uint16) * 257}
    volume = array.reshape(shape) if array.size == np.prod(shape) else array
    tifffile.imwrite(path, volume, extratags=kept_tags, compression="zlib", metadata=None, **options)


def _nifti_bytes(source: Path, array: npt.NDArray[Any]) -> bytes:
    volume = require("nibabel", extra="data").load(source)
    dtype = array.dtype
    if dtype.kind == "i" and dtype.itemsize == 8:
        # Masks of floats are read as int64, which few viewers open.
        dtype = np.promote_types(np.min_scalar_type(int(array.min())), np.min_scalar_type(int(array.max())))
    header = volume.header.copy()
    header.set_data_dtype(dtype)
    # The values are written as they are, without the scaling that the source may have had.
    header.set_slope_inter(1, 0)
    content: bytes = type(volume)(array.reshape(volume.shape).astype(dtype), volume.affine, header).to_bytes()
    # Without a time stamp, so that the same labels make the same file.
    return gzip.compress(content, mtime=0) if source.suffix.lower() == ".gz" else content
