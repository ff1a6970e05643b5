"""Means over the worst images: figures that are no sums over images, for a data set, its resamples and swaps.

The mean of the lowest ``share`` of the values, at least of one, is the worst-case figure of Wang et al. 2023
("Revisiting Evaluation Metrics for Semantic Segmentation", NeurIPS). They differ where an image has no pixel of a class:
with more than two classes the paper leaves such a class out of the image even where it is predicted; here a predicted class
counts as 0, unless the policy leaves it out.
"""

from __future__ import annotations

import numpy as np

from segcrit.metrics.policy import Policy
from segcrit.metrics.ratios import Floats, Integers, class_mean

__all__ = ["worst_mean", "worst_mean_swapped"]


def worst_mean(columns: Floats, weights: Integers | Floats, share: float, policy: Policy) -> Floats:
    """Mean over classes of the mean of the lowest ``share`` of the values of each class.

    Args:
        columns: (images, 2K): values of K classes, then 1 where the value is known.
        weights: (resamples, images): how often each image counts.
        share: of the images that know the value, above 0 and at most 1; rounded down, at least one image.
        policy: how classes are averaged.

    Returns:
        (resamples,).

    Example:
        >>> from segcrit.metrics.policy import get_policy
        >>> columns = np.array([[0.9, 1], [0.1, 1], [0.3, 1], [0.0, 0]])
        >>> worst_mean(columns, np.array([[1, 1, 1, 1], [2, 0, 1, 1]]), 0.67, get_policy("segcrit"))
        array([0.2, 0.6])
    """
    values, known = np.split(columns, 2, axis=1)
    result = np.full((len(weights), values.shape[1]), np.nan)
    for place in range(values.shape[1]):
        rows = np.flatnonzero(known[:, place])
        order = rows[np.argsort(values[rows, place], kind="stable")]
        number = weights[:, order].sum(axis=1)
        wanted = _wanted(number, share)
        # The lowest values of a resample lie among the lowest of the set: as a rule a few more than their share.
        first = min(len(order), int(1.5 * share * len(order)) + 50)
        if not (weights[:, order[:first]].sum(axis=1) >= wanted).all():
            first = len(order)
        chosen = weights[:, order[:first]].astype(np.float64)
        before = np.cumsum(chosen, axis=1) - chosen
        taken = np.clip(wanted[:, None] - before, 0.0, chosen)
        total = taken @ values[order[:first], place]
        np.divide(total, wanted, out=result[:, place], where=number > 0)
    return class_mean(result, policy)


def worst_mean_swapped(first: Floats, second: Floats, swap: Floats, share: float, policy: Policy) -> Floats:
    """The same for a set in which the images with ``swap`` 1 take their values from ``second``.

    Args:
        first, second: columns (images, 2K) of two models.
        swap: (swaps, images) of 0 and 1.
        share, policy: as in :func:`worst_mean`.

    Returns:
        (swaps,).
    """
    classes = first.shape[1] // 2
    result = np.full((len(swap), classes), np.nan)
    chosen = swap > 0
    for place in range(classes):
        left, right = (
            np.where(columns[:, classes + place] > 0, columns[:, place], np.inf) for columns in (first, second)
        )
        values = np.sort(np.where(chosen, right, left), axis=1)
        number = np.isfinite(values).sum(axis=1)
        wanted = _wanted(number, share)
        rank = np.arange(values.shape[1])
        total = np.where(rank < wanted[:, None], np.where(np.isfinite(values), values, 0.0), 0.0).sum(axis=1)
        np.divide(total, wanted, out=result[:, place], where=number > 0)
    return class_mean(result, policy)


def _wanted(number: Integers | Floats, share: float) -> Floats:
    # A share such as 0.7 of 10 must be 7, though 0.7 * 10 is a little less in binary.
    whole: Floats = np.maximum(1.0, np.floor(share * number.astype(np.float64) + 1e-9))
    return whole
