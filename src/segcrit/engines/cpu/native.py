"""The native CPU engine: C++ kernels called through ctypes, one read of the logits forward, one read and one write backward.

The kernels take every loss and form of target, with the few exceptions of ``is_supported``. What also remains for the
reference engine are empty batches and a batch with a label or weight that is not allowed: the error is then raised in the
one place that words it.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from segcrit.core.dtypes import compute_dtype
from segcrit.engines import reference
from segcrit.engines.cpu.gradient_memory import new_gradient
from segcrit.engines.cpu.library import (
    ELEMENT_TYPES,
    Job,
    describe,
    flat,
    flat_target,
    load,
    place_logits,
    samples_as_pixels,
    threads,
)
from segcrit.engines.reference import Sweep
from segcrit.engines.request import PixelRequest, Request, Shapes, spatial_size
from segcrit.losses.formulas.region import FIELDS

__all__ = ["backward", "computes_again", "describe", "forward", "is_supported"]

_ERRORS = {"none": 0, "probability": 1, "margin": 2}
_FORMS = {"index": 0, "onehot": 1, "soft": 2}
_ELEMENTS = 3
# Said each time: torch.set_default_device may name another.
_CPU = torch.device("cpu")


def is_supported(sweep: Sweep, request: Request) -> bool:
    """Whether the kernels take this sweep; the reference engine computes the others."""
    logits, target = sweep.logits, sweep.target
    if logits.numel() == 0 or target.numel() == 0 or logits.device.type != "cpu":
        return False
    if target.dtype not in ELEMENT_TYPES:
        return False
    # The samples of plain classification, (N, C), are taken as the pixels of one image.
    if logits.ndim == 2 and len(logits) > 1 and (request.per_image or (request.maps and request.sigmoid)):
        return False
    if request.sigmoid or request.errors == "none":
        return True
    # Softmax errors are counted where every pixel has one label. Fractions are refused by the reference engine, which words
    # the error; label smoothing of focal losses spreads the label over the classes.
    return request.kind != "soft" and not any(item.label_smoothing and _gamma(item) for item in request.pixel)


def _gamma(item: PixelRequest) -> float:
    """Cross-entropy is the focal pair with exponent 0."""
    return dict(item.scalars).get("gamma", 0.0)


def computes_again(classes: int, upsample: bool) -> bool:
    """Whether the backward pass needs no normalizers: those of two classes are computed faster than written and read."""
    return classes <= 2 and not upsample


def _form(request: Request) -> int:
    return _ELEMENTS if request.sigmoid else _FORMS[request.kind]


def _doubles(values: list[float]) -> ctypes.Array[ctypes.c_double]:
    return (ctypes.c_double * len(values))(*values)


class _Call:
    """A job and the tensors that must live as long as it."""

    def __init__(self, sweep: Sweep, request: Request) -> None:
        logits, target = sweep.logits, sweep.target
        size = spatial_size(logits, target)
        has_classes = request.sigmoid or request.kind != "index"
        target = flat_target(target, logits, has_classes=has_classes)
        if target.dtype in (torch.float16, torch.bfloat16):
            target = target.to(torch.float32)
        weight = None
        if sweep.pixel_weight is not None:
            weight = flat(sweep.pixel_weight, 1).to(compute_dtype(logits.dtype)).contiguous()
        if not size:
            logits, target, weight = samples_as_pixels(logits, target, weight, has_classes=has_classes)
            size = tuple(logits.shape[2:])
        self.job = job = Job()
        self.kept = place_logits(job, logits, size, upsample=request.upsample, align_corners=request.align_corners)
        job.target, job.target_type, job.target_form = self.keep(target), ELEMENT_TYPES[target.dtype], _form(request)
        job.target_image_stride, job.target_pixel_stride = target.stride(0), target.stride(-1)
        job.target_class_stride = target.stride(1) if has_classes else 0
        if weight is not None:
            job.pixel_weight, job.weight_image_stride = self.keep(weight), weight.stride(0)
        job.ignore_index, job.check = request.ignore_index, int(request.check)
        job.background, job.foreground_only = int(request.view.background), int(request.view.foreground_only)
        job.logit_scale = request.logit_scale
        if sweep.logit_bias is not None:
            job.logit_bias = self.keep(sweep.logit_bias.to(torch.float64).contiguous())
            job.bias_rows = sweep.logit_bias.shape[0]
        job.losses = len(request.pixel)
        gamma = [_gamma(item) for item in request.pixel]
        smoothing = [item.label_smoothing for item in request.pixel]
        self.scalars = _doubles(gamma), _doubles(smoothing)
        job.gamma, job.smoothing = (ctypes.addressof(item) for item in self.scalars)
        job.coefficients = self.keep(sweep.coefficients.to(torch.float64).contiguous())
        job.fields = sum(1 << FIELDS.index(name) for name in request.fields)
        job.per_image, job.errors, job.bins = int(request.per_image), _ERRORS[request.errors], request.bins
        job.confusion, job.maps = int(request.confusion), int(request.maps)
        job.threads = threads()

    def keep(self, tensor: Tensor) -> int:
        """Address of a tensor that the job may use until it is done."""
        self.kept.append(tensor)
        return tensor.data_ptr()


def _part(sweep: Sweep, image: int) -> Sweep:
    """The sweep of one image."""
    one = slice(image, image + 1)
    weight = None if sweep.pixel_weight is None else sweep.pixel_weight[one]
    return Sweep(sweep.logits[one], sweep.target[one], weight, sweep.coefficients, sweep.logit_bias)


def forward(sweep: Sweep, request: Request) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See ``reference.forward``."""
    library, _ = load()
    if library is None or not is_supported(sweep, request):
        return reference.forward(sweep, request)
    if request.bins_per_image and len(sweep.logits) > 1:
        return _join([forward(_part(sweep, image), request) for image in range(len(sweep.logits))], request)
    shapes = Shapes.of(sweep.logits, sweep.target, request)
    pixel = torch.zeros(shapes.pixel, dtype=torch.float64, device=_CPU)
    tables = torch.zeros(shapes.tables, dtype=torch.float64, device=_CPU)
    counts = torch.zeros(shapes.histogram, dtype=torch.float64, device=_CPU)
    moments = torch.zeros(shapes.histogram, dtype=torch.float64, device=_CPU)
    confusion = torch.zeros(shapes.confusion, dtype=torch.int64, device=_CPU)
    maps = torch.empty(shapes.maps, dtype=shapes.compute, device=_CPU)
    normalizers = torch.empty(shapes.normalizers, dtype=shapes.compute, device=_CPU)
    call = _Call(sweep, request)
    job = call.job
    job.pixel, job.tables, job.counts, job.moments = (item.data_ptr() for item in (pixel, tables, counts, moments))
    job.counted, job.map = confusion.data_ptr(), maps.data_ptr()
    job.normalizers = normalizers.data_ptr() if normalizers.numel() else None
    if library.segcrit_forward(ctypes.byref(job)) != 0:
        return reference.forward(sweep, request)
    return pixel, tables, counts, moments, confusion, maps, normalizers


