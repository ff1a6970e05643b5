"""Lovász extension of the Jaccard loss by sorting the errors, with pixel weights by the integral over thresholds."""

from __future__ import annotations

from collections.abc import Callable

from .region import over_classes
from .scene import Array, Scene, probability


def lovasz_extension(errors: list[float], positive: list[bool], weight: list[float]) -> float:
    """∫ (F(t) + B(t)) / (G + B(t)) dt over t ≥ 0, by walking down the sorted errors.

    F and B are the weights of positives and negatives whose error is at least t, G of all positives. Between two
    neighbouring errors the integrand is constant. With unit weights this is the sorted sum of the original paper.
    """
    total = sum(w for w, y in zip(weight, positive, strict=True) if y)
    order = sorted(range(len(errors)), key=lambda k: -errors[k])
    value, front, back = 0.0, 0.0, 0.0
    for rank, k in enumerate(order):
        if positive[k]:
            front += weight[k]
        else:
            back += weight[k]
        below = errors[order[rank + 1]] if rank + 1 < len(order) else 0.0
        value += (errors[k] - below) * (front + back) / (total + back)
    return value


def sorted_sum(errors: list[float], positive: list[bool]) -> float:
    """The published algorithm (sort, cumulative sums, first differences): a second opinion on the integral."""
    order = sorted(range(len(errors)), key=lambda k: -errors[k])
    total = sum(positive)
    value, previous, hits, misses = 0.0, 0.0, 0, 0
    for k in order:
        hits += positive[k]
        misses += not positive[k]
        jaccard_loss = 1 - (total - hits) / (total + misses)
        value += errors[k] * (jaccard_loss - previous)
        previous = jaccard_loss
    return value


def _of_class(scene: Scene, c: int, error: Callable[[Scene, int, int, int], float]) -> float:
    errors, positive, weight = [], [], []
    for n in scene.images:
        for i in scene.pixels:
            if scene.counted[n, c, i]:
                errors.append(error(scene, n, c, i))
                positive.append(bool(scene.truth[n, c, i] > 0.5))
                weight.append(float(scene.weight[n, i]))
    return lovasz_extension(errors, positive, weight)


def lovasz_softmax(scene: Scene, **average: object) -> float | Array:
    """Errors |t − p| of every class, averaged over the present classes."""

    def error(s: Scene, n: int, c: int, i: int) -> float:
        return abs(s.truth[n, c, i] - probability(s, n, c, i))

    return over_classes(scene, lambda s, c: _of_class(s, c, error), **average)  # type: ignore[arg-type]


def lovasz_hinge(scene: Scene, **average: object) -> float | Array:
    """Errors max(0, 1 − sign·z) of every channel; absent channels are penalised unless told otherwise."""

    def error(s: Scene, n: int, c: int, i: int) -> float:
        sign = 1.0 if s.truth[n, c, i] > 0.5 else -1.0
        return max(0.0, 1 - sign * float(s.logits[n, c, i]))

    average.setdefault("absent", "penalize")
    return over_classes(scene, lambda s, c: _of_class(s, c, error), **average)  # type: ignore[arg-type]
