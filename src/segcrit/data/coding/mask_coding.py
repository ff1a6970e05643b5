"""How the values in mask files become labels: identity, remapping of ids with gaps, or colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError, LabelError
from segcrit.labels.palette import Palette
from segcrit.labels.palette_images import colors_decide

__all__ = ["LabelCoding", "StoredMask", "UnknownPolicy", "value_ranges"]

UnknownPolicy = Literal["error", "ignore", "nearest"]

# Stored values up to this size are looked up in a table, others by search.
_TABLE_LIMIT = 1 << 17


@dataclass(frozen=True)
class StoredMask:
    """A mask as its file holds it.

    Attributes:
        array: integers of shape ``(*S)``, or for a colour mask ``uint8`` of shape ``(*S, 3)``.
        is_color: whether ``array`` holds colours.
        palette: ``uint8 (P, 3)``, the colour of each value in a palette file, otherwise None.
        mode: how the file stores it, for reports: ``"palette"``, ``"grey"``, ``"colour"``, ``"uint16"``, ...
        thresholded: pixels of a mask stored with loss that a threshold brought back to 0 or 255; None for other masks.
        nodata: the value that the file itself declares as missing, where it holds it; None otherwise, and for 0.
    """

    array: npt.NDArray[Any]
    is_color: bool
    palette: npt.NDArray[np.uint8] | None
    mode: str
    thresholded: int | None = None
    nodata: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Size in pixels, channels of colour masks not counted."""
        return self.array.shape[:-1] if self.is_color else self.array.shape

    def value_counts(self) -> dict[int, int]:
        """Pixels of each stored value; a colour counts as ``red * 65536 + green * 256 + blue``."""
        if self.is_color:
            array = self.array.astype(np.int64) @ np.array([65536, 256, 1])
        else:
            array = self.array
        if array.size and array.dtype.kind == "u" and int(array.max()) < _TABLE_LIMIT:
            counts = np.bincount(array.reshape(-1))
            present = np.flatnonzero(counts)
            return dict(zip(present.tolist(), counts[present].tolist(), strict=True))
        values, found = np.unique(array, return_counts=True)
        return dict(zip(values.tolist(), found.tolist(), strict=True))


