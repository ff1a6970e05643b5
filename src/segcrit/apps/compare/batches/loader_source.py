"""The user's own loaders or LightningDataModule as a source of batches."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from segcrit.apps.compare.batches.forms import Batch, read_batch
from segcrit.apps.compare.batches.source import Part, Progress, SourceInfo, TestImage
from segcrit.apps.compare.records import ClassEntry
from segcrit.apps.compare.settings import Settings
from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.errors import DataError
from segcrit.data.coding.classes import background_of
from segcrit.labels.colors import distinct_colors
from segcrit.labels.mask import is_labelled
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies
from segcrit.labels.weights.positives import pos_weight
from segcrit.metrics.evaluator import Evaluator

__all__ = ["LoaderSource", "reseed"]

# Batches looked at for the class shares: augmented training loaders can be endless.
_COUNTED_BATCHES: Final = 200
# Distinguishes the seeds of epochs from each other and from the seeds that users choose.
_EPOCH_STRIDE: Final = 1_000_003


class LoaderSource:
    """Loaders of the user's own.

    The batches of an epoch are made equal for every loss by seeding Python, NumPy, torch and the loader's own
    generator at the start of each epoch; the engine compares a checksum of the first batches and says so if a loader
    draws its randomness elsewhere.

    Args:
        data: ``{"train": loader, "val": loader, "test": loader}``, a pair or triple of loaders in that order, or a
            LightningDataModule. Without test loader the validation images are the test images.
        num_classes: number of classes.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        ignore_index: the label that does not count, None for the default -100.
        class_names: one name a class.
        name: name of the data in the report.
    """

    def __init__(
        self,
        data: Any,
        num_classes: int,
        *,
        task: Task = "multiclass",
        ignore_index: int | None = None,
        class_names: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        loaders, self._module = open_loaders(data)
        self._train, self._val = loaders["train"], loaders["val"]
        self._test = loaders.get("test", self._val)
        self._task = task
        self._frequencies: ClassFrequencies | None = None
        self._notes: list[str] = []
        self.normalisation: dict[str, Any] = {}
        if "test" not in loaders:
            self._notes.append(
                "No test loader was given: the figures are those of the validation images that also chose the "
                "checkpoints, and are too good."
            )
        first = first_batch(self._train)
        names = class_names or [f"class {index}" for index in range(num_classes)]
        if len(names) != num_classes:
            raise DataError(f"{num_classes} class names", f"{len(names)}", "Give one name a class.")
        for split, loader in loaders.items():
            if split != "train":
                _require_labels(first_batch(loader, split), num_classes, task, ignore_index)
        self._batch_size = len(first.image)
        self._most: int | None = None
        self.info = SourceInfo(
            name=name or (type(data).__name__ if self._module is not None else "own loaders"),
            classes=tuple(
                ClassEntry(index, text, "#{:02x}{:02x}{:02x}".format(*color))
                for index, (text, color) in enumerate(zip(names, distinct_colors(num_classes), strict=True))
            ),
            channels=first.image.shape[1],
            spatial_dims=first.image.ndim - 2,
            ignore_index=ignore_index,
            images={
                split: _number_of_images(loader)
                for split, loader in (("train", self._train), ("val", self._val), ("test", self._test))
            },
            background=background_of(names),
            fingerprint=f"{num_classes} classes, {tuple(first.image.shape[1:2])} channels, task {task}",
        )

    def default_settings(self) -> dict[str, Any]:
        """One epoch is one pass over the training loader."""
        length = _length(self._train)
        found: dict[str, Any] = {"crop": (), "augment": "none", "batch_size": self._batch_size}
        if length is not None:
            found["epoch_steps"] = length
        return found

    def configure(self, settings: Settings, intensities: str, num_workers: int | None, progress: Progress) -> None:
        """See :class:`~segcrit.apps.compare.batches.source.Source`; the loaders stay as they are."""
        self._progress = progress

    def resize_batches(self, batch_size: int) -> None:
        """Cut the loaders' batches down to so many images."""
        self._most = batch_size

    def describe_normalisation(self) -> str:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        return "as the loaders deliver"

    def notes(self) -> tuple[str, ...]:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        return tuple(self._notes)

    def train_loader(
        self, seed: int, epoch: int, lengths: Sequence[int], rank: int = 0, world: int = 1
    ) -> Iterable[Any]:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        reseed(self._train, seed * _EPOCH_STRIDE + epoch)
        sampler = getattr(self._train, "sampler", None)
        if sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        shared = world > 1 and not isinstance(sampler, DistributedSampler)
        steps = _Steps(self._train, lengths[epoch], *((rank, world) if shared else (0, 1)))
        if self._most is None or self._most >= self._batch_size:
            return steps
        return [_cut(read_batch(batch), self._most) for batch in steps]

    def eval_loader(self, part: Part, rank: int = 0, world: int = 1) -> Iterable[Any]:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        return _Images(self._val if part == "val" else self._test, part, rank, world)

    def frequencies(self, task: Task) -> ClassFrequencies:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        if self._frequencies is None:
            number = min(_length(self._train) or _COUNTED_BATCHES, _COUNTED_BATCHES)
            if _length(self._train) != number:
                self._notes.append(f"Class shares were counted over {number} batches of the training loader.")
            self._frequencies = self._count(number)
        return self._frequencies

    def _count(self, number: int) -> ClassFrequencies:
        reseed(self._train, 0)
        ignore = DEFAULT_IGNORE_INDEX if self.info.ignore_index is None else self.info.ignore_index
        total: ClassFrequencies | None = None
        for position, raw in enumerate(islice(self._train, number)):
            self._progress("counting labels", position + 1, number)
            target = read_batch(raw).target
            if self._task == "multilabel":
                # Each channel against the rest: the share of positives stands for the share of the class.
                positive = ((target == 1) & is_labelled(target, ignore)).transpose(0, 1).flatten(1).sum(1)
                part = ClassFrequencies.from_counts(positive)
            else:
                labels = _index_labels(target, self.info.spatial_dims, ignore)
                part = class_frequencies(labels.long(), self.info.num_classes, ignore, batched=True)
            total = part if total is None else total + part
        if total is None:
            raise DataError("batches from the training loader", "none", "Check the length of its data set.")
        return total

    def positive_weights(self) -> Tensor:
        """Negatives divided by positives of each channel, for multilabel targets."""
        reseed(self._train, 0)
        number = min(_length(self._train) or _COUNTED_BATCHES, _COUNTED_BATCHES)
        ignore = DEFAULT_IGNORE_INDEX if self.info.ignore_index is None else self.info.ignore_index
        targets = (read_batch(raw).target for raw in islice(self._train, number))
        return pos_weight(targets, task="multilabel", ignore_index=ignore, batched=True)

    def test_images(self, ids: Sequence[str]) -> Iterator[TestImage]:
        """See :class:`~segcrit.apps.compare.batches.source.Source`."""
        wanted = set(ids)
        for batch in _Images(self._test, "test", 0, 1):
            for position, id in enumerate(batch["id"]):
                if id in wanted:
                    image, target = batch["image"][position], batch["label"][position : position + 1]
                    label = _index_labels(target, self.info.spatial_dims, self.info.criterion_ignore_index)[0]
                    yield TestImage(id, image.numpy(), label.numpy(), image[None])

    def after_transfer(self, batch: Any, index: int) -> Any:
        """The data module's own work on the device (augmentation on a GPU, for example)."""
        return batch if self._module is None else self._module.on_after_batch_transfer(batch, index)


