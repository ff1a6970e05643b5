"""Evaluation of predictions: counts per image, figures, intervals, reports."""

from __future__ import annotations

from segcrit.evaluation.adapter import as_torchmetric
from segcrit.evaluation.boundary import Boundary, BoundaryScores
from segcrit.evaluation.counts import confusion_matrix
from segcrit.evaluation.evaluator import Evaluator
from segcrit.evaluation.figures import FIGURES
from segcrit.evaluation.objects import ObjectCounts, ObjectSizes
from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.policy import POLICIES, Policy
from segcrit.evaluation.probability import Calibration, CalibrationScores, Curves, ThresholdCurves
from segcrit.evaluation.report import Report
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
