"""The page of an image: pictures of its maps, where the loss sits, and the pixels that dominate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segcrit.apps.explain.colour import CLASS_COLOURS
from segcrit.apps.explain.draw import map_picture, panel_picture, picture, ramp
from segcrit.apps.explain.maps import ImageMaps, concentration_panel
from segcrit.apps.explain.page import picture_source, render
from segcrit.apps.explain.steps import Array, Mask
from segcrit.core.quantities import worded

__all__ = ["image_page"]

# Longer sides are shrunk: a page of a few megabytes still opens on a phone.
LONGEST_SIDE = 768
LOSS_COLOURS, GRADIENT_COLOURS, PROBABILITY_COLOURS = "magma", "viridis", "Blues"
IGNORED = (210, 210, 210)
MARK = (255, 40, 40)


def image_page(maps: ImageMaps, *, colours: Sequence[tuple[int, int, int]] | None = None, source: str = "") -> str:
    """One self-contained HTML page of the maps of an image.

    Args:
        maps: what ``explain_image`` found.
        colours: one RGB colour a class; None for a colour-blind safe palette.
        source: where image and network come from, a sentence below the heading.

    Returns:
        The page as text. Volumes are shown by the slice (along the third axis) that holds most of the loss.
    """
    palette = _palette(colours, len(maps.class_names))
    place, where = _slice(maps)
    factor = max(1, -(-max(maps.valid[place].shape) // LONGEST_SIDE))
    valid = _nearest(maps.valid[place], factor)
    loss = None if maps.loss_map is None else _largest(maps.loss_map[place], factor)
    gradient = _largest(maps.gradient_map[place], factor)
    first = gradient if loss is None or not maps.concentrations or maps.concentrations[0].name != "loss" else loss
    shown = _nearest(maps.picture[place], factor)

    main: list[dict[str, Any]] = [
        _plain("The image", shown),
        _plain("Truth", _classes(_nearest(maps.truth[place], factor), valid, palette)),
        _plain("Prediction", _classes(_nearest(maps.prediction[place], factor), np.ones_like(valid), palette)),
    ]
    if loss is not None:
        main.append(_scaled("Loss map: what each pixel adds", loss, LOSS_COLOURS, average=_mean(maps.loss_map)))
    main.append(
        _scaled("Gradient map: how each pixel pulls", gradient, GRADIENT_COLOURS, average=_mean(maps.gradient_map))
    )
    main.append(_plain("The dominant 1 % of the pixels, in red", _marked(shown, first)))
    probabilities = [
        _scaled(f"p({name})", _nearest(maps.probability[index][place], factor), PROBABILITY_COLOURS, top=1.0)
        for index, name in enumerate(maps.class_names)
    ]
    dims = maps.valid.ndim
    for entry in main:
        entry["title"] = worded(entry["title"], dims)
    panel = concentration_panel(maps)
    panel = replace(
        panel,
        title=worded(panel.title, dims),
        caption=worded(panel.caption, dims),
        x_label=worded(panel.x_label, dims),
        y_label=worded(panel.y_label, dims),
    )
    return render(
        "image.html.j2",
        image=worded("image", dims),
        pixel=worded("pixel", dims),
        pixels=worded("pixels", dims),
        title=f"{maps.expression} on {maps.name}",
        maps=maps,
        source=source,
        where=where,
        shrunk=factor,
        main=main,
        probabilities=probabilities,
        legend=[
            (name, "#{:02x}{:02x}{:02x}".format(*colour))
            for name, colour in zip(maps.class_names, palette, strict=True)
        ],
        ignored=not maps.valid.all(),
        shares=maps.class_shares(),
        chart=picture_source(panel_picture(panel), "svg+xml"),
        panel=panel,
        axes=("row", "column", "slice")[: maps.valid.ndim] if maps.valid.ndim > 1 else ("pixel",),
    )


def _palette(colours: Sequence[tuple[int, int, int]] | None, classes: int) -> list[tuple[int, int, int]]:
    if colours is not None and len(colours) >= classes:
        return [(int(red), int(green), int(blue)) for red, green, blue in colours[:classes]]
    hexes = [CLASS_COLOURS[index % len(CLASS_COLOURS)] for index in range(classes)]
    return [(int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in hexes]


def _slice(maps: ImageMaps) -> tuple[tuple[Any, ...], str]:
    """Which two dimensions are shown: all of an image, the slice of a volume that matters most."""
    if maps.valid.ndim == 2:
        return (slice(None), slice(None)), ""
    if maps.valid.ndim == 1:
        return (None, slice(None)), ""
    values = maps.gradient_map if maps.loss_map is None else maps.loss_map
    index = int(np.nansum(values, axis=(0, 1)).argmax())
    where = (
        f"Slice {index + 1} of {maps.valid.shape[2]} along the third axis is shown, the one with the largest share; "
        "shares are of the whole volume."
    )
    return (slice(None), slice(None), index), where


def _mean(values: Array | None) -> float | None:
    return None if values is None else float(np.nanmean(values))


def _nearest(values: Any, factor: int) -> Any:
    return values[::factor, ::factor]


def _largest(values: Array, factor: int) -> Array:
    """Shrink by the largest value of each block, so that single strong pixels stay visible."""
    if factor == 1:
        return values
    height, width = (-(-size // factor) * factor for size in values.shape)
    filled = np.full((height, width), -np.inf)
    filled[: values.shape[0], : values.shape[1]] = np.where(np.isfinite(values), values, -np.inf)
    blocks = filled.reshape(height // factor, factor, width // factor, factor).max((1, 3))
    return np.where(np.isfinite(blocks), blocks, np.nan)


def _classes(labels: Any, shown: Mask, palette: list[tuple[int, int, int]]) -> Any:
    table = np.array(palette, dtype=np.uint8)
    coloured = table[labels]
    coloured[~shown] = IGNORED
    return coloured


def _marked(shown: Any, values: Array) -> Any:
    """The image in pale grey with the strongest 1 % of its pixels in red."""
    grey = (shown.astype(np.float64).mean(-1, keepdims=True) * 0.6 + 100).clip(0, 255).astype(np.uint8)
    result = np.repeat(grey, 3, axis=-1)
    finite = values[np.isfinite(values)]
    if finite.size:
        threshold = np.sort(finite)[-max(1, round(0.01 * finite.size))]
        result[np.nan_to_num(values, nan=-np.inf) >= max(threshold, np.nextafter(0, 1))] = MARK
    return result


def _plain(title: str, pixels: Any) -> dict[str, Any]:
    return {"title": title, "source": picture_source(picture(pixels), "png"), "ramp": None}


def _scaled(
    title: str, values: Array, colours: str, *, top: float | None = None, average: float | None = None
) -> dict[str, Any]:
    """A map with its scale; with ``average`` in multiples of it, which people can read, unlike 1.9e-05."""
    if average:
        values = values / average
    finite = values[np.isfinite(values)]
    # A few extreme pixels would leave the rest black: the scale ends at the 99.5th percentile, and says so.
    end = top if top is not None else float(np.percentile(finite, 99.5)) if finite.size else 1.0
    largest = float(finite.max(initial=0.0))
    end = end or largest or 1.0
    clipped = top is None and largest > end * 1.001
    return {
        "title": title,
        "source": picture_source(map_picture(values, colours=colours, top=end), "png"),
        "ramp": ramp(colours),
        "end": end,
        "largest": largest if clipped else None,
        "unit": " × average" if average else "",
    }
