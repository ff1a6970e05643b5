"""Before anything is timed: the engine gives the numbers of the reference engine on this GPU, and the same bits twice."""

from __future__ import annotations

import torch
from cases import Case
from torch import Tensor

import segcrit
from segcrit.apps.bench.problems import Problem

# Relative to the largest element of the gradient.
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
# An error near the edge of a bin may be counted in either, and their slopes differ a little; relative to the whole gradient.
EDGES = 1e-3
LARGEST = 1 << 20


def check_case(case: Case) -> list[str]:
    """What is wrong, one line a loss; empty where all is well."""
    wrong = []
    problem = case.problem.smaller(LARGEST)
    made = problem.make()
    logits, target = made.logits.detach().cuda(), made.target.cuda()
    for kind in case.losses:
        try:
            value, gradient = _step(kind, problem, logits, target, "reference")
            results = [_step(kind, problem, logits, target, "triton") for _ in range(2)]
        except Exception as error:  # the others can be checked all the same
            wrong.append(f"{case.name}, {kind}: {type(error).__name__}: {error}")
            continue
        found = results[0]
        lines = disagreement(kind, problem.dtype, (value, gradient), found)
        # NaN is unlike itself, and has been reported.
        if not lines and not all(torch.equal(*pair) for pair in zip(*results, strict=True)):
            lines.append("two runs give different bits")
        wrong += [f"{case.name}, {kind}: {line}" for line in lines]
    return wrong


def disagreement(kind: str, dtype: str, wanted: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> list[str]:
    """Where value and gradient are not those that are wanted. NaN is never near enough."""
    lines = []
    value, other = float(wanted[0]), float(found[0])
    if not abs(other - value) <= 1e-5 * max(1.0, abs(value)):
        lines.append(f"value {other}, the reference engine says {value}")
    gradient, slope = wanted[1].double(), found[1].double()
    difference = slope - gradient
    ratio = float(difference.norm() / gradient.norm())
    largest = float(difference.abs().max() / gradient.abs().max())
    limit = TOLERANCE[dtype]
    near = ratio <= max(limit, EDGES) if "lovasz" in kind else largest <= limit
    if not near:
        lines.append(f"gradient off by {largest:g} of its largest element, {ratio:g} in all")
    return lines


def _step(kind: str, problem: Problem, logits: Tensor, target: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    upsample = "linear" if problem.upsample != 1 else None
    criterion = segcrit.Criterion(kind, task=problem.task, upsample=upsample, backend=backend)
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient
