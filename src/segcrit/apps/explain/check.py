"""The same numbers from elsewhere: the library's own result, and PyTorch's where it has that loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segcrit.apps.explain.numbers import Problem
from segcrit.apps.explain.steps import Array
from segcrit.apps.explain.view import look, target_tensor
from segcrit.losses.criterion import Criterion
from segcrit.losses.expression.syntax import Expression, Term

__all__ = ["Result", "exactly", "library_result", "logits_tensor", "term_result", "torch_result"]

RANKING = ("lovasz", "lovasz_hinge")


@dataclass(frozen=True)
class Result:
    """A value and its gradient.

    Attributes:
        name: whose it is.
        value: the loss.
        gradient: (pixels, classes).
    """

    name: str
    value: float
    gradient: Array


def exactly(expression: Expression) -> Expression:
    """The expression with its Lovász terms sorting, because histograms know errors only as finely as their bins."""
    return Expression(tuple(_exact_term(term) for term in expression.terms))


def _exact_term(term: Term) -> Term:
    if term.name not in RANKING or "exact" in term.parameters:
        return term
    return replace(term, parameters=MappingProxyType({**term.parameters, "exact": True}))


def library_result(
    expression: Expression,
    problem: Problem,
    *,
    class_weight: Sequence[float] | None = None,
    pos_weight: float | Sequence[float] | None = None,
) -> Result:
    """Value and gradient of ``segcrit.Criterion`` on the problem, in float64."""
    exact = str(exactly(expression))
    criterion = Criterion(
        exact,
        task=problem.task,
        ignore_index=problem.ignore_index,
        class_weight=None if class_weight is None else list(class_weight),
        pos_weight=pos_weight,
    )
    value, gradient = _evaluate(lambda logits: criterion(logits, target_tensor(problem)), problem)
    options = "" if problem.task == "multiclass" else f', task="{problem.task}"'
    return Result(f'segcrit.Criterion("{exact}"{options})', value, gradient)


def term_result(
    term: Term,
    problem: Problem,
    *,
    class_weight: Sequence[float] | None = None,
    pos_weight: float | Sequence[float] | None = None,
) -> Result:
    """Value and gradient of one term without its factor."""
    alone = Expression((replace(term, weight=1.0),))
    return library_result(alone, problem, class_weight=class_weight, pos_weight=pos_weight)


def torch_result(
    expression: Expression,
    problem: Problem,
    class_weight: Sequence[float] | None,
    pos_weight: float | Sequence[float] | None,
) -> Result | None:
    """PyTorch's loss for a single ``ce`` or ``bce`` with options that PyTorch knows; None for everything else."""
    term = expression.terms[0]
    known = {"class_weight", "pos_weight", "label_smoothing", "reduction"}
    if len(expression.terms) > 1 or term.weight != 1 or not set(term.parameters) <= known:
        return None
    parameters: dict[str, Any] = {"class_weight": class_weight, "pos_weight": pos_weight, **term.parameters}
    if term.name == "ce":
        return _cross_entropy(problem, parameters)
    if term.name == "bce" and parameters["class_weight"] is None and not parameters.get("label_smoothing"):
        return _binary_cross_entropy(problem, parameters)
    return None


def _cross_entropy(problem: Problem, parameters: dict[str, Any]) -> Result | None:
    target = target_tensor(problem)
    weight = parameters["class_weight"]
    if problem.target.ndim > 1:
        view = look(problem, {})
        if weight is not None or not view.pixel_valid.all():
            return None  # PyTorch divides by the number of pixels there, a documented difference.
        target = target.to(torch.float64)
    loss = nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(list(weight), dtype=torch.float64),
        ignore_index=problem.ignore_index,
        label_smoothing=float(parameters.get("label_smoothing", 0.0)),
        reduction=parameters.get("reduction", "mean"),
    )
    value, gradient = _evaluate(lambda logits: loss(logits, target), problem)
    if not np.isfinite(value):
        return None  # nothing valid: PyTorch says NaN, segcrit 0
    return Result("torch.nn.CrossEntropyLoss", value, gradient)


def _binary_cross_entropy(problem: Problem, parameters: dict[str, Any]) -> Result | None:
    view = look(problem, {})
    if not view.valid.any():
        return None
    positive = parameters["pos_weight"]
    if positive is not None and problem.num_classes > 1 and not isinstance(positive, (int, float)):
        return None  # PyTorch wants it broadcast over the spatial dimensions; the selection below has none.
    target, valid = torch.from_numpy(view.target), torch.from_numpy(view.valid)
    loss = nn.BCEWithLogitsLoss(
        pos_weight=None if positive is None else torch.as_tensor(positive, dtype=torch.float64),
        reduction=parameters.get("reduction", "mean"),
    )

    def run(logits: Tensor) -> Tensor:
        rows = torch.movedim(logits, 1, -1).reshape(-1, problem.num_classes)
        result: Tensor = loss(rows[valid], target[valid])
        return result

    value, gradient = _evaluate(run, problem)
    return Result("torch.nn.BCEWithLogitsLoss", value, gradient)


def logits_tensor(problem: Problem) -> Tensor:
    """The logits as the library takes them, (N, C, *S), float64."""
    values = problem.logits.reshape(*problem.layout.shape, problem.num_classes)
    return torch.from_numpy(np.moveaxis(values, -1, 1).copy())


def _evaluate(loss: Any, problem: Problem) -> tuple[float, Array]:
    logits = logits_tensor(problem).requires_grad_()
    value = loss(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    rows = torch.movedim(gradient, 1, -1).reshape(-1, problem.num_classes)
    return float(value.detach()), rows.numpy().copy()
