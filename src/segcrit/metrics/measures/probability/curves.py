"""Precision, recall, Dice and IoU of each channel as functions of the threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from segcrit.core.errors import ParameterError
from segcrit.core.json_files import encode
from segcrit.metrics.definition import Figure
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.base import Measure, Sample
from segcrit.metrics.measures.probability.blocks import channels_of, require_logits
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import CLASS_RATIOS, Floats, Integers, class_ratio
from segcrit.metrics.settings import Settings

__all__ = ["Curves", "ThresholdCurves"]


@dataclass(frozen=True)
class ThresholdCurves(Measure):
    """Counts at many thresholds: a measure of an evaluator of a binary or multilabel task that is fed with logits.

    At each threshold the counts are exactly those of an evaluator with that threshold: a probability greater than it
    is a 1. The store of an image is a histogram of its positives and one of its negatives for each channel.

    Args:
        thresholds: how many, equally spaced between 0 and 1 without the ends (99: 0.01 to 0.99); or the
            thresholds themselves, ascending.

    Example:
        >>> import torch, segcrit
        >>> evaluator = segcrit.Evaluator(1, task="binary", measures=[segcrit.ThresholdCurves([0.25, 0.5, 0.75])])
        >>> logits = torch.tensor([[[0.1, 0.4, 0.6, 0.9]]]).logit()
        >>> curves = evaluator.update(logits, torch.tensor([[0, 1, 1, 1]])).compute().curves
        >>> curves.recall[1], float(curves.best("dice")[1])
        (array([1.        , 0.66666667, 0.33333333]), 0.25)
    """

    thresholds: int | Sequence[float] = 99
    kind: ClassVar[str] = "curves"
    is_additive: ClassVar[bool] = True
    reads_probabilities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        given = self.thresholds
        if isinstance(given, int):
            if isinstance(given, bool) or given < 1:
                raise ParameterError("a number of thresholds above 0", repr(given), "99 makes steps of 0.01.")
            return
        values = tuple(float(value) for value in given)
        if not values or list(values) != sorted(set(values)) or not all(0 < value < 1 for value in values):
            raise ParameterError(
                "ascending thresholds between 0 and 1, both excluded",
                repr(given),
                "Write thresholds=(0.25, 0.5, 0.75).",
            )
        object.__setattr__(self, "thresholds", values)

    @property
    def values(self) -> tuple[float, ...]:
        """The thresholds."""
        if isinstance(self.thresholds, int):
            return tuple((place + 1) / (self.thresholds + 1) for place in range(self.thresholds))
        return tuple(self.thresholds)

    def check(self, settings: Settings) -> None:
        """Sigmoid tasks.

        Raises:
            ParameterError: a multiclass task decides by the largest probability, not by a threshold.
        """
        if settings.task == "multiclass":
            raise ParameterError(
                "task='binary' or 'multilabel' for curves over the threshold",
                "'multiclass'",
                "It has no threshold: leave curves out.",
            )

    def layout(self, classes: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Elements by the number of thresholds that their probability exceeds."""
        shape = (classes, len(self.values) + 1)
        return {"positives": (shape, int), "negatives": (shape, int)}

    def measure(self, sample: Sample) -> list[Values]:
        """The histograms of each image."""
        require_logits(sample, "curves")
        bins = len(self.values) + 1
        logits_of = [math.log(value) - math.log1p(-value) for value in self.values]
        rows: list[Values] = []
        for image in range(sample.batch.images):
            table = np.zeros((2, sample.settings.classes, bins), dtype=np.int64)
            for channel, logits, truth in channels_of(sample, image):
                # In the dtype of the logits, in which the evaluator compares them with its threshold.
                place = torch.bucketize(logits, torch.tensor(logits_of, dtype=logits.dtype, device=logits.device))
                # The foreground of a binary task is class 1.
                row = 1 if sample.settings.task == "binary" else channel
                for side, chosen in enumerate((truth, ~truth)):
                    table[side, row] = torch.bincount(place[chosen], minlength=bins).cpu().numpy()
            rows.append({"positives": table[0], "negatives": table[1]})
        return rows

    def figures(self, counts: PerImage) -> Iterable[Figure]:
        """None: a curve is no figure."""
        return ()

    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> Curves:
        """The curves over the data set."""
        arrays = counts.measures[self.kind].arrays
        positives, negatives = (arrays[name].sum(axis=0) for name in ("positives", "negatives"))
        # Above threshold k lie the bins k + 1 and higher.
        tp, fp = (values[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:] for values in (positives, negatives))
        fn = positives.sum(axis=1, keepdims=True) - tp
        return Curves(np.asarray(self.values), class_names, tp, fp, fn, counts.policy)


@dataclass(frozen=True, eq=False)
class Curves:
    """Counts and figures over the data set at each threshold, from :class:`segcrit.ThresholdCurves`.

    Attributes:
        thresholds: (T,).
        class_names: one name a row. In a binary task row 0, the background, is empty.
        tp, fp, fn: int64 (C, T).
        policy: on absent classes.
    """

    thresholds: Floats
    class_names: tuple[str, ...]
    tp: Integers
    fp: Integers
    fn: Integers
    policy: str

    def _ratio(self, name: str) -> Floats:
        return class_ratio(name, self.tp, self.fp, self.fn, get_policy(self.policy))

    @property
    def precision(self) -> Floats:
        """(C, T)."""
        return self._ratio("precision")

    @property
    def recall(self) -> Floats:
        """(C, T)."""
        return self._ratio("recall")

    @property
    def dice(self) -> Floats:
        """(C, T)."""
        return self._ratio("dice")

    @property
    def iou(self) -> Floats:
        """(C, T)."""
        return self._ratio("iou")

    def best(self, figure: str = "dice") -> Floats:
        """The threshold with the largest figure for each class, the lowest one on a tie; NaN for an absent class.

        It is the best one for these images: choose it on a validation set, not on the test set.

        Raises:
            ParameterError: another figure than iou, dice, precision or recall.
        """
        if figure not in CLASS_RATIOS:
            raise ParameterError(f"a figure among {', '.join(CLASS_RATIOS)}", repr(figure), "Choose one of them.")
        values = self._ratio(figure)
        known = ~np.isnan(values).all(axis=1)
        place = np.where(np.isnan(values), -1.0, values).argmax(axis=1)
        result: Floats = np.where(known, self.thresholds[place], np.nan)
        return result

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each class that occurs, and threshold."""
        figures = {name: self._ratio(name) for name in CLASS_RATIOS}
        return [
            {
                "index": index,
                "name": name,
                "threshold": float(threshold),
                **{key: float(values[index, place]) for key, values in figures.items()},
            }
            for index, name in enumerate(self.class_names)
            for place, threshold in enumerate(self.thresholds)
            if (self.tp + self.fp + self.fn)[index].any()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        figures = {name: self._ratio(name) for name in CLASS_RATIOS}
        best = {name: self.best(name) for name in ("dice", "iou")}
        return encode({"thresholds": self.thresholds, **figures, "best": best})  # type: ignore[no-any-return]
