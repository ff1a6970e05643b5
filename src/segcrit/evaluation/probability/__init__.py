"""What the probabilities are worth: calibration, and curves over the threshold."""

from __future__ import annotations

from segcrit.evaluation.probability.calibration import Calibration, CalibrationScores
from segcrit.evaluation.probability.curves import Curves, ThresholdCurves

__all__ = ["Calibration", "CalibrationScores", "Curves", "ThresholdCurves"]
