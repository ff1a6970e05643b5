"""The result of an evaluation: every figure, derived once from the counts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from segcrit import _extras
from segcrit._constants import Task
from segcrit.errors import DataError, ParameterError
from segcrit.evaluation.boundary import BoundaryScores
from segcrit.evaluation.figures import columns_of, figures_of, get_figure, measured_figures
from segcrit.evaluation.merging import merge_reports
from segcrit.evaluation.objects import ObjectCounts
from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.plain import plain
from segcrit.evaluation.policy import get_policy
from segcrit.evaluation.probability import CalibrationScores, Curves
from segcrit.evaluation.ratios import CLASS_RATIOS, Floats, Integers, class_ratio
from segcrit.evaluation.resampling import Groups, group_labels
from segcrit.evaluation.statistics import DEFAULT_RESAMPLES, Interval, bootstrap
from segcrit.evaluation.stored import SCHEMA_VERSION, read_report
from segcrit.evaluation.summary import as_text

__all__ = ["Report"]


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
            2), for each channel 0 and 1. Pixels without a predicted class, which some policies know, are in
            no column.
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
        """Every figure of :data:`segcrit.evaluation.figures.FIGURES`, and of the measures, by name."""
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
        table = self.per_image.measures.get(kind)
        return None if table is None else table.measure.result(self.per_image, self.class_names)

    def with_policy(self, policy: str) -> Report:
        """Return the report of the same counts under another policy.

        What the policy does with a predicted ignore label was decided while counting and stays.

        Example:
            >>> from segcrit.evaluation import Evaluator
            >>> report = Evaluator(2).update(np.array([[0, 1]]), np.array([[0, 0]])).compute()
            >>> report.miou, report.with_policy("detectron2").tool_figures["mIoU"]
            (0.25, 0.5)
        """
        return replace(self, policy=policy, per_image=self.per_image.with_policy(policy))

    def select(self, images: Iterable[Any]) -> Report:
        """Return the report on some of the images.

        Args:
            images: their ids, or their row numbers.

        Raises:
            DataError: an image is not there, or the report was made without the counts of each image.
        """
        counts = self.per_image
        if counts.pairs is None:
            raise DataError(
                "a report with the confusion counts of each image", "one with their sum only", "Evaluate anew."
            )
        place = {name: row for row, name in enumerate(counts.ids)}
        rows = []
        for image in images:
            row = int(image) if isinstance(image, (int, np.integer)) else place.get(str(image), -1)
            if not 0 <= row < counts.num_images:
                raise DataError("the id or row of an evaluated image", repr(image), "See report.per_image.ids.")
            rows.append(row)
        chosen = counts.select(np.asarray(rows, dtype=np.int64))
        confusion = self.confusion if chosen.pairs is None else chosen.pairs.confusion()
        return replace(self, per_image=chosen, confusion=confusion, notes=())

    def by_group(self, groups: Groups) -> dict[str, Report]:
        """Return a report for each group of images, such as a scene, a patient or a sensor, in the order of their names.

        Args:
            groups: a mapping from image id to group, or one group an image in the order of ``per_image.ids``.

        Raises:
            DataError: an image has no group.

        Example:
            >>> from segcrit.evaluation import Evaluator
            >>> truth, guess = np.array([[0, 1], [0, 1], [1, 1]]), np.array([[0, 1], [1, 1], [1, 1]])
            >>> report = Evaluator(2).update(guess, truth, ids=["a", "b", "c"]).compute()
            >>> {name: part.pixel_accuracy for name, part in report.by_group({"a": "day", "b": "night", "c": "day"}).items()}
            {'day': 1.0, 'night': 0.5}
        """
        names = group_labels(self.per_image, groups)
        rows = {name: [row for row, own in enumerate(names) if own == name] for name in sorted(set(names))}
        return {name: self.select(chosen) for name, chosen in rows.items()}

    def worst(self, number: int = 10, figure: str | None = None) -> list[tuple[str, float]]:
        """Return the images in which a figure is worst, the worst first, with its values.

        Args:
            number: of images.
            figure: any name of :attr:`figures`, or a class figure; default: the mean IoU of the classes of the image, in
                a binary task the IoU of the foreground.

        Example:
            >>> from segcrit.evaluation import Evaluator
            >>> truth, guess = np.array([[0, 1], [0, 1]]), np.array([[0, 1], [1, 1]])
            >>> Evaluator(2).update(guess, truth, ids=["a", "b"]).compute().worst(1)
            [('b', 0.25)]
        """
        name = figure or ("image_foreground_iou" if self.task == "binary" else "image_miou")
        counts = self.per_image
        found = get_figure(name, counts.num_classes, self.class_names, counts)
        if found.worst is not None:
            values = np.array([found.of(counts.select([row])) for row in range(counts.num_images)])
        else:
            values = np.asarray(found.combine(found.columns_of(counts), counts.task, get_policy(counts.policy)))
        order = np.argsort(values if found.better == "higher" else -values, kind="stable")
        return [(counts.ids[int(row)], float(values[row])) for row in order if not math.isnan(values[row])][:number]

    def merge(self, other: Report) -> Report:
        """Return the report on the images of both, for example of two shards.

        The same image with the same counts counts once. Nothing else can be joined: use :meth:`Evaluator.merge` where
        images may come in several versions.

        Raises:
            DataError: the two were measured with other settings, one image has different counts in them, or an
                image has no id of its own.
        """
        return merge_reports(self, other)

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
            "figures": plain(self.figures),
            "classes": plain(self.class_rows()),
            "confusion": self.confusion.tolist(),
            "notes": list(self.notes),
            "measures": {
                kind: {"options": table.measure.to_dict(), **self._result(kind).to_dict()}
                for kind, table in self.per_image.measures.items()
            },
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
        return read_report(cls, content)

    def to_dataframe(self, rows: str = "classes") -> Any:
        """Return a pandas table.

        Args:
            rows: ``"classes"``: share, IoU, Dice, precision, recall and counts of each class; ``"images"``:
                the pixels of each image, its mean IoU and Dice, what was measured beside, and its IoU in each
                class.

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
        policy = get_policy(self.policy)
        for name, figure in measured_figures(images).items():
            table[name] = np.asarray(figure.combine(figure.columns_of(images), self.task, policy))
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
