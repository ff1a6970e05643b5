"""In which order the axes of files run: (X, Y, Z) in NIfTI, (Z, Y, X) in images and TIFF stacks; arrays do not say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segcrit.data.files.formats import file_format

__all__ = ["Order", "fits", "may_be_reversed", "order_of"]

Order = Literal["xyz", "zyx"]


def order_of(path: Path) -> Order | None:
    """The order of axes that a format states; None for npy and npz, which do not.

    Example:
        >>> order_of(Path("a.png")), order_of(Path("a.npz"))
        ('zyx', None)
    """
    kind = file_format(path)
    if kind in ("raster", "tiff"):
        return "zyx"
    if kind in (None, "npy"):
        return None
    return "xyz"


def may_be_reversed(file: Path, other: Path) -> bool:
    """Whether the axes of two files may run in opposite orders. Arrays beside images take the order of these."""
    one, two = order_of(file), order_of(other)
    return one != two and "xyz" in (one, two)


def fits(shape: Sequence[int], size: Sequence[int]) -> Literal["same", "reversed", "both", "neither"]:
    """How a shape fits the size of the truth.

    Example:
        >>> fits((7, 6, 5), (5, 6, 7)), fits((6, 5, 6), (6, 5, 6))
        ('reversed', 'both')
    """
    same, reverse = tuple(shape) == tuple(size), tuple(shape)[::-1] == tuple(size)
    if same and reverse:
        return "both"
    return "same" if same else "reversed" if reverse else "neither"
