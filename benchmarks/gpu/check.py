"""Before anything is timed: the engine gives the numbers of the reference engine on this GPU, and the same bits twice."""

from __future__ import annotations

import torch
from cases import Case

import segcrit
from segcrit.bench.problems import Problem

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
        value, gradient = _step(kind, problem, logits, target, "reference")
        results = [_step(kind, problem, logits, target, "triton") for _ in range(2)]
        name = f"{case.name}, {kind}"
        if not torch.equal(results[0][0], results[1][0]) or not torch.equal(results[0][1], results[1][1]):
            wrong.append(f"{name}: two runs give different bits")
        found, slope = results[0]
        if abs(float(found - value)) > 1e-5 * max(1.0, abs(float(value))):
            wrong.append(f"{name}: value {float(found)}, the reference engine says {float(value)}")
        difference = (slope - gradient).double()
        ratio = float(difference.norm() / gradient.double().norm())
        largest = float(difference.abs().max() / gradient.double().abs().max())
        limit = TOLERANCE[problem.dtype]
        too_far = ratio > max(limit, EDGES) if "lovasz" in kind else largest > limit
        if too_far:
            wrong.append(f"{name}: gradient off by {largest:g} of its largest element, {ratio:g} in all")
    return wrong


def _step(
    kind: str, problem: Problem, logits: torch.Tensor, target: torch.Tensor, backend: str
) -> tuple[torch.Tensor, torch.Tensor]:
    upsample = "linear" if problem.upsample != 1 else None
    criterion = segcrit.Criterion(kind, task=problem.task, upsample=upsample, backend=backend)
    z = logits.clone().requires_grad_()
    value = criterion(z, target)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient
