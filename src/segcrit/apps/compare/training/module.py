"""The LightningModule: a network under one loss. The training engine is Lightning's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from segcrit.apps.compare.batches.forms import Batch, read_batch, read_output
from segcrit.apps.compare.records import METRICS, figure_name
from segcrit.apps.compare.settings import Settings
from segcrit.apps.compare.training.inference import Predictor
from segcrit.apps.compare.training.timing import LossClock
from segcrit.core.errors import TrainingError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.named import evaluate
from segcrit.metrics.report import Report

__all__ = ["DivergedError", "Loaders", "Trainee", "predicted_labels", "validation_figures"]

# On a GPU a look at the loss waits for the device; every tenth step costs nothing noticeable.
_LOOK_EVERY: Final = 10


class DivergedError(TrainingError):
    """The loss is not finite any more; ends this training, not the comparison."""

    code = "diverged"

    def __init__(self, step: int, value: float, exact: bool) -> None:
        self.step = step
        super().__init__(
            "a finite training loss",
            f"{value} {'at' if exact else 'by'} step {step}",
            "Lower the learning rate for this loss (--tune-lr finds one), or check its weights and parameters.",
        )

    def __reduce__(self) -> Any:
        return Exception, (str(self),)


@dataclass(frozen=True)
class Loaders:
    """Where a training gets its batches: functions of rank and number of processes."""

    train: Callable[[int, int, int], Iterable[Any]]  # epoch, rank, world
    val: Callable[[int, int], Iterable[Any]]  # rank, world
    test: Callable[[int, int], Iterable[Any]]  # rank, world
    after_transfer: Callable[[Any, int], Any] | None = None


class Trainee(lightning.LightningModule):
    """A network that learns under one loss.

    Args:
        network: with its initial weights.
        criterion: the loss, called as ``criterion(logits, target, pixel_weight)``.
        settings: optimiser and schedule.
        lengths: steps of every epoch.
        learning_rate: its peak.
        loaders: training and validation batches.
        predictor: predicts whole images.
        evaluator: a new evaluator for each validation.
        seed: of the training; random numbers inside the network are drawn from it anew in every epoch, so that a
            resumed training repeats an uninterrupted one.
        background: the class that figures of the foreground leave out, None where every class counts.
        channels_last: whether to use that memory layout.
        passport: plain values kept in every checkpoint: how to build the network again.

    Attributes:
        keep_labels: called with the name and the predicted labels of every test image, if set.
    """

    def __init__(
        self,
        network: nn.Module,
        criterion: nn.Module,
        settings: Settings,
        *,
        lengths: Sequence[int],
        learning_rate: float,
        loaders: Loaders,
        predictor: Predictor,
        evaluator: Callable[[], Evaluator],
        seed: int,
        background: int | None = 0,
        channels_last: bool = False,
        passport: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
        self.criterion = criterion
        self.settings = settings
        self.lengths = tuple(lengths)
        self.steps = sum(lengths)
        self.learning_rate = learning_rate
        self.loaders = loaders
        self.predictor = predictor
        self.make_evaluator = evaluator
        self.evaluator = evaluator()
        self.seed = seed
        self.background = background
        self.channels_last = channels_last
        self.passport = passport or {}
        self.keep_labels: Callable[[str, Tensor], None] | None = None
        self.clock = LossClock()

    # ---------------------------------------------------------------------------------------------- training

    def training_step(self, raw: Any, index: int) -> Tensor:
        """One step of the loss."""
        if index == 0:
            # Random numbers inside the network (dropout) depend on seed, epoch and process alone. Seeded here and not
            # with the loader, because the start of worker processes draws from the generator, too.
            torch.manual_seed((self.seed * 1_000_003 + self._epoch()) * 1_009 + self.global_rank)
        batch = read_batch(raw)
        logits = read_output(self.network(self._arrange(batch.image)), batch.image.ndim - 2)
        if self.clock.due(self.global_step):
            self.clock.measure(self.criterion, logits, batch.target, batch.weight)
        loss: Tensor = self.criterion(logits, batch.target, batch.weight)
        self._look(loss)
        self.log("train/loss", loss.detach())
        terms: dict[str, Tensor] = getattr(self.criterion, "last_terms", {})
        if len(terms) > 1:
            self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        return loss

    def _look(self, loss: Tensor) -> None:
        step = self.global_step + 1
        on_cpu = loss.device.type == "cpu"
        if on_cpu or step % _LOOK_EVERY == 0:
            value = float(loss.detach())
            if value - value != 0:
                raise DivergedError(step, value, exact=on_cpu)

    def configure_optimizers(self) -> Any:
        """Optimiser and learning-rate schedule of the settings."""
        optimizer = _optimizer(self.settings, self.network, self.learning_rate)
        schedule = _schedule(self.settings, optimizer, self.learning_rate, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Iterable[Any]:
        """Called at the start of every epoch, before its first batch is drawn.

        The epoch follows from the number of steps: Lightning's own counter is one ahead after a resumed epoch end.
        """
        return self.loaders.train(self._epoch(), self.global_rank, self.trainer.world_size)

    def _epoch(self) -> int:
        done = sum(end <= self.trainer.global_step for end in accumulate(self.lengths))
        return min(done, len(self.lengths) - 1)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """A data module's own work on the device."""
        if self.trainer.training and self.loaders.after_transfer is not None:
            return self.loaders.after_transfer(batch, dataloader_idx)
        return batch

    # -------------------------------------------------------------------------------------------- validation

    def val_dataloader(self) -> Iterable[Any]:
        """Validation images of this process."""
        return self.loaders.val(self.global_rank, self.trainer.world_size)

    def on_validation_epoch_start(self) -> None:
        """A new count."""
        self.evaluator = self.make_evaluator()

    def validation_step(self, raw: Any, index: int) -> None:
        """Count right and wrong pixels of an image."""
        self.count(raw)

    def on_validation_epoch_end(self) -> None:
        """The figures, over all processes."""
        for name, value in validation_figures(self.evaluator.synchronize().compute(), self.background).items():
            # Every process holds the figures of all images; there is nothing left to reduce.
            self.log(f"validation/{name}", torch.tensor(value, dtype=torch.float64).float(), rank_zero_only=False)

    # -------------------------------------------------------------------------------------------------- the test

    def test_dataloader(self) -> Iterable[Any]:
        """Test images of this process."""
        return self.loaders.test(self.global_rank, self.trainer.world_size)

    def on_test_epoch_start(self) -> None:
        """A new count."""
        self.evaluator = self.make_evaluator()

    def test_step(self, raw: Any, index: int) -> None:
        """Count an image; keep its predicted labels where they are wanted."""
        batch, logits = self.count(raw)
        if self.keep_labels is not None and batch.ids is not None:
            for id, image_logits in zip(batch.ids, logits, strict=True):
                self.keep_labels(id, predicted_labels(image_logits[None], self.settings.task)[0].cpu())

    def on_test_epoch_end(self) -> None:
        """Bring the counts of all processes together."""
        self.evaluator.synchronize()

    # ---------------------------------------------------------------------------------------- what both have in common

    def count(self, raw: Any) -> tuple[Batch, Tensor]:
        """Predict an image and add it to the evaluator."""
        batch = read_batch(raw)
        logits = self.predict(batch.image)
        self.evaluator.update(logits, batch.target, ids=batch.ids)
        return batch, logits

    def predict(self, image: Tensor) -> Tensor:
        """Logits of whole images."""
        return self.predictor(self.network, self._arrange(image))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Clocks, to go on with; and what someone needs to use the network."""
        checkpoint["clock"] = self.clock.state_dict()
        checkpoint["segcrit"] = self.passport

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See :meth:`on_save_checkpoint`."""
        self.clock.load_state_dict(checkpoint["clock"])

    def _arrange(self, image: Tensor) -> Tensor:
        if self.channels_last and image.ndim == 4:
            return image.contiguous(memory_format=torch.channels_last)
        return image


def predicted_labels(logits: Tensor, task: str) -> Tensor:
    """Labels (N, *S) of logits; in a multilabel task 0 or 1 for each channel, (N, C, *S)."""
    if task == "multiclass":
        return logits.argmax(1)
    positive = (logits > 0).long()
    return positive[:, 0] if task == "binary" else positive


def validation_figures(report: Report, background: int | None) -> dict[str, float]:
    """The figures of the validation curve."""
    names = {name: figure_name(name, background) for name in METRICS} | {"pixel_accuracy": "pixel_accuracy"}
    return {name: evaluate(report.per_image, figure) for name, figure in names.items()}


def _optimizer(settings: Settings, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(parameters, rate, weight_decay=settings.weight_decay)


def _schedule(
    settings: Settings, optimizer: torch.optim.Optimizer, rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "one-cycle" and steps > 1:
        # One step more, because the scheduler is advanced once after the last step. Fewer than ten have no warm-up; at ten
        # its length is zero, and the scheduler would divide by it.
        warm_up = 0.1 if steps + 1 != 10 else 0.0999
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=warm_up)
    if settings.schedule == "polynomial":
        return torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps + 1, power=0.9)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
