"""Everything that decides the numbers of a comparison, in one frozen record that is kept with the run."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from dataclasses import dataclass
from typing import Any, Final, Literal

from segcrit.apps.compare.records import METRICS, MetricName
from segcrit.core.constants import TASKS, Task
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import decode
from segcrit.core.names import nearest

__all__ = [
    "AUGMENTATIONS",
    "DEFAULT_LOSSES",
    "INFERENCE",
    "OPTIMIZERS",
    "SCHEDULES",
    "Compute",
    "Settings",
    "require_same",
]

# What the default comparison trains: the common pixel losses, the common region losses, and mixtures of both.
DEFAULT_LOSSES: Final = ("ce", "dice", "ce + dice", "focal", "jaccard", "ce + lovasz")

AUGMENTATIONS: Final = ("none", "flip", "full")
OPTIMIZERS: Final = ("adamw", "adam", "sgd")
SCHEDULES: Final = ("one-cycle", "polynomial", "constant")
INFERENCE: Final = ("auto", "whole", "sliding")

Augmentation = Literal["none", "flip", "full"]
Inference = Literal["auto", "whole", "sliding"]


@dataclass(frozen=True)
class Settings:
    """What must be the same for every loss of a run, and when a run is continued or extended.

    Attributes:
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        seeds: one training of every loss for each.
        steps: optimisation steps of one training.
        epochs: how often the network is validated and a checkpoint written: the steps are divided evenly.
        passes: how often the training split is gone through, where the length was given so; 0 where in steps.
        batch_size: crops (or images of the user's own loader) in a step, over all processes.
        crop: size of a training crop, () for the user's own loaders.
        learning_rate: the peak of the schedule.
        tune_learning_rate: whether each loss gets its own learning rate from a short search around it.
        optimizer: ``"adamw"`` (decoupled weight decay 0.01), ``"adam"`` or ``"sgd"`` (Nesterov momentum 0.9).
        weight_decay: of the optimiser.
        schedule: ``"one-cycle"`` (cosine warm-up over the first tenth, cosine decay to 0), ``"polynomial"``
            (power 0.9, as nnU-Net and DeepLab) or ``"constant"``.
        gradient_clip: largest norm of the gradient, 0 for none; 12 is nnU-Net's, and is reached only where a
            loss explodes, because Adam divides a common factor out.
        augment: ``"none"``, ``"flip"`` (left-right) or ``"full"`` (all flips and quarter turns).
        metric: the validation figure that chooses the best checkpoint.
        precision: ``"32-true"``, ``"bf16-mixed"``, ``"16-mixed"``, ... as Lightning names them.
        inference: whole images, a sliding window, or by size.
        window: size of the sliding window, () for the default.
    """

    task: Task = "multiclass"
    seeds: tuple[int, ...] = (0,)
    steps: int = 280
    epochs: int = 7
    passes: int = 0
    batch_size: int = 8
    crop: tuple[int, ...] = ()
    learning_rate: float = 3e-3
    tune_learning_rate: bool = False
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "one-cycle"
    gradient_clip: float = 12.0
    augment: str = "flip"
    metric: MetricName = "miou"
    precision: str = "32-true"
    inference: str = "auto"
    window: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _choice("task", self.task, TASKS)
        _choice("optimizer", self.optimizer, OPTIMIZERS)
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("augment", self.augment, AUGMENTATIONS)
        _choice("metric", self.metric, tuple(METRICS))
        _choice("inference", self.inference, INFERENCE)
        for name, most in (("steps", 10**9), ("epochs", 10**6), ("batch_size", 10**6)):
            _whole(name, getattr(self, name), 1, most)
        for name, sizes in (("crop", self.crop), ("window", self.window)):
            for size in sizes:
                _whole(name, size, 1, 10**6)
        for seed in self.seeds:
            _whole("seeds", seed, 0, 2**32 - 1)  # what NumPy takes
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ParameterError("at least one seed, each once", f"{list(self.seeds)}", "Give seeds=3 or a list.")
        _number("learning_rate", self.learning_rate, exclusive=True)
        _number("weight_decay", self.weight_decay)
        _number("gradient_clip", self.gradient_clip)

    def epoch_lengths(self) -> tuple[int, ...]:
        """Steps of every epoch: as even as possible, longer ones first.

        Example:
            >>> Settings(steps=7, epochs=3).epoch_lengths()
            (3, 2, 2)
        """
        epochs = min(self.epochs, self.steps)
        short, longer = divmod(self.steps, epochs)
        return (short + 1,) * longer + (short,) * (epochs - longer)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Settings:
        """Read what :meth:`to_dict` wrote."""
        names = {field.name for field in dataclasses.fields(cls)}
        if set(content) != names:
            raise DataError(
                "the settings of this version of segcrit in run.json",
                f"the fields {sorted(set(content) ^ names)} missing or unknown",
                "Continue the run with the version of segcrit that started it, or start again in a new folder.",
            )
        return decode(cls, content, "settings")


@dataclass(frozen=True)
class Compute:
    """Where the training runs; may change when a run is continued.

    Attributes:
        accelerator, devices, num_nodes, strategy: as ``lightning.pytorch.Trainer`` takes them.
        num_workers: processes that read images; None chooses.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    num_workers: int | None = None

    def __post_init__(self) -> None:
        _whole("num_nodes", self.num_nodes, 1, 10**6)
        if self.num_workers is not None:
            _whole("num_workers", self.num_workers, 0, 10**4)


def require_same(stored: dict[str, Any], given: dict[str, Any], folder: object) -> None:
    """Refuse to continue a run with other settings than it was started with.

    Args:
        stored: the settings in the run's folder.
        given: the settings asked for now; those that were not given are left out.
        folder: the run's folder, for the message.

    Raises:
        ParameterError: one of them differs; the message names all that do.
    """
    different = [name for name, value in given.items() if name in stored and stored[name] != value]
    if different:
        old = ", ".join(f"{name.replace('_', ' ')} {_shown(stored[name])}" for name in different)
        new = ", ".join(f"{_shown(given[name])}" for name in different)
        raise ParameterError(
            f"the settings that the run in {folder} was started with ({old})",
            new,
            "Leave these options out to continue it, or start a new run in another folder.",
        )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return f"{value}"


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ParameterError(
            f"{name} to be one of {', '.join(choices)}",
            repr(value),
            nearest(str(value), choices) or "Choose one of them.",
        )


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        shown = reprlib.repr(value)
        raise ParameterError(f"{name} to be a whole number from {low} to {high:,}", shown, "Give such a number.")


def _number(name: str, value: object, exclusive: bool = False) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not (value > 0 if exclusive else value >= 0):  # type: ignore[operator]
        bound = "greater than 0" if exclusive else "of at least 0"
        raise ParameterError(f"{name} to be a finite number {bound}", repr(value), "Give such a number.")