@dataclass(frozen=True)
class LabelCoding:
    """The map from what mask files store to labels.

    Attributes:
        classes: stored value -> class label.
        ignored: stored values of pixels that do not count.
        ignore_index: their label, or None where there are no such pixels.
        palette: the colours of the classes for masks stored as colours, or None where no colours are known.
        unknown: what a value outside these means: an error (default), an ignored pixel, or the nearest known
            value (for the grey edges of resized masks).
        assumed: the ignored values that nobody declared, such as 255 where no class has it: the audit tells their share.

    Example:
        >>> coding = LabelCoding({0: 0, 255: 1})
        >>> coding.decode_values(np.array([[0, 255]], dtype=np.uint8)).tolist()
        [[0, 1]]
    """

    classes: Mapping[int, int]
    ignored: tuple[int, ...] = ()
    ignore_index: int | None = None
    palette: Palette | None = None
    unknown: UnknownPolicy = "error"
    assumed: tuple[int, ...] = ()

    @property
    def table(self) -> dict[int, int]:
        """Stored value -> label, ignored values included."""
        label = self.ignore_index
        return dict(self.classes) | ({} if label is None else dict.fromkeys(self.ignored, label))

    @property
    def dtype(self) -> np.dtype[Any]:
        """``uint8`` where every label fits, otherwise ``int64``."""
        labels = [*self.classes.values(), 0 if self.ignore_index is None else self.ignore_index]
        return np.dtype(np.uint8 if min(labels) >= 0 and max(labels) <= 255 else np.int64)

    def decode(self, mask: StoredMask, path: Path | None = None) -> npt.NDArray[Any]:
        """Labels ``(*S)`` of a mask.

        A palette mask is read by its indices, unless its colours are those of the classes in another order, because
        image editors reorder the entries when they save. A colour mask whose three channels are equal is read by its
        grey values, unless its colours are known.

        Raises:
            DataError: a value or colour is unknown; the message names it and how many pixels hold it.
        """
        if mask.nodata is not None:
            return self.with_nodata(mask.nodata).decode(replace(mask, nodata=None), path)
        if mask.is_color:
            return self._decode_color(mask.array, path)
        colors = self.palette_colors(mask)
        if colors is not None and self.palette is not None:
            by_color = self.palette.decode(colors).astype(self.dtype)
            labels: npt.NDArray[Any] = by_color[mask.array]
            return labels
        return self.decode_values(mask.array, path)

    def palette_colors(self, mask: StoredMask) -> npt.NDArray[np.uint8] | None:
        """The colour of each index of a palette mask, if the colours are what its pixels are to be read by.

        Unused entries get the first class's colour.
        """
        if mask.palette is None or self.palette is None or mask.array.size == 0:
            return None
        used = np.flatnonzero(np.bincount(mask.array.reshape(-1)))
        values = {
            color: [value for value, own in self.classes.items() if own == label]
            for label, color in enumerate(self.palette.colors)
        }
        if self.palette.ignore_index is not None:
            values.setdefault(self.palette.ignore_color, list(self.ignored))
        entries = [(red, green, blue) for red, green, blue in mask.palette.tolist()]
        if not colors_decide(used.tolist(), entries, values):
            return None
        colors = np.tile(np.array(self.palette.colors[0], dtype=np.uint8), (int(used[-1]) + 1, 1))
        colors[used] = mask.palette[used]
        return colors

    def with_nodata(self, value: int | None) -> LabelCoding:
        """The coding of a file that declares this value as missing: ignored, unless it is said to be a class."""
        if value is None or value in self.table or self.ignore_index is None:
            return self
        return replace(self, ignored=(*self.ignored, value))

    def decode_values(self, stored: npt.NDArray[Any], path: Path | None = None) -> npt.NDArray[Any]:
        """Labels for an integer array of stored values, of the same shape.

        Raises:
            DataError: a value is unknown.
        """
        if stored.size == 0:
            return np.zeros(stored.shape, dtype=self.dtype)
        known = self.table
        keys = np.array(sorted(known), dtype=np.int64)
        labels = np.array([known[int(key)] for key in keys], dtype=np.int64)
        low, high = int(stored.min()), int(stored.max())
        position: npt.NDArray[Any] = stored
        if low >= 0 and high < _TABLE_LIMIT:
            codes = np.arange(high + 1, dtype=np.int64)
        else:
            codes, position = np.unique(stored, return_inverse=True)
            position = position.reshape(stored.shape)
        nearest = np.clip(np.searchsorted(keys, codes), 0, keys.size - 1)
        found = keys[nearest] == codes
        table = labels[nearest].astype(self.dtype)
        if not found.all():
            if self.unknown == "ignore" and self.ignore_index is not None:
                table[~found] = self.ignore_index
            elif self.unknown == "nearest":
                distance = np.abs(keys[None, :] - codes[~found][:, None])
                table[~found] = labels[distance.argmin(axis=1)]
            elif not _looked_up(found.astype(np.uint8), position).all():
                strange = stored[~found[position]]
                values, counts = np.unique(strange, return_counts=True)
                raise self.unknown_error(dict(zip(values.tolist(), counts.tolist(), strict=True)), path)
        return _looked_up(table, position)

    def _decode_color(self, colors: npt.NDArray[Any], path: Path | None) -> npt.NDArray[Any]:
        place = "" if path is None else f" in {path}"
        is_grey = bool((colors[..., 0] == colors[..., 1]).all() and (colors[..., 0] == colors[..., 2]).all())
        if self.palette is None:
            if is_grey:
                return self.decode_values(colors[..., 0], path)
            raise DataError(
                f"a mask of class numbers{place}",
                "a mask of colours, and no colours in classes.json",
                'List them there: {"classes": [{"index": 0, "name": "sky", "color": [128, 128, 128]}, ...]}.',
            )
        try:
            return self.palette.decode(colors).astype(self.dtype, copy=False)
        except LabelError as error:
            if is_grey:
                return self.decode_values(colors[..., 0], path)
            if self.unknown == "error" or (self.unknown == "ignore" and self.ignore_index is None):
                raise DataError(error.expected + place, error.got, error.advice, code=error.code) from None
        labels = self.palette.decode(colors, tolerance=float("inf")).astype(self.dtype, copy=False)
        if self.unknown == "ignore":
            strange = (np.asarray(self.palette.encode(labels)) != colors).any(axis=-1)
            labels[strange] = self.ignore_index
        return labels

    def unknown_error(self, counts: Mapping[int, int], path: Path | None = None) -> DataError:
        """The error for values that are no class, with the remedy for its common causes."""
        ordered = sorted(counts.items(), key=lambda entry: -entry[1])
        shown = ", ".join(f"{value} ({pixels} pixels)" for value, pixels in ordered[:4])
        more = "" if len(counts) <= 4 else f" and {len(counts) - 4} more values"
        return DataError(
            f"mask values {value_ranges([*self.classes, *self.ignored])}" + ("" if path is None else f" in {path}"),
            f"{shown}{more}",
            self.advice_for(counts),
        )

    def advice_for(self, unknown: Iterable[int]) -> str:
        """What to do about values that are no class."""
        values = sorted(unknown)
        if len(values) == 1 and values[0] == max(self.classes) + 1 and self.ignore_index is None:
            return f'If {values[0]} means void, write "ignore_index": {values[0]} into classes.json.'
        if len(values) > 8 and 255 in self.table:
            return (
                "So many values come from smooth edges or JPEG: save masks without smoothing, or write "
                '"unknown": "nearest" into classes.json to take the nearest class.'
            )
        return 'Give each a class in classes.json, or write "unknown": "ignore" there to leave such pixels out.'


def _looked_up(table: npt.NDArray[Any], position: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``table[position]``; for bytes several times as fast, because NumPy makes a 64-bit index of each first."""
    result: npt.NDArray[Any]
    if position.dtype == np.uint8 and table.dtype == np.uint8:
        whole = table[:256].tobytes().ljust(256, b"\0")
        translated = bytearray(np.ascontiguousarray(position)).translate(whole)
        result = np.frombuffer(translated, dtype=np.uint8).reshape(position.shape)
    else:
        result = table[position]
    return result


def value_ranges(values: Iterable[int]) -> str:
    """Integers as ranges.

    Example:
        >>> value_ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    parts: list[list[int]] = []
    for value in sorted(set(values)):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
