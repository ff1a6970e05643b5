"""Value, gradient and confusion counts of one case on two engines, and where they disagree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import segcrit

from .drawing import Case
from .edges import full_resolution
from .scale import largest_part

# Relative tolerance of value and gradient: a few roundings of the arithmetic, or one of the logits' dtype in the gradient.
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12, torch.bfloat16: 8e-3, torch.float16: 1e-3}
# Upsampled logits are rounded in another order by each engine: by 6e-8 of the largest logit, three times.
NEARLY_EQUAL = 1e-5


@dataclass(frozen=True)
class Result:
    """What one engine makes of a case; the gradient is that of ``factor`` times the value."""

    value: Tensor
    gradient: Tensor
    confusion: Tensor | None
    terms: dict[str, float]
    factor: float


def criterion_of(case: Case) -> segcrit.Criterion:
    """The loss of a case, on the engine that is forced around its call."""
    return segcrit.Criterion(case.text, task=case.task, statistics=case.counted, **case.options)


def result(case: Case, backend: str, criterion: segcrit.Criterion | None = None) -> Result:
    """Run a case on one engine."""
    criterion = criterion_of(case) if criterion is None else criterion
    logits = case.logits.detach().requires_grad_()
    with segcrit.use_backend(backend):
        return _result(criterion, case, logits)


def _result(criterion: segcrit.Criterion, case: Case, logits: Tensor) -> Result:
    value = criterion(logits, case.target, case.weight)
    # Scaled as by torch's GradScaler: below 6e-5 float16 has fewer digits than its relative tolerance asks for.
    factor = 1.7 * (1024.0 if logits.dtype == torch.float16 else 1.0)
    (gradient,) = torch.autograd.grad(factor * value, logits)
    terms = {name: float(term) for name, term in criterion.last_terms.items()}
    return Result(value.detach().double(), gradient.double(), criterion.last_confusion, terms, factor)


def undecided(case: Case) -> int:
    """Pixels (elements in sigmoid tasks) whose prediction depends on the rounding of the interpolation."""
    logits = full_resolution(case)
    if case.task == "multiclass":
        top = logits.topk(2, 1).values
        near = top[:, 0] - top[:, 1] < NEARLY_EQUAL * (1 + top[:, 0].abs())
    else:
        near = logits.abs() < NEARLY_EQUAL
    return int(near.sum())


def disagreement(case: Case, backend: str = "cpu") -> str:
    """Where an engine differs from the reference engine by more than rounding; empty where nowhere."""
    criterion = criterion_of(case)
    wanted, found = result(case, "reference", criterion), result(case, backend, criterion)
    tolerance = TOLERANCE[case.logits.dtype]
    problems = []
    # Terms are sums of parts of one sign, or lie between 0 and 1.
    size = max(1.0, sum(abs(term) for term in wanted.terms.values()))
    if not abs(float(wanted.value - found.value)) <= min(tolerance, 5e-6) * size:
        problems.append(f"value {float(found.value)!r}, wanted {float(wanted.value)!r}")
    worst = float((wanted.gradient - found.gradient).abs().max()) if wanted.gradient.numel() else 0.0
    largest = float(wanted.gradient.abs().max()) if wanted.gradient.numel() else 0.0
    # A gradient that cancels is as exact as the parts that it is the sum of.
    if not worst <= tolerance * largest and not worst <= tolerance * wanted.factor * largest_part(case):
        problems.append(f"gradient off by {worst:g}, its largest element is {largest:g}")
    if wanted.confusion is not None and not torch.equal(wanted.confusion, found.confusion):
        differences = int((wanted.confusion - found.confusion).abs().sum())
        if not case.is_upsampled or differences > 2 * undecided(case):
            problems.append(f"{differences} confusion counts differ")
    return "; ".join(problems)
