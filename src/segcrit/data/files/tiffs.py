"""TIFF files: tiles, strips, planes, pages, pyramids, palettes, and what geographic files declare; read by tifffile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError
from segcrit.core.optional import require
from segcrit.data.files.budget import require_memory
from segcrit.data.files.chatter import no_chatter
from segcrit.data.files.rasters import open_raster
from segcrit.data.files.stored import EXIF_ORIENTATION, Header, Stored, oriented, parse_nodata

__all__ = ["colors_of", "load_tiff", "mask_band", "needs_codecs", "open_tiff", "tiff_header"]

_INVERSE_ORIENTATION = {6: 8, 8: 6}
_GDAL_NODATA = 42113
_LOSSY = frozenset({6, 7, 33003, 33005, 34712, 50001})  # JPEG, JPEG 2000, WebP
_WHITE_IS_ZERO = 0
# NewSubfileType (TIFF 6.0, section 8): a smaller version of another image, and its mask of transparency.
_REDUCED, _MASK = 1, 4


@contextmanager
def open_tiff(stream: BinaryIO, path: Path) -> Iterator[Any]:
    """The TiffFile of an open file."""
    with no_chatter():
        opened = require("tifffile", extra="data").TiffFile(stream, name=path.name)
    with opened as tiff:
        yield tiff


def _declared(page: Any) -> float | None:
    tag = page.tags.get(_GDAL_NODATA)
    return None if tag is None else parse_nodata(str(tag.value))


def tiff_header(tiff: Any) -> Header:
    """The header of the first image."""
    series = tiff.series[0]
    page = series.keyframe
    axes = "".join(letter if letter in "SYXZC" else "?" for letter in series.axes)
    shape = tuple(int(length) for length in series.shape)
    samples = shape[axes.index("S")] if "S" in axes else 1
    name = str(series.dtype)
    mode = {"bool": "1-bit", "uint8": "grey"}.get(name, name)
    if "S" in axes:
        mode = "colour" if samples == 3 and name == "uint8" else f"{samples} bands {name}"
    # ExtraSamples 1 and 2 are alpha, 0 is an ordinary band such as near infrared (TIFF 6.0, section 18).
    extra = tuple(int(value) for value in page.extrasamples)
    if samples in (2, 4) and extra and extra[-1] in (1, 2):
        mode = "colour+alpha" if samples == 4 else "grey+alpha"
    if page.colormap is not None:
        mode = "palette"
        if samples == 2:  # the second is alpha, which is dropped
            place = axes.index("S")
            axes, shape = axes.replace("S", ""), shape[:place] + shape[place + 1 :]
    tag = page.tags.get(EXIF_ORIENTATION)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    lossy = int(page.compression) in _LOSSY
    doubt = _doubt(tiff, page, name)
    return Header(shape, axes, name, mode, lossy, orientation, _declared(page), doubt=doubt)


def _doubt(tiff: Any, page: Any, dtype: str) -> str:
    """Why no class numbers can be read from the file, or nothing."""
    others = [series for series in tiff.series[1:] if not _kind_of(series) & (_REDUCED | _MASK)]
    if others:
        return f"{len(others) + 1} images of different size or type in one file"
    if _is_white_zero(page) and dtype != "bool":
        return "grey values that are inverted (WhiteIsZero), which some programs write as they are and others inverted"
    return ""


def _kind_of(series: Any) -> int:
    return int(series.keyframe.subfiletype)


def _is_white_zero(page: Any) -> bool:
    return int(page.photometric) == _WHITE_IS_ZERO


def is_inverted(page: Any) -> bool:
    """Whether bright pixels are stored as small numbers. tifffile marks all 1-bit arrays so, and inverts none."""
    by_tifffile = page.dtype is not None and page.dtype.kind == "b" and str(page.software).startswith("tifffile")
    return _is_white_zero(page) and page.dtype.kind in "bu" and not by_tifffile


def bright(array: npt.NDArray[Any], page: Any) -> npt.NDArray[Any]:
    """Values of which large ones are bright, whatever the file stores."""
    if not is_inverted(page):
        return array
    if array.dtype.kind == "b":
        return ~array
    inverted: npt.NDArray[Any] = array.dtype.type((1 << int(page.bitspersample)) - 1) - array
    return inverted


def colors_of(page: Any) -> npt.NDArray[np.uint8] | None:
    """The palette of a page, ``uint8 (P, 3)``."""
    if page.colormap is None:
        return None
    colors: npt.NDArray[np.uint8] = (np.asarray(page.colormap) >> 8).astype(np.uint8).T  # (3, P) in 16 bits
    return colors


def mask_band(tiff: Any) -> Any:
    """The series that says where the first image holds data (GDAL's mask band), or None."""
    first = tiff.series[0]
    return next((own for own in tiff.series[1:] if _kind_of(own) & _MASK and own.shape == first.shape[:2]), None)


def load_tiff(stream: BinaryIO, path: Path) -> Stored:
    """The array of the first image: of all its pages, planes and bands, at full resolution."""
    with open_tiff(stream, path) as tiff:
        series = tiff.series[0]
        header = tiff_header(tiff)
        require_memory(header, path)
        palette = colors_of(series.keyframe)
        try:
            array = bright(series.asarray(), series.keyframe)
            band = mask_band(tiff)
            valid = None if band is None else band.asarray() != 0
            if array.ndim > len(header.shape):  # palette and alpha
                array = np.take(array, 0, axis=series.axes.index("S"))
            return Stored(array, header, palette, valid)
        except (ValueError, ImportError) as error:
            # Without imagecodecs, tifffile lacks LZW, JPEG and others; Pillow has them for the common layouts.
            if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
                raise
            reason = str(error)
        inverted = is_inverted(series.keyframe)
    with open_regular(path) as again, open_raster(again) as image:
        orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
        pages = getattr(image, "n_frames", 1)
        array = np.asarray(image) if pages == 1 else np.stack([_frame(image, index) for index in range(pages)])
    if orientation != 1 and pages == 1:  # Pillow turns TIFFs while loading; the decision is ours, so it is undone here
        array = oriented(array, _INVERSE_ORIENTATION.get(orientation, orientation))
    fits = array.shape == header.shape and (array.dtype == np.dtype(header.dtype) or header.dtype == "bool")
    if not fits or inverted:
        raise needs_codecs(path, reason)
    return Stored(array, header, palette)


def _frame(image: Any, index: int) -> npt.NDArray[Any]:
    image.seek(index)
    return np.array(image)


def needs_codecs(path: Path, reason: str) -> DataError:
    """The error for a compression that only imagecodecs reads."""
    return DataError(
        f"a TIFF compression that can be read without extra packages in {path}",
        reason,
        "Install the decoders with: pip install imagecodecs",
    )
