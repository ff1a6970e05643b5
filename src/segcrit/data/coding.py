"""How the values in mask files become labels: identity, remapping of ids with gaps, or colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segcrit.errors import DataError

__all__ = ["Color", "LabelCoding", "StoredMask", "UnknownPolicy", "value_ranges"]

UnknownPolicy = Literal["error", "ignore", "nearest"]
Color = tuple[int, int, int]

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
    """

    array: npt.NDArray[Any]
    is_color: bool
    palette: npt.NDArray[np.uint8] | None
    mode: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Size in pixels, channels of colour masks not counted."""
        return self.array.shape[:-1] if self.is_color else self.array.shape


@dataclass(frozen=True)
class LabelCoding:
    """The map from what mask files store to labels.

    Attributes:
        values: stored value -> label, the ignored values included.
        colors: colour -> label for masks stored as colours; empty where no colours are known.
        ignore_index: the label of ignored pixels, or None.
        unknown: what a value outside both tables means: an error (default), an ignored pixel, or the nearest known
            value (for the grey edges of resized masks).

    Example:
        >>> coding = LabelCoding({0: 0, 255: 1})
        >>> coding.decode_values(np.array([[0, 255]], dtype=np.uint8)).tolist()
        [[0, 1]]
    """

    values: Mapping[int, int]
    colors: Mapping[Color, int] = field(default_factory=dict)
    ignore_index: int | None = None
    unknown: UnknownPolicy = "error"

    @property
    def dtype(self) -> np.dtype[Any]:
        """``uint8`` where every label fits, otherwise ``int64``."""
        labels = [*self.values.values(), *self.colors.values()]
        if self.ignore_index is not None:
            labels.append(self.ignore_index)
        return np.dtype(np.uint8 if all(0 <= label <= 255 for label in labels) else np.int64)

    def decode(self, mask: StoredMask, path: Path | None = None) -> npt.NDArray[Any]:
        """Labels ``(*S)`` of a mask.

        A palette mask is read by its indices; where those are no classes but all its colours are known, by colour.
        A colour mask whose three channels are equal is read by its grey values unless its colours are known.

        Raises:
            DataError: a value or colour is unknown; the message names it and how many pixels hold it.
        """
        if mask.is_color:
            return self._decode_color(mask.array, path)
        if mask.palette is not None and self.colors and self.unknown == "error":
            used = np.flatnonzero(np.bincount(mask.array.reshape(-1), minlength=1))
            if any(int(value) not in self.values for value in used):
                table = np.zeros((int(used.max()) + 1, 3), dtype=np.uint8)
                inside = used[used < len(mask.palette)]
                table[inside] = mask.palette[inside]
                if all(tuple(table[value].tolist()) in self.colors for value in used):
                    return self._decode_color(table[mask.array], path)
        return self.decode_values(mask.array, path)

    def decode_values(self, stored: npt.NDArray[Any], path: Path | None = None) -> npt.NDArray[Any]:
        """Labels for an integer array of stored values, of the same shape.

        Raises:
            DataError: a value is unknown.
        """
        keys = np.array(sorted(self.values), dtype=np.int64)
        labels = np.array([self.values[int(key)] for key in keys], dtype=np.int64)
        if stored.size == 0:
            return np.zeros(stored.shape, dtype=self.dtype)
        low, high = int(stored.min()), int(stored.max())
        if low >= 0 and high < _TABLE_LIMIT:
            codes = np.arange(high + 1, dtype=np.int64)
            position: npt.NDArray[Any] = stored
        else:
            codes, position = np.unique(stored, return_inverse=True)
            position = position.reshape(stored.shape)
        nearest = np.clip(np.searchsorted(keys, codes), 0, keys.size - 1)
        known = keys[nearest] == codes
        table = labels[nearest].astype(self.dtype)
        if not known.all():
            if self.unknown == "ignore" and self.ignore_index is not None:
                table[~known] = self.ignore_index
            elif self.unknown == "nearest":
                distance = np.abs(keys[None, :] - codes[~known][:, None])
                table[~known] = labels[distance.argmin(axis=1)]
            elif not known[position].all():
                present = codes[~known][np.isin(codes[~known], stored)]
                raise self.unknown_error({int(value): int((stored == value).sum()) for value in present[:20]}, path)
        result: npt.NDArray[Any] = table[position]
        return result

    def _decode_color(self, colors: npt.NDArray[Any], path: Path | None) -> npt.NDArray[Any]:
        packed = (colors[..., 0].astype(np.int64) << 16) | (colors[..., 1].astype(np.int64) << 8) | colors[..., 2]
        codes, position = np.unique(packed, return_inverse=True)
        known = {(red << 16) | (green << 8) | blue: label for (red, green, blue), label in self.colors.items()}
        if all(int(code) in known for code in codes):
            table = np.array([known[int(code)] for code in codes], dtype=self.dtype)
            labels: npt.NDArray[Any] = table[position].reshape(packed.shape)
            return labels
        if (colors[..., 0] == colors[..., 1]).all() and (colors[..., 0] == colors[..., 2]).all():
            return self.decode_values(colors[..., 0], path)
        if self.unknown == "ignore" and self.ignore_index is not None and known:
            table = np.array([known.get(int(code), self.ignore_index) for code in codes], dtype=self.dtype)
            ignored: npt.NDArray[Any] = table[position].reshape(packed.shape)
            return ignored
        strange = [int(code) for code in codes if int(code) not in known]
        names = ", ".join(str((code >> 16, code >> 8 & 255, code & 255)) for code in strange[:4])
        more = "" if len(strange) <= 4 else f" and {len(strange) - 4} more"
        raise DataError(
            "the colours of classes.json" + ("" if path is None else f" in {path}"),
            f"the unknown colours {names}{more}",
            'Add them to classes.json as {"index", "name", "color"}'
            + (", and save masks as PNG if they were JPEG once." if len(strange) > 50 else "."),
        )

    def unknown_error(self, counts: Mapping[int, int], path: Path | None = None) -> DataError:
        """The error for values that are no class, with the remedy for its common causes."""
        shown = ", ".join(f"{value} ({pixels} pixels)" for value, pixels in list(counts.items())[:5])
        more = "" if len(counts) <= 5 else f" and {len(counts) - 5} more values"
        classes = sorted(value for value, label in self.values.items() if label != self.ignore_index)
        return DataError(
            f"mask values {value_ranges(classes)}" + ("" if path is None else f" in {path}"),
            f"{shown}{more}",
            'List them in classes.json: as a class, or as "ignore_index" where such pixels should not count.',
        )


def value_ranges(values: list[int]) -> str:
    """Integers as ranges.

    Example:
        >>> value_ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    parts: list[list[int]] = []
    for value in sorted(values):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
