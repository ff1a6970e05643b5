"""Boundary figures from the stored counts and distances: per image, per class, over the data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from segcrit.core.constants import Task
from segcrit.metrics.definition import Figure
from segcrit.metrics.measures.boundary.scores import ASTRAY, DISTANCES, NEAR, TRIMAP
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import Policy
from segcrit.metrics.ratios import Floats, class_mean, class_ratio, counted_ratio, divide

__all__ = ["CLDICE", "KIND", "LENGTHS", "SCORES", "class_figure", "figures", "image_values"]

KIND: Final = "boundary"

# name -> label, definition. Means over the images of a class, then over classes.
SCORES: Final = {
    "boundary_iou": ("Boundary IoU", "the IoU of the bands along the edges"),
    "boundary_f1": ("Boundary F1", "the F1 of the edges, matched within a tolerance"),
    "nsd": ("Normalised surface distance", "the share of both edges within a tolerance of the other"),
}
LENGTHS: Final = {
    "hausdorff": ("Hausdorff distance", "the largest distance from one edge to the other"),
    "hd95": ("HD95", "the larger of the 95 % quantiles of the distances from either edge to the other"),
    "hd95_pooled": ("HD95 (pooled)", "the 95 % quantile of the distances from both edges to the other"),
    "assd": ("Average surface distance", "the mean of the distances from both edges to the other (ASSD)"),
    "masd": ("Mean average surface distance", "the mean of the two mean distances from an edge to the other (MASD)"),
}
CLDICE: Final = {"cldice": ("clDice", "the F1 of the skeletons, as far as the other mask covers them")}


def _harmonic(one: tuple[Any, Any], two: tuple[Any, Any]) -> Floats:
    """Harmonic mean of two shares; 0 where one of them is 0/0 or both are 0, NaN where both are 0/0."""
    first, second = divide(*one), divide(*two)
    nothing = np.isnan(first) & np.isnan(second)
    first, second = np.nan_to_num(first), np.nan_to_num(second)
    total = first + second
    result = np.divide(2 * first * second, total, out=np.zeros_like(total), where=total > 0)
    result[nothing] = np.nan
    return result


def score(name: str, arrays: dict[str, Any]) -> Floats:
    """A score from counts of any leading shape; NaN where there is no edge, no skeleton, at all."""
    if name == "boundary_iou":
        return divide(arrays["band_both"], arrays["band_either"])
    if name == "nsd":
        matched = arrays["truth_matched"] + arrays["prediction_matched"]
        return divide(matched, arrays["truth_length"] + arrays["prediction_length"])
    pairs = {
        "boundary_f1": ("truth_matched", "truth_length", "prediction_matched", "prediction_length"),
        "cldice": ("truth_covered", "truth_skeleton", "prediction_covered", "prediction_skeleton"),
    }
    a, b, c, d = (arrays[key] for key in pairs[name])
    return _harmonic((a, b), (c, d))


def image_values(name: str, counts: PerImage) -> Floats:
    """A score or distance of each image and class, (images, C)."""
    arrays: dict[str, Any] = dict(counts.measures[KIND].arrays)
    if name in DISTANCES:
        return np.asarray(arrays[name], dtype=np.float64)
    values = score(name, arrays)
    # Skeletons need no edge.
    values[np.isin(arrays["presence"], (1, 2) if name == "cldice" else (1, 2, ASTRAY))] = 0.0
    return values


def _mean_over_images(
    name: str, label: str, what: str, classes: list[int], suffix: str = "", prefix: str = ""
) -> Figure:
    from segcrit.metrics.definition import Figure, mean_of_known

    def columns(counts: PerImage) -> Floats:
        values = image_values(name, counts)[:, classes]
        known = ~np.isnan(values)
        return np.concatenate([np.where(known, values, 0.0), known], axis=1).astype(np.float64)

    over = "Mean over classes of the mean over images of"
    if suffix:
        over = "Mean over images of"
    elif prefix:
        over = "Mean over the classes but the background of the mean over images of"
    return Figure(
        prefix + name + suffix,
        label,
        f"{over} {what}.",
        f"{KIND}:{prefix}{name}{suffix}",
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
    from segcrit.metrics.definition import Figure

    keys = _KEYS[name]

    def combine(sums: Floats, task: Task, policy: Policy) -> Floats:
        parts = np.split(sums, len(keys), axis=-1)
        return class_mean(score(name, dict(zip(keys, parts, strict=True))), policy)

    return Figure(
        f"dataset_{name}",
        f"{label} over the data set",
        f"Mean over classes of {what}, added up over the data set first.",
        f"{KIND}:dataset_{name}",
        combine,
        columns=_stacked(keys, classes),
    )


def _stacked(keys: tuple[str, ...], classes: list[int]) -> Callable[[PerImage], Floats]:
    def columns(counts: PerImage) -> Floats:
        arrays = counts.measures[KIND].arrays
        return np.concatenate([arrays[key][:, classes] for key in keys], axis=1).astype(np.float64)

    return columns


def _inside(name: str, label: str, classes: list[int], of: Callable[..., Floats], *, near: bool) -> Figure:
    """The mean IoU of the pixels near the edges, or of all others: what the counts hold beside those."""
    from segcrit.metrics.definition import Figure

    def columns(counts: PerImage) -> Floats:
        parts = _stacked(TRIMAP, classes)(counts)
        if near:
            return parts
        return np.concatenate([part[:, classes] for part in (counts.tp, counts.fp, counts.fn)], axis=1) - parts

    def combine(sums: Floats, task: Task, policy: Policy) -> Floats:
        return class_mean(of("iou", *np.split(sums, 3, axis=-1), policy), policy)

    where = (
        "near an edge between two true labels"
        if near
        else "farther than the trimap from every edge between true labels"
    )
    over = f"Mean over classes of the IoU over the pixels {where}."
    return Figure(name, label, over, f"{KIND}:{name}", combine, columns=columns)


_ERRORS: Final = {
    "edge_error_rate": (
        "Errors near edges",
        "Share of the pixels near an edge between two true labels that are wrong.",
    ),
    "interior_error_rate": (
        "Errors in the interior",
        "Share of the pixels farther than the trimap from every edge between true labels that are wrong.",
    ),
    "interior_error_share": (
        "Share of errors in the interior",
        "Share of the wrong pixels that lie farther than the trimap from every edge: objects missed or taken for others.",
    ),
}


def _error_columns(counts: PerImage, classes: list[int]) -> Floats:
    """Of each image: pixels and wrong ones near an edge, and all pixels and wrong ones."""
    arrays = counts.measures[KIND].arrays
    near = [arrays[name].sum(axis=1) for name in NEAR]
    if counts.task == "multilabel":
        pixels = counts.pixels[:, classes].sum(axis=1)
        errors = (counts.fp + counts.fn)[:, classes].sum(axis=1)
    else:
        pixels = counts.pixels
        errors = pixels - counts.tp.sum(axis=1)
    return np.stack([*near, pixels, errors], axis=1).astype(np.float64)


def _errors(name: str, classes: list[int]) -> Figure:
    from segcrit.metrics.definition import Figure

    def combine(sums: Floats, task: Task, policy: Policy) -> Floats:
        near_pixels, near_errors, pixels, errors = np.moveaxis(sums, -1, 0)
        if name == "edge_error_rate":
            return divide(near_errors, near_pixels)
        return divide(errors - near_errors, pixels - near_pixels if name == "interior_error_rate" else errors)

    label, text = _ERRORS[name]
    return Figure(
        name,
        label,
        text,
        f"{KIND}:errors",
        combine,
        columns=lambda counts: _error_columns(counts, classes),
        better="lower",
    )


def figures(classes: list[int], foreground: list[int], cldice: bool) -> Iterator[Figure]:
    """All scalar figures of the measure; those of the foreground where it is a part of the classes."""
    over_images = {**SCORES, **LENGTHS, **(CLDICE if cldice else {})}
    for name, (label, what) in over_images.items():
        yield _mean_over_images(name, label, what, classes)
    if foreground and len(foreground) < len(classes):
        for name, (label, what) in over_images.items():
            yield _mean_over_images(name, f"{label}, foreground", what, foreground, prefix="foreground_")
    for name, (label, what) in SCORES.items():
        yield _over_data_set(name, label, what, classes)
    yield _inside("trimap_miou", "Trimap mIoU", classes, counted_ratio, near=True)
    yield _inside("interior_miou", "Interior mIoU", classes, counted_ratio, near=False)
    for name in _ERRORS:
        yield _errors(name, classes)


def class_figure(name: str, index: int, class_label: str, cldice: bool) -> Figure | None:
    """The figure of one class, such as ``hd95[1]``; None for another name."""
    known = {**SCORES, **LENGTHS, **(CLDICE if cldice else {})}
    if name in ("trimap_iou", "interior_iou"):
        near = name == "trimap_iou"
        label = f"{'Trimap' if near else 'Interior'} IoU of {class_label}"
        return _inside(f"{name}[{index}]", label, [index], class_ratio, near=near)
    if name not in known:
        return None
    label, what = known[name]
    return _mean_over_images(name, f"{label} of {class_label}", what, [index], f"[{index}]")
