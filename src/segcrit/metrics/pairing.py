"""Whether models can be compared image by image: the same images, the same truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from segcrit.core.errors import DataError, ParameterError
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.scores import Scores

__all__ = ["Counts", "align", "check_foreground", "check_measure", "check_pairs", "counts_of", "names_of"]

# What statistics take: the counts of each image, or the report that holds them.
Counts: TypeAlias = PerImage | Scores


def counts_of(given: Counts) -> PerImage:
    """The counts of each image.

    Raises:
        ParameterError: something else, such as the evaluator itself.
    """
    found: Any = given if isinstance(given, PerImage) else getattr(given, "per_image", None)
    if not isinstance(found, PerImage):
        advice = "Call compute() first." if hasattr(given, "compute") else "Give what Evaluator.compute() returned."
        raise ParameterError("a Report, or its per_image counts", type(given).__name__, advice)
    return found


def names_of(given: Counts) -> tuple[str, ...] | None:
    """The names of the classes, where a report tells them."""
    return None if isinstance(given, PerImage) else given.class_names


def check_pairs(models: Mapping[str, Any], pairs: Sequence[tuple[str, str]] | None) -> list[tuple[str, str]]:
    if len(models) < 2:
        raise ParameterError("at least two models to compare", str(len(models)), "Give the counts of another model.")
    chosen = list(combinations(models, 2)) if pairs is None else [(left, right) for left, right in pairs]
    for left, right in chosen:
        if left not in models or right not in models or left == right:
            known = ", ".join(repr(name) for name in models)
            raise ParameterError(f"pairs of two models among {known}", repr((left, right)), "Name two of them.")
    if not chosen:
        raise ParameterError("at least one pair to compare", "none", "Leave pairs out to compare all.")
    return chosen


def align(models: Mapping[str, PerImage]) -> list[PerImage]:
    """All models in the image order of the first; refuses different images or a different truth."""
    (name, first), *others = models.items()
    aligned = [first]
    for other_name, other in others:
        if other.ids != first.ids:
            rows = {image: row for row, image in enumerate(other.ids)}
            unmatched = sorted(set(first.ids) ^ set(other.ids))
            if unmatched or len(rows) != len(other.ids) or len(rows) != len(first.ids):
                example = f"; {unmatched[0]!r} is in one only" if unmatched else "; ids are repeated"
                raise DataError(
                    "models measured on the same images",
                    f"{first.num_images} images for {name!r} and {other.num_images} for {other_name!r}{example}",
                    "Evaluate both on the same images, with the same ids.",
                )
            other = other.select([rows[image] for image in first.ids])
        _check_same_truth(name, first, other_name, other)
        aligned.append(other)
    return aligned


def _check_same_truth(name: str, first: PerImage, other_name: str, other: PerImage) -> None:
    same_kind = (first.task, first.policy, first.num_classes) == (other.task, other.policy, other.num_classes)
    if not same_kind:
        raise DataError(
            "models measured in the same way",
            f"{first.num_classes} classes, {first.task} for {name!r} and {other.num_classes}, {other.task} "
            f"for {other_name!r}",
            "Evaluate both with the same settings.",
        )
    differs = (first.tp + first.fn != other.tp + other.fn).any(axis=1)
    pixels = first.pixels != other.pixels
    differs |= pixels if pixels.ndim == 1 else pixels.any(axis=1)
    if differs.any():
        raise DataError(
            "models measured against the same truth",
            f"image {first.ids[int(np.argmax(differs))]!r} with different true pixel counts for {name!r} and "
            f"{other_name!r}",
            "Evaluate both against the same masks with the same ignore label.",
        )


def check_foreground(models: Mapping[str, PerImage], figure: str) -> None:
    """Refuse a figure of the foreground of models that differ in what the background is.

    Raises:
        DataError: they do.
    """
    (name, first), *others = models.items()
    if "foreground" not in figure:
        return
    for other_name, other in others:
        if other.foreground != first.foreground:
            raise DataError(
                f"models with one background, such as {first.background} of {name!r}",
                f"{other.background} of {other_name!r}",
                "Evaluate both with the same class names, or the same background=.",
            )


def check_measure(models: Mapping[str, PerImage], kind: str) -> None:
    """Refuse models that were measured with other options, if the first one was measured in this way at all.

    Raises:
        DataError: a model was not measured, or otherwise.
    """
    (name, first), *others = models.items()
    if kind not in first.measures:
        return
    wanted = first.measures[kind].measure
    for other_name, other in others:
        table = other.measures.get(kind)
        if table is None or table.measure != wanted:
            raise DataError(
                f"models measured with {wanted}",
                f"{other_name!r} with {'nothing' if table is None else table.measure}, unlike {name!r}",
                "Evaluate both with the same measures.",
            )
