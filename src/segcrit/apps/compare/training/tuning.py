"""A learning rate for each loss, from a short search: losses differ in scale and in how steep they are."""

from __future__ import annotations

from typing import Final

from segcrit.apps.compare.records import METRICS, LearningRate, LearningRateTrial
from segcrit.apps.compare.run_directory import LossPlan
from segcrit.apps.compare.training.context import Context, is_first_process
from segcrit.apps.compare.training.memory import is_out_of_memory, out_of_memory
from segcrit.apps.compare.training.module import DivergedError
from segcrit.apps.compare.training.quiet import with_interrupts
from segcrit.apps.compare.training.recorder import Recorder

__all__ = ["FACTORS", "find_learning_rate"]

# Half a decade apart around the common rate; the common one first, so that it wins where nothing can be told.
FACTORS: Final = (1.0, 0.1, 0.316, 3.16)
_SHARE_OF_STEPS: Final = 8
_FEWEST_STEPS: Final = 20


def find_learning_rate(context: Context, loss: LossPlan) -> LearningRate:
    """Train briefly with each candidate and take the one with the best validation figure.

    Every trial has its own complete schedule, an eighth as long as a training, from the weights and on the batches
    of the first seed. What is done is kept in the run's folder, so that an interruption loses one trial.
    """
    settings = context.settings
    if not settings.tune_learning_rate:
        return LearningRate(settings.learning_rate)
    steps = min(settings.steps, max(_FEWEST_STEPS, settings.steps // _SHARE_OF_STEPS))
    known = context.directory.read_learning_rate(loss)
    if known is not None and known.value == known.value:
        return known
    trials = list(known.trials) if known is not None else []
    for factor in FACTORS[len(trials) :]:
        rate = float(f"{settings.learning_rate * factor:.3g}")
        trials.append(LearningRateTrial(rate, _trial(context, loss, rate, steps)))
        _keep(context, loss, LearningRate(float("nan"), True, tuple(trials), steps))
    best = max(trials, key=lambda trial: trial.validation if trial.validation == trial.validation else -1.0)
    found = LearningRate(best.value, True, tuple(trials), steps)
    _keep(context, loss, found)
    context.reporter.message(f"{loss.canonical}: learning rate {best.value:g}")
    return found


def _keep(context: Context, loss: LossPlan, rate: LearningRate) -> None:
    if is_first_process():
        context.directory.write_learning_rate(loss, rate)


def _trial(context: Context, loss: LossPlan, rate: float, steps: int) -> float:
    """Validation figure at the end of a short training, NaN if the loss diverged."""
    settings = context.settings
    recorder = Recorder(steps, settings.metric, None, context.reporter)
    world = context.world_size()
    trainee = context.trainee(loss, settings.seeds[0], rate, (steps,), world)
    trainer = context.trainer(steps, [recorder])
    context.reporter.trial(f"{loss.canonical}: trying learning rate {rate:g}", steps, METRICS[settings.metric])
    try:
        with with_interrupts(trainer):
            trainer.fit(trainee)
    except DivergedError:
        return float("nan")
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(context, loss, error, tried=world == 1) from error
        raise
    return recorder.best_value
