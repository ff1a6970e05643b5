"""Averages over classes and images, as the region and ranking losses take them, with the factor each class gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcrit.apps.explain.steps import Array, Mask, Step, format_number
from segcrit.apps.explain.view import View, class_weights

__all__ = ["Groups", "average", "average_step", "make_groups"]


@dataclass(frozen=True)
class Groups:
    """Which pixels form one sum, and which classes take part in each.

    Attributes:
        members: (groups, pixels): the whole batch, or one group an image.
        takes_part: (groups, classes).
        factors: (groups, classes): d loss / d (loss of the class in the group).
        weight: (classes,).
        per_image: whether groups are images.
        mean: mean or sum over classes.
    """

    members: Mask
    takes_part: Mask
    factors: Array
    weight: Array
    per_image: bool
    mean: bool

    def name(self, view: View, group: int, index: int) -> str:
        """Name of a row: the class, and the image where sums are per image."""
        text = view.problem.class_names[index]
        return f"image {group}, {text}" if self.per_image else text


def make_groups(view: View, parameters: Mapping[str, Any]) -> Groups:
    """Decide the sums and the classes that count."""
    per_image = bool(parameters.get("per_image", False))
    images = view.problem.layout.image_of()
    pixels, classes = view.target.shape
    members = np.ones((1, pixels), dtype=np.bool_)
    if per_image:
        members = np.asarray([images == image for image in range(view.problem.layout.images)])
    weight = class_weights(view, parameters)
    chosen = np.zeros(classes, dtype=np.bool_)
    named = parameters.get("classes")
    chosen[list(range(classes)) if named is None else [int(index) for index in named]] = True
    takes_part = np.zeros((len(members), classes), dtype=np.bool_)
    for group, inside in enumerate(members):
        counted = view.valid & inside[:, None]
        present = (np.where(counted, view.target, 0.0) > 0).any(0)
        if parameters.get("absent", "skip") == "penalize":
            present = counted.any(0)
        takes_part[group] = present & chosen
    mean = parameters.get("reduction", "mean") == "mean"
    return Groups(members, takes_part, _factors(takes_part, weight, mean), weight, per_image, mean)


def _factors(takes_part: Mask, weight: Array, mean: bool) -> Array:
    shares = np.where(takes_part, weight, 0.0)
    if not mean:
        return shares
    totals = shares.sum(1, keepdims=True)
    counted = totals > 0
    images = max(1, int(counted.sum()))
    return np.where(counted, shares / np.where(counted, totals, 1.0), 0.0) / images


def average(groups: Groups, losses: Array) -> float:
    """The loss from those of the classes (groups, classes)."""
    return float(np.where(groups.factors > 0, groups.factors * losses, 0.0).sum())


def average_step(view: View, groups: Groups, losses: Array, value: float) -> Step:
    """The step that averages over classes."""
    kept = [(group, index) for group, index in zip(*np.nonzero(groups.factors > 0), strict=True)]
    skipped = int((~groups.takes_part).sum())
    caption = "Every class counts the same, however few pixels it has: that is what makes small regions matter."
    if view.problem.num_classes == 1:
        caption = "In a binary task only the foreground is looked at."
    if not np.allclose(groups.weight, 1):
        caption = "Each class counts by its weight, and the sum is divided by the sum of the weights."
    if groups.per_image and view.problem.layout.images > 1:
        caption += " First over the classes of an image, then over the images."
    if skipped:
        caption += ' Classes without a pixel in the target are skipped (absent="skip").'
    if not kept:
        return Step("Mean", "loss = 0", "No class takes part, so the loss is 0.", results=(("loss", 0.0),))
    parts = []
    for group, index in kept[:6]:
        parts.append(
            f"{format_number(float(groups.factors[group, index]), 3)} · {format_number(float(losses[group, index]))}"
        )
    formula = "loss = " + " + ".join(parts) + (" + …" if len(kept) > 6 else "")
    return Step(
        "Mean over classes" if groups.mean else "Sum over classes", formula, caption, results=(("loss", value),)
    )
