"""Steps of the pixel losses: cross-entropy, binary cross-entropy, focal, partial cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segcrit.apps.explain.steps import Array, Column, PixelTable, Step, format_number
from segcrit.apps.explain.view import View, class_weights, look, per_class, symbol

__all__ = ["pixel_steps"]

# What a step list is made into: the steps, the value and the gradient of a term.
Result = tuple[tuple[Step, ...], float, Array]


def pixel_steps(name: str, parameters: Mapping[str, Any], view: View) -> Result:
    """All steps of a pixel loss.

    Args:
        name: ``"ce"``, ``"bce"``, ``"focal"`` or ``"partial_ce"``.
        parameters: every parameter of the loss, defaults included.
        view: the problem as the term sees it.

    Returns:
        The steps, the value, and the gradient (pixels, classes).
    """
    gamma = float(parameters["gamma"]) if name == "focal" else 0.0
    on, off = _coefficients(name, parameters, view)
    weight = class_weights(view, parameters)
    smoothing = float(parameters.get("label_smoothing", 0.0))
    target = _smoothed(view, smoothing)

    steps: list[Step] = []
    if name == "partial_ce":
        steps.append(_dropped_step(parameters, view))
    if smoothing:
        steps.append(_smoothing_step(view, target, smoothing))
    steps.append(_logarithm_step(view))
    if gamma:
        steps.append(_focusing_step(view, gamma))

    positive = on * target * _value(view.log_p, gamma)
    if view.sigmoid:
        values = np.where(view.valid, weight * (positive + off * (1 - target) * _value(view.log_q, gamma)), 0.0)
    else:
        values = np.where(view.valid, weight * positive, 0.0)
    steps.append(_pick_step(view, target, values, on, off, weight, gamma))

    total = float(values.sum())
    share = view.target if not view.sigmoid else np.ones_like(view.target)
    below = float(np.where(view.valid, weight * share, 0.0).sum())
    mean = parameters.get("reduction", "mean") == "mean"
    scale = (1 / below if below > 0 else 0.0) if mean else 1.0
    value = total * scale
    steps.append(_mean_step(view, values, weight, total, below, value, mean))

    gradient = _gradient(view, target, on, off, weight, gamma) * scale
    steps.append(_gradient_step(view, gradient, gamma, bool(smoothing)))
    return tuple(steps), value, gradient


def _coefficients(name: str, parameters: Mapping[str, Any], view: View) -> tuple[Array, Array]:
    """Factors of positives and negatives; they never enter the denominator."""
    classes = view.problem.num_classes
    if name == "bce":
        return per_class(parameters.get("pos_weight"), classes, "pos_weight"), np.ones(classes)
    if name == "focal" and parameters.get("alpha") is not None:
        alpha = per_class(parameters["alpha"], classes, "alpha")
        return (alpha, 1 - alpha) if view.sigmoid else (alpha, np.ones(classes))
    return np.ones(classes), np.ones(classes)


def _smoothed(view: View, smoothing: float) -> Array:
    outcomes = 2 if view.sigmoid else view.problem.num_classes
    return np.where(view.valid, view.target * (1 - smoothing) + smoothing / outcomes, 0.0)


def _value(log_p: Array, gamma: float) -> Array:
    """v(log p) = −(1 − p)^γ log p."""
    return np.asarray((-np.expm1(log_p)) ** gamma * -log_p)


def _derivative(log_p: Array, gamma: float) -> Array:
    """v′ with respect to log p; log p/(1 − p) → −1 as p → 1 keeps it finite."""
    error = -np.expm1(log_p)
    ratio = np.where(error > 0, log_p / np.where(error > 0, error, 1.0), -1.0)
    return np.asarray(error**gamma * (gamma * np.exp(log_p) * ratio - 1))


def _gradient(view: View, target: Array, on: Array, off: Array, weight: Array, gamma: float) -> Array:
    pull = weight * on * target * _derivative(view.log_p, gamma)
    if view.sigmoid:
        push = weight * off * (1 - target) * _derivative(view.log_q, gamma)
        slope = pull * np.exp(view.log_q) - push * view.p
    else:
        slope = pull - view.p * pull.sum(1, keepdims=True)
    return np.where(view.valid, slope * view.scale, 0.0)


def _dropped_step(parameters: Mapping[str, Any], view: View) -> Step:
    """What partial cross-entropy leaves out, and what reading it as background would have cost."""
    everything = look(view.problem, {**parameters, "unlabelled": "background", "foreground_only": False})
    background = np.zeros_like(everything.target)
    if not view.sigmoid:
        background[:, 0] = 1.0
    truth = np.where(view.valid, view.target, background)
    if view.sigmoid:
        cost = -(truth * view.log_p + (1 - truth) * view.log_q)
    else:
        cost = -(truth * view.log_p).sum(1, keepdims=True)
    names = ["−log pₜ"] if not view.sigmoid else [symbol("−log pₜ ", view.problem, c) for c in range(cost.shape[1])]
    dropped = ~view.valid[:, : cost.shape[1]]
    columns = tuple(
        Column(names[c], cost[:, c], dropped=dropped[:, c] if dropped.any() else None) for c in range(cost.shape[1])
    )
    kept = int((~dropped).sum())
    if not dropped.any():
        caption = "Every pixel carries a label, so nothing is dropped and the loss is ordinary cross-entropy."
    else:
        caption = (
            f"{kept} of {dropped.size} {'pixels' if not view.sigmoid else 'elements'} count. The struck out terms are "
            "dropped: nobody labelled those pixels, so they must neither cost anything nor pull on the network. "
            'Their cost is shown as if they were background: read so (unlabelled="background"), they would make the '
            f"mean of this column {format_number(float(cost.mean()))} instead of {format_number(_mean_of(cost[~dropped]))}."
        )
    if parameters.get("foreground_only"):
        caption += " foreground_only=True also drops the pixels that are labelled as background."
    return Step(
        "The terms that are dropped",
        "Σ over labelled pixels only:  ℓ_i = −log p_t  where label ≠ ignore_index,  nothing elsewhere",
        caption,
        (PixelTable(columns),),
    )


def _mean_of(values: Array) -> float:
    return float(values.mean()) if values.size else 0.0


def _smoothing_step(view: View, target: Array, smoothing: float) -> Step:
    outcomes = "2" if view.sigmoid else "C"
    return Step(
        "Smoothed target",
        f"t̃ = (1 − ε) t + ε/{outcomes},  ε = {smoothing:g}",
        "A share of the target is spread evenly over the classes, so that no probability has to reach 1.",
        (PixelTable(view.columns("t̃", target, "probability")),),
    )


def _logarithm_step(view: View) -> Step:
    if view.sigmoid:
        truth = "of the channel" if view.problem.num_classes > 1 else "of the pixel"
        blocks = view.columns("−log p", -view.log_p, mark=True) + view.columns("−log(1−p{})", -view.log_q, mark=False)
        return Step(
            "Logarithm",
            "−log p  for label 1,   −log(1 − p)  for label 0",
            f"The probability of what is true {truth} is p for label 1 and 1 − p for label 0. Its negative logarithm is "
            "0 for certainty and grows without limit as the truth is given no chance.",
            (PixelTable(blocks),),
        )
    return Step(
        "Logarithm",
        "−log p_c",
        "The negative logarithm turns a probability into a cost: 0 for certainty, 0.69 for one half, 2.30 for a tenth, "
        "and more and more as the probability vanishes. The true class is marked.",
        (PixelTable(view.columns("−log p", -view.log_p, mark=True)),),
    )


def _focusing_step(view: View, gamma: float) -> Step:
    columns = view.columns("(1−p{})^γ", np.asarray((-np.expm1(view.log_p)) ** gamma), "probability", mark=True)
    if view.sigmoid:
        columns += view.columns("p{}^γ", np.asarray((-np.expm1(view.log_q)) ** gamma), "probability", mark=False)
    return Step(
        "Focusing factor",
        f"(1 − p_t)^γ,  γ = {gamma:g}",
        f"A pixel that is already right with p_t = 0.9 keeps only {format_number(0.1**gamma)} of its cost, one at p_t = "
        f"0.1 keeps {format_number(0.9**gamma)}: the hard pixels lead the training.",
        (PixelTable(columns),),
    )


def _pick_step(view: View, target: Array, values: Array, on: Array, off: Array, weight: Array, gamma: float) -> Step:
    """The cost of each pixel, with its factors where there are any."""
    factor = "(1 − p_t)^γ · " if gamma else ""
    weighted = not (np.allclose(on, 1) and np.allclose(off, 1) and np.allclose(weight, 1))
    if view.sigmoid:
        on_label, off_label = ("(1 − p)^γ · (−log p)", "p^γ · (−log(1 − p))") if gamma else ("−log p", "−log(1 − p)")
        formula = f"ℓ = {on_label} for label 1,  {off_label} for label 0"
        columns = view.columns("ℓ", values)
        if weighted:
            columns = view.columns("factor", weight * (on * target + off * (1 - target))) + columns
    else:
        picked = (target * _value(view.log_p, gamma)).sum(1)
        dropped = ~view.pixel_valid if not view.pixel_valid.all() else None
        hard = np.isin(target, (0.0, 1.0)).all()
        formula = (
            (f"ℓ_i = {factor}(−log p_t)" if gamma else "ℓ_i = −log p_t")
            if hard
            else f"ℓ_i = Σ_c t_c · {factor}(−log p_c)"
        )
        columns = (Column("ℓ", values.sum(1), dropped=dropped),)
        if weighted:
            share = (weight * on * target).sum(1)
            columns = (Column("cost", picked, dropped=dropped), Column("weight", share, dropped=dropped), *columns)
            formula += " · weight of the true class"
    caption = (
        "Of each pixel only the number of its true class counts."
        if not view.sigmoid
        else ("Each element pays for the outcome that its label names.")
    )
    if not view.hard or not np.isin(target, (0.0, 1.0)).all():
        caption = "The target is spread over several classes, so each class's cost counts by its share."
    if weighted:
        caption += " It is multiplied by the weight of that class."
    if not view.valid.all():
        caption += " Pixels without a label are left out."
    return Step("Pick the true class", formula, caption, (PixelTable(columns),))


def _mean_step(view: View, values: Array, weight: Array, total: float, below: float, value: float, mean: bool) -> Step:
    counted = values[view.valid] if view.sigmoid else values.sum(1)[view.pixel_valid]
    summands = " + ".join(format_number(float(item)) for item in counted[:6]) + (" + …" if counted.size > 6 else "")
    if not mean:
        return Step("Sum", f"loss = {summands or '0'}", 'reduction="sum": no division.', results=(("loss", value),))
    weighted = not np.allclose(weight, 1)
    what = "the sum of the class weights of the labels" if weighted else "the number of pixels that count"
    if view.sigmoid and view.problem.num_classes > 1 and not weighted:
        what = "the number of elements (pixels × channels) that count"
    text = format_number(below) if weighted or not float(below).is_integer() else str(int(below))
    if below == 0:
        return Step(
            "Mean", "loss = 0", "Nothing counts, so the loss is 0 and so is its gradient.", results=(("loss", 0.0),)
        )
    fraction = f"{format_number(total)} / {text}"
    if counted.size > 1:
        fraction = f"({summands}) / {text} = {fraction}"
    return Step(
        "Mean",
        f"loss = {fraction}",
        f"The sum is divided by {what}.",
        results=(("loss", value),),
    )


def _gradient_step(view: View, gradient: Array, gamma: float, smoothed: bool) -> Step:
    t = "t̃" if smoothed else "t"
    if gamma:
        formula = (
            "∂loss/∂z = v′(log p_t) · (t − p) · weight / divisor,   v′ = (1 − p_t)^γ (γ p_t log p_t/(1 − p_t) − 1)"
        )
    else:
        formula = f"∂loss/∂z = (p − {t}) · weight / divisor"
    caption = (
        "This is what training sees. A negative number means that raising this logit lowers the loss, so the optimiser "
        "raises it; a positive one is pushed down. "
    )
    caption += (
        "At each pixel the numbers sum to 0: what one class wins the others lose."
        if not view.sigmoid
        else "Each channel is pulled for itself."
    )
    return Step("Gradient", formula, caption, (PixelTable(view.columns("∂z", gradient, "signed")),))
