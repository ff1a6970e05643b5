"""Means over the seeds of a loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from segcrit.apps.compare.records import Cost, Figures, LossResult, Results
from segcrit.apps.compare.verdict.ranking import seeds_with_figures
from segcrit.core.quantities import worded
from segcrit.metrics.ratios import nan_mean

__all__ = [
    "SCALAR_FIGURES",
    "mean_cost",
    "mean_figures",
    "own_seconds",
    "shown_figures",
    "step_seconds",
    "with_common_rest",
]

# The figures that are one number, in the order of the tables, with the words people know them by.
SCALAR_FIGURES = {
    "miou": "mIoU",
    "foreground_iou": "foreground IoU",
    "image_dice": "per-image Dice",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
}


def shown_figures(results: Results) -> dict[str, str]:
    """Keys and names of the figures that people are shown, that of the verdict first.

    Where no class is the background, foreground IoU equals mIoU and is left out.
    """
    metric = results.run.metric
    names = {metric: SCALAR_FIGURES[metric]} | SCALAR_FIGURES
    if results.data.background is None and metric != "foreground_iou":
        del names["foreground_iou"]
    return {key: worded(name, results.data.spatial_dims) for key, name in names.items()}


def mean_figures(loss: LossResult) -> Figures | None:
    """Mean of every figure over the tested seeds, None if there are none; what is NaN for a seed is skipped."""
    tested = [seed.figures for seed, _ in seeds_with_figures(loss) if seed.figures is not None]
    if not tested:
        return None
    values: dict[str, float | tuple[float, ...]] = {}
    for field in fields(Figures):
        mean = nan_mean(np.asarray([getattr(figures, field.name) for figures in tested]), axis=0)
        values[field.name] = float(mean) if mean.ndim == 0 else tuple(mean.tolist())
    return Figures(**values)  # type: ignore[arg-type]


def mean_cost(loss: LossResult) -> Cost | None:
    """Mean cost of a step over all seeds of which it is known; the memory is the largest."""
    costs = [seed.cost for seed in loss.seeds if seed.cost.step_seconds > 0]
    if not costs:
        return None
    return Cost(
        step_seconds=_mean([cost.step_seconds for cost in costs]),
        loss_forward_seconds=_mean([cost.loss_forward_seconds for cost in costs]),
        loss_backward_seconds=_mean([cost.loss_backward_seconds for cost in costs]),
        peak_memory_bytes=float(np.fmax.reduce([cost.peak_memory_bytes for cost in costs])),
    )


def step_seconds(results: Results) -> dict[str, float]:
    """Seconds of a training step under each loss whose steps were timed (:func:`with_common_rest`)."""
    costs = {loss.name: cost for loss in results.losses if (cost := mean_cost(loss)) is not None}
    return with_common_rest({name: (cost.step_seconds, own_seconds(cost)) for name, cost in costs.items()})


def own_seconds(cost: Cost) -> float:
    """Seconds of the loss itself in a step, forward and backward; 0 where it was not timed by itself."""
    return float(np.nan_to_num(cost.loss_forward_seconds + cost.loss_backward_seconds))


def with_common_rest(times: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Seconds of a step: the loss's own part, and the rest of the step, which is the same for all.

    Network, optimizer and data do the same under every loss. What they take longer under one than under another is what
    else the machine did meanwhile, so the median over the losses stands for them.

    Args:
        times: loss -> measured seconds of a step, and of the loss itself in it; NaN where it was not measured.

    Example:
        >>> with_common_rest({"ce": (1.0, 0.25), "dice": (3.0, 0.5), "focal": (1.25, 0.25)})
        {'ce': 1.25, 'dice': 1.5, 'focal': 1.25}
    """
    rests = [step - own for step, own in times.values() if not math.isnan(step - own)]
    if not rests:
        return {}
    rest = float(np.median(rests))
    return {name: rest + own for name, (_, own) in times.items() if not math.isnan(own)}


def _mean(values: Sequence[float]) -> float:
    return float(nan_mean(np.asarray(values, dtype=np.float64)))
