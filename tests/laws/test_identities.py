"""Losses that are the same loss: two classes and a sigmoid, Tversky and Dice, focal and cross-entropy, one-hot and index."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import segcrit

from .cases import criterion
from .problems import Problem, fractions, mask_of, positive_weights, problem


def value_and_gradient(
    text: str, p: Problem, target: Tensor | None = None, weight: Tensor | None = None, **settings: Any
) -> tuple[Tensor, Tensor]:
    z = p.logits.clone().requires_grad_()
    loss = criterion(text, task=p.task, **settings)(z, p.target if target is None else target, weight)
    (gradient,) = torch.autograd.grad(loss, z)
    return loss.detach(), gradient


TWO_CLASSES = [
    ("ce", "bce"),
    ("ce(label_smoothing=0.2)", "bce(label_smoothing=0.2)"),
    ("ce(class_weight=[1, 3], reduction='sum')", "bce(pos_weight=3, reduction='sum')"),
    ("focal(gamma=1.5)", "focal(gamma=1.5)"),
    ("focal(alpha=[0.7, 0.3])", "focal(alpha=0.3)"),
    ("partial_ce", "partial_ce"),
    ("dice(classes=[1])", "dice"),
    ("dice(classes=[1], squared=True, smooth=1, per_image=True)", "dice(squared=True, smooth=1, per_image=True)"),
    ("jaccard(classes=[1], log=True)", "jaccard(log=True)"),
    ("tversky(classes=[1], alpha=0.2, beta=0.8)", "tversky(alpha=0.2, beta=0.8)"),
]


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("multiclass", "binary"), TWO_CLASSES)
def test_two_classes_are_a_sigmoid_of_the_difference(multiclass: str, binary: str, soft: bool):
    p = problem(classes=2, seed=50)
    p = p.ignoring(mask_of(p, 5))
    weight = positive_weights(p)
    one = Problem(p.logits[:, 1:] - p.logits[:, :1], p.target, "binary")
    target_two, target_one = p.target, p.target
    if soft:
        target_two = fractions("multiclass", p.logits)
        target_one = target_two[:, 1:].clone()
        target_two[:, :, 2, 2] = 0
        target_one[:, :, 2, 2] = -100
    a, gradient_a = value_and_gradient(multiclass, p, target_two, weight)
    b, gradient_b = value_and_gradient(binary, one, target_one, weight)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient_a[:, 1:], gradient_b, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(gradient_a[:, :1], -gradient_b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("smooth", [0.0, 0.7])
@pytest.mark.parametrize("options", ["", ", per_image=True", ", log=True"])
def test_tversky_with_halves_is_dice_with_twice_the_smoothing(task: str, smooth: float, options: str):
    p = problem(task, seed=51)
    a, gradient_a = value_and_gradient(f"tversky(alpha=0.5, beta=0.5, smooth={smooth}{options})", p)
    b, gradient_b = value_and_gradient(f"dice(smooth={2 * smooth}{options})", p)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_a, gradient_b, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
def test_tversky_with_ones_is_jaccard(task: str):
    p = problem(task, seed=52)
    a, _ = value_and_gradient("tversky(alpha=1, beta=1, smooth=0.3)", p)
    b, _ = value_and_gradient("jaccard(smooth=0.3)", p)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("options", ["", "label_smoothing=0.1"])
def test_focal_without_focus_is_cross_entropy(task: str, options: str):
    p = problem(task, seed=53)
    name = "ce" if task == "multiclass" else "bce"
    a, gradient_a = value_and_gradient(f"focal(gamma=0{', ' + options if options else ''})", p)
    b, gradient_b = value_and_gradient(f"{name}({options})", p)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_a, gradient_b, rtol=1e-10, atol=1e-15)


def test_partial_cross_entropy_is_cross_entropy_of_the_annotated_pixels():
    p = problem(seed=54)
    p = p.ignoring(mask_of(p, 20))
    for task_loss in ("partial_ce", "ce"):
        value, gradient = value_and_gradient(task_loss, p)
        kept = p.target != -100
        wanted = torch.nn.functional.cross_entropy(p.logits.movedim(1, -1)[kept], p.target[kept])
        torch.testing.assert_close(value, wanted)
        assert (gradient.movedim(1, -1)[~kept] == 0).all()


def test_unlabelled_pixels_read_as_background_are_class_zero():
    p = problem(seed=55)
    hidden = p.ignoring(mask_of(p, 12))
    filled = p.with_target(torch.where(hidden.target == -100, 0, hidden.target))
    for name in ("ce", "focal", "dice", "tversky", "lovasz(exact=True)"):
        text = name.replace("(", "(unlabelled='background', ") if "(" in name else f"{name}(unlabelled='background')"
        a, gradient_a = value_and_gradient(text, hidden)
        b, gradient_b = value_and_gradient(name, filled)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient_a, gradient_b)


def test_a_weighted_mixture_is_the_sum_of_its_terms():
    p = problem(seed=56)
    weight = positive_weights(p)
    texts = {
        "ce": 1.0,
        "dice(smooth=1)": 0.5,
        "focal(gamma=3)": 2.0,
        "jaccard(per_image=True)": 0.25,
        "ce(unlabelled='background')": 1.5,
        "lovasz(bins=512)": 3.0,
        "lovasz(bins=64, per_image=True)": 0.75,
        "ce(logit_scale=2)": 0.1,
        "tversky(logit_bias=[0, 1, 2, 3])": 0.2,
        "ce(label_smoothing=0.5, class_weight=[1, 2, 3, 4])": 0.0,
        "partial_ce(foreground_only=True)": 0.3,
        "lovasz(exact=True)": 0.4,
    }
    p = p.ignoring(mask_of(p, 6))
    mixture = " + ".join(f"{factor}*{text}" for text, factor in texts.items())
    value, gradient = value_and_gradient(mixture, p, None, weight)
    parts = [value_and_gradient(text, p, None, weight) for text in texts]
    wanted = sum(factor * part[0] for factor, part in zip(texts.values(), parts, strict=True))
    wanted_gradient = sum(factor * part[1] for factor, part in zip(texts.values(), parts, strict=True))
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-10, atol=1e-14)


def test_the_expression_lovasz_is_the_hinge_in_sigmoid_tasks():
    for task in ("binary", "multilabel"):
        p = problem(task, seed=57)
        torch.testing.assert_close(value_and_gradient("lovasz", p), value_and_gradient("lovasz_hinge", p))
    p = problem("binary", seed=57)
    empty = p.with_target(torch.zeros_like(p.target))
    assert float(segcrit.Criterion("lovasz", task="binary")(empty.logits, empty.target)) > 0


def test_binary_is_multilabel_with_one_channel():
    p = problem("binary", seed=58)
    p = p.ignoring(mask_of(p, 6))
    for text in ("bce(pos_weight=2)", "focal(alpha=0.25)", "dice", "jaccard(per_image=True)", "lovasz(exact=True)"):
        a, gradient_a = value_and_gradient(text, p)
        b, gradient_b = value_and_gradient(text, Problem(p.logits, p.target[:, None], "multilabel"))
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient_a, gradient_b)
