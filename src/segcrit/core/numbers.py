"""Numbers and lists as people read them: on the terminal, in reports and in errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MISSING",
    "counted",
    "duration",
    "lengths",
    "listed",
    "memory",
    "number",
    "p_value",
    "percent",
    "score",
    "signed",
    "significant",
]

MISSING = "–"


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed number of decimals, "–" where it does not exist.

    Example:
        >>> number(0.28349), number(float("nan")), number(-0.5, 1), number(-0.0001)
        ('0.283', '–', '−0.5', '0.000')
    """
    if math.isnan(value):
        return MISSING
    text = f"{abs(value):.{digits}f}"
    return f"−{text}" if value < 0 and float(text) != 0 else text


def score(value: float) -> str:
    """The value of a metric: three decimals, a fourth for what would look like 0; large distances with three digits.

    Example:
        >>> [score(value) for value in (0.5, 0.0, 0.0004, 1e-9, float("nan"), 12.345, 12345.6)]
        ['0.500', '0.000', '0.0004', '< 0.0001', '–', '12.3', '12,346']
    """
    size = abs(value)
    if 0 < size < 0.00005:
        return "< 0.0001" if value > 0 else "> −0.0001"
    if size < 10 or math.isnan(value):
        return number(value, 4 if 0 < size < 0.0005 else 3)
    return number(value, 1) if size < 100 else f"{value:,.0f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference with its sign; none where there is no difference.

    Example:
        >>> [signed(value) for value in (0.0123, -0.5, -0.0, 0.00004, float("nan"))]
        ['+0.012', '−0.500', '0.000', '< +0.0001', '–']
    """
    text = score(value)
    return text.replace("< ", "< +") if value <= 0 or not text[0].isdigit() else f"+{text}"


def significant(value: float) -> str:
    """Three digits, without an exponent.

    Example:
        >>> significant(12613.2), significant(78.91), significant(0.01234)
        ('12613', '78.9', '0.0123')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def p_value(value: float) -> str:
    """The p of a test.

    Example:
        >>> p_value(0.0312), p_value(0.0002), p_value(float("nan"))
        ('0.031', '< 0.001', '–')
    """
    return "< 0.001" if value < 0.001 else number(value)


def percent(share: float, places: int = 0) -> str:
    """A share in percent with two significant digits; what is neither none nor all is never rounded to that.

    Args:
        share: from 0 to 1.
        places: least number of decimals from 1 % on.

    Example:
        >>> [percent(share) for share in (0, 1e-7, 0.0004, 0.00012, 0.0123, 0.41, 0.9951, 0.9999, 1, float("nan"))]
        ['0 %', '< 0.01 %', '0.04 %', '0.012 %', '1.2 %', '41 %', '99.5 %', '> 99.9 %', '100 %', '–']
        >>> percent(0.41, places=1)
        '41.0 %'
    """
    value = 100 * share
    if math.isnan(value):
        return MISSING
    if value in (0, 100):
        return f"{value:.0f} %"
    if 0 < value < 0.01:
        return "< 0.01 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    if abs(value) < 0.95:
        return f"{value:.2g} %"
    return f"{value:.{places if 9.95 <= value <= 99 else max(places, 1)}f} %"


def duration(seconds: float) -> str:
    """A length of time.

    Example:
        >>> duration(1.23e-5), duration(0.0042), duration(0.5), duration(4.5), duration(12.3), duration(float("nan"))
        ('0.012 ms', '4.2 ms', '500 ms', '4.5 s', '12 s', '–')
        >>> duration(412), duration(7500)
        ('6 min 52 s', '2 h 05 min')
    """
    if math.isnan(seconds):
        return MISSING
    if seconds < 1:
        milliseconds = 1000 * seconds
        return f"{milliseconds:{'.0f' if milliseconds >= 10 else '.1f' if milliseconds >= 0.1 else '.2g'}} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(count: float | None) -> str:
    """An amount of memory in binary units; a dash for None and NaN.

    Example:
        >>> memory(16 << 10), memory(5 << 20), memory(42 << 20), memory(3 << 29), memory(None)
        ('16 KiB', '5.0 MiB', '42 MiB', '1.5 GiB', '–')
    """
    if count is None or math.isnan(count):
        return MISSING
    if count >= 1 << 30:
        return f"{count / (1 << 30):,.1f} GiB"
    mebibytes = count / (1 << 20)
    return f"{mebibytes:.{0 if mebibytes >= 10 else 1}f} MiB" if mebibytes >= 1 else f"{count / 1024:.0f} KiB"


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


def lengths(sizes: Sequence[int]) -> str:
    """The sizes of an image along its axes.

    Example:
        >>> lengths((128, 128)), lengths(())
        ('128 × 128', '–')
    """
    return " × ".join(map(str, sizes)) or MISSING