def _join(
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]], request: Request
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the images of a batch brought one by one, so that no thread holds the histograms of all of them."""
    pixel, tables, counts, moments, confusion, maps, normalizers = zip(*parts, strict=True)
    return (
        torch.stack(pixel).sum(0),
        torch.cat(tables, 1) if request.per_image else torch.stack(tables).sum(0),
        torch.cat(counts),
        torch.cat(moments),
        torch.stack(confusion).sum(0),
        torch.cat(maps, 1) if request.maps else maps[0],
        torch.cat(normalizers, 1) if normalizers[0].numel() else normalizers[0],
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
    library, _ = load()
    gradients = (pixel_gradient, table_gradient, moment_gradient, map_gradient)
    ready = request.sigmoid or normalizers.numel() or computes_again(sweep.logits.shape[1], request.upsample)
    if library is None or not ready or not is_supported(sweep, request):
        return reference.backward(sweep, request, normalizers, *gradients)
    gradient = new_gradient(sweep.logits)
    if request.bins_per_image and len(sweep.logits) > 1:
        for image in range(len(sweep.logits)):
            one = slice(image, image + 1)
            gradient[one] = backward(
                _part(sweep, image),
                request,
                normalizers[:, one] if normalizers.numel() else normalizers,
                pixel_gradient,
                table_gradient[:, one] if request.per_image else table_gradient,
                moment_gradient[one],
                None if map_gradient is None else map_gradient[:, one],
            )
        return gradient
    call = _Call(sweep, request)
    job = call.job
    # The forward pass has looked at the values.
    job.check = 0
    job.pixel_gradient = call.keep(pixel_gradient.to(torch.float64).contiguous())
    job.table_gradient = call.keep(table_gradient.to(torch.float64).contiguous())
    job.moment_gradient = call.keep(moment_gradient.to(torch.float64).contiguous())
    if map_gradient is not None:
        job.map_gradient = call.keep(map_gradient.to(compute_dtype(sweep.logits.dtype)).contiguous())
    if normalizers.numel():
        job.normalizers = call.keep(normalizers.contiguous())
    _set_gradient(job, gradient)
    if library.segcrit_backward(ctypes.byref(job)) != 0:
        return reference.backward(sweep, request, normalizers, *gradients)
    return gradient


def _set_gradient(job: Job, gradient: Tensor) -> None:
    job.gradient = gradient.data_ptr()
    job.gradient_bytes = gradient.numel() * gradient.element_size()
    if job.upsample:
        job.gradient_image_stride, job.gradient_class_stride = gradient.stride()[:2]
        strides = gradient.stride()[2:]
        for place, stride in enumerate(strides):
            job.gradient_axis_stride[3 - len(strides) + place] = stride
        return
    flat = gradient.t()[None] if gradient.ndim == 2 else gradient.view(*gradient.shape[:2], -1)
    job.gradient_image_stride, job.gradient_class_stride, job.gradient_pixel_stride = flat.stride()
