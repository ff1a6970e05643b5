"""Every exception that segcrit raises, and the one layout of their messages.

A message always says three things: what was expected, what came instead, and what to do about it.
Each class also inherits the built-in exception a caller would expect, so that ``except ValueError`` keeps working.
Programs decide by the class and by ``code``, a short stable name, never by the text.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BackendError",
    "DataError",
    "DeviceError",
    "DtypeError",
    "ExpressionError",
    "LabelError",
    "MissingExtraError",
    "ParameterError",
    "SegcritError",
    "ShapeError",
    "TrainingError",
    "UnknownParameterError",
]


class SegcritError(Exception):
    """Base of all segcrit errors.

    Args:
        expected: what was expected, a noun phrase ("logits of shape (N, C, *S)").
        got: what came instead ("a tensor of shape (3, 4)").
        advice: what to do, a sentence in the imperative ("Add the batch dimension with logits[None].").
        code: a short stable name of the mistake; default: that of the class.

    Example:
        >>> str(ShapeError("logits of shape (N, C, *S)", "shape (4,)", "Add the missing dimensions."))
        'expected logits of shape (N, C, *S), got shape (4,). Add the missing dimensions.'
        >>> ShapeError("logits of shape (N, C, *S)", "shape (4,)", "Add the missing dimensions.").code
        'shape'
    """

    code: str = "segcrit"

    def __init__(self, expected: str, got: str, advice: str, *, code: str | None = None) -> None:
        self.expected = expected
        self.got = got
        self.advice = advice
        if code is not None:
            self.code = code
        super().__init__(f"expected {expected}, got {got}. {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.expected, self.got, self.advice), {"code": self.code}


class ShapeError(SegcritError, ValueError):
    """A tensor has the wrong number of dimensions or the wrong size."""

    code = "shape"


class DtypeError(SegcritError, TypeError):
    """A tensor or argument has the wrong type."""

    code = "dtype"


class DeviceError(SegcritError, ValueError):
    """Tensors of one call live on different devices."""

    code = "device"


class LabelError(SegcritError, ValueError):
    """A target holds a value that is neither a class nor the ignore label."""

    code = "label-out-of-range"


class ParameterError(SegcritError, ValueError):
    """A parameter of a loss, function or command has a value that is not allowed."""

    code = "parameter"


class UnknownParameterError(ParameterError, TypeError):
    """A function or class was given a parameter that it does not have; the message names the one that was meant."""

    code = "unknown-parameter"


class ExpressionError(SegcritError, ValueError):
    """A loss expression cannot be read; the message shows the place with a caret."""

    code = "expression"


class DataError(SegcritError, ValueError):
    """A data folder, image, mask or results file is missing, damaged or inconsistent."""

    code = "data"


class BackendError(SegcritError, RuntimeError):
    """An engine was asked for by name and cannot run here."""

    code = "backend"


class TrainingError(SegcritError, RuntimeError):
    """Training cannot go on: the loss is not finite, memory ran out, or nothing was learnt from."""

    code = "training"


class MissingExtraError(SegcritError, ImportError):
    """A feature needs a package that is not installed; the message names the command that brings it."""

    code = "missing-extra"
