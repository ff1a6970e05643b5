"""Data sets for semantic segmentation: reading folders, splitting, normalising, and looking for mistakes."""

from __future__ import annotations

from segcrit.data.audit.auditing import Audit, audit
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.folders.folder import load_folder
from segcrit.data.landcover import land_cover
from segcrit.data.model import Sample, SegmentationData
from segcrit.data.normalise import Normalisation, normalisation

__all__ = [
    "Audit",
    "ClassInfo",
    "Normalisation",
    "Sample",
    "SegmentationData",
    "audit",
    "land_cover",
    "load_folder",
    "normalisation",
]