def _index_labels(target: Tensor, spatial_dims: int, ignore_index: int) -> Tensor:
    """Labels (N, *S) of targets (N, *S), (N, 1, *S) or one-hot (N, C, *S), whose empty pixels are ignored."""
    if target.ndim == spatial_dims + 1:
        return target
    if target.shape[1] == 1:
        return target[:, 0]
    hot = target.to(torch.uint8) if target.dtype == torch.bool else target
    return torch.where(hot.sum(1) > 0, hot.argmax(1), ignore_index)


def _require_labels(batch: Batch, num_classes: int, task: Task, ignore_index: int | None) -> None:
    """Refuse targets that the evaluator will not count before the hour of training, and not after it.

    Raises:
        SegcritError: of the evaluator.
    """
    channels = 1 if task == "binary" else num_classes
    ignore = DEFAULT_IGNORE_INDEX if ignore_index is None else ignore_index
    logits = torch.zeros((len(batch.image), channels, *batch.image.shape[2:]))
    Evaluator(num_classes, task=task, ignore_index=ignore).update(logits, batch.target.cpu())


class _Steps:
    """A number of batches from a loader, begun again where it ends early; every ``world``-th one for this process."""

    def __init__(self, loader: Iterable[Any], steps: int, rank: int, world: int) -> None:
        self.loader, self.steps, self.rank, self.world = loader, steps, rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        def endless() -> Iterator[Any]:
            while True:
                empty = True
                for batch in self.loader:
                    empty = False
                    yield batch
                if empty:
                    raise DataError("batches from the training loader", "none", "Check the length of its data set.")

        return islice(endless(), self.rank, self.steps * self.world, self.world)


