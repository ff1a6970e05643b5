"""The result of an evaluation: its scores, and what can be done with them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from segcrit.core import optional
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import encode
from segcrit.metrics.merging import merged
from segcrit.metrics.named import columns_of, get_figure, measured_figures
from segcrit.metrics.policy import get_policy
from segcrit.metrics.resampling import Groups, group_labels
from segcrit.metrics.scores import Scores
from segcrit.metrics.statistics import DEFAULT_RESAMPLES, Interval, bootstrap
from segcrit.metrics.stored import SCHEMA_VERSION, read_scores
from segcrit.metrics.summary import as_text

__all__ = ["Report"]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Scores):
    """All figures of an evaluation; made by :meth:`segcrit.metrics.evaluator.Evaluator.compute`.

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
        >>> from segcrit.metrics import Evaluator
        >>> evaluator = Evaluator(2, class_names=["sky", "tree"])
        >>> _ = evaluator.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]), ids=["a"])
        >>> report = evaluator.compute()
        >>> round(report.miou, 4), report.pixel_accuracy
        (0.5833, 0.75)
    """

    # Pages lie above the metrics: segcrit.reports.evaluation sets this when it is imported, with the first public name.
    _write_page: ClassVar[Callable[..., None] | None] = None

    def with_policy(self, policy: str) -> Report:
        """Return the report of the same counts under another policy.

        What the policy does with a predicted ignore label was decided while counting and stays.

        Example:
            >>> from segcrit.metrics import Evaluator
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
            >>> from segcrit.metrics import Evaluator
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
            >>> from segcrit.metrics import Evaluator
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
        return replace(self, **merged(self, other))

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
            resamples, seed, groups, level: as in :func:`segcrit.metrics.statistics.bootstrap`.

        Example:
            >>> from segcrit.metrics import Evaluator
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
            "figures": encode(self.figures),
            "classes": encode(self.class_rows()),
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
            >>> from segcrit.metrics import Evaluator
            >>> report = Evaluator(2).update(np.array([[0, 1]]), np.array([[0, 1]])).compute()
            >>> Report.from_dict(report.to_dict(per_image=True)).miou
            1.0
        """
        scores = read_scores(content)
        return cls(**{field.name: getattr(scores, field.name) for field in fields(scores)})

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
        pandas = optional.require("pandas", extra="compare")
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
        if self._write_page is None:
            raise ParameterError("the writer of pages", "none", "Import segcrit.reports.evaluation first.")
        self._write_page(path, title=title, groups=groups)

    def __repr__(self) -> str:
        value = self.figures[self.headline]
        return f"Report({self.num_images} images, {self.num_classes} classes, {self.headline}={value:.4f})"

    def __str__(self) -> str:
        return as_text(self)
