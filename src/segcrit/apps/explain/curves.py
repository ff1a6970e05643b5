"""Losses as curves: against the probability of the truth, against the margin, and on a small object.

Every point is computed by ``segcrit.Criterion``, so that the curves show what the library does, losses of the user included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from segcrit.apps.explain.steps import Array
from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.losses.criterion import Criterion
from segcrit.losses.expression.syntax import Expression, parse
from segcrit.losses.table import Loss, lookup

__all__ = ["DEFAULT_LOSSES", "Curve", "Panel", "curves", "pixel_curve", "region_curve"]

DEFAULT_LOSSES = ("ce", "focal", "dice", "jaccard", "tversky(alpha=0.3, beta=0.7)", "lovasz")
GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

# From nearly impossible to nearly certain; the ends themselves have no finite logit.
PROBABILITIES = np.linspace(0.005, 0.995, 199)
MARGINS = np.linspace(-3.0, 3.0, 121)

# The example of a small object: one pixel in a hundred, and a network that gives every background pixel 2 %.
PIXELS, OBJECT, FALSE_ALARM = 1000, 10, 0.02


@dataclass(frozen=True)
class Curve:
    """One line."""

    name: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        title: a few words.
        caption: what to see, in plain words.
        x_label: axis.
        y_label: axis.
        curves: at least one; each is another line.
        y_limits: None to fit.
        x_limits: ends of the axis.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Curves that coincide are one line with all their names: the last drawn would hide the others."""
        distinct: list[Curve] = []
        for curve in self.curves:
            for place, other in enumerate(distinct):
                if np.allclose(curve.y, other.y, rtol=1e-6, atol=1e-9):
                    distinct[place] = Curve(f"{other.name} = {curve.name}", other.x, other.y)
                    break
            else:
                distinct.append(curve)
        object.__setattr__(self, "curves", tuple(distinct))


def curves(losses: Sequence[str] | None = None) -> tuple[Panel, ...]:
    """The panels of curves for these losses.

    Args:
        losses: loss expressions; None for cross-entropy, focal, Dice, Jaccard, Tversky and Lovász.

    Returns:
        Panels that make sense for them: pixel losses against p, focal for several γ, region and ranking losses on a small
        object, margins for the hinge.

    Example:
        >>> [panel.title for panel in curves(["ce"])][:2]
        ['Cost of a pixel', 'Pull on the logit of a pixel']
    """
    chosen = [parse(text) for text in (losses or DEFAULT_LOSSES)]
    pixel = [expression for expression in chosen if _families(expression) == {"pixel"}]
    region = [expression for expression in chosen if _families(expression) != {"pixel"}]
    panels: list[Panel] = []
    if pixel:
        panels += _pixel_panels(pixel)
    if any(term.name == "focal" for expression in chosen for term in expression.terms):
        panels += _focal_panels()
    if region:
        panels += _small_object_panels(region, pixel)
    if any(term.name in ("lovasz", "lovasz_hinge", "bce") for expression in chosen for term in expression.terms):
        panels.append(_margin_panel())
    return tuple(panels)


def _rows(expression: Expression) -> list[Loss]:
    return [row for row in (lookup(term.name) for term in expression.terms) if row is not None]


def _families(expression: Expression) -> set[str]:
    return {row.family for row in _rows(expression)}


def _task(expression: Expression) -> Task:
    """The task in which two classes, or one channel, make the curve."""
    for task in ("multiclass", "binary"):
        twins = [task in row.tasks or (row.sigmoid_twin is not None and task == "binary") for row in _rows(expression)]
        if all(twins):
            return "multiclass" if task == "multiclass" else "binary"
    raise ParameterError(
        "losses of one task in a mixture",
        f"{str(expression)!r}, whose terms share none",
        "Use ce with softmax losses, bce with sigmoid losses.",
    )


def _logits(z: torch.Tensor, task: Task) -> torch.Tensor:
    """(1, C, pixels): z as the logit of class 1, against 0 for class 0 in multiclass."""
    return z[None, None] if task == "binary" else torch.stack((torch.zeros_like(z), z))[None]


def _criterion(expression: Expression, task: Task) -> Criterion:
    if any(isinstance(value, list) for term in expression.terms for value in term.parameters.values()):
        raise ParameterError(
            "losses without numbers for each class, which two classes may not fit",
            repr(str(expression)),
            "Leave class_weight, alpha lists, classes and logit_bias out of the curves.",
        )
    return Criterion(str(expression), task=task)


def pixel_curve(expression: Expression, probabilities: Array) -> tuple[Array, Array]:
    """Cost of a pixel of class 1 at each probability, and its derivative for the logit."""
    task = _task(expression)
    criterion = _criterion(expression, task)
    z = torch.from_numpy(np.log(probabilities) - np.log1p(-probabilities)).requires_grad_()
    target = torch.ones(1, z.numel(), dtype=torch.int64)
    # What a pixel adds to the mean, and the gradient of the mean, times the number of pixels, are its own.
    cost = criterion.pixel_map(_logits(z.detach(), task), target).reshape(-1) * z.numel()
    (slope,) = torch.autograd.grad(criterion(_logits(z, task), target) * z.numel(), z)
    return cost.numpy(), slope.numpy()


