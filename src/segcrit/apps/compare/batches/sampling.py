"""Training crops that depend on the seed and their number alone, so that every loss sees the same batches.

The crops of a training are numbered 0, 1, 2, ...: crop g of a batch size B belongs to step g // B. Image, place and
augmentation of crop g come from a generator seeded by (seed, g). No global generator is read, so neither the loss, nor
the number of workers or devices, nor a resumed run can change a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from segcrit.apps.compare.batches.augmentation import augment
from segcrit.labels.mask import is_labelled

__all__ = ["CropDataset", "EpochSampler", "Item", "crop_place", "place_crop"]

Array = npt.NDArray[Any]
Item = tuple[Array, Array, Array | None]  # normalised image (channels, *S), labels (*S), pixel weights (*S)

# First words of the seeds, so that the order of images and the places of crops are independent draws.
_ORDER, _PLACE = 1, 2


@lru_cache(maxsize=8)
def _order(seed: int, turn: int, number: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((_ORDER, seed, turn)).permutation(number)


class CropDataset(Dataset[dict[str, torch.Tensor]]):
    """Crop number g of an endless sequence that goes through all images, in a new order each time.

    Args:
        ids: the training images.
        read: gives the arrays of an image.
        crop: size of the crops.
        augmentation: see :func:`segcrit.apps.compare.batches.augmentation.augment`.
        seed: of the training.
        ignore_index: the label of unlabelled pixels; also that of the border around images smaller than a crop.
    """

    def __init__(
        self,
        ids: Sequence[str],
        read: Callable[[str], Item],
        crop: Sequence[int],
        augmentation: str,
        seed: int,
        ignore_index: int,
    ) -> None:
        self.ids = tuple(ids)
        self.read = read
        self.crop = tuple(crop)
        self.augmentation = augmentation
        self.seed = seed
        self.ignore_index = ignore_index

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        turn, position = divmod(number, len(self.ids))
        id = self.ids[int(_order(self.seed, turn, len(self.ids))[position])]
        image, label, weight = self.read(id)
        generator = np.random.default_rng((_PLACE, self.seed, number))
        start = crop_place(label, self.crop, self.ignore_index, generator)
        parts: tuple[Array, ...] = (
            place_crop(image, start, self.crop, 0),
            place_crop(label, start, self.crop, self.ignore_index),
        )
        if weight is not None:
            parts += (place_crop(weight, start, self.crop, 0),)
        parts = augment(parts, self.augmentation, len(self.crop), generator)
        names = ("image", "label", "weight")[: len(parts)]
        # A copy: where an axis has length one, NumPy takes a negative stride for contiguous, and torch does not.
        return {name: torch.from_numpy(part.copy()) for name, part in zip(names, parts, strict=True)}


def crop_place(label: Array, crop: Sequence[int], ignore_index: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Lower corner of a crop, anywhere in the image; negative along an axis where the image is smaller (centred).

    A crop without one labelled pixel teaches nothing (scribbles label one pixel in a hundred): it is moved so that it
    holds a labelled pixel, drawn at random.
    """
    start = tuple(
        int(generator.integers(0, size - length + 1)) if size > length else -((length - size) // 2)
        for size, length in zip(label.shape, crop, strict=True)
    )
    inside = tuple(slice(max(begin, 0), begin + length) for begin, length in zip(start, crop, strict=True))
    if is_labelled(label[inside], ignore_index).any():
        return start
    labelled = np.flatnonzero(is_labelled(label, ignore_index))
    if not labelled.size:
        return start
    pixel = np.unravel_index(labelled[generator.integers(labelled.size)], label.shape)
    place = []
    for begin, at, size, length in zip(start, pixel, label.shape, crop, strict=True):
        low, high = max(0, int(at) - length + 1), min(size - length, int(at))
        place.append(int(generator.integers(low, high + 1)) if size > length else begin)
    return tuple(place)


def place_crop(array: Array, start: Sequence[int], crop: Sequence[int], fill: float) -> Array:
    """The crop of an array whose last axes are space; what lies outside is ``fill``."""
    space = array.shape[array.ndim - len(crop) :]
    leading: tuple[slice, ...] = (slice(None),) * (array.ndim - len(crop))
    source = tuple(
        slice(max(begin, 0), min(begin + length, size)) for begin, length, size in zip(start, crop, space, strict=True)
    )
    found = array[leading + source]
    if found.shape[found.ndim - len(crop) :] == tuple(crop):
        return found
    result = np.full((*array.shape[: array.ndim - len(crop)], *crop), fill, dtype=array.dtype)
    target = tuple(
        slice(max(-begin, 0), max(-begin, 0) + part.stop - part.start)
        for begin, part in zip(start, source, strict=True)
    )
    result[leading + target] = found
    return result


class EpochSampler(Sampler[int]):
    """Numbers of the crops of one epoch that fall to this process.

    Args:
        lengths: steps of each epoch.
        batch_size: crops in a step, over all processes.
        rank, world: this process and their number; ``batch_size`` is a multiple of ``world``.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.lengths = tuple(lengths)
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        """Choose the epoch. Not called set_epoch, because Lightning would call that with a count of its own."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.lengths[self.epoch] * (self.batch_size // self.world)

    def __iter__(self) -> Iterator[int]:
        share = self.batch_size // self.world
        first = sum(self.lengths[: self.epoch])
        for step in range(first, first + self.lengths[self.epoch]):
            begin = step * self.batch_size + self.rank * share
            yield from range(begin, begin + share)
