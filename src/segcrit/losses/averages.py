"""The averages: of pixels, of classes, of images; and what is returned when nothing counts.

A mean over nothing is 0 with a live, zero gradient: a batch without a valid pixel neither stops training nor makes NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segcrit.core.errors import ParameterError
from segcrit.core.tensors import may_look
from segcrit.losses.formulas.quotient import quotient

__all__ = ["class_mean", "class_sum", "number_or_nan", "pick_classes", "pixel_denominator"]


def number_or_nan(value: Tensor) -> Tensor:
    """The value, and NaN in value and gradient together where it is no finite number of its dtype.

    On a GPU, where each step has its price, an infinite value stays infinite.
    """
    # One number is looked at: the operations of the factor would be a sixth of those of a step.
    if value.device.type != "cpu" or (value.ndim == 0 and may_look(value) and math.isfinite(value.item())):
        return value
    # Exactly 1 where the value is finite; 0 · ∞ is NaN.
    return value * (1.0 + 0.0 * value.detach())


def pixel_denominator(target_sum: Tensor, weight_sum: Tensor, class_weight: Tensor | None, sigmoid: bool) -> Tensor:
    """What a mean of a pixel loss divides by.

    Args:
        target_sum: T = Σ u t, (C,).
        weight_sum: V = Σ u, (C,).
        class_weight: (C,) or None.
        sigmoid: average over valid pixel × channel elements instead of over labels.
    """
    sums = weight_sum if sigmoid else target_sum
    return sums.sum() if class_weight is None else (sums * class_weight).sum()


def pick_classes(values: Tensor, classes: tuple[int, ...] | None) -> Tensor:
    """The columns of the classes that count."""
    if classes is not None and max(classes) >= values.shape[-1]:
        raise ParameterError(
            f"classes between 0 and {values.shape[-1] - 1}, as the logits have {values.shape[-1]} channels",
            f"classes={list(classes)}",
            "Remove the classes that do not exist, or correct the number of channels.",
        )
    if classes is None:
        return values
    first, last = classes[0], classes[-1]
    if tuple(classes) == tuple(range(first, last + 1)):
        return values[..., first : last + 1]
    if values.device.type == "cpu":
        return values[..., list(classes)]
    # A list as index would be copied to the device at every call, which waits for it and cannot be captured in a graph.
    return torch.stack([values[..., index] for index in classes], -1)


def class_sum(losses: Tensor, counted: Tensor, class_weight: Tensor | None) -> Tensor:
    """Σ w l over the counted classes."""
    weighted = losses if class_weight is None else losses * class_weight
    return torch.where(counted, weighted, 0.0).sum(-1)


def class_mean(losses: Tensor, counted: Tensor, class_weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Σ w l / Σ w over the counted classes (last dimension).

    Returns:
        The means, and whether there was anything to average, both without the last dimension.
    """
    weight = torch.ones_like(losses) if class_weight is None else class_weight.expand_as(losses)
    total = torch.where(counted, weight, 0.0).sum(-1)
    return quotient(class_sum(losses, counted, class_weight), total), total > 0
