"""Geometry of the charts of the page: bars, histograms, reliability diagrams, curves over the threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.metrics.measures.probability.calibration import CalibrationScores
from segcrit.metrics.measures.probability.curves import Curves
from segcrit.metrics.ratios import Floats
from segcrit.metrics.report import Report

__all__ = ["bars_of", "class_changes", "histogram", "reliability", "threshold_curves"]

_BINS: Final = 20
# Curves with more points than a chart has pixels are thinned.
_MOST_POINTS: Final = 400


def histogram(values: Floats) -> npt.NDArray[np.int64]:
    """Number of values in each of twenty bins between 0 and 1.

    Example:
        >>> histogram(np.array([0.01, 0.99, 1.0])).tolist()[::19]
        [1, 2]
    """
    return np.histogram(values, bins=_BINS, range=(0.0, 1.0))[0].astype(np.int64)


def bars_of(counts: npt.NDArray[np.int64], highest: int) -> list[dict[str, Any]]:
    """Bars of a histogram, heights in percent of the highest bar of all histograms beside it.

    Example:
        >>> [bar["height"] for bar in bars_of(np.array([2, 0, 1]), 4)]
        [50.0, 0.0, 25.0]
    """
    bins = len(counts)
    return [
        {"height": 100 * int(count) / highest, "count": int(count), "low": index / bins, "high": (index + 1) / bins}
        for index, count in enumerate(counts)
    ]


def class_changes(old: Report, new: Report) -> list[dict[str, Any]]:
    """Change of the IoU of each class, the largest gain first; bars in percent of the largest change."""
    gains = new.iou - old.iou
    largest = max((abs(float(gain)) for gain in gains if not math.isnan(gain)), default=0.0) or 1.0
    rows = [
        {
            "name": name,
            "old": float(old.iou[index]),
            "new": float(new.iou[index]),
            "gain": float(gains[index]),
            "width": 50 * abs(float(gains[index])) / largest,
        }
        for index, name in enumerate(old.class_names)
        if not math.isnan(gains[index])
    ]
    return sorted(rows, key=lambda row: -row["gain"])


def reliability(found: Mapping[str, CalibrationScores | None]) -> list[dict[str, Any]] | None:
    """Points and bars of the reliability diagram of each model; None where calibration was not measured."""
    diagrams = []
    for model, scores in found.items():
        if scores is None:
            return None
        total = max(1, int(scores.counts.sum()))
        edges = scores.edges
        bars = [
            {
                "x": 100 * float(edges[place]),
                "width": 100 * float(edges[place + 1] - edges[place]),
                "accuracy": 100 * float(scores.accuracy[place]),
                "confidence": 100 * float(scores.confidence[place]),
                "share": float(scores.counts[place]) / total,
                "count": int(scores.counts[place]),
            }
            for place in range(len(scores.counts))
            if scores.counts[place]
        ]
        diagrams.append({"model": model, "scores": scores, "bars": bars})
    return diagrams


def threshold_curves(reports: Mapping[str, Report]) -> list[dict[str, Any]] | None:
    """Lines of each channel that occurs and each model, and its best threshold; None where curves were not measured."""
    found = {model: report.curves for model, report in reports.items()}
    curves = {model: own for model, own in found.items() if own is not None}
    if len(curves) < len(found):
        return None
    channels = []
    for index, name in enumerate(next(iter(curves.values())).class_names):
        if not any((own.tp + own.fp + own.fn)[index].any() for own in curves.values()):
            continue
        lines = [
            _threshold_line(own, index) | {"model": model, "iou": float(reports[model].iou[index])}
            for model, own in curves.items()
        ]
        channels.append({"name": name, "lines": lines})
    return channels


def _threshold_line(curves: Curves, index: int) -> dict[str, Any]:
    iou, precision, recall = curves.iou[index], curves.precision[index], curves.recall[index]
    best = float(curves.best("iou")[index])
    place = int(np.searchsorted(curves.thresholds, best)) if best == best else 0
    chosen = np.unique(np.linspace(0, len(iou) - 1, min(len(iou), _MOST_POINTS)).round().astype(int))
    return {
        "by_threshold": _path(curves.thresholds[chosen], iou[chosen]),
        "by_recall": _path(recall[chosen], precision[chosen]),
        "best": best,
        "best_iou": float(iou[place]),
        "best_precision": float(precision[place]),
        "best_recall": float(recall[place]),
    }


def _path(x: Floats, y: Floats) -> str:
    """An SVG path in a square of 100 with the origin below; interrupted where a value is undefined.

    Example:
        >>> _path(np.array([0.0, 0.5, 0.7, 1.0]), np.array([1.0, 0.25, np.nan, 0.5]))
        'M0 0L50 75M100 50h0'
    """
    known = ~(np.isnan(x) | np.isnan(y))
    before, after = (np.r_[ends] for ends in ((False, known[:-1]), (known[1:], False)))
    steps = []
    for place in np.flatnonzero(known):
        letter = "L" if before[place] else "M"
        dot = "" if before[place] or after[place] else "h0"  # a point alone is drawn only as the end of a line
        steps.append(f"{letter}{round(100 * float(x[place]), 1):g} {round(100 - 100 * float(y[place]), 1):g}{dot}")
    return "".join(steps)
