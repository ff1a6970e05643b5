"""What an audit counts: the labels of each mask, and each class in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.audit.shapes import ClassShape
from segcrit.data.scanning import MaskValues

__all__ = ["ClassRow", "LabelTable"]


@dataclass(frozen=True)
class ClassRow:
    """One class in numbers. Shares are of the labelled pixels, those that are not ignored.

    Attributes:
        index: its label, ``name`` and ``color`` as in the data.
        pixels: over all splits, ``share`` likewise.
        images: number of images that hold it.
        split_shares: its share in each split.
        weights: suggested class weight by scheme, from the training labels.
        shape: its regions.
    """

    index: int
    name: str
    color: tuple[int, int, int]
    pixels: int
    share: float
    images: int
    split_shares: Mapping[str, float]
    weights: Mapping[str, float]
    shape: ClassShape


@dataclass(frozen=True)
class LabelTable:
    """Pixels of each class in each mask, and what could not be counted.

    Attributes:
        ids: one a row.
        counts: ``int64 (images, classes)``.
        ignored: ``int64 (images,)``.
        values: what was found in each mask file that could be read.
        unknown: for each id, the stored values that are no class and their pixels.
        errors: masks that cannot be read, or whose colours are unknown.
    """

    ids: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.int64]
    values: Mapping[str, MaskValues]
    unknown: Mapping[str, Mapping[int, int]]
    errors: Mapping[str, DataError]
