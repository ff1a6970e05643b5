"""What a named figure is, and the formulas that figures are made of.

Figures are ``combine(sum over images of columns)``: of the counts for figures over the data set, of (value, known) pairs
for means over images. So the figure of the data set, of any bootstrap resample (a row of weights times the columns)
and of any permutation comes from one formula, and a block of resamples is one matrix multiplication.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from segcrit.core.constants import Task
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import Policy, get_policy
from segcrit.metrics.ratios import Floats, class_mean, class_ratio, counted_ratio, divide, nan_mean
from segcrit.metrics.worst import worst_mean

__all__ = [
    "Figure",
    "Sums",
    "columns_of",
    "frequency_weighted_iou",
    "kappa",
    "mean_of_known",
    "mean_ratio",
    "of_counts",
    "pixel_accuracy",
]


class Sums(NamedTuple):
    """Sums of the counts over images; any leading shape, classes last."""

    tp: Floats
    fp: Floats
    fn: Floats
    pixels: Floats
    task: Task
    policy: Policy

    def ratio(self, name: str) -> Floats:
        """A class figure (..., C) as it is shown; see :func:`segcrit.metrics.ratios.class_ratio`."""
        return class_ratio(name, self.tp, self.fp, self.fn, self.policy)

    def counted(self, name: str) -> Floats:
        """A class figure (..., C) as it counts in means."""
        return counted_ratio(name, self.tp, self.fp, self.fn, self.policy)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure by name.

    Attributes:
        name: how code calls it, for example ``"miou"``.
        label: how people call it.
        description: its definition in one sentence.
        basis: which columns it sums: ``"counts"``, ``"foreground counts"``, or ``"<kind>:<ratio>"`` for values per
            image (see :func:`columns_of`).
        combine: summed columns (..., K), task, policy -> (...).
        columns: makes the columns where the basis is none of :func:`columns_of`.
        worst: the share of the images that the figure looks at, those with the lowest values: no sum over images,
            see :mod:`segcrit.metrics.worst`.
        better: which of two values is the better one.
    """

    name: str
    label: str
    description: str
    basis: str
    combine: Callable[[Floats, Task, Policy], Floats]
    columns: Callable[[PerImage], Floats] | None = None
    worst: float | None = None
    better: Literal["higher", "lower"] = "higher"

    def columns_of(self, counts: PerImage) -> Floats:
        """The columns (images, K) that this figure sums."""
        return columns_of(counts, self.basis) if self.columns is None else self.columns(counts)

    def of(self, counts: PerImage) -> float:
        """The figure of all the images."""
        policy = get_policy(counts.policy)
        columns = self.columns_of(counts)
        if self.worst is not None:
            return float(worst_mean(columns, np.ones((1, counts.num_images)), self.worst, policy)[0])
        return float(self.combine(columns.sum(axis=0), counts.task, policy))


def columns_of(counts: PerImage, basis: str) -> Floats:
    """The columns (images, K) whose sums a figure of this basis needs.

    - ``"counts"``: tp, fp, fn of every class, then pixels of every class;
    - ``"foreground counts"``: the same without the background;
    - ``"image:iou"`` (or dice, ...): the mean over the classes of the image and 1; 0 and 0 if there is none;
    - ``"foreground:iou"``: the same without the background;
    - ``"class:iou"``: for every class its value and 1; 0 and 0 where it is absent from the image;
    - ``"foreground class:iou"``: the same without the background.
    """
    if basis in ("counts", "foreground counts"):
        pixels = counts.pixels if counts.pixels.ndim == 2 else np.repeat(counts.pixels[:, None], counts.num_classes, 1)
        parts = [counts.tp, counts.fp, counts.fn, pixels]
        if basis != "counts":
            parts = [part[:, counts.foreground] for part in parts]
        return np.concatenate(parts, axis=1).astype(np.float64)
    kind, ratio = basis.split(":")
    values = counted_ratio(ratio, counts.tp, counts.fp, counts.fn, get_policy(counts.policy))
    if kind in ("foreground", "foreground class"):
        values = values[:, counts.foreground]
    if kind in ("image", "foreground"):
        values = nan_mean(values)[:, None]
    known = ~np.isnan(values)
    return np.concatenate([np.where(known, values, 0.0), known], axis=1).astype(np.float64)


def _split(sums: Floats, task: Task, policy: Policy) -> Sums:
    tp, fp, fn, pixels = np.split(sums, 4, axis=-1)
    return Sums(tp, fp, fn, pixels, task, policy)


def pixel_accuracy(sums: Sums) -> Floats:
    if sums.task == "multilabel":
        judged = sums.pixels.sum(-1)
        return divide(judged - sums.fp.sum(-1) - sums.fn.sum(-1), judged)
    judged = sums.pixels[..., 0] if sums.pixels.shape[-1] else np.zeros(sums.pixels.shape[:-1])
    return divide(sums.tp.sum(-1), judged)


def frequency_weighted_iou(sums: Sums) -> Floats:
    truth = sums.tp + sums.fn
    return divide((truth * np.nan_to_num(sums.ratio("iou"))).sum(-1), truth.sum(-1))


def kappa(sums: Sums) -> Floats:
    """(observed - expected) / (1 - expected) agreement; multilabel: mean of the channels' binary kappa."""
    truth, predicted = sums.tp + sums.fn, sums.tp + sums.fp
    if sums.task == "multilabel":
        pixels = sums.pixels
        agreed = pixels - sums.fp - sums.fn
        chance = truth * predicted + (pixels - truth) * (pixels - predicted)
        return nan_mean(divide(agreed * pixels - chance, pixels * pixels - chance))
    total = sums.pixels[..., 0] if sums.pixels.shape[-1] else np.zeros(sums.pixels.shape[:-1])
    chance = (truth * predicted).sum(-1)
    return divide(sums.tp.sum(-1) * total - chance, total * total - chance)


def of_counts(formula: Callable[[Sums], Floats]) -> Callable[[Floats, Task, Policy], Floats]:
    return lambda sums, task, policy: formula(_split(sums, task, policy))


def mean_ratio(ratio: str) -> Callable[[Floats, Task, Policy], Floats]:
    return of_counts(lambda sums: class_mean(sums.counted(ratio), sums.policy))


def mean_of_known(sums: Floats, task: Task, policy: Policy) -> Floats:
    """Mean of (value, known) columns: over images for each column pair, then over the pairs (classes)."""
    total, number = np.split(sums, 2, axis=-1)
    return class_mean(divide(total, number), policy)
