"""Boundary and distance metrics: several classes, two or three dimensions, ignored pixels, pixel spacing."""

from __future__ import annotations

from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.measures.boundary.result import BoundaryScores

__all__ = ["Boundary", "BoundaryScores"]
