"""What engines know of formulas: pixel losses in closed form by their key, and the names of the sums of region losses.

The formulas themselves stand in ``segcrit.losses.formulas``; the table of losses adds those with a key here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["FIELDS", "PixelFormula", "add_formula", "operand_of", "pixel_formulas"]

FIELDS = ("I", "P", "Q", "T", "U", "V", "D")


def operand_of(field: str) -> str:
    """The map that weighs the pixels of a sum: Σ u p φ with φ the distances is ``"P_distance"``; "" for a plain sum.

    Example:
        >>> operand_of("P_distance"), operand_of("P")
        ('distance', '')
    """
    return field.partition("_")[2]


Coefficients = Callable[[Mapping[str, Any], bool], tuple[Any, Any]]


def _no_coefficients(parameters: Mapping[str, Any], sigmoid: bool) -> tuple[Any, Any]:
    return 1.0, 1.0


@dataclass(frozen=True)
class PixelFormula:
    """A pixel loss in closed form.

    Attributes:
        key: the capability key: engines whose table has it compute the pair in a kernel, the reference engine computes the
            others from ``value`` and ``derivative``. Two rows of the table of losses share a key only with the same pair.
        value: v(log p; parameters), elementwise.
        derivative: v′(log p; parameters), finite wherever the loss is.
        scalars: names of the parameters that the pair receives.
        coefficients: (parameters, sigmoid) -> coefficient of positives and of negatives, numbers or one for each class;
            they never enter the denominator of the mean.
    """

    key: str
    value: Callable[..., Tensor]
    derivative: Callable[..., Tensor]
    scalars: tuple[str, ...] = ()
    coefficients: Coefficients = _no_coefficients

    def is_same_pair(self, other: PixelFormula) -> bool:
        """Whether both compute the same numbers."""
        return (self.value, self.derivative, self.scalars) == (other.value, other.derivative, other.scalars)


def counted(log_probability: Tensor) -> Tensor:
    """v = 1: the loss of no name whose map says how much each pixel counts."""
    return torch.ones_like(log_probability)


def counted_derivative(log_probability: Tensor) -> Tensor:
    """v′ = 0."""
    return torch.zeros_like(log_probability)


_BY_KEY = {"counted": PixelFormula("counted", counted, counted_derivative)}


def add_formula(formula: PixelFormula) -> None:
    """Make a formula known to the engines by its key."""
    _BY_KEY[formula.key] = formula


def pixel_formulas() -> Mapping[str, PixelFormula]:
    """The closed-form pairs by key, those of the table of losses and ``counted``: what the reference engine computes."""
    return _BY_KEY
