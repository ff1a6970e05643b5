"""Volumes with a place in space: NIfTI, read by nibabel; MetaImage and NRRD, read by SimpleITK where it is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError, MissingExtraError
from segcrit.core.optional import require
from segcrit.data.files.budget import require_memory
from segcrit.data.files.stored import Header, Stored

__all__ = ["itk_header", "load_itk", "load_nifti", "nifti_header"]

_ITK_KINDS: Final = ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64", "Float32", "Float64")
_MOST_HEADER: Final = 1 << 16


def nifti_header(path: Path) -> Header:
    """The header of a NIfTI file."""
    return _nifti_header(_open_nifti(path))


def load_nifti(path: Path) -> Stored:
    """The array (X, Y, Z, ...) of a NIfTI file, with its slope and intercept applied."""
    volume = _open_nifti(path)
    header = _nifti_header(volume)
    require_memory(header, path)
    return Stored(np.asanyarray(volume.dataobj), header)


def _open_nifti(path: Path) -> Any:
    # Not mapped into memory: a file that shrinks while it is read would end the process.
    return require("nibabel", extra="data").load(path, mmap=False)


def _nifti_header(volume: Any) -> Header:
    shape = tuple(int(size) for size in volume.shape)
    name = str(volume.get_data_dtype())
    axes = "XYZ"[: len(shape)] if len(shape) <= 3 else "XYZ" + "C" * (len(shape) - 3)
    spacing = tuple(float(value) for value in volume.header.get_zooms()[:3])
    affine = tuple(float(value) for value in np.asarray(volume.affine).ravel()) if volume.affine is not None else None
    slope, intercept = (getattr(volume.dataobj, key, None) for key in ("slope", "inter"))
    is_scaled = slope is not None and (float(slope), float(intercept or 0.0)) != (1.0, 0.0)
    step = abs(float(slope)) if is_scaled and slope is not None else 0.0
    return Header(shape, axes, name, name, spacing=spacing, affine=affine, step=step)


def _itk(path: Path) -> Any:
    try:
        library: Any = require("SimpleITK", extra="itk")
    except MissingExtraError as error:
        raise DataError(
            f"the package SimpleITK, which reads {path.suffix} files",
            f"{path} and an environment without it",
            "Install it with: pip install 'segcrit[itk]'; or convert the files to .nii.gz.",
            code="missing-extra",
        ) from error
    library.ProcessObject.SetGlobalWarningDisplay(False)
    return library


def itk_header(path: Path) -> Header:
    """The header of a MetaImage or NRRD file."""
    library = _itk(path)
    _require_own_data(path)
    reader = library.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimensions, channels = int(reader.GetDimension()), int(reader.GetNumberOfComponents())
    shape = tuple(int(size) for size in reader.GetSize())
    axes = "XYZ"[:dimensions] + "C" * (dimensions - 3 + (channels > 1))
    shape = (*shape, channels) if channels > 1 else shape
    spacing = tuple(float(value) for value in reader.GetSpacing())[:3]
    affine = None
    if dimensions == 3:
        steps = np.reshape(reader.GetDirection(), (3, 3)) * spacing
        # ITK's world is that of DICOM, whose x and y run against those of NIfTI.
        world = np.diag([-1.0, -1.0, 1.0]) @ np.column_stack([steps, reader.GetOrigin()])
        affine = tuple(float(value) for value in np.vstack([world, [0, 0, 0, 1]]).ravel())
    kinds = {getattr(library, f"sitk{vector}{kind}"): kind.lower() for kind in _ITK_KINDS for vector in ("", "Vector")}
    name = kinds.get(reader.GetPixelID(), "complex128")
    return Header(shape, axes, name, name, spacing=spacing, affine=affine)


def load_itk(path: Path) -> Stored:
    """The array (X, Y, Z, ...) of a MetaImage or NRRD file."""
    header = itk_header(path)
    require_memory(header, path)
    library = _itk(path)
    array = library.GetArrayFromImage(library.ReadImage(str(path)))  # (Z, Y, X), channels last
    spatial = array.ndim - (array.ndim > len(header.axes.rstrip("C")))
    return Stored(array.transpose(*reversed(range(spatial)), *range(spatial, array.ndim)), header)


def _require_own_data(path: Path) -> None:
    """Refuse a header that names pixels elsewhere: only a regular file beside it may hold them."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return
    with open_regular(path) as stream:
        text = stream.read(_MOST_HEADER).decode("latin-1")
    found = re.search(r"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", text, flags=re.MULTILINE | re.IGNORECASE)
    name = "" if found is None else found[1]
    if not name or Path(name).name != name or not (path.parent / name).is_file():
        raise DataError(
            f"the name of a file beside {path} that holds its pixels", name or "none", "Correct the header."
        )
