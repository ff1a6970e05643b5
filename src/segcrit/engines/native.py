"""The native CPU engine: C++ kernels called through ctypes, one read of the logits forward, one read and one write backward.

The kernels take every loss and target. What remains for the reference engine are empty batches and a batch with a label or
weight that is not allowed: the error is then raised in the one place that words it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import sys
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from segcrit._dtypes import compute_dtype
from segcrit.engines import reference
from segcrit.engines.interpolation import axis_of
from segcrit.engines.reference import Sweep
from segcrit.engines.request import Request, Shapes, gradient_like, spatial_size
from segcrit.formulas.region import FIELDS

__all__ = ["backward", "describe", "forward", "is_supported"]

# Version of the C interface, native/segcrit.h; a library of another version is not used.
_ABI = 2
_NAME = "segcrit_cpu.dll" if sys.platform == "win32" else "segcrit_cpu.so"

_TYPES = {
    torch.float32: 0,
    torch.float64: 1,
    torch.bfloat16: 2,
    torch.float16: 3,
    torch.uint8: 4,
    torch.bool: 4,
    torch.int8: 5,
    torch.int16: 6,
    torch.int32: 7,
    torch.int64: 8,
}
_ERRORS = {"none": 0, "probability": 1, "margin": 2}
_FORMS = {"index": 0, "onehot": 1, "soft": 2}
_ELEMENTS = 3


_is_forked = False


def _after_fork() -> None:
    global _is_forked
    _is_forked = True


# A forked process inherits OpenMP's record of its threads, not the threads: a parallel region would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Axis(ctypes.Structure):
    """segcrit_axis of native/segcrit.h, field by field."""

    _fields_ = (
        ("low", ctypes.c_int64),
        ("high", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("share", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
    )


class _Job(ctypes.Structure):
    """segcrit_job of native/segcrit.h, field by field."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("logits_type", ctypes.c_int32),
        ("images", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("pixels", ctypes.c_int64),
        ("image_stride", ctypes.c_int64),
        ("class_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
        ("upsample", ctypes.c_int32),
        ("axis", _Axis * 3),
        ("target", ctypes.c_void_p),
        ("target_type", ctypes.c_int32),
        ("target_form", ctypes.c_int32),
        ("target_image_stride", ctypes.c_int64),
        ("target_class_stride", ctypes.c_int64),
        ("target_pixel_stride", ctypes.c_int64),
        ("pixel_weight", ctypes.c_void_p),
        ("weight_image_stride", ctypes.c_int64),
        ("ignore_index", ctypes.c_int64),
        ("background", ctypes.c_int32),
        ("foreground_only", ctypes.c_int32),
        ("check", ctypes.c_int32),
        ("logit_scale", ctypes.c_double),
        ("logit_bias", ctypes.c_void_p),
        ("bias_rows", ctypes.c_int64),
        ("losses", ctypes.c_int32),
        ("gamma", ctypes.c_void_p),
        ("smoothing", ctypes.c_void_p),
        ("coefficients", ctypes.c_void_p),
        ("fields", ctypes.c_int32),
        ("per_image", ctypes.c_int32),
        ("errors", ctypes.c_int32),
        ("bins", ctypes.c_int32),
        ("confusion", ctypes.c_int32),
        ("maps", ctypes.c_int32),
        ("pixel", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("moments", ctypes.c_void_p),
        ("counted", ctypes.c_void_p),
        ("map", ctypes.c_void_p),
        ("normalizers", ctypes.c_void_p),
        ("pixel_gradient", ctypes.c_void_p),
        ("table_gradient", ctypes.c_void_p),
        ("moment_gradient", ctypes.c_void_p),
        ("map_gradient", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("gradient_bytes", ctypes.c_int64),
        ("gradient_image_stride", ctypes.c_int64),
        ("gradient_class_stride", ctypes.c_int64),
        ("gradient_pixel_stride", ctypes.c_int64),
        ("gradient_axis_stride", ctypes.c_int64 * 3),
        ("threads", ctypes.c_int32),
    )


class _CountJob(ctypes.Structure):
    """segcrit_count_job of native/segcrit.h, field by field."""

    _fields_ = (
        ("source", _Job),
        ("prediction", ctypes.c_void_p),
        ("prediction_type", ctypes.c_int32),
        ("prediction_image_stride", ctypes.c_int64),
        ("prediction_class_stride", ctypes.c_int64),
        ("prediction_pixel_stride", ctypes.c_int64),
        ("threshold", ctypes.c_double),
        ("counts", ctypes.c_void_p),
    )


def _library_path() -> Path | None:
    beside = Path(__file__).with_name(_NAME)
    if beside.exists():
        return beside
    # An editable installation keeps the built library in site-packages and the Python files in the checkout.
    try:
        installed = Path(str(importlib.metadata.distribution("segcrit").locate_file(f"segcrit/engines/{_NAME}")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.exists() else None


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library or None, and why."""
    path = _library_path()
    if path is None:
        return None, "the compiled kernels are not installed: reinstall segcrit where a C++17 compiler is found"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"the compiled kernels do not load: {error}"
    if library.segcrit_abi() != _ABI:
        return None, "the compiled kernels belong to another version of segcrit: reinstall it"
    library.segcrit_instruction_set.restype = ctypes.c_char_p
    for function, job in (
        (library.segcrit_forward, _Job),
        (library.segcrit_backward, _Job),
        (library.segcrit_count, _CountJob),
    ):
        function.argtypes = [ctypes.POINTER(job)]
        function.restype = ctypes.c_int32
    return library, f"C++ kernels, instruction set {library.segcrit_instruction_set().decode()}"


def describe() -> tuple[bool, str]:
    """Whether the engine can run here, and why or how."""
    library, reason = _load()
    return library is not None, reason


def is_supported(sweep: Sweep, request: Request) -> bool:
    """Whether the kernels take this sweep; the reference engine computes the others."""
    logits, target = sweep.logits, sweep.target
    if logits.numel() == 0 or target.numel() == 0 or logits.device.type != "cpu":
        return False
    if target.dtype not in _TYPES:
        return False
    # The samples of plain classification, (N, C), are taken as the pixels of one image.
    if logits.ndim == 2 and len(logits) > 1 and (request.per_image or (request.maps and request.sigmoid)):
        return False
    # Fractions are refused by the reference engine, which words the error.
    return not (request.errors != "none" and request.kind == "soft" and not request.sigmoid)


def _flat(tensor: Tensor, keep: int) -> Tensor:
    """Spatial dimensions as one: a view for NCHW and channels-last, a copy for other strides."""
    return tensor.reshape(*tensor.shape[:keep], -1)


def _form(request: Request) -> int:
    return _ELEMENTS if request.sigmoid else _FORMS[request.kind]


def _set_logits(
    job: _Job, logits: Tensor, size: tuple[int, ...], *, upsample: bool, align_corners: bool
) -> list[Tensor]:
    """Where the logits lie; returns what must live as long as the job."""
    job.logits_type = _TYPES[logits.dtype]
    job.images, job.classes = logits.shape[:2]
    job.pixels = math.prod(size)
    job.upsample = int(upsample)
    if not upsample:
        flat = _flat(logits, 2)
        job.logits = flat.data_ptr()
        job.image_stride, job.class_stride, job.pixel_stride = flat.stride()
        return [flat]
    kept = [logits]
    job.logits = logits.data_ptr()
    job.image_stride, job.class_stride = logits.stride()[:2]
    missing = 3 - len(size)
    low, high = (*(1,) * missing, *logits.shape[2:]), (*(1,) * missing, *size)
    strides = (*(0,) * missing, *logits.stride()[2:])
    for place in range(3):
        axis = axis_of(low[place], high[place], align_corners)
        entry = job.axis[place]
        entry.low, entry.high = low[place], high[place]
        entry.first, entry.second, entry.share = axis.first.data_ptr(), axis.second.data_ptr(), axis.share.data_ptr()
        entry.stride = strides[place]
        kept += [axis.first, axis.second, axis.share]
    return kept


class _Call:
    """A job and the tensors that must live as long as it."""

    def __init__(self, sweep: Sweep, request: Request) -> None:
        logits, target = sweep.logits, sweep.target
        size = spatial_size(logits, target)
        has_classes = request.sigmoid or request.kind != "index"
        if has_classes and target.ndim == logits.ndim - 1:
            target = target[:, None]
        target = _flat(target, 2 if has_classes else 1)
        if target.dtype in (torch.float16, torch.bfloat16):
            target = target.to(torch.float32)
        weight = None
        if sweep.pixel_weight is not None:
            weight = _flat(sweep.pixel_weight, 1).to(compute_dtype(logits.dtype)).contiguous()
        if not size:
            # Plain classification, (N, C): the samples are the pixels of one image.
            logits = logits.t()[None]
            target = target.transpose(0, -1).reshape(1, -1, len(target)) if has_classes else target.reshape(1, -1)
            weight = None if weight is None else weight.reshape(1, -1)
            size = tuple(logits.shape[2:])
        self.job = job = _Job()
        self.kept = _set_logits(job, logits, size, upsample=request.upsample, align_corners=request.align_corners)
        job.target, job.target_type, job.target_form = self.keep(target), _TYPES[target.dtype], _form(request)
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
        # Cross-entropy is the focal pair with exponent 0.
        gamma = [dict(item.scalars).get("gamma", 0.0) for item in request.pixel]
        smoothing = [item.label_smoothing for item in request.pixel]
        job.gamma = self.keep(torch.tensor(gamma, dtype=torch.float64))
        job.smoothing = self.keep(torch.tensor(smoothing, dtype=torch.float64))
        job.coefficients = self.keep(sweep.coefficients.to(torch.float64).contiguous())
        job.fields = sum(1 << FIELDS.index(name) for name in request.fields)
        job.per_image, job.errors, job.bins = int(request.per_image), _ERRORS[request.errors], request.bins
        job.confusion, job.maps = int(request.confusion), int(request.maps)
        job.threads = _threads()

    def keep(self, tensor: Tensor) -> int:
        """Address of a tensor that the job may use until it is done."""
        self.kept.append(tensor)
        return tensor.data_ptr()


def _threads() -> int:
    return 1 if _is_forked else torch.get_num_threads()


def _part(sweep: Sweep, image: int) -> Sweep:
    """The sweep of one image."""
    one = slice(image, image + 1)
    weight = None if sweep.pixel_weight is None else sweep.pixel_weight[one]
    return Sweep(sweep.logits[one], sweep.target[one], weight, sweep.coefficients, sweep.logit_bias)


def forward(sweep: Sweep, request: Request) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See ``reference.forward``."""
    library, _ = _load()
    if library is None or not is_supported(sweep, request):
        return reference.forward(sweep, request)
    if request.bins_per_image and len(sweep.logits) > 1:
        return _join([forward(_part(sweep, image), request) for image in range(len(sweep.logits))], request)
    shapes = Shapes.of(sweep.logits, sweep.target, request)
    pixel = torch.zeros(shapes.pixel, dtype=torch.float64)
    tables = torch.zeros(shapes.tables, dtype=torch.float64)
    counts = torch.zeros(shapes.histogram, dtype=torch.float64)
    moments = torch.zeros(shapes.histogram, dtype=torch.float64)
    confusion = torch.zeros(shapes.confusion, dtype=torch.int64)
    maps = torch.empty(shapes.maps, dtype=shapes.compute)
    normalizers = torch.empty(shapes.normalizers, dtype=shapes.compute)
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
    library, _ = _load()
    gradients = (pixel_gradient, table_gradient, moment_gradient, map_gradient)
    needed = request.sigmoid or normalizers.numel() > 0
    if library is None or not needed or not is_supported(sweep, request):
        return reference.backward(sweep, request, normalizers, *gradients)
    gradient = gradient_like(sweep.logits)
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


def _set_gradient(job: _Job, gradient: Tensor) -> None:
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
