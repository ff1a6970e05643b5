"""Boundary figures from the stored counts and distances: per image, per class, over the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from segcrit.evaluation.boundary.scores import ASTRAY, DISTANCES
from segcrit.evaluation.plain import plain
from segcrit.evaluation.ratios import Floats, Integers, class_mean, class_ratio, counted_ratio, nan_mean

if TYPE_CHECKING:
    from segcrit._constants import Task
    from segcrit.evaluation.figure import Figure
    from segcrit.evaluation.per_image import PerImage
    from segcrit.evaluation.policy import Policy

__all__ = ["BoundaryScores", "class_figure", "figures"]

_KIND: Final = "boundary"

# name -> label, definition. Means over the images of a class, then over classes.
_SCORES: Final = {
    "boundary_iou": ("Boundary IoU", "the IoU of the bands along the edges"),
    "boundary_f1": ("Boundary F1", "the F1 of the edges, matched within a tolerance"),
    "nsd": ("Normalised surface distance", "the share of both edges within a tolerance of the other"),
}
_LENGTHS: Final = {
    "hausdorff": ("Hausdorff distance", "the largest distance from one edge to the other"),
    "hd95": ("HD95", "the larger of the 95 % quantiles of the distances from either edge to the other"),
    "hd95_pooled": ("HD95 (pooled)", "the 95 % quantile of the distances from both edges to the other"),
    "assd": ("Average surface distance", "the mean of the distances from both edges to the other (ASSD)"),
    "masd": ("Mean average surface distance", "the mean of the two mean distances from an edge to the other (MASD)"),
}
_CLDICE: Final = {"cldice": ("clDice", "the F1 of the skeletons, as far as the other mask covers them")}


def _divide(above: Any, below: Any) -> Floats:
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    result: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return result


def _harmonic(one: tuple[Any, Any], two: tuple[Any, Any]) -> Floats:
    """Harmonic mean of two shares; 0 where one of them is 0/0 or both are 0, NaN where both are 0/0."""
    first, second = _divide(*one), _divide(*two)
    nothing = np.isnan(first) & np.isnan(second)
    first, second = np.nan_to_num(first), np.nan_to_num(second)
    total = first + second
    result = np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
    result[nothing] = np.nan
    return result


def score(name: str, arrays: dict[str, Any]) -> Floats:
    """A score from counts of any leading shape; NaN where there is no edge, no skeleton, at all."""
    if name == "boundary_iou":
        return _divide(arrays["band_both"], arrays["band_either"])
    if name == "nsd":
        matched = arrays["truth_matched"] + arrays["prediction_matched"]
        return _divide(matched, arrays["truth_length"] + arrays["prediction_length"])
    pairs = {
        "boundary_f1": ("truth_matched", "truth_length", "prediction_matched", "prediction_length"),
        "cldice": ("truth_covered", "truth_skeleton", "prediction_covered", "prediction_skeleton"),
    }
    a, b, c, d = (arrays[key] for key in pairs[name])
    return _harmonic((a, b), (c, d))


def image_values(name: str, counts: PerImage) -> Floats:
    """A score or distance of each image and class, (images, C)."""
    arrays: dict[str, Any] = dict(counts.measures[_KIND].arrays)
    if name in DISTANCES:
        return np.asarray(arrays[name], dtype=np.float64)
    values = score(name, arrays)
    # Skeletons need no edge.
    values[np.isin(arrays["presence"], (1, 2) if name == "cldice" else (1, 2, ASTRAY))] = 0.0
    return values


def _mean_over_images(name: str, label: str, what: str, classes: list[int], suffix: str = "") -> Figure:
    from segcrit.evaluation.figure import Figure, mean_of_known

    def columns(counts: PerImage) -> Floats:
        values = image_values(name, counts)[:, classes]
        known = ~np.isnan(values)
        return np.concatenate([np.where(known, values, 0.0), known], axis=1).astype(np.float64)

    over = "Mean over images of" if suffix else "Mean over classes of the mean over images of"
    return Figure(
        name + suffix,
        label,
        f"{over} {what}.",
        f"{_KIND}:{name}{suffix}",
        mean_of_known,
        columns=columns,
        better="lower" if name in DISTANCES else "higher",
    )


_KEYS: Final = {
    "boundary_iou": ("band_both", "band_either"),
    "boundary_f1": ("truth_matched", "truth_length", "prediction_matched", "prediction_length"),
    "nsd": ("truth_matched", "truth_length", "prediction_matched", "prediction_length"),
}


def _over_data_set(name: str, label: str, what: str, classes: list[int]) -> Figure:
    from segcrit.evaluation.figure import Figure

    keys = _KEYS[name]

    def combine(sums: Floats, task: Task, policy: Policy) -> Floats:
        parts = np.split(sums, len(keys), axis=-1)
        return class_mean(score(name, dict(zip(keys, parts, strict=True))), policy)

    return Figure(
        f"dataset_{name}",
        f"{label} over the data set",
        f"Mean over classes of {what}, added up over the data set first.",
        f"{_KIND}:dataset_{name}",
        combine,
        columns=_stacked(keys, classes),
    )


def _stacked(keys: tuple[str, ...], classes: list[int]) -> Callable[[PerImage], Floats]:
    def columns(counts: PerImage) -> Floats:
        arrays = counts.measures[_KIND].arrays
        return np.concatenate([arrays[key][:, classes] for key in keys], axis=1).astype(np.float64)

    return columns


def _trimap(classes: list[int], name: str, label: str, of: Callable[..., Floats]) -> Figure:
    from segcrit.evaluation.figure import Figure

    def combine(sums: Floats, task: Task, policy: Policy) -> Floats:
        tp, fp, fn = np.split(sums, 3, axis=-1)
        return class_mean(of("iou", tp, fp, fn, policy), policy)

    return Figure(
        name,
        label,
        "Mean over classes of the IoU over the pixels near an edge between two true labels.",
        f"{_KIND}:{name}",
        combine,
        columns=_stacked(("trimap_tp", "trimap_fp", "trimap_fn"), classes),
    )


def figures(classes: list[int], cldice: bool) -> Iterator[Figure]:
    """All scalar figures of the measure."""
    for name, (label, what) in {**_SCORES, **_LENGTHS, **(_CLDICE if cldice else {})}.items():
        yield _mean_over_images(name, label, what, classes)
    for name, (label, what) in _SCORES.items():
        yield _over_data_set(name, label, what, classes)
    yield _trimap(classes, "trimap_miou", "Trimap mIoU", counted_ratio)


def class_figure(name: str, index: int, class_label: str, cldice: bool) -> Figure | None:
    """The figure of one class, such as ``hd95[1]``; None for another name."""
    known = {**_SCORES, **_LENGTHS, **(_CLDICE if cldice else {})}
    if name == "trimap_iou":
        return _trimap([index], f"trimap_iou[{index}]", f"Trimap IoU of {class_label}", class_ratio)
    if name not in known:
        return None
    label, what = known[name]
    return _mean_over_images(name, f"{label} of {class_label}", what, [index], f"[{index}]")


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
        names = [*_SCORES, *_LENGTHS]
        if "truth_skeleton" in self.counts.measures[_KIND].arrays:
            names += list(_CLDICE)
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
        from segcrit.evaluation.policy import get_policy

        arrays = self.counts.measures[_KIND].arrays
        tp, fp, fn = (arrays[f"trimap_{name}"].sum(axis=0) for name in ("tp", "fp", "fn"))
        return class_ratio("iou", tp, fp, fn, get_policy(self.counts.policy))

    def _number(self, *presence: int) -> Integers:
        found: Integers = np.isin(self.counts.measures[_KIND].arrays["presence"], presence).sum(axis=0)
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
        return {"rows": plain(self.rows())}
