"""Binary and multilabel sweeps: the kernels' arguments, and sums from what their programs left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segcrit.engines.request import Gradients, Request, Shapes, Sweep, gradient_like
from segcrit.engines.triton import options
from segcrit.engines.triton.histograms import Words
from segcrit.engines.triton.launch import divide
from segcrit.engines.triton.places import Places
from segcrit.engines.triton.softmax import strides_of
from segcrit.engines.triton.sums import Sums, finish_histograms, of_programs, over_images, stack_fields

__all__ = ["backward", "forward"]


def forward(sweep: Sweep, request: Request, shapes: Shapes) -> Sums:
    """Run the forward kernel."""
    from segcrit.engines.triton.kernels.sigmoid import sigmoid_forward

    places = Places.of(sweep, request)
    constants, rows = options.of_forward(places, request)
    device, images, classes, axes = places.logits.device, places.images, places.classes, places.upsampling
    division = divide(places.pixels, 1, interpolated=axes.axes > 0)
    partials = torch.empty((images, classes, division.blocks, constants["SLOTS"]), dtype=torch.float32, device=device)
    maps = torch.empty(shapes.maps, dtype=torch.float32, device=device) if request.maps else None
    words = None
    if request.errors != "none":
        words = Words.make(shapes.histogram, images * places.pixels, request, places.weight, device)
    kernel: Any = sigmoid_forward
    kernel[(images * classes * division.blocks,)](
        places.logits, places.target, places.weight, places.coefficients, places.bias, partials, maps,
        words and words.words, words and words.weights, words and words.scales,
        images, places.pixels, division.blocks, *places.logits_strides, *places.target_strides,
        *axes.low, *axes.high, *axes.strides,
        BLOCK=division.block, SHIFT=words.shift if words else 0, UNIT=words.unit if words else 1.0,
        num_warps=division.warps, **constants,
    )  # fmt: skip
    sums = of_programs(partials, 2, request)
    head = 2 + len(request.pixel)
    of_channels = sums[..., head:]
    found = {name: sums[..., 1] if name == "V" else of_channels[..., rows[name]] for name in request.fields}
    return Sums(
        refused=sums[..., 0].sum() if request.check else None,
        pixel=sums[..., 2:head].sum((0, 1)),
        tables=stack_fields(found, shapes, device),
        **_histograms(words, request, shapes, sums[..., 1], of_channels, rows),
        confusion=_confusion(request, shapes, of_channels, rows),
        maps=maps,
    )


def _histograms(
    words: Words | None, request: Request, shapes: Shapes, weight: Tensor, of_channels: Tensor, rows: dict[str, int]
) -> dict[str, Any]:
    if words is None:
        return {}
    start = rows["low"]
    low, high, positive = of_channels[..., start : start + 2], of_channels[..., start + 2 : start + 4], start + 4
    totals = torch.stack((weight - of_channels[..., positive], of_channels[..., positive]), -1)
    if not request.bins_per_image:
        totals, low, high = (over_images(item) for item in (totals, low, high))
    counts, moments = finish_histograms(words, totals, low, high, request, shapes)
    return {"counts": counts, "moments": moments}


def _confusion(request: Request, shapes: Shapes, of_channels: Tensor, rows: dict[str, int]) -> Tensor | None:
    if not request.confusion:
        return None
    start = rows["truth"]
    return over_images(of_channels[..., start : start + 4])[0].to(torch.int64).reshape(shapes.confusion)


def backward(sweep: Sweep, request: Request, gradients: Gradients) -> Tensor:
    """Run the backward kernel, or for interpolated logits the one that visits their samples."""
    from segcrit.engines.triton.kernels.gather import sigmoid_gather
    from segcrit.engines.triton.kernels.sigmoid import sigmoid_backward

    places = Places.of(sweep, request)
    constants = options.of_backward(places, request)
    axes = places.upsampling
    gradient = gradient_like(sweep.logits)
    tensors = (
        places.logits, places.target, places.weight, places.coefficients, places.bias, *gradients, gradient,
    )  # fmt: skip
    division = divide(axes.samples if axes.axes else places.pixels, 1, gather=axes.axes > 0)
    grid = (places.images * places.classes * division.blocks,)
    numbers = (places.images, places.pixels, division.blocks)
    settings = {"BLOCK": division.block, "num_warps": division.warps, **constants}
    kernel: Any
    if not axes.axes:
        kernel = sigmoid_backward
        strides = (*places.logits_strides, *places.target_strides, *strides_of(gradient))
        kernel[grid](*tensors, *numbers, *strides, **settings)
        return gradient
    kernel = sigmoid_gather
    kernel[grid](
        *tensors, *numbers, *places.logits_strides[:2], *places.target_strides, *gradient.stride()[:2],
        *axes.low, *axes.high, *axes.strides, *(0,) * (3 - axes.axes), *gradient.stride()[2:], *axes.windows,
        AXES=axes.axes, ALIGN=request.align_corners, **settings,
    )  # fmt: skip
    return gradient
