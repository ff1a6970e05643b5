"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["number"]


def number(value: float, digits: int = 4) -> str:
    """A figure as text; a dash where it is undefined.

    Example:
        >>> number(0.25), number(float("nan"))
        ('0.2500', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
