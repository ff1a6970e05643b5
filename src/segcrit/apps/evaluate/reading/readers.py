"""Windows of a file as labels or logits: understood as the whole file would be, which is decided once for all windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.apps.evaluate.reading.arrays import (
    ONES,
    as_shares,
    decode,
    mode_of_floats,
    to_logits,
    whole_numbers,
    with_missing,
)
from segcrit.apps.evaluate.reading.windows import Source, open_source
from segcrit.core.errors import DataError, SegcritError
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.folders.valid_area import counted, require_valid_size
from segcrit.metrics.settings import Settings

__all__ = ["Area", "Reader", "open_area", "open_reader", "open_readers"]

Array = npt.NDArray[Any]
Window = tuple[slice, slice]
Area = Callable[[Window], npt.NDArray[np.bool_]]


class Reader:
    """Reads windows of one file.

    Args:
        source: gives the values that are stored.
        path: of the file, for messages.
        coding: of labels.
        settings: of the counting.
        values: what floats hold, "logits" or "probabilities"; "labels" where they are labels.
        scaled: whether integers hold probabilities, as grey images do.
        truth: whether it is a label map.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        coding: LabelCoding,
        settings: Settings,
        values: str,
        *,
        scaled: bool = False,
        truth: bool = False,
    ) -> None:
        self._truth = truth
        self._source, self._path, self._coding = source, path, coding
        self._settings, self._values, self._scaled = settings, values, scaled
        self._table: Array | None = None

    def read(self, window: Window) -> tuple[Array, str]:
        """Labels (H, W) or logits (C, H, W) of a window, and how the file stores them.

        Raises:
            DataError: the file is damaged, or holds what cannot be counted.
        """
        part = _stored(self._source, window, self._path)
        if isinstance(part, StoredMask):
            if self._scaled:
                shares, mode = (
                    as_shares(part.array),
                    str(part.array.dtype) + ONES * bool(part.array.max(initial=0) == 1),
                )
                return to_logits(shares, 2, self._settings, self._values, self._path), mode
            if self._table is not None:
                return self._table[part.array], part.mode
            coding = self._coding if self._truth else with_missing(self._coding, part)
            return decode(part, coding, self._path), part.mode
        mode = str(part.dtype)
        if self._values == "labels":
            whole = whole_numbers(part.reshape(part.shape[-2:]), self._path)
            return decode(StoredMask(whole, False, None, mode), self._coding, self._path), mode
        logits = to_logits(part, 2, self._settings, self._values, self._path)
        return logits, mode_of_floats(logits, mode, self._values, self._settings)

    def settle(self, windows: Sequence[Window]) -> None:
        """Decide what only all values of the file can tell: another pass over it, for the few files that need one."""
        source = self._source
        if source.palette is not None:
            if self._coding.palette is None:
                return
            used = np.zeros(0, dtype=np.int64)
            for window in windows:
                part = _stored(source, window, self._path)
                if isinstance(part, StoredMask):
                    used = np.union1d(used, part.array)
            colors = self._coding.palette_colors(StoredMask(used, False, source.palette, ""))
            if colors is not None:
                self._table = self._coding.palette.decode(colors).astype(self._coding.dtype)
            source.palette = None  # by values, or by the table
        elif self._values == "logits" and source.dtype.kind == "f" and self._settings.task != "multiclass":
            parts = (_stored(source, window, self._path) for window in windows)
            if all(isinstance(part, np.ndarray) and bool(((part == 0) | (part == 1)).all()) for part in parts):
                self._values = "labels"


def open_reader(
    source: Source, path: Path, coding: LabelCoding, settings: Settings, values: str, *, truth: bool
) -> Reader | None:
    """How windows of this file are read; None where only the whole file can be.

    Args:
        source: of the file.
        path: its path.
        coding: of its labels.
        settings: of the counting.
        values: what floating predictions hold.
        truth: whether it is a label map.
    """
    if source.special:
        return None
    kind, small = source.dtype.kind, source.dtype.itemsize <= 2
    if source.samples > 1 and (source.dtype != np.uint8 or (values == "probabilities" and not truth)):
        return None
    if source.channels is not None and (truth or kind != "f" or source.channels != settings.channels):
        return None
    if truth or (kind == "f" and values == "logits" and source.channels is None and settings.task == "multiclass"):
        return Reader(source, path, coding, settings, "labels", truth=truth)
    scaled = values == "probabilities" and kind in "ui" and small
    return Reader(source, path, coding, settings, values, scaled=scaled)


def open_readers(
    sources: Sequence[Source],
    paths: Sequence[Path],
    codings: Sequence[LabelCoding],
    settings: Settings,
    values: str,
) -> list[Reader] | None:
    """How windows of the files of an image are read, the truth first; None where one can only be read as a whole."""
    readers = []
    for place, (source, path, coding) in enumerate(zip(sources, paths, codings, strict=True)):
        reader = open_reader(source, path, coding, settings, values, truth=place == 0)
        if reader is None:
            return None
        readers.append(reader)
    return readers


def _stored(source: Source, window: Window, path: Path) -> Array | StoredMask:
    try:
        return source.read(*window)
    except (SegcritError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            "a whole file", f"{path}, which is damaged or cut off ({reason[:160]})", "Copy it again."
        ) from error


def open_area(path: Path, size: tuple[int, int], stack: ExitStack) -> Area | None:
    """What tells of a window which of its pixels count; None where the file can only be read as a whole.

    Raises:
        DataError: it has another size than the label map.
    """
    source = stack.enter_context(open_source(path))
    if source is None or source.channels is not None:
        return None
    require_valid_size(source.size, size, path)

    def area(window: Window) -> npt.NDArray[np.bool_]:
        part = _stored(source, window, path)
        if isinstance(part, StoredMask):
            return counted(part.array, part.nodata, colors=part.is_color)
        return counted(part)

    return area
