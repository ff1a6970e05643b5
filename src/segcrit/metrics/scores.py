"""The scores of an evaluation: every figure, derived once from the counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segcrit.core.constants import Task
from segcrit.metrics.measures.base import measures_of
from segcrit.metrics.measures.boundary.result import BoundaryScores
from segcrit.metrics.measures.objects import ObjectCounts
from segcrit.metrics.measures.probability.calibration import CalibrationScores
from segcrit.metrics.measures.probability.curves import Curves
from segcrit.metrics.named import figures_of
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import CLASS_RATIOS, Floats, Integers, class_ratio

__all__ = ["Scores"]


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Counts of an evaluation and all figures that follow from them; :class:`segcrit.Report` is what users hold.

    Attributes:
        class_names, task, policy, confusion, per_image, notes: as in :class:`segcrit.Report`.
    """

    class_names: tuple[str, ...]
    task: Task
    policy: str
    confusion: Integers
    per_image: PerImage
    notes: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.per_image.num_images

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def num_pixels(self) -> int:
        """Number of judged pixels; in a multilabel task of judged (pixel, channel) elements."""
        return int(self.per_image.pixels.sum())

    @property
    def background(self) -> int | None:
        """The class that figures of the foreground leave out; None where every class is one like the others."""
        return self.per_image.background

    @cached_property
    def class_counts(self) -> dict[str, Integers]:
        """``tp``, ``fp``, ``fn`` over the data set, each int64 (C,)."""
        return {name: getattr(self.per_image, name).sum(axis=0) for name in ("tp", "fp", "fn")}

    @cached_property
    def figures(self) -> dict[str, float]:
        """Every figure of :data:`segcrit.metrics.named.FIGURES`, and of the measures, by name."""
        policy = get_policy(self.policy)
        sums: dict[str, Floats] = {}
        found = {}
        for name, figure in figures_of(self.per_image).items():
            if figure.worst is not None:
                found[name] = figure.of(self.per_image)
                continue
            if figure.basis not in sums:
                sums[figure.basis] = figure.columns_of(self.per_image).sum(axis=0)
            found[name] = float(figure.combine(sums[figure.basis], self.task, policy))
        return found

    def _ratio(self, name: str) -> Floats:
        counts = self.class_counts
        return class_ratio(name, counts["tp"], counts["fp"], counts["fn"], get_policy(self.policy))

    @property
    def iou(self) -> Floats:
        """IoU (Jaccard index) of each class over the data set, tp/(tp+fp+fn)."""
        return self._ratio("iou")

    @property
    def dice(self) -> Floats:
        """Dice (F1) of each class over the data set, 2tp/(2tp+fp+fn)."""
        return self._ratio("dice")

    @property
    def precision(self) -> Floats:
        """Precision of each class, tp/(tp+fp); under ``"segcrit"`` 0 for a class in the truth that was never predicted."""
        return self._ratio("precision")

    @property
    def recall(self) -> Floats:
        """Recall of each class, tp/(tp+fn); under ``"segcrit"`` 0 for a class that was predicted but is not in the truth."""
        return self._ratio("recall")

    @property
    def share(self) -> Floats:
        """Share of each class in the true pixels, (C,); multilabel: in the judged elements of the channel."""
        truth = (self.class_counts["tp"] + self.class_counts["fn"]).astype(np.float64)
        judged = self.per_image.pixels.sum(axis=0).astype(np.float64) * np.ones(self.num_classes)
        result: Floats = np.divide(truth, judged, out=np.full(self.num_classes, np.nan), where=judged > 0)
        return result

    @property
    def miou(self) -> float:
        """Mean IoU over classes, over the data set (mIoU-D). Binary: over background and foreground."""
        return self.figures["miou"]

    @property
    def mean_dice(self) -> float:
        """Mean Dice over classes, over the data set. Binary: over background and foreground."""
        return self.figures["mean_dice"]

    @property
    def foreground_iou(self) -> float:
        """Mean IoU over the classes but the :attr:`background`; binary: the IoU of the foreground; otherwise the mIoU."""
        return self.figures["foreground_iou"]

    @property
    def foreground_dice(self) -> float:
        """Mean Dice over the classes but the :attr:`background`; binary: Dice of the foreground; otherwise the mean Dice."""
        return self.figures["foreground_dice"]

    @property
    def pixel_accuracy(self) -> float:
        """Share of the judged pixels (multilabel: elements) that are right."""
        return self.figures["pixel_accuracy"]

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over classes."""
        return self.figures["mean_accuracy"]

    @property
    def mean_precision(self) -> float:
        """Mean precision over classes."""
        return self.figures["mean_precision"]

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU averaged over classes, each weighted by its share of the true pixels."""
        return self.figures["frequency_weighted_iou"]

    @property
    def kappa(self) -> float:
        """Cohen's kappa; multilabel: the mean of the channels' kappas."""
        return self.figures["kappa"]

    @property
    def image_miou(self) -> float:
        """mIoU-I: mean over images of the mean IoU of the classes present in the image."""
        return self.figures["image_miou"]

    @property
    def class_miou(self) -> float:
        """mIoU-C: mean over classes of the mean IoU over the images in which the class is present."""
        return self.figures["class_miou"]

    @property
    def image_dice(self) -> float:
        """Per-image Dice: mean over images of the mean Dice of the classes present in the image."""
        return self.figures["image_dice"]

    @property
    def image_foreground_dice(self) -> float:
        """Per-image Dice without the background; binary: the usual Dice score of a set of images."""
        return self.figures["image_foreground_dice"]

    @property
    def headline(self) -> str:
        """Name of the first figure: ``"foreground_iou"`` in a binary task, otherwise ``"miou"``."""
        return "foreground_iou" if self.task == "binary" else "miou"

    @property
    def tool_figures(self) -> dict[str, float]:
        """The figures that the tool of the policy reports, under its own names; empty for ``"segcrit"``."""
        return {name: self.figures[own] for name, own in get_policy(self.policy).figures.items()}

    @property
    def objects(self) -> ObjectCounts | None:
        """Counts by object size, where :class:`segcrit.ObjectSizes` measured them."""
        found: ObjectCounts | None = self._result("objects")
        return found

    @property
    def boundary(self) -> BoundaryScores | None:
        """Boundary and distance figures, where :class:`segcrit.Boundary` measured them."""
        found: BoundaryScores | None = self._result("boundary")
        return found

    @property
    def calibration(self) -> CalibrationScores | None:
        """Calibration, where :class:`segcrit.Calibration` measured it."""
        found: CalibrationScores | None = self._result("calibration")
        return found

    @property
    def curves(self) -> Curves | None:
        """Curves over the threshold, where :class:`segcrit.ThresholdCurves` measured them."""
        found: Curves | None = self._result("curves")
        return found

    def _result(self, kind: str) -> Any:
        found = (measure for measure in measures_of(self.per_image) if measure.kind == kind)
        return next((measure.result(self.per_image, self.class_names) for measure in found), None)

    def class_rows(self) -> list[dict[str, Any]]:
        """One dictionary a class: index, name, share, the four class figures, the counts."""
        figures = {name: self._ratio(name) for name in CLASS_RATIOS}
        counts = self.class_counts
        return [
            {
                "index": index,
                "name": name,
                "share": float(self.share[index]),
                **{key: float(values[index]) for key, values in figures.items()},
                **{key: int(values[index]) for key, values in counts.items()},
            }
            for index, name in enumerate(self.class_names)
        ]
