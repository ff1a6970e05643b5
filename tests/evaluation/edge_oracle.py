"""Boundary and distance figures of a pair of masks by loops over all pairs of pixels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

Place = tuple[int, ...]


def edge(mask: np.ndarray, valid: np.ndarray, frame: bool = False) -> list[Place]:
    """Pixels of the mask with a valid pixel outside it next to them; at the frame too where asked for."""
    found = []
    for place in np.ndindex(mask.shape):
        if not (mask[place] and valid[place]):
            continue
        on = False
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            near = list(place)
            near[axis] += step
            if not 0 <= near[axis] < mask.shape[axis]:
                on = on or frame
            elif valid[tuple(near)] and not mask[tuple(near)]:
                on = True
        if on:
            found.append(place)
    return found


def distance(one: Place, many: list[Place], spacing: Any) -> float:
    return min(
        math.sqrt(sum(((a - b) * s) ** 2 for a, b, s in zip(one, other, spacing, strict=True))) for other in many
    )


def quantile(values: list[float], q: float) -> float:
    """Linear interpolation between the order statistics."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def pair(
    truth: np.ndarray,
    guess: np.ndarray,
    valid: np.ndarray,
    spacing: Any,
    band: float,
    tolerance: float,
    missing: float,
    frame: bool = False,
) -> dict[str, float]:
    """All figures of one class in one image; NaN where there is nothing to judge."""
    names = ["boundary_iou", "boundary_f1", "nsd", "hausdorff", "hd95", "hd95_pooled", "assd", "masd"]
    truth, guess = truth & valid, guess & valid
    worst = dict.fromkeys(names[:3], 0.0) | dict.fromkeys(names[3:], missing)
    if not truth.any() and not guess.any():
        return dict.fromkeys(names, math.nan)
    if not truth.any() or not guess.any():
        return worst
    t, g = edge(truth, valid, frame), edge(guess, valid, frame)
    if not t and not g:
        return worst if (truth != guess).any() else dict.fromkeys(names, math.nan)
    if not t or not g:
        return worst
    bands = [
        {place for place in np.ndindex(mask.shape) if mask[place] and distance(place, rim, spacing) < band - 1e-9}
        for mask, rim in ((truth, t), (guess, g))
    ]
    one, two = [distance(p, g, spacing) for p in t], [distance(p, t, spacing) for p in g]
    near = [sum(d <= tolerance + 1e-9 for d in side) for side in (one, two)]
    recall, precision = near[0] / len(one), near[1] / len(two)
    return {
        "boundary_iou": len(bands[0] & bands[1]) / len(bands[0] | bands[1]),
        "boundary_f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "nsd": sum(near) / (len(one) + len(two)),
        "hausdorff": max(one + two),
        "hd95": max(quantile(one, 0.95), quantile(two, 0.95)),
        "hd95_pooled": quantile(one + two, 0.95),
        "assd": sum(one + two) / (len(one) + len(two)),
        "masd": (sum(one) / len(one) + sum(two) / len(two)) / 2,
    }


def trimap(truth: np.ndarray, valid: np.ndarray, spacing: Any, width: float) -> np.ndarray:
    """Valid pixels nearer than width to a pixel that touches another valid label."""
    rim: list[Place] = []
    for label in np.unique(truth[valid]):
        rim += edge(truth == label, valid)
    near = np.zeros(truth.shape, dtype=bool)
    for place in np.ndindex(truth.shape):
        near[place] = valid[place] and bool(rim) and distance(place, rim, spacing) < width - 1e-9
    return near
