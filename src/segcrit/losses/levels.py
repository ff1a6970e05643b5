"""The outputs of a network under deep supervision, each with its target and weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constants import Task
from segcrit.core.constraints import describe_value
from segcrit.core.errors import ParameterError, ShapeError
from segcrit.core.tensors import as_plain, not_a_tensor

__all__ = ["check_level_weights", "default_level_weights", "split_levels"]

Level = tuple[Any, Any, Any]


def split_levels(
    logits: Any, target: Any, pixel_weight: Any, task: Task, num_classes: int | None, *, upsample: bool
) -> list[Level] | None:
    """(logits, target, pixel_weight) of each output, finest first; None for a single output.

    Args:
        logits: a list or tuple of outputs; or all of them stacked along axis 1, (N, K, C, *S), as MONAI's networks do.
        target: one target for all outputs, or a list with one for each, as nnU-Net's loaders do.
        pixel_weight: likewise.
        task: the task.
        num_classes: C where it is known.
        upsample: logits may have another size than the target.

    Raises:
        ShapeError, DtypeError: the lists do not fit together.
    """
    if not isinstance(logits, (list, tuple)):
        if not _is_stacked(logits, target, task, num_classes, upsample):
            return None
        logits = as_plain("logits", logits).unbind(1)
    if len(logits) == 0:
        raise ShapeError("at least one output in a list of logits", "an empty list", "Give the network's outputs.")
    if isinstance(logits, tuple) and isinstance(logits[0], Tensor) and logits[0].ndim == 0:
        raise not_a_tensor("logits", logits)  # (loss, logits), as models return that compute a loss themselves
    for level in logits:
        as_plain("each output in a list of logits", level)
    targets, weights = (
        _for_each(name, value, len(logits)) for name, value in (("target", target), ("pixel_weight", pixel_weight))
    )
    return list(zip(logits, targets, weights, strict=True))


def _for_each(name: str, value: Any, levels: int) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * levels
    if len(value) != levels:
        raise ShapeError(
            f"one {name} for all {levels} outputs, or a list of {levels}",
            f"a list of {len(value)}",
            f"Give a {name} for each output of the network, finest first, or the {name} of full resolution alone.",
            code="levels",
        )
    return value


def _is_stacked(logits: Any, target: Any, task: Task, num_classes: int | None, upsample: bool) -> bool:
    """Whether logits are outputs stacked along axis 1. Shapes that also fit as one output are read as one output."""
    if not isinstance(logits, Tensor):
        return False
    first = target[0] if isinstance(target, (list, tuple)) and target else target
    if not isinstance(first, Tensor) or logits.ndim < 4:
        return False
    images, levels, classes, *size = logits.shape
    if isinstance(target, (list, tuple)) and len(target) != levels:
        return False
    labels, column, dense = (images, *size), (images, 1, *size), (images, classes, *size)
    if tuple(first.shape) not in ((dense,) if task == "multilabel" else (labels, column, dense)):
        return False
    if task == "binary":
        return classes == 1 < levels
    # (N, C, *S) also looks like the labels of one output with an axis more: the number of classes tells, and the dtype.
    if tuple(first.shape) == dense or upsample:
        named = num_classes == classes != levels and (first.dtype == torch.bool or first.is_floating_point())
        return named or (first.ndim == logits.ndim - 2)
    return True


def check_level_weights(weights: Any) -> tuple[float, ...] | None:
    """Return the weights of the outputs or raise."""
    if weights is None:
        return None
    numbers = list(weights) if isinstance(weights, Sequence) and not isinstance(weights, str) else []
    valid = all(isinstance(item, (int, float)) and 0 <= item < float("inf") for item in numbers)
    if not numbers or not valid or sum(numbers) == 0:
        raise ParameterError(
            "level_weights to be a sequence of finite numbers of at least 0, not all 0",
            f"level_weights={describe_value(weights)}",
            "Give one number for each output of the network, finest first.",
        )
    return tuple(float(item) for item in numbers)


def default_level_weights(levels: int) -> tuple[float, ...]:
    """nnU-Net's weights for deep supervision: 1, 1/2, 1/4, ..., the last 0, normalised to sum 1.

    Example:
        >>> default_level_weights(3)
        (0.6666666666666666, 0.3333333333333333, 0.0)
    """
    weights = [0.5**level for level in range(levels)]
    if levels > 1:
        weights[-1] = 0.0
    total = sum(weights)
    return tuple(weight / total for weight in weights)
