"""Confusion counts from logits or labels, in one read, where the native engine can run; see ``native/count.hpp``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from segcrit.engines import pick
from segcrit.engines.cpu import native
from segcrit.engines.cpu.library import ELEMENT_TYPES, CountJob, flat, load, place_logits, threads

__all__ = ["count_pairs"]

# Every thread holds four tables of all pairs; beyond this many classes they leave its cache.
_MOST_CLASSES = 512
_LABELS, _ELEMENTS = 0, 3
_INTEGERS = (torch.uint8, torch.bool, torch.int8, torch.int16, torch.int32, torch.int64)


def count_pairs(
    prediction: Tensor,
    target: Tensor,
    *,
    classes: int,
    elements: bool,
    ignored: int,
    threshold: float = 0.0,
    align_corners: bool = False,
) -> Tensor | None:
    """Count pairs of true and predicted label for each image.

    Args:
        prediction: logits (N, C, *S) or (N, C, *low), which are interpolated linearly; or integer labels like the target.
        target: labels (N, *S), or elements (N, C, *S); integers.
        classes: number of classes C; of channels with ``elements``.
        elements: sigmoid tasks, where each channel is a map of 0 and 1.
        ignored: label of the target that does not count.
        threshold: with ``elements``, the logit above which 1 is predicted.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        int64 (N, C, C), rows truth and columns prediction, or (N, C, 2, 2) with ``elements``. None where the kernels cannot
        run, or where something else than classes was met: the caller then finds out and says what.
    """
    library, _ = load()
    if library is None or pick("auto", prediction.device) is not native or classes > _MOST_CLASSES:
        return None
    is_logits = prediction.dtype.is_floating_point
    if target.dtype not in _INTEGERS or target.numel() == 0 or prediction.numel() == 0:
        return None
    if not is_logits and prediction.dtype not in _INTEGERS:
        return None
    leading = 2 if elements else 1
    truth = flat(target, leading)
    task = CountJob()
    job = task.source
    kept = [truth]
    if is_logits:
        size = tuple(target.shape[leading:])
        if not size:
            return None
        upsample = tuple(prediction.shape[2:]) != size
        kept += place_logits(job, prediction, size, upsample=upsample, align_corners=align_corners)
    else:
        guess = flat(prediction, leading)
        kept.append(guess)
        job.images, job.classes, job.pixels = target.shape[0], classes, truth.shape[-1]
        task.prediction, task.prediction_type = guess.data_ptr(), ELEMENT_TYPES[guess.dtype]
        task.prediction_image_stride, task.prediction_pixel_stride = guess.stride(0), guess.stride(-1)
        task.prediction_class_stride = guess.stride(1) if elements else 0
    job.target, job.target_type = truth.data_ptr(), ELEMENT_TYPES[truth.dtype]
    job.target_form = _ELEMENTS if elements else _LABELS
    job.target_image_stride, job.target_pixel_stride = truth.stride(0), truth.stride(-1)
    job.target_class_stride = truth.stride(1) if elements else 0
    job.ignore_index, job.logit_scale, job.threads = ignored, 1.0, threads()
    task.threshold = threshold
    counts = torch.zeros((len(target), classes, *((2, 2) if elements else (classes,))), dtype=torch.int64, device="cpu")
    task.counts = counts.data_ptr()
    return counts if library.segcrit_count(ctypes.byref(task)) == 0 else None
