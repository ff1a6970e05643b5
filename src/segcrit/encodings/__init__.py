"""Labels in their other shapes: one-hot tensors and colours."""

from __future__ import annotations

from segcrit.encodings.onehot import from_one_hot, one_hot
from segcrit.encodings.palette import Palette

__all__ = ["Palette", "from_one_hot", "one_hot"]
