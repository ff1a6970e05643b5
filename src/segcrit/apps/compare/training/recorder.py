"""The callback that keeps the curves, the clocks and the best checkpoint of a training, through interruptions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as lightning
import torch

from segcrit.apps.compare.batches.forms import read_batch
from segcrit.apps.compare.records import Cost, MetricName, TrainingCurve, ValidationCurve
from segcrit.apps.compare.training.module import Trainee
from segcrit.apps.compare.training.timing import StepClock, wait
from segcrit.core.machine import peak_memory, reset_peak_memory
from segcrit.core.progress import Reporter

__all__ = ["FIGURE_NAMES", "Recorder"]

FIGURE_NAMES: Final = ("miou", "foreground_iou", "image_dice", "pixel_accuracy")
_CURVE_POINTS: Final = 400
_CHECKED_BATCHES: Final = 3


class Recorder(lightning.Callback):
    """Keeps what a training finds out; its state is part of every checkpoint.

    Args:
        steps: length of the training.
        metric: the validation figure that chooses the best checkpoint.
        best: where that checkpoint is written, None for nowhere.
        reporter: is told about every step and validation.

    Attributes:
        best_step, best_value: of the best checkpoint so far.
        batches: checksum of the first batches, by which trainings are known to see the same ones.
        began: whether training began, which is after a checkpoint was restored.
    """

    def __init__(self, steps: int, metric: MetricName, best: Path | None, reporter: Reporter) -> None:
        self.steps = steps
        self.metric = metric
        self.best = best
        self.reporter = reporter
        self.stride = max(1, steps // _CURVE_POINTS)
        self.training: list[tuple[int, float, float]] = []
        self.validation: list[tuple[float, ...]] = []
        self.seconds = 0.0
        self.best_step = -1
        self.best_value = float("nan")
        self.peak_memory = float("nan")
        self.batches = ""
        self.clock = StepClock()
        self.began = False
        self._sum: torch.Tensor | float = 0.0
        self._number = 0
        self._running_since: float | None = None

    # ------------------------------------------------------------------------------------------------ the clock

    def _run(self) -> None:
        self._running_since = time.perf_counter()

    def _pause(self) -> None:
        if self._running_since is not None:
            self.seconds += time.perf_counter() - self._running_since
            self._running_since = None

    def _now(self) -> float:
        return self.seconds + (0.0 if self._running_since is None else time.perf_counter() - self._running_since)

    # -------------------------------------------------------------------------------------------------- training

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Before the first step."""
        self.began = True
        reset_peak_memory(module.device)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Before the first step of an epoch."""
        self._run()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before each step."""
        if trainer.global_step < _CHECKED_BATCHES:
            parts = read_batch(batch)
            # A chain: the checksum so far is all that a checkpoint must keep to go on with it.
            chain = hashlib.sha256(self.batches.encode())
            for tensor in (parts.image, parts.target):
                chain.update(tensor.detach().cpu().contiguous().numpy().tobytes())
            self.batches = chain.hexdigest()[:16]
        self.clock.begin(trainer.global_step, module.device)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each step."""
        step = trainer.global_step
        other = module.clock.last if isinstance(module, Trainee) else 0.0
        self.clock.end(step - 1, module.device, other)
        if self._running_since is not None:
            self._running_since += other
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        self._sum = self._sum + loss.detach()
        self._number += 1
        if step % self.stride == 0 or step == self.steps:
            self.training.append((step, self._now(), float(self._sum) / self._number))
            self._sum, self._number = 0.0, 0
        self.reporter.step(step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """After an epoch and its validation."""
        self._pause()
        self.peak_memory = float(torch.tensor([self.peak_memory, peak_memory(module.device)]).nan_to_num(0).max())

    # ------------------------------------------------------------------------------------------------ validation

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """The time of the validation is not training time."""
        wait(module.device)
        self._pause()
        self.reporter.stage("validating")

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the figures, and the weights where they are the best so far."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        figures = {
            name: float(trainer.callback_metrics.get(f"validation/{name}", float("nan"))) for name in FIGURE_NAMES
        }
        step = trainer.global_step
        self.validation.append((step, self.seconds, *(figures[name] for name in FIGURE_NAMES)))
        value = figures[self.metric]
        if self.best_step < 0 or value > self.best_value or (self.best_value != self.best_value and value == value):
            self.best_step, self.best_value = step, value
            if self.best is not None:
                trainer.save_checkpoint(self.best, weights_only=True)
        self.reporter.validated(step, value)

    # ------------------------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "training": self.training,
            "validation": self.validation,
            "seconds": self.seconds,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "peak_memory": self.peak_memory,
            "batches": self.batches,
            "clock": self.clock.seconds,
            "sum": float(self._sum),
            "number": self._number,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.training = [tuple(point) for point in state["training"]]
        self.validation = [tuple(point) for point in state["validation"]]
        self.seconds = state["seconds"]
        self.best_step, self.best_value = state["best_step"], state["best_value"]
        self.peak_memory, self.batches = state["peak_memory"], state["batches"]
        self.clock.seconds = list(state["clock"])
        self._sum, self._number = state["sum"], state["number"]

    def training_curve(self) -> TrainingCurve:
        """The training loss over steps and time."""
        steps, seconds, losses = zip(*self.training, strict=True) if self.training else ((), (), ())
        return TrainingCurve(tuple(steps), tuple(seconds), tuple(losses))

    def validation_curve(self) -> ValidationCurve:
        """The validation figures over steps and time."""
        columns = list(zip(*self.validation, strict=True)) if self.validation else [()] * (2 + len(FIGURE_NAMES))
        steps, seconds, *figures = columns
        return ValidationCurve(tuple(int(step) for step in steps), tuple(seconds), *(tuple(part) for part in figures))

    def cost(self, module: Trainee) -> Cost:
        """What a step took."""
        forward, backward = module.clock.medians()
        return Cost(self.clock.median(), forward, backward, self.peak_memory)
