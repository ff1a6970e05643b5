"""Which pixels lie on an edge, and how far other pixels are from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.labels.distances import distances_to
from segcrit.metrics.ratios import Floats

__all__ = ["Bools", "DistanceField", "edge_pixels"]

Bools = npt.NDArray[np.bool_]


def edge_pixels(labels: npt.NDArray[Any], valid: Bools, *, frame: bool = False) -> Bools:
    """Pixels that have a neighbour of another label along an axis, both valid.

    Restricted to one label, this is the boundary of its region: its pixels that touch a pixel outside. A neighbour that is
    not valid makes no edge: nobody knows what is there.

    Args:
        labels: integers or booleans of shape S, of any number of dimensions.
        valid: where labels count.
        frame: pixels at the frame of the image lie on an edge, too.

    Example:
        >>> edge_pixels(np.array([0, 0, 1, 1, 1, 9]), np.array([1, 1, 1, 1, 1, 0], dtype=bool)).astype(int)
        array([0, 1, 1, 0, 0, 0])
    """
    edges = np.zeros(labels.shape, dtype=np.bool_)
    for axis in range(labels.ndim):
        low, high = (
            tuple(part if place == axis else slice(None) for place in range(labels.ndim))
            for part in (slice(None, -1), slice(1, None))
        )
        differ = (labels[low] != labels[high]) & valid[low] & valid[high]
        edges[low] |= differ
        edges[high] |= differ
        if frame and labels.shape[axis]:
            for end in (0, -1):
                edges[tuple(end if place == axis else slice(None) for place in range(labels.ndim))] = True
    return edges & valid if frame else edges


class DistanceField:
    """Distance of every pixel to the nearest pixel of a set, by SciPy's exact Euclidean transform.

    The nearest pixel is found once for all pixels; distances are formed only where they are asked for.

    Args:
        pixels: the set, not empty.
        spacing: size of a pixel along each dimension.

    Example:
        >>> field = DistanceField(np.array([[True, False, False]]), np.array([1.0, 0.5]))
        >>> field.at(np.array([[False, True, True]]))
        array([0.5, 1. ])
    """

    def __init__(self, pixels: Bools, spacing: Floats) -> None:
        self._spacing = spacing
        self._nearest = distances_to(pixels, tuple(spacing), return_distances=False, return_indices=True)

    def at(self, where: Bools) -> Floats:
        """The distances of these pixels, in the order of the array."""
        total = np.zeros(int(np.count_nonzero(where)))
        for place, nearest, size in zip(np.nonzero(where), self._nearest, self._spacing, strict=True):
            step = (place - nearest[where]) * size
            total += step * step
        result: Floats = np.sqrt(total)
        return result
