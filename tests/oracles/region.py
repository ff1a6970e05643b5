"""Losses of whole regions: Dice, Jaccard, Tversky; and the averages over classes and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .scene import Array, Scene, probability

ClassLoss = Callable[[Scene, int], float | None]


def overlap(
    scene: Scene,
    c: int,
    *,
    alpha: float,
    beta: float,
    scale: float,
    smooth: float,
    squared: bool = False,
) -> float | None:
    """(s·I + smooth) / (s·I + s·α·FP + s·β·FN + smooth) of one class over all images of the scene.

    ``scale`` 2 with α = β = ½ is Dice, ``scale`` 1 with α = β = 1 Jaccard. None where no pixel counts.
    """
    inter, predicted, true, seen = 0.0, 0.0, 0.0, False
    for n in scene.images:
        for i in scene.pixels:
            if not scene.counted[n, c, i]:
                continue
            seen = True
            u, t, p = scene.weight[n, i], scene.truth[n, c, i], probability(scene, n, c, i)
            # Linear forms compare p with a fraction t by min(p, t), which is largest at p = t and is p·t on 0 and 1.
            inter += u * (p * t if squared else min(p, t))
            predicted += u * (p * p if squared else p)
            true += u * (t * t if squared else t)
    if not seen:
        return None
    below = scale * (inter + alpha * (predicted - inter) + beta * (true - inter)) + smooth
    return (scale * inter + smooth) / below if below > 0 else math.nan


def has_truth(scene: Scene, c: int) -> bool:
    return any(scene.counted[n, c, i] and scene.truth[n, c, i] > 0 for n in scene.images for i in scene.pixels)


def has_pixels(scene: Scene, c: int) -> bool:
    return any(bool(scene.counted[n, c, i]) for n in scene.images for i in scene.pixels)


def over_classes(
    scene: Scene,
    loss_of: ClassLoss,
    *,
    classes: Sequence[int] | None = None,
    class_weight: Sequence[float] | None = None,
    absent: str = "skip",
    per_image: bool = False,
    reduction: str = "mean",
) -> float | Array:
    """Σ w l / Σ w over the classes that take part; per image and then over the images that have any, if asked."""
    chosen = list(scene.classes) if classes is None else [c % len(scene.classes) for c in classes]
    w = [1.0 for _ in scene.classes] if class_weight is None else [float(v) for v in class_weight]
    groups = [scene.image(n) for n in scene.images] if per_image else [scene]
    table = np.full((len(groups), len(scene.classes)), math.nan)
    for g, group in enumerate(groups):
        for c in chosen:
            if has_truth(group, c) or (absent == "penalize" and has_pixels(group, c)):
                value = loss_of(group, c)
                table[g, c] = math.nan if value is None else value
    if reduction == "none":
        return table if per_image else table[0]
    means = []
    for g in range(len(groups)):
        kept = [c for c in chosen if not math.isnan(table[g, c])]
        below = sum(w[c] for c in kept)
        if below > 0:
            means.append(sum(w[c] * table[g, c] for c in kept) / below)
    if reduction == "sum":
        kept_pairs = [(g, c) for g in range(len(groups)) for c in chosen if not math.isnan(table[g, c])]
        return float(sum(w[c] * table[g, c] for g, c in kept_pairs))
    return float(sum(means) / len(means)) if means else 0.0


def _maybe_log(score: float | None, log: bool) -> float | None:
    if score is None:
        return None
    return -math.log(score) if log else 1 - score


def dice(
    scene: Scene, *, smooth: float = 0.0, squared: bool = False, log: bool = False, **average: object
) -> float | Array:
    """1 − (2I + s) / (P + T + s), with P and T of squares when ``squared``."""

    def loss_of(s: Scene, c: int) -> float | None:
        return _maybe_log(overlap(s, c, alpha=0.5, beta=0.5, scale=2.0, smooth=smooth, squared=squared), log)

    return over_classes(scene, loss_of, **average)  # type: ignore[arg-type]


def jaccard(
    scene: Scene, *, smooth: float = 0.0, squared: bool = False, log: bool = False, **average: object
) -> float | Array:
    """1 − (I + s) / (P + T − I + s)."""

    def loss_of(s: Scene, c: int) -> float | None:
        return _maybe_log(overlap(s, c, alpha=1.0, beta=1.0, scale=1.0, smooth=smooth, squared=squared), log)

    return over_classes(scene, loss_of, **average)  # type: ignore[arg-type]


def tversky(
    scene: Scene,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 0.0,
    log: bool = False,
    **average: object,
) -> float | Array:
    """1 − (I + s) / (I + α·FP + β·FN + s)."""

    def loss_of(s: Scene, c: int) -> float | None:
        return _maybe_log(overlap(s, c, alpha=alpha, beta=beta, scale=1.0, smooth=smooth), log)

    return over_classes(scene, loss_of, **average)  # type: ignore[arg-type]


def generalised_dice(scene: Scene, *, classes: Sequence[int] | None = None, per_image: bool = False) -> float:
    """1 − 2 Σ w I / Σ w (P + T) with w = 1/T² over the classes that have a pixel; 0 where none has one."""
    found = []
    for group in [scene.image(n) for n in scene.images] if per_image else [scene]:
        above = below = 0.0
        for c in scene.classes if classes is None else classes:
            if not has_truth(group, c):
                continue
            at = [(n, i) for n in group.images for i in group.pixels if group.counted[n, c, i]]
            truth = sum(group.weight[n, i] * group.truth[n, c, i] for n, i in at)
            share = [(group.weight[n, i], probability(group, n, c, i), group.truth[n, c, i]) for n, i in at]
            above += 2 * sum(u * min(p, t) for u, p, t in share) / truth**2
            below += sum(u * (p + t) for u, p, t in share) / truth**2
        if below > 0:
            found.append(1 - above / below)
    return sum(found) / len(found) if found else 0.0


def signed_distance(inside: Array, known: Array, spacing: Sequence[float]) -> Array:
    """By looking at every pair of pixels."""
    places = [np.array(place) * spacing for place in np.ndindex(inside.shape)]
    inner, outer = (inside & known).ravel(), (~inside & known).ravel()
    out = np.zeros(inside.size)
    if not inner.any() or not outer.any():
        return out.reshape(inside.shape)
    for i, here in enumerate(places):
        others = outer if inner[i] else inner
        nearest = min(math.dist(here, there) for there, counts in zip(places, others, strict=True) if counts)
        out[i] = -(nearest - min(spacing)) if inner[i] else nearest
    return out.reshape(inside.shape)


def boundary(scene: Scene, maps: Array, **average: object) -> float | Array:
    """Σ u p φ / Σ u for each class; maps (N, C, M)."""

    def loss_of(s: Scene, c: int) -> float | None:
        offset = (
            0
            if len(s.images) == len(scene.images)
            else next(n for n in scene.images if np.array_equal(scene.logits[n], s.logits[0]))
        )
        at = [(n, i) for n in s.images for i in s.pixels if s.counted[n, c, i]]
        below = sum(s.weight[n, i] for n, i in at)
        above = sum(s.weight[n, i] * probability(s, n, c, i) * maps[n + offset, c, i] for n, i in at)
        return above / below if below > 0 else None

    return over_classes(scene, loss_of, **average)  # type: ignore[arg-type]
