"""Calibration: whether a probability of 0.8 is right in 80 % of the cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segcrit.core.errors import ParameterError
from segcrit.core.json_files import encode
from segcrit.metrics.definition import Figure
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.base import Measure, Sample
from segcrit.metrics.measures.probability.blocks import channels_of, pixels_of, require_logits
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import Floats, Integers, divide
from segcrit.metrics.settings import Settings

__all__ = ["Calibration", "CalibrationScores"]

_FIGURES: Final = {
    "ece": ("Expected calibration error", "Mean distance between confidence and accuracy, over bins of confidence."),
    "mce": ("Maximum calibration error", "Largest distance between confidence and accuracy of a bin."),
    "brier": ("Brier score", "Mean squared distance between probabilities and truth, summed over the classes."),
    "nll": ("Negative log-likelihood", "Mean of -log of the probability of the truth."),
}


@dataclass(frozen=True)
class Calibration(Measure):
    """Calibration of the probabilities: a measure of an evaluator that is fed with logits.

    Multiclass: confidence is the largest probability of a pixel, and accuracy the share of the pixels whose class of
    this probability is the true one. Sigmoid tasks: confidence is the probability of 1, accuracy the share of 1
    among the elements; all channels of a multilabel task count together. Confidences fall into equal bins
    [k/K, (k+1)/K), the last one with 1:

    - ``ece`` = Σ_k n_k/n |accuracy_k − confidence_k| with the mean confidence of the bin, and ``mce`` the largest distance;
    - ``brier`` = mean of Σ_c (p_c − y_c)², from 0 to 2 in a multiclass task and to 1 in sigmoid tasks;
    - ``nll`` = mean of −log p of the truth: the cross-entropy.

    Counted in float64 from logits, without a tensor of probabilities; ignored pixels are left out. The store of an
    image is three numbers a bin, whatever its size.

    Args:
        bins: number of bins K.

    Example:
        >>> import torch, segcrit
        >>> evaluator = segcrit.Evaluator(2, measures=[segcrit.Calibration(bins=10)])
        >>> logits = torch.tensor([0.8, 0.2]).log()[None, :, None].expand(1, 2, 10)
        >>> target = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 0, 1, 1]])
        >>> round(evaluator.update(logits, target).compute().calibration.ece, 6)
        0.0
    """

    bins: int = 15
    kind: ClassVar[str] = "calibration"
    is_additive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.bins, bool) or not isinstance(self.bins, int) or self.bins < 1:
            raise ParameterError("bins to be a whole number above 0", repr(self.bins), "15 is the usual one.")

    def check(self, settings: Settings) -> None:
        """Any task."""

    def layout(self, classes: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Pixels, right ones and sum of confidence of each bin; sums of the two scores."""
        return {
            "counts": ((self.bins,), int),
            "hits": ((self.bins,), int),
            "confidence": ((self.bins,), float),
            "brier": ((1,), float),
            "nll": ((1,), float),
        }

    def measure(self, sample: Sample) -> list[Values]:
        """The arrays of each image."""
        require_logits(sample, "calibration")
        return [self._image(sample, image) for image in range(sample.batch.images)]

    def _image(self, sample: Sample, image: int) -> Values:
        found: dict[str, Any] = {
            name: np.zeros(shape, dtype=np.int64 if kind is int else np.float64)
            for name, (shape, kind) in self.layout(sample.settings.classes).items()
        }
        for confidence, right, loss, brier in self._blocks(sample, image):
            place = (confidence * self.bins).long().clamp_(0, self.bins - 1)
            found["counts"] += torch.bincount(place, minlength=self.bins).cpu().numpy()
            found["hits"] += torch.bincount(place[right], minlength=self.bins).cpu().numpy()
            found["confidence"] += torch.bincount(place, weights=confidence, minlength=self.bins).cpu().numpy()
            found["brier"] += float(brier.sum())
            found["nll"] += float(loss.sum())
        return found

    def _blocks(self, sample: Sample, image: int) -> Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]:
        if sample.settings.task == "multiclass":
            yield from pixels_of(sample, image)
            return
        for _, narrow, truth in channels_of(sample, image):
            logits = narrow if narrow.device.type == "mps" else narrow.double()
            probability, label = torch.sigmoid(logits), truth.to(logits.dtype)
            # softplus(z) - z y, without the cancellation at large z.
            loss = F.softplus(torch.where(truth, -logits, logits), threshold=40)
            yield probability, truth, loss, (probability - label).square()

    def figures(self, counts: PerImage) -> Iterable[Figure]:
        """ECE, MCE, Brier score and negative log-likelihood."""
        from segcrit.metrics.definition import Figure

        for name, (label, description) in _FIGURES.items():
            yield Figure(
                name, label, description, self.kind, _combine(name, self.bins), columns=_columns, better="lower"
            )

    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> CalibrationScores:
        """The scores over the data set."""
        arrays = {name: values.sum(axis=0) for name, values in counts.measures[self.kind].arrays.items()}
        sums = _columns(counts).sum(axis=0)
        figures = {name: float(_combine(name, self.bins)(sums, counts.task, None)) for name in _FIGURES}
        return CalibrationScores(
            **figures,
            counts=arrays["counts"],
            hits=arrays["hits"],
            confidence=divide(arrays["confidence"], arrays["counts"]),
            accuracy=divide(arrays["hits"], arrays["counts"]),
        )


def _columns(counts: PerImage) -> Floats:
    arrays = counts.measures[Calibration.kind].arrays
    return np.concatenate(
        [arrays[name] for name in ("counts", "hits", "confidence", "brier", "nll")], axis=1, dtype=np.float64
    )


def _combine(name: str, bins: int) -> Callable[[Floats, Any, Any], Floats]:
    def combine(sums: Floats, task: Any, policy: Any) -> Floats:
        counts, hits, confidence = (sums[..., part * bins : (part + 1) * bins] for part in range(3))
        total = counts.sum(axis=-1)
        if name in ("brier", "nll"):
            return divide(sums[..., -2 if name == "brier" else -1], total)
        gaps = np.abs(hits - confidence)
        if name == "ece":
            return divide(gaps.sum(axis=-1), total)
        largest = np.nan_to_num(divide(gaps, counts)).max(axis=-1)
        result: Floats = np.where(total > 0, largest, np.nan)
        return result

    return combine


@dataclass(frozen=True, eq=False)
class CalibrationScores:
    """Calibration over the data set, from :class:`segcrit.Calibration`.

    Attributes:
        ece, mce, brier, nll: the figures; NaN where no pixel was judged.
        counts: int64 (K,): pixels (elements) of each bin.
        hits: int64 (K,): those that are right (in sigmoid tasks: 1 in the truth).
        confidence, accuracy: (K,): means of each bin, the points of a reliability diagram; NaN in empty bins.
    """

    ece: float
    mce: float
    brier: float
    nll: float
    counts: Integers
    hits: Integers
    confidence: Floats
    accuracy: Floats

    @property
    def edges(self) -> Floats:
        """Ends of the bins, (K + 1,)."""
        return np.linspace(0.0, 1.0, len(self.counts) + 1)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a bin."""
        edges = self.edges
        return [
            {
                "low": float(edges[place]),
                "high": float(edges[place + 1]),
                "count": int(self.counts[place]),
                "confidence": float(self.confidence[place]),
                "accuracy": float(self.accuracy[place]),
            }
            for place in range(len(self.counts))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        figures = {name: getattr(self, name) for name in _FIGURES}
        return {"figures": encode(figures), "rows": encode(self.rows())}
