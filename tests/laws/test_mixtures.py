"""A mixture computed in one sweep is the sum of its terms, each computed alone."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

import segcrit

from .problems import mask_of, positive_weights, problem

MULTICLASS = (
    "partial_ce(class_weight=[1, 2, 0, 3])",
    "ce(label_smoothing=0.1)",
    "focal(gamma=0.5)",
    "focal(label_smoothing=0.1)",
    "ce(unlabelled='background')",
    "ce(logit_bias=[0.5, 0, -1, 0])",
    "dice(squared=True, per_image=True)",
    "tversky(alpha=0.2, beta=0.8)",
    "lovasz",
    "lovasz(per_image=True)",
)
MULTILABEL = (
    "bce(pos_weight=2)",
    "bce(label_smoothing=0.1)",
    "focal(label_smoothing=0.1, alpha=0.3)",
    "dice(squared=True)",
    "jaccard(per_image=True)",
    "lovasz",
    "lovasz(per_image=True)",
)
PAIRS = [("multiclass", *pair) for pair in combinations(MULTICLASS, 2)]
PAIRS += [("multilabel", *pair) for pair in combinations(MULTILABEL, 2)]


def value_and_gradient(
    text: str, task: str, logits: Tensor, target: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    loss = segcrit.Criterion(text, task=task)(z, target, weight)
    return loss.detach(), torch.autograd.grad(loss, z)[0]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("task", "one", "other"), PAIRS)
def test_a_mixture_is_the_sum_of_its_terms(task: str, one: str, other: str, weighted: bool):
    p = problem(task, classes=4, seed=7)
    p = p.ignoring(mask_of(p, 3))
    logits, weight = p.logits.float(), positive_weights(p) if weighted else None
    value, gradient = value_and_gradient(f"{one} + 2*{other}", task, logits, p.target, weight)
    first, first_gradient = value_and_gradient(one, task, logits, p.target, weight)
    second, second_gradient = value_and_gradient(other, task, logits, p.target, weight)
    torch.testing.assert_close(value, first + 2 * second, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, first_gradient + 2 * second_gradient, rtol=1e-4, atol=1e-7)
