"""Steps of the Lovász losses: errors sorted, Jaccard increments, products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segcrit.apps.explain.grouping import average, average_step, make_groups
from segcrit.apps.explain.pixel import Result
from segcrit.apps.explain.steps import Array, ClassTable, PixelTable, Rank, RankTable, Step
from segcrit.apps.explain.view import View

__all__ = ["has_ties", "ranking_steps"]


def ranking_steps(parameters: Mapping[str, Any], view: View, *, hinge: bool) -> Result:
    """All steps of Lovász-softmax, or of the Lovász hinge on margins."""
    groups = make_groups(view, parameters)
    errors = _errors(view, hinge)
    shape = groups.takes_part.shape
    losses = np.full(shape, np.nan)
    weights = np.zeros_like(errors)
    tables: list[RankTable] = []
    for group, index in np.ndindex(shape):
        if not groups.takes_part[group, index]:
            continue
        inside = np.flatnonzero(groups.members[group] & view.valid[:, index])
        order = inside[np.argsort(-errors[inside, index], kind="stable")]
        table = _rank(groups.name(view, group, index), view, index, order, errors)
        tables.append(table)
        losses[group, index] = table.value
        weights[order, index] = [rank.increment for rank in table.ranks]
        weights[order, index] *= groups.factors[group, index]
    value = average(groups, losses)
    gradient, slope = _gradient(view, errors, weights, hinge)

    rows = tuple(groups.name(view, group, index) for group, index in np.ndindex(shape))
    skipped = frozenset(row for row, cell in enumerate(np.ndindex(shape)) if not groups.takes_part[cell])
    steps = (
        _error_step(view, errors, hinge),
        _sorting_step(tables),
        Step(
            "Loss of each class",
            "Σ_k error_k · ΔJ_k",
            "The area under the staircase: heights are errors, widths are Jaccard increments.",
            (ClassTable("class", rows, (("loss", tuple(float(loss) for loss in losses.reshape(-1))),), skipped),),
        ),
        average_step(view, groups, losses, value),
        _gradient_step(view, slope, gradient, hinge),
    )
    return steps, value, gradient


def has_ties(view: View, *, hinge: bool) -> bool:
    """Whether a positive and a negative of one class have the same error, so that their order is a free choice."""
    errors = np.round(_errors(view, hinge), 10)  # equal but for rounding
    for index in range(errors.shape[1]):
        counted = view.valid[:, index]
        positive = np.asarray(view.target[:, index] > 0.5)
        if np.intersect1d(errors[counted & positive, index], errors[counted & ~positive, index]).size:
            return True
    return False


def _errors(view: View, hinge: bool) -> Array:
    if hinge:
        return np.where(view.valid, np.maximum(0.0, 1 - view.logits * (2 * view.target - 1)), 0.0)
    # 1 − p as −expm1(log p) keeps the small errors of confident pixels.
    return np.where(view.valid, np.where(view.target > 0, -np.expm1(view.log_p), view.p), 0.0)


def _rank(name: str, view: View, index: int, order: np.ndarray[Any, Any], errors: Array) -> RankTable:
    """Walk down the sorted errors; Δ(F, B) = (F + B)/(G + B), and 1 from the first on where there is no positive."""
    total = float((view.target[order, index] > 0.5).sum())
    ranks = []
    positives = negatives = previous = 0.0
    for pixel in order:
        positive = bool(view.target[pixel, index] > 0.5)
        positives += positive
        negatives += not positive
        jaccard = (positives + negatives) / (total + negatives)
        ranks.append(
            Rank(
                pixel=view.problem.layout.name(int(pixel)),
                positive=positive,
                error=float(errors[pixel, index]),
                positives=positives,
                negatives=negatives,
                jaccard=jaccard,
                increment=jaccard - previous,
            )
        )
        previous = jaccard
    return RankTable(name, tuple(ranks), total)


def _gradient(view: View, errors: Array, weights: Array, hinge: bool) -> tuple[Array, Array]:
    """dL/dz, and the derivative for the probability or margin it comes from."""
    sign = 2 * (view.target > 0.5) - 1
    if hinge:
        slope = np.where(errors > 0, -sign * weights, 0.0)
        return np.where(view.valid, slope * view.scale, 0.0), slope
    slope = np.where(view.valid, -sign * weights, 0.0)
    return view.from_probabilities(slope), slope


def _error_step(view: View, errors: Array, hinge: bool) -> Step:
    if hinge:
        return Step(
            "Hinge errors",
            "error = max(0, 1 − z · s),   s = +1 for label 1, −1 for label 0",
            "z · s is the margin: positive when the decision is right. A pixel that is right by a margin of 1 or more "
            "has no error at all.",
            (PixelTable(view.columns("error", errors, mark=True)),),
        )
    return Step(
        "Errors of each class",
        "error = |t − p|:   1 − p where the class is true,  p where it is not",
        "For every class each pixel has an error between 0 and 1. The pixels of the class are marked.",
        (PixelTable(view.columns("error", errors, "probability", mark=True)),),
    )


def _sorting_step(tables: list[RankTable]) -> Step:
    return Step(
        "Sort the errors, walk down, watch the Jaccard loss rise",
        "J_k = (F + B)/(G + B),   ΔJ_k = J_k − J_{k−1};   F: positives so far, B: negatives so far, G: all positives",
        "Declare the pixels wrong one after the other, the largest error first. Each adds a little to the Jaccard loss "
        "1 − IoU; that increment is the weight of its error. Pixels that would hurt the IoU most weigh most.",
        tuple(tables),
    )


def _gradient_step(view: View, slope: Array, gradient: Array, hinge: bool) -> Step:
    if hinge:
        return Step(
            "Gradient",
            "∂loss/∂z = −s · ΔJ  where the error is positive, else 0",
            "Only pixels inside the margin pull, each by its Jaccard increment.",
            (PixelTable(view.columns("∂z", gradient, "signed")),),
        )
    return Step(
        "Gradient",
        "∂loss/∂p = ∓ΔJ (minus where the class is true),  then through the softmax:  ∂z_c = p_c (∂p_c − Σ_k p_k ∂p_k)",
        "The increments are the gradient: the loss is piecewise linear in the errors.",
        (
            PixelTable(view.columns("∂p", slope, "signed")),
            PixelTable(view.columns("∂z", gradient, "signed")),
        ),
    )
