"""The GPU engine: Triton kernels, one read of the logits forward, one read and one write backward.

Triton is imported by the first sweep that the engine computes, not before.
"""

from __future__ import annotations

from segcrit.engines.triton.availability import describe, is_interpreted

__all__ = ["describe", "is_interpreted"]
