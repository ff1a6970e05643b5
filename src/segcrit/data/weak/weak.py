"""Weak labels from a full label map: scribbles, points, or a part of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from segcrit.core.constraints import one_of
from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.core.optional import require
from segcrit.data.weak.strokes import stamp, stroke

__all__ = ["KINDS", "Kind", "WeakLabelOptions", "generator", "kept_pixels", "weak_labels"]

Kind = Literal["scribbles", "points", "partial"]
KINDS: Final[tuple[Kind, ...]] = ("scribbles", "points", "partial")

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WeakLabelOptions:
    """How much is labelled, and where.

    Attributes:
        kind: ``"scribbles"``: one stroke in every component of every class. ``"points"``: dots in every
            component, or in every class. ``"partial"``: some components, or some blocks, completely.
        width: thickness of strokes and dots in pixels; the hand-drawn scribbles of ACDC (Valvano et al.,
            2021) are 1 to 3 pixels thick.
        length: length of strokes, in multiples of the component's own: 1 goes once along or across it.
        min_size: components below this many pixels get no stroke and no dot. People do not annotate specks.
        points: dots for each component or class.
        per: whether ``points`` counts for each ``"component"`` or each ``"class"`` of an image.
        share: part of the components or blocks that ``"partial"`` keeps, 0 to 1.
        unit: whether ``"partial"`` keeps whole ``"component"`` s or square ``"block"`` s.
        block: side of a block in pixels.
        axis: the axis along which volumes are sliced; strokes and dots are drawn in slices, as annotators do.
        slice_step: label every n-th slice of a volume only.
    """

    kind: Kind = "scribbles"
    width: int = 3
    length: float = 1.0
    min_size: int = 25
    points: int = 1
    per: Literal["component", "class"] = "component"
    share: float = 0.3
    unit: Literal["component", "block"] = "component"
    block: int = 32
    axis: int = -1
    slice_step: int = 1

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("per", self.per, ("component", "class"))
        one_of("unit", self.unit, ("component", "block"))
        for name in ("width", "min_size", "points", "block", "slice_step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ParameterError(f"{name} as a whole number of at least 1", repr(value), "Correct it.")
        if not 0 < self.length < float("inf"):
            raise ParameterError("a length above 0", repr(self.length), "1 goes once along each component.")
        if not 0 <= self.share <= 1:
            raise ParameterError("a share from 0 to 1", repr(self.share), "0.3 keeps three tenths.")
        if isinstance(self.axis, bool) or not isinstance(self.axis, int) or not -3 <= self.axis <= 2:
            raise ParameterError("an axis from -3 to 2", repr(self.axis), "-1 slices along the last axis.")


def weak_labels(
    labels: npt.NDArray[Any],
    options: WeakLabelOptions | None = None,
    *,
    ignore_index: int = 255,
    seed: int = 0,
    name: str = "",
) -> npt.NDArray[Any]:
    """Keep some labels of a label map and set all others to ``ignore_index``.

    Args:
        labels: class indices, (H, W) or a volume; pixels with ``ignore_index`` are never labelled.
        options: what to keep; scribbles by default.
        ignore_index: the value of pixels without a label.
        seed: another seed gives other strokes. The same seed and ``name`` give the same.
        name: the image's, so that images of one data set differ.

    Returns:
        A new array of the shape and type of ``labels``.

    Raises:
        ShapeError: ``labels`` is not two- or three-dimensional.
        LabelError: the type of ``labels`` cannot hold ``ignore_index``.

    Example:
        >>> import numpy as np
        >>> labels = np.zeros((40, 40), dtype=np.uint8)
        >>> labels[10:30, 10:30] = 1
        >>> weak = weak_labels(labels, seed=1)
        >>> sorted(set(weak.ravel().tolist())), bool((weak == labels)[weak != 255].all())
        ([0, 1, 255], True)
    """
    limits = np.iinfo(labels.dtype) if labels.dtype.kind in "iu" else None
    if limits is None or not limits.min <= ignore_index <= limits.max:
        raise LabelError(
            f"labels of an integer type that can hold {ignore_index}", str(labels.dtype), "Convert the labels."
        )
    kept = kept_pixels(labels, {ignore_index}, options or WeakLabelOptions(), generator(seed, name))
    return np.where(kept, labels, labels.dtype.type(ignore_index))


def generator(seed: int, name: str) -> np.random.Generator:
    """The source of chance of one image: the same whatever the other images are, and in which order they come."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(list(digest))


