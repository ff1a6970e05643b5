"""The compiled library of the CPU engine: where it is, its C structures, and what every call to it needs."""

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

from segcrit.engines.interpolation import axis_of

__all__ = [
    "ELEMENT_TYPES",
    "CountJob",
    "Job",
    "describe",
    "flat",
    "flat_target",
    "load",
    "place_logits",
    "samples_as_pixels",
    "threads",
]

# Version of the C interface, native/segcrit.h; a library of another version is not used.
_ABI = 5
_NAME = "segcrit_cpu.dll" if sys.platform == "win32" else "segcrit_cpu.so"

ELEMENT_TYPES = {
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


_is_forked = False


def _after_fork() -> None:
    global _is_forked
    _is_forked = True


# A forked process inherits OpenMP's record of its threads, not the threads: a parallel region would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Axis(ctypes.Structure):
    """segcrit_axis of native/segcrit.h, field by field."""

    _fields_ = (
        ("low", ctypes.c_int64),
        ("high", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("share", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
    )


class Job(ctypes.Structure):
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
        ("axis", Axis * 3),
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
        ("formula", ctypes.c_void_p),
        ("parameter", ctypes.c_void_p),
        ("smoothing", ctypes.c_void_p),
        ("coefficients", ctypes.c_void_p),
        ("fields", ctypes.c_int32),
        ("per_image", ctypes.c_int32),
        ("errors", ctypes.c_int32),
        ("bins", ctypes.c_int32),
        ("confusion", ctypes.c_int32),
        ("maps", ctypes.c_int32),
        ("operands", ctypes.c_int32),
        ("operand", ctypes.c_void_p),
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


class CountJob(ctypes.Structure):
    """segcrit_count_job of native/segcrit.h, field by field."""

    _fields_ = (
        ("source", Job),
        ("prediction", ctypes.c_void_p),
        ("prediction_type", ctypes.c_int32),
        ("prediction_image_stride", ctypes.c_int64),
        ("prediction_class_stride", ctypes.c_int64),
        ("prediction_pixel_stride", ctypes.c_int64),
        ("threshold", ctypes.c_double),
        ("counts", ctypes.c_void_p),
    )


def _library_path() -> Path | None:
    # A build with other options than the installed one: sanitizers, an experiment.
    chosen = os.environ.get("SEGCRIT_LIBRARY")
    if chosen:
        return Path(chosen)
    beside = Path(__file__).parents[1] / _NAME
    if beside.exists():
        return beside
    # An editable installation keeps the built library in site-packages and the Python files in the checkout.
    try:
        installed = Path(str(importlib.metadata.distribution("segcrit").locate_file(f"segcrit/engines/{_NAME}")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.exists() else None


def _has_our_structures(library: ctypes.CDLL) -> bool:
    """Whether version and sizes agree: a field that is missing on one side would be read or written out of bounds."""
    if library.segcrit_abi() != _ABI:
        return False
    sizes = (library.segcrit_job_bytes, Job), (library.segcrit_count_job_bytes, CountJob)
    for size, structure in sizes:
        size.restype = ctypes.c_int64
        if size() != ctypes.sizeof(structure):
            return False
    return True


@lru_cache(maxsize=1)
def load() -> tuple[ctypes.CDLL | None, str]:
    """The library or None, and why."""
    path = _library_path()
    if path is None:
        return None, "the compiled kernels are not installed: reinstall segcrit where a C++17 compiler is found"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"the compiled kernels do not load: {error}"
    if not _has_our_structures(library):
        return None, "the compiled kernels belong to another version of segcrit: reinstall it"
    library.segcrit_instruction_set.restype = ctypes.c_char_p
    for function, job in (
        (library.segcrit_forward, Job),
        (library.segcrit_backward, Job),
        (library.segcrit_count, CountJob),
    ):
        function.argtypes = [ctypes.POINTER(job)]
        function.restype = ctypes.c_int32
    return library, f"C++ kernels, instruction set {library.segcrit_instruction_set().decode()}"


def describe() -> tuple[bool, str]:
    """Whether the engine can run here, and why or how."""
    library, reason = load()
    return library is not None, reason


def threads() -> int:
    """Threads of a call: PyTorch's setting, and one in a forked process."""
    return 1 if _is_forked else torch.get_num_threads()


def flat(tensor: Tensor, keep: int) -> Tensor:
    """Spatial dimensions as one: a view for NCHW and channels-last, a copy for other strides."""
    return in_memory(tensor).reshape(*tensor.shape[:keep], -1)


def flat_target(target: Tensor, logits: Tensor, *, has_classes: bool) -> Tensor:
    """The target with one spatial dimension, (N, P), or (N, C, P) where it has an entry for each class."""
    if has_classes and target.ndim == logits.ndim - 1:
        target = target[:, None]
    return flat(target, 2 if has_classes else 1)


def samples_as_pixels(
    logits: Tensor, target: Tensor, weight: Tensor | None, *, has_classes: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Plain classification, logits (N, C) and a flat target: the samples are the pixels of one image."""
    target = target.transpose(0, -1).reshape(1, -1, len(target)) if has_classes else target.reshape(1, -1)
    return logits.t()[None], target, None if weight is None else weight.reshape(1, -1)


def in_memory(tensor: Tensor) -> Tensor:
    """A tensor whose memory holds its values: of a view such as ``z.conj().imag`` it holds their negatives.

    Each at an address that is natural for it, which ``torch.frombuffer`` with an odd offset does not give: compilers may use
    instructions that stop at others.
    """
    tensor = tensor.resolve_neg()
    return tensor.clone() if tensor.data_ptr() % tensor.element_size() else tensor


def place_logits(
    job: Job, logits: Tensor, size: tuple[int, ...], *, upsample: bool, align_corners: bool
) -> list[Tensor]:
    """Tell a job where the logits lie, and how they are interpolated to ``size``; returns what must live as long as it."""
    job.logits_type = ELEMENT_TYPES[logits.dtype]
    job.images, job.classes = logits.shape[:2]
    job.pixels = math.prod(size)
    job.upsample = int(upsample)
    if not upsample:
        columns = flat(logits, 2)
        job.logits = columns.data_ptr()
        job.image_stride, job.class_stride, job.pixel_stride = columns.stride()
        return [columns]
    logits = in_memory(logits)
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
