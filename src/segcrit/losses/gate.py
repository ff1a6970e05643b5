"""The gate: the one place where a user's tensors are checked and become a frozen batch.

Structure (shapes, dtypes, devices) is checked at every call and costs attribute reads only. Values (labels in range, weights
finite) are looked at by the engine while it reads them, unless ``check`` is off.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constants import TASKS, Task
from segcrit.core.constraints import describe_value, one_of
from segcrit.core.dtypes import LOGITS_DTYPES, is_integer
from segcrit.core.errors import DeviceError, DtypeError, ParameterError, ShapeError
from segcrit.core.notice import warn
from segcrit.core.tensors import as_plain, explain_missing_axis, signed
from segcrit.labels.mask import TargetKind, without_ignored_class

__all__ = ["Batch", "as_batch", "check_task", "warn_if_probabilities"]


@dataclass(frozen=True)
class Batch:
    """Checked input of a loss.

    Attributes:
        logits: (N, C, *S), the caller's storage, never written to.
        target: labels (N, *S), or (N, C, *S), where the pixels of an ignored class are rows of zeros.
        kind: form of the target; in sigmoid tasks ``"index"`` for integers and ``"soft"`` for floats.
        pixel_weight: (N, *S) or None.
        task: multiclass, multilabel or binary.
        ignore_index: label that does not count.
        size: spatial size *S of the target.
        upsample: the logits have another spatial size and are interpolated linearly to that of the target.
        align_corners: how, as in ``torch.nn.functional.interpolate``.
        maps: further maps beside the target by name, (N, C, *S); see ``derived.py``.
    """

    logits: Tensor
    target: Tensor
    kind: TargetKind
    pixel_weight: Tensor | None
    task: Task
    ignore_index: int
    size: tuple[int, ...]
    upsample: bool
    align_corners: bool
    maps: Mapping[str, Tensor] = field(default_factory=dict)


def check_task(task: Any) -> Task:
    """Return the task or raise with the nearest one."""
    one_of("task", task, TASKS)
    checked: Task = task
    return checked


def check_upsample(upsample: Any) -> str | None:
    """Return how logits are brought to the size of the target, or raise with what to write."""
    if upsample is None or (isinstance(upsample, str) and upsample == "linear"):
        checked: str | None = upsample
        return checked
    raise ParameterError(
        "upsample to be None or 'linear'",
        f"upsample={describe_value(upsample)}",
        "Write upsample='linear', which is bilinear for images and trilinear for volumes; the size is the target's.",
    )


def check_ignore_index(ignore_index: Any) -> int:
    """Return the ignore label or raise."""
    whole = isinstance(ignore_index, numbers.Integral) and not isinstance(ignore_index, bool)
    # Labels are compared as int64; a larger number would wrap around and could meet a class.
    if not whole or not -(2**63) <= ignore_index < 2**63:
        raise ParameterError(
            "ignore_index to be an integer of at most 64 bits",
            f"ignore_index={describe_value(ignore_index)}",
            "Use -100 (the default) or another value that is no class when nothing is to be ignored.",
        )
    return int(ignore_index)


def _shape(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}"


def _check_dense(name: str, tensor: Tensor) -> None:
    if tensor.layout is not torch.strided:
        raise DtypeError(f"{name} as a dense tensor", str(tensor.layout), f"Convert with {name}.to_dense().")


def _check_logits(logits: Any, task: Task, num_classes: int | None) -> None:
    if logits.dtype not in LOGITS_DTYPES:
        raise DtypeError(
            "logits of dtype float16, bfloat16, float32 or float64",
            str(logits.dtype),
            "Give the network's raw output, or convert with logits.float().",
        )
    _check_dense("logits", logits)
    if not 2 <= logits.ndim <= 5:
        raise ShapeError(
            "logits of shape (N, C, *S) with 0 to 3 spatial dimensions",
            _shape(logits),
            "Add the missing batch or class dimension with unsqueeze, or fold the extra ones into the batch.",
        )
    channels = logits.shape[1]
    if task == "multiclass" and channels < 2:
        raise ShapeError(
            "logits with at least 2 classes for task='multiclass'",
            _shape(logits),
            "With one channel use task='binary' (a sigmoid), which takes labels 0 and 1.",
        )
    if task == "binary" and channels != 1:
        raise ShapeError(
            "logits with one channel, (N, 1, *S), for task='binary'",
            _shape(logits),
            _move("channel", "logits")
            if logits.ndim > 2 and logits.shape[-1] == 1
            else "Use task='multiclass' when the classes exclude each other, task='multilabel' when they may overlap.",
        )
    if num_classes is not None and channels != num_classes:
        raise ShapeError(
            f"logits with num_classes={num_classes} channels",
            _shape(logits),
            _move("class", "logits")
            if logits.ndim > 2 and logits.shape[-1] == num_classes
            else "Correct num_classes or the last layer of the network.",
        )


def _move(axis: str, name: str) -> str:
    return f"The {axis} axis is last: move it to position 1 with {name}.movedim(-1, 1)."


def _refuse_class_axis_last(logits: Tensor, target: Tensor) -> None:
    """Raise where shapes that do not fit would fit with the class axis of one of them moved from the last place.

    NumPy, Pillow and TensorFlow keep channels last. Where the sizes happen to allow both readings nothing is said here.
    """
    size, given = tuple(logits.shape), tuple(target.shape)
    images, channels, *spatial = size
    if not spatial or given[:1] != (images,):
        return
    axis = "channel" if channels == 1 else "class"
    # A dense target: of the right size, or of another one that ends in the number of classes and nothing else does.
    if len(given) == len(size) and given[-1] == channels and given[1] != channels:
        inner = list(given[1:-1])
        if inner == spatial or given[-1] != spatial[-1]:
            wanted = (images, channels, *inner)
            raise ShapeError(
                f"a target of shape {wanted}, the {axis} axis at position 1, for logits of {_shape(logits)}",
                _shape(target),
                _move(axis, "target"),
            )
    # Labels of exactly the size that logits with the class axis last would have; classes are fewer than pixels of an axis.
    if size[-1] < min(size[1:-1]) and list(given) in ([images, *size[1:-1]], [images, 1, *size[1:-1]]):
        wanted = (images, size[-1], *size[1:-1])
        raise ShapeError(
            f"logits of shape {wanted}, the class axis at position 1, for a target of {_shape(target)}",
            _shape(logits),
            _move("class", "logits"),
        )


def _target_form(logits: Tensor, target: Tensor, task: Task, spatial: tuple[int, ...]) -> tuple[Tensor, TargetKind]:
    images, channels = logits.shape[:2]
    labels = (images, *spatial)
    dense = (images, channels, *spatial)
    column = (images, 1, *spatial)
    integer = is_integer(target.dtype)
    if task == "multiclass":
        if tuple(target.shape) == labels:
            return target, "index"
        if tuple(target.shape) == column:
            return target.squeeze(1), "index"
        if tuple(target.shape) == dense:
            return target, "onehot" if integer else "soft"
        expected = f"a target of shape {labels} or {column} (labels), or {dense} (one-hot or soft)"
    elif task == "binary":
        if tuple(target.shape) == labels:
            return target.unsqueeze(1), "index" if integer else "soft"
        if tuple(target.shape) == column:
            return target, "index" if integer else "soft"
        expected = f"a target of shape {labels} or {column} with values 0 and 1"
    else:
        if tuple(target.shape) == dense:
            return target, "index" if integer else "soft"
        expected = f"a target of shape {dense} with a value 0 or 1 for each channel"
    _refuse_class_axis_last(logits, target)
    if tuple(target.shape[-len(spatial) :]) != tuple(spatial) and spatial and target.ndim in (len(labels), logits.ndim):
        advice = (
            "The spatial sizes differ: resize the logits to the mask (upsample='linear' does that), never the labels."
        )
    elif task == "multilabel" and tuple(target.shape) == labels:
        advice = "Give one channel for each class (segcrit.one_hot), or use task='multiclass' for one label a pixel."
    else:
        advice = "Bring the target to one of these shapes."
    raise ShapeError(f"{expected} for logits of {_shape(logits)}", _shape(target), advice)


def _check_target(logits: Tensor, target: Any) -> None:
    _check_dense("target", target)
    if target.is_complex():
        raise DtypeError("a target of integers, bool or floats", str(target.dtype), "Take its real part.")
    if target.device != logits.device:
        raise DeviceError(
            "logits and target on one device",
            f"logits on {logits.device} and target on {target.device}",
            f"Move the target with target.to({str(logits.device)!r}).",
        )
    if target.requires_grad:
        raise DtypeError(
            "a target without gradient",
            "a target that requires gradient",
            "Losses are differentiated with respect to the logits only: pass target.detach().",
        )


def _check_weight(logits: Tensor, pixel_weight: Tensor, spatial: tuple[int, ...]) -> Tensor:
    labels = (logits.shape[0], *spatial)
    _check_dense("pixel_weight", pixel_weight)
    if pixel_weight.is_complex():
        raise DtypeError("a real pixel_weight", str(pixel_weight.dtype), "Take its absolute value.")
    if pixel_weight.device != logits.device:
        raise DeviceError(
            "logits and pixel_weight on one device",
            f"logits on {logits.device} and pixel_weight on {pixel_weight.device}",
            f"Move it with pixel_weight.to({str(logits.device)!r}).",
        )
    if pixel_weight.requires_grad:
        raise DtypeError(
            "a pixel_weight without gradient",
            "one that requires gradient",
            "Weights are data: pass pixel_weight.detach().",
        )
    if tuple(pixel_weight.shape) == (labels[0], 1, *labels[1:]) and pixel_weight.ndim == logits.ndim:
        return pixel_weight.squeeze(1)
    if tuple(pixel_weight.shape) != labels:
        raise ShapeError(
            f"a pixel_weight of shape {labels} for logits of {_shape(logits)}",
            _shape(pixel_weight),
            "Add the batch axis: pass pixel_weight.unsqueeze(0)."
            if (1, *pixel_weight.shape) == labels
            else "Give one weight for each pixel; weights for classes go into class_weight.",
        )
    return pixel_weight


def as_batch(
    logits: Any,
    target: Any,
    pixel_weight: Any = None,
    *,
    task: Task,
    num_classes: int | None,
    ignore_index: int,
    upsample: bool = False,
    align_corners: bool = False,
) -> Batch:
    """Check the structure of a call's tensors and freeze them.

    Args:
        logits: the network's output.
        target: labels, one-hot or soft target.
        pixel_weight: weights or None.
        task: multiclass, multilabel or binary.
        num_classes: number of channels that the logits must have, or None.
        ignore_index: label that does not count.
        upsample: logits of another spatial size than the target's are allowed and are interpolated.
        align_corners: how, as in ``torch.nn.functional.interpolate``.

    Raises:
        ShapeError, DtypeError, DeviceError: with what was expected, what came and what to do.
    """
    logits, target = as_plain("logits", logits), signed(as_plain("target", target))
    pixel_weight = None if pixel_weight is None else as_plain("pixel_weight", pixel_weight)
    try:
        _check_logits(logits, task, num_classes)
        _check_target(logits, target)
        target, kind, size, upsample = _form(logits, target, task, upsample)
    except ShapeError as error:
        fits = partial(_fits, task=task, num_classes=num_classes)
        raise explain_missing_axis(error, ("logits", logits), ("target", target), fits) from None
    target = without_ignored_class(
        target, kind=kind, sigmoid=task != "multiclass", num_classes=logits.shape[1], ignore_index=ignore_index
    )
    if pixel_weight is not None:
        pixel_weight = _check_weight(logits, pixel_weight, size)
    return Batch(logits, target, kind, pixel_weight, task, ignore_index, size, upsample, bool(align_corners))


def _form(
    logits: Tensor, target: Tensor, task: Task, upsample: bool
) -> tuple[Tensor, TargetKind, tuple[int, ...], bool]:
    """The target, its form and spatial size, and whether the logits have another one."""
    size = tuple(logits.shape[2:])
    wanted = tuple(target.shape[target.ndim - len(size) :]) if target.ndim > len(size) else size
    upsample = upsample and wanted != size and 0 not in (*size, *wanted)
    size = wanted if upsample else size
    return *_target_form(logits, target, task, size), size, upsample


def _fits(logits: tuple[int, ...], target: tuple[int, ...], task: Task, num_classes: int | None) -> bool:
    """Whether a target of this shape fits logits of that one, of the same spatial size."""
    images, channels, *size = logits
    labels, column, dense = (images, *size), (images, 1, *size), (images, channels, *size)
    if task == "multilabel":
        shapes: tuple[tuple[int, ...], ...] = (dense,)
    else:
        shapes = (labels, column) if task == "binary" else (labels, column, dense)
    possible = channels == 1 if task == "binary" else channels > (task == "multiclass")
    return possible and num_classes in (None, channels) and target in shapes


_warned_probabilities = False
_looks_elsewhere = 0
_MOST_LOOKS_ELSEWHERE = 8


def warn_if_probabilities(logits: Tensor) -> None:
    """Warn once when multiclass logits look like the output of a softmax (values in [0, 1], channels sum to 1).

    Looking costs a synchronisation on a GPU, where only the first calls of the process are looked at.
    """
    global _warned_probabilities, _looks_elsewhere
    if _warned_probabilities or logits.numel() == 0:
        return
    if logits.device.type != "cpu":
        if _looks_elsewhere >= _MOST_LOOKS_ELSEWHERE:
            return
        _looks_elsewhere += 1
    with torch.no_grad():
        # A corner of up to 64 pixels of the first image decides: raw logits practically never sum to 1 at all of them.
        # Cut before the reshape, which would copy a whole channels-last image.
        side = {1: 64, 2: 8, 3: 4}.get(logits.ndim - 2, 1)
        corner = (slice(None), *[slice(side)] * (logits.ndim - 2))
        sample = logits[0][corner].reshape(logits.shape[1], -1).float()
        looks = ((sample >= 0) & (sample <= 1)).all() & ((sample.sum(0) - 1).abs() < 1e-3).all()
        suspicious = bool(looks) and bool((sample.std(0) > 0).any())
    if suspicious:
        _warned_probabilities = True
        warn(
            "expected logits, got values in [0, 1] whose channels sum to 1, which look like probabilities. "
            "Remove the softmax at the end of the network: segcrit applies it itself."
        )
