"""Evaluation of predictions: counts per image, figures, intervals, reports."""

from __future__ import annotations

from segcrit.metrics.adapter import as_torchmetric
from segcrit.metrics.counts import confusion_matrix
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.measures.boundary.result import BoundaryScores
from segcrit.metrics.measures.objects import ObjectCounts, ObjectSizes
from segcrit.metrics.measures.probability.calibration import Calibration, CalibrationScores
from segcrit.metrics.measures.probability.curves import Curves, ThresholdCurves
from segcrit.metrics.named import FIGURES
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import POLICIES, Policy
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import (
    Interval,
    PairedComparison,
    bootstrap,
    bootstrap_many,
    compare_all,
    compare_pair,
    holm,
)

__all__ = [
    "FIGURES",
    "POLICIES",
    "Boundary",
    "BoundaryScores",
    "Calibration",
    "CalibrationScores",
    "Curves",
    "Evaluator",
    "Interval",
    "ObjectCounts",
    "ObjectSizes",
    "PairedComparison",
    "PerImage",
    "Policy",
    "Report",
    "ThresholdCurves",
    "as_torchmetric",
    "bootstrap",
    "bootstrap_many",
    "compare_all",
    "compare_pair",
    "confusion_matrix",
    "holm",
]
