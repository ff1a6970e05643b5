"""Data sets for semantic segmentation: reading folders, splitting, normalising, and looking for mistakes."""

from __future__ import annotations

from segcrit.data.folder import load_folder
from segcrit.data.model import ClassInfo, Sample, SegmentationData

__all__ = ["ClassInfo", "Sample", "SegmentationData", "load_folder"]
