"""Geometry of line charts: data to coordinates, ticks and paths. The template draws them as inline SVG.

Charts are drawn in units that suit a phone (a text of 14 units in a chart 460 wide is 10 pixels high on a screen of
390) and grow with the page; text and lines take their colours from the style sheet, so they follow a dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from segcrit.core import optional

__all__ = ["HEIGHT", "WIDTH", "Chart", "Line", "Mark", "Series", "Tick", "clock_scale", "line_chart", "nice_ticks"]

WIDTH, HEIGHT = 460.0, 290.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 34.0

Formatter = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One curve in data units."""

    x: Sequence[float]
    y: Sequence[float]
    color: int
    strong: bool = True  # a thin line is one of several seeds
    best: int | None = None  # index of the point to mark
    broken: bool = False  # the training ended here by diverging


@dataclass(frozen=True)
class Tick:
    """A position on an axis with its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A point to be marked."""

    x: float
    y: float
    kind: str  # "point", "best" or "end"


@dataclass(frozen=True)
class Line:
    """One curve in chart units."""

    path: str
    color: int
    strong: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """What the template needs to draw one chart."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    label: str  # for people who cannot see the picture
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values that span the range, ends included."""
    ticker = optional.require("matplotlib.ticker", extra="compare")
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high - low < 1e-12 * max(1.0, abs(low)):
        low, high = low - max(0.05, abs(low) * 0.1), high + max(0.05, abs(high) * 0.1)
    ticks = [float(tick) for tick in ticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return [0.0 if abs(tick) < 1e-12 else tick for tick in ticks]


def tick_text(ticks: Sequence[float]) -> Formatter:
    """A formatter with as many digits as the distance of the ticks needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    digits = 0
    while digits < 8 and abs(round(step, digits) - step) > 1e-9 * step:
        digits += 1
    return lambda value: f"{value:,.{digits}f}".replace("-", "−")


def clock_scale(longest: float) -> tuple[float, str]:
    """Seconds a unit, and the unit's name, for an axis of time."""
    if longest < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if longest < 3 * 3600 else (3600.0, "hours")


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    label: str,
    points: bool = True,
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Lay out curves on common axes.

    Args:
        series: the curves; values that are not finite leave a gap.
        x_label: name of the horizontal axis.
        label: description of the whole chart.
        points: whether every value gets a small mark.
        limits: smallest and largest value of the vertical axis that must be seen; default: those of the data.
    """
    xs = [x for one in series for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
    ys = [y for one in series for y in one.y if math.isfinite(y)]
    y_values = nice_ticks(min(ys, default=0.0), max(ys, default=1.0), 5)
    if limits is not None and ys:
        # Rounding outward must not show an IoU below 0 or above 1.
        y_values = [tick for tick in y_values if limits[0] - 1e-9 <= tick <= limits[1] + 1e-9] or list(limits)
    x_values = nice_ticks(0.0, max(xs, default=1.0), 5)
    y_text, x_text = tick_text(y_values), tick_text(x_values)
    # The last round tick may lie far behind the end of training; the curves should use the whole width.
    end = max(xs, default=1.0)
    inner_x = [tick for tick in x_values if 0 <= tick <= end * 1.0001]
    low = min(y_values[0], min(ys, default=y_values[0]))
    high = max(y_values[-1], max(ys, default=y_values[-1]))

    def place_x(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / (end or 1.0)

    def place_y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / ((high - low) or 1.0)

    return Chart(
        lines=tuple(_line(one, place_x, place_y, points) for one in series),
        x_ticks=tuple(Tick(round(place_x(tick), 1), x_text(tick)) for tick in inner_x),
        y_ticks=tuple(Tick(round(place_y(tick), 1), y_text(tick)) for tick in y_values),
        x_label=x_label,
        label=label,
    )


def _line(one: Series, place_x: Callable[[float], float], place_y: Callable[[float], float], points: bool) -> Line:
    path: list[str] = []
    marks: list[Mark] = []
    pen_down = False
    for index, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
        if not math.isfinite(y):
            pen_down = False
            continue
        here = place_x(x), place_y(y)
        path.append(f"{'L' if pen_down else 'M'}{here[0]:.1f} {here[1]:.1f}")
        pen_down = True
        if index == one.best:
            marks.append(Mark(round(here[0], 1), round(here[1], 1), "best"))
        elif points and one.strong:
            marks.append(Mark(round(here[0], 1), round(here[1], 1), "point"))
    if one.broken and path:
        x_text, y_text = path[-1][1:].split()
        marks.append(Mark(float(x_text), float(y_text), "end"))
    return Line("".join(path), one.color, one.strong, tuple(marks))
