"""Counts per image: what every figure, interval and comparison is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.constants import TASKS, Task
from segcrit.core.errors import DataError, ParameterError, ShapeError
from segcrit.metrics.measure_table import MeasureTable
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Floats, Integers, class_ratio
from segcrit.metrics.tables import CountTable

__all__ = ["PerImage"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class PerImage:
    """True positives, false positives and false negatives of each image and class.

    Lists and other integer arrays are converted. A binary task has two columns, background and foreground; a
    multilabel task one a channel.

    Attributes:
        ids: one name an image.
        tp, fp, fn: int64 of shape (images, classes).
        pixels: int64 of shape (images,): the pixels that were judged (valid in the truth). In a multilabel
            task (images, classes), because there each channel has its own ignored elements.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        policy: name of the policy on absent classes.
        pairs: the sparse confusion counts of each image, or None where only tp, fp and fn are known.
        measures: what was measured beside the counts: kind -> table of one row an image.
        background: the class that figures of the foreground leave out, or None where every class is one like the
            others. A multilabel task has none.

    Raises:
        ShapeError: the arrays do not fit together.
        DataError: a count is negative, or larger than the number of pixels.

    Example:
        >>> tp, fp, fn = [[3, 1], [4, 0]], [[0, 1], [0, 0]], [[1, 0], [0, 0]]
        >>> counts = PerImage(["a", "b"], tp, fp, fn, pixels=[5, 4])
        >>> counts.iou
        array([[0.75, 0.5 ],
               [1.  ,  nan]])
    """

    ids: tuple[str, ...]
    tp: Integers
    fp: Integers
    fn: Integers
    pixels: Integers
    task: Task = "multiclass"
    policy: str = "segcrit"
    pairs: CountTable | None = None
    measures: Mapping[str, MeasureTable] = field(default_factory=dict)
    background: int | None = 0

    def __init__(
        self,
        ids: Iterable[object],
        tp: npt.ArrayLike,
        fp: npt.ArrayLike,
        fn: npt.ArrayLike,
        pixels: npt.ArrayLike,
        task: Task = "multiclass",
        policy: str = "segcrit",
        pairs: CountTable | None = None,
        measures: Mapping[str, MeasureTable] | None = None,
        background: int | None = 0,
    ) -> None:
        names = tuple(str(name) for name in ids)
        fields: dict[str, object] = {"ids": names, "task": task, "policy": policy, "pairs": pairs}
        fields |= {"measures": dict(measures or {}), "background": None if task == "multilabel" else background}
        for name, values in (("tp", tp), ("fp", fp), ("fn", fn), ("pixels", pixels)):
            fields[name] = _integers(name, values, len(names))
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if self.task not in TASKS:
            raise ParameterError(f"task to be one of {TASKS}", repr(self.task), "Choose one of them.")
        get_policy(self.policy)
        shape = self.tp.shape
        if self.tp.ndim != 2 or self.fp.shape != shape or self.fn.shape != shape or shape[0] != len(self.ids):
            raise ShapeError(
                f"tp, fp and fn of shape ({len(self.ids)} images, classes)",
                f"{self.tp.shape}, {self.fp.shape} and {self.fn.shape}",
                "Give one row an image and one column a class.",
            )
        expected = shape if self.task == "multilabel" else shape[:1]
        if self.pixels.shape != expected:
            raise ShapeError(f"pixels of shape {expected}", str(self.pixels.shape), "Give the number of judged pixels.")
        per_class = self.pixels if self.pixels.ndim == 2 else self.pixels[:, None]
        wrong = np.minimum(np.minimum(self.tp, self.fp), self.fn) < 0
        wrong |= self.tp + self.fp + self.fn > per_class
        if wrong.any():
            raise DataError(
                "counts that are not negative and at most the number of pixels",
                f"other counts for image {self.ids[int(np.argmax(wrong.any(axis=1)))]!r}",
                "Compute the counts again.",
            )
        rows = [self.num_images if self.pairs is None else self.pairs.images]
        rows += [len(values) for table in self.measures.values() for values in table.arrays.values()]
        if any(number != self.num_images for number in rows):
            raise ShapeError(
                f"pairs and measures of {self.num_images} images",
                f"{max(rows)} and {min(rows)}",
                "Give one row an image.",
            )

    def __repr__(self) -> str:
        return f"PerImage({self.num_images} images, {self.num_classes} classes, {self.task})"

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        """Number of classes (columns)."""
        return int(self.tp.shape[1])

    @property
    def foreground(self) -> list[int]:
        """The classes but the background: that of the data, or the one that the policy assumes where they name none."""
        background = get_policy(self.policy).background if self.background is None else self.background
        return [index for index in range(self.num_classes) if index != background or self.task == "multilabel"]

    @property
    def iou(self) -> Floats:
        """IoU of each image and class, (images, classes), NaN where the class is absent from the image."""
        return self._ratio("iou")

    @property
    def dice(self) -> Floats:
        """Dice of each image and class, (images, classes), NaN where the class is absent from the image."""
        return self._ratio("dice")

    @property
    def precision(self) -> Floats:
        """Precision of each image and class, (images, classes)."""
        return self._ratio("precision")

    @property
    def recall(self) -> Floats:
        """Recall of each image and class, (images, classes)."""
        return self._ratio("recall")

    def _ratio(self, name: str) -> Floats:
        return class_ratio(name, self.tp, self.fp, self.fn, get_policy(self.policy))

    def select(self, rows: Sequence[int] | Integers) -> PerImage:
        """Return the images with these row numbers, in this order.

        Example:
            >>> PerImage(["a", "b"], [[1], [2]], [[0], [0]], [[0], [0]], [1, 2]).select([1]).ids
            ('b',)
        """
        index = np.asarray(rows, dtype=np.int64)
        return PerImage(
            ids=tuple(self.ids[row] for row in index),
            tp=self.tp[index],
            fp=self.fp[index],
            fn=self.fn[index],
            pixels=self.pixels[index],
            task=self.task,
            policy=self.policy,
            pairs=None if self.pairs is None else self.pairs.select(index),
            measures={kind: table.select(index) for kind, table in self.measures.items()},
            background=self.background,
        )

    def with_policy(self, policy: str) -> PerImage:
        """Return the same counts under the rules of another policy.

        Example:
            >>> counts = PerImage(["a"], [[3, 0]], [[1, 2]], [[2, 0]], [6])
            >>> counts.iou, counts.with_policy("detectron2").iou
            (array([[0.5, 0. ]]), array([[0.5, nan]]))
        """
        arrays = {name: getattr(self, name) for name in ("tp", "fp", "fn", "pixels", "pairs", "measures")}
        return PerImage(self.ids, **arrays, task=self.task, policy=policy, background=self.background)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, ready for JSON; :meth:`from_dict` reads them back."""
        arrays = {name: getattr(self, name).tolist() for name in ("tp", "fp", "fn", "pixels")}
        content = {"ids": list(self.ids), **arrays, "task": self.task, "policy": self.policy}
        content["background"] = self.background
        if self.pairs is not None:
            content["pairs"] = self.pairs.to_dict()
        if self.measures:
            content["measures"] = {kind: table.to_dict() for kind, table in self.measures.items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PerImage:
        """Build the counts from what :meth:`to_dict` returned.

        Raises:
            DataError: a field is missing.
        """
        try:
            given = {name: content[name] for name in ("ids", "tp", "fp", "fn", "pixels", "task", "policy")}
        except KeyError as error:
            raise DataError(
                f"per-image counts with the field {error.args[0]!r}",
                f"the fields {sorted(content)}",
                "Write them with PerImage.to_dict.",
            ) from None
        # Older files name no background: it was class 0.
        given["background"] = content.get("background", 0)
        counts = cls(**given)
        pairs = None if content.get("pairs") is None else CountTable.from_dict(content["pairs"])
        measures = {
            str(kind): MeasureTable.from_dict(table, counts.num_classes, counts.num_images)
            for kind, table in (content.get("measures") or {}).items()
        }
        return cls(**given, pairs=pairs, measures=measures)


def _integers(name: str, values: npt.ArrayLike, rows: int) -> Integers:
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1 and name != "pixels":
        array = array.reshape(rows, 0)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} to hold whole numbers", f"the dtype {array.dtype}", "Give counts of pixels.")
    return array.astype(np.int64)
