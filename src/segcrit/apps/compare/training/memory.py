"""Out of memory: recognised, and answered with a batch size that fits; short measured runs for that and for estimates."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import lightning.pytorch as lightning
import torch

from segcrit.apps.compare.batches.forms import read_batch
from segcrit.apps.compare.run_directory import LossPlan
from segcrit.apps.compare.training.module import DivergedError
from segcrit.apps.compare.training.quiet import with_interrupts
from segcrit.apps.compare.training.recorder import Recorder
from segcrit.core.errors import TrainingError
from segcrit.core.machine import peak_memory
from segcrit.core.progress import Reporter

if TYPE_CHECKING:
    from segcrit.apps.compare.training.context import Context

__all__ = ["Measured", "is_out_of_memory", "measure", "out_of_memory"]

_MESSAGES: Final = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in main memory.

    Example:
        >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
        True
        >>> is_out_of_memory(RuntimeError("size mismatch"))
        False
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)


@dataclass(frozen=True)
class Measured:
    """What a few real steps took.

    Attributes:
        step_seconds: one step.
        loss_share: share of the loss in it.
        peak_memory: bytes, of the device or of the process.
        validation_seconds: one validation, from a few images.
    """

    step_seconds: float
    loss_share: float
    peak_memory: float
    validation_seconds: float


class _Stopwatch(lightning.Callback):
    def __init__(self) -> None:
        self.start = 0.0
        self.seconds = 0.0
        self.images = 0

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.images += len(read_batch(batch).image)
        self.seconds = time.perf_counter() - self.start


def measure(context: Context, loss: LossPlan, *, steps: int, validate: int = 0, share: int = 1) -> Measured:
    """Train a few steps on one device, on the first batches of the first seed, and throw the result away.

    Args:
        context: the comparison.
        loss: the loss.
        steps: number of steps.
        validate: number of validation batches to time, 0 for none.
        share: number of processes that will share a batch.

    Raises:
        Exception: whatever training raises, a lack of memory among it.
    """
    seed = context.settings.seeds[0]
    rate = context.settings.learning_rate * 1e-3  # a few steps at full rate from cold can overflow
    trainee = context.trainee(loss, seed, rate, (steps,), 1, share)
    trainee.clock.warm_up = min(3, max(0, steps - 2))
    recorder = Recorder(steps, context.settings.metric, None, Reporter())
    recorder.clock.warm_up = trainee.clock.warm_up
    watch = _Stopwatch()
    trainer = context.trainer(
        steps, [recorder, watch], single=True, limit_val_batches=validate, check_val_every_n_epoch=1
    )
    with with_interrupts(trainer):
        trainer.fit(trainee)
    images = context.source.info.images.get("val") or watch.images
    cost = recorder.cost(trainee)
    return Measured(
        cost.step_seconds,
        cost.loss_share,
        peak_memory(trainee.device),
        watch.seconds / watch.images * images if watch.images else float("nan"),
    )


def out_of_memory(context: Context, loss: LossPlan, error: BaseException, *, tried: bool) -> TrainingError:
    """The error to raise, with the largest halving of the batch size that really fits.

    Args:
        context: the comparison.
        loss: the loss that ran out of memory.
        error: what was raised.
        tried: whether smaller batches may be tried here (one process).
    """
    size = context.settings.batch_size
    # The traceback holds on to the tensors of the failed step.
    error.__traceback__ = None
    if tried:
        while size > 1:
            size //= 2
            if _fits(context, loss, size):
                return _error(context, loss, f"Batch size {size} fits (tried): use --batch-size {size}.")
        return _error(
            context,
            loss,
            "Not even a batch size of 1 fits: choose a smaller --crop or a smaller network, or close other programs.",
        )
    return _error(context, loss, f"Try half of it: --batch-size {max(1, size // 2)}.")


def _fits(context: Context, loss: LossPlan, batch_size: int) -> bool:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = replace(context, settings=replace(context.settings, batch_size=batch_size))
    smaller.source.resize_batches(batch_size)
    try:
        measure(smaller, loss, steps=2)
    except DivergedError:
        return True
    except Exception as error:
        if is_out_of_memory(error):
            return False
        raise
    finally:
        smaller.source.resize_batches(context.settings.batch_size)
    return True


def _error(context: Context, loss: LossPlan, advice: str) -> TrainingError:
    crop = " × ".join(map(str, context.settings.crop))
    what = f"{context.settings.batch_size} crops of {crop}" if crop else f"{context.settings.batch_size} images"
    return TrainingError(f"memory for a step of {loss.canonical!r} with {what}", "out of memory", advice)
