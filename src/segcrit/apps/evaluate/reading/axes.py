"""Which axis of a prediction is which: volumes of NIfTI are (X, Y, Z), images and TIFF stacks (Z, Y, X), arrays do not say.

nnU-Net and everything that goes through SimpleITK write arrays as (Z, Y, X), MONAI and nibabel as (X, Y, Z). A shape tells
which it is, unless the first and the last side are equal; then the files beside it or the content do, or the user is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.data.files.axes import fits, may_be_reversed, order_of
from segcrit.data.files.formats import stem

__all__ = ["channels_to_front", "companion", "turned_for", "turned_like", "without_ones", "written_by_nnunet"]

Array = npt.NDArray[Any]

_LABEL_FILES: Final = (".nii.gz", ".nii", ".mha", ".nrrd", ".tif", ".tiff", ".png")


def turned_for(turned: Sequence[bool], place: int, prediction: Path, truth: Path) -> bool | None:
    """Whether the axes of a file of a model run against those of the truth where its shape fits both; None: they cannot.

    Args:
        turned: for each model; empty where no file can.
        place: of the model.
        prediction: its file.
        truth: the label map.
    """
    if not turned:
        return None
    # Beside images, arrays run otherwise only where the user says so.
    said = turned[place] and order_of(prediction) is None
    return turned[place] if said or may_be_reversed(prediction, truth) else None


def companion(path: Path) -> Path | None:
    """The npz file with probabilities that lies beside a label file of the same name, as nnU-Net writes both."""
    beside = path.with_name(f"{stem(path)}.npz")
    return beside if path.suffix.lower() != ".npz" and beside.is_file() else None


def written_by_nnunet(path: Path) -> bool:
    """Whether a label file or the properties lie beside an npz file, as nnU-Net leaves them: then it is (C, Z, Y, X)."""
    names = (path.with_name(stem(path) + ending) for ending in (".pkl", *_LABEL_FILES))
    return path.suffix.lower() == ".npz" and any(name.is_file() for name in names)


def without_ones(array: Array, dimensions: int) -> Array:
    """The array with at most so many axes, where axes of length one can be dropped; leading ones first.

    Example:
        >>> without_ones(np.zeros((1, 3, 1, 20, 30)), 3).shape
        (3, 20, 30)
    """
    while array.ndim > dimensions and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    return array


def channels_to_front(array: Array, channels: int, size: Sequence[int], path: Path) -> Array:
    """Channels-last arrays (\\*S, C) as (C, \\*S). Where both ends have that many entries, the size of the truth tells."""
    if array.ndim != len(size) + 1 or array.shape[-1] != channels:
        return array
    first = array.shape[0] == channels
    if first and order_of(path) == "xyz":
        first = False  # NIfTI keeps channels behind the axes of space
    elif first:
        wanted = (tuple(size), tuple(size)[::-1])
        first = array.shape[1:] in wanted or array.shape[:-1] not in wanted
    return array if first else np.moveaxis(array, -1, 0)


def turned_like(array: Array, size: Sequence[int], turned: bool | None) -> Array:
    """The spatial axes of (\\*S) or (C, \\*S) in the order of the truth.

    Args:
        array: labels, or channels first.
        size: of the truth.
        turned: whether the axes run in the opposite order where the shape fits both ways, or neither; None: they
            cannot.
    """
    wanted = tuple(size)
    own = array.shape[array.ndim - len(wanted) :]
    if turned is None or array.ndim not in (len(wanted), len(wanted) + 1) or fits(own, wanted) == "same":
        return array
    if fits(own, wanted) != "reversed" and not turned:
        return array
    first = array.ndim - len(wanted)
    turned_array: Array = array.transpose(*range(first), *reversed(range(first, array.ndim)))
    return turned_array
