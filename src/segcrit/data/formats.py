"""Opening image files: what a file holds (its header, cheap) and its array (decoded), for every format we read.

Nothing here knows about classes; the rules of images and masks are in ``reading``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segcrit._extras import require
from segcrit.errors import DataError, SegcritError

__all__ = ["SUFFIXES", "Header", "Stored", "file_format", "load", "oriented", "probe", "stem"]

Format = Literal["raster", "tiff", "npy", "nifti"]

SUFFIXES: dict[str, Format] = {
    ".png": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".bmp": "raster",
    ".webp": "raster",
    ".pgm": "raster",
    ".ppm": "raster",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
    ".nii": "nifti",
    ".nii.gz": "nifti",
}

# Turning a stored (H, W, ...) array as its EXIF orientation says (EXIF 2.32, tag 0x0112).
_INVERSE_ORIENTATION = {6: 8, 8: 6}
_EXIF_ORIENTATION = 0x0112
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Header:
    """What a file says about its array, read without decoding it.

    Attributes:
        shape: as stored, colour channels included.
        axes: one letter a dimension: ``"S"`` colour samples, ``"Y"``, ``"X"``, ``"Z"``, ``"C"`` channels, ``"?"`` unknown.
        dtype: NumPy name of the stored type.
        mode: the kind of pixel in words: ``"grey"``, ``"colour"``, ``"palette"``, ``"uint16"``, ...
        lossy: whether the compression changes values (JPEG): such a file cannot hold labels.
        orientation: EXIF orientation, 1 where there is none.
        nodata: the declared value of missing pixels, if any (GeoTIFF's GDAL_NODATA).
        spacing: distance of voxel centres in the unit of the file, if known.
        affine: the voxel-to-world matrix, row by row, if known.
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
    """The decoded array of a file with its header; ``palette`` is ``uint8 (P, 3)`` for palette files."""

    array: npt.NDArray[Any]
    header: Header
    palette: npt.NDArray[np.uint8] | None = None


def file_format(path: Path) -> Format | None:
    """The format by the file's name, None for files that are no images.

    Example:
        >>> file_format(Path("brain.nii.gz")), file_format(Path("notes.txt"))
        ('nifti', None)
    """
    name = path.name.lower()
    if name.endswith(".nii.gz"):
        return "nifti"
    return SUFFIXES.get(path.suffix.lower())


def stem(path: Path) -> str:
    """The file's name without its ending, ``.nii.gz`` taken as one ending.

    Example:
        >>> stem(Path("images/brain.v2.nii.gz"))
        'brain.v2'
    """
    name = path.name
    return name[:-7] if name.lower().endswith(".nii.gz") else path.stem


def probe(path: str | Path) -> Header:
    """The header of an image file.

    Raises:
        DataError: the file is missing, of an unknown format, or its beginning is damaged.
    """
    file = Path(path)
    with _explained(file):
        match _require_format(file):
            case "raster":
                with _open_raster(file) as image:
                    return _raster_header(image, file)
            case "tiff":
                return _tiff_header(file)
            case "npy":
                array = np.load(file, mmap_mode="r", allow_pickle=False)
                return Header(array.shape, "?" * array.ndim, str(array.dtype), str(array.dtype))
            case "nifti":
                return _nifti_header(require("nibabel", extra="data").load(file))


def load(path: str | Path) -> Stored:
    """The array of an image file as it is stored, with its header.

    Raises:
        DataError: the file is missing, of an unknown format, damaged or truncated.
    """
    file = Path(path)
    with _explained(file):
        match _require_format(file):
            case "raster":
                return _load_raster(file)
            case "tiff":
                return _load_tiff(file)
            case "npy":
                array = np.load(file, allow_pickle=False)
                return Stored(array, Header(array.shape, "?" * array.ndim, str(array.dtype), str(array.dtype)))
            case "nifti":
                volume = require("nibabel", extra="data").load(file)
                return Stored(np.asanyarray(volume.dataobj), _nifti_header(volume))


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


def _require_format(path: Path) -> Format:
    found = file_format(path)
    if found is None:
        raise DataError("an image file (" + ", ".join(SUFFIXES) + ")", str(path), "Convert it to one of these formats.")
    return found


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one DataError that names the file."""
    try:
        yield
    except (SegcritError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"the file {path}", "no such file", "Check the path.") from error
    except PermissionError as error:
        raise DataError(f"a readable file {path}", "no permission to read it", "Change its rights.") from error
    except IsADirectoryError as error:
        raise DataError(f"an image file at {path}", "a folder", "Give the path of a file.") from error
    except Exception as error:  # decoders raise nearly anything for damaged files: SyntaxError, zlib.error, EOFError
        reason = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in reason:
            raise _needs_codecs(path, reason) from error
        raise DataError(
            f"a whole {path.name.rpartition('.')[2].upper()} file",
            f"{path}, which is damaged or cut off ({reason[:160]})",
            "Copy or download it again, or take it out of the data set.",
        ) from error


def _needs_codecs(path: Path, reason: str) -> DataError:
    return DataError(
        f"a TIFF compression that can be read without extra packages in {path}",
        reason,
        "Install the decoders with: pip install imagecodecs",
    )


# Pillow refuses images above a global limit, against bombs from strangers. The user's own files are no strangers,
# and slides and satellite scenes are larger; so the limit is lifted while we read, and put back.
_limit_lock = threading.Lock()
_limit_readers = 0
_limit_before: int | None = None


@contextmanager
def _open_raster(path: Path) -> Iterator[Any]:
    global _limit_readers, _limit_before
    module: Any = require("PIL.Image", extra="data")
    with _limit_lock:
        if _limit_readers == 0:
            _limit_before, module.MAX_IMAGE_PIXELS = module.MAX_IMAGE_PIXELS, None
        _limit_readers += 1
    try:
        with module.open(path) as image:
            yield image
    finally:
        with _limit_lock:
            _limit_readers -= 1
            if _limit_readers == 0:
                module.MAX_IMAGE_PIXELS = _limit_before


_RASTER_MODES = {
    "1": "1-bit", "L": "grey", "LA": "grey+alpha", "La": "grey+alpha", "P": "palette", "PA": "palette+alpha",
    "RGB": "colour", "RGBX": "colour", "RGBA": "colour+alpha", "RGBa": "colour+alpha", "CMYK": "CMYK",
    "YCbCr": "YCbCr", "LAB": "LAB", "HSV": "HSV", "I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16",
    "I": "int32", "F": "float32",
}  # fmt: skip
_RASTER_DTYPES = {"1": "bool", "I": "int32", "F": "float32", "I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16"}


def _raster_header(image: Any, path: Path) -> Header:
    # Layouts other than grey and RGB are converted when the image is loaded; the shape is the one afterwards.
    bands = {"PA": 3, "CMYK": 3, "RGBX": 3}.get(image.mode, len(image.getbands()))
    shape = (image.height, image.width) if bands == 1 else (image.height, image.width, bands)
    mode = _RASTER_MODES.get(image.mode, image.mode)
    if image.format == "PNG" and mode.startswith("colour") and _png_depth(path) == 16:
        mode += " (16 bits read as 8)"
    lossy = image.format == "JPEG" or (image.format == "WEBP" and not _webp_lossless(path))
    orientation = 1
    # getexif() of a PNG without the chunk would decode the whole image to look for it at its end.
    if image.format in ("JPEG", "WEBP", "TIFF") or "exif" in image.info:
        orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
    if not 1 <= orientation <= 8:
        orientation = 1
    axes = "YX" if bands == 1 else "YXS"
    return Header(shape, axes, _RASTER_DTYPES.get(image.mode, "uint8"), mode, lossy, orientation)


def _png_depth(path: Path) -> int:
    """Bits a channel, from the IHDR chunk."""
    with path.open("rb") as stream:
        start = stream.read(25)
    return start[24] if start.startswith(_PNG_SIGNATURE) and len(start) == 25 else 8


def _webp_lossless(path: Path) -> bool:
    with path.open("rb") as stream:
        return b"VP8L" in stream.read(64)


def _load_raster(path: Path) -> Stored:
    with _open_raster(path) as image:
        image.load()
        header = _raster_header(image, path)
        palette = None
        if image.mode == "P":
            colors = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8)
            palette = colors.reshape(-1, 3)
        elif image.mode in ("PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa"):
            target = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB")
            image = image.convert(target)
        return Stored(np.asarray(image), header, palette)


def _tiff_header(path: Path) -> Header:
    tifffile = require("tifffile", extra="data")
    with tifffile.TiffFile(path) as tiff:
        return _tiff_series_header(tiff.series[0])


def _tiff_series_header(series: Any) -> Header:
    page = series.keyframe
    axes = "".join(letter if letter in "SYXZC" else "?" for letter in series.axes)
    samples = series.shape[axes.index("S")] if "S" in axes else 1
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
    tag = page.tags.get(_EXIF_ORIENTATION)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    declared = page.tags.get(42113)  # GDAL_NODATA, a text
    nodata = None
    if declared is not None:
        try:
            nodata = float(str(declared.value).strip("\0 "))
        except ValueError:
            nodata = None
    lossy = int(page.compression) in (6, 7, 33003, 33005, 34712, 50001)  # JPEG, JPEG 2000, WebP
    return Header(tuple(series.shape), axes, name, mode, lossy, orientation, nodata)


def _load_tiff(path: Path) -> Stored:
    tifffile = require("tifffile", extra="data")
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        header = _tiff_series_header(series)
        palette = None
        if series.keyframe.colormap is not None:  # (3, P) in 16 bits
            palette = (np.asarray(series.keyframe.colormap) >> 8).astype(np.uint8).T
        try:
            return Stored(series.asarray(), header, palette)
        except (ValueError, ImportError) as error:
            # Without imagecodecs, tifffile lacks LZW, JPEG and others; Pillow has them for the common layouts.
            if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
                raise
            reason = str(error)
    with _open_raster(path) as image:
        orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
        pages = getattr(image, "n_frames", 1)
        array = np.asarray(image) if pages == 1 else np.stack([_frame(image, index) for index in range(pages)])
    if orientation != 1 and pages == 1:  # Pillow turns TIFFs while loading; the decision is ours, so it is undone here
        array = oriented(array, _INVERSE_ORIENTATION.get(orientation, orientation))
    if array.shape != header.shape or (array.dtype != np.dtype(header.dtype) and header.dtype != "bool"):
        raise _needs_codecs(path, reason)
    return Stored(array, header, palette)


def _frame(image: Any, index: int) -> npt.NDArray[Any]:
    image.seek(index)
    return np.array(image)


def _nifti_header(volume: Any) -> Header:
    shape = tuple(int(size) for size in volume.shape)
    name = str(volume.get_data_dtype())
    axes = "XYZ"[: len(shape)] if len(shape) <= 3 else "XYZ" + "C" * (len(shape) - 3)
    spacing = tuple(float(value) for value in volume.header.get_zooms()[:3])
    affine = tuple(float(value) for value in np.asarray(volume.affine).ravel()) if volume.affine is not None else None
    return Header(shape, axes, name, name, spacing=spacing, affine=affine)
