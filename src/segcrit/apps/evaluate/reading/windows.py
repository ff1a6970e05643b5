"""Parts of large arrays: TIFF files by their tiles or strips, npy files by their rows.

What is read at a time is bounded by the window and the tile of the file, not by the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import open_regular
from segcrit.data.coding.mask_coding import StoredMask
from segcrit.data.files.formats import Header, file_format, probe
from segcrit.data.files.npy import NpyLayout, read_box, read_layout, require_whole
from segcrit.data.files.stored_labels import stored_labels
from segcrit.data.files.tiffs import bright, colors_of, mask_band, open_tiff, tiff_header

__all__ = ["Source", "open_source", "open_sources", "size_of", "window_shape", "windows"]

Array = npt.NDArray[Any]


class Source(Protocol):
    """A two-dimensional map that can be read in parts.

    Attributes:
        size: rows and columns.
        block: what is decoded at a time.
        dtype: of the stored values.
        channels: size of a leading axis of channels, or None.
        samples: values a pixel, in the last axis: 3 are a colour.
        palette: ``uint8 (P, 3)``, the colour of each value, or None; may be taken away.
        special: whether labels in it can only be read as a whole; its colours can be read in parts.
    """

    size: tuple[int, int]
    block: tuple[int, int]
    dtype: np.dtype[Any]
    channels: int | None
    samples: int
    palette: npt.NDArray[np.uint8] | None
    special: bool

    def read(self, rows: slice, columns: slice) -> Array | StoredMask:
        """The part as an array of logits, or as the values of a mask."""


class _Npy:
    """An npy file, read piece by piece: labels (H, W), or logits (C, H, W)."""

    def __init__(self, stream: BinaryIO, layout: NpyLayout, path: Path) -> None:
        self._stream, self._layout, self._path = stream, layout, path
        self.size = (layout.shape[-2], layout.shape[-1])
        # Whole rows lie in one piece.
        self.block = (1, self.size[1])
        self.dtype = layout.dtype
        self.channels = layout.shape[0] if len(layout.shape) == 3 else None
        self.samples, self.special = 1, False
        self.palette: npt.NDArray[np.uint8] | None = None

    def read(self, rows: slice, columns: slice) -> Array | StoredMask:
        leading = () if self.channels is None else (slice(0, self.channels),)
        part = read_box(self._stream, self._layout, (*leading, rows, columns), self._path)
        if part.ndim == 2 and part.dtype.kind in "bui":
            return StoredMask(part.astype(np.uint8) if part.dtype.kind == "b" else part, False, None, str(part.dtype))
        return part


class _Tiff:
    """A TIFF page of one or three samples a pixel, decoded tile by tile (strip by strip)."""

    def __init__(self, page: Any, handle: Any, header: Header, path: Path, special: bool) -> None:
        self.special = special
        self._page, self._handle, self._header, self._path = page, handle, header, path
        self.size = (int(page.imagelength), int(page.imagewidth))
        if page.is_tiled:
            self.block = (int(page.tilelength), int(page.tilewidth))
        else:
            self.block = (min(int(page.rowsperstrip), self.size[0]), self.size[1])
        self.channels: int | None = None
        self.samples = int(page.samplesperpixel)
        self._across = math.ceil(self.size[1] / self.block[1])
        self.palette = colors_of(page)
        self.dtype = np.dtype(page.dtype)

    def read(self, rows: slice, columns: slice) -> Array | StoredMask:
        height, width = self.block
        shape = (rows.stop - rows.start, columns.stop - columns.start, self.samples)
        result = np.full(shape, self._page.nodata, dtype=np.uint8 if self.dtype.kind == "b" else self.dtype)
        for down in range(rows.start // height, math.ceil(rows.stop / height)):
            for across in range(columns.start // width, math.ceil(columns.stop / width)):
                block = self._block(down * self._across + across)
                if block is None:
                    continue
                top, left = down * height, across * width
                low_y, high_y = max(top, rows.start), min(top + block.shape[0], rows.stop)
                low_x, high_x = max(left, columns.start), min(left + block.shape[1], columns.stop)
                result[low_y - rows.start : high_y - rows.start, low_x - columns.start : high_x - columns.start] = (
                    block[low_y - top : high_y - top, low_x - left : high_x - left]
                )
        if self.samples == 1:
            plain = result[..., 0]
            if plain.dtype.kind == "f":
                return plain
            values, nodata = stored_labels(plain, self._header, self._path)
            return StoredMask(values, False, self.palette, self._header.mode, nodata=nodata)
        return StoredMask(result, True, None, "colour")

    def _block(self, index: int) -> Array | None:
        offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
        if not count:
            return None  # a sparse tile: nothing was written
        self._handle.seek(offset)
        decoded, _, _ = self._page.decode(self._handle.read(count), index, jpegtables=self._page.jpegtables)
        return None if decoded is None else bright(np.asarray(decoded)[0], self._page)


def size_of(path: Path) -> tuple[int, int] | None:
    """Rows and columns of a two-dimensional file by its header; None where parts of it cannot be read."""
    if file_format(path) not in ("tiff", "npy"):
        return None
    header = probe(path)
    if "S" in header.axes:
        return (header.shape[0], header.shape[1]) if header.axes == "YXS" else None
    if len(header.shape) == 2:
        return header.shape[0], header.shape[1]
    return (header.shape[1], header.shape[2]) if len(header.shape) == 3 and file_format(path) == "npy" else None


@contextmanager
def open_source(path: Path) -> Iterator[Source | None]:
    """A source of parts of a file; None where the file can only be read as a whole."""
    kind = file_format(path)
    if kind not in ("npy", "tiff"):
        yield None
        return
    with ExitStack() as stack:
        stream = stack.enter_context(open_regular(path))
        if kind == "npy":
            layout = read_layout(stream)
            require_whole(layout, stream, path)
            yield _Npy(stream, layout, path) if len(layout.shape) in (2, 3) and not layout.dtype.hasobject else None
            return
        tiff = stack.enter_context(open_tiff(stream, path))
        header = tiff_header(tiff)
        page = tiff.series[0].keyframe
        plain = len(tiff.series[0].pages) == 1 and page.samplesperpixel in (1, 3) and page.planarconfig in (None, 1)
        plain = plain and int(page.imagedepth) == 1
        # Labels that are doubtful, blurred, or told by more than their own values are decided about as a whole.
        special = (
            header.doubt or header.lossy or mask_band(tiff) or (header.nodata is not None and page.dtype.kind == "f")
        )
        yield _Tiff(page, tiff.filehandle, header, path, bool(special)) if plain else None


def open_sources(paths: Sequence[Path], stack: ExitStack) -> list[Source] | None:
    """Sources of all files, open as long as ``stack`` is; None where one can only be read as a whole."""
    sources = []
    for path in paths:
        source = stack.enter_context(open_source(path))
        if source is None:
            return None
        sources.append(source)
    return sources


def window_shape(sources: list[Source], side: int) -> tuple[int, int]:
    """Rows and columns to read at a time: whole tiles of every file, about ``side`` squared pixels.

    Strips reach over the whole width; then windows do, too, so that no strip is decoded twice.
    """
    size = sources[0].size
    heights, widths = ([source.block[axis] for source in sources] for axis in (0, 1))
    if any(width >= size[1] for width in widths):
        width = size[1]
        height = max(1, side * side // width)
    else:
        width = min(size[1], _multiple(side, widths))
        height = side
    return min(size[0], _multiple(height, heights)), width


def _multiple(length: int, blocks: list[int]) -> int:
    common = math.lcm(*blocks) if blocks else 1
    return length // common * common if common <= length else max([length, *blocks])


def windows(size: tuple[int, int], shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """All windows of an image.

    Example:
        >>> [(rows.start, columns.stop) for rows, columns in windows((3, 4), (2, 3))]
        [(0, 3), (0, 4), (2, 3), (2, 4)]
    """
    for top in range(0, size[0], shape[0]):
        for left in range(0, size[1], shape[1]):
            yield slice(top, min(top + shape[0], size[0])), slice(left, min(left + shape[1], size[1]))
