"""A sweep on the GPU: what is supported, the forward pass and the backward pass.

The kernels take every loss and form of target, with the exceptions of ``is_supported``, which the reference engine computes.
Nothing here looks at values on the device, except where the request asks to check them: buffers are sized from shapes, so
that the passes can be captured in a CUDA graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segcrit.engines import reference
from segcrit.engines.cpu.library import ELEMENT_TYPES
from segcrit.engines.reference import Sweep
from segcrit.engines.request import Request, Shapes, spatial_size
from segcrit.engines.triton.availability import OLDEST_DEVICE
from segcrit.engines.triton.histograms import most_pixels
from segcrit.engines.triton.launch import on_device

__all__ = ["backward", "forward", "is_supported"]

Forward = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

_LOGITS = (torch.float32, torch.bfloat16, torch.float16)
_LARGEST_INDEX = 2**31 - 1


def is_supported(sweep: Sweep, request: Request) -> bool:
    """Whether the kernels take this sweep; the reference engine computes the others.

    Left to it: float64; GPUs older than ``OLDEST_DEVICE``; empty batches; more than 2³¹ pixels or samples an image, or 2²⁸
    pixels in one histogram; samples (N, C) whose losses are wanted one by one; histograms of softmax errors with a soft
    target, which are refused there; biases for each label with a soft target.
    """
    logits, target = sweep.logits, sweep.target
    if logits.dtype not in _LOGITS or target.dtype not in ELEMENT_TYPES:
        return False
    if logits.is_cuda and torch.cuda.get_device_capability(logits.device) < OLDEST_DEVICE:
        return False
    if logits.numel() == 0 or target.numel() == 0:
        return False
    if logits.ndim == 2 and len(logits) > 1 and (request.per_image or (request.maps and request.sigmoid)):
        return False
    size, low = spatial_size(logits, target), logits.shape[2:]
    # Pixels and samples are counted, and positions computed as fractions, in 32-bit whole numbers.
    fractions = (2 * (high + 1) * samples for high, samples in zip(size, low, strict=True))
    if max(math.prod(size), math.prod(low), *fractions) > _LARGEST_INDEX:
        return False
    if request.errors != "none" and len(logits) * math.prod(size) > most_pixels():
        return False
    if request.sigmoid or request.kind != "soft":
        return True
    return request.errors == "none" and (sweep.logit_bias is None or sweep.logit_bias.shape[0] == 1)


def forward(sweep: Sweep, request: Request) -> Forward:
    """See ``reference.forward``."""
    if not is_supported(sweep, request):
        return reference.forward(sweep, request)
    from segcrit.engines.triton import sigmoid, softmax

    shapes = Shapes.of(sweep.logits, sweep.target, request)
    with on_device(sweep.logits):
        sums = (sigmoid if request.sigmoid else softmax).forward(sweep, request, shapes)
    if sums.refused is not None and bool(sums.refused > 0):
        return reference.forward(sweep, request)
    device = sweep.logits.device
    nothing = torch.zeros((0,), dtype=shapes.table, device=device)
    return (
        sums.pixel.to(shapes.table),
        sums.tables,
        nothing if sums.counts is None else sums.counts,
        nothing.clone() if sums.moments is None else sums.moments,
        torch.zeros((0,), dtype=torch.int64, device=device) if sums.confusion is None else sums.confusion,
        torch.zeros((0,), dtype=shapes.compute, device=device) if sums.maps is None else sums.maps,
        torch.zeros((0,), dtype=shapes.compute, device=device) if sums.normalizers is None else sums.normalizers,
    )


def backward(
    sweep: Sweep,
    request: Request,
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
) -> Tensor:
    """See ``reference.backward``."""
    gradients = (pixel_gradient, table_gradient, moment_gradient)
    needed = request.sigmoid or normalizers.numel() > 0
    if not needed or not is_supported(sweep, request):
        return reference.backward(sweep, request, normalizers, *gradients, map_gradient)
    from segcrit.engines.triton import sigmoid, softmax

    pixel, table, moment = (tensor.to(torch.float32).contiguous() for tensor in gradients)
    if map_gradient is not None:
        map_gradient = map_gradient.to(torch.float32).contiguous()
    with on_device(sweep.logits):
        if request.sigmoid:
            return sigmoid.backward(sweep, request, pixel, table, moment, map_gradient)
        return softmax.backward(sweep, request, normalizers.contiguous(), pixel, table, moment, map_gradient)
