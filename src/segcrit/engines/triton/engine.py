"""A sweep on the GPU: what is supported, the forward pass and the backward pass.

Nothing here looks at values on the device, except where the request asks to check them: buffers are sized from shapes, so
that the passes can be captured in a CUDA graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segcrit.engines.capabilities import Capabilities
from segcrit.engines.cpu.library import ELEMENT_TYPES
from segcrit.engines.formulas import FIELDS
from segcrit.engines.request import Gradients, Request, Shapes, Sweep, Swept, spatial_size
from segcrit.engines.triton.availability import OLDEST_DEVICE
from segcrit.engines.triton.histograms import most_pixels
from segcrit.engines.triton.launch import on_device
from segcrit.engines.triton.options import ERRORS

__all__ = ["CAPABILITIES", "backward", "forward"]

_LARGEST_INDEX = 2**31 - 1


def _leaves(sweep: Sweep, request: Request) -> bool:
    """Whether the sweep is left to the reference engine.

    These are: GPUs older than ``OLDEST_DEVICE``; empty batches; more than 2³¹ pixels or samples an image, or 2²⁸ pixels in
    one histogram; samples (N, C) whose losses are wanted one by one; histograms of softmax errors with a soft target, which
    are refused there; biases for each label with a soft target.
    """
    logits, target = sweep.logits, sweep.target
    if logits.is_cuda and torch.cuda.get_device_capability(logits.device) < OLDEST_DEVICE:
        return True
    if logits.numel() == 0 or target.numel() == 0:
        return True
    if logits.ndim == 2 and len(logits) > 1 and (request.per_image or (request.maps and request.sigmoid)):
        return True
    size, low = spatial_size(logits, target), logits.shape[2:]
    # Pixels and samples are counted, and positions computed as fractions, in 32-bit whole numbers.
    fractions = (2 * (high + 1) * samples for high, samples in zip(size, low, strict=True))
    if max(math.prod(size), math.prod(low), *fractions) > _LARGEST_INDEX:
        return True
    if request.errors != "none" and len(logits) * math.prod(size) > most_pixels():
        return True
    if request.sigmoid or request.kind != "soft":
        return False
    return request.errors != "none" or (sweep.logit_bias is not None and sweep.logit_bias.shape[0] > 1)


def _recomputes(classes: int, upsample: bool) -> bool:
    return False


CAPABILITIES = Capabilities(
    formulas=frozenset({"cross_entropy", "focal"}),
    fields=frozenset(FIELDS),
    operand_fields=frozenset(),
    errors=frozenset(ERRORS),
    logits=frozenset({torch.float32, torch.bfloat16, torch.float16}),
    targets=frozenset(ELEMENT_TYPES),
    recomputes=_recomputes,
    leaves=_leaves,
)


def forward(sweep: Sweep, request: Request) -> Swept | None:
    """See ``reference.forward``; None where a label or weight is not allowed."""
    from segcrit.engines.triton import sigmoid, softmax

    shapes = Shapes.of(sweep.logits, sweep.target, request)
    with on_device(sweep.logits):
        sums = (sigmoid if request.sigmoid else softmax).forward(sweep, request, shapes)
    if sums.refused is not None and bool(sums.refused > 0):
        return None
    device = sweep.logits.device
    nothing = torch.zeros((0,), dtype=shapes.table, device=device)
    return Swept(
        pixel=sums.pixel.to(shapes.table),
        tables=sums.tables,
        counts=nothing if sums.counts is None else sums.counts,
        moments=nothing.clone() if sums.moments is None else sums.moments,
        confusion=torch.zeros((0,), dtype=torch.int64, device=device) if sums.confusion is None else sums.confusion,
        maps=torch.zeros((0,), dtype=shapes.compute, device=device) if sums.maps is None else sums.maps,
        normalizers=torch.zeros((0,), dtype=shapes.compute, device=device)
        if sums.normalizers is None
        else sums.normalizers,
    )


def backward(sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor:
    """See ``reference.backward``."""
    from segcrit.engines.triton import sigmoid, softmax

    gradients = Gradients(*(None if item is None else item.to(torch.float32).contiguous() for item in gradients))  # type: ignore[arg-type]
    with on_device(sweep.logits):
        if request.sigmoid:
            return sigmoid.backward(sweep, request, gradients)
        return softmax.backward(sweep, request, normalizers.contiguous(), gradients)
