"""What is computed: logits and labels of a shape, made from a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from segcrit.core.constants import TASKS, Task
from segcrit.core.errors import ParameterError

__all__ = ["DTYPES", "TASKS", "Problem", "Tensors"]

DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
_MOST_LOGITS: Final = 1 << 40
_MOST_CHANNELS: Final = 10_000
# Real masks are regions, not noise; side of a region in pixels.
_REGION: Final = 16
# The lead of the true class, drawn for each region: some regions are sure, some wrong, as after training.
_LARGEST_LEAD: Final = 8.0
_LABEL_BYTES: Final = 8  # int64, which torch's own losses ask for


@dataclass(frozen=True)
class Tensors:
    """Logits with gradient, and the target in the form that the losses of the task take.

    Attributes:
        logits: (N, C, *S), a leaf.
        target: multiclass: int64 labels (N, *S'); sigmoid tasks: 0 and 1, (N, C, *S'), in the dtype of the logits,
            which is what ``binary_cross_entropy_with_logits`` asks for.
    """

    logits: Tensor
    target: Tensor


@dataclass(frozen=True)
class Problem:
    """Shape, task, dtype and memory layout of the logits, and how much finer the labels are.

    Attributes:
        shape: (N, C, *S) of the logits, 0 to 3 spatial dimensions.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        dtype: name of the logits' dtype.
        channels_last: classes of a pixel beside each other in memory.
        upsample: the labels have this many times more pixels along each spatial axis.

    Example:
        >>> Problem((2, 21, 512, 512)).title
        '2×21×512×512'
        >>> Problem((4, 150, 128, 128), upsample=4).full_bytes >> 20
        600
    """

    shape: tuple[int, ...]
    task: Task = "multiclass"
    dtype: str = "float32"
    channels_last: bool = False
    upsample: int = 1

    def __post_init__(self) -> None:
        _check(self)

    @property
    def classes(self) -> int:
        return self.shape[1]

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of the logits."""
        return self.shape[2:]

    @property
    def target_size(self) -> tuple[int, ...]:
        """Spatial size of the labels."""
        return tuple(n * self.upsample for n in self.size)

    @property
    def pixels(self) -> int:
        """Number of labelled pixels in the batch."""
        return self.shape[0] * math.prod(self.target_size)

    @property
    def logits_bytes(self) -> int:
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    @property
    def full_bytes(self) -> int:
        """Bytes of the logits at the size of the labels."""
        return self.pixels * self.classes * DTYPES[self.dtype].itemsize

    @property
    def target_bytes(self) -> int:
        if self.task == "multiclass":
            return self.pixels * _LABEL_BYTES
        return self.full_bytes

    @property
    def title(self) -> str:
        """The problem in a few words; what is usual is left out."""
        words = [_times(self.shape)]
        if self.upsample != 1:
            words.append(f"to {_times(self.target_size)}")
        if self.task != "multiclass":
            words.append(self.task)
        if self.dtype != "float32":
            words.append(self.dtype)
        if self.channels_last:
            words.append("channels last")
        return ", ".join(words)

    def make(self) -> Tensors:
        """Logits and target, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        target = _target(self, generator)
        logits = _logits(self, target, generator).to(DTYPES[self.dtype])
        if self.channels_last:
            layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
            logits = logits.contiguous(memory_format=layouts[len(self.size)])
        if self.task != "multiclass":
            target = target.to(logits.dtype)
        return Tensors(logits.requires_grad_(), target)

    def smaller(self, elements: int) -> Problem:
        """The same with at most this many logits at the labels' size, as far as that is possible."""
        shape = list(self.shape)
        finer = self.upsample ** len(self.size)
        while math.prod(shape) * finer > elements:
            axes = [axis for axis in range(len(shape)) if axis != 1 and shape[axis] > 1]
            if not axes:
                break
            longest = max(axes, key=lambda axis: (axis != 0, shape[axis]))
            shape[longest] = (shape[longest] + 1) // 2
        return replace(self, shape=tuple(shape))


