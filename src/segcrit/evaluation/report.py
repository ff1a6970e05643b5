"""The result of an evaluation: every figure, derived once from the counts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segcrit import _extras
from segcrit._constants import Task
from segcrit.errors import DataError, ParameterError
from segcrit.evaluation.figures import FIGURES, columns_of
from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.policy import get_policy
from segcrit.evaluation.ratios import CLASS_RATIOS, Floats, Integers, class_ratio
from segcrit.evaluation.resampling import Groups
from segcrit.evaluation.statistics import DEFAULT_RESAMPLES, Interval, bootstrap
from segcrit.evaluation.summary import as_text

__all__ = ["Report"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """All figures of an evaluation; made by :meth:`segcrit.evaluation.Evaluator.compute`.

    Figures are float64 from exact counts. Per-class figures are arrays (C,); in a binary task C = 2,
    background and foreground. An undefined figure is NaN, never 0: a class neither in the truth nor in the
    prediction (skipped in means), or the mean of nothing. ``str(report)`` is a table.

    Attributes:
        class_names: one name a class.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        policy: name of the policy on absent classes.
        confusion: int64 (C, C), rows truth, columns prediction, over all images; in a multilabel task (C, 2,
            2), for each channel 0 and 1.
        per_image: the counts of each image, with ``per_image.iou``, ``per_image.dice``, ...: (images, C).
        notes: remarks on the data in plain words, for example on repeated images.

    Example:
        >>> from segcrit.evaluation import Evaluator
        >>> evaluator = Evaluator(2, class_names=["sky", "tree"])
        >>> _ = evaluator.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]), ids=["a"])
        >>> report = evaluator.compute()
        >>> round(report.miou, 4), report.pixel_accuracy
        (0.5833, 0.75)
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
        return int(self.confusion.sum())

    @cached_property
    def class_counts(self) -> dict[str, Integers]:
        """``tp``, ``fp``, ``fn`` over the data set, each int64 (C,)."""
        return {name: getattr(self.per_image, name).sum(axis=0) for name in ("tp", "fp", "fn")}

    @cached_property
    def figures(self) -> dict[str, float]:
        """Every figure of :data:`segcrit.evaluation.figures.FIGURES` by name."""
        policy = get_policy(self.policy)
        bases = dict.fromkeys(figure.basis for figure in FIGURES.values())
        sums = {basis: columns_of(self.per_image, basis).sum(axis=0) for basis in bases}
        return {name: float(figure.combine(sums[figure.basis], self.task, policy)) for name, figure in FIGURES.items()}

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
        """Precision of each class, tp/(tp+fp); 0 for a class that is in the truth but was never predicted."""
        return self._ratio("precision")

    @property
    def recall(self) -> Floats:
        """Recall of each class, tp/(tp+fn); 0 for a class that was predicted but is not in the truth."""
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
        """Mean IoU over the classes except 0; binary: the IoU of the foreground; multilabel: the mIoU."""
        return self.figures["foreground_iou"]

    @property
    def foreground_dice(self) -> float:
        """Mean Dice over the classes except 0; binary: Dice of the foreground; multilabel: the mean Dice."""
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

    def bootstrap(
        self,
        statistic: str | None = None,
        *,
        resamples: int = DEFAULT_RESAMPLES,
        seed: int = 0,
        groups: Groups | None = None,
        level: float = 0.95,
    ) -> Interval:
        """Return a figure with its bootstrap interval over images.

        Args:
            statistic: a key of :attr:`figures`, or a class figure such as ``"iou[3]"`` or ``"recall[road]"``;
                default: the :attr:`headline`.
            resamples, seed, groups, level: as in :func:`segcrit.evaluation.bootstrap`.

        Example:
            >>> from segcrit.evaluation import Evaluator
            >>> truth = np.arange(64).reshape(16, 4) % 2
            >>> guess = np.where(np.arange(64).reshape(16, 4) % 5 == 0, 0, truth)
            >>> interval = Evaluator(2).update(guess, truth).compute().bootstrap("miou")
            >>> interval.low < interval.value < interval.high
            True
        """
        return bootstrap(
            self.per_image,
            statistic or self.headline,
            resamples=resamples,
            seed=seed,
            groups=groups,
            level=level,
            class_names=self.class_names,
        )

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

    def to_dict(self, *, per_image: bool = False) -> dict[str, Any]:
        """Return plain values ready for JSON, NaN as None.

        Args:
            per_image: include the counts of each image, from which :meth:`from_dict` builds the report again.
        """
        result = {
            "schema_version": SCHEMA_VERSION,
            "task": self.task,
            "policy": self.policy,
            "num_images": self.num_images,
            "num_pixels": self.num_pixels,
            "figures": {name: _plain(value) for name, value in self.figures.items()},
            "classes": [{key: _plain(value) for key, value in row.items()} for row in self.class_rows()],
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
        }
        if per_image:
            result["per_image"] = self.per_image.to_dict()
        return result

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """Build the report again from what :meth:`to_dict` returned with ``per_image=True``.

        All figures are computed anew from the counts; figures in ``content`` are not read.

        Raises:
            DataError: the counts of the images are not there, a field is missing or of another version, or the counts
                and the confusion matrix contradict each other.

        Example:
            >>> from segcrit.evaluation import Evaluator
            >>> report = Evaluator(2).update(np.array([[0, 1]]), np.array([[0, 1]])).compute()
            >>> Report.from_dict(report.to_dict(per_image=True)).miou
            1.0
        """
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"a report of schema version {SCHEMA_VERSION}", repr(version), "Read it with the version that wrote it."
            )
        missing = [key for key in ("task", "policy", "classes", "confusion", "per_image") if key not in content]
        if missing:
            raise DataError(
                "a report with the counts of its images",
                f"one without {', '.join(missing)}",
                "Write it with report.to_dict(per_image=True).",
            )
        per_image = PerImage.from_dict(content["per_image"])
        names = tuple(str(row["name"]) for row in content["classes"])
        report = cls(
            class_names=names,
            task=per_image.task,
            policy=per_image.policy,
            confusion=np.asarray(content["confusion"], dtype=np.int64),
            per_image=per_image,
            notes=tuple(content.get("notes", ())),
        )
        report._require_agreement(content["task"], content["policy"])
        return report

    def _require_agreement(self, task: str, policy: str) -> None:
        """Two parts of a file that was edited by hand may contradict each other."""
        table, count = self.confusion, self.num_classes
        shape = (count, 2, 2) if self.task == "multilabel" else (count, count)
        agree = (self.task, self.policy) == (task, policy) and self.per_image.num_classes == count
        if agree and table.shape == shape:
            right = table[:, 1, 1] if self.task == "multilabel" else table.diagonal()
            agree = bool(
                (right == self.class_counts["tp"]).all()
                and self.per_image.pixels.sum() == table.sum()
                and table.min() >= 0
            )
        else:
            agree = False
        if not agree:
            raise DataError(
                "a report whose task, classes, confusion matrix and counts of images agree",
                "parts that contradict each other",
                "Write it anew with report.to_dict(per_image=True).",
            )

    def to_dataframe(self, rows: str = "classes") -> Any:
        """Return a pandas table.

        Args:
            rows: ``"classes"``: share, IoU, Dice, precision, recall and counts of each class; ``"images"``:
                the pixels of each image, its mean IoU and Dice, and its IoU in each class.

        Raises:
            ParameterError: another word.
            MissingExtraError: pandas is not installed.
        """
        pandas = _extras.require("pandas", extra="compare")
        if rows == "classes":
            return pandas.DataFrame(self.class_rows()).set_index("name")
        if rows != "images":
            raise ParameterError("rows to be 'classes' or 'images'", repr(rows), "Choose one of them.")
        images = self.per_image
        pixels = images.pixels if images.pixels.ndim == 1 else images.pixels.sum(axis=1)
        values = {basis: columns_of(images, f"image:{basis}") for basis in ("iou", "dice")}
        table = {"pixels": pixels}
        for basis, columns in values.items():
            table[f"mean_{basis}"] = np.where(columns[:, 1] > 0, columns[:, 0], np.nan)
        table |= {f"iou[{name}]": images.iou[:, index] for index, name in enumerate(self.class_names)}
        return pandas.DataFrame(table, index=pandas.Index(images.ids, name="id"))

    def save_html(
        self, path: str | os.PathLike[str], *, title: str = "Evaluation", groups: Groups | None = None
    ) -> None:
        """Write one self-contained HTML page: summary with intervals, classes, confusion matrix, images.

        Args:
            path: of the file; written atomically.
            title: heading of the page.
            groups: groups of images for the intervals, as in :meth:`bootstrap`.

        Raises:
            MissingExtraError: jinja2 is not installed.
        """
        from segcrit.evaluation.html import write_page

        write_page(self, path, title=title, groups=groups)

    def __repr__(self) -> str:
        value = self.figures[self.headline]
        return f"Report({self.num_images} images, {self.num_classes} classes, {self.headline}={value:.4f})"

    def __str__(self) -> str:
        return as_text(self)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
