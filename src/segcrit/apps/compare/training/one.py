"""One training: a loss and a seed, from the initial weights to the test figures, resumable at every epoch."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from segcrit.apps.compare.predictions import PredictionWriter
from segcrit.apps.compare.records import METRICS, Figures, ImageCounts, LearningRate, SeedResult, figure_name
from segcrit.apps.compare.run_directory import LossPlan, TrainingFolder
from segcrit.apps.compare.training.checkpoints import WholeCheckpoints
from segcrit.apps.compare.training.context import Context, is_first_process
from segcrit.apps.compare.training.memory import is_out_of_memory, out_of_memory
from segcrit.apps.compare.training.module import DivergedError, Trainee
from segcrit.apps.compare.training.quiet import with_interrupts
from segcrit.apps.compare.training.recorder import Recorder
from segcrit.core.errors import DataError, SegcritError
from segcrit.core.numbers import duration
from segcrit.metrics.report import Report

__all__ = ["Finished", "figures_of", "image_counts", "predict_again", "train"]


@dataclass(frozen=True)
class Finished:
    """A training that came to its end, and what only this session knows of it."""

    result: SeedResult
    batches: str  # checksum of its first batches


def train(context: Context, loss: LossPlan, seed: int, rate: LearningRate) -> Finished:
    """Train, or continue where an interruption left off, and test the best checkpoint.

    Raises:
        TrainingError: the memory is too small; the message names a batch size that fits.
        KeyboardInterrupt: Ctrl-C; the last epoch's checkpoint is kept.
    """
    settings, reporter = context.settings, context.reporter
    folder = context.directory.training(loss, seed)
    lengths = settings.epoch_lengths()
    world = context.world_size()
    recorder = Recorder(settings.steps, settings.metric, folder.best, reporter)
    trainee = context.trainee(loss, seed, rate.value, lengths, world)
    done = _steps_done(folder)
    if is_first_process():
        folder.remove_leftovers()
    logger = TensorBoardLogger(
        context.directory.path / "tensorboard",
        name=loss.folder,
        version=f"seed-{seed}",
        default_hp_metric=False,
        purge_step=done or None,
    )
    last = ModelCheckpoint(
        dirpath=folder.path,
        filename="last",
        monitor=None,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    trainer = context.trainer(settings.steps, [recorder, last], logger=logger)
    name = loss.canonical if len(settings.seeds) == 1 else f"{loss.canonical}, seed {seed}"
    reporter.training(name, settings.steps, done, METRICS[settings.metric])
    try:
        with with_interrupts(trainer):
            trainer.fit(trainee, ckpt_path=str(folder.last) if done else None)
            reporter.stage("testing")
            report = _test(context, loss, trainer, trainee, folder, recorder)
    except DivergedError as error:
        result = _result(context, seed, "diverged", recorder, trainee, rate, message=str(error))
        reporter.finished(f"stopped: the loss is not finite at step {error.step}")
        return Finished(result, recorder.batches)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(context, loss, error, tried=world == 1) from error
        if done and not recorder.began and not isinstance(error, SegcritError):
            raise _unusable(folder) from error
        raise
    finally:
        del trainer
        gc.collect()
    result = _result(context, seed, "ok", recorder, trainee, rate, report=report, folder=folder)
    metric = getattr(result.figures, settings.metric)
    reporter.finished(
        f"test {METRICS[settings.metric]} {metric:.3f}  ({duration(result.training_seconds)} of training)"
    )
    return Finished(result, recorder.batches)


def predict_again(context: Context, loss: LossPlan, seed: int) -> None:
    """Write the predictions of a training that was finished without them."""
    folder = context.directory.training(loss, seed)
    trainee = context.trainee(loss, seed, context.settings.learning_rate, context.settings.epoch_lengths(), 1)
    trainee.keep_labels = PredictionWriter(folder.predictions, context.source, context.settings.task)
    trainer = context.trainer(1, [])
    with with_interrupts(trainer):
        trainer.test(trainee, ckpt_path=str(folder.best), verbose=False)


def _steps_done(folder: TrainingFolder) -> int:
    """Steps in the last checkpoint, 0 without one.

    Raises:
        DataError: it cannot be read.
    """
    if not folder.last.exists():
        return 0
    steps = WholeCheckpoints().load_checkpoint(folder.last).get("global_step")
    if isinstance(steps, int) and steps >= 0:
        return steps
    raise _unusable(folder)


def _unusable(folder: TrainingFolder) -> DataError:
    return DataError(
        f"a checkpoint of this training at {folder.last}",
        "one that does not fit, or was edited",
        "Remove it to train this loss and seed from the start.",
        code="damaged-checkpoint",
    )


def _test(
    context: Context, loss: LossPlan, trainer: Any, trainee: Trainee, folder: TrainingFolder, recorder: Recorder
) -> Report:
    if context.save_predictions:
        trainee.keep_labels = PredictionWriter(folder.predictions, context.source, context.settings.task)
    best = folder.best if recorder.best_step >= 0 and folder.best.exists() else None
    trainer.test(trainee, ckpt_path=None if best is None else str(best), verbose=False)
    return trainee.evaluator.compute()


def _result(
    context: Context,
    seed: int,
    status: Any,
    recorder: Recorder,
    trainee: Trainee,
    rate: LearningRate,
    *,
    message: str = "",
    report: Report | None = None,
    folder: TrainingFolder | None = None,
) -> SeedResult:
    checkpoint = ""
    if folder is not None and recorder.best_step >= 0 and is_first_process():
        checkpoint = context.directory.relative(folder.best)
    return SeedResult(
        seed=seed,
        status=status,
        training=recorder.training_curve(),
        validation=recorder.validation_curve(),
        learning_rate=rate,
        cost=recorder.cost(trainee),
        training_seconds=recorder.seconds,
        message=message,
        best_step=recorder.best_step,
        best_validation=recorder.best_value,
        checkpoint=checkpoint,
        figures=None if report is None else figures_of(report, context.background),
        counts=None if report is None else image_counts(report),
        confusion=None if report is None or report.task == "multilabel" else np.asarray(report.confusion),
    )


def figures_of(report: Report, background: int | None) -> Figures:
    """The scores of an evaluation; ``background`` is the class that those of the foreground leave out."""
    scores = report.figures
    return Figures(
        miou=scores["miou"],
        foreground_iou=scores[figure_name("foreground_iou", background)],
        image_dice=scores[figure_name("image_dice", background)],
        pixel_accuracy=scores["pixel_accuracy"],
        mean_accuracy=scores["mean_accuracy"],
        frequency_weighted_iou=scores["frequency_weighted_iou"],
        iou=tuple(report.iou.tolist()),
        dice=tuple(report.dice.tolist()),
        precision=tuple(report.precision.tolist()),
        recall=tuple(report.recall.tolist()),
    )


def image_counts(report: Report) -> ImageCounts:
    """The counts per image, sorted by name, so that they agree between processes and losses."""
    counts = report.per_image
    order = sorted(range(counts.num_images), key=lambda row: counts.ids[row])
    sorted_counts = counts.select(order)
    return ImageCounts(sorted_counts.ids, sorted_counts.tp, sorted_counts.fp, sorted_counts.fn)
