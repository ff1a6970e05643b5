"""Where batches come from: what the engine asks of data, whoever delivers it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy.typing as npt
import torch

from segcrit.apps.compare.records import ClassEntry
from segcrit.apps.compare.settings import Settings
from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.labels.weights.frequencies import ClassFrequencies

__all__ = ["Part", "Progress", "Source", "SourceInfo", "TestImage"]

Part = Literal["val", "test"]
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class SourceInfo:
    """What is known about the data before anything is trained."""

    name: str
    classes: tuple[ClassEntry, ...]
    channels: int
    spatial_dims: int
    ignore_index: int | None
    images: dict[str, int]
    root_name: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    train_labels: str = ""
    description: str = ""
    notes: tuple[str, ...] = ()
    # The class that foreground IoU and per-image Dice leave out; None: every class counts.
    background: int | None = 0
    # What identifies the data when a run is continued.
    fingerprint: str = ""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def criterion_ignore_index(self) -> int:
        """The label that losses and evaluation leave out."""
        return DEFAULT_IGNORE_INDEX if self.ignore_index is None else self.ignore_index


@dataclass(frozen=True)
class TestImage:
    """A test image for people: as it is stored, its true labels, and what the network gets (1, channels, *S)."""

    id: str
    image: npt.NDArray[Any]
    label: npt.NDArray[Any]
    network_input: torch.Tensor


class Source(Protocol):
    """Training batches and evaluation images of one data set."""

    info: SourceInfo
    normalisation: dict[str, Any]  # how to repeat it, for whoever uses a checkpoint

    def default_settings(self) -> dict[str, Any]:
        """Settings that suit this data."""

    def configure(self, settings: Settings, intensities: str, num_workers: int | None, progress: Progress) -> None:
        """Fix the settings; called once, before any loader is asked for."""

    def resize_batches(self, batch_size: int) -> None:
        """Deliver training batches of another size from now on, where the source decides it."""

    def describe_normalisation(self) -> str:
        """How intensities were normalised, in plain words."""

    def notes(self) -> tuple[str, ...]:
        """Decisions that were made since :meth:`configure`."""

    def train_loader(self, seed: int, epoch: int, lengths: Sequence[int], rank: int, world: int) -> Iterable[Any]:
        """Batches of one epoch; the same for equal arguments."""

    def eval_loader(self, part: Part, rank: int, world: int) -> Iterable[Any]:
        """Images of a split, in a fixed order; each process gets its share."""

    def frequencies(self, task: Task) -> ClassFrequencies:
        """Pixels of each class in the labels that are trained on."""

    def test_images(self, ids: Sequence[str]) -> Iterator[TestImage]:
        """The test images of these names, in any order."""
