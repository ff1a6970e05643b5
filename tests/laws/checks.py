"""The laws as callable checks: each takes a Subject and raises AssertionError where the law does not hold.

``ALL`` lists them by name. A check returns early only where the law does not concern the loss at hand.
"""

from __future__ import annotations

from . import meaning, robustness
from .registry import ALL

__all__ = ["ALL", "meaning", "robustness"]
