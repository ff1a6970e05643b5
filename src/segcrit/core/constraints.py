"""Rules for scalar and per-class parameters: declared beside a formula's signature, enforced here.

A constraint knows how to check a value, how to say what is allowed, and a few values that break it (``invalid``), from
which one common test proves that every loss refuses every illegal parameter.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from segcrit.core.errors import ParameterError
from segcrit.core.names import nearest

__all__ = [
    "Boolean",
    "ClassList",
    "Constraint",
    "Number",
    "OneOf",
    "PerClass",
    "WholeNumber",
    "describe_value",
    "one_of",
]


def describe_value(value: object) -> str:
    """A short text for a value in an error message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the words, or raise with the nearest one."""
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(
            f"{name} to be one of {', '.join(map(repr, choices))}",
            f"{name}={describe_value(value)}",
            nearest(str(value), choices) or f"Choose one of the {len(choices)} words.",
        )
    return value


@dataclass(frozen=True)
class Constraint(ABC):
    """Base of all constraints."""

    def check(self, name: str, value: Any) -> Any:
        """Return the value in its canonical form or raise ParameterError."""
        if isinstance(value, torch.Tensor) and value.is_meta:
            raise ParameterError(
                f"{name} with numbers",
                "a tensor on the device 'meta', which has none",
                f"Give {name} as a list, or make the tensor with device='cpu'.",
                code="meta-tensor",
            )
        if not self.allows(value):
            raise ParameterError(
                f"{name} to be {self.describe()}",
                f"{name}={describe_value(value)}",
                f"Give {name} such a value, or leave it out to use its default.",
            )
        return self.canonical(value)

    @abstractmethod
    def allows(self, value: Any) -> bool:
        """Whether the value is legal."""

    def canonical(self, value: Any) -> Any:
        """The form in which formulas receive the value."""
        return value

    @abstractmethod
    def describe(self) -> str:
        """What is allowed, as a noun phrase."""

    @abstractmethod
    def invalid(self) -> tuple[Any, ...]:
        """Values that must be refused (for tests)."""


def _is_number(value: Any) -> bool:
    # numbers.Real also holds the numbers of NumPy.
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and not math.isnan(value)


@dataclass(frozen=True)
class Number(Constraint):
    """A finite real number in [low, high]."""

    low: float = -math.inf
    high: float = math.inf
    optional: bool = False
    exclusive: bool = False

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        if value is None:
            return self.optional
        if not _is_number(value) or math.isinf(value):
            return False
        if self.exclusive:
            return bool(self.low < value < self.high)
        return bool(self.low <= value <= self.high)

    def canonical(self, value: Any) -> float | None:
        """See Constraint."""
        return None if value is None else float(value)

    def describe(self) -> str:
        """See Constraint."""
        text = "a finite number"
        if self.low > -math.inf and self.high < math.inf:
            text = f"a number between {self.low:g} and {self.high:g}"
        elif self.low > -math.inf:
            text = f"a finite number {'greater than' if self.exclusive else 'of at least'} {self.low:g}"
        if self.exclusive and self.high < math.inf:
            text += ", both excluded"
        return text + (", or None" if self.optional else "")

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        values: list[Any] = ["text", math.nan, math.inf, True]
        if self.low > -math.inf:
            values.append(self.low - 1.0)
        if self.high < math.inf:
            values.append(self.high + 1.0)
        if not self.optional:
            values.append(None)
        return tuple(values)


@dataclass(frozen=True)
class WholeNumber(Constraint):
    """An integer in [low, high]."""

    low: int
    high: int

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        return bool(_is_number(value) and float(value).is_integer() and self.low <= value <= self.high)

    def canonical(self, value: Any) -> int:
        """See Constraint."""
        return int(value)

    def describe(self) -> str:
        """See Constraint."""
        return f"a whole number between {self.low} and {self.high}"

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        return ("text", 1.5, None, True, self.low - 1, self.high + 1)


@dataclass(frozen=True)
class Boolean(Constraint):
    """True or False."""

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        return isinstance(value, bool)

    def describe(self) -> str:
        """See Constraint."""
        return "True or False"

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        return (None, 1, "yes")


@dataclass(frozen=True)
class OneOf(Constraint):
    """One of a few words."""

    choices: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        return isinstance(value, str) and value in self.choices

    def describe(self) -> str:
        """See Constraint."""
        return " or ".join(repr(choice) for choice in self.choices)

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        return (None, 1, "nonsense")


@dataclass(frozen=True)
class PerClass(Constraint):
    """A value for each class: a sequence or a 1-d tensor (or a single number where ``scalar``), in [low, high].

    The canonical form is None, a float, or a float64 tensor of shape (C,); a tensor is kept as given, so that its device
    and dtype are the caller's.
    """

    low: float = 0.0
    high: float = math.inf
    scalar: bool = False
    matrix: bool = False
    words: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        if value is None:
            return True
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, torch.Tensor):
            if value.is_complex() or value.dtype == torch.bool:
                return False
            if value.ndim == 0:
                return self.scalar and self._within(value)
            return (value.ndim == 1 or (self.matrix and value.ndim == 2)) and self._within(value)
        if _is_number(value):
            return self.scalar and self._in_range(float(value))
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) == 0:
            return False
        if self.matrix and all(isinstance(row, Sequence) and not isinstance(row, str) for row in value):
            rows: list[Any] = list(value)
            return len({len(row) for row in rows}) == 1 and all(
                _is_number(item) and self._in_range(float(item)) for row in rows for item in row
            )
        return all(_is_number(item) and self._in_range(float(item)) for item in value)

    def _in_range(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def _within(self, value: torch.Tensor) -> bool:
        value = value.detach()
        return bool((torch.isfinite(value) & (value >= self.low) & (value <= self.high)).all())

    def canonical(self, value: Any) -> Any:
        """See Constraint."""
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, torch.Tensor):
            return float(value) if value.ndim == 0 else value.detach()
        if _is_number(value):
            return float(value)
        # Not on the device that a "with torch.device(...)" names: "meta" would keep no numbers.
        return torch.tensor(value, dtype=torch.float64, device="cpu")

    def describe(self) -> str:
        """See Constraint."""
        lower = f" of at least {self.low:g}" if self.low > -math.inf else ""
        upper = f" and at most {self.high:g}" if self.high < math.inf else ""
        single = "a finite number, or " if self.scalar else ""
        rows = ", or a (C, C) table of them" if self.matrix else ""
        text = f"{single}a sequence or 1-d tensor with one finite number{lower}{upper} for each class{rows}, or None"
        if self.words:
            text += (
                f" (the words {', '.join(map(repr, self.words))} are understood by segcrit compare, which computes the "
                "numbers from the training split)"
            )
        return text

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        values: list[Any] = [
            "text",
            [],
            [math.nan, 1.0],
            torch.zeros(2, 2, 2),
            torch.ones(2, dtype=torch.bool),
        ]
        if self.low > -math.inf:
            values.append([self.low - 1.0, 1.0])
        if not self.scalar:
            values.append(1.0)
        return tuple(values)


@dataclass(frozen=True)
class ClassList(Constraint):
    """Indices of the classes that count, without repetition, or None for all."""

    def allows(self, value: Any) -> bool:
        """See Constraint."""
        if value is None:
            return True
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) == 0:
            return False
        whole = all(_is_number(item) and float(item).is_integer() and item >= 0 for item in value)
        return whole and len(set(value)) == len(value)

    def canonical(self, value: Any) -> tuple[int, ...] | None:
        """See Constraint."""
        return None if value is None else tuple(int(item) for item in value)

    def describe(self) -> str:
        """See Constraint."""
        return "a list of different class indices such as [1, 2], or None for all classes"

    def invalid(self) -> tuple[Any, ...]:
        """See Constraint."""
        return ("text", [], [-1], [0.5], [1, 1], 3)
