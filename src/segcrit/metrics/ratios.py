"""Class figures from counts: IoU, Dice, precision, recall, and means that skip NaN.

Pure array functions over ``(..., C)`` counts, in float64. Every figure of every report, interval and test
comes from here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from segcrit.metrics.policy import Policy

__all__ = ["CLASS_RATIOS", "Floats", "Integers", "class_mean", "class_ratio", "counted_ratio", "divide", "nan_mean"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FILL: Final = {"nan": np.nan, "zero": 0.0, "one": 1.0}

# name -> weights of (tp, fp, fn) in the numerator and in the denominator
CLASS_RATIOS: Final[dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    "iou": ((1, 0, 0), (1, 1, 1)),
    "dice": ((2, 0, 0), (2, 1, 1)),
    "precision": ((1, 0, 0), (1, 1, 0)),
    "recall": ((1, 0, 0), (1, 0, 1)),
}


def class_ratio(name: str, tp: npt.ArrayLike, fp: npt.ArrayLike, fn: npt.ArrayLike, policy: Policy) -> Floats:
    """Return a figure per class from its true positives, false positives and false negatives.

    ``iou`` = tp/(tp+fp+fn), ``dice`` = 2tp/(2tp+fp+fn), ``precision`` = tp/(tp+fp), ``recall`` = tp/(tp+fn).
    Under the policy ``"segcrit"`` each of the four is NaN where the class is absent (tp+fp+fn = 0) and
    otherwise a number: the 0/0 of the precision of a class that was never predicted, or of the recall of one
    that was only predicted, is 0. Skipping it instead would raise the mean of a model that never predicts a
    hard class. The policies of other tools choose otherwise; see
    :class:`segcrit.metrics.policy.Policy`.

    Args:
        name: ``"iou"``, ``"dice"``, ``"precision"`` or ``"recall"``.
        tp, fp, fn: counts of shape (..., C).
        policy: what a class counts that is absent from truth or prediction.

    Returns:
        float64 of shape (..., C), in [0, 1] or NaN.

    Example:
        >>> from segcrit.metrics.policy import get_policy
        >>> class_ratio("iou", [3, 0, 0], [1, 2, 0], [0, 0, 0], get_policy("segcrit"))
        array([0.75, 0.  ,  nan])
    """
    counts = [np.asarray(array, dtype=np.float64) for array in (tp, fp, fn)]
    above, below = (
        sum(weight * array for weight, array in zip(weights, counts, strict=True)) for weights in CLASS_RATIOS[name]
    )
    numerator, denominator = np.asarray(above), np.asarray(below)
    result: Floats = np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    in_truth = counts[0] + counts[2] > 0
    predicted = counts[0] + counts[1] > 0
    if name in ("iou", "dice"):
        result[predicted & ~in_truth] = _FILL[policy.truth_absent]
    elif name == "precision":
        result[in_truth & ~predicted] = _FILL[policy.empty_precision]
    else:
        result[predicted & ~in_truth] = _FILL[policy.empty_recall]
    result[~predicted & ~in_truth] = _FILL[policy.absent]
    return result


def counted_ratio(name: str, tp: npt.ArrayLike, fp: npt.ArrayLike, fn: npt.ArrayLike, policy: Policy) -> Floats:
    """:func:`class_ratio` with NaN for what the policy shows but leaves out of means.

    Example:
        >>> from segcrit.metrics.policy import get_policy
        >>> counted_ratio("iou", [3, 0], [1, 0], [0, 0], get_policy("torchmetrics"))
        array([0.75,  nan])
    """
    values = class_ratio(name, tp, fp, fn, policy)
    if not policy.absent_in_means and policy.absent != "nan":
        values[np.asarray(tp) + np.asarray(fp) + np.asarray(fn) == 0] = np.nan
    return values


def class_mean(values: Floats, policy: Policy) -> Floats:
    """Mean over classes, the last dimension, as the policy takes it: of what is not NaN, or NaN where one is.

    Example:
        >>> from segcrit.metrics.policy import get_policy
        >>> values = np.array([0.5, np.nan])
        >>> float(class_mean(values, get_policy("segcrit"))), float(class_mean(values, get_policy("nnunet")))
        (0.5, nan)
    """
    if not policy.all_classes:
        return nan_mean(values)
    number = values.shape[-1]
    return np.asarray(values.sum(axis=-1) / number if number else np.full(values.shape[:-1], np.nan), dtype=np.float64)


def nan_mean(values: Floats, axis: int = -1) -> Floats:
    """Mean over ``axis`` of what is not NaN; NaN where there is nothing (numpy's own warns there).

    Example:
        >>> nan_mean(np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan]]))
        array([0.75,  nan])
    """
    known = ~np.isnan(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    result: Floats = np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)
    return result


def divide(above: npt.ArrayLike, below: npt.ArrayLike) -> Floats:
    """Quotients in float64, NaN where the divisor is 0.

    Example:
        >>> divide([1, 2], [2, 0])
        array([0.5, nan])
    """
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    result: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return result