class _Images:
    """Evaluation batches as dictionaries with names; each process gets every ``world``-th batch."""

    def __init__(self, loader: Iterable[Any], part: str, rank: int, world: int) -> None:
        self.loader, self.part, self.rank, self.world = loader, part, rank, world

    def __len__(self) -> int:
        length = _length(self.loader) or 0
        return (length - self.rank + self.world - 1) // self.world

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = 0
        for position, raw in enumerate(self.loader):
            batch = read_batch(raw)
            ids = batch.ids or tuple(f"{self.part} {number + offset:05d}" for offset in range(len(batch.image)))
            number += len(batch.image)
            if position % self.world == self.rank:
                yield {"image": batch.image, "label": batch.target, "id": list(ids)}


def _cut(batch: Batch, size: int) -> tuple[Tensor, ...]:
    parts = (batch.image, batch.target) if batch.weight is None else (batch.image, batch.target, batch.weight)
    return tuple(part[:size] for part in parts)


def open_loaders(data: Any) -> tuple[dict[str, Any], Any]:
    """The loaders in what the user gave, by split, and the data module if it is one.

    Raises:
        DataError: no training or no validation loader is found.
    """
    module = None
    if hasattr(data, "train_dataloader") and hasattr(data, "setup"):
        module = data
        module.prepare_data()
        module.setup("fit")
        data = {"train": module.train_dataloader(), "val": module.val_dataloader()}
        try:
            module.setup("test")
            data["test"] = module.test_dataloader()
        except (NotImplementedError, AttributeError):
            pass
        except Exception as error:
            # Lightning's own "no test_dataloader" is an exception class of its private API.
            if "MisconfigurationException" not in type(error).__name__:
                raise
    names = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
    found: dict[str, Any] = {}
    if isinstance(data, Mapping):
        for key, loader in data.items():
            if key not in names:
                raise DataError("loaders named train, val and test", repr(key), "Rename it.")
            found[names[key]] = loader
    elif isinstance(data, Sequence) and not isinstance(data, (str, bytes)) and len(data) in (2, 3):
        found = dict(zip(("train", "val", "test"), data, strict=False))
    found = {
        name: loader[0] if isinstance(loader, (list, tuple)) and loader else loader for name, loader in found.items()
    }
    for name in ("train", "val"):
        if not isinstance(found.get(name), Iterable):
            raise DataError(
                "a data folder, loaders for train, val and test, or a LightningDataModule",
                f"{type(data).__name__} without a {name} loader",
                'Give for example {"train": loader, "val": loader, "test": loader}.',
            )
    for name in ("val", "test"):
        sampler = getattr(found.get(name), "sampler", None)
        if isinstance(sampler, torch.utils.data.RandomSampler):
            raise DataError(
                f"a {name} loader with a fixed order of images", "one that shuffles", "Create it with shuffle=False."
            )
    return found, module


def first_batch(loader: Iterable[Any], split: str = "training") -> Batch:
    """The first batch of the loader of a split.

    Raises:
        DataError: it is empty, or delivers no images with targets.
    """
    for batch in loader:
        return read_batch(batch)
    raise DataError(f"batches from the {split} loader", "none", "Check the length of its data set.")


def reseed(loader: Any, seed: int) -> None:
    """Seed everything that loaders commonly draw from."""
    seed %= 2**31
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    for holder in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
    if getattr(loader, "_iterator", None) is not None:
        # Persistent workers keep the random state of the training before.
        loader._iterator = None
    dataset = getattr(loader, "dataset", None)
    if "monai.data" in sys.modules and dataset is not None:
        # MONAI's transforms hold generators of their own.
        from monai.data.utils import set_rnd

        set_rnd(dataset, seed)


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _number_of_images(loader: Any) -> int:
    dataset = getattr(loader, "dataset", None)
    return (_length(dataset) if dataset is not None else None) or 0
