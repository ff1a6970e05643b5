"""Weak labels made from full masks, to see what training with them would cost."""

from __future__ import annotations

from segcrit.data.weak.weak import KINDS, WeakLabelOptions, weak_labels

__all__ = ["KINDS", "WeakLabelOptions", "weak_labels"]
