"""Where the tensors of a sweep lie, as the kernels take them: one spatial dimension, strides in elements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from segcrit.engines.cpu.library import flat, flat_target, in_memory, samples_as_pixels
from segcrit.engines.request import Request, Sweep, spatial_size

__all__ = ["FORMS", "Places", "Upsampling", "target_form"]

FORMS = {"index": 0, "onehot": 1, "soft": 2}
# Triton knows of a pointer whether it is a multiple of 16 bytes; labels cut out of a larger tensor often are not.
_ALIGNMENT = 16


@dataclass(frozen=True)
class Upsampling:
    """Low-resolution logits: sizes and strides of depth, height and width, missing axes of size 1 first.

    Attributes:
        axes: number of spatial axes, 0 where nothing is interpolated.
        low: sizes of the logits.
        high: sizes of the target.
        strides: of the logits.
        windows: how many output positions along each axis may read one sample.
    """

    axes: int
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    strides: tuple[int, int, int]
    windows: tuple[int, int, int]

    @property
    def samples(self) -> int:
        return math.prod(self.low)


@dataclass(frozen=True)
class Places:
    """The tensors of a sweep.

    Attributes:
        logits: (N, C, P), or as given where they are interpolated.
        logits_strides: of image, class and pixel (0 where they are interpolated).
        target: (N, P), or (N, C, P).
        target_strides: of image, class (0 for labels) and pixel.
        weight: (N, P) float32, contiguous, or None.
        coefficients: (J, 2, C) float32, contiguous.
        bias: (1 or C, C) float32, contiguous, or None.
        images, classes, pixels: N, C and P, the number of the target's pixels of an image.
        upsampling: the interpolation.
    """

    logits: Tensor
    logits_strides: tuple[int, int, int]
    target: Tensor
    target_strides: tuple[int, int, int]
    weight: Tensor | None
    coefficients: Tensor
    bias: Tensor | None
    images: int
    classes: int
    pixels: int
    upsampling: Upsampling

    @staticmethod
    def of(sweep: Sweep, request: Request) -> Places:
        """The places of a sweep. Samples of plain classification, (N, C), are taken as the pixels of one image."""
        logits, target = sweep.logits, sweep.target
        size = spatial_size(logits, target)
        has_classes = request.sigmoid or request.kind != "index"
        target = flat_target(target, logits, has_classes=has_classes)
        if target.dtype == torch.bool:
            target = target.view(torch.uint8)
        weight = sweep.pixel_weight
        if weight is not None:
            weight = flat(weight, 1).to(torch.float32).contiguous()
        if not size:
            logits, target, weight = samples_as_pixels(logits, target, weight, has_classes=has_classes)
            size = tuple(logits.shape[2:])
        target = _aligned(target)
        axes = _no_upsampling()
        if request.upsample:
            logits = in_memory(logits)
            axes = _upsampling(logits, size, request.align_corners)
            strides = (logits.stride(0), logits.stride(1), 0)
        else:
            logits = flat(logits, 2)
            strides = (logits.stride(0), logits.stride(1), logits.stride(2))
        bias = sweep.logit_bias
        return Places(
            logits=logits,
            logits_strides=strides,
            target=target,
            target_strides=(target.stride(0), target.stride(1) if has_classes else 0, target.stride(-1)),
            weight=weight,
            coefficients=sweep.coefficients.to(torch.float32).contiguous(),
            bias=None if bias is None else bias.to(torch.float32).contiguous(),
            images=logits.shape[0],
            classes=logits.shape[1],
            pixels=math.prod(size),
            upsampling=axes,
        )


def target_form(request: Request) -> int:
    """How the softmax kernels read the target: labels, one-hot rows or shares."""
    return FORMS[request.kind]


def _aligned(tensor: Tensor) -> Tensor:
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone(memory_format=torch.contiguous_format)


def _no_upsampling() -> Upsampling:
    ones = (1, 1, 1)
    return Upsampling(0, ones, ones, ones, ones)


def _upsampling(logits: Tensor, size: tuple[int, ...], align_corners: bool) -> Upsampling:
    missing = 3 - len(size)
    low = (*(1,) * missing, *logits.shape[2:])
    high = (*(1,) * missing, *size)
    strides = (*(0,) * missing, *logits.stride()[2:])
    windows = tuple(_window(samples, outputs, align_corners) for samples, outputs in zip(low, high, strict=True))
    return Upsampling(len(size), low, high, strides, windows)  # type: ignore[arg-type]


def _window(samples: int, outputs: int, align_corners: bool) -> int:
    """Most output positions that read one sample: those within one sample's distance, and one for rounding at each end."""
    if align_corners:
        length = outputs if samples == 1 else -(-2 * (outputs - 1) // (samples - 1)) + 2
    else:
        length = 2 * outputs // samples + 2
    return min(outputs, length)
