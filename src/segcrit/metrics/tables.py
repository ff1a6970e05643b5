"""The one store of an evaluation: for each image the confusion counts that are not zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcrit.core.constants import Task
from segcrit.core.errors import DataError
from segcrit.metrics.ratios import Integers

__all__ = ["CountTable"]


@dataclass(frozen=True, eq=False)
class CountTable:
    """Confusion counts of several images, sparse: an image of 150 classes rarely holds more than a few
    hundred pairs.

    The counts of one image are kept apart, so that a repeated image can be removed from the total again.

    Attributes:
        shape: shape of the matrix of one image: (C, C), rows truth; (C, 2, 2) in a multilabel task. (C, C + 1) where
            the last column counts pixels without a predicted class.
        starts: int64 (images + 1,): the entries of image i are starts[i] to starts[i + 1].
        cells: int64: position of each entry in the flattened matrix, ascending within an image.
        counts: int64: number of pixels of each entry, never 0.

    Example:
        >>> table = CountTable.from_entries(2, (2, 2), image=[0, 0, 1, 0], cell=[0, 3, 1, 3], count=[5, 1, 2, 1])
        >>> table.dense().tolist()
        [[[5, 0], [0, 2]], [[0, 2], [0, 0]]]
    """

    shape: tuple[int, ...]
    starts: Integers
    cells: Integers
    counts: Integers

    @classmethod
    def from_entries(
        cls,
        images: int,
        shape: tuple[int, ...],
        image: Sequence[int] | Integers,
        cell: Sequence[int] | Integers,
        count: Sequence[int] | Integers,
    ) -> CountTable:
        """Collect entries in any order; equal (image, cell) add up."""
        size = int(np.prod(shape))
        keys, place = np.unique(
            np.asarray(image, dtype=np.int64) * size + np.asarray(cell, dtype=np.int64), return_inverse=True
        )
        counts = np.zeros(len(keys), dtype=np.int64)
        # Not np.bincount with weights, which adds in float64.
        np.add.at(counts, place, np.asarray(count, dtype=np.int64))
        starts = np.searchsorted(keys, np.arange(images + 1, dtype=np.int64) * size)
        return cls(shape, starts.astype(np.int64), keys % max(size, 1), counts)

    @classmethod
    def from_dense(cls, table: Integers, shape: tuple[int, ...], cells: Integers | None = None) -> CountTable:
        """The entries of a table (images, cells) that are not 0; ``cells``: increasing numbers of its columns."""
        image, column = np.nonzero(table)
        starts = np.searchsorted(image, np.arange(len(table) + 1)).astype(np.int64)
        counts = table[image, column].astype(np.int64, copy=False)
        return cls(shape, starts, column.astype(np.int64, copy=False) if cells is None else cells[column], counts)

    @classmethod
    def from_rows(cls, rows: Sequence[Integers], shape: tuple[int, ...]) -> CountTable:
        """Join rows as :meth:`row` gives them."""
        lengths = [row.shape[1] for row in rows]
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        joined = np.concatenate([*rows, np.zeros((2, 0), dtype=np.int64)], axis=1)
        return cls(shape, starts, joined[0], joined[1])

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.starts) - 1

    def row(self, image: int) -> Integers:
        """The entries of one image, (2, entries): cells and counts."""
        part = slice(int(self.starts[image]), int(self.starts[image + 1]))
        return np.stack([self.cells[part], self.counts[part]])

    def select(self, images: Sequence[int] | Integers) -> CountTable:
        """The table of these images, in this order."""
        return CountTable.from_rows([self.row(int(image)) for image in images], self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, ready for JSON; ``from_dict`` reads them."""
        arrays = {name: getattr(self, name).tolist() for name in ("starts", "cells", "counts")}
        return {"shape": list(self.shape), **arrays}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CountTable:
        """Build the table again.

        Raises:
            DataError: a field is missing, or the parts do not fit together.
        """
        try:
            shape = tuple(int(side) for side in content["shape"])
            arrays = [np.asarray(content[name], dtype=np.int64) for name in ("starts", "cells", "counts")]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                "a table of counts with shape, starts, cells and counts",
                f"another: {error}",
                "Write it with to_dict().",
            ) from None
        starts, cells, counts = arrays
        fits = starts.ndim == cells.ndim == 1 and len(starts) > 0 and cells.shape == counts.shape
        fits = fits and starts[0] == 0 and starts[-1] == len(cells) and bool((np.diff(starts) >= 0).all())
        if fits and len(cells):
            fits = bool(cells.min() >= 0 and cells.max() < np.prod(shape) and counts.min() > 0)
        if not fits:
            raise DataError(
                "a table of counts whose parts fit together", "parts that contradict each other", "Write it anew."
            )
        return cls(shape, starts, cells, counts)

    def total(self) -> Integers:
        """The matrix over all images."""
        result = np.zeros(int(np.prod(self.shape)), dtype=np.int64)
        np.add.at(result, self.cells, self.counts)
        return result.reshape(self.shape)

    def confusion(self) -> Integers:
        """The matrix over all images, without the column of pixels that have no predicted class."""
        total = self.total()
        return total[:, : self.shape[0]] if total.ndim == 2 else total

    def dense(self) -> Integers:
        """The matrix of every image, (images, \\*shape)."""
        result = np.zeros((self.images, int(np.prod(self.shape))), dtype=np.int64)
        result[self._image(), self.cells] = self.counts
        return result.reshape(self.images, *self.shape)

    def class_counts(self, task: Task) -> tuple[Integers, Integers, Integers, Integers]:
        """True positives, false positives, false negatives, each (images, C), and the judged pixels.

        The pixels have the shape (images,), in a multilabel task (images, C).
        """
        image, cells, counts = self._image(), self.cells, self.counts
        classes = self.shape[0]
        tp, fp, fn = (np.zeros((self.images, classes), dtype=np.int64) for _ in range(3))
        pixels: Integers
        if task == "multilabel":
            channel, kind = cells // 4, cells % 4
            pixels = np.zeros((self.images, classes), dtype=np.int64)
            np.add.at(pixels, (image, channel), counts)
            for wanted, result in ((3, tp), (1, fp), (2, fn)):  # cell = 2 truth + prediction
                chosen = kind == wanted
                result[image[chosen], channel[chosen]] = counts[chosen]
            return tp, fp, fn, pixels
        columns = self.shape[1]
        truth, prediction = cells // columns, cells % columns
        right = truth == prediction
        invented = ~right & (prediction < classes)
        tp[image[right], truth[right]] = counts[right]
        np.add.at(fp, (image[invented], prediction[invented]), counts[invented])
        np.add.at(fn, (image[~right], truth[~right]), counts[~right])
        pixels = np.zeros(self.images, dtype=np.int64)
        np.add.at(pixels, image, counts)
        return tp, fp, fn, pixels

    def _image(self) -> Integers:
        return np.repeat(np.arange(self.images, dtype=np.int64), np.diff(self.starts))
