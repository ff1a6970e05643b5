"""One call of a comparison: trains what is missing, judges, writes results and report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import torch

from segcrit.apps.compare.assembly import assemble, loss_results
from segcrit.apps.compare.batches.folder_source import FolderSource
from segcrit.apps.compare.examples import make_examples
from segcrit.apps.compare.prepare import Prepared, announce_folder
from segcrit.apps.compare.records import Results, SeedResult
from segcrit.apps.compare.report.page import render_report
from segcrit.apps.compare.results import read_results, write_results
from segcrit.apps.compare.run_directory import LossPlan
from segcrit.apps.compare.training.context import Context, is_first_process
from segcrit.apps.compare.training.memory import Measured, is_out_of_memory, measure, out_of_memory
from segcrit.apps.compare.training.module import DivergedError
from segcrit.apps.compare.training.one import predict_again, train
from segcrit.apps.compare.training.tuning import FACTORS, find_learning_rate
from segcrit.apps.compare.verdict.summary import with_common_rest
from segcrit.core import atomic
from segcrit.core.errors import DataError, SegcritError, TrainingError

__all__ = ["CostEstimate", "LossCost", "Session", "estimate_cost"]

# Steps of the look before the training, and of an estimate.
_PREFLIGHT_STEPS: Final = 1
_ESTIMATE_STEPS: Final = 12
_ESTIMATE_BATCHES: Final = 2


class Session:
    """One call of :func:`run`: trains what is missing and writes the results."""

    def __init__(self, prepared: Prepared, begin: float) -> None:
        self.context = prepared.context
        self.plans = prepared.plans
        self.state = prepared.state
        self.notes = list(prepared.notes)
        self.begin = begin
        self.before = prepared.state.elapsed_seconds
        self.finished: dict[tuple[str, int], SeedResult] = {}
        self.world = 1
        self.device = torch.device("cpu")
        self.count = 1

    def run(self) -> Results:
        """Train what is missing; write results and report."""
        jobs = self._pending()
        self._look_ahead(jobs)
        if not is_first_process():
            return self._run(jobs)
        self._require_labels()
        with atomic.locked(self.context.directory.path / ".run.lock", "training into it"):
            return self._run(jobs)

    def _run(self, jobs: Sequence[tuple[LossPlan, int]]) -> Results:
        context, first = self.context, is_first_process()
        if first:
            announce_folder(context.directory)
            context.directory.write(self.state)
            context.store_initial_weights()
        for plan in self.plans:
            for word in plan.words:
                numbers = ", ".join(f"{value:g}" for value in word.values)
                context.reporter.message(f"{plan.canonical}: {word.word} = {numbers} ({word.explanation})")
        try:
            context.reporter.begin(len(jobs))
            for plan, seed in jobs:
                self._train(plan, seed)
        except KeyboardInterrupt:
            if first and self.finished:
                context.reporter.close()
                self._write(self._results(), ())
            raise
        if context.save_predictions:
            self._complete_predictions()
        results = self._results()
        if not first:
            return results
        context.reporter.stage("writing the report")
        return self._write(results, self.plans)

    def _pending(self) -> list[tuple[LossPlan, int]]:
        jobs = []
        # Seed by seed, so that an interrupted run holds every loss with the seeds that are done.
        for seed in self.context.settings.seeds:
            for plan in self.plans:
                result = self.context.directory.training(plan, seed).read_result()
                if result is None:
                    jobs.append((plan, seed))
                else:
                    self.finished[plan.canonical, seed] = result
        return jobs

    def _look_ahead(self, jobs: Sequence[tuple[LossPlan, int]]) -> None:
        """One step of every loss before anything is written: a mistake in the last loss should not cost an hour."""
        trainer = self.context.trainer(1, [])
        self.world = int(trainer.world_size)
        self.device = trainer.strategy.root_device
        self.count = int(trainer.num_devices)
        if not is_first_process() or self.world > 1:
            return  # measured on one device alone, which started processes do not allow
        plans = list(dict.fromkeys(plan for plan, _ in jobs))
        for position, plan in enumerate(plans):
            self.context.reporter.preparing("trying one step of every loss", position, len(plans))
            _measure(self.context, plan, steps=_PREFLIGHT_STEPS)

    def _require_labels(self) -> None:
        """Training on nothing would end in figures that look like figures."""
        source = self.context.source
        if isinstance(source, FolderSource) and source.frequencies(self.context.settings.task).total == 0:
            raise DataError(
                f"labelled pixels in the training split of {source.info.name}",
                f"the ignored label {source.info.ignore_index} everywhere",
                "Check the masks, and ignore_index in classes.json.",
            )

    def _train(self, plan: LossPlan, seed: int) -> None:
        context = self.context
        rate = find_learning_rate(context, plan)
        done = train(context, plan, seed, rate)
        self.finished[plan.canonical, seed] = done.result
        self.state = replace(self.state, elapsed_seconds=self.before + time.monotonic() - self.begin)
        if not is_first_process():
            return
        folder = context.directory.training(plan, seed)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.batches_file.write_text(done.batches + "\n", encoding="utf-8")
        folder.write_result(done.result)
        if folder.best.exists():
            # Three times as large as the weights, and of no use any more.
            folder.last.unlink(missing_ok=True)
        context.directory.write(self.state)

    def _complete_predictions(self) -> None:
        for plan, seed in product(self.plans, self.context.settings.seeds):
            folder = self.context.directory.training(plan, seed)
            if folder.best.exists() and not folder.predictions.exists() and self.finished[plan.canonical, seed].figures:
                self.context.reporter.stage(f"predicting with {plan.canonical}")
                predict_again(self.context, plan, seed)

    def _results(self) -> Results:
        context = self.context
        self.state = replace(self.state, elapsed_seconds=self.before + time.monotonic() - self.begin)
        losses = loss_results(context, self.plans, self.finished)
        used = range(self.count) if self.device.type == "cuda" else ()
        devices = [torch.device("cuda", index) for index in used]
        return assemble(
            context,
            self.state,
            losses,
            notes=[*self.notes, *context.source.notes(), *self._remarks()],
            world=self.world,
            devices=devices,
        )

    def _remarks(self) -> list[str]:
        """What a reader of the report must know about how the losses were treated."""
        remarks = []
        for seed in self.context.settings.seeds:
            sums = set()
            for plan in self.plans:
                path = self.context.directory.training(plan, seed).batches_file
                if path.exists():
                    sums.add(atomic.read_text(path).strip())
            if len(sums - {""}) > 1:
                remarks.append(
                    "The loader did not deliver the same batches to every loss: its random numbers come from a "
                    "generator that segcrit cannot seed. Differences between losses contain that noise."
                )
        return list(dict.fromkeys(remarks))

    def _write(self, results: Results, plans: Sequence[LossPlan]) -> Results:
        context = self.context
        if plans:
            results = replace(results, examples=make_examples(context, plans, results.losses, self.device))
        results = replace(
            results, run=replace(results.run, elapsed_seconds=self.before + time.monotonic() - self.begin)
        )
        written = write_results(context.directory.path, results)
        render_report(results, context.directory.path)
        context.directory.write(replace(self.state, elapsed_seconds=results.run.elapsed_seconds))
        return read_results(written)  # with the verdict, which is judged when results are written


def _measure(context: Context, plan: LossPlan, **options: int) -> Measured | None:
    """A measurement; None where the loss is not finite even then (its training will say so)."""
    try:
        return measure(context, plan, **options)
    except DivergedError:
        return None
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(context, plan, error, tried=True) from error
        if isinstance(error, (RuntimeError, ValueError)) and not isinstance(error, SegcritError):
            sizes = "×".join(map(str, context.settings.crop)) or "the loader's size"
            raise TrainingError(
                f"a step of the network {context.network.spec!r} on images of {sizes}",
                f"{type(error).__name__}: {' '.join(str(error).split())}",
                "Choose a larger --crop, --window or --batch-size, or correct the network.",
                code="network-failed",
            ) from error
        raise


@dataclass(frozen=True)
class LossCost:
    """What one loss will cost: its own measured time, and the common time of all that does not depend on the loss.

    Attributes:
        step_seconds: of a step.
        loss_seconds: of the loss in it; NaN where it was not timed by itself.
        peak_memory: bytes.
        training_seconds: of one training, with its validations and the test.
    """

    step_seconds: float
    loss_seconds: float
    peak_memory: float
    training_seconds: float


@dataclass(frozen=True)
class CostEstimate:
    """What a comparison will cost, by a few real steps of every loss on this machine.

    Attributes:
        losses: canonical expression and what it will cost.
        trainings: number of trainings.
        seconds: of the whole comparison.
        peak_memory: bytes, of the most demanding loss.
        steps: of one training.
    """

    losses: tuple[tuple[str, LossCost], ...]
    trainings: int
    seconds: float
    peak_memory: float
    steps: int


def estimate_cost(prepared: Prepared) -> CostEstimate:
    """Measure a few real steps of every loss; nothing is written."""
    context, settings = prepared.context, prepared.context.settings
    world = context.world_size()
    found: dict[str, Measured] = {}
    unknown = Measured(*[float("nan")] * 4)
    for position, plan in enumerate(prepared.plans):
        context.reporter.preparing("measuring a few steps of every loss", position, len(prepared.plans))
        measured = _measure(
            context, plan, steps=min(_ESTIMATE_STEPS, settings.steps), validate=_ESTIMATE_BATCHES, share=world
        )
        found[plan.canonical] = measured or unknown
    # Network, validation and data take the same time under every loss; what was measured differs by noise only.
    own = {
        name: (measured.step_seconds, float(np.nan_to_num(measured.loss_share)) * measured.step_seconds)
        for name, measured in found.items()
    }
    steps = with_common_rest(own)
    watched = [measured.validation_seconds for measured in found.values() if measured.validation_seconds > 0]
    validation = float(np.median(watched)) if watched else 0.0
    validations = len(settings.epoch_lengths())
    # The test is one more pass over images, taken to be as many as those of the validation.
    tests = context.source.info.images.get("test", 0) / max(context.source.info.images.get("val", 1), 1)
    losses = []
    for name, measured in found.items():
        step = steps.get(name, float("nan"))
        losses.append(
            (
                name,
                LossCost(
                    step_seconds=step,
                    loss_seconds=own[name][1] if measured.loss_share == measured.loss_share else float("nan"),
                    peak_memory=measured.peak_memory,
                    training_seconds=settings.steps * step + validation / world * (validations + tests),
                ),
            )
        )
    known = [cost.training_seconds for _, cost in losses if cost.training_seconds == cost.training_seconds]
    trials = len(FACTORS) / 8 if settings.tune_learning_rate else 0.0
    seconds = (len(settings.seeds) + trials) * sum(known)
    peak = max((cost.peak_memory for _, cost in losses), default=float("nan"))
    trainings = len(prepared.plans) * len(settings.seeds)
    return CostEstimate(tuple(losses), trainings, seconds, peak, settings.steps)
