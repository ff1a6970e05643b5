"""What a law is checked on: a loss seen as a function, with the few facts that decide which laws concern it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .problems import Problem

Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Subject:
    """A loss under test.

    Attributes:
        name: shown when a law fails.
        task: "multiclass", "multilabel" or "binary".
        call: ``call(logits, target, pixel_weight=None, *, class_weight=None, ignore_index=-100)`` -> 0-d tensor.
        family: "pixel", "region" or "ranking".
        per_image: whether the loss averages over images instead of pooling them.
        facts: what else is true of it, e.g. ``smooth`` or ``label_smoothing``.
        rtol: relative agreement asked of two ways to the same number in float64.
    """

    name: str
    task: str
    call: Call
    family: str = "pixel"
    per_image: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    rtol: float = 1e-9

    def fact(self, key: str, default: Any = None) -> Any:
        return self.facts.get(key, default)

    def value(self, p: Problem, weight: Tensor | None = None, **options: Any) -> float:
        with torch.no_grad():
            return float(self.call(p.logits, p.target, weight, **options))

    def value_and_gradient(self, p: Problem, weight: Tensor | None = None, **options: Any) -> tuple[float, Tensor]:
        logits = p.logits.detach().clone().requires_grad_()
        loss = self.call(logits, p.target, weight, **options)
        assert loss.shape == (), f"{self.name}: a loss is 0-dimensional, not {tuple(loss.shape)}"
        (gradient,) = torch.autograd.grad(loss, logits)
        return float(loss.detach()), gradient

    def __str__(self) -> str:
        return f"{self.task}:{self.name}"


def same(
    subject: Subject,
    law: str,
    got: float | Tensor,
    wanted: float | Tensor,
    *,
    rtol: float | None = None,
    atol: float = 1e-12,
) -> None:
    """Raises AssertionError with the law and the loss named unless the two agree."""
    torch.testing.assert_close(
        torch.as_tensor(got, dtype=torch.float64),
        torch.as_tensor(wanted, dtype=torch.float64),
        rtol=subject.rtol if rtol is None else rtol,
        atol=atol,
        equal_nan=False,
        msg=lambda text: f"{subject}: {law}\n{text}",
    )


def holds(subject: Subject, law: str, fact: bool | Tensor) -> None:
    assert bool(fact), f"{subject}: {law}"
