"""The native CPU engine: C++ kernels called through ctypes, one read of the logits forward, one read and one write backward.

The kernels take what training uses most. What they do not take (soft multiclass targets, a logit bias, histograms for each
image, images of a few pixels) goes to the reference engine, and so does a batch with a label or weight that is not allowed:
the error is then raised in the one place that words it.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import sys
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from segcrit._dtypes import compute_dtype
from segcrit.engines import reference
from segcrit.engines.reference import Sweep
from segcrit.engines.request import Request, Shapes, gradient_like
from segcrit.formulas.region import FIELDS

__all__ = ["backward", "describe", "forward", "is_supported"]

# Version of the C interface, native/segcrit.h; a library of another version is not used.
_ABI = 1
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
# Smaller images leave most of a kernel's block of pixels empty.
_SMALLEST_IMAGE = 32
# Every thread keeps the tables of all images; beyond this many numbers the reference engine is leaner.
_LARGEST_TABLES = 1 << 22


_is_forked = False


def _after_fork() -> None:
    global _is_forked
    _is_forked = True


# A forked process inherits OpenMP's record of its threads, not the threads: a parallel region would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
        ("target", ctypes.c_void_p),
        ("target_type", ctypes.c_int32),
        ("target_image_stride", ctypes.c_int64),
        ("target_class_stride", ctypes.c_int64),
        ("target_pixel_stride", ctypes.c_int64),
        ("pixel_weight", ctypes.c_void_p),
        ("weight_image_stride", ctypes.c_int64),
        ("ignore_index", ctypes.c_int64),
        ("sigmoid", ctypes.c_int32),
        ("background", ctypes.c_int32),
        ("foreground_only", ctypes.c_int32),
        ("check", ctypes.c_int32),
        ("logit_scale", ctypes.c_double),
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
        ("pixel_gradient", ctypes.c_void_p),
        ("table_gradient", ctypes.c_void_p),
        ("moment_gradient", ctypes.c_void_p),
        ("map_gradient", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("gradient_image_stride", ctypes.c_int64),
        ("gradient_class_stride", ctypes.c_int64),
        ("gradient_pixel_stride", ctypes.c_int64),
        ("threads", ctypes.c_int32),
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
    for function in (library.segcrit_forward, library.segcrit_backward):
        function.argtypes = [ctypes.POINTER(_Job)]
        function.restype = ctypes.c_int32
    return library, f"C++ kernels, instruction set {library.segcrit_instruction_set().decode()}"


def describe() -> tuple[bool, str]:
    """Whether the engine can run here, and why or how."""
    library, reason = _load()
    return library is not None, reason


def is_supported(sweep: Sweep, request: Request) -> bool:
    """Whether the kernels take this sweep; the reference engine computes the others."""
    logits, target = sweep.logits, sweep.target
    pixels = logits[0, 0].numel() if logits.shape[0] else 0
    if pixels < _SMALLEST_IMAGE or sweep.logit_bias is not None or logits.device.type != "cpu":
        return False
    if request.bins_per_image or target.dtype not in _TYPES:
        return False
    if request.per_image and len(FIELDS) * logits.shape[0] * logits.shape[1] > _LARGEST_TABLES:
        return False
    if request.sigmoid:
        return target.dtype not in (torch.float16, torch.bfloat16)
    if request.kind != "index" or target.dtype.is_floating_point:
        return False
    return all(item.key == "cross_entropy" or item.label_smoothing == 0.0 for item in request.pixel)


def _flat(tensor: Tensor, keep: int) -> Tensor:
    """Spatial dimensions as one: a view for NCHW and channels-last, a copy for other strides."""
    return tensor.reshape(*tensor.shape[:keep], -1)


class _Call:
    """A job and the tensors that must live as long as it."""

    def __init__(self, sweep: Sweep, request: Request) -> None:
        logits = _flat(sweep.logits, 2)
        target = sweep.target
        if request.sigmoid:
            target = _flat(target[:, None] if target.ndim == sweep.logits.ndim - 1 else target, 2)
        else:
            target = _flat(target, 1)
        self.kept: list[Tensor] = []
        self.job = job = _Job()
        job.logits, job.logits_type = self.keep(logits), _TYPES[logits.dtype]
        job.images, job.classes, job.pixels = logits.shape
        job.image_stride, job.class_stride, job.pixel_stride = logits.stride()
        job.target, job.target_type = self.keep(target), _TYPES[target.dtype]
        job.target_image_stride, job.target_pixel_stride = target.stride(0), target.stride(-1)
        job.target_class_stride = target.stride(1) if request.sigmoid else 0
        if sweep.pixel_weight is not None:
            weight = _flat(sweep.pixel_weight, 1).to(compute_dtype(logits.dtype)).contiguous()
            job.pixel_weight, job.weight_image_stride = self.keep(weight), weight.stride(0)
        job.ignore_index = request.ignore_index
        job.sigmoid, job.check = int(request.sigmoid), int(request.check)
        job.background, job.foreground_only = int(request.view.background), int(request.view.foreground_only)
        job.logit_scale = request.logit_scale
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
        job.threads = 1 if _is_forked else torch.get_num_threads()

    def keep(self, tensor: Tensor) -> int:
        """Address of a tensor that the job may use until it is done."""
        self.kept.append(tensor)
        return tensor.data_ptr()


def forward(sweep: Sweep, request: Request) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See ``reference.forward``."""
    library, _ = _load()
    if library is None or not is_supported(sweep, request):
        return reference.forward(sweep, request)
    call = _Call(sweep, request)
    shapes = Shapes.of(sweep.logits, request)
    pixel = torch.zeros(shapes.pixel, dtype=torch.float64)
    tables = torch.zeros(shapes.tables, dtype=torch.float64)
    counts = torch.zeros(shapes.histogram, dtype=torch.float64)
    moments = torch.zeros(shapes.histogram, dtype=torch.float64)
    confusion = torch.zeros(shapes.confusion, dtype=torch.int64)
    maps = torch.empty(shapes.maps, dtype=shapes.compute)
    job = call.job
    job.pixel, job.tables, job.counts, job.moments = (item.data_ptr() for item in (pixel, tables, counts, moments))
    job.counted, job.map = confusion.data_ptr(), maps.data_ptr()
    if library.segcrit_forward(ctypes.byref(job)) != 0:
        return reference.forward(sweep, request)
    return pixel, tables, counts, moments, confusion, maps


def backward(
    sweep: Sweep,
    request: Request,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
) -> Tensor:
    """See ``reference.backward``."""
    library, _ = _load()
    if library is None or not is_supported(sweep, request):
        return reference.backward(sweep, request, pixel_gradient, table_gradient, moment_gradient, map_gradient)
    call = _Call(sweep, request)
    job = call.job
    # The forward pass has looked at the values.
    job.check = 0
    job.pixel_gradient = call.keep(pixel_gradient.to(torch.float64).contiguous())
    job.table_gradient = call.keep(table_gradient.to(torch.float64).contiguous())
    job.moment_gradient = call.keep(moment_gradient.to(torch.float64).contiguous())
    if map_gradient is not None:
        job.map_gradient = call.keep(map_gradient.to(Shapes.of(sweep.logits, request).compute).contiguous())
    gradient = gradient_like(sweep.logits)
    flat = gradient.view(*gradient.shape[:2], -1)
    job.gradient = gradient.data_ptr()
    job.gradient_image_stride, job.gradient_class_stride, job.gradient_pixel_stride = flat.stride()
    if library.segcrit_backward(ctypes.byref(job)) != 0:
        return reference.backward(sweep, request, pixel_gradient, table_gradient, moment_gradient, map_gradient)
    return gradient
