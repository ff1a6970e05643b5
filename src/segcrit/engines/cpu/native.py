"""The native CPU engine: C++ kernels called through ctypes, one read of the logits forward, one read and one write backward.

``CAPABILITIES`` says what the kernels take. A batch with a label or weight that is not allowed is handed back as well: the
reference engine words the error.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from segcrit.core.dtypes import compute_dtype
from segcrit.engines.capabilities import Capabilities
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
from segcrit.engines.formulas import FIELDS
from segcrit.engines.request import Gradients, PixelRequest, Request, Shapes, Sweep, Swept, spatial_size

__all__ = ["CAPABILITIES", "backward", "describe", "forward"]

_FORMULAS = {"focal": 0, "poly1": 1, "counted": 2}
_ERRORS = {"none": 0, "probability": 1, "margin": 2}
_FORMS = {"index": 0, "onehot": 1, "soft": 2}
_ELEMENTS = 3
# Said each time: torch.set_default_device may name another.
_CPU = torch.device("cpu")


def _leaves(sweep: Sweep, request: Request) -> bool:
    logits, target = sweep.logits, sweep.target
    if logits.numel() == 0 or target.numel() == 0 or logits.device.type != "cpu":
        return True
    # The samples of plain classification, (N, C), are taken as the pixels of one image.
    if logits.ndim == 2 and len(logits) > 1 and (request.per_image or (request.maps and request.sigmoid)):
        return True
    # Softmax errors are counted where every pixel has one label. The reference engine refuses fractions.
    return request.errors != "none" and not request.sigmoid and request.kind == "soft"


def _leaves_item(item: PixelRequest, request: Request) -> bool:
    """Label smoothing of other losses than cross-entropy spreads the label over the classes: not beside softmax errors."""
    spreads = bool(item.label_smoothing) and _code(item) != (0, 0.0)
    return spreads and request.errors != "none" and not request.sigmoid


def _recomputes(classes: int, upsample: bool) -> bool:
    """The normalizers of two classes are computed faster than written and read."""
    return classes <= 2 and not upsample


CAPABILITIES = Capabilities(
    formulas=frozenset({"cross_entropy", *_FORMULAS}),
    fields=frozenset(FIELDS),
    operand_fields=frozenset("P"),
    errors=frozenset(_ERRORS),
    logits=frozenset(dtype for dtype in ELEMENT_TYPES if dtype.is_floating_point),
    targets=frozenset(ELEMENT_TYPES),
    recomputes=_recomputes,
    leaves=_leaves,
    leaves_item=_leaves_item,
)


def _code(item: PixelRequest) -> tuple[int, float]:
    """Formula and parameter of native/segcrit.h; cross-entropy is the focal pair with exponent 0."""
    if item.key == "cross_entropy":
        return 0, 0.0
    return _FORMULAS[item.key], next((value for _, value in item.scalars), 0.0)


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
        codes = [_code(item) for item in request.pixel]
        formulas = (ctypes.c_int32 * len(codes))(*(formula for formula, _ in codes))
        parameters = _doubles([parameter for _, parameter in codes])
        smoothing = _doubles([item.label_smoothing for item in request.pixel])
        operands = [flat(item, 2).to(compute_dtype(logits.dtype)).contiguous() for item in sweep.operands]
        addresses = (ctypes.c_void_p * len(operands))(*(self.keep(item) for item in operands))
        self.arrays = formulas, parameters, smoothing, addresses
        job.formula, job.parameter, job.smoothing, job.operand = (ctypes.addressof(item) for item in self.arrays)
        job.operands = len(operands)
        job.coefficients = self.keep(sweep.coefficients.to(torch.float64).contiguous())
        job.fields = sum(1 << FIELDS.index(name) for name in request.fields if name in FIELDS)
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
    operands = tuple(item[one] for item in sweep.operands)
    return Sweep(sweep.logits[one], sweep.target[one], weight, sweep.coefficients, sweep.logit_bias, operands)


def forward(sweep: Sweep, request: Request) -> Swept | None:
    """See ``reference.forward``; None where a label or weight is not allowed, or the library cannot be used."""
    library, _ = load()
    if library is None:
        return None
    if request.bins_per_image and len(sweep.logits) > 1:
        return _join([forward(_part(sweep, image), request) for image in range(len(sweep.logits))], request)
    shapes = Shapes.of(sweep.logits, sweep.target, request)
    swept = Swept(
        pixel=torch.zeros(shapes.pixel, dtype=torch.float64, device=_CPU),
        tables=torch.zeros(shapes.tables, dtype=torch.float64, device=_CPU),
        counts=torch.zeros(shapes.histogram, dtype=torch.float64, device=_CPU),
        moments=torch.zeros(shapes.histogram, dtype=torch.float64, device=_CPU),
        confusion=torch.zeros(shapes.confusion, dtype=torch.int64, device=_CPU),
        maps=torch.empty(shapes.maps, dtype=shapes.compute, device=_CPU),
        normalizers=torch.empty(shapes.normalizers, dtype=shapes.compute, device=_CPU),
    )
    call = _Call(sweep, request)
    job = call.job
    job.pixel, job.tables = swept.pixel.data_ptr(), swept.tables.data_ptr()
    job.counts, job.moments = swept.counts.data_ptr(), swept.moments.data_ptr()
    job.counted, job.map = swept.confusion.data_ptr(), swept.maps.data_ptr()
    job.normalizers = swept.normalizers.data_ptr() if swept.normalizers.numel() else None
    return swept if library.segcrit_forward(ctypes.byref(job)) == 0 else None


def _join(images: list[Swept | None], request: Request) -> Swept | None:
    """What the images of a batch brought one by one, so that no thread holds the histograms of all of them."""
    found = [image for image in images if image is not None]
    if len(found) < len(images):
        return None
    pixel, tables, counts, moments, confusion, maps, normalizers = zip(*found, strict=True)
    return Swept(
        pixel=torch.stack(pixel).sum(0),
        tables=torch.cat(tables, 1) if request.per_image else torch.stack(tables).sum(0),
        counts=torch.cat(counts),
        moments=torch.cat(moments),
        confusion=torch.stack(confusion).sum(0),
        maps=torch.cat(maps, 1) if request.maps else maps[0],
        normalizers=torch.cat(normalizers, 1) if normalizers[0].numel() else normalizers[0],
    )


def backward(sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor | None:
    """See ``reference.backward``; None as in ``forward``."""
    library, _ = load()
    if library is None:
        return None
    gradient = new_gradient(sweep.logits)
    if request.bins_per_image and len(sweep.logits) > 1:
        for image in range(len(sweep.logits)):
            one = slice(image, image + 1)
            part = backward(
                _part(sweep, image),
                request,
                normalizers[:, one] if normalizers.numel() else normalizers,
                Gradients(
                    gradients.pixel,
                    gradients.tables[:, one] if request.per_image else gradients.tables,
                    gradients.moments[one],
                    None if gradients.maps is None else gradients.maps[:, one],
                ),
            )
            if part is None:
                return None
            gradient[one] = part
        return gradient
    call = _Call(sweep, request)
    job = call.job
    # The forward pass has looked at the values.
    job.check = 0
    job.pixel_gradient = call.keep(gradients.pixel.to(torch.float64).contiguous())
    job.table_gradient = call.keep(gradients.tables.to(torch.float64).contiguous())
    job.moment_gradient = call.keep(gradients.moments.to(torch.float64).contiguous())
    if gradients.maps is not None:
        job.map_gradient = call.keep(gradients.maps.to(compute_dtype(sweep.logits.dtype)).contiguous())
    if normalizers.numel():
        job.normalizers = call.keep(normalizers.contiguous())
    _set_gradient(job, gradient)
    return gradient if library.segcrit_backward(ctypes.byref(job)) == 0 else None


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
