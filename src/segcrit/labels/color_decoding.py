"""From colours to labels: exact lookup of packed colours, and what to say of unknown colours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError, DtypeError, LabelError, ParameterError, ShapeError
from segcrit.labels.colors import Color

__all__ = ["decode"]

# JPEG moves the colours inside a region by up to about this much (Euclidean, 8-bit RGB); the classes of real
# palettes lie further apart.
_NEAR = 32.0
# More unknown colours than this are not forgotten classes but mixtures.
_MANY = 16
_NAMED_IN_MESSAGES = 3


def decode(
    rgb: npt.ArrayLike,
    colors: tuple[Color, ...],
    names: tuple[str, ...],
    ignore_index: int | None,
    ignore_color: Color,
    tolerance: float,
) -> npt.NDArray[Any]:
    """See :meth:`segcrit.Palette.decode`."""
    if not tolerance >= 0:
        raise ParameterError("a tolerance of at least 0", str(tolerance), "Pass 0 for exact colours.")
    packed = _packed(_checked(rgb))
    known = colors if ignore_index is None else (*colors, ignore_color)
    # 0 is unknown, k + 1 is entry k of `known`.
    entry = _lookup_table(known)[packed]
    if not entry.all():
        _resolve_unknown(entry, packed, known, names, tolerance)
    values: list[int] = list(range(len(colors)))
    if ignore_index is not None:
        values.append(ignore_index)
    fits = min(values) >= 0 and max(values) <= 255
    labels: npt.NDArray[Any] = np.array([0, *values], dtype=np.uint8 if fits else np.int64)[entry]
    return labels


def _checked(rgb: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    array = np.asarray(rgb)
    if array.ndim < 1 or array.shape[-1] not in (3, 4):
        advice = "Labels need no decoding; a mask with the channels first needs numpy.moveaxis(mask, 0, -1)."
        raise ShapeError("colours of shape (*S, 3)", f"shape {array.shape}", advice)
    if array.dtype != np.uint8:
        advice = "Convert the colours to whole numbers 0 to 255 first."
        raise DtypeError("colours of type uint8", f"type {array.dtype}", advice)
    if array.shape[-1] == 4:
        see_through = int((array[..., 3] != 255).sum())
        if see_through:
            raise DataError(
                "a colour mask without transparency",
                f"{see_through} pixels that are not opaque",
                "Save the mask as RGB, with a colour for pixels without a class.",
            )
        array = array[..., :3]
    return array


def _packed(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    packed = array[..., 0].astype(np.uint32)
    packed <<= 8
    packed |= array[..., 1]
    packed <<= 8
    packed |= array[..., 2]
    return packed


@lru_cache(maxsize=4)
def _lookup_table(known: tuple[Color, ...]) -> npt.NDArray[Any]:
    """Entry number plus one for each of 2^24 colours. Zeros are never touched, so they take no memory."""
    table = np.zeros(1 << 24, dtype=np.uint16 if len(known) < 1 << 16 else np.int32)
    keys = _packed(np.array(known, dtype=np.uint8))
    if len(np.unique(keys)) != len(keys):
        first = next(index for index, color in enumerate(known) if color in known[:index])
        raise ParameterError(
            "a colour of its own for every class",
            f"{known[first]} for entries {known.index(known[first])} and {first}",
            "Give every class, and ignored pixels, a different colour.",
        )
    table[keys] = np.arange(1, len(known) + 1)
    table.flags.writeable = False
    return table


def _resolve_unknown(
    entry: npt.NDArray[Any],
    packed: npt.NDArray[np.uint32],
    known: tuple[Color, ...],
    names: tuple[str, ...],
    tolerance: float,
) -> None:
    """Give unknown colours within ``tolerance`` their nearest entry, in place; raise for the others."""
    unknown = entry == 0
    values, inverse, counts = np.unique(packed[unknown], return_inverse=True, return_counts=True)
    nearest, distance = _nearest(values, known)
    entry[unknown] = (nearest + 1)[inverse.reshape(-1)]
    left = distance > tolerance
    if not left.any():
        return
    values, counts, nearest, distance = values[left], counts[left], nearest[left], distance[left]
    named = []
    for index in np.argsort(-counts, kind="stable")[:_NAMED_IN_MESSAGES]:
        value = int(values[index])
        color = (value >> 16, value >> 8 & 255, value & 255)
        where = int(nearest[index])
        closest = f"class {where} {names[where]!r}" if where < len(names) else "the ignore colour"
        named.append(f"{color} in {counts[index]} pixels (nearest: {closest}, {distance[index]:.0f} away)")
    more = f", and {len(values) - len(named)} further colours" if len(values) > len(named) else ""
    got = f"{counts.sum()} of {packed.size} pixels in other colours: {', '.join(named)}{more}"
    raise LabelError("the colours of the palette only", got, _advice(counts, distance))


def _nearest(
    values: npt.NDArray[np.uint32], known: tuple[Color, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Nearest entry of ``known`` for each packed colour, and its distance."""
    colors = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=-1).astype(np.float64)
    nearest = np.zeros(len(values), dtype=np.int64)
    square = np.full(len(values), np.inf)
    for index, color in enumerate(known):
        candidate = ((colors - color) ** 2).sum(axis=1)
        closer = candidate < square
        nearest[closer], square[closer] = index, candidate[closer]
    return nearest, np.sqrt(square)


def _advice(counts: npt.NDArray[np.int64], distance: npt.NDArray[np.float64]) -> str:
    if len(counts) <= _MANY:
        return "Add the colours to the palette, or name the one without meaning as ignore_color."
    near = counts[distance <= _NEAR].sum() / counts.sum()
    if near >= 0.5:
        return (
            f"{near:.0%} of these pixels nearly have a class colour, as in masks saved as JPEG: export them "
            f"as PNG, or take the nearest class with decode(..., tolerance={_NEAR:.0f})."
        )
    return (
        "So many colours come from resizing with interpolation, from drawing with smooth edges, or from "
        "another palette: resize masks by nearest neighbour, or check the palette."
    )
