"""Colours of cells, the same in pages and figures; a few anchor colours with straight lines between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["CLASS_COLOURS", "PARTS", "cell_colour", "is_dark", "scale_of"]

# Light to dark, so that a printed page in grey still reads in order.
_PROBABILITY = ("#ffffff", "#cfe3f5", "#7fb4de", "#2f7cbb", "#0b4a85")
_NUMBER = ("#ffffff", "#fdebc8", "#fbc46b", "#ee8a2c", "#b8500c")
_NEGATIVE = ("#ffffff", "#cfe0f3", "#86b3e0", "#3f7fc4", "#1d4f91")
_POSITIVE = ("#ffffff", "#f9d9d3", "#f0a596", "#d9614d", "#a52a1d")

# Okabe and Ito's palette: distinct for colour-blind readers too.
CLASS_COLOURS = (
    "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#999999",
)  # fmt: skip

# Hit, missed, false alarm.
PARTS = ("#009e73", "#d9d9d9", "#d55e00")

IGNORED = "#eeeeee"


def scale_of(kind: str, values: Sequence[float]) -> float:
    """The value that gets the strongest colour: 1 for probabilities, otherwise the largest in the table."""
    if kind in ("probability", "target"):
        return 1.0
    finite = [abs(value) for value in values if math.isfinite(value)]
    return max(finite, default=0.0) or 1.0


def cell_colour(kind: str, value: float, scale: float) -> str:
    """Background of a cell as ``#rrggbb``.

    Example:
        >>> cell_colour("probability", 0.0, 1.0), cell_colour("signed", -1.0, 1.0)
        ('#ffffff', '#1d4f91')
    """
    if kind == "label":
        known = value >= 0 and float(value).is_integer() and value < len(CLASS_COLOURS)
        return CLASS_COLOURS[int(value)] if known else IGNORED
    if not math.isfinite(value):
        return IGNORED
    share = min(abs(value) / scale, 1.0)
    if kind == "signed":
        return _between(_NEGATIVE if value < 0 else _POSITIVE, share)
    return _between(_PROBABILITY if kind in ("probability", "target") else _NUMBER, share)


def is_dark(colour: str) -> bool:
    """Whether text on this colour should be white (relative luminance of Rec. 709 below one half)."""
    red, green, blue = _channels(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5 * 255


def _between(anchors: Sequence[str], share: float) -> str:
    place = share * (len(anchors) - 1)
    low = min(int(place), len(anchors) - 2)
    rest = place - low
    pairs = zip(_channels(anchors[low]), _channels(anchors[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * rest):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
