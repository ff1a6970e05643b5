"""Boundary figures of each class, and the lengths that they were measured with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segcrit.core.json_files import encode
from segcrit.core.numbers import number
from segcrit.metrics.measures.boundary.figures import CLDICE, KIND, LENGTHS, SCORES, image_values
from segcrit.metrics.measures.boundary.scale import Scale
from segcrit.metrics.measures.boundary.scores import ASTRAY, TRIMAP
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Floats, Integers, class_ratio, nan_mean

__all__ = ["BoundaryScores"]


@dataclass(frozen=True, eq=False, repr=False)
class BoundaryScores:
    """Boundary and distance figures of each class, from :class:`segcrit.Boundary`.

    Attributes:
        counts: what was measured on each image.
        class_names: one name a class.
    """

    counts: PerImage
    class_names: tuple[str, ...]

    @cached_property
    def per_image(self) -> dict[str, Floats]:
        """Every score and distance of each image and class: name -> (images, C)."""
        names = [*SCORES, *LENGTHS]
        if "truth_skeleton" in self.counts.measures[KIND].arrays:
            names += list(CLDICE)
        return {name: image_values(name, self.counts) for name in names}

    def _mean(self, name: str) -> Floats:
        return nan_mean(self.per_image[name], axis=0)

    @property
    def boundary_iou(self) -> Floats:
        """(C,), mean over images."""
        return self._mean("boundary_iou")

    @property
    def boundary_f1(self) -> Floats:
        """(C,), mean over images."""
        return self._mean("boundary_f1")

    @property
    def nsd(self) -> Floats:
        """Normalised surface distance, (C,), mean over images."""
        return self._mean("nsd")

    @property
    def hausdorff(self) -> Floats:
        """(C,), mean over images."""
        return self._mean("hausdorff")

    @property
    def hd95(self) -> Floats:
        """The larger of the two directed 95 % quantiles, (C,), mean over images."""
        return self._mean("hd95")

    @property
    def hd95_pooled(self) -> Floats:
        """The 95 % quantile of the distances in both directions, (C,), mean over images."""
        return self._mean("hd95_pooled")

    @property
    def assd(self) -> Floats:
        """Mean of the distances in both directions, (C,), mean over images."""
        return self._mean("assd")

    @property
    def masd(self) -> Floats:
        """Mean of the mean distances of both directions, (C,), mean over images."""
        return self._mean("masd")

    @property
    def cldice(self) -> Floats | None:
        """(C,), mean over images; None where skeletons were not measured."""
        return self._mean("cldice") if "cldice" in self.per_image else None

    @property
    def trimap_iou(self) -> Floats:
        """IoU over the data set of the pixels near an edge between two true labels, (C,)."""
        arrays = self.counts.measures[KIND].arrays
        tp, fp, fn = (arrays[name].sum(axis=0) for name in TRIMAP)
        return class_ratio("iou", tp, fp, fn, get_policy(self.counts.policy))

    @property
    def scale(self) -> Scale:
        """The size of the pixels, where it came from, and the widths and tolerances that were used."""
        return Scale.of(self.counts)

    def __str__(self) -> str:
        lines = [str(self.scale)]
        width = max(map(len, self.class_names))
        names = ("boundary_iou", "boundary_f1", "nsd", "hd95", "assd")
        lines.append(f"{'class':<{width}}" + "".join(f"{name:>14}" for name in names))
        for row in self.rows():
            lines.append(f"{row['name']:<{width}}" + "".join(f"{number(row[name], 4):>14}" for name in names))
        return "\n".join(lines)

    def _number(self, *presence: int) -> Integers:
        found: Integers = np.isin(self.counts.measures[KIND].arrays["presence"], presence).sum(axis=0)
        return found

    @property
    def judged(self) -> Integers:
        """Images with the class in truth or prediction, (C,)."""
        return self._number(1, 2, 3, ASTRAY)

    @property
    def missed(self) -> Integers:
        """Images with the class in the truth only, (C,)."""
        return self._number(1)

    @property
    def invented(self) -> Integers:
        """Images with the class in the prediction only, (C,)."""
        return self._number(2)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a class."""
        columns = {**{name: self._mean(name) for name in self.per_image}, "trimap_iou": self.trimap_iou}
        numbers = {name: getattr(self, name) for name in ("judged", "missed", "invented")}
        return [
            {
                "index": index,
                "name": name,
                **{key: float(values[index]) for key, values in columns.items()},
                **{key: int(values[index]) for key, values in numbers.items()},
            }
            for index, name in enumerate(self.class_names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"rows": encode(self.rows()), "scale": encode(self.scale.to_dict())}
