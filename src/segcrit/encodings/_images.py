"""Mask images of PIL: their palettes, and which of the usual codings an image uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrit.encodings.colors import Color
from segcrit.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PNG_ENTRIES", "class_colors", "image_palette", "reordered_colors"]

PNG_ENTRIES = 256


def image_palette(image: Image) -> list[Color]:
    """The colours of a palette-mode image."""
    numbers = image.getpalette("RGB") if image.mode == "P" else None
    if not numbers:
        raise DataError(
            "an image of mode 'P' with a palette", f"an image of mode {image.mode!r}", "Pass a palette image."
        )
    return [(numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers) - 2, 3)]


def class_colors(
    image: Image, num_classes: int | None, ignore_index: int | None
) -> tuple[list[Color], Color | None]:
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


def reordered_colors(image: Image, known: list[Color]) -> npt.NDArray[Any] | None:
    """The colours of a palette image's pixels if they tell the classes: all ``known``, none twice. Else None.

    Image editors reorder the entries when they save; then only the colours still tell the classes.
    """
    labels = np.asarray(image)
    entries = image_palette(image)
    used = np.unique(labels).tolist()
    if len(set(known)) < len(known) or any(i >= len(entries) or entries[i] not in known for i in used):
        return None
    table = np.zeros((PNG_ENTRIES, 3), dtype=np.uint8)
    table[: len(entries)] = entries
    colors: npt.NDArray[Any] = table[labels]
    return colors
