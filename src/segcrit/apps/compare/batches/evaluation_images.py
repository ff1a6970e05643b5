"""Validation and test images as batches of whole images of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import prod
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import Dataset

from segcrit.apps.compare.batches.sampling import Item

__all__ = ["EvaluationImages", "batches_of_equal_size"]

# Small images one at a time leave most of a device idle; together they take no more memory than a large one does.
_MOST_PIXELS: Final = 2**19
_MOST_IMAGES: Final = 16


class EvaluationImages(Dataset[dict[str, Any]]):
    """Whole images with their full masks.

    Args:
        ids: names of the images.
        read: gives the arrays of an image.
    """

    def __init__(self, ids: Sequence[str], read: Callable[[str], Item]) -> None:
        self.ids = tuple(ids)
        self.read = read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> dict[str, Any]:
        image, label, _ = self.read(self.ids[position])
        return {
            "image": torch.from_numpy(image),
            "label": torch.from_numpy(np.ascontiguousarray(label)),
            "id": self.ids[position],
        }


def batches_of_equal_size(sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Positions of images to predict together: neighbours of one size, half a million pixels at most.

    Only neighbours, because the images of one patient or scene lie together and have one size, and the order of the
    images stays.

    Example:
        >>> batches_of_equal_size([(512, 512), (512, 512), (512, 512), (64, 64), (2048, 2048), (64, 64)])
        [[0, 1], [2], [3], [4], [5]]
    """
    batches: list[list[int]] = []
    for size, group in groupby(range(len(sizes)), key=lambda position: sizes[position]):
        positions = list(group)
        length = min(_MOST_IMAGES, max(1, _MOST_PIXELS // max(1, prod(size))))
        batches += [positions[begin : begin + length] for begin in range(0, len(positions), length)]
    return batches
