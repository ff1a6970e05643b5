"""Weights against imbalance, computed from labels: per class, per channel and per pixel."""

from __future__ import annotations

from segcrit.labels.weights.border import border_weight_map
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies
from segcrit.labels.weights.positives import pos_weight
from segcrit.labels.weights.schemes import SCHEMES, class_weights

__all__ = [
    "SCHEMES",
    "ClassFrequencies",
    "border_weight_map",
    "class_frequencies",
    "class_weights",
    "pos_weight",
]
