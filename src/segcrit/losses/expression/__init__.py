"""Loss expressions: text such as ``"ce + 0.5*dice(smooth=1)"`` to terms and back."""

from __future__ import annotations

from segcrit.losses.expression.syntax import Expression, Term, parse

__all__ = ["Expression", "Term", "parse"]
