"""Reading something small from many files: in threads, with a progress bar, and only once a file."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.core.machine import usable_cores
from segcrit.core.progress import progress_bar
from segcrit.data.cache import FileMemory
from segcrit.data.files.formats import Header, probe
from segcrit.data.reading import read_stored_mask

__all__ = ["MaskValues", "Scan", "Scanner"]

Value = TypeVar("Value")

# More different values than this are no class numbers; the rest is only counted.
_MOST_VALUES = 4096


@dataclass(frozen=True, eq=False)
class MaskValues:
    """How many pixels of one mask hold which value.

    Attributes:
        counts: pixels of each stored value; a colour is ``red * 65536 + green * 256 + blue``.
        is_color: whether the values are colours.
        mode: how the file stores them.
        palette: ``uint8 (P, 3)``, the colour of each value of a palette mask, or None.
        distinct: number of different values; ``counts`` holds at most 4096 of them, the most frequent.
        thresholded, nodata: as in :class:`~segcrit.data.coding.mask_coding.StoredMask`.
    """

    counts: dict[int, int]
    is_color: bool
    mode: str
    palette: npt.NDArray[np.uint8] | None
    distinct: int
    thresholded: int | None = None
    nodata: int | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels in ``counts``."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Scan(Generic[Value]):
    """What was found in each file, and the files that could not be read."""

    found: dict[Path, Value]
    errors: dict[Path, DataError]


class Scanner:
    """Reads headers, label counts or anything small from the files of one data set.

    Args:
        root: the folder of the data set, under which results are remembered in the user's cache.
        progress: True shows a bar, False none, None one in a terminal.
        remember: whether to use the cache at all.
    """

    def __init__(self, root: Path, *, progress: bool | None = None, remember: bool = True) -> None:
        self._memory = FileMemory(root, enabled=remember)
        self._progress = progress

    def headers(self, paths: Sequence[Path]) -> Scan[Header]:
        """The header of each file."""
        scan = self.run("header", paths, lambda path: asdict(probe(path)), "Looking at the files")
        return Scan({path: _header(value) for path, value in scan.found.items()}, scan.errors)

    def mask_values(self, paths: Sequence[Path]) -> Scan[MaskValues]:
        """The values in each mask, counted."""
        scan = self.run("values", paths, _count_values, "Counting labels")
        return Scan({path: _mask_values(value) for path, value in scan.found.items()}, scan.errors)

    def run(self, kind: str, paths: Sequence[Path], work: Callable[[Path], Any], title: str) -> Scan[Any]:
        """Apply ``work`` (giving JSON types) to every file that is not remembered under ``kind``."""
        found: dict[Path, Any] = {}
        errors: dict[Path, DataError] = {}
        missing = []
        for path in dict.fromkeys(paths):
            value = self._memory.get(path, kind)
            if value is None:
                missing.append(path)
            else:
                found[path] = value
        for path, value in _in_threads(work, missing, title, self._progress):
            if isinstance(value, DataError):
                errors[path] = value
            else:
                found[path] = value
                self._memory.put(path, kind, value)
        self._memory.save()
        return Scan({path: found[path] for path in paths if path in found}, errors)


def _in_threads(
    work: Callable[[Path], Any], paths: Sequence[Path], title: str, progress: bool | None
) -> Iterator[tuple[Path, Any]]:
    def attempt(path: Path) -> Any:
        try:
            return work(path)
        except DataError as error:
            return error

    if not paths:
        return
    # Decoders leave Python while they unpack, so threads share the work; processes would cost their start.
    executor = ThreadPoolExecutor(max_workers=min(8, usable_cores()))
    try:
        with progress_bar(title, len(paths), progress) as advance:
            for path, value in zip(paths, executor.map(attempt, paths), strict=True):
                advance()
                yield path, value
    finally:
        executor.shutdown(cancel_futures=True)


def _header(value: dict[str, Any]) -> Header:
    content = dict(value)
    for key in ("shape", "spacing", "affine"):
        if content[key] is not None:
            content[key] = tuple(content[key])
    return Header(**content)


def _count_values(path: Path) -> dict[str, Any]:
    mask = read_stored_mask(path)
    counts = mask.value_counts()
    kept = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_VALUES]
    palette = None
    if mask.palette is not None:  # mostly zeros or a ramp: a few dozen bytes, for each of perhaps many thousand files
        palette = base64.b64encode(zlib.compress(mask.palette.tobytes(), 9)).decode()
    return {
        "counts": {str(value): pixels for value, pixels in sorted(kept)},
        "is_color": mask.is_color,
        "mode": mask.mode,
        "palette": palette,
        "distinct": len(counts),
        "thresholded": mask.thresholded,
        "nodata": mask.nodata,
    }


def _mask_values(value: dict[str, Any]) -> MaskValues:
    palette = value["palette"]
    return MaskValues(
        {int(key): pixels for key, pixels in value["counts"].items()},
        value["is_color"],
        value["mode"],
        None if palette is None else np.frombuffer(zlib.decompress(base64.b64decode(palette)), np.uint8).reshape(-1, 3),
        value["distinct"],
        value["thresholded"],
        value["nodata"],
    )
