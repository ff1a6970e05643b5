"""Numbers and lists as people read them: in the verdict, the report and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MISSING", "clock", "counted", "listed", "memory", "number", "percent", "signed", "size"]

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
    """A score with a fixed number of digits, "–" where it does not exist.

    Example:
        >>> number(0.28349), number(float("nan")), number(-0.5, 1), number(-0.0001)
        ('0.283', '–', '−0.5', '0.000')
    """
    if math.isnan(value):
        return MISSING
    text = f"{abs(value):.{digits}f}"
    return f"−{text}" if value < 0 and float(text) != 0 else text


def signed(value: float, digits: int = 3) -> str:
    """A change, with its sign.

    Example:
        >>> signed(0.0204), signed(-0.0204), signed(0.0), signed(float("nan"))
        ('+0.020', '−0.020', '0.000', '–')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text) != 0 else text


def percent(share: float) -> str:
    """A share as a percentage with about two significant digits.

    Example:
        >>> percent(0.4117), percent(0.0123), percent(0.0004), percent(0.0), percent(float("nan"))
        ('41 %', '1.2 %', '0.04 %', '0 %', '–')
    """
    if math.isnan(share):
        return MISSING
    value = 100 * share
    if value == 0:
        return "0 %"
    if abs(value) < 0.01:
        return "< 0.01 %"
    digits = 0 if abs(value) >= 9.95 else 1 if abs(value) >= 0.95 else 2
    return f"{value:.{digits}f} %"


def clock(seconds: float) -> str:
    """A duration.

    Example:
        >>> clock(0.0042), clock(0.5), clock(12.3), clock(412), clock(7500), clock(float("nan"))
        ('4.2 ms', '500 ms', '12 s', '6 min 52 s', '2 h 05 min', '–')
    """
    if math.isnan(seconds):
        return MISSING
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(count: float) -> str:
    """An amount of memory in binary units.

    Example:
        >>> memory(1.5 * 2**30), memory(3 * 2**20), memory(float("nan"))
        ('1.5 GiB', '3 MiB', '–')
    """
    if math.isnan(count):
        return MISSING
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "image"), counted(12000, "class")
        ('1 image', '12,000 classes')
    """
    plural = noun if count == 1 else noun + ("es" if noun.endswith(("s", "sh", "x")) else "s")
    return f"{count:,} {plural}"


def listed(items: Sequence[str]) -> str:
    """A list in words.

    Example:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def size(lengths: Sequence[int]) -> str:
    """A size in pixels.

    Example:
        >>> size((128, 128)), size(())
        ('128 × 128', '–')
    """
    return " × ".join(map(str, lengths)) or MISSING
