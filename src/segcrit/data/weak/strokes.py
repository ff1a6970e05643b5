"""One stroke of a pen inside a region: smooth, mostly along its middle, and never over its edge."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from segcrit.core.optional import require

__all__ = ["brush", "stamp", "stroke"]

_Mask = npt.NDArray[np.bool_]

# Directions tried at each step, in radians from where the pen would go by itself: people turn, but do not
# spin.
_TURNS = tuple(math.radians(angle) for angle in (0, 8, -8, 18, -18, 32, -32, 50, -50, 75, -75, 100, -100))
# Pixels ahead at which the pen looks for room, at least and at most; in between, a third of the room there
# is.
_AHEAD = (4.0, 20.0)
# A place passed this many steps ago counts as visited.
_MEMORY = 12
# How strongly a turn, a narrow place and a visited place put the pen off; chosen by eye on organs, streets
# and cells.
_TURN_COST, _ROOM_GAIN, _VISITED_COST = 0.9, 1.2, 1.5
# The pen's drift: how long a bend lasts, and how sharp bends are (radians a step) up to how much room; in
# wider regions they are wider too.
_PERSISTENCE, _BEND, _BEND_ROOM = 0.92, 0.03, 6.0


def brush(width: int) -> npt.NDArray[np.int64]:
    """Offsets (k, 2) of the pixels of a round pen of ``width`` pixels.

    Example:
        >>> len(brush(1)), len(brush(3)), len(brush(5))
        (1, 5, 13)
    """
    reach = (width - 1) / 2
    side = np.arange(-math.ceil(reach), math.ceil(reach) + 1)
    rows, columns = np.meshgrid(side, side, indexing="ij")
    inside = rows**2 + columns**2 <= reach**2
    return np.stack([rows[inside], columns[inside]], axis=1)


def stamp(region: _Mask, positions: npt.NDArray[np.int64], width: int) -> _Mask:
    """The pixels of ``region`` under a pen that is put down at each of ``positions`` (n, 2)."""
    covered = (positions[:, None, :] + brush(width)[None]).reshape(-1, 2)
    covered = covered[((covered >= 0) & (covered < region.shape)).all(axis=1)]
    drawn = np.zeros_like(region)
    drawn[covered[:, 0], covered[:, 1]] = True
    return drawn & region


def stroke(region: _Mask, rng: np.random.Generator, *, width: int, length: float) -> _Mask:
    """Draw one stroke into a connected region.

    It starts at a roomy place and goes both ways from there. At each step the pen keeps its direction but for
    a slow random drift, turns away from edges, prefers places with room, and avoids where it has been; it
    ends when its length is used up or there is no way on.

    Args:
        region: (H, W) bool, with at least one pixel.
        rng: source of chance.
        width: of the pen, in pixels.
        length: of the stroke, in multiples of the region's own length: its area divided by its mean
            thickness. 1 goes about once along a ring or a river, and once across a disc.

    Returns:
        (H, W) bool, at least one pixel, all inside ``region``.
    """
    edt = require("scipy.ndimage", extra="data").distance_transform_edt
    # Padded, so that the frame of the picture is an edge too and a look ahead stays inside the array.
    margin = math.ceil(_AHEAD[1]) + 1
    room = edt(np.pad(region, margin))
    inner = room > 0
    # A strip of t pixels has distances 1, 2, … t/2 … 2, 1 to the outside, (t + 2)/4 on average.
    thickness = max(1.0, 4 * float(room[inner].mean()) - 2)
    steps = max(1, round(length * float(region.sum()) / thickness))
    roomy = np.argwhere(room >= 0.6 * room.max())
    row, column = (float(part) for part in roomy[rng.integers(len(roomy))])
    # Lists of Python numbers: the pen reads single pixels, which arrays give slowly.
    pen = _Pen(room.tolist(), float(room.max()), width)
    heading = pen.longest_way(row, column, rng)
    there = pen.walk(row, column, heading, math.ceil(steps / 2), rng)
    back = pen.walk(row, column, heading + math.pi, steps // 2, rng)
    positions = np.array([(row, column), *there, *back]).round().astype(np.int64) - margin
    return stamp(region, positions, width)


class _Pen:
    """A pen in a region.

    Args:
        room: distance of each pixel to the edge of the region, 0 outside, with a frame of zeros.
        most: the largest of them.
        width: of the pen.
    """

    def __init__(self, room: list[list[float]], most: float, width: int) -> None:
        self._room = room
        self._comfortable = max(1.0, min(width / 2 + 1, 0.6 * most))
        self._ahead = min(max(_AHEAD[0], most / 3), _AHEAD[1])
        self._ample = min(2 * self._comfortable + self._ahead - 2, 0.9 * most)
        self._sharpness = _BEND * min(1.0, max(0.15, _BEND_ROOM / most))
        self._cell = max(4, 2 * width)
        self._visited: dict[tuple[int, int], int] = {}
        self._passed: set[tuple[int, int]] = set()
        self._clock = 0

    def longest_way(self, row: float, column: float, rng: np.random.Generator) -> float:
        """The direction in which a straight line through a place stays inside longest, of a random dozen."""
        best, best_reach = 0.0, -1
        for heading in (rng.uniform(0, math.pi) + np.arange(12) * (math.pi / 12)).tolist():
            reach = 0
            for sign in (2.0, -2.0):
                y, x = row, column
                while self._room[int(y + 0.5)][int(x + 0.5)] > 0:
                    y, x, reach = y + sign * math.sin(heading), x + sign * math.cos(heading), reach + 1
            if reach > best_reach:
                best, best_reach = heading, reach
        return float(best)

    def walk(
        self, row: float, column: float, heading: float, steps: int, rng: np.random.Generator
    ) -> list[tuple[float, float]]:
        """Positions one pixel apart, the start not included."""
        room, comfortable, ample, cell = self._room, self._comfortable, self._ample, self._cell
        bend = 0.0
        path: list[tuple[float, float]] = []
        # Near its start, the second half of a stroke must not be put off by the first.
        self._clock += _MEMORY
        for drift in rng.normal(0.0, self._sharpness, steps).tolist():
            bend = _PERSISTENCE * bend + drift
            self._clock += 1
            best, choice = -math.inf, None
            for turn in _TURNS:
                angle = heading + bend + turn
                sine, cosine = math.sin(angle), math.cos(angle)
                y, x = row + sine, column + cosine
                near = room[int(y + 0.5)][int(x + 0.5)]
                if near <= 0:
                    continue
                ahead_y, ahead_x = row + self._ahead * sine, column + self._ahead * cosine
                ahead = room[int(ahead_y + 0.5)][int(ahead_x + 0.5)]
                score = _ROOM_GAIN * (min(near, comfortable) / comfortable + min(ahead, ample) / ample)
                score -= _TURN_COST * abs(turn)
                seen = self._visited.get((int(ahead_y // cell), int(ahead_x // cell)))
                if seen is not None and self._clock - seen > _MEMORY + self._ahead:
                    score -= _VISITED_COST
                if score > best:
                    best, choice = score, (y, x, angle)
            choice = choice or self._squeeze_through(row, column, heading)
            if choice is None:
                break
            row, column, heading = choice
            path.append((row, column))
            self._passed.add((int(row + 0.5), int(column + 0.5)))
            self._visited.setdefault((int(row // cell), int(column // cell)), self._clock)
        return path

    def _squeeze_through(self, row: float, column: float, heading: float) -> tuple[float, float, float] | None:
        """The next pixel of a line that is one pixel thin, where a step of the pen in any direction leaves it."""
        y, x = int(row + 0.5), int(column + 0.5)
        best, choice = -math.inf, None
        for down, right in ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)):
            if self._room[y + down][x + right] <= 0 or (y + down, x + right) in self._passed:
                continue
            angle = math.atan2(down, right)
            if math.cos(angle - heading) > best:
                best, choice = math.cos(angle - heading), (float(y + down), float(x + right), angle)
        return choice
