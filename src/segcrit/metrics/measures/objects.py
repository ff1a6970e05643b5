"""Counts by the size of the object: which objects, small or large, are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final

import numpy as np

from segcrit.core import optional
from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.core.json_files import encode
from segcrit.labels.mask import is_labelled
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.base import Measure, Sample
from segcrit.metrics.named import Figure
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import CLASS_RATIOS, Floats, Integers, class_mean, class_ratio, counted_ratio
from segcrit.metrics.settings import Settings

__all__ = ["ObjectCounts", "ObjectSizes"]

_NAMES: Final = ("tp", "fp", "fn")


@dataclass(frozen=True)
class ObjectSizes(Measure):
    """Split the counts of each class by the size of the objects: a measure of an evaluator.

    An object is a connected component of one class in the truth (pixels that share an edge, in 3-D a face); its
    size is its number of pixels. True positives and false negatives belong to the size of their object. The false
    positives of a predicted component belong to the object that it overlaps most (the first one on a tie), and where
    it overlaps none, to its own size: a false alarm as large as that. So the counts of all sizes add up to those
    of the class.

    Args:
        edges: sizes in pixels, ascending, where a bin ends and the next begins. ``(1024, 9216)`` makes three bins:
            below 32², below 96², and larger (the areas of the COCO evaluation).

    Needs ``scipy``.

    Example:
        >>> import numpy as np, segcrit
        >>> truth = np.array([[[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]])
        >>> guess = np.array([[[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]])
        >>> evaluator = segcrit.Evaluator(2, measures=[segcrit.ObjectSizes(edges=(2,))])
        >>> evaluator.update(guess, truth).compute().objects.iou[1]
        array([0.  , 0.75])
    """

    edges: Sequence[int] = (1024, 9216)
    kind: ClassVar[str] = "objects"
    holds_lock: ClassVar[bool] = True

    def __post_init__(self) -> None:
        edges = tuple(self.edges)
        whole = all(isinstance(edge, int) and not isinstance(edge, bool) and edge > 0 for edge in edges)
        if not edges or not whole or list(edges) != sorted(set(edges)):
            raise ParameterError(
                "edges to be ascending whole numbers of pixels", repr(self.edges), "Write edges=(1024, 9216)."
            )
        object.__setattr__(self, "edges", edges)

    def check(self, settings: Settings) -> None:
        """Any task; needs scipy."""
        optional.require("scipy.ndimage", extra="data")

    def layout(self, classes: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """tp, fp and fn of each class and size."""
        return {name: ((classes, len(self.edges) + 1), int) for name in _NAMES}

    def measure(self, sample: Sample) -> list[Values]:
        """The counts of each image."""
        batch, settings = sample.batch, sample.settings
        truths, guesses = batch.target.cpu().numpy(), sample.labels().cpu().numpy()
        multilabel = settings.task == "multilabel"
        found: list[Values] = []
        for truth, guess in zip(truths, guesses, strict=True):
            table = np.zeros((3, settings.classes, len(self.edges) + 1), dtype=np.int64)
            valid = is_labelled(truth, batch.ignored)
            if settings.dropped_prediction is not None:
                valid &= is_labelled(guess, settings.dropped_prediction)
            for index in range(settings.classes):
                if index == settings.left_out:
                    continue
                if multilabel:
                    pair = (truth[index] == 1) & valid[index], (guess[index] == 1) & valid[index]
                else:
                    pair = (truth == index) & valid, (guess == index) & valid
                if pair[0].any() or pair[1].any():
                    table[:, index] = self._count(*pair)
            found.append(dict(zip(_NAMES, table, strict=True)))
        return found

    def _count(self, truth: Any, guess: Any) -> Integers:
        ndimage = optional.require("scipy.ndimage", extra="data")
        objects, number = ndimage.label(truth)
        pieces, alarms = ndimage.label(guess)
        sizes = np.bincount(objects.ravel(), minlength=number + 1)
        hits = np.bincount(objects[guess], minlength=number + 1)
        bins = np.searchsorted(np.asarray(self.edges), sizes, side="right")
        result = np.zeros((3, len(self.edges) + 1), dtype=np.int64)
        np.add.at(result[0], bins[1:], hits[1:])
        np.add.at(result[2], bins[1:], (sizes - hits)[1:])
        wrong = np.bincount(pieces[~truth], minlength=alarms + 1)
        home = np.searchsorted(np.asarray(self.edges), np.bincount(pieces.ravel(), minlength=alarms + 1), side="right")
        both = truth & guess
        keys, overlap = np.unique(pieces[both].astype(np.int64) * (number + 1) + objects[both], return_counts=True)
        # Ascending overlap, and among equal ones the first object last: what is written last stays.
        order = np.lexsort((-keys, overlap))
        home[keys[order] // (number + 1)] = bins[keys[order] % (number + 1)]
        np.add.at(result[1], home[1:], wrong[1:])
        return result

    def figures(self, counts: PerImage) -> Iterable[Figure]:
        """The mIoU of each bin of sizes."""
        from segcrit.metrics.named import Figure

        classes = counts.num_classes

        def combine(place: int) -> Any:
            def mean(sums: Floats, task: Task, policy: Any) -> Floats:
                table = sums.reshape(*sums.shape[:-1], 3, classes, -1)[..., place]
                tp, fp, fn = np.moveaxis(table, -2, 0)
                values = counted_ratio("iou", tp, fp, fn, policy)
                return class_mean(values if task != "binary" else values[..., 1:], policy)

            return mean

        for place, words in enumerate(self.words()):
            yield Figure(
                f"objects_miou_{place + 1}",
                f"mIoU of objects {words}",
                f"Mean over classes (binary: the foreground) of the IoU over the data set, of objects {words}.",
                "objects",
                combine(place),
                columns=_columns,
            )

    def words(self) -> list[str]:
        """The bins in words."""
        edges = [f"{edge:,}" for edge in self.edges]
        middle = [f"of {low} to below {high} pixels" for low, high in pairwise(edges)]
        return [f"below {edges[0]} pixels", *middle, f"of {edges[-1]} pixels and more"]

    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> ObjectCounts:
        """The counts over the data set."""
        arrays = counts.measures[self.kind].arrays
        tp, fp, fn = (arrays[name].sum(axis=0) for name in _NAMES)
        return ObjectCounts(tuple(self.edges), tuple(self.words()), class_names, tp, fp, fn, counts.policy)


def _columns(counts: PerImage) -> Floats:
    arrays = counts.measures[ObjectSizes.kind].arrays
    joined = np.stack([arrays[name] for name in _NAMES], axis=1).astype(np.float64)
    return joined.reshape(counts.num_images, int(np.prod(joined.shape[1:])))


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """Counts and figures by class and object size, from :class:`segcrit.ObjectSizes`.

    Attributes:
        edges: sizes between the bins.
        words: the bins in words.
        class_names: names of the rows.
        tp, fp, fn: int64 (C, bins).
        policy: on absent classes.
    """

    edges: tuple[int, ...]
    words: tuple[str, ...]
    class_names: tuple[str, ...]
    tp: Integers
    fp: Integers
    fn: Integers
    policy: str

    def _ratio(self, name: str) -> Floats:
        return class_ratio(name, self.tp, self.fp, self.fn, get_policy(self.policy))

    @property
    def iou(self) -> Floats:
        """IoU of each class and size, (C, bins)."""
        return self._ratio("iou")

    @property
    def dice(self) -> Floats:
        """Dice of each class and size, (C, bins)."""
        return self._ratio("dice")

    @property
    def precision(self) -> Floats:
        """Precision of each class and size, (C, bins)."""
        return self._ratio("precision")

    @property
    def recall(self) -> Floats:
        """Recall of each class and size, (C, bins): the share of the objects' pixels that is found."""
        return self._ratio("recall")

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each class and size that occurs."""
        figures = {name: self._ratio(name) for name in CLASS_RATIOS}
        return [
            {
                "index": index,
                "name": name,
                "size": words,
                **{key: float(values[index, place]) for key, values in figures.items()},
                **{key: int(getattr(self, key)[index, place]) for key in _NAMES},
            }
            for index, name in enumerate(self.class_names)
            for place, words in enumerate(self.words)
            if (self.tp + self.fp + self.fn)[index, place]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"edges": list(self.edges), "words": list(self.words), "rows": encode(self.rows())}
