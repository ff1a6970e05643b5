"""Steps of the region losses: Dice, Jaccard, Tversky. Coefficient and loss are named apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcrit.apps.explain.grouping import average, average_step, make_groups
from segcrit.apps.explain.pixel import Result
from segcrit.apps.explain.steps import Array, ClassTable, PixelTable, Step
from segcrit.apps.explain.view import View

__all__ = ["region_steps"]

LOG_FLOOR = 1e-7  # the library's floor inside the logarithm of the log forms


@dataclass(frozen=True)
class _Sums:
    """The sums of one class in one group: intersection, prediction, truth (of squares where ``squared``)."""

    I: float
    P: float
    T: float

    @property
    def false_positives(self) -> float:
        return self.P - self.I

    @property
    def false_negatives(self) -> float:
        return self.T - self.I


@dataclass(frozen=True)
class _Score:
    """A coefficient with its derivatives for the intersection and for the prediction."""

    numerator: float
    denominator: float
    by_intersection: float
    by_prediction: float

    @property
    def value(self) -> float:
        return self.numerator / self.denominator if self.denominator else 0.0


def region_steps(name: str, parameters: Mapping[str, Any], view: View) -> Result:
    """All steps of a region loss: ``"dice"``, ``"jaccard"`` or ``"tversky"``."""
    groups = make_groups(view, parameters)
    squared = bool(parameters.get("squared", False))
    log = bool(parameters.get("log", False))
    smooth = float(parameters["smooth"])
    p = np.where(view.valid, view.p, 0.0)
    overlap = p * view.target if squared else np.minimum(p, view.target)
    predicted, true = (p * p, view.target**2) if squared else (p, view.target)

    shape = groups.takes_part.shape
    sums: dict[tuple[int, int], _Sums] = {}
    scores: dict[tuple[int, int], _Score] = {}
    losses = np.full(shape, np.nan)
    slope = np.zeros_like(p)
    for group, index in np.ndindex(shape):
        inside = groups.members[group]
        cell = _Sums(*(float(part[inside, index].sum()) for part in (overlap, predicted, true)))
        score = _score(name, cell, parameters, smooth)
        sums[group, index], scores[group, index] = cell, score
        if not groups.takes_part[group, index]:
            continue
        losses[group, index] = -math.log(max(score.value, LOG_FLOOR)) if log else 1 - score.value
        outer = -1.0 if not log else (-1 / score.value if score.value >= LOG_FLOOR else 0.0)
        outer *= groups.factors[group, index]
        rise = view.target if squared else (1 - np.sign(p - view.target)) / 2
        part = outer * (score.by_intersection * rise + score.by_prediction * (2 * p if squared else 1.0))
        slope[inside, index] += part[inside, index]
    value = average(groups, losses)
    gradient = view.from_probabilities(slope)

    skipped = frozenset(row for row, cell in enumerate(np.ndindex(shape)) if not groups.takes_part[cell])
    rows = tuple(groups.name(view, group, index) for group, index in np.ndindex(shape))
    steps = (
        _overlap_step(name, view, overlap, predicted, true, squared),
        _sums_step(name, rows, skipped, list(sums.values()), squared),
        _score_step(name, rows, skipped, list(scores.values()), parameters, smooth, squared),
        _loss_step(name, rows, skipped, list(scores.values()), losses, log),
        average_step(view, groups, losses, value),
        _gradient_step(view, np.where(view.valid, slope, 0.0), gradient),
    )
    return steps, value, gradient


def _score(name: str, sums: _Sums, parameters: Mapping[str, Any], smooth: float) -> _Score:
    """N/D with dS/dI = (N_I − S D_I)/D and dS/dP = −S D_P/D, because N does not depend on P."""
    alpha, beta = {"dice": (0.5, 0.5), "jaccard": (1.0, 1.0)}.get(name, (0.0, 0.0))
    if name == "tversky":
        alpha, beta = float(parameters["alpha"]), float(parameters["beta"])
    scale = 2.0 if name == "dice" else 1.0
    numerator = scale * sums.I + smooth
    denominator = scale * (sums.I + alpha * sums.false_positives + beta * sums.false_negatives) + smooth
    if denominator == 0:
        return _Score(numerator, denominator, 0.0, 0.0)
    value = numerator / denominator
    return _Score(
        numerator,
        denominator,
        (scale - value * scale * (1 - alpha - beta)) / denominator,
        -value * scale * alpha / denominator,
    )


def _overlap_step(name: str, view: View, overlap: Array, predicted: Array, true: Array, squared: bool) -> Step:
    """What each pixel adds to the sums; for Jaccard the intersection and the union side by side."""
    hard = view.hard or squared
    product, letter = ("p·t", "p{}·t{}") if hard else ("min(p,t)", "min(p{},t{})")
    if name == "jaccard":
        union = predicted + true - overlap
        return Step(
            "Intersection and union at each pixel",
            f"intersection = {product},   union = p + t − {product}" + ("  (squares of p and t)" if squared else ""),
            "Overlap of prediction and truth as soft sets: a pixel lies in the intersection as far as it is both "
            "predicted and true, in the union as far as it is either.",
            (
                PixelTable(view.columns("intersection", overlap, "probability", mark=True)),
                PixelTable(view.columns("union", union, "probability", mark=True)),
            ),
        )
    return Step(
        "Overlap at each pixel",
        product,
        "Prediction times truth: of each class only the pixels that truly belong to it stay, each with the probability "
        "it was given.",
        (
            PixelTable(view.columns("t", view.target, "target")),
            PixelTable(view.columns(letter, overlap, "probability", mark=True)),
        ),
    )


def _sums_step(name: str, rows: tuple[str, ...], skipped: frozenset[int], sums: list[_Sums], squared: bool) -> Step:
    square = "²" if squared else ""
    columns = [
        ("I (overlap)", tuple(cell.I for cell in sums)),
        (f"P = Σp{square}", tuple(cell.P for cell in sums)),
        (f"T = Σt{square}", tuple(cell.T for cell in sums)),
    ]
    formula = f"I = Σ overlap,   P = Σ p{square},   T = Σ t{square}"
    if name == "jaccard":
        columns.append(("union P+T−I", tuple(cell.P + cell.T - cell.I for cell in sums)))
        formula += ",   union = P + T − I"
    if name == "tversky":
        columns.append(("FP = P−I", tuple(cell.false_positives for cell in sums)))
        columns.append(("FN = T−I", tuple(cell.false_negatives for cell in sums)))
        formula += ",   FP = P − I,   FN = T − I"
    return Step(
        "Sums over the pixels",
        formula,
        "The whole image shrinks to a few numbers for each class: how much was hit, how much was predicted, how much "
        "is there.",
        (ClassTable("class", rows, tuple(columns), skipped, _bars(sums)),),
    )


def _bars(sums: list[_Sums]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """The union of prediction and truth, cut into what was hit, missed and predicted wrongly."""
    return (
        ("hit (I)", tuple(cell.I for cell in sums)),
        ("missed (T − I)", tuple(cell.false_negatives for cell in sums)),
        ("false alarm (P − I)", tuple(cell.false_positives for cell in sums)),
    )


def _score_step(
    name: str,
    rows: tuple[str, ...],
    skipped: frozenset[int],
    scores: list[_Score],
    parameters: Mapping[str, Any],
    smooth: float,
    squared: bool,
) -> Step:
    s = f" + {smooth:g}" if smooth else ""
    top = f"(I{s})" if smooth else "I"
    title, formula, caption = {
        "dice": (
            "Dice coefficient",
            f"Dice coefficient = {f'(2 I{s})' if smooth else '2 I'} / (P + T{s})",
            "1 for a perfect overlap, 0 for none. This is the coefficient that papers report; it is not the loss yet.",
        ),
        "jaccard": (
            "Jaccard coefficient (IoU)",
            f"IoU = {top} / (P + T − I{s})",
            "Intersection over union, the metric itself, with probabilities instead of decisions.",
        ),
        "tversky": (
            "Tversky index",
            f"index = {top} / (I + {parameters.get('alpha', 0.5):g}·FP + {parameters.get('beta', 0.5):g}·FN{s})",
            "Like Dice, but false positives (α) and false negatives (β) have prices of their own.",
        ),
    }[name]
    columns = (
        ("numerator", tuple(score.numerator for score in scores)),
        ("denominator", tuple(score.denominator for score in scores)),
        ("coefficient", tuple(score.value for score in scores)),
    )
    if squared:
        caption += " P and T are sums of squares here (V-Net's form)."
    return Step(title, formula, caption, (ClassTable("class", rows, columns, skipped),))


def _loss_step(
    name: str, rows: tuple[str, ...], skipped: frozenset[int], scores: list[_Score], losses: Array, log: bool
) -> Step:
    word = {"dice": "Dice", "jaccard": "Jaccard", "tversky": "Tversky"}[name]
    flat = tuple(float(loss) for loss in losses.reshape(-1))
    return Step(
        f"{word} loss of each class",
        f"{word} loss = −log(coefficient)" if log else f"{word} loss = 1 − coefficient",
        "A coefficient is to be raised, a loss to be lowered.",
        (
            ClassTable(
                "class",
                rows,
                (("coefficient", tuple(score.value for score in scores)), ("loss", flat)),
                skipped,
            ),
        ),
    )


def _gradient_step(view: View, slope: Array, gradient: Array) -> Step:
    back = "∂z = p (1 − p) ∂p" if view.sigmoid else "∂z_c = p_c (∂p_c − Σ_k p_k ∂p_k)"
    return Step(
        "Gradient",
        f"∂loss/∂p from the sums,  then through the {'sigmoid' if view.sigmoid else 'softmax'}:  {back}",
        "All pixels of a class and label share the same ∂p, because the loss knows only the sums. The factor p in ∂z is "
        "why pixels whose probability is near 0 or 1 hardly move under this loss alone.",
        (
            PixelTable(view.columns("∂p", slope, "signed")),
            PixelTable(view.columns("∂z", gradient, "signed")),
        ),
    )
