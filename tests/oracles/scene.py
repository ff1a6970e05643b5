"""What one call means, as plain float64 arrays: logits, truth, which elements count, and the pixel weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scene:
    """Logits, truth and mask with all spatial dimensions flattened into one.

    Attributes:
        logits: (N, C, M) float64.
        truth: (N, C, M) float64 in [0, 1].
        counted: (N, C, M) bool; False where the element is ignored or its pixel has weight 0.
        weight: (N, M) float64.
        task: "multiclass", "multilabel" or "binary".
        soft: whether the target was given as fractions.
    """

    logits: Array
    truth: Array
    counted: Array
    weight: Array
    task: str
    soft: bool

    @property
    def images(self) -> range:
        return range(self.logits.shape[0])

    @property
    def classes(self) -> range:
        return range(self.logits.shape[1])

    @property
    def pixels(self) -> range:
        return range(self.logits.shape[2])

    def with_logits(self, logits: Array) -> Scene:
        return Scene(logits, self.truth, self.counted, self.weight, self.task, self.soft)

    def image(self, n: int) -> Scene:
        one = slice(n, n + 1)
        return Scene(self.logits[one], self.truth[one], self.counted[one], self.weight[one], self.task, self.soft)


def read(
    logits: Array,
    target: Array,
    *,
    task: str = "multiclass",
    ignore_index: int = -100,
    pixel_weight: Array | None = None,
    unlabelled: str | None = None,
) -> Scene:
    """Turns the arrays of one call into a Scene, element by element."""
    images, classes = logits.shape[:2]
    z = np.asarray(logits, dtype=np.float64).reshape(images, classes, -1)
    size = z.shape[2]
    target = np.asarray(target)
    dense = task != "binary" and target.ndim == logits.ndim and target.shape[1] == classes and classes > 1
    if task == "multilabel" and classes == 1:
        dense = True
    soft = bool(np.issubdtype(target.dtype, np.floating) and (dense or task == "binary") and (target % 1 != 0).any())
    flat = target.reshape(images, classes if dense else 1, size)
    truth = np.zeros((images, classes, size))
    counted = np.ones((images, classes, size), dtype=bool)
    weight = np.ones((images, size)) if pixel_weight is None else np.asarray(pixel_weight, dtype=np.float64)
    weight = weight.reshape(images, size)
    for n in range(images):
        for i in range(size):
            for c in range(classes):
                if not dense and task == "multiclass":
                    label = int(flat[n, 0, i])
                    annotated = label != ignore_index
                    value = 1.0 if label == c else 0.0
                elif task == "multiclass":
                    annotated = any(float(flat[n, k, i]) != 0 for k in range(classes))
                    value = float(flat[n, c, i])
                else:
                    value = float(flat[n, c, i])
                    annotated = value != ignore_index
                if not annotated and unlabelled == "background":
                    annotated = True
                    value = 1.0 if task == "multiclass" and c == 0 else 0.0
                counted[n, c, i] = annotated and weight[n, i] > 0
                truth[n, c, i] = value if annotated else 0.0
    return Scene(z, truth, counted, weight, task, soft)


def log_probability(scene: Scene, n: int, c: int, i: int) -> float:
    """log p of class c at one pixel, from the logits of that pixel."""
    if scene.task == "multiclass":
        values = [float(scene.logits[n, k, i]) for k in scene.classes]
        peak = max(values)
        return values[c] - peak - math.log(sum(math.exp(v - peak) for v in values))
    return log_sigmoid(float(scene.logits[n, c, i]))


def log_complement(scene: Scene, n: int, c: int, i: int) -> float:
    """log (1 - p) of class c at one pixel."""
    if scene.task == "multiclass":
        p = math.exp(log_probability(scene, n, c, i))
        return math.log1p(-p) if p < 1 else -math.inf
    return log_sigmoid(-float(scene.logits[n, c, i]))


def log_sigmoid(z: float) -> float:
    return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def probability(scene: Scene, n: int, c: int, i: int) -> float:
    return math.exp(log_probability(scene, n, c, i))
