"""Headers of NumPy's array files, and parts of their arrays read without a memory map.

A mapped file that another program shortens ends the process (SIGBUS); a read that comes short is an error like others.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.files.stored import Header

__all__ = ["NpyLayout", "npy_header", "read_box", "read_layout"]


@dataclass(frozen=True)
class NpyLayout:
    """How an npy file stores its array: ``stored`` are the lengths in the order of the file, ``reversed`` where that is
    Fortran's."""

    stored: tuple[int, ...]
    reversed: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.stored[::-1] if self.reversed else self.stored


def read_layout(stream: BinaryIO) -> NpyLayout:
    """The header of an npy file or of a member of an npz file, read from its beginning."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, reversed_, dtype = read(stream)
    return NpyLayout(shape[::-1] if reversed_ else shape, bool(reversed_), dtype, stream.tell())


def npy_header(layout: NpyLayout) -> Header:
    """The header of an array file."""
    name = str(layout.dtype)
    return Header(tuple(int(n) for n in layout.shape), "?" * len(layout.shape), name, name)


def require_whole(layout: NpyLayout, stream: BinaryIO, path: Path) -> None:
    """Refuse a file that is shorter than its header says.

    Raises:
        DataError: it is.
    """
    wanted = layout.offset + math.prod(layout.stored) * layout.dtype.itemsize
    found = os.fstat(stream.fileno()).st_size
    if found < wanted:
        raise DataError("a whole NPY file", f"{path}, which holds {found} of {wanted} bytes", "Copy it again.")


def read_box(stream: BinaryIO, layout: NpyLayout, box: tuple[slice, ...], path: Path) -> npt.NDArray[Any]:
    """A part of the array.

    Args:
        stream: of the file.
        layout: its header.
        box: a slice with start and stop for each dimension.
        path: for messages.

    Raises:
        DataError: the file ends before.
    """
    spans = box[::-1] if layout.reversed else box
    lengths = layout.stored
    # The trailing dimensions that are read as a whole, and the one before them, lie in one piece.
    whole = len(spans)
    while whole and (spans[whole - 1].start, spans[whole - 1].stop) == (0, lengths[whole - 1]):
        whole -= 1
    first = max(whole - 1, 0)
    result = np.empty([span.stop - span.start for span in spans], dtype=layout.dtype)
    pieces = result.reshape(math.prod(result.shape[:first]), -1)
    steps = [math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]
    begin = spans[first].start * steps[first] if spans else 0
    for index, place in zip(np.ndindex(*result.shape[:first]), pieces, strict=True):
        position = begin + sum((span.start + i) * step for span, i, step in zip(spans, index, steps, strict=False))
        stream.seek(layout.offset + position * layout.dtype.itemsize)
        if stream.readinto(place.view(np.uint8)) != place.nbytes:  # type: ignore[attr-defined]
            raise DataError("a whole NPY file", f"{path}, which ends while it is read", "Copy it again.")
    return result.T if layout.reversed else result
