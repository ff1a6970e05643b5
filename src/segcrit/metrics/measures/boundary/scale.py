"""The lengths that boundaries were measured with, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from segcrit.metrics.measures.boundary.scores import SCALE, SIDES
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import Floats

__all__ = ["Scale", "words"]

Source = Literal["option", "images", "pixels"]

_ORIGIN = {
    "option": "as the option spacing of boundary says, for all images",
    "images": "as it came with the images",
    "pixels": "no spacing was given: lengths are in pixels",
}


@dataclass(frozen=True, eq=False)
class Scale:
    """The size of the pixels and the lengths that were used; str() says it in a sentence.

    Attributes:
        source: where the spacing comes from: ``"option"``, ``boundary(spacing=)``; ``"images"``, ``update(..., spacing=)``
            or the headers of the files; ``"pixels"``, nobody told it and it is 1.
        spacing: (images, 3), NaN for dimensions that an image does not have and where nobody told it.
        band, tolerance, trimap, missing: (images,), in the unit of the spacing.
    """

    source: Source
    spacing: Floats
    band: Floats
    tolerance: Floats
    trimap: Floats
    missing: Floats

    @classmethod
    def of(cls, counts: PerImage) -> Scale:
        """What the measure of these counts has stored."""
        table = counts.measures["boundary"]
        values: Floats = np.asarray(table.arrays["scale"], dtype=np.float64)
        source: Source = "pixels"
        if getattr(table.measure, "spacing", None) is not None:
            source = "option"
        elif np.isfinite(values[:, 0]).any():
            source = "images"
        widths = {name: values[:, place] for place, name in enumerate(SCALE) if place >= SIDES}
        return cls(source, values[:, :SIDES], **widths)

    def to_dict(self) -> dict[str, Any]:
        """Ends of what was used: for each length its least and its largest value over the images."""
        sides = [span(column) for column in self.spacing.T]
        lengths = {name: span(getattr(self, name)) for name in ("band", "tolerance", "trimap", "missing")}
        return {"source": self.source, "spacing": [side for side in sides if side is not None], **lengths}

    def __str__(self) -> str:
        found = self.to_dict()
        unit = "" if self.source == "pixels" else " in the unit of the spacing"
        text = _ORIGIN[self.source]
        if found["spacing"]:
            text = f"spacing {' × '.join(words(side) for side in found['spacing'])}, {text}"
        parts = [f"{name} {words(found[name])}" for name in ("tolerance", "band", "trimap") if found[name] is not None]
        return f"Boundary: {text}" + (f"; {', '.join(parts)}{unit}." if parts else ".")


def span(values: Floats) -> tuple[float, float] | None:
    """The least and the largest of the known values.

    Example:
        >>> span(np.array([2.0, np.nan, 1.0])), span(np.array([np.nan]))
        ((1.0, 2.0), None)
    """
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if known.size else None


def words(ends: tuple[float, float]) -> str:
    """Two ends as text, once where they are the same."""
    low, high = (f"{end:.4g}" for end in ends)
    return low if low == high else f"{low} to {high}"
