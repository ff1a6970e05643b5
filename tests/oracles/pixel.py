"""Losses of one pixel at a time: cross-entropy, binary cross-entropy, focal, partial cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .scene import Array, Scene, log_complement, log_probability

Element = Callable[[Scene, int, int, int], float]


def _weights(scene: Scene, class_weight: Sequence[float] | None) -> list[float]:
    return [1.0 for _ in scene.classes] if class_weight is None else [float(w) for w in class_weight]


def _values(scene: Scene, element: Element) -> Array:
    """u times the loss of every counted element, 0 elsewhere: (N, C, M)."""
    out = np.zeros(scene.logits.shape)
    for n in scene.images:
        for c in scene.classes:
            for i in scene.pixels:
                if scene.counted[n, c, i]:
                    out[n, c, i] = scene.weight[n, i] * element(scene, n, c, i)
    return out


def denominator(scene: Scene, class_weight: Sequence[float] | None = None) -> float:
    """Σ u Σ_c w_c t in multiclass, Σ u w_c over the counted elements in the sigmoid tasks."""
    w = _weights(scene, class_weight)
    total = 0.0
    for n in scene.images:
        for c in scene.classes:
            for i in scene.pixels:
                if scene.counted[n, c, i]:
                    share = scene.truth[n, c, i] if scene.task == "multiclass" else 1.0
                    total += scene.weight[n, i] * w[c] * share
    return total


def reduce(scene: Scene, values: Array, class_weight: Sequence[float] | None, reduction: str) -> float | Array:
    """values (N, C, M) already hold u·w·ℓ; "none" gives the (N, M) map in multiclass, (N, C, M) elsewhere."""
    if reduction == "none":
        return values.sum(axis=1) if scene.task == "multiclass" else values
    total = math.fsum(values.ravel().tolist())
    if reduction == "sum":
        return total
    below = denominator(scene, class_weight)
    return total / below if below > 0 else 0.0


def _smoothed(scene: Scene, t: float, label_smoothing: float) -> float:
    """(1 − ε) t + ε / C; a sigmoid channel has two outcomes."""
    outcomes = len(scene.classes) if scene.task == "multiclass" else 2
    return (1 - label_smoothing) * t + label_smoothing / outcomes


def _times(share: float, value: Callable[[], float]) -> float:
    """share · value with 0 · ∞ = 0: an outcome that the target excludes adds nothing, however improbable it is."""
    return 0.0 if share == 0 else share * value()


def cross_entropy(
    scene: Scene,
    *,
    label_smoothing: float = 0.0,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float | Array:
    w = _weights(scene, class_weight)

    def element(s: Scene, n: int, c: int, i: int) -> float:
        t = _smoothed(s, s.truth[n, c, i], label_smoothing)
        return _times(w[c] * t, lambda: -log_probability(s, n, c, i))

    return reduce(scene, _values(scene, element), class_weight, reduction)


def binary_cross_entropy(
    scene: Scene,
    *,
    pos_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float | Array:
    w = _weights(scene, class_weight)
    lift = [1.0 for _ in scene.classes] if pos_weight is None else [float(v) for v in pos_weight]

    def element(s: Scene, n: int, c: int, i: int) -> float:
        t = _smoothed(s, s.truth[n, c, i], label_smoothing)
        positive = _times(lift[c] * t, lambda: -log_probability(s, n, c, i))
        negative = _times(1 - t, lambda: -log_complement(s, n, c, i))
        return w[c] * (positive + negative)

    return reduce(scene, _values(scene, element), class_weight, reduction)


def focal(
    scene: Scene,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float | Array:
    w = _weights(scene, class_weight)

    def modulated(log_p: float) -> float:
        return -((-math.expm1(log_p)) ** gamma) * log_p

    def element(s: Scene, n: int, c: int, i: int) -> float:
        t = _smoothed(s, s.truth[n, c, i], label_smoothing)
        if s.task == "multiclass":
            if alpha is None:
                scale = 1.0
            elif isinstance(alpha, Sequence):
                scale = float(alpha[c])
            else:
                scale = float(alpha)
            return _times(w[c] * scale * t, lambda: modulated(log_probability(s, n, c, i)))
        if alpha is None:
            on, off = 1.0, 1.0
        else:
            share = float(alpha[c]) if isinstance(alpha, Sequence) else float(alpha)
            on, off = share, 1 - share
        positive = _times(on * t, lambda: modulated(log_probability(s, n, c, i)))
        negative = _times(off * (1 - t), lambda: modulated(log_complement(s, n, c, i)))
        return w[c] * (positive + negative)

    return reduce(scene, _values(scene, element), class_weight, reduction)


def poly1(
    scene: Scene,
    *,
    epsilon: float = 1.0,
    label_smoothing: float = 0.0,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Cross-entropy plus ε (1 − p) of the target (Leng et al. 2022); a sigmoid channel has the outcomes 1 and 0."""
    w = _weights(scene, class_weight)

    def outcome(log_p: float) -> float:
        return -log_p + epsilon * (1 - math.exp(log_p))

    def element(s: Scene, n: int, c: int, i: int) -> float:
        t = _smoothed(s, s.truth[n, c, i], label_smoothing)
        value = _times(t, lambda: outcome(log_probability(s, n, c, i)))
        if s.task != "multiclass":
            value += _times(1 - t, lambda: outcome(log_complement(s, n, c, i)))
        return w[c] * value

    return reduce(scene, _values(scene, element), class_weight, reduction)


