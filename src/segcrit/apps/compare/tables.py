"""The CSV files beside ``results.json``: the same figures, in long tables for a spreadsheet or pandas.

A number that does not exist is an empty cell; a name that a spreadsheet would run is marked as text (see
``segcrit.core.csv_tables``). Floats are written in full, so that they equal ``results.json``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from segcrit.apps.compare.records import Figures, ImageCounts, Results
from segcrit.apps.compare.verdict.records import Verdict
from segcrit.apps.compare.verdict.summary import SCALAR_FIGURES, mean_cost, mean_figures
from segcrit.core.csv_tables import csv_text

__all__ = ["BASELINE_NAME", "csv_files"]

Row = Sequence[object]

# How the tables call the row of always predicting the most frequent class.
BASELINE_NAME = "(majority class)"


def csv_files(results: Results, verdict: Verdict) -> dict[str, str]:
    """File name -> content of every CSV file of a comparison."""
    tables = {
        "losses.csv": _losses(results, verdict),
        "trainings.csv": _trainings(results),
        "classes.csv": _classes(results, verdict),
        "curves.csv": _curves(results),
        "images.csv": _images(results),
        "pairs.csv": _pairs(verdict),
    }
    return {name: csv_text(rows) for name, rows in tables.items()}


def _scalars(figures: Figures | None) -> list[float]:
    return [math.nan if figures is None else getattr(figures, name) for name in SCALAR_FIGURES]


def _losses(results: Results, verdict: Verdict) -> Iterator[Row]:
    """One row a loss: means over its seeds, and the interval of the run's metric."""
    standings = {standing.loss: standing for standing in verdict.standings}
    yield ["loss", "expression", "seeds_tested", *SCALAR_FIGURES, "metric", "metric_low", "metric_high",
           "step_seconds", "loss_share_of_step", "loss_forward_seconds", "loss_backward_seconds",
           "peak_memory_bytes"]  # fmt: skip
    for loss in results.losses:
        standing, cost = standings.get(loss.name), mean_cost(loss)
        interval = [standing.low, standing.high] if standing else [math.nan, math.nan]
        costs = [math.nan] * 5
        if cost is not None:
            costs = [cost.step_seconds, cost.loss_share, cost.loss_forward_seconds,
                     cost.loss_backward_seconds, cost.peak_memory_bytes]  # fmt: skip
        seeds = len(standing.seed_values) if standing else 0
        scalars = _scalars(mean_figures(loss))
        yield [loss.name, loss.canonical, seeds, *scalars, results.run.metric, *interval, *costs]
    if results.baseline is not None:
        figures = _scalars(results.baseline.figures)
        yield [BASELINE_NAME, "", "", *figures, results.run.metric, *[math.nan] * 7]


def _trainings(results: Results) -> Iterator[Row]:
    """One row a training (a loss and a seed)."""
    yield ["loss", "seed", "status", "message", *SCALAR_FIGURES, "best_step", "best_validation",
           "learning_rate", "learning_rate_tuned", "training_seconds", "step_seconds", "loss_forward_seconds",
           "loss_backward_seconds", "peak_memory_bytes", "checkpoint"]  # fmt: skip
    for loss in results.losses:
        for seed in loss.seeds:
            best = seed.best_step if seed.best_step >= 0 else ""
            cost, rate = seed.cost, seed.learning_rate
            yield [loss.name, seed.seed, seed.status, seed.message, *_scalars(seed.figures), best,
                   seed.best_validation, rate.value, rate.tuned, seed.training_seconds, cost.step_seconds,
                   cost.loss_forward_seconds, cost.loss_backward_seconds, cost.peak_memory_bytes,
                   seed.checkpoint]  # fmt: skip


def _classes(results: Results, verdict: Verdict) -> Iterator[Row]:
    """One row a loss and class: means over seeds, and the change of the IoU from the reference loss."""
    changes = {change.loss: change for change in verdict.changes}
    empty = tuple([math.nan] * len(results.data.classes))
    shares = [results.data.class_shares.get(split, empty) for split in ("train", "test")]
    yield ["loss", "class", "class_name", "train_share", "test_share", "iou", "dice", "precision", "recall",
           "iou_change_from", "iou_change", "iou_change_low", "iou_change_high"]  # fmt: skip
    rows = [(loss.name, mean_figures(loss)) for loss in results.losses]
    if results.baseline is not None:
        rows.append((BASELINE_NAME, results.baseline.figures))
    for name, figures in rows:
        if figures is None:
            continue
        change = changes.get(name)
        for entry in results.data.classes:
            k = entry.index
            moved: list[object] = ["", math.nan, math.nan, math.nan]
            if change is not None:
                moved = [verdict.reference, change.change[k], change.low[k], change.high[k]]
            yield [name, k, entry.name, shares[0][k], shares[1][k], figures.iou[k], figures.dice[k],
                   figures.precision[k], figures.recall[k], *moved]  # fmt: skip


def _curves(results: Results) -> Iterator[Row]:
    """One row a point of a curve; training rows hold the loss, validation rows the figures."""
    scores = ("miou", "foreground_iou", "image_dice", "pixel_accuracy")
    yield ["loss", "seed", "curve", "step", "seconds", "training_loss", *scores]
    for loss in results.losses:
        for seed in loss.seeds:
            curve = seed.training
            for step, seconds, value in zip(curve.steps, curve.seconds, curve.loss, strict=True):
                yield [loss.name, seed.seed, "training", step, seconds, value, *[math.nan] * 4]
            points = seed.validation
            for k, step in enumerate(points.steps):
                values = [getattr(points, score)[k] for score in scores]
                yield [loss.name, seed.seed, "validation", step, points.seconds[k], math.nan, *values]


def _images(results: Results) -> Iterator[Row]:
    """One row a loss, seed, test image and class that occurs in it (in truth or prediction)."""
    yield ["loss", "seed", "image", "group", "class", "class_name", "tp", "fp", "fn", "iou", "dice"]
    for loss in results.losses:
        for seed in loss.seeds:
            if seed.counts is not None:
                yield from _image_rows(results, loss.name, seed.seed, seed.counts)
    if results.baseline is not None:
        yield from _image_rows(results, BASELINE_NAME, "", results.baseline.counts)


def _image_rows(results: Results, name: str, seed: object, counts: ImageCounts) -> Iterator[Row]:
    total = counts.tp + counts.fp + counts.fn
    for image, k in zip(*np.nonzero(total), strict=True):
        key = counts.ids[image]
        tp, fp, fn = (int(part[image, k]) for part in (counts.tp, counts.fp, counts.fn))
        class_name = results.data.classes[int(k)].name
        group = results.data.groups.get(key, "")
        yield [name, seed, key, group, int(k), class_name, tp, fp, fn, tp / (tp + fp + fn), 2 * tp / (2 * tp + fp + fn)]


def _pairs(verdict: Verdict) -> Iterator[Row]:
    """One row a pair of losses; intervals and p-values are corrected for the number of pairs."""
    yield ["first", "second", "difference", "low", "high", "p_value", "distinguishable"]
    for pair in verdict.pairs:
        yield [pair.first, pair.second, pair.difference, pair.low, pair.high, pair.p_value, pair.distinguishable]
