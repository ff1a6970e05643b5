"""One call on the reference engine and on the Triton engine, and whether they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import segcrit

# Of the value, relative to its parts; and of the gradient, relative to its largest element: a few roundings of float32, or
# one of the logits' dtype.
VALUE = 5e-6
GRADIENT = {torch.float32: 5e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@dataclass(frozen=True)
class Outcome:
    """What a criterion gives for one batch."""

    value: Tensor
    gradient: Tensor
    terms: dict[str, float]
    confusion: Tensor | None


def outcome(criterion: Any, backend: str, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Outcome:
    """Value and gradient with a factor that is not 1."""
    z = logits.detach().requires_grad_()
    with segcrit.use_backend(backend):
        value = criterion(z, target, weight)
        # Below 6e-5 float16 has fewer digits.
        (gradient,) = torch.autograd.grad(value * (1.7 * 1024 if z.dtype == torch.float16 else 1.7), z)
    terms = {name: float(term) for name, term in criterion.last_terms.items()}
    return Outcome(value.detach(), gradient, terms, criterion.last_confusion)


def assert_agree(
    expression: str, logits: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any
) -> Outcome:
    """Compare both engines on value, terms, gradient and confusion counts; returns the Triton engine's outcome."""
    criterion = segcrit.Criterion(expression, statistics=True, **options)
    wanted = outcome(criterion, "reference", logits, target, weight)
    found = outcome(criterion, "triton", logits, target, weight)
    assert found.value.dtype == wanted.value.dtype
    size = max(1.0, sum(abs(term) for term in wanted.terms.values()))
    torch.testing.assert_close(found.value, wanted.value, rtol=0, atol=VALUE * size)
    for name, term in wanted.terms.items():
        assert abs(found.terms[name] - term) <= VALUE * max(1.0, abs(term)), name
    assert found.gradient.dtype == logits.dtype
    assert found.gradient.shape == logits.shape
    largest = float(wanted.gradient.abs().max())
    torch.testing.assert_close(
        found.gradient, wanted.gradient, rtol=0, atol=GRADIENT[logits.dtype] * max(largest, 1e-6)
    )  # fmt: skip
    assert wanted.confusion is not None
    assert found.confusion is not None
    assert torch.equal(found.confusion, wanted.confusion)
    return found
