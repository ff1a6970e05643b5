"""Every n-th pixel of the maps of an image, for pictures: a large file is read by windows, never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.apps.evaluate.reading.readers import open_area, open_readers
from segcrit.apps.evaluate.reading.windows import open_sources, window_shape, windows
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.folders.valid_area import without_invalid
from segcrit.metrics.counts import predict_labels
from segcrit.metrics.inputs import read_batch
from segcrit.metrics.settings import Settings

__all__ = ["labels_of", "step_of", "thin", "thinned_image", "thinned_maps"]

Array = npt.NDArray[Any]
Window = tuple[slice, slice]

# What is decoded at a time, squared.
_SIDE: Final = 2048


def step_of(size: Sequence[int], longest: int) -> int:
    """Every how many-th pixel leaves at most ``longest`` along each side.

    Example:
        >>> [step_of((480, 360), 512), step_of((8192, 8192), 512), step_of((3, 513), 512)]
        [1, 16, 2]
    """
    return max(1, -(-max(size) // longest))


def thin(array: Array, step: int) -> Array:
    """Every ``step``-th pixel of the last two axes, from the middle of the first step: labels must not be averaged.

    Example:
        >>> thin(np.arange(7)[None].repeat(3, axis=0), 3)
        array([[1, 4]])
    """
    rows, columns = (slice(_first(length, step), None, step) for length in array.shape[-2:])
    return array[..., rows, columns]


def _first(length: int, step: int) -> int:
    """The first pixel that is shown, the middle of the first step: of a side shorter than that, its last one."""
    return min(step // 2, max(length - 1, 0))


def labels_of(prediction: Array, truth: Array, settings: Settings) -> Array:
    """Labels of a prediction, which may hold logits, of the size of ``truth``."""
    if prediction.dtype.kind != "f" and prediction.ndim == truth.ndim:
        return prediction
    batch = read_batch(prediction[None], truth[None], settings)
    found = predict_labels(batch.prediction, settings, truth.shape) if batch.is_logits else batch.prediction
    labels: Array = found[0].numpy()
    return labels


def thinned_maps(
    pair: Pair, target: LabelCoding, predictions: Sequence[LabelCoding], settings: Settings, values: str, step: int
) -> list[Array] | None:
    """Labels of the truth and of each prediction; None where a file can only be read as a whole.

    Raises:
        DataError: a file is damaged.
    """
    paths = (pair.target, *pair.predictions)
    with ExitStack() as stack:
        sources = open_sources(paths, stack)
        if sources is None or settings.upsample is not None or len({source.size for source in sources}) != 1:
            return None
        readers = open_readers(sources, paths, (target, *predictions), settings, values)
        if readers is None:
            return None
        area = None if pair.valid is None else open_area(pair.valid, sources[0].size, stack)
        if pair.valid is not None and area is None:
            return None
        parts = list(windows(sources[0].size, window_shape(sources, _SIDE)))
        for reader in readers:
            reader.settle(parts)
        found: list[list[tuple[Window, Array]]] = [[] for _ in readers]
        for window, (rows, columns), where in _sampled(parts, step):
            # Copies: a view would keep its whole window, and all of them the whole image.
            truth = readers[0].read(window)[0]
            if area is not None:
                truth = without_invalid(truth, area(window), settings.ignore_index)
            truth = truth[rows, columns].copy()
            for own, reader in zip(found, readers, strict=True):
                part = truth if reader is readers[0] else reader.read(window)[0][..., rows, columns].copy()
                own.append((where, labels_of(part, truth, settings)))
        return [_joined(own) for own in found]


def thinned_image(path: Path, size: tuple[int, int], step: int) -> Array | None:
    """A photograph (C, H, W); None where it can only be read as a whole, or has another size."""
    with ExitStack() as stack:
        sources = open_sources((path,), stack)
        if sources is None or sources[0].size != size:
            return None
        parts = windows(size, window_shape(sources, _SIDE))
        found = []
        for window, (rows, columns), where in _sampled(parts, step):
            part = sources[0].read(*window)
            array = part.array if isinstance(part, StoredMask) else part
            if isinstance(part, StoredMask) and part.palette is not None:
                array = part.palette[array]
            channels_last = array.ndim == 3 and sources[0].channels is None
            array = np.moveaxis(array, -1, 0) if channels_last else array if array.ndim == 3 else array[None]
            found.append((where, array[:, rows, columns].copy()))
        return _joined(found)


def _sampled(parts: Iterator[Window] | Sequence[Window], step: int) -> Iterator[tuple[Window, Window, Window]]:
    """Windows that hold sampled pixels; where these are in the window, and where they come in the picture."""
    parts = list(parts)
    begins = [_first(max(window[axis].stop for window in parts), step) for axis in (0, 1)]
    for window in parts:
        chosen, place = [], []
        for span, begin in zip(window, begins, strict=True):
            # Sampled are begin, begin + step, ...
            first = max(-(-(span.start - begin) // step), 0)
            last = -(-(span.stop - begin) // step)
            place.append(slice(first, last))
            chosen.append(slice(first * step + begin - span.start, span.stop - span.start, step))
        if all(span.stop > span.start for span in place):
            yield window, (chosen[0], chosen[1]), (place[0], place[1])


def _joined(parts: Sequence[tuple[Window, Array]]) -> Array:
    height, width = (max(place[axis].stop for place, _ in parts) for axis in (0, 1))
    first = parts[0][1]
    result = np.zeros((*first.shape[:-2], height, width), dtype=np.result_type(*(part for _, part in parts)))
    for (rows, columns), part in parts:
        result[..., rows, columns] = part
    return result