def region_curve(expression: Expression, probabilities: Array) -> tuple[Array, Array]:
    """Loss of the small-object image at each probability on the object, and the pull on all its pixels together."""
    task = _task(expression)
    criterion = _criterion(expression, task)
    target = torch.zeros(1, PIXELS, dtype=torch.int64)
    target[0, :OBJECT] = 1
    values, pulls = np.empty_like(probabilities), np.empty_like(probabilities)
    for index, probability in enumerate(probabilities):
        p = np.full(PIXELS, FALSE_ALARM)
        p[:OBJECT] = probability
        z = torch.from_numpy(np.log(p) - np.log1p(-p)).requires_grad_()
        loss = criterion(_logits(z, task), target)
        (gradient,) = torch.autograd.grad(loss, z)
        values[index], pulls[index] = float(loss.detach()), float(-gradient[:OBJECT].sum())
    return values, pulls


def _pixel_panels(expressions: list[Expression]) -> list[Panel]:
    found = [(str(expression), *pixel_curve(expression, PROBABILITIES)) for expression in expressions]
    return [
        Panel(
            "Cost of a pixel",
            "What one pixel costs, by the probability that the network gives to its true class. Being sure and wrong (left) "
            "is expensive without limit; being right (right) is free.",
            "probability of the true class",
            "cost of the pixel",
            tuple(Curve(name, PROBABILITIES, cost) for name, cost, _ in found),
            (0.0, 5.0),
        ),
        Panel(
            "Pull on the logit of a pixel",
            "How hard the pixel pulls its true logit up. Cross-entropy pulls with 1 − p: fully when wrong, not at all when "
            "right. A loss whose line drops earlier leaves the easy pixels in peace.",
            "probability of the true class",
            "−∂cost/∂logit",
            tuple(Curve(name, PROBABILITIES, -slope) for name, _, slope in found),
        ),
    ]


def _focal_panels() -> list[Panel]:
    found = [(gamma, *pixel_curve(parse(f"focal(gamma={gamma:g})"), PROBABILITIES)) for gamma in GAMMAS]
    return [
        Panel(
            "Focal loss for several γ",
            "γ = 0 is cross-entropy. The larger γ, the flatter the curve where the network is already right, and the less "
            "the many easy pixels weigh.",
            "probability of the true class",
            "cost of the pixel",
            tuple(Curve(f"γ = {gamma:g}", PROBABILITIES, cost) for gamma, cost, _ in found),
            (0.0, 5.0),
        ),
        Panel(
            "Pull of focal loss for several γ",
            "With a positive γ the pull is strongest on pixels that are wrong, and fades well before p = 1. "
            "A large γ almost stops learning above p = 0.6.",
            "probability of the true class",
            "−∂cost/∂logit",
            tuple(Curve(f"γ = {gamma:g}", PROBABILITIES, -slope) for gamma, _, slope in found),
        ),
    ]


def _small_object_panels(region: list[Expression], pixel: list[Expression]) -> list[Panel]:
    # 67 points are enough for smooth lines and keep the page quick to make.
    probabilities = PROBABILITIES[::3]
    found = [(str(expression), *region_curve(expression, probabilities)) for expression in region]
    others = [(str(expression), *region_curve(expression, probabilities)) for expression in pixel]
    scene = (
        f"An image of {PIXELS} pixels with an object of {OBJECT}; every background pixel has {FALSE_ALARM:.0%} "
        "probability of being object. "
    )
    x_label = "probability given to the object's pixels"
    return [
        Panel(
            "A small object: the loss",
            scene + "Region losses look at the overlap, so they stay high until the object itself is found.",
            x_label,
            "loss of the image",
            tuple(Curve(name, probabilities, values) for name, values, _ in found),
        ),
        Panel(
            "A small object: the pull on it",
            scene
            + "How hard all object pixels together are pulled up. Pixel losses average over the whole image, so the "
            "object's share of the pull is its share of the pixels; region losses give it far more, but hardly "
            "any while the object is still given no chance (left): that is why they are mixed with ce.",
            x_label,
            "pull on the object's pixels, summed",
            tuple(Curve(name, probabilities, pulls) for name, _, pulls in [*found, *others]),
        ),
    ]


def _margin_panel() -> Panel:
    """One pixel in a sigmoid task: the hinge that Lovász sorts, and the binary losses beside it."""
    lines = []
    for name in ("lovasz_hinge", "bce", "focal"):
        criterion = Criterion(f"{name}(exact=True)" if name == "lovasz_hinge" else name, task="binary")
        values = [
            float(criterion(torch.tensor([[[margin]]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.int64)))
            for margin in MARGINS
        ]
        lines.append(
            Curve("hinge (of lovasz in sigmoid tasks)" if name == "lovasz_hinge" else name, MARGINS, np.array(values))
        )
    return Panel(
        "Losses against the margin",
        "The margin is the logit, counted positive when the decision is right. The hinge is exactly 0 from a margin "
        "of 1 on, and rises in a straight line below; bce never quite reaches 0.",
        "margin z·s of one pixel",
        "cost",
        tuple(lines),
        x_limits=(float(MARGINS[0]), float(MARGINS[-1])),
    )
