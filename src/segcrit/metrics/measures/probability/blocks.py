"""Logits of a batch in blocks of valid pixels, at the resolution of the target, never all classes of all pixels at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segcrit.core.dtypes import compute_dtype
from segcrit.core.errors import DataError, DtypeError
from segcrit.engines.interpolation import interpolate
from segcrit.labels.mask import is_labelled
from segcrit.metrics.measures.base import Sample

__all__ = ["Pixels", "channels_of", "pixels_of", "require_logits"]

# Floats at a time: blocks of all classes, or, while interpolating, of some classes of a whole image.
_FLOATS = 1 << 20
_UPSAMPLED = 1 << 22


class Pixels(NamedTuple):
    """What a softmax says about valid pixels; each of shape (P,), float64 where not said.

    Attributes:
        confidence: the largest probability.
        right: bool, whether the class that has it (the lowest one on a tie) is the true one.
        loss: -log of the probability of the true class.
        brier: sum over classes of (probability - truth)².
    """

    confidence: Tensor
    right: Tensor
    loss: Tensor
    brier: Tensor


def require_logits(sample: Sample, name: str) -> None:
    """Refuse labels.

    Raises:
        DtypeError: the prediction has no probabilities.
    """
    if not sample.batch.is_logits:
        raise DtypeError(
            f"logits (floating) for {name}",
            f"labels of dtype {sample.batch.prediction.dtype}",
            f"Give the network's logits, or leave {name} out of the measures.",
        )


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.device.type == "mps" else logits.double()


def channels_of(sample: Sample, image: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Channel number, logits and targets (0 or 1) of the valid elements of an image; of a sigmoid task."""
    batch, settings = sample.batch, sample.settings
    multilabel = settings.task == "multilabel"
    for channel in range(settings.channels):
        target = batch.target[image, channel] if multilabel else batch.target[image]
        logits = batch.prediction[image, channel : channel + 1]
        if logits.shape[1:] != target.shape:
            logits = interpolate(logits.to(compute_dtype(logits.dtype)), tuple(target.shape), settings.align_corners)
        valid = is_labelled(target, batch.ignored)
        chosen = logits[0][valid]
        yield channel, chosen.float() if chosen.dtype in (torch.float16, torch.bfloat16) else chosen, target[valid] == 1


def pixels_of(sample: Sample, image: int) -> Iterator[Pixels]:
    """The valid pixels of an image, block by block; of a multiclass task.

    Raises:
        DataError: infinite logits leave a softmax undefined.
    """
    batch, settings = sample.batch, sample.settings
    logits, target = batch.prediction[image], batch.target[image]
    if logits.shape[1:] == target.shape:
        flat, labels = logits.flatten(1), target.flatten()
        step = max(1, _FLOATS // max(1, flat.shape[0]))
        for start in range(0, flat.shape[1], step):
            part = labels[start : start + step]
            valid = is_labelled(part, batch.ignored)
            state = _Softmax(part[valid].long())
            state.add(0, _wide(flat[:, start : start + step][:, valid]))
            yield state.finish()
        return
    valid = is_labelled(target, batch.ignored)
    state = _Softmax(target[valid].long())
    step = max(1, _UPSAMPLED // max(1, int(np.prod(target.shape))))
    for first in range(0, logits.shape[0], step):
        part = logits[first : first + step].to(compute_dtype(logits.dtype))
        dense = interpolate(part, tuple(target.shape), settings.align_corners)
        state.add(first, _wide(dense[:, valid]))
    yield state.finish()


class _Softmax:
    """The sums of a softmax over classes that come in parts, for the pixels with these labels."""

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels
        self._largest: Tensor | None = None

    def add(self, first: int, logits: Tensor) -> None:
        """Take in the classes from ``first`` on, (classes, P)."""
        top = logits.amax(dim=0)
        # The lowest class on a tie, as in the labels of the evaluation.
        label = torch.zeros_like(self._labels)
        for place in range(len(logits) - 1, -1, -1):
            label.masked_fill_(logits[place] == top, first + place)
        inside = (self._labels >= first) & (self._labels < first + len(logits))
        own = logits.gather(0, (self._labels - first).clamp(0, len(logits) - 1)[None])[0]
        if self._largest is None:
            self._largest, self._predicted, self._true = top, label, torch.where(inside, own, 0.0)
            self._sum, self._squares = torch.zeros_like(top), torch.zeros_like(top)
            scale = torch.ones_like(top)
        else:
            before = self._largest
            self._predicted = torch.where(top > before, label, self._predicted)
            self._largest = torch.maximum(before, top)
            self._true = torch.where(inside, own, self._true)
            scale = torch.where(self._largest == before, 1.0, torch.exp(before - self._largest))
        powers = torch.exp(logits - self._largest)
        self._sum = self._sum * scale + powers.sum(0)
        self._squares = self._squares * scale * scale + powers.square().sum(0)

    def finish(self) -> Pixels:
        """The facts about each pixel."""
        if self._largest is None:  # no class: an impossible batch
            empty = torch.zeros(0, dtype=torch.float64)
            return Pixels(empty, empty.bool(), empty, empty)
        confidence = 1.0 / self._sum
        if bool(confidence.isnan().any()):
            raise DataError(
                "logits whose softmax is defined wherever the target counts",
                "pixels at which a logit is +inf, or all are -inf",
                "Give finite logits; -inf is allowed beside finite ones.",
            )
        loss = torch.log(self._sum) + self._largest - self._true
        probability = torch.exp(-loss)
        brier = self._squares / self._sum.square() - 2 * probability + 1
        return Pixels(confidence, self._predicted == self._labels, loss, brier)
