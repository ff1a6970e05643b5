"""A data folder as a source of batches: decoded once where it fits into memory, cropped, turned, normalised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from segcrit.apps.compare.batches.evaluation_images import EvaluationImages, batches_of_equal_size
from segcrit.apps.compare.batches.sampling import CropDataset, EpochSampler, Item
from segcrit.apps.compare.batches.source import Part, Progress, SourceInfo, TestImage
from segcrit.apps.compare.records import ClassEntry
from segcrit.apps.compare.settings import Settings
from segcrit.core.constants import Task
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.machine import free_memory, usable_cores
from segcrit.core.quantities import worded
from segcrit.data.model import LabelSource, SegmentationData, Split
from segcrit.data.reading import mask_shape, probe
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies

__all__ = ["FolderSource", "default_crop", "imagenet_normalised"]

# Share of the free memory that decoded images may fill.
_CACHE_SHARE: Final = 0.35
_ASSUMED_FREE: Final = 4e9  # bytes of memory, where the system does not tell
# Mean and deviation of ImageNet's channels, on a scale of 0 to 1: what pretrained encoders were trained with.
_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)


class FolderSource:
    """The images of a :class:`~segcrit.data.model.SegmentationData`.

    Args:
        data: the data set; its training labels are used where it has any.
        train_labels: name of the folder with training labels, for the report.
    """

    def __init__(self, data: SegmentationData, train_labels: str = "") -> None:
        self.data = data
        for split in ("train", "val", "test"):
            if not data.splits.get(split):
                raise DataError(
                    f"images in the {split} split of {data.name}",
                    "none",
                    f"Add names to splits/{split}.txt, or remove the folder splits to have the images divided.",
                )
        self.info = SourceInfo(
            name=data.name,
            root_name=data.root.name,
            classes=tuple(
                ClassEntry(entry.index, entry.name, "#{:02x}{:02x}{:02x}".format(*entry.color))
                for entry in data.classes
            ),
            channels=data.channels,
            spatial_dims=data.spatial_dims,
            ignore_index=data.ignore_index,
            images={split: len(data.splits[split]) for split in ("train", "val", "test")},
            groups={id: data.groups[id] for id in data.splits["test"]} if data.groups else {},
            train_labels=train_labels,
            description=data.description,
            notes=(*(problem.noted for problem in data.problems), *data.notes),
            background=data.background,
            fingerprint=_fingerprint(data),
        )
        # By labels as well: a name may stand in several splits, and training labels may differ from masks.
        self._cache: dict[tuple[LabelSource, str], Item] = {}
        self._cached: set[str] = set()
        self._notes = [problem.noted for problem in data.problems if problem.severity == "warning"]
        self._frequencies: ClassFrequencies | None = None
        self._loaders: dict[Any, DataLoader[Any]] = {}
        self.normalisation: dict[str, Any] = {}

    def default_settings(self) -> dict[str, Any]:
        """Crop and batch size by the size of the images."""
        shapes = [self.data.read_label(id, "train").shape for id in self.data.splits["train"][:5]]
        typical = tuple(int(np.median([shape[axis] for shape in shapes])) for axis in range(self.data.spatial_dims))
        return {"crop": default_crop(typical), "batch_size": 8 if self.data.spatial_dims == 2 else 2}

    def configure(self, settings: Settings, intensities: str, num_workers: int | None, progress: Progress) -> None:
        """See :class:`Source`."""
        if len(settings.crop) != self.data.spatial_dims:
            raise ParameterError(
                f"a crop of {self.data.spatial_dims} sizes for {self.data.name}",
                " ".join(map(str, settings.crop)) or "none",
                "Give one size an axis, or one number for all.",
            )
        self._settings = settings
        self._progress = progress
        self._workers = num_workers
        self._apply, self._normalisation = self._choose_normalisation(intensities)

    def resize_batches(self, batch_size: int) -> None:
        """See :class:`Source`."""
        self._settings = replace(self._settings, batch_size=batch_size)

    def describe_normalisation(self) -> str:
        """See :class:`Source`."""
        return self._normalisation

    def notes(self) -> tuple[str, ...]:
        """See :class:`Source`."""
        return tuple(self._notes)

    def train_loader(
        self, seed: int, epoch: int, lengths: Sequence[int], rank: int = 0, world: int = 1
    ) -> DataLoader[Any]:
        """See :class:`Source`."""
        key = (seed, tuple(lengths), rank, world, self._settings.batch_size)
        if key not in self._loaders:
            # One training at a time: the workers of the one before are let go.
            self._loaders = {name: loader for name, loader in self._loaders.items() if name in ("val", "test")}
            size = self._settings.batch_size
            if size % world:
                raise ParameterError(
                    f"a batch size that {world} processes can share evenly",
                    f"{size}",
                    f"Choose a multiple of {world}.",
                )
            self._preload("train")
            dataset = CropDataset(
                self.data.splits["train"],
                self._read_train,
                self._settings.crop,
                self._settings.augment,
                seed,
                self.info.criterion_ignore_index,
            )
            workers = self._number_of_workers("train")
            self._loaders[key] = DataLoader(
                dataset,
                batch_size=size // world,
                sampler=EpochSampler(lengths, size, rank, world),
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=torch.cuda.is_available(),
            )
        loader = self._loaders[key]
        sampler = loader.sampler
        if isinstance(sampler, EpochSampler):
            sampler.start_epoch(epoch)
        return loader

    def eval_loader(self, part: Part, rank: int = 0, world: int = 1) -> DataLoader[Any]:
        """See :class:`Source`."""
        if part not in self._loaders:
            self._preload(part)
            ids = self.data.splits[part][rank::world]
            self._loaders[part] = DataLoader(
                EvaluationImages(ids, self._read_full),
                batch_sampler=batches_of_equal_size([self._size(id) for id in ids]),
                num_workers=self._number_of_workers(part),
                pin_memory=torch.cuda.is_available(),
            )
        return self._loaders[part]

    def frequencies(self, task: Task = "multiclass") -> ClassFrequencies:
        """See :class:`Source`."""
        if self._frequencies is None:
            ids = self.data.splits["train"]

            def labels() -> Iterator[npt.NDArray[Any]]:
                for position, id in enumerate(ids):
                    self._progress("counting labels", position, len(ids))
                    kept = self._cache.get(("train", id))
                    yield self.data.read_label(id, "train") if kept is None else kept[1]

            self._frequencies = class_frequencies(
                labels(), self.data.num_classes, self.info.criterion_ignore_index, batched=False
            )
        return self._frequencies

    def test_images(self, ids: Sequence[str]) -> Iterator[TestImage]:
        """See :class:`Source`."""
        for id in ids:
            sample = self.data.read(id)
            yield TestImage(id, sample.image, sample.label, torch.from_numpy(self._apply(sample.image))[None])

    def _choose_normalisation(self, intensities: str) -> tuple[Callable[[Any], Any], str]:
        if intensities == "imagenet":
            image = self.data.read(self.data.splits["train"][0]).image
            if image.shape[0] == 3 and image.min() >= 0 and 1 < image.max() <= 255:
                self.normalisation = {"scheme": "imagenet"}
                return imagenet_normalised, "8-bit intensities as for ImageNet, which the pretrained weights expect"
            self._notes.append("The images are not 8-bit colour images; they are not normalised as for ImageNet.")
        from segcrit.data.normalise import normalisation

        self._progress("measuring intensities", 0, 1)
        found = normalisation(self.data, progress=False)
        self.normalisation = found.to_dict()
        return found.apply, found.describe()

    def _read_train(self, id: str) -> Item:
        return self._cache.get(("train", id)) or self._load(id, "train")

    def _read_full(self, id: str) -> Item:
        return self._cache.get(("masks", id)) or self._load(id, "masks")

    def _load(self, id: str, labels: LabelSource) -> Item:
        sample = self.data.read(id, labels)
        label = sample.label
        if self.info.criterion_ignore_index < 0 and label.dtype == np.uint8:
            label = label.astype(np.int16)  # the ignore label of a border around a small image must fit
        weight = sample.weight if labels == "train" else None
        return np.ascontiguousarray(self._apply(sample.image), dtype=np.float32), label, weight

    def _size(self, id: str) -> tuple[int, ...]:
        """Size of an image, from memory or from the header of its mask."""
        kept = self._cache.get(("masks", id))
        if kept is not None:
            return tuple(kept[1].shape)
        return mask_shape(probe(self.data.case(id).mask), self.data.spatial_dims)

    def _preload(self, split: Split) -> None:
        """Decode a split once and keep it, if it fits into the memory."""
        ids = self.data.splits[split]
        if split in self._cached:
            return
        labels: LabelSource = "train" if split == "train" else "masks"
        sample = [self._load(id, labels) for id in {ids[0], ids[len(ids) // 2], ids[-1]}]
        size = sum(part.nbytes for item in sample for part in item if part is not None) / len(sample) * len(ids)
        free = free_memory()
        if size > (_ASSUMED_FREE if free is None else free) * _CACHE_SHARE:
            return
        self._cached.add(split)
        with ThreadPoolExecutor(min(8, usable_cores())) as pool:
            for position, item in enumerate(pool.map(lambda id: self._load(id, labels), ids)):
                self._cache[labels, ids[position]] = item
                self._progress(worded(f"reading {split} images", self.data.spatial_dims), position + 1, len(ids))

    def _number_of_workers(self, split: Split) -> int:
        if self._workers is not None:
            return self._workers
        cores = usable_cores()
        if split in self._cached:
            # Cropping a decoded image is cheap; processes pay off beside a GPU, and only where they share the memory.
            return 4 if torch.cuda.is_available() and cores > 4 and os.name == "posix" else 0
        return min(8, cores // 2) if cores > 1 else 0


def default_crop(size: Sequence[int]) -> tuple[int, ...]:
    """A crop for images of this size: at most 128 (2-D) or 64 (3-D) along an axis, in multiples of 16, at least 32.

    Example:
        >>> default_crop((360, 480)), default_crop((35, 50, 36))
        ((128, 128), (32, 48, 32))
    """
    largest = 128 if len(size) == 2 else 64
    return tuple(min(largest, max(32, round(length / 16) * 16)) for length in size)


def imagenet_normalised(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """8-bit intensities (3, *S) brought to mean 0 and deviation 1 as over ImageNet."""
    shape = (3, *(1,) * (image.ndim - 1))
    mean = np.array(_IMAGENET_MEAN, dtype=np.float32).reshape(shape)
    deviation = np.array(_IMAGENET_DEVIATION, dtype=np.float32).reshape(shape)
    scaled: npt.NDArray[np.float32] = (image / np.float32(255) - mean) / deviation
    return scaled


def _fingerprint(data: SegmentationData) -> str:
    """Changes when images, splits or classes do; not when the folder moves."""
    from hashlib import sha256

    content = repr(
        (
            [(entry.index, entry.name) for entry in data.classes],
            data.ignore_index,
            data.channels,
            data.spatial_dims,
            sorted((split, tuple(ids)) for split, ids in data.splits.items()),
            data.has_train_labels,
            *(["valid areas"] if any(case.valid for case in data.cases.values()) else []),
        )
    )
    return sha256(content.encode()).hexdigest()[:16]
