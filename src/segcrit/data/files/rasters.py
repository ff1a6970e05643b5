"""PNG, JPEG, GIF, BMP, WebP and Netpbm files, read by Pillow."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from segcrit.core.optional import require
from segcrit.data.files.stored import EXIF_ORIENTATION, Header, Stored

__all__ = ["load_raster", "open_raster", "raster_header"]

Result = TypeVar("Result")

# Not every format that Pillow knows: some start other programs (EPS), and none of the others holds masks.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "PPM", "TIFF")
# The most that a byte can hold, by Pillow's name of the decoder: 8 pixels of one bit; PNG packs them 1032 : 1 at best.
_PIXELS_OF_A_BYTE = {"raw": 8, "zip": 8 * 1032}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})

_MODES = {
    "1": "1-bit", "L": "grey", "LA": "grey+alpha", "La": "grey+alpha", "P": "palette", "PA": "palette",
    "RGB": "colour", "RGBX": "colour", "RGBA": "colour+alpha", "RGBa": "colour+alpha", "CMYK": "CMYK",
    "YCbCr": "YCbCr", "LAB": "LAB", "HSV": "HSV", "I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16",
    "I": "int32", "F": "float32",
}  # fmt: skip
_DTYPES = {"1": "bool", "I": "int32", "F": "float32", "I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16"}
# Layouts other than grey, palette and RGB are converted when the image is loaded; the shape is the one afterwards.
_BANDS = {"PA": 1, "CMYK": 3, "RGBX": 3}


def raster_header(stream: BinaryIO) -> Header:
    """The header of a raster image."""

    def read(source: BinaryIO) -> Header:
        with open_raster(source) as image:
            return _header(image, source)

    return _despite_text(read, stream)


def load_raster(stream: BinaryIO) -> Stored:
    """The pixels of a raster image, of its first frame."""
    return _despite_text(_load, stream)


def _load(stream: BinaryIO) -> Stored:
    with open_raster(stream) as image:
        header = _header(image, stream)
        scale = _netpbm_scale(image)
        _require_content(image, stream)
        image.load()
        palette = None
        if image.mode in ("P", "PA"):
            palette = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
            array = np.asarray(image if image.mode == "P" else image.getchannel("P"))
            if image.format == "GIF":
                return Stored(palette[:, 0][array] if header.mode == "grey" else palette[array], header)
            return Stored(array, header, palette)
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa"):
            image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))
        array = np.asarray(image)
        return Stored(array if scale is None else _unscaled(array, *scale), header)


def _header(image: Any, stream: BinaryIO) -> Header:
    bands = _BANDS.get(image.mode, len(image.getbands()))
    mode = _MODES.get(image.mode, image.mode)
    if image.format == "GIF" and mode == "palette":
        # Writers of GIF number the colours anew: the colours are what was meant, or the grey levels.
        palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
        mode, bands = ("grey", 1) if (palette == palette[:, :1]).all() else ("colour", 3)
    shape = (image.height, image.width) if bands == 1 else (image.height, image.width, bands)
    lossy = image.format in ("JPEG", "MPO") or (image.format == "WEBP" and b"VP8L" not in _start(stream, 64))
    orientation = 1
    # getexif() of a PNG without the chunk would decode the whole image to look for it at its end.
    if image.format in ("JPEG", "MPO", "WEBP", "TIFF") or "exif" in image.info:
        orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
    if not 1 <= orientation <= 8:
        orientation = 1
    doubt = ""
    depth = _png_depth(stream) if image.format == "PNG" else 8
    scale = _netpbm_scale(image)
    if (depth == 16 and not mode.startswith("uint16")) or (scale is not None and scale[1] < scale[0] and bands > 1):
        mode += " (16 bits read as 8)"
        doubt = "16 bits a channel, of which only 8 are read"
    elif depth in (2, 4) and mode == "grey":
        doubt = f"grey of {depth} bits, which some programs write as class numbers and others as grey levels"
    elif image.format in ("GIF", "PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        doubt = f"{image.n_frames} frames"
    axes = "YX" if bands == 1 else "YXS"
    return Header(shape, axes, _DTYPES.get(image.mode, "uint8"), mode, lossy, orientation, doubt=doubt)


def _require_content(image: Any, stream: BinaryIO) -> None:
    """Refuse a header that claims more than the file can hold, before Pillow takes memory for it."""
    most = max((_PIXELS_OF_A_BYTE.get(tile[0], math.inf) for tile in image.tile), default=math.inf)
    position = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(position)
    if image.width * image.height > most * length:
        # As from a decoder: formats.explained makes the error of it that names the file.
        damaged = ValueError(f"{length} bytes for {image.width} x {image.height} pixels")
        raise damaged


def _start(stream: BinaryIO, length: int) -> bytes:
    position = stream.tell()
    stream.seek(0)
    start = stream.read(length)
    stream.seek(position)
    return start


def _png_depth(stream: BinaryIO) -> int:
    """Bits a channel, from the IHDR chunk."""
    start = _start(stream, 25)
    return start[24] if start.startswith(_PNG_SIGNATURE) and len(start) == 25 else 8


def _netpbm_scale(image: Any) -> tuple[int, int] | None:
    """The largest value that a Netpbm file declares, and the one that Pillow makes of it; None where they are equal.

    A map of classes 0 to 2 may say that 2 is the largest value: Pillow makes 0, 128 and 255 of it.
    """
    if image.format != "PPM" or not image.tile:
        return None
    arguments = image.tile[0].args
    if not isinstance(arguments, tuple) or len(arguments) != 2 or not isinstance(arguments[1], int):
        return None
    largest = 65535 if image.mode == "I" else 255
    return None if arguments[1] == largest else (arguments[1], largest)


def _unscaled(array: npt.NDArray[Any], declared: int, largest: int) -> npt.NDArray[Any]:
    """The values of the file: exact where it declares no more than ``largest``."""
    return np.rint(array.astype(np.float64) * (min(declared, largest) / largest)).astype(array.dtype)


def _despite_text(read: Callable[[BinaryIO], Result], stream: BinaryIO) -> Result:
    """Read an image; a PNG of which Pillow refuses the texts (over 1 MB each, against bombs) without its texts."""
    try:
        return read(stream)
    except ValueError as error:
        if "text" not in str(error).lower() or not _start(stream, 8).startswith(_PNG_SIGNATURE):
            raise
    stream.seek(0)
    return read(_without_text(stream))


def _without_text(stream: BinaryIO) -> BinaryIO:
    kept = io.BytesIO()
    kept.write(stream.read(8))
    while head := stream.read(8):
        length = int.from_bytes(head[:4], "big") + 4
        if head[4:] in _PNG_TEXT:
            stream.seek(length, io.SEEK_CUR)
        else:
            kept.write(head + stream.read(length))
    kept.seek(0)
    return kept


# Pillow refuses images above a global limit, against bombs from strangers. Slides and satellite scenes are larger, and
# our own budget is checked instead; so the limit is lifted while we read, and put back.
_limit_lock = threading.Lock()
_limit_readers = 0
_limit_before: int | None = None


@contextmanager
def open_raster(stream: BinaryIO) -> Iterator[Any]:
    """The Pillow image of an open file."""
    global _limit_readers, _limit_before
    module: Any = require("PIL.Image", extra="data")
    with _limit_lock:
        if _limit_readers == 0:
            _limit_before, module.MAX_IMAGE_PIXELS = module.MAX_IMAGE_PIXELS, None
        _limit_readers += 1
    try:
        stream.seek(0)
        with module.open(stream, formats=_FORMATS) as image:
            yield image
    finally:
        with _limit_lock:
            _limit_readers -= 1
            if _limit_readers == 0:
                module.MAX_IMAGE_PIXELS = _limit_before
