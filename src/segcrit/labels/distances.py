"""Distances to sets of pixels: the one place that asks SciPy for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core import optional

__all__ = ["distances_to", "signed_distances"]

Bools = npt.NDArray[np.bool_]


def distances_to(pixels: Bools, spacing: Sequence[float], **options: bool) -> Any:
    """Euclidean distance of every pixel to the nearest one of a set that is not empty, exact.

    Args:
        pixels: the set.
        spacing: size of a pixel along each dimension.
        options: of ``scipy.ndimage.distance_transform_edt``: ``return_indices`` gives the nearest pixels too.

    Example:
        >>> distances_to(np.array([[True, False, False]]), (1.0, 0.5)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    ndimage = optional.require("scipy.ndimage", extra="data")
    return ndimage.distance_transform_edt(~pixels, sampling=tuple(spacing), **options)


def signed_distances(inside: Bools, known: Bools, spacing: Sequence[float]) -> npt.NDArray[np.float32]:
    """Distance to the border of a region: positive outside, 0 at its border pixels and negative further inside.

    Outside it is the distance to the nearest pixel of the region, inside that to the nearest pixel outside less one pixel
    (the smallest spacing), as in the code of Kervadec et al. 2019.

    Args:
        inside: the region.
        known: pixels whose label is known. Unknown pixels are neither inside nor outside.
        spacing: size of a pixel along each dimension.

    Returns:
        0 everywhere where the region is empty or has no outside: it has no border.

    Example:
        >>> row = np.array([False, False, True, True, True])
        >>> signed_distances(row, np.ones(5, dtype=bool), (1.0,)).tolist()
        [2.0, 1.0, 0.0, -1.0, -2.0]
    """
    inside, outside = inside & known, ~inside & known
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape, dtype=np.float32)
    away, depth = distances_to(inside, spacing), distances_to(outside, spacing) - min(spacing)
    found: npt.NDArray[np.float32] = np.where(away > 0, away, -depth).astype(np.float32)
    return found
