"""From predictions and targets to confusion counts: exact, in pieces that fit the cache, without one-hot
maps.

Pairs (truth, prediction) are counted as they come, and the small table of pairs is read afterwards: the row
of the ignore label is dropped, and a label that is no class is found there, with its name and number, without
a pass of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX
from segcrit.core.dtypes import compute_dtype
from segcrit.core.errors import DataError, LabelError
from segcrit.core.numbers import counted
from segcrit.engines.counting import count_pairs
from segcrit.engines.interpolation import interpolate
from segcrit.labels.mask import is_label, is_labelled
from segcrit.metrics.checks import make_settings
from segcrit.metrics.inputs import Batch, read_batch
from segcrit.metrics.ratios import Integers
from segcrit.metrics.settings import Settings
from segcrit.metrics.tables import CountTable

__all__ = ["confusion_matrix", "count_batch", "predict_labels"]

# Pixels at a time. On a CPU their int64 indices (1 MiB) stay in the cache; above torch's parallel grain
# (32,768).
_CHUNK_CPU = 1 << 17
_CHUNK_GPU = 1 << 23
# Floats at a time while interpolating low-resolution logits.
_UPSAMPLED = 1 << 22
# More cells than this times the pixels, and sorting the pairs is cheaper than a table of all cells.
_SPARSE = 4
_INDEX_LIMIT = 1 << 62


def confusion_matrix(
    prediction: Any,
    target: Any,
    num_classes: int,
    *,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
) -> Tensor:
    """Count pairs of true and predicted class.

    Args:
        prediction: logits (N, C, \\*S) of any float dtype, whose largest value decides (the lowest class on a
            tie), or integer labels (N, \\*S).
        target: labels (N, \\*S) or (N, 1, \\*S), or one-hot (N, C, \\*S).
        num_classes: C, at least 2.
        ignore_index: pixels with this true label do not count, whatever was predicted there.

    Returns:
        int64 of shape (C, C): rows truth, columns prediction.

    Raises:
        LabelError: a label is neither a class nor (in the target) the ignore label.
        DataError: logits are NaN where the target counts.
        ShapeError, DtypeError, DeviceError: the two do not fit together.

    Example:
        >>> confusion_matrix(torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 1, 0, 255]]), 3, ignore_index=255)
        tensor([[1, 1, 0],
                [0, 1, 0],
                [0, 0, 0]])
    """
    settings = make_settings(num_classes, ignore_index=ignore_index)
    pairs = count_batch(read_batch(prediction, target, settings), settings).total()
    if settings.left_out is not None:
        # A matrix has no figures, from which a class could be left out: its predictions stand in their own column.
        pairs[:, settings.left_out] = pairs[:, -1]
    return torch.from_numpy(np.ascontiguousarray(pairs[:, :num_classes]))


@torch.no_grad()
def count_batch(batch: Batch, settings: Settings) -> CountTable:
    """Count a checked batch, image by image.

    Raises:
        LabelError: a label is neither a class nor (in the target) the ignore label.
        DataError: logits are NaN where the target counts.
    """
    sigmoid = settings.task != "multiclass"
    classes = 2 if sigmoid else settings.classes
    channels = settings.classes if settings.task == "multilabel" else 1
    target = batch.target
    prediction = batch.prediction
    counted = _count_natively(batch, settings)
    if counted is not None:
        return counted
    if batch.is_logits:
        size = tuple(target.shape[2:] if settings.task == "multilabel" else target.shape[1:])
        prediction = predict_labels(prediction, settings, size)
    # In a multilabel task each channel is a binary image of its own.
    rows = batch.images * channels
    pixels = target.numel() // rows if rows else 0
    pairs = _count_pairs(prediction.reshape(rows, pixels), target.reshape(rows, pixels))
    row, truth, guess, count = _only_classes(pairs, classes, batch, channels, settings)
    columns = settings.matrix[-1]
    cell = (row % channels) * classes * columns + truth * columns + guess
    return CountTable.from_entries(batch.images, settings.matrix, row // channels, cell, count)


def _count_natively(batch: Batch, settings: Settings) -> CountTable | None:
    """The counts from the compiled kernels; None where they do not run or met something that is no class."""
    elements = settings.task != "multiclass"
    target, prediction = batch.target, batch.prediction
    if elements and settings.task == "binary":
        target = target[:, None]
        prediction = prediction if batch.is_logits else prediction[:, None]
    counts = count_pairs(
        prediction,
        target,
        classes=settings.channels,
        elements=elements,
        ignored=batch.ignored,
        threshold=settings.logit_threshold,
        align_corners=settings.align_corners,
    )
    if counts is None:
        return None
    table = counts.numpy().reshape(batch.images, -1)
    if len(settings.matrix) == 2 and settings.matrix[-1] > settings.classes:
        # The kernels know no column for pixels without a predicted class.
        wide = np.zeros((batch.images, *settings.matrix), dtype=table.dtype)
        wide[..., : settings.classes] = table.reshape(batch.images, settings.classes, settings.classes)
        if settings.left_out is not None:
            wide[..., -1] = wide[..., settings.left_out]
            wide[..., settings.left_out] = 0
        table = wide.reshape(batch.images, -1)
    return CountTable.from_dense(table, settings.matrix)


def _count_pairs(prediction: Tensor, target: Tensor) -> Integers:
    """Count pairs in two (rows, pixels) maps: int64 (4, entries) of row, truth, prediction, count."""
    rows, pixels = target.shape
    chunk = _CHUNK_CPU if target.device.type == "cpu" else _CHUNK_GPU
    group = max(1, chunk // max(pixels, 1))
    parts = [np.zeros((4, 0), dtype=np.int64)]
    for first in range(0, rows, group):
        for start in range(0, pixels, chunk):
            part = (slice(first, first + group), slice(start, start + chunk))
            entries = _count_block(prediction[part], target[part])
            entries[0] += first
            parts.append(entries)
    return np.concatenate(parts, axis=1)


def _count_block(prediction: Tensor, target: Tensor) -> Integers:
    truth, truth_low, truth_values = _whole_numbers(target)
    guess, guess_low, guess_values = _whole_numbers(prediction)
    pairs = truth_values * guess_values
    if pairs * target.shape[0] >= _INDEX_LIMIT:
        # Labels far apart, such as an ignore label of -2**63: count their ranks instead.
        truth_names, truth = torch.unique(truth, return_inverse=True)
        guess_names, guess = torch.unique(guess, return_inverse=True)
        entries = _count_block(guess, truth)
        entries[1] = truth_names.cpu().numpy()[entries[1]]
        entries[2] = guess_names.cpu().numpy()[entries[2]]
        return entries
    # int64 before the multiplication: 19 classes overflow uint8 at class 14.
    index = truth.to(torch.int64, copy=True)
    if truth_low:
        index -= truth_low
    index *= guess_values
    index += guess
    if guess_low:
        index -= guess_low
    if target.shape[0] > 1:
        index += torch.arange(target.shape[0], device=index.device)[:, None] * pairs
    cells = pairs * target.shape[0]
    if cells <= _SPARSE * index.numel() + 4096:
        table = torch.bincount(index.flatten(), minlength=cells).cpu().numpy()
        places = np.flatnonzero(table)
        counts = table[places]
    else:
        keys, number = torch.unique(index, return_counts=True)
        places, counts = keys.cpu().numpy(), number.cpu().numpy()
    row, pair = np.divmod(places, pairs)
    return np.stack([row, pair // guess_values + truth_low, pair % guess_values + guess_low, counts]).astype(np.int64)


def _whole_numbers(values: Tensor) -> tuple[Tensor, int, int]:
    """Integer values, their minimum, and how many numbers lie between minimum and maximum, both included."""
    if values.dtype.is_floating_point:
        whole = values.to(torch.int64)
        different = whole != values
        if bool(different.any()):
            example = values[different][0].item()
            raise LabelError(
                "labels that are whole numbers",
                f"label {example:g}",
                "Give integer labels; soft targets have no label to count, take their .argmax(1).",
            )
        values = whole
    elif values.dtype == torch.bool:
        values = values.to(torch.uint8)
    if values.numel() == 0:
        return values, 0, 1
    low, high = (int(end) for end in torch.aminmax(values))
    return values, low, high - low + 1


def _only_classes(pairs: Integers, classes: int, batch: Batch, channels: int, settings: Settings) -> Integers:
    """Drop the ignored pixels, refuse every other pair that is not of two classes.

    A predicted ignore label is what the policy says: refused, the column C of no class, or a pixel to drop. So is the
    column C the place of predictions of a class that is left out.
    """
    pairs = pairs[:, is_labelled(pairs[1], batch.ignored)]
    wrong_truth = (pairs[1] < 0) | (pairs[1] >= classes)
    if wrong_truth.any():
        raise _label_error("target", pairs[:, wrong_truth], 1, classes, channels)
    wrong_guess = (pairs[2] < 0) | (pairs[2] >= classes)
    unlabelled = np.zeros_like(wrong_guess)
    if settings.ignored_prediction != "error" and not batch.is_logits:
        unlabelled = wrong_guess & is_label(pairs[2], settings.ignore_index)
        wrong_guess &= ~unlabelled
    if wrong_guess.any():
        if batch.is_logits:
            pixels, image = (
                counted(int(pairs[3, wrong_guess].sum()), "pixel"),
                int(pairs[0, wrong_guess][0]) // channels,
            )
            raise DataError(
                "logits that are numbers wherever the target counts",
                f"NaN at {pixels}, first in image {image} of the batch",
                "Look for a diverged model or a broken normalisation; NaN has no class.",
            )
        raise _label_error("prediction", pairs[:, wrong_guess], 2, classes, channels)
    if settings.ignored_prediction == "skip":
        return pairs[:, ~unlabelled]
    if settings.left_out is not None:
        unlabelled |= np.equal(pairs[2], settings.left_out)
    pairs[2, unlabelled] = classes
    return pairs


def _label_error(name: str, wrong: Integers, column: int, classes: int, channels: int) -> LabelError:
    label = int(wrong[column, 0])
    others = len(np.unique(wrong[column])) - 1
    more = f", and {others} other such labels" if others else ""
    pixels = counted(int(wrong[3, wrong[column] == label].sum()), "pixel")
    got = f"label {label} at {pixels}, first in image {int(wrong[0, 0]) // channels} of the batch{more}"
    if name == "prediction":
        advice = f"Predict classes only, or set num_classes to at least {label + 1}."
        if label < 0 or classes == 2:
            advice = "Predict classes only; pixels to leave out are marked in the target."
        return LabelError(f"predicted labels between 0 and {classes - 1}", got, advice)
    if classes == 2 and label == 255:
        advice = (
            "If 255 marks pixels to leave out, pass ignore_index=255; if it marks the foreground, give (target > 0)."
        )
    elif label in (-100, -1, 255):
        advice = f"If {label} marks pixels to leave out, pass ignore_index={label}."
    elif label < 0:
        advice = f"Correct the labels, or pass ignore_index={label} to leave those pixels out."
    else:
        advice = f"Correct the labels, or set num_classes to at least {int(wrong[column].max()) + 1}."
    return LabelError(f"true labels between 0 and {classes - 1} or ignore_index", got, advice)


@torch.no_grad()
def predict_labels(logits: Tensor, settings: Settings, size: tuple[int, ...] | None = None) -> Tensor:
    """The predicted label of each pixel, in a small integer dtype.

    Multiclass: the class of the largest logit, the lowest class on a tie. Sigmoid tasks: 1 where the logit is
    greater than logit(threshold), that is, where the probability is greater than the threshold; on a tie 0,
    as in the multiclass rule. NaN gives the label C (2 in sigmoid tasks), which is no class.

    Args:
        logits: (N, C, \\*S).
        settings: of the evaluation.
        size: spatial size of the result; logits of another size are interpolated linearly (bi- or
            trilinearly), a few channels of one image at a time.

    Returns:
        (N, \\*size), in a multilabel task (N, C, \\*size).
    """
    images, channels = logits.shape[:2]
    size = tuple(logits.shape[2:]) if size is None else size
    sigmoid = settings.task != "multiclass"
    dtype = torch.uint8 if sigmoid or channels < 256 else torch.int32
    shape = (images, channels, *size) if settings.task == "multilabel" else (images, *size)
    labels = torch.empty(shape, dtype=dtype, device=logits.device)
    if tuple(logits.shape[2:]) != size:
        for image in range(images):
            if sigmoid:
                for channel in range(channels):
                    dense = _resize(logits[image, channel : channel + 1], size, settings)[0]
                    place = (image, channel) if settings.task == "multilabel" else image
                    labels[place] = _threshold(dense, settings)
            else:
                labels[image] = _argmax_upsampled(logits[image], size, dtype, settings)
        return labels
    pixels = int(np.prod(size))
    flat = logits.reshape(images, channels, pixels)
    out = labels.view((images, channels, pixels) if settings.task == "multilabel" else (images, pixels))
    chunk = _CHUNK_CPU if logits.device.type == "cpu" else _CHUNK_GPU
    group = max(1, chunk // max(pixels, 1))
    for first in range(0, images, group):
        for start in range(0, pixels, chunk):
            part = flat[first : first + group, :, start : start + chunk]
            target = out[first : first + group, ..., start : start + chunk]
            if sigmoid:
                target.copy_(_threshold(part, settings).view(target.shape))
            else:
                target.copy_(_argmax(part, dtype)[1])
    return labels


def _argmax(logits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Largest value over dimension 1 and the lowest class that has it; the label C where a value is NaN."""
    channels = logits.shape[1]
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if logits.device.type != "cpu":
        largest, labels = logits.max(dim=1)
        return largest, torch.where(largest.isnan(), channels, labels).to(dtype)
    # On a CPU this is four times as fast as argmax over a dimension that is not the last: one vectorised
    # maximum, then comparisons from the highest class down. NaN spreads to the maximum and equals nothing.
    largest = logits.amax(dim=1)
    labels = torch.full_like(largest, channels, dtype=dtype)
    for channel in range(channels - 1, -1, -1):
        labels.masked_fill_(logits[:, channel] == largest, channel)
    return largest, labels


