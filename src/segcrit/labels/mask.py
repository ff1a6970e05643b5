"""The one place that knows what a target says: which pixels count, and the target as numbers.

Nothing else in segcrit compares a label with ``ignore_index``. The mask is applied by selection (``where``), never by
multiplication: 0 · NaN is NaN, and an ignored pixel may hold anything.

The ignore label may be one of the classes. It means the same in every form of target: index targets leave out the pixels of
that class, and ``without_ignored_class`` turns the same pixels of one-hot and soft targets into rows of zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.core.errors import LabelError, ParameterError
from segcrit.core.tensors import may_look

__all__ = [
    "Reading",
    "TargetKind",
    "View",
    "bad_label_error",
    "is_label",
    "is_labelled",
    "read_labels",
    "read_target",
    "read_weight",
    "refuse_fractions",
    "without_ignored_class",
]

TargetKind = Literal["index", "onehot", "soft"]

# Sums of a soft target's row may differ from 1 by rounding: half precision keeps about three digits.
_ROW_TOLERANCE = 1e-2


@dataclass(frozen=True)
class View:
    """How a term looks at the target.

    Attributes:
        background: read ignored pixels as class 0.
        foreground_only: leave out the pixels of class 0 as well.
    """

    background: bool = False
    foreground_only: bool = False


@dataclass(frozen=True)
class Reading:
    """A target as numbers.

    Attributes:
        target: (n, C, p) in the arithmetic's dtype, 0 where not valid.
        valid: (n, 1, p) or, in multilabel targets, (n, C, p), bool: what counts.
        bad: same shape as ``valid`` or None: values that are neither a class nor the ignore label.
    """

    target: Tensor
    valid: Tensor
    bad: Tensor | None


def read_target(
    target: Tensor,
    *,
    kind: TargetKind,
    sigmoid: bool,
    num_classes: int,
    ignore_index: int,
    view: View,
    dtype: torch.dtype,
    check: bool,
) -> Reading:
    """Read a tile of the target.

    Args:
        target: (n, p) labels in multiclass ``"index"`` targets, otherwise (n, C, p).
        kind: form of the target.
        sigmoid: binary and multilabel tasks, where each element stands alone.
        num_classes: C.
        ignore_index: label that does not count.
        view: how the term looks at the target.
        dtype: dtype of the result.
        check: raise LabelError for values that are not allowed; otherwise they are marked ``bad``.
    """
    if sigmoid:
        return _read_elements(target, ignore_index, view, dtype, check)
    if kind == "index":
        return _read_labels(target, num_classes, ignore_index, view, dtype, check)
    return _read_rows(target, ignore_index, view, dtype, check)


def without_ignored_class(
    target: Tensor, *, kind: TargetKind, sigmoid: bool, num_classes: int, ignore_index: int
) -> Tensor:
    """A target (N, C, *S) in which the pixels of an ignored class do not count, as in an index target.

    A pixel whose row is the one-hot of the ignored class (within the tolerance of a soft row) becomes a row of zeros; within
    the tolerance the other pixels have no share of that class. A soft row that gives the ignored class a part of its mass
    says neither that the pixel counts nor that it does not: the share becomes NaN, which the engines refuse where they look
    at values, and which makes the loss NaN where they do not. In sigmoid tasks each
    element stands alone: the value that is the ignore label is left out, in every dtype.

    Args:
        target: of any form; an index target is returned as it is.
        kind: form of the target.
        sigmoid: binary and multilabel tasks.
        num_classes: C.
        ignore_index: label that does not count; where it is no class the target is returned as it is.

    Example:
        >>> soft = torch.tensor([[[1.0, 0.25, 0.0], [0.0, 0.75, 0.0], [0.0, 0.0, 1.0]]])
        >>> without_ignored_class(soft, kind="soft", sigmoid=False, num_classes=3, ignore_index=2)
        tensor([[[1.0000, 0.2500, 0.0000],
                 [0.0000, 0.7500, 0.0000],
                 [0.0000, 0.0000, 0.0000]]])
    """
    if kind == "index" or sigmoid or not 0 <= ignore_index < num_classes:
        return target
    share = target[:, ignore_index]
    if may_look(target) and not bool(share.any()):
        return target
    if kind == "onehot":
        ignored = (share == 1) & ((target != 0).sum(1) == 1)
        result = target.clone()
        result[:, ignore_index] = torch.where(ignored, 0, share)
        return result
    others = target.sum(1, dtype=torch.float32 if target.dtype.itemsize < 4 else None) - share
    ignored = (share >= 1 - _ROW_TOLERANCE) & (others.abs() <= _ROW_TOLERANCE)
    result = torch.where(ignored[:, None], 0.0, target)
    # What is left of the class within the tolerance would make a region loss take it for present.
    part = torch.where(share > _ROW_TOLERANCE, float("nan"), share.clamp_max(0))
    result[:, ignore_index] = torch.where(ignored, 0.0, part)
    return result


def _read_labels(
    target: Tensor, num_classes: int, ignore_index: int, view: View, dtype: torch.dtype, check: bool
) -> Reading:
    labels = target if target.dtype.is_floating_point else target.to(torch.int64)
    ignored = is_label(target, ignore_index)
    if view.background:
        labels = torch.where(ignored, 0, labels)
        valid = torch.ones_like(ignored)
    else:
        valid = ~ignored
    bad = valid & ((labels < 0) | (labels >= num_classes))
    if target.dtype.is_floating_point:
        bad |= valid & (labels != labels.floor())
    if check and bool(bad.any()):
        raise bad_label_error(labels[bad], num_classes)
    if view.foreground_only:
        valid = valid & (labels != 0)
    classes = torch.arange(num_classes, device=target.device, dtype=labels.dtype)
    encoded = ((labels[:, None] == classes[None, :, None]) & valid[:, None]).to(dtype)
    return Reading(encoded, valid[:, None], None if check else bad[:, None])


def _read_rows(target: Tensor, ignore_index: int, view: View, dtype: torch.dtype, check: bool) -> Reading:
    values = target.to(dtype)
    total = values.sum(1, keepdim=True)
    ignored = (values == 0).all(1, keepdim=True)
    if view.background:
        values = torch.cat((values[:, :1] + ignored.to(dtype), values[:, 1:]), 1)
        valid = torch.ones_like(ignored)
    else:
        valid = ~ignored
    bad = ~ignored & (
        ((values < 0) | (values > 1 + _ROW_TOLERANCE)).any(1, keepdim=True) | ~((total - 1).abs() <= _ROW_TOLERANCE)
    )
    if check and bool(bad.any()):
        position = torch.nonzero(bad)[0]
        pixel = values[position[0], :, position[2]]
        if 0 <= ignore_index < len(pixel) and bool(pixel[ignore_index].isnan()):
            raise mixed_target_error(f"the ignored class {ignore_index}", "the one-hot of that class")
        row = [round(float(value), 4) for value in pixel[:8]]
        raise LabelError(
            "a one-hot or soft target whose values lie in [0, 1] and sum to 1 at each pixel (or are all 0 to ignore it)",
            f"a pixel with {row}{', ...' if values.shape[1] > 8 else ''}",
            "Normalise the target over the class dimension, or give integer labels (N, *S) with ignore_index.",
        )
    if view.foreground_only:
        valid = valid & (values.argmax(1, keepdim=True) != 0)
    return Reading(torch.where(valid, values, 0.0), valid, None if check else bad)


def _read_elements(target: Tensor, ignore_index: int, view: View, dtype: torch.dtype, check: bool) -> Reading:
    ignored = is_label(target, ignore_index)
    values = target.to(dtype)
    if view.background:
        values = torch.where(ignored, 0.0, values)
        valid = torch.ones_like(ignored)
    else:
        valid = ~ignored
    bad = valid & ~((values >= 0) & (values <= 1))
    if check and bool(bad.any()):
        raise bad_label_error(target[bad], 2, soft=target.dtype.is_floating_point)
    if view.foreground_only:
        valid = valid & (values > 0)
    return Reading(torch.where(valid, values, 0.0), valid, None if check else bad)


def read_weight(
    pixel_weight: Tensor | None, reading: Reading, dtype: torch.dtype, check: bool
) -> tuple[Tensor, Tensor]:
    """What counts and with which weight: (valid, weight), the weight 0 where not valid and NaN where the target is bad.

    Args:
        pixel_weight: (n, p) or None.
        reading: the target.
        dtype: dtype of the weight.
        check: raise for weights that are negative or not finite.
    """
    valid = reading.valid
    if pixel_weight is None:
        weight = valid.to(dtype)
    else:
        given = pixel_weight[:, None].to(dtype)
        if check and not bool((torch.isfinite(given) & (given >= 0)).all()):
            raise ParameterError(
                "pixel_weight to be finite and at least 0 everywhere",
                f"values from {float(given.min()):g} to {float(given.max()):g}",
                "Replace negative and missing weights, for example with weight.nan_to_num(0).clamp_min(0).",
            )
        # A weight that is NaN and was not looked at must not vanish: NaN > 0 is False.
        valid = valid & ((given > 0) | torch.isnan(given))
        weight = torch.where(valid, given, 0.0)
    if reading.bad is not None:
        weight = torch.where(reading.bad & valid, float("nan"), weight)
    return valid, weight


def read_labels(
    target: Tensor, *, kind: TargetKind, sigmoid: bool, num_classes: int, ignore_index: int, view: View
) -> tuple[Tensor, Tensor]:
    """Hard labels of a whole target as int64, 0 where they do not count, and where they count.

    Args:
        target: (N, *S) labels or (N, C, *S), of kind ``"index"`` or ``"onehot"``; values are not checked.
        kind: form of the target.
        sigmoid: binary and multilabel tasks: the result has the shape (N, C, *S).
        num_classes: C.
        ignore_index: label that does not count.
        view: how the term looks at the target.
    """
    if kind == "onehot" and not sigmoid:
        counted = (target != 0).any(1)
        labels = target.to(torch.uint8).argmax(1)
    else:
        counted = ~is_label(target, ignore_index)
        labels = torch.where(counted, target.to(torch.int64), 0)
    if view.background:
        counted = torch.ones_like(counted)
    if view.foreground_only:
        counted = counted & (labels != 0)
    largest = 1 if sigmoid else num_classes - 1
    return torch.where(counted, labels, 0).clamp(0, largest), counted


def refuse_fractions(target: Tensor) -> None:
    """Raise LabelError where a target, 0 where it does not count, is neither 0 nor 1."""
    fractional = (target != 0) & (target != 1)
    if bool(fractional.any()):
        raise LabelError(
            "hard labels (0 and 1) for a Lovász loss",
            f"a soft target with the value {float(target[fractional][0]):g}",
            "The order of errors is defined for hard labels only; use jaccard, which takes soft targets.",
        )


Labels = TypeVar("Labels", Tensor, npt.NDArray[Any])


def is_label(labels: Labels, value: int) -> Labels:
    """Where an array or tensor holds a label, as bool; nowhere where its dtype cannot hold the label.

    ``tensor == value`` alone converts the number to the tensor's dtype first: in a uint8 tensor label 156 equals −100.

    Example:
        >>> is_label(torch.tensor([156, 3], dtype=torch.uint8), -100)
        tensor([False, False])
    """
    if isinstance(labels, Tensor) and not labels.dtype.is_floating_point:
        labels = labels.to(torch.uint8) if labels.dtype == torch.bool else labels
        limits = torch.iinfo(labels.dtype)
        if not limits.min <= value <= limits.max:
            return torch.zeros_like(labels, dtype=torch.bool)
    result: Labels = labels == value
    return result


def is_labelled(labels: Labels, ignore_index: int) -> Labels:
    """Where an array or tensor of labels holds something else than the ignore label, as bool."""
    result: Labels = ~is_label(labels, ignore_index)
    return result


def mixed_target_error(ignored: str, whole: str) -> LabelError:
    """The error for soft targets that put a part of their mass on what is ignored."""
    return LabelError(
        f"soft targets with all or nothing on {ignored}",
        "a pixel that mixes it with others (or is NaN)",
        f"A pixel is left out where its target is {whole} or, in multiclass targets, all 0: decide for each mixed pixel, or "
        "choose an ignore_index that is no class.",
    )


def bad_label_error(values: Tensor, num_classes: int, soft: bool = False) -> LabelError:
    """The error for labels out of range: names the label and, where it looks like one, the ignore label."""
    found, counts = torch.unique(values, return_counts=True)
    first = found[0].item()
    text = f"{first:g}" if isinstance(first, float) else str(first)
    others = f" (and {len(found) - 1} other such values)" if len(found) > 1 else ""
    expected = f"labels between 0 and {num_classes - 1} or ignore_index"
    if soft:
        expected = "targets between 0 and 1 or ignore_index"
    candidates = [int(value) for value in found.tolist() if value in (-100, 255, -1)]
    if candidates:
        advice = f"If {candidates[0]} marks pixels to leave out, pass ignore_index={candidates[0]}."
        if candidates[0] == 255 and num_classes == 2:
            # The two meanings of 255 in two-class masks; ignoring the foreground would train on background alone.
            advice += " If it marks the foreground, use mask = (mask > 0)."
    elif isinstance(first, float) and not first.is_integer() and not soft:
        advice = "Labels are whole numbers: round them, or give fractions for each class as a soft target (N, C, *S)."
    elif num_classes == 2 and first > 1:
        advice = "Divide masks that are coded 0 and a larger number, for example mask = (mask > 0)."
    else:
        advice = "Correct the labels, or pass their value as ignore_index to leave those pixels out."
        if first >= 0 and not soft and math.isfinite(largest := float(found.max())):
            advice = f"Correct the labels, or set the number of classes to at least {int(largest) + 1}."
    return LabelError(expected, f"label {text} in {int(counts[0])} pixels{others}", advice)