def kept_pixels(
    labels: npt.NDArray[Any], unlabelled: set[int], options: WeakLabelOptions, rng: np.random.Generator
) -> _Mask:
    """Where weak labels keep the label.

    Args:
        labels: class indices, (H, W) or a volume.
        unlabelled: the values that are no class.
        options: what to keep.
        rng: source of chance.

    Returns:
        bool of the shape of ``labels``.
    """
    if labels.ndim not in (2, 3):
        raise ShapeError(
            "labels of shape (H, W), or a volume", f"shape {labels.shape}", "Pass the label map of one image."
        )
    classes = [int(value) for value in np.unique(labels) if int(value) not in unlabelled]
    if options.kind == "partial":
        return _partial(labels, classes, options, rng)
    kept = np.zeros(labels.shape, dtype=bool)
    if labels.ndim == 2:
        _draw(kept, labels, classes, options, rng)
        return kept
    # Views: what is drawn into a slice is drawn into the volume.
    slices, drawn = np.moveaxis(labels, options.axis, 0), np.moveaxis(kept, options.axis, 0)
    first = (len(slices) - 1) % options.slice_step // 2
    for position in range(first, len(slices), options.slice_step):
        _draw(drawn[position], slices[position], classes, options, rng)
    return kept


def _draw(
    kept: _Mask, labels: npt.NDArray[Any], classes: list[int], options: WeakLabelOptions, rng: np.random.Generator
) -> None:
    """Draw strokes or dots into ``kept``, in place."""
    for label in classes:
        parts = [part for part in _components(labels == label) if part[1].sum() >= options.min_size]
        if options.kind == "points" and options.per == "class" and parts:
            everywhere = np.zeros(labels.shape, dtype=bool)
            for place, region in parts:
                everywhere[place] |= region
            parts = [((slice(None), slice(None)), everywhere)]
        for place, region in parts:
            if options.kind == "scribbles":
                kept[place] |= stroke(region, rng, width=options.width, length=options.length)
            else:
                kept[place] |= _dots(region, rng, options)


def _components(region: _Mask) -> Iterator[tuple[tuple[slice, ...], _Mask]]:
    """The connected parts of a region, diagonal steps included: where each is, and its mask there."""
    ndimage = require("scipy.ndimage", extra="data")
    numbered, _ = ndimage.label(region, structure=np.ones((3,) * region.ndim))
    for number, place in enumerate(ndimage.find_objects(numbered), start=1):
        yield place, numbered[place] == number


def _dots(region: _Mask, rng: np.random.Generator, options: WeakLabelOptions) -> _Mask:
    """Dots at random places, the more likely the further from the edge: where people click."""
    edt = require("scipy.ndimage", extra="data").distance_transform_edt
    room = edt(np.pad(region, 1))[1:-1, 1:-1]
    positions = np.argwhere(region)
    chance = room[region]
    chosen = rng.choice(
        len(positions), size=min(options.points, len(positions)), replace=False, p=chance / chance.sum()
    )
    return stamp(region, positions[chosen], options.width)


def _partial(
    labels: npt.NDArray[Any], classes: list[int], options: WeakLabelOptions, rng: np.random.Generator
) -> _Mask:
    kept = np.zeros(labels.shape, dtype=bool)
    if options.unit == "block":
        counts = [-(-size // options.block) for size in labels.shape]
        chosen = _some(int(np.prod(counts)), options.share, rng).reshape(counts)
        for axis, size in enumerate(labels.shape):
            chosen = np.repeat(chosen, options.block, axis=axis).take(np.arange(size), axis=axis)
        return chosen & np.isin(labels, classes)
    for label in classes:
        parts = list(_components(labels == label))
        for keep, (place, region) in zip(_some(len(parts), options.share, rng), parts, strict=True):
            if keep:
                kept[place] |= region
    return kept


def _some(number: int, share: float, rng: np.random.Generator) -> _Mask:
    """A random choice of ``share`` of ``number`` things: the nearest whole number below or above, right on average."""
    chosen = np.zeros(number, dtype=bool)
    chosen[rng.permutation(number)[: int(share * number + rng.random())]] = True
    return chosen
