"""User's predictions and targets, brought to one form: logits or labels, and labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrit.core.errors import DeviceError, DtypeError, LabelError, ShapeError
from segcrit.core.notice import warn
from segcrit.core.tensors import as_plain, explain_missing_axis, signed
from segcrit.labels.mask import is_label
from segcrit.metrics.settings import Settings

__all__ = ["Batch", "looks_unbatched", "read_batch", "warn_if_probabilities", "warn_unbatched"]

# The label that stands for "ignored" in labels made from a one-hot target.
_IGNORED = -1
_ROWS_AT_A_TIME = 1 << 18
# From this size on both sides of a table of labels may be those of an image.
_IMAGE_SIDE = 16


@dataclass(frozen=True)
class Batch:
    """A checked batch.

    Attributes:
        prediction: logits (N, C, \\*S); or labels (N, \\*S), in a multilabel task elements (N, C, \\*S).
        is_logits: which of the two.
        target: labels (N, \\*S), in a multilabel task elements (N, C, \\*S); any integer dtype or integral
            floats.
        ignored: the label of the target that does not count.
    """

    prediction: Tensor
    is_logits: bool
    target: Tensor
    ignored: int

    @property
    def images(self) -> int:
        """Number of images."""
        return self.target.shape[0]


def read_batch(prediction: Any, target: Any, settings: Settings) -> Batch:
    """Check structure (types, shapes, devices) and bring the target to labels; values are checked while
    counting.

    Args:
        prediction: tensor or array; floating = logits (N, C, \\*S), integer or bool = labels (N, \\*S).
        target: tensor or array: labels (N, \\*S) or (N, 1, \\*S), or one-hot (N, C, \\*S).
        settings: of the evaluation.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError: the batch cannot be read.
    """
    guess, truth = _as_tensor(prediction, "prediction"), _as_tensor(target, "target")
    if guess.device != truth.device:
        raise DeviceError(
            "prediction and target on one device",
            f"{guess.device} and {truth.device}",
            "Move one of them with .to(device).",
        )
    read = _with_logits if guess.dtype.is_floating_point else _with_labels
    try:
        return read(guess, truth, settings)
    except ShapeError as error:
        fits = partial(_fits, settings=settings, are_logits=guess.dtype.is_floating_point)
        raise explain_missing_axis(error, ("prediction", guess), ("target", truth), fits) from None


def _fits(prediction: tuple[int, ...], target: tuple[int, ...], settings: Settings, are_logits: bool) -> bool:
    """Whether shapes fit, in the forms that a missing axis may have been meant for."""
    if settings.task == "multilabel":
        return prediction == target and len(target) > 2 and target[1] == settings.channels
    if not are_logits:
        return prediction == target
    images, channels, *size = prediction
    return channels == settings.channels and target in ((images, *size), (images, 1, *size))


def _as_tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
            raise DtypeError(f"a numeric {name}", f"dtype {values.dtype}", "Give labels or logits.")
        # torch shares only writable arrays of native byte order with positive strides.
        tensor = torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
    else:
        tensor = as_plain(name, values).detach()
    tensor = signed(tensor)
    if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
        raise DtypeError(f"a dense real {name}", f"{tensor.dtype}, {tensor.layout}", "Convert it first.")
    if tensor.ndim == 0:
        raise ShapeError(f"a {name} with a batch dimension", "a single number", "Add the dimension with [None].")
    return tensor


def _with_logits(logits: Tensor, target: Tensor, settings: Settings) -> Batch:
    channels = settings.channels
    if logits.ndim < 2 or logits.shape[1] != channels:
        advice = "Check the class dimension, which comes second."
        if logits.ndim >= 1 and (logits.ndim < 2 or logits.shape[1] == 1 or logits.shape == target.shape):
            advice = "Floating values are read as logits; give labels as integers, with .long()."
        raise ShapeError(f"logits of shape (N, {channels}, *S)", str(tuple(logits.shape)), advice)
    if logits.ndim > 5:
        raise ShapeError("logits with at most 3 spatial dimensions", str(tuple(logits.shape)), "Join some of them.")
    labels, ignored = _read_target(target, logits.ndim - 2, settings)
    size, wanted = tuple(logits.shape[2:]), _spatial(labels, settings)
    if labels.shape[0] != logits.shape[0]:
        raise _shape_error("logits", logits, target)
    if size != wanted and (settings.upsample is None or not size):
        raise ShapeError(
            f"a target of the size of the logits, {size}",
            str(wanted),
            "Pass upsample='linear' to interpolate the logits to the size of the target.",
        )
    if size != wanted and 0 in (*size, *wanted):
        raise _shape_error("logits", logits, target)
    return Batch(logits, True, labels, ignored)


def _with_labels(prediction: Tensor, target: Tensor, settings: Settings) -> Batch:
    if settings.task == "multilabel":
        labels, ignored = _read_target(target, prediction.ndim - 2, settings)
        if prediction.shape != labels.shape:
            raise _shape_error("prediction", prediction, target)
        return Batch(prediction, False, labels, ignored)
    one_more = prediction.ndim == target.ndim + 1
    beside_one_hot = prediction.ndim == target.ndim > 1 and target.shape[1] == settings.classes
    if (one_more or beside_one_hot) and prediction.shape[1] == 1:
        prediction = prediction[:, 0]
    elif one_more and prediction.shape[1] == settings.classes:
        prediction = _labels_from_rows(prediction, "prediction")
        if bool(is_label(prediction, _IGNORED).any()):
            raise LabelError(
                "a one-hot prediction with a class at each pixel",
                "pixels with none",
                "Give the label of each pixel, for example with .argmax(1).",
            )
    if prediction.shape == target.shape:
        _refuse_two_one_hots(prediction, target, settings)
        return Batch(prediction, False, target, settings.ignore_index)
    labels, ignored = _read_target(target, prediction.ndim - 1, settings)
    if prediction.shape != labels.shape:
        raise _shape_error("prediction", prediction, target)
    return Batch(prediction, False, labels, ignored)


def _read_target(target: Tensor, dimensions: int, settings: Settings) -> tuple[Tensor, int]:
    """The target as labels (elements in a multilabel task) and its ignore label."""
    channels = settings.channels
    if settings.task == "multilabel":
        if target.ndim != dimensions + 2 or target.shape[1] != channels:
            raise ShapeError(
                f"a multilabel target of shape (N, {channels}, *S)",
                str(tuple(target.shape)),
                "Give 0 or 1 for each channel.",
            )
        return target, settings.ignore_index
    if target.ndim == dimensions + 1:
        return target, settings.ignore_index
    if target.ndim == dimensions + 2 and target.shape[1] == 1:
        return target[:, 0], settings.ignore_index
    if target.ndim == dimensions + 2 and target.shape[1] == channels:
        # Where the ignore label is a class, the pixels of that class are left out as those without a class are.
        ignored = settings.ignore_index if 0 <= settings.ignore_index < settings.classes else _IGNORED
        return _labels_from_rows(target, "target", ignored), ignored
    raise ShapeError(
        f"a target of shape (N, *S), (N, 1, *S) or one-hot (N, {channels}, *S) with {dimensions} spatial dimensions",
        str(tuple(target.shape)),
        "Give one label a pixel.",
    )


def _spatial(labels: Tensor, settings: Settings) -> tuple[int, ...]:
    return tuple(labels.shape[2 if settings.task == "multilabel" else 1 :])


def _labels_from_rows(one_hot: Tensor, name: str, empty: int = _IGNORED) -> Tensor:
    """(N, C, \\*S) of zeros and ones to labels (N, \\*S); a row of zeros becomes the label ``empty``."""
    images, classes, *size = one_hot.shape
    rows = one_hot.reshape(images, classes, -1)
    labels = torch.empty((images, rows.shape[2]), dtype=torch.int32, device=one_hot.device)
    numbers = torch.arange(1, classes + 1, dtype=torch.int32, device=one_hot.device)[:, None]
    for image in range(images):
        for start in range(0, rows.shape[2], _ROWS_AT_A_TIME):
            part = rows[image, :, start : start + _ROWS_AT_A_TIME]
            ones = part == 1
            if bool(((part != 0) & ~ones).any()) or bool((ones.sum(0) > 1).any()):
                raise LabelError(
                    f"a {name} of labels (N, *S) or one-hot rows (N, C, *S), each with a single 1",
                    "rows with other values, such as soft labels",
                    f"Give labels, for example with {name}.argmax(1).",
                )
            labels[image, start : start + _ROWS_AT_A_TIME] = (ones * numbers).sum(0, dtype=torch.int32) - 1
    return labels.masked_fill_(is_label(labels, _IGNORED), empty).reshape(images, *size)


def _refuse_two_one_hots(prediction: Tensor, target: Tensor, settings: Settings) -> None:
    """Two one-hot maps of one shape look like label volumes of depth C, and would be counted as such."""
    if settings.task != "multiclass" or prediction.ndim < 3 or prediction.shape[1] != settings.classes:
        return

    def is_one_hot(values: Tensor) -> bool:
        return bool(((values == 0) | (values == 1)).all()) and bool((values.sum(1) == 1).all())

    if is_one_hot(prediction) and is_one_hot(target):
        raise ShapeError(
            "labels (N, *S) as prediction",
            f"what looks like one-hot maps of shape {tuple(prediction.shape)}",
            "Give the label of each pixel, for example with prediction.argmax(1).",
        )


def _shape_error(name: str, prediction: Tensor, target: Tensor) -> ShapeError:
    return ShapeError(
        f"{name} and target of matching shapes",
        f"{tuple(prediction.shape)} and {tuple(target.shape)}",
        "Give both for the same images and pixels.",
    )


def warn_if_probabilities(logits: Tensor) -> bool:
    """Warn where sigmoid logits all lie in [0, 1]: taken as logits, probabilities are all positive."""
    if logits.numel() == 0:
        return False
    low, high = torch.aminmax(logits)
    if not (bool(low >= 0) and bool(high <= 1) and bool(high > 0)):
        return False
    warnings.warn(
        "the values given as logits all lie in [0, 1], as probabilities do; a sigmoid is applied to them. "
        "Give the logits, or integer labels.",
        UserWarning,
        stacklevel=3,
    )
    return True


def looks_unbatched(batch: Batch) -> bool:
    """Whether labels (N, L) may be one image (H, W) without a batch dimension.

    Logits cannot be mistaken: their second dimension is that of the classes.
    """
    return not batch.is_logits and batch.target.ndim == 2 and min(batch.target.shape) >= _IMAGE_SIDE


def warn_unbatched(batch: Batch) -> None:
    """Say how such labels are read, and how to say what is meant."""
    images, length = batch.target.shape
    warn(
        f"labels of shape ({images}, {length}) are read as {images} images of {length} pixels each. For one image, give "
        "prediction[None] and target[None]; for images of one dimension, give their ids."
    )
