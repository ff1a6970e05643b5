"""Opening image files: what a file holds (its header, cheap) and its array (decoded), for every format we read.

Nothing here knows about classes; the rules of images and masks are in ``reading``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np

from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError, SegcritError
from segcrit.data.files.budget import require_memory
from segcrit.data.files.chatter import no_chatter
from segcrit.data.files.npy import npy_header, read_layout, require_whole
from segcrit.data.files.rasters import load_raster, raster_header
from segcrit.data.files.stored import Header, Stored, oriented
from segcrit.data.files.tiffs import load_tiff, needs_codecs, open_tiff, tiff_header
from segcrit.data.files.volumes import itk_header, load_itk, load_nifti, nifti_header

__all__ = ["SUFFIXES", "Header", "Stored", "explained", "file_format", "load", "oriented", "probe", "stem"]

Format = Literal["raster", "tiff", "npy", "nifti", "itk"]

SUFFIXES: Final[dict[str, Format]] = {
    ".png": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".gif": "raster",
    ".bmp": "raster",
    ".webp": "raster",
    ".pbm": "raster",
    ".pgm": "raster",
    ".ppm": "raster",
    ".pnm": "raster",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".mha": "itk",
    ".mhd": "itk",
    ".nrrd": "itk",
    ".nhdr": "itk",
}
# How files begin, for those whose ending lies: TIFF, BigTIFF, NumPy, and what Pillow reads.
_SIGNATURES: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x93NUMPY", "npy"),
    (b"\x89PNG\r\n\x1a\n", "raster"),
    (b"\xff\xd8\xff", "raster"),
    (b"GIF8", "raster"),
)


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
        DataError: the file is missing, no regular file, of an unknown format, or its beginning is damaged.
    """
    file = Path(path)
    with explained(file), open_regular(file) as stream:
        match _format_of(file, stream):
            case "raster":
                return raster_header(stream)
            case "tiff":
                with open_tiff(stream, file) as tiff:
                    return tiff_header(tiff)
            case "npy":
                return npy_header(read_layout(stream))
            case "nifti":
                return nifti_header(file)
            case "itk":
                return itk_header(file)


def load(path: str | Path) -> Stored:
    """The array of an image file as it is stored, with its header.

    Raises:
        DataError: the file is missing, no regular file, of an unknown format, damaged or truncated, or its array would
            take more memory than one file may.
    """
    file = Path(path)
    with explained(file), open_regular(file) as stream:
        match _format_of(file, stream):
            case "raster":
                require_memory(raster_header(stream), file)
                stream.seek(0)
                return load_raster(stream)
            case "tiff":
                return load_tiff(stream, file)
            case "npy":
                layout = read_layout(stream)
                header = npy_header(layout)
                require_memory(header, file)
                require_whole(layout, stream, file)
                stream.seek(0)
                return Stored(np.load(stream, allow_pickle=False), header)
            case "nifti":
                return load_nifti(file)
            case "itk":
                return load_itk(file)


def _format_of(path: Path, stream: BinaryIO) -> Format:
    """The format by the file's name, corrected by its first bytes."""
    by_name = file_format(path)
    if by_name is None:
        raise DataError("an image file (" + ", ".join(SUFFIXES) + ")", str(path), "Convert it to one of these formats.")
    start = stream.read(64)
    stream.seek(0)
    for signature, found in _SIGNATURES:
        if start.startswith(signature):
            return found
    wrong = ""
    if start.startswith(b"version https://git-lfs"):
        wrong, advice = "the pointer that Git LFS leaves for it", "Bring the file itself with: git lfs pull."
    elif start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        wrong, advice = "a page of text", "Download the file itself; the server sent a message instead."
    elif by_name == "nifti" and start.startswith(b"\x1f\x8b") != path.name.lower().endswith(".gz"):
        is_packed = start.startswith(b"\x1f\x8b")
        if is_packed or start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
            wrong = f"a file that is {'' if is_packed else 'not '}compressed"
            advice = f"Rename it to {stem(path)}.nii{'.gz' * is_packed}."
    if wrong:
        raise DataError(f"a {path.suffix} file at {path}", wrong, advice)
    return by_name


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one DataError that names the file, and keep its log messages quiet."""
    try:
        with no_chatter():
            yield
    except SegcritError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"the file {path}", "no such file", "Check the path.") from error
    except PermissionError as error:
        raise DataError(f"a readable file {path}", "no permission to read it", "Change its rights.") from error
    except MemoryError as error:
        raise DataError(
            f"enough memory for {path}", "less", "Free some, or process fewer files at a time (--workers 1)."
        ) from error
    except Exception as error:  # decoders raise nearly anything for damaged files: SyntaxError, zlib.error, EOFError
        reason = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in reason:
            raise needs_codecs(path, reason) from error
        raise DataError(
            f"a whole {path.name.rpartition('.')[2].upper()} file",
            f"{path}, which is damaged or cut off ({reason[:160]})",
            "Copy or download it again, or take it out of the data set.",
        ) from error
