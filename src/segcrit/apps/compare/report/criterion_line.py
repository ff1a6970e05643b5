"""The line of Python that builds a loss of the comparison, with its numbers, to be copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segcrit.apps.compare.records import LossResult

__all__ = ["criterion_line"]

_WIDTH = 88


def criterion_line(loss: LossResult) -> str:
    """``segcrit.Criterion(...)`` as Python source, one argument a line where it would be too long.

    Example:
        >>> from segcrit.apps.compare.records import LossResult
        >>> loss = LossResult("dice", "dice", "dice", "dice", {"ignore_index": 255}, 0, ())
        >>> criterion_line(loss)
        'criterion = segcrit.Criterion("dice", ignore_index=255)'
    """
    arguments = [_text(loss.criterion_expression)]
    arguments += [f"{name}={_value(value)}" for name, value in loss.criterion_arguments.items()]
    line = f"criterion = segcrit.Criterion({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    inner = ",\n    ".join(arguments)
    return f"criterion = segcrit.Criterion(\n    {inner},\n)"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _value(value: Any) -> str:
    """JSON values as Python writes them: True, None, numbers in full."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)
