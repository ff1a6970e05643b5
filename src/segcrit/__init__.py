"""segcrit: losses and evaluation for semantic segmentation."""

from __future__ import annotations

__version__ = "0.1.0"
