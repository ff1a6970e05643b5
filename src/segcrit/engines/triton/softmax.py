"""Multiclass sweeps: the kernels' arguments, and sums from what their programs left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segcrit.engines.request import Gradients, Request, Shapes, Sweep, gradient_like
from segcrit.engines.triton import options
from segcrit.engines.triton.histograms import Words
from segcrit.engines.triton.launch import divide
from segcrit.engines.triton.places import Places, target_form
from segcrit.engines.triton.sums import Sums, finish_histograms, of_programs, over_images, stack_fields

__all__ = ["backward", "forward", "strides_of"]


def forward(sweep: Sweep, request: Request, shapes: Shapes) -> Sums:
    """Run the forward kernel."""
    from segcrit.engines.triton.kernels.softmax_forward import softmax_forward

    places = Places.of(sweep, request)
    constants, rows = options.of_forward(places, request)
    device, images, classes = places.logits.device, places.images, places.classes
    axes = places.upsampling
    division = divide(places.pixels, classes, interpolated=axes.axes > 0)
    partials = torch.empty((images, division.blocks, constants["SLOTS"]), dtype=torch.float32, device=device)
    maps = torch.empty(shapes.maps, dtype=torch.float32, device=device) if request.maps else None
    normalizers = torch.empty(shapes.normalizers, dtype=torch.float32, device=device) if request.save else None
    confusion = torch.zeros(shapes.confusion, dtype=torch.int64, device=device) if request.confusion else None
    words = None
    if request.errors != "none":
        words = Words.make(shapes.histogram, images * places.pixels, request, places.weight, device)
    kernel: Any = softmax_forward
    kernel[(images * division.blocks,)](
        places.logits, places.target, places.weight, places.coefficients, places.bias, partials, maps, normalizers,
        words and words.words, words and words.weights, words and words.scales, confusion,
        images, places.pixels, division.blocks, *places.logits_strides, *places.target_strides,
        *axes.low, *axes.high, *axes.strides,
        CHUNK=division.chunk, BLOCK=division.block, SHIFT=words.shift if words else 0, UNIT=words.unit if words else 1.0,
        num_warps=division.warps, **constants,
    )  # fmt: skip
    sums = of_programs(partials, 1, request)
    losses = len(request.pixel)
    head, of_classes = sums[:, : 2 + losses], sums[:, 2 + losses :].view(len(sums), -1, classes)
    return Sums(
        refused=head[:, 0].sum() if request.check else None,
        pixel=over_images(head[:, 2:])[0],
        tables=stack_fields(_fields(request, head, of_classes, rows), shapes, device),
        **_histograms(words, request, shapes, head, of_classes, rows),
        confusion=None
        if confusion is None
        else _with_diagonal(confusion, over_images(of_classes[:, rows["truth"]])[0]),
        maps=maps,
        normalizers=normalizers,
    )


def _fields(request: Request, head: Tensor, of_classes: Tensor, rows: dict[str, int]) -> dict[str, Tensor]:
    """Class sums by name, (N or 1, C); Σ u is the same for every class."""
    weight = head[:, 1:2].expand(-1, of_classes.shape[-1])
    return {name: weight if name == "V" else of_classes[:, rows[name]] for name in request.fields}


def _histograms(
    words: Words | None, request: Request, shapes: Shapes, head: Tensor, of_classes: Tensor, rows: dict[str, int]
) -> dict[str, Any]:
    if words is None:
        return {}
    positive, low = of_classes[:, rows["T"]], of_classes[:, rows["low"] : rows["low"] + 2].transpose(1, 2)
    totals = torch.stack((head[:, 1:2] - positive, positive), -1)
    if not request.bins_per_image:
        totals, low = over_images(totals), over_images(low)
    counts, moments = finish_histograms(words, totals, low, None, request, shapes)
    return {"counts": counts, "moments": moments}


def _with_diagonal(missed: Tensor, truth: Tensor) -> Tensor:
    """Counts with the pixels that were right: all of a class less those that were missed."""
    right = truth.to(torch.int64) - missed.sum(1)
    return missed + torch.diag(right)


def backward(sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor:
    """Run the backward kernel, or for interpolated logits the two of them."""
    from segcrit.engines.triton.kernels.softmax_backward import softmax_backward

    places = Places.of(sweep, request)
    constants = options.of_backward(places, request)
    device, images, axes = places.logits.device, places.images, places.upsampling
    gradient = gradient_like(sweep.logits)
    focused = not constants["GENERAL"] and any(constants["GAMMAS"])
    first = constants["GENERAL"] or options.is_regional(request)
    totals = of_labels = labels = None
    if axes.axes:
        shape = (images, places.pixels)
        totals = torch.empty(shape, dtype=torch.float32, device=device) if first else None
        of_labels = torch.empty(shape, dtype=torch.float32, device=device) if focused else None
        labels = torch.empty(shape, dtype=torch.int32, device=device) if request.kind != "index" else None
        strides = (0, 0, 0)
    else:
        strides = strides_of(gradient)
    if not axes.axes or totals is not None or of_labels is not None or labels is not None:
        division = divide(places.pixels, places.classes, interpolated=axes.axes > 0)
        kernel: Any = softmax_backward
        kernel[(images * division.blocks,)](
            places.logits, places.target, places.weight, places.coefficients, places.bias, normalizers, *gradients,
            None if axes.axes else gradient, totals, of_labels, labels,
            images, places.pixels, division.blocks, *places.logits_strides, *places.target_strides, *strides,
            *axes.low, *axes.high, *axes.strides,
            CHUNK=division.chunk, BLOCK=division.block, FORM=target_form(request), AXES=axes.axes,
            ALIGN=request.align_corners, FOCUSED=focused, FIRST=first, num_warps=division.warps, **constants,
        )  # fmt: skip
    if axes.axes:
        _gather(places, request, constants, normalizers, gradients, (totals, of_labels, labels), gradient)
    return gradient


def strides_of(gradient: Tensor) -> tuple[int, int, int]:
    """Of image, class and pixel of a gradient that is contiguous or channels-last; (N, C) is one image of N pixels."""
    if gradient.ndim == 2:
        return 0, gradient.stride(1), gradient.stride(0)
    flat = gradient.view(*gradient.shape[:2], -1)
    return flat.stride(0), flat.stride(1), flat.stride(2)


def _gather(
    places: Places,
    request: Request,
    constants: dict[str, Any],
    normalizers: Tensor,
    gradients: Gradients,
    left: tuple[Tensor | None, Tensor | None, Tensor | None],
    gradient: Tensor,
) -> None:
    """Visit the samples of low resolution."""
    from segcrit.engines.triton.kernels.gather import softmax_gather

    axes = places.upsampling
    totals, of_labels, labels = left
    target, target_strides, constants = places.target, places.target_strides, dict(constants)
    if labels is not None:
        # Views and ignored pixels have been seen to; −1 marks what does not count.
        target, target_strides = labels, (labels.stride(0), 0, 1)
        constants |= {"IGNORE": -1, "BACKGROUND": False, "FOREGROUND": False}
    division = divide(axes.samples, places.classes, gather=True)
    chunks = -(-places.classes // division.chunk)
    missing = 3 - axes.axes
    kernel: Any = softmax_gather
    kernel[(places.images * division.blocks * chunks,)](
        places.logits, target, places.target, places.weight, places.coefficients, places.bias, normalizers, *gradients,
        totals, of_labels, gradient, places.images, places.pixels, division.blocks, *places.logits_strides[:2],
        *target_strides, *places.target_strides, *gradient.stride()[:2], *axes.low, *axes.high, *axes.strides,
        *(0,) * missing, *gradient.stride()[2:], *axes.windows,
        CHUNK=division.chunk, BLOCK=division.block, IS_SHARES=request.kind == "soft", AXES=axes.axes,
        ALIGN=request.align_corners, num_warps=division.warps, **constants,
    )  # fmt: skip
