"""Labels in their other shapes: one-hot tensors and colours."""

from __future__ import annotations

from segcrit.labels.one_hot import from_one_hot, one_hot
from segcrit.labels.palette import Palette

__all__ = ["Palette", "from_one_hot", "one_hot"]
