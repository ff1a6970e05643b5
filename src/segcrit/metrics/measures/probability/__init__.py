"""What the probabilities are worth: calibration, and curves over the threshold."""

from __future__ import annotations

from segcrit.metrics.measures.probability.calibration import Calibration, CalibrationScores
from segcrit.metrics.measures.probability.curves import Curves, ThresholdCurves

__all__ = ["Calibration", "CalibrationScores", "Curves", "ThresholdCurves"]