def _target(problem: Problem, generator: torch.Generator) -> Tensor:
    """Labels (N, *S'), or 0 and 1 for each channel (N, C, *S'), in regions."""
    images = problem.shape[0]
    if problem.task == "multiclass":
        return _regions(images, problem.target_size, problem.classes, generator)
    channels = images * problem.classes
    return _regions(channels, problem.target_size, 2, generator).reshape(images, problem.classes, *problem.target_size)


def _regions(images: int, size: Sequence[int], values: int, generator: torch.Generator) -> Tensor:
    coarse = torch.randint(values, (images, *(max(1, n // _REGION) for n in size)), generator=generator)
    # Every class is somewhere, as far as there are regions: libraries disagree on what an absent class counts.
    flat = coarse.view(-1)
    places = torch.randperm(flat.numel(), generator=generator)[:values]
    flat[places] = torch.arange(len(places))
    return _stretch(coarse, size)


def _stretch(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest neighbours of (N, *s) on the grid of ``size``, without arithmetic on the values."""
    for axis, n in enumerate(size, start=1):
        index = torch.arange(n) * coarse.shape[axis] // n
        coarse = coarse.index_select(axis, index)
    return coarse.contiguous()


def _logits(problem: Problem, target: Tensor, generator: torch.Generator) -> Tensor:
    """Noise, and a lead of the true class that differs from region to region."""
    logits = torch.randn(problem.shape, generator=generator)
    images, size = problem.shape[0], problem.size
    leads = torch.rand((images, *(max(1, n // _REGION) for n in size)), generator=generator) * _LARGEST_LEAD
    lead = _stretch(leads, size)[:, None]
    if problem.task == "multiclass":
        coarse = _stretch(target, size) if problem.upsample != 1 else target
        return logits.scatter_add_(1, coarse[:, None], lead)
    if problem.upsample != 1:
        target = _stretch(target.flatten(0, 1), size).reshape(problem.shape)
    return logits.add_((target * 2 - 1) * lead / 2)


def interpolate(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation in 1, 2 or 3 dimensions, as training code calls it."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return F.interpolate(logits, size=tuple(size), mode=mode, align_corners=False)


def _check(problem: Problem) -> None:
    shape, spatial = problem.shape, len(problem.shape) - 2
    if not 0 <= spatial <= 3 or min(shape, default=0) < 1:
        raise ParameterError(
            "a shape N,C and up to 3 spatial sizes, all at least 1", ",".join(map(str, shape)), "Example: 2,21,512,512."
        )
    # Memory is estimated from small images with as many channels: what no machine holds must not be tried.
    if math.prod(shape) > _MOST_LOGITS or shape[1] > _MOST_CHANNELS:
        raise ParameterError(
            f"a shape of at most {_MOST_LOGITS:,} logits and {_MOST_CHANNELS:,} channels",
            f"shape {_times(shape)}",
            "Give the shape of a batch; its logits lie in memory.",
        )
    if problem.task not in TASKS:
        raise ParameterError(f"a task of {', '.join(TASKS)}", repr(problem.task), "Name one of them.")
    if problem.dtype not in DTYPES:
        raise ParameterError(f"a dtype of {', '.join(DTYPES)}", repr(problem.dtype), "Name one of them.")
    if problem.task == "multiclass" and problem.classes < 2:
        raise ParameterError(
            "at least 2 classes for task multiclass", f"shape {_times(shape)}", "Use --task binary for one channel."
        )
    if problem.task == "binary" and problem.classes != 1:
        raise ParameterError("one channel for task binary", f"shape {_times(shape)}", "Use N,1,... or another --task.")
    if problem.upsample < 1 or (problem.upsample > 1 and spatial == 0):
        raise ParameterError(
            "a whole factor of 1 or more, and spatial dimensions to upsample",
            f"factor {problem.upsample} for shape {_times(shape)}",
            "Example: --shape 4,150,128,128 --upsample 4.",
        )
    if problem.channels_last and spatial not in (2, 3):
        raise ParameterError(
            "2 or 3 spatial dimensions for channels last", f"shape {_times(shape)}", "Leave --channels-last out."
        )


def _times(numbers: Sequence[int]) -> str:
    return "×".join(map(str, numbers))
