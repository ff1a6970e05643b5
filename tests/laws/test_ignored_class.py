"""ignore_index may be a class: it then means the same in index, one-hot and soft targets, in every loss and engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import segcrit

from .cases import CASES, Case, criterion
from .problems import one_hot, positive_weights, problem

CLASSES = 4
MULTICLASS = [case for case in CASES if "multiclass" in case.tasks]
SIGMOID = [case for case in CASES if "binary" in case.tasks]


def value_and_gradient(case: Case, logits: Tensor, target: Tensor, weight: Tensor | None, **settings: Any) -> Tensor:
    """The loss and its gradient in one vector."""
    leaf = logits.clone().requires_grad_()
    loss = criterion(case.expression, **settings)(leaf, target, weight)
    loss.backward()
    assert leaf.grad is not None
    return torch.cat([loss.detach().reshape(1), leaf.grad.reshape(-1)])


@pytest.mark.parametrize("case", MULTICLASS, ids=lambda case: case.expression)
def test_every_form_of_target_leaves_the_class_out(case: Case) -> None:
    p = problem("multiclass", classes=CLASSES)
    weight = positive_weights(p)
    for ignored in range(CLASSES):
        settings = {"ignore_index": ignored, "validate": "always"}
        wanted = value_and_gradient(case, p.logits, p.target, weight, **settings)
        moved = torch.where(p.target == ignored, -7, p.target)
        # The same pixels marked with a label that is no class.
        other = value_and_gradient(case, p.logits, moved, weight, ignore_index=-7)
        torch.testing.assert_close(wanted, other)
        rows = one_hot(p.target, CLASSES)
        soft = rows.double() if case.loss.startswith(("lovasz", "boundary")) else rows.double() * 0.996 + 0.001
        hard = [rows, rows.bool(), rows.to(torch.uint8)]
        for target in hard:
            torch.testing.assert_close(value_and_gradient(case, p.logits, target, weight, **settings), wanted)
        got = value_and_gradient(case, p.logits, soft, weight, **settings)
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.01)
        assert torch.equal(got[1:] == 0, wanted[1:] == 0) or case.loss.startswith("lovasz")


@pytest.mark.parametrize("case", SIGMOID, ids=lambda case: case.expression)
def test_soft_elements_of_the_ignored_value_are_left_out(case: Case) -> None:
    p = problem("binary")
    for ignored in (0, 1):
        settings = {"ignore_index": ignored, "task": "binary", "validate": "always"}
        wanted = value_and_gradient(case, p.logits, p.target, None, **settings)
        soft = p.target.double()
        torch.testing.assert_close(value_and_gradient(case, p.logits, soft, None, **settings), wanted)


@pytest.mark.parametrize("expression", ["ce", "dice", "focal + jaccard"])
@pytest.mark.parametrize("task", ["multiclass"])
def test_mixtures_with_the_ignored_class_are_refused_or_nan(task: str, expression: str) -> None:
    expression = expression.replace("ce", "bce") if task == "binary" and expression == "ce" else expression
    p = problem(task, classes=CLASSES)
    target = one_hot(p.target, CLASSES).double() if task == "multiclass" else p.target.double()[:, None]
    if task == "multiclass":
        target[0, :, 2, 2] = torch.tensor([0.3, 0.7, 0, 0], dtype=torch.float64)
    else:
        target[0, 0, 2, 2] = 0.3
    settings = {"task": task, "ignore_index": 0}
    with pytest.raises(segcrit.core.errors.LabelError, match="ignored"):
        segcrit.Criterion(expression, **settings)(p.logits, target)
    leaf = p.logits.clone().requires_grad_()
    loss = segcrit.Criterion(expression, validate="never", **settings)(leaf, target)
    loss.backward()
    assert leaf.grad is not None
    assert loss.isnan()
    assert leaf.grad.isnan().any()


def test_other_parts_of_a_criterion_agree() -> None:
    p = problem("multiclass", classes=CLASSES)
    rows = one_hot(p.target, CLASSES)
    loss = segcrit.Criterion("ce + dice", ignore_index=1, statistics=True)
    index, matrix = loss(p.logits, p.target), loss.last_confusion
    torch.testing.assert_close(loss(p.logits, rows), index)
    torch.testing.assert_close(loss.last_confusion, matrix)
    torch.testing.assert_close(loss.pixel_map(p.logits, rows), loss.pixel_map(p.logits, p.target))
    torch.testing.assert_close(loss(p.logits, rows, sums=loss.sums(p.logits, p.target)), index)
    torch.testing.assert_close(
        loss([p.logits, p.logits[..., ::2, ::2]], rows), loss([p.logits, p.logits[..., ::2, ::2]], p.target)
    )
    background = segcrit.Criterion("ce(unlabelled='background')", ignore_index=2)
    torch.testing.assert_close(background(p.logits, rows), background(p.logits, p.target))
    none = segcrit.functional.dice(p.logits, rows, ignore_index=3, reduction="none")
    torch.testing.assert_close(
        none, segcrit.functional.dice(p.logits, p.target, ignore_index=3, reduction="none"), equal_nan=True
    )


@pytest.mark.parametrize("ignored", range(CLASSES))
@pytest.mark.parametrize("policy", ["segcrit", "torchmetrics"])
def test_the_evaluator_agrees(ignored: int, policy: str) -> None:
    p = problem("multiclass", classes=CLASSES)
    rows = one_hot(p.target, CLASSES)
    for prediction in (p.logits, p.logits.argmax(1)):
        reports = [
            segcrit.Evaluator(CLASSES, ignore_index=ignored, policy=policy)
            .update(prediction, target, ["a", "b"])
            .compute()
            for target in (p.target, rows, rows.bool())
        ]
        for report in reports[1:]:
            assert report.figures == pytest.approx(reports[0].figures, nan_ok=True)
    empty = rows.clone()
    empty[0, :, 0] = 0
    moved = p.target.clone()
    moved[0, 0] = ignored
    one, two = (
        segcrit.Evaluator(CLASSES, ignore_index=ignored).update(p.logits, target, ["a", "b"]).compute().miou
        for target in (empty, moved)
    )
    assert one == pytest.approx(two)
