"""Evaluation of predictions: counts per image, figures, intervals, reports."""

from __future__ import annotations

from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.statistics import (
    Interval,
    PairedComparison,
    bootstrap,
    bootstrap_many,
    compare_all,
    compare_pair,
    holm,
)

__all__ = [
    "Interval",
    "PairedComparison",
    "PerImage",
    "bootstrap",
    "bootstrap_many",
    "compare_all",
    "compare_pair",
    "holm",
]
