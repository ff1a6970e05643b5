"""Mask images of PIL: their palettes, and which of the usual codings an image uses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.labels.colors import Color

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PNG_ENTRIES", "class_colors", "colors_decide", "image_palette", "palette_pixels"]

PNG_ENTRIES = 256


def image_palette(image: Image) -> list[Color]:
    """The colours of a palette-mode image."""
    numbers = image.getpalette("RGB") if image.mode == "P" else None
    if not numbers:
        raise DataError(
            "an image of mode 'P' with a palette", f"an image of mode {image.mode!r}", "Pass a palette image."
        )
    return [(numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers) - 2, 3)]


def class_colors(image: Image, num_classes: int | None, ignore_index: int | None) -> tuple[list[Color], Color | None]:
    """The colours of the classes of a palette image, and of ignored pixels if the palette says so."""
    entries = image_palette(image)
    if num_classes is None:
        used = set(np.unique(np.asarray(image)).tolist()) - {ignore_index}
        num_classes = max(used, default=0) + 1
    if num_classes > len(entries):
        raise DataError(
            f"a palette of {num_classes} colours", f"{len(entries)} colours", "Correct the number of classes."
        )
    colors = entries[:num_classes]
    if ignore_index is None or not 0 <= ignore_index < len(entries):
        return colors, None
    # An entry that nobody set is black, like many a class 0; then it says nothing about ignored pixels.
    ignore_color = entries[ignore_index]
    return colors, None if ignore_color in colors else ignore_color


def colors_decide(used: Iterable[int], entries: Sequence[Color], values_of: Mapping[Color, Collection[int]]) -> bool:
    """Whether the pixels of a palette image are to be read by colour rather than by index.

    Image editors reorder the entries when they save; then only the colours still tell the classes. But an
    entry that nobody set is black, like many a class 0: an index whose colour is also found at the class's
    own place says nothing by its colour.

    Args:
        used: the indices that occur in the image.
        entries: the palette of the image.
        values_of: for each known colour, the indices that stand for it in an image whose entries are in
            order.

    Example:
        >>> black_red = {(0, 0, 0): [0], (255, 0, 0): [1]}
        >>> colors_decide([0, 1], [(255, 0, 0), (0, 0, 0)], black_red)
        True
        >>> colors_decide([1, 2], [(0, 0, 0), (255, 0, 0), (0, 0, 0)], black_red)
        False
    """
    for index in used:
        own = values_of.get(entries[index]) if index < len(entries) else None
        if own is None:
            return False
        if index not in own and any(v < len(entries) and entries[v] == entries[index] for v in own):
            return False
    return True


def palette_pixels(image: Image) -> npt.NDArray[Any]:
    """The colours of a palette image's pixels, (H, W, 3)."""
    table = np.zeros((PNG_ENTRIES, 3), dtype=np.uint8)
    entries = image_palette(image)
    table[: len(entries)] = entries
    colors: npt.NDArray[Any] = table[np.asarray(image)]
    return colors
