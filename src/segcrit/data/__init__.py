"""Data sets for semantic segmentation: reading folders, splitting, normalising, and looking for mistakes."""

from __future__ import annotations

from segcrit.data.folder import load_folder
from segcrit.data.model import ClassInfo, Sample, SegmentationData
from segcrit.data.normalise import Normalisation, normalisation

__all__ = ["ClassInfo", "Normalisation", "Sample", "SegmentationData", "load_folder", "normalisation"]
