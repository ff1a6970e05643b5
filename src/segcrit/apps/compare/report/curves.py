"""The charts of the report: validation against steps and time, and each loss's own training curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segcrit.apps.compare.records import METRICS, LossResult, Results, SeedResult, TrainingCurve
from segcrit.apps.compare.verdict.summary import step_seconds
from segcrit.core.quantities import worded
from segcrit.reports.charts import Chart, Series, clock_scale, line_chart

__all__ = ["TrainingChart", "training_charts", "validation_charts"]

_MOST_POINTS = 200


@dataclass(frozen=True)
class TrainingChart:
    """The training loss of one loss, on a scale of its own."""

    loss: LossResult
    chart: Chart


def validation_charts(results: Results) -> tuple[Chart, ...]:
    """The run's metric on the validation split, against steps and, where steps were timed, against their time.

    Empty if nothing was validated. Time is steps times the time of a step (:func:`step_seconds`), never the clock: whatever
    else the machine did during one of the trainings would look like the price of its loss.
    """
    if not any(seed.validation.steps for loss in results.losses for seed in loss.seeds):
        return ()
    metric = worded(METRICS[results.run.metric], results.data.spatial_dims)
    seconds = step_seconds(results)
    scale, unit = clock_scale(
        max((seconds.get(loss.name, 0.0) * _last(seed) for loss in results.losses for seed in loss.seeds), default=0.0)
    )
    charts = []
    for time in (False, True) if seconds else (False,):
        units = {name: one / scale for name, one in seconds.items()} if time else {}
        series = [
            one
            for loss in results.losses
            if not time or loss.name in units
            for one in _validation(results, loss, units.get(loss.name, 1.0))
        ]
        against = f"training time, {unit}" if time else "training steps"
        charts.append(
            line_chart(
                series,
                x_label=against,
                label=f"Validation {metric} of {len(results.losses)} losses against {against}",
                limits=(0.0, 1.0),
            )
        )
    return tuple(charts)


def _validation(results: Results, loss: LossResult, unit: float) -> list[Series]:
    """One line a seed, and with several seeds their mean as a strong line where all were validated alike."""
    lines, found = [], []
    for seed in loss.seeds:
        if not seed.validation.steps:
            continue
        y = getattr(seed.validation, results.run.metric)
        x = [step * unit for step in seed.validation.steps]
        best = seed.validation.steps.index(seed.best_step) if seed.best_step in seed.validation.steps else None
        broken = seed.status == "diverged"
        found.append((x, y, seed))
        lines.append(Series(x, y, loss.color, len(loss.seeds) == 1, best if len(loss.seeds) == 1 else None, broken))
    alike = len({seed.validation.steps for _, _, seed in found}) == 1
    if len(found) > 1 and alike:
        table = np.asarray([y for _, y, _ in found], dtype=np.float64)
        x_mean = np.asarray([x for x, _, _ in found], dtype=np.float64).mean(axis=0)
        mean = [float(column.mean()) for column in table.T]
        lines.append(Series(x_mean.tolist(), mean, loss.color))
    elif len(found) > 1:
        lines = [Series(line.x, line.y, line.color, True, None, line.broken) for line in lines]
    return lines


def training_charts(results: Results) -> list[TrainingChart]:
    """One chart a loss: values of different losses mean different things and never share a scale."""
    charts = []
    for loss in results.losses:
        series = [_training(seed, loss.color, len(loss.seeds)) for seed in loss.seeds if seed.training.steps]
        if series:
            chart = line_chart(
                series, x_label="training steps", label=f"Training loss {loss.name} against steps", points=False
            )
            charts.append(TrainingChart(loss, chart))
    return charts


def _training(seed: SeedResult, color: int, seeds: int) -> Series:
    steps, values = _thin(seed.training)
    return Series(steps, values, color, seeds == 1, None, seed.status == "diverged")


def _thin(curve: TrainingCurve) -> tuple[list[float], list[float]]:
    """Means of neighbouring points, so that the picture stays small and legible."""
    block = math.ceil(len(curve.steps) / _MOST_POINTS)
    steps, values = [], []
    for start in range(0, len(curve.steps), block):
        part = [value for value in curve.loss[start : start + block] if math.isfinite(value)]
        steps.append(float(np.mean(curve.steps[start : start + block])))
        values.append(float(np.mean(part)) if part else math.nan)
    return steps, values


def _last(seed: SeedResult) -> int:
    return seed.validation.steps[-1] if seed.validation.steps else 0