def _log_target(scene: Scene, n: int, classes: list[int], i: int) -> float:
    """Log-probability of the target of a pixel, or in sigmoid tasks of one element."""
    total = 0.0
    for c in classes:
        t = scene.truth[n, c, i]
        total += _times(t, lambda c=c: log_probability(scene, n, c, i))
        if scene.task != "multiclass":
            total += _times(1 - t, lambda c=c: log_complement(scene, n, c, i))
    return total


def kept(
    scene: Scene,
    values: Array,
    *,
    keep: float | None = None,
    ohem: float | None = None,
    min_kept: int = 100_000,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float:
    """The mean of unreduced values over the pixels that ``keep`` or ``ohem`` choose: in multiclass pixels, else elements."""
    w = _weights(scene, class_weight)
    pixels = []
    for n in scene.images:
        for i in scene.pixels:
            groups = [list(scene.classes)] if scene.task == "multiclass" else [[c] for c in scene.classes]
            for classes in groups:
                if not scene.counted[n, classes[0], i]:
                    continue
                at = (n, i) if scene.task == "multiclass" else (n, classes[0], i)
                log_p = _log_target(scene, n, classes, i)
                share = sum(w[c] * (scene.truth[n, c, i] if scene.task == "multiclass" else 1.0) for c in classes)
                pixels.append((float(values[at]), math.exp(log_p), scene.weight[n, i] * share))
    if keep is not None:
        pixels.sort(key=lambda item: -item[0])
        chosen = pixels[: max(1, math.floor(len(pixels) * keep))]
    else:
        pixels.sort(key=lambda item: item[1])
        below = sum(p < ohem for _, p, _ in pixels)
        chosen = pixels[: max(below, min_kept)]
    total = math.fsum(value for value, _, _ in chosen)
    if reduction == "sum":
        return total
    weight = math.fsum(u for _, _, u in chosen)
    return total / weight if weight > 0 else 0.0


def partial_cross_entropy(
    scene: Scene,
    *,
    foreground_only: bool = False,
    label_smoothing: float = 0.0,
    class_weight: Sequence[float] | None = None,
    reduction: str = "mean",
) -> float | Array:
    """Cross-entropy of the annotated pixels; ``foreground_only`` keeps those annotated as another class than 0."""
    if foreground_only:
        counted = scene.counted.copy()
        for n in scene.images:
            for i in scene.pixels:
                if scene.task == "multiclass":
                    if scene.truth[n, 0, i] > 0:
                        counted[n, :, i] = False
                else:
                    for c in scene.classes:
                        if scene.truth[n, c, i] == 0:
                            counted[n, c, i] = False
        scene = Scene(scene.logits, scene.truth, counted, scene.weight, scene.task, scene.soft)
    loss = cross_entropy if scene.task == "multiclass" else binary_cross_entropy
    return loss(scene, label_smoothing=label_smoothing, class_weight=class_weight, reduction=reduction)
