"""A picture of weak labels beside the full masks and the images."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.atomic import atomic_path
from segcrit.core.errors import DataError
from segcrit.core.optional import require
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.files.formats import stem
from segcrit.data.folders.pairing import pair_names
from segcrit.data.folders.walking import find_images
from segcrit.data.reading import read_image
from segcrit.data.weak.weak import WeakLabelOptions

__all__ = ["PREVIEW", "draw_preview"]

PREVIEW = "preview.png"

Row = tuple[Path, npt.NDArray[Any], npt.NDArray[np.bool_]]
_Pixels = npt.NDArray[np.uint8]

_PANEL_WIDTH = 400
_LARGEST_PANEL = 640
_GAP = 12
_TEXT = 16
_INK, _PAPER, _NO_LABEL = (34, 34, 34), (255, 255, 255), (232, 232, 232)


def draw_preview(
    path: Path,
    rows: Sequence[Row],
    classes: Sequence[ClassInfo],
    options: WeakLabelOptions,
    images: Path | None,
    pair: str | None = None,
) -> None:
    """Draw image, full mask and weak label of each row side by side, and what the colours mean.

    Args:
        path: the file to write, atomically.
        rows: file, labels and kept pixels of each mask to show.
        classes: their names and colours.
        options: how the labels were made, for the titles.
        images: folder of the images, or None.
        pair: expression that finds what the names of image and mask share, or None.
    """
    image_module = require("PIL.Image", extra="data")
    photos = {} if images is None else _photos(images, {file: labels.shape for file, labels, _ in rows}, pair)
    panels = [_panels(labels, kept, photos.get(file), classes, options) for file, labels, kept in rows]
    titles = ["image", "full mask", options.kind] if photos else ["full mask", options.kind]
    if photos:
        panels = [row if len(row) == 3 else [np.full_like(row[0], 255), *row] for row in panels]
    width = max(row[0].shape[1] for row in panels)
    total = len(titles) * (width + _GAP) + _GAP
    names = [*((entry.name, entry.color) for entry in classes), ("no label", _NO_LABEL)]
    legend = _legend(names, total)
    heights = [row[0].shape[0] for row in panels]
    height = 2 * _GAP + _TEXT + sum(size + _TEXT + 2 * _GAP for size in heights) + legend.height + _GAP
    picture = image_module.new("RGB", (total, height), _PAPER)
    pen = require("PIL.ImageDraw", extra="data").Draw(picture)
    top = _GAP
    for column, title in enumerate(titles):
        pen.text((_GAP + column * (width + _GAP), top), title, fill=_INK, font=_font())
    top += _TEXT + _GAP
    for (file, _, _), row in zip(rows, panels, strict=True):
        for column, panel in enumerate(row):
            picture.paste(image_module.fromarray(panel), (_GAP + column * (width + _GAP), top))
        top += row[0].shape[0] + 4
        pen.text((_GAP, top), file.name, fill=(110, 110, 110), font=_font(_TEXT - 3))
        top += _TEXT + 2 * _GAP - 4
    picture.paste(legend, (0, top))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _panels(
    labels: npt.NDArray[Any],
    kept: npt.NDArray[np.bool_],
    photo: _Pixels | None,
    classes: Sequence[ClassInfo],
    options: WeakLabelOptions,
) -> list[_Pixels]:
    if labels.ndim == 3:
        shown = _telling_slice(labels, kept, options)
        labels, kept = labels[shown], kept[shown]
        photo = None if photo is None else photo[shown]
    colors = np.array([*(entry.color for entry in classes), _NO_LABEL], dtype=np.uint8)
    known = (labels >= 0) & (labels < len(classes))
    numbers = np.where(known, labels, len(classes)).astype(np.int64)
    factor = _panel_width(labels.shape) / labels.shape[1]
    weak_numbers = np.where(kept, numbers, len(classes))
    if factor < 1:
        # Strokes are thin: what is scaled down by taking every n-th pixel must not fall between them.
        reach = math.ceil(1 / factor)
        filters = require("scipy.ndimage", extra="data")
        weak_numbers = filters.minimum_filter(weak_numbers, size=reach)
    paper = np.broadcast_to(np.array(_NO_LABEL, dtype=np.uint8), (*labels.shape, 3))
    if photo is not None:
        grey = photo.mean(axis=-1, keepdims=True)
        paper = np.repeat((255 - 0.4 * (255 - grey)).astype(np.uint8), 3, axis=-1)
    weak = np.where((weak_numbers < len(classes))[..., None], colors[weak_numbers], paper)
    panels = [colors[numbers], weak] if photo is None else [photo, colors[numbers], weak]
    return [_scaled(panel, factor) for panel in panels]


def _telling_slice(
    labels: npt.NDArray[Any], kept: npt.NDArray[np.bool_], options: WeakLabelOptions
) -> tuple[slice | int, ...]:
    """The slice of a volume with the most classes among the kept labels, and of these with the most labels."""
    slices, kept_slices = np.moveaxis(labels, options.axis, 0), np.moveaxis(kept, options.axis, 0)
    worth = [(len(np.unique(one[keep])), int(keep.sum())) for one, keep in zip(slices, kept_slices, strict=True)]
    index: list[slice | int] = [slice(None)] * 3
    index[options.axis] = max(range(len(worth)), key=lambda position: worth[position])
    return tuple(index)


def _photos(folder: Path, masks: Mapping[Path, tuple[int, ...]], pair: str | None) -> dict[Path, _Pixels]:
    """The images of these masks as 8-bit colours; those that are missing or unreadable are left out."""
    images = find_images(folder).files
    holder = Path(os.path.commonpath([mask.parent for mask in masks]))
    names = {(mask.relative_to(holder).parent / stem(mask)).as_posix(): mask for mask in masks}
    found: dict[Path, _Pixels] = {}
    try:
        pairing = pair_names(images, names, pair)
    except DataError:
        return found  # several kinds of images: the picture can do without
    for key in pairing.common:
        mask = names[pairing.second[key]]
        # The picture is an illustration; a broken image is a matter for those who train with it.
        try:
            found[mask] = _as_colors(read_image(images[pairing.first[key]], spatial_shape=masks[mask]))
        except DataError:
            continue
    return found


def _as_colors(image: npt.NDArray[np.float32]) -> _Pixels:
    """(channels, *S) as (*S, 3), stretched to the range that the eye sees."""
    shown = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    finite = shown[np.isfinite(shown)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    if finite.min(initial=0) >= 0 and 1 < finite.max(initial=0) <= 255 and len(image) == 3:
        low, high = 0.0, 255.0
    scaled = np.nan_to_num((shown - low) / max(float(high - low), 1e-12)).clip(0, 1)
    return np.moveaxis((255 * scaled).astype(np.uint8), 0, -1)


def _panel_width(shape: tuple[int, ...]) -> int:
    """Small images are enlarged, large ones reduced, and portraits must not become towers."""
    width = min(max(shape[1], _PANEL_WIDTH), _LARGEST_PANEL)
    return max(1, min(width, round(_LARGEST_PANEL * shape[1] / shape[0])))


def _scaled(panel: _Pixels, factor: float) -> _Pixels:
    image_module = require("PIL.Image", extra="data")
    size = (max(1, round(panel.shape[1] * factor)), max(1, round(panel.shape[0] * factor)))
    image = image_module.fromarray(np.ascontiguousarray(panel))
    return np.asarray(image.resize(size, image_module.Resampling.NEAREST))


def _legend(names: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Any:
    """Swatches and names, in as many lines as they need."""
    font = _font()
    places, left, top = [], _GAP, 0
    for name, _ in names:
        needed = _TEXT + 6 + math.ceil(font.getlength(name)) + 2 * _GAP
        if left + needed > width and left > _GAP:
            left, top = _GAP, top + _TEXT + _GAP
        places.append((left, top))
        left += needed
    picture = require("PIL.Image", extra="data").new("RGB", (width, top + _TEXT + _GAP), _PAPER)
    pen = require("PIL.ImageDraw", extra="data").Draw(picture)
    for (name, color), (x, y) in zip(names, places, strict=True):
        pen.rectangle((x, y, x + _TEXT, y + _TEXT), fill=color, outline=(150, 150, 150))
        pen.text((x + _TEXT + 6, y), name, fill=_INK, font=font)
    return picture


def _font(size: int = _TEXT) -> Any:
    return require("PIL.ImageFont", extra="data").load_default(size)
