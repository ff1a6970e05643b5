"""Geometry of the charts of the page: bars, histograms, reliability diagrams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from segcrit.evaluation.probability import CalibrationScores
from segcrit.evaluation.ratios import Floats
from segcrit.evaluation.report import Report

__all__ = ["class_changes", "histogram", "reliability"]

_BINS: Final = 20


def histogram(values: Floats) -> list[dict[str, Any]]:
    """Twenty bars between 0 and 1, heights in percent of the highest.

    Example:
        >>> [bar["count"] for bar in histogram(np.array([0.01, 0.99, 1.0])) if bar["count"]]
        [1, 2]
    """
    counts, _ = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    highest = max(1, int(counts.max(initial=0)))
    return [
        {"height": 100 * int(count) / highest, "count": int(count), "low": index / _BINS, "high": (index + 1) / _BINS}
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
