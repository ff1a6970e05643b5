"""How thick the regions of each class are, and how large its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.core.optional import require
from segcrit.core.progress import progress_bar
from segcrit.data.model import LabelArray, SegmentationData

__all__ = ["ClassShape", "class_shapes", "core_pixels", "mean_widths"]

# Regions are measured on as many masks as this many pixels make, within the bounds below.
_PIXELS = 20_000_000
_FEWEST, _MOST = 8, 120
# A side longer than this is measured on its middle.
_LONGEST = 2048


@dataclass(frozen=True)
class ClassShape:
    """The regions of one class.

    Attributes:
        width: mean width in pixels: 2 × area / border, with the border counted in pixel sides. A strip of width w has
            w, a square of side a has a/2. NaN where the class does not occur.
        core: share of its pixels that lie more than 2 pixels from its border; a strip of up to 4 pixels has none.
        objects: connected regions an image that has the class (neighbours share a side).
        object_size: size in pixels of the region that the median pixel of the class lies in; specks count little.
        object_share: that size as a share of the image.
    """

    width: float
    core: float
    objects: float
    object_size: float
    object_share: float


def mean_widths(labels: LabelArray, num_classes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Area of each class and length of its border to anything else; 2 × area / border is the mean width.

    Example:
        >>> strip = np.zeros((9, 9), dtype=np.uint8)
        >>> strip[3:6] = 1
        >>> area, border = mean_widths(strip, 2)
        >>> float(2 * area[1] / border[1])
        3.0
    """
    codes = np.where((labels >= 0) & (labels < num_classes), labels, num_classes)
    area = np.bincount(codes.ravel(), minlength=num_classes + 1)
    border = np.zeros(num_classes + 1, dtype=np.int64)
    for axis in range(codes.ndim):
        before = codes[tuple(slice(None, -1) if a == axis else slice(None) for a in range(codes.ndim))]
        after = codes[tuple(slice(1, None) if a == axis else slice(None) for a in range(codes.ndim))]
        change = after != before
        for side in (after, before):
            border += np.bincount(side[change], minlength=num_classes + 1)
    return area[:num_classes], border[:num_classes]


def core_pixels(labels: LabelArray, num_classes: int) -> npt.NDArray[np.int64]:
    """Pixels of each class that lie more than 2 steps (along the axes) from any other label; image edges do not count.

    Example:
        >>> strips = np.repeat([[0, 1, 0]], 20, axis=0).repeat([6, 5, 6], axis=1)
        >>> core_pixels(strips, 2).tolist()
        [160, 20]
    """
    inside = np.ones(labels.shape, dtype=bool)
    for _ in range(2):
        shrunk = inside.copy()
        for axis in range(labels.ndim):
            first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(labels.ndim))
            second = tuple(slice(1, None) if a == axis else slice(None) for a in range(labels.ndim))
            same = labels[first] == labels[second]
            shrunk[first] &= same & inside[second]
            shrunk[second] &= same & inside[first]
        inside = shrunk
    found = labels[inside]
    return np.bincount(found[(found >= 0) & (found < num_classes)], minlength=num_classes).astype(np.int64)


def class_shapes(data: SegmentationData, ids: Sequence[str], progress: bool | None = None) -> tuple[ClassShape, ...]:
    """Measure the regions of every class on an even sample of the masks of these ids; unreadable masks are left out."""
    count = data.num_classes
    area, border, core = (np.zeros(count, dtype=np.int64) for _ in range(3))
    sizes: list[list[int]] = [[] for _ in range(count)]
    shares: list[list[float]] = [[] for _ in range(count)]
    images = np.zeros(count, dtype=np.int64)
    chosen = _sample(data, ids)
    with progress_bar("Measuring regions", len(chosen), progress) as advance:
        for name in chosen:
            advance()
            try:
                labels = _middle(data.read_label(name))
            except DataError:
                continue
            own_area, own_border = mean_widths(labels, count)
            area += own_area
            border += own_border
            core += core_pixels(labels, count)
            images += own_area > 0
            for label, found in _objects(labels, count).items():
                sizes[label] += found.tolist()
                shares[label] += (found / labels.size).tolist()
    return tuple(
        ClassShape(
            width=float(2 * area[label] / border[label]) if border[label] else float("nan"),
            core=float(core[label] / area[label]) if area[label] else float("nan"),
            objects=len(sizes[label]) / int(images[label]) if images[label] else 0.0,
            object_size=_pixel_median(sizes[label], sizes[label]),
            object_share=_pixel_median(shares[label], sizes[label]),
        )
        for label in range(count)
    )


def _sample(data: SegmentationData, ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    try:
        pixels = data.read_label(ids[0]).size
    except DataError:
        pixels = 1 << 20
    most = int(np.clip(_PIXELS // max(1, min(pixels, _LONGEST**2)), _FEWEST, _MOST))
    positions = np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).astype(int))
    ordered = sorted(ids)
    return [ordered[position] for position in positions]


def _middle(labels: LabelArray) -> LabelArray:
    return labels[
        tuple(slice(max(0, (size - _LONGEST) // 2), max(0, (size - _LONGEST) // 2) + _LONGEST) for size in labels.shape)
    ]


def _objects(labels: LabelArray, num_classes: int) -> dict[int, npt.NDArray[np.int64]]:
    """Sizes of the connected regions of each class that occurs."""
    ndimage: Any = require("scipy.ndimage", extra="data")
    inside = (labels >= 0) & (labels < num_classes)
    places = ndimage.find_objects(np.where(inside, labels, -1).astype(np.int32) + 1, max_label=num_classes)
    found: dict[int, npt.NDArray[np.int64]] = {}
    for label, place in enumerate(places):
        if place is None:
            continue
        regions, number = ndimage.label(labels[place] == label)
        found[label] = np.bincount(regions.ravel(), minlength=number + 1)[1:].astype(np.int64)
    return found


def _pixel_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value at which half of the weight is reached."""
    if not values:
        return float("nan")
    order = np.argsort(values)
    total = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    return float(np.asarray(values, dtype=np.float64)[order][int(np.searchsorted(total, total[-1] / 2))])