def _argmax_upsampled(logits: Tensor, size: tuple[int, ...], dtype: torch.dtype, settings: Settings) -> Tensor:
    """Labels of one image (C, \\*S) interpolated to ``size``; equal to interpolating all channels first."""
    channels = logits.shape[0]
    step = max(1, _UPSAMPLED // max(1, int(np.prod(size))))
    best = labels = torch.empty(0)
    for first in range(0, channels, step):
        dense = _resize(logits[first : first + step], size, settings)
        largest, here = (values[0] for values in _argmax(dense[None], torch.int32))
        if first == 0:
            best, labels = largest, here
            continue
        labels = torch.where(largest > best, here + first, labels)
        best = torch.maximum(best, largest)
    return labels.masked_fill(best.isnan(), channels).to(dtype)


def _resize(logits: Tensor, size: tuple[int, ...], settings: Settings) -> Tensor:
    """(C, \\*S) to (C, \\*size)."""
    return interpolate(logits.to(compute_dtype(logits.dtype)), size, settings.align_corners)


def _threshold(logits: Tensor, settings: Settings) -> Tensor:
    if logits.dtype in (torch.float16, torch.bfloat16):
        # The threshold itself is not a half-precision number.
        logits = logits.float()
    return (logits > settings.logit_threshold).to(torch.uint8).masked_fill_(logits.isnan(), 2)
