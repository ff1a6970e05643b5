"""Values and gradients of every loss against float64 loops over pixels, for each target form, mask and weight."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import segcrit
from tests.laws.cases import criterion
from tests.laws.problems import fractions, mask_of, one_hot, positive_weights, problem
from tests.oracles import naive, pixel, ranking, region, scene

LOOPS = {
    "ce": pixel.cross_entropy,
    "bce": pixel.binary_cross_entropy,
    "focal": pixel.focal,
    "poly1": pixel.poly1,
    "partial_ce": pixel.partial_cross_entropy,
    "dice": region.dice,
    "jaccard": region.jaccard,
    "tversky": region.tversky,
    "lovasz": ranking.lovasz_softmax,
    "lovasz_hinge": ranking.lovasz_hinge,
}
FUNCTIONS = {
    "ce": segcrit.functional.cross_entropy,
    "bce": segcrit.functional.binary_cross_entropy,
    "focal": segcrit.functional.focal,
    "poly1": segcrit.functional.poly1,
    "partial_ce": segcrit.functional.partial_cross_entropy,
    "dice": segcrit.functional.dice,
    "jaccard": segcrit.functional.jaccard,
    "tversky": segcrit.functional.tversky,
    "lovasz": segcrit.functional.lovasz_softmax,
    "lovasz_hinge": segcrit.functional.lovasz_hinge,
}
MULTI, SIGMOID, ALL = ("multiclass",), ("multilabel", "binary"), ("multiclass", "multilabel", "binary")
W = [0.5, 2.0, 1.25]

# loss, parameters, tasks
CASES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("ce", {}, MULTI),
    ("ce", {"label_smoothing": 0.2, "class_weight": W}, MULTI),
    ("ce", {"class_weight": [0.0, 1.0, 3.0]}, MULTI),
    ("bce", {}, SIGMOID),
    ("bce", {"pos_weight": 2.5, "label_smoothing": 0.1}, SIGMOID),
    ("bce", {"pos_weight": [0.5, 1.0, 4.0], "class_weight": W}, ("multilabel",)),
    ("focal", {}, ALL),
    ("focal", {"gamma": 0.5, "label_smoothing": 0.1}, ALL),
    ("focal", {"alpha": 0.25}, SIGMOID),
    ("focal", {"alpha": W, "gamma": 3.0}, MULTI),
    ("focal", {"class_weight": W}, ("multiclass", "multilabel")),
    ("poly1", {}, ALL),
    ("partial_ce", {}, ALL),
    ("partial_ce", {"foreground_only": True}, ALL),
    ("partial_ce", {"class_weight": W}, ("multiclass", "multilabel")),
    ("dice", {}, ALL),
    ("dice", {"smooth": 1.0, "squared": True}, ALL),
    ("dice", {"smooth": 0.5, "absent": "penalize", "per_image": True}, ALL),
    ("dice", {"class_weight": W, "per_image": True}, ("multiclass", "multilabel")),
    ("dice", {"classes": [1, 2], "log": True}, ("multiclass", "multilabel")),
    ("jaccard", {}, ALL),
    ("jaccard", {"smooth": 0.7}, ALL),
    ("jaccard", {"squared": True, "log": True, "smooth": 0.1}, ALL),
    ("jaccard", {"class_weight": W, "classes": [0, 2], "per_image": True}, ("multiclass", "multilabel")),
    ("tversky", {}, ALL),
    ("tversky", {"alpha": 0.3, "beta": 0.7, "smooth": 1.0}, ALL),
    ("tversky", {"alpha": 1.0, "beta": 0.0, "per_image": True, "log": True}, ALL),
    ("lovasz", {"exact": True}, MULTI),
    ("lovasz", {"exact": True, "per_image": True, "absent": "penalize"}, MULTI),
    ("lovasz", {"exact": True, "class_weight": W, "classes": [1, 2]}, MULTI),
    ("lovasz_hinge", {"exact": True}, SIGMOID),
    ("lovasz_hinge", {"exact": True, "absent": "skip", "per_image": True}, SIGMOID),
]
IDS = [f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})" for name, options, _ in CASES]
HARD_ONLY = ("lovasz", "lovasz_hinge")


def target_of(task: str, form: str, absent: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and a target with ignored parts; with ``absent``, image 0 lacks class 1 and the batch lacks class 2."""
    p = problem(task, classes=3, images=2, shape=(3, 4), seed=6)
    target = p.target.clone()
    if absent:
        if task == "multiclass":
            target[target == 2] = 0
            target[0][target[0] == 1] = 0
        elif task == "multilabel":
            target[:, 2] = 0
            target[0, 1] = 0
        else:
            target[0] = 0
    if task == "multilabel":
        # Single elements, not whole pixels: channel 0 may be known where channel 1 is not.
        hidden = torch.rand(target.shape, generator=torch.Generator().manual_seed(8)) < 0.25
    else:
        hidden = mask_of(p, 3)
    if form == "soft":
        soft = fractions(task, p.logits)
        if task == "multiclass":
            soft = torch.where(hidden[:, None], 0.0, soft)
        else:
            soft = torch.where(hidden.reshape(soft.shape), -100.0, soft)
        return p.logits, soft
    target = torch.where(hidden, -100, target)
    if form == "one-hot" and task == "multiclass":
        return p.logits, one_hot(target, 3)
    return p.logits, target


def expression_of(name: str, options: dict[str, Any]) -> str:
    inner = ", ".join(f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in options.items())
    return f"{name}({inner})"


@pytest.mark.parametrize("unlabelled", ["ignore", "background"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("form", ["index", "one-hot", "soft", "absent"])
@pytest.mark.parametrize(("name", "options", "tasks"), CASES, ids=IDS)
def test_value_and_gradient_against_loops(name, options, tasks, form, weighted, unlabelled):
    if form == "soft" and (name in HARD_ONLY or options.get("foreground_only")):
        pytest.skip("hard labels only")
    if name == "partial_ce" and unlabelled == "background":
        pytest.skip("partial cross-entropy exists to leave unlabelled pixels out")
    for task in tasks:
        logits, target = target_of(task, form, form == "absent")
        weight = positive_weights(problem(task, shape=(3, 4)), zeros=True) if weighted else None
        s = scene.read(
            logits.numpy(),
            target.numpy(),
            task=task,
            pixel_weight=None if weight is None else weight.numpy(),
            unlabelled=unlabelled,
        )
        plain = {key: value for key, value in options.items() if key != "exact"}
        if isinstance(plain.get("pos_weight"), float):
            plain["pos_weight"] = [plain["pos_weight"]] * len(s.classes)
        wanted = LOOPS[name](s, **plain)
        z = logits.clone().requires_grad_()
        dense = naive.loss(
            "lovasz" if name == "lovasz_hinge" else name, z, target, weight, task=task, unlabelled=unlabelled, **plain
        )
        (wanted_gradient,) = torch.autograd.grad(dense, z)
        written = options if unlabelled == "ignore" else {**options, "unlabelled": "background"}
        z = logits.clone().requires_grad_()
        loss = criterion(expression_of(name, written), task=task)(z, target, weight)
        (gradient,) = torch.autograd.grad(loss, z)
        assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-9, abs=1e-12), task
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("form", ["index", "soft", "absent"])
@pytest.mark.parametrize(("name", "options", "tasks"), CASES, ids=IDS)
def test_unreduced_and_summed_functions_against_loops(name, options, tasks, form, per_image):
    if form == "soft" and (name in HARD_ONLY or options.get("foreground_only")):
        pytest.skip("hard labels only")
    pixelwise = LOOPS[name].__module__.endswith("pixel")
    if pixelwise and per_image:
        pytest.skip("pixel losses have no per_image")
    options = options if pixelwise else {**options, "per_image": per_image}
    for task in tasks:
        logits, target = target_of(task, form, form == "absent")
        weight = positive_weights(problem(task, shape=(3, 4)), zeros=True)
        s = scene.read(logits.numpy(), target.numpy(), task=task, pixel_weight=weight.numpy())
        plain = {key: value for key, value in options.items() if key != "exact"}
        if isinstance(plain.get("pos_weight"), float):
            plain["pos_weight"] = [plain["pos_weight"]] * len(s.classes)
        settings = {} if name in ("ce", "lovasz") else {"task": task}
        for reduction in ("none", "sum"):
            with warnings.catch_warnings():
                # A one-sided loss alone says so.
                warnings.simplefilter("ignore", UserWarning)
                got = FUNCTIONS[name](logits, target, pixel_weight=weight, reduction=reduction, **settings, **options)
            wanted = torch.as_tensor(LOOPS[name](s, reduction=reduction, **plain), dtype=torch.float64)
            if reduction == "none" and pixelwise:
                wanted = wanted.reshape(got.shape)
                assert got.shape == (logits.shape if task != "multiclass" else (2, 3, 4))
            if reduction == "none" and not pixelwise:
                columns = options.get("classes") or list(range(logits.shape[1]))
                wanted = wanted[..., columns]
                assert got.shape == ((2, len(columns)) if per_image else (len(columns),))
            torch.testing.assert_close(got.double(), wanted, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_logit_scale_and_bias_act_before_the_softmax():
    p = problem(classes=3, shape=(3, 4), seed=9)
    bias = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    moved = 1.5 * p.logits + bias[:, None, None]
    for name in ("ce", "dice", "lovasz", "focal"):
        got = FUNCTIONS[name](p.logits, p.target, logit_scale=1.5, logit_bias=bias)
        assert float(got) == pytest.approx(float(FUNCTIONS[name](moved, p.target)), rel=1e-10)
    table = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    per_label = p.logits + table[p.target].movedim(-1, 1)
    got = FUNCTIONS["ce"](p.logits, p.target, logit_bias=table)
    assert float(got) == pytest.approx(float(FUNCTIONS["ce"](per_label, p.target)), rel=1e-10)


@pytest.mark.parametrize(
    ("probabilities", "label", "loss"), [((0.3, 0.6, 0.1), 1, 0.5108), ((0.1, 0.1, 0.8), 2, 0.2231)]
)
def test_worked_pixel(probabilities, label, loss):
    logits = torch.log(torch.tensor([probabilities]))
    assert float(segcrit.Criterion("ce")(logits, torch.tensor([label]))) == pytest.approx(loss, abs=5e-5)


def test_worked_four_pixels():
    true = torch.tensor([0.5025, 0.4256, 0.5050, 0.1652])
    logits = torch.log(torch.stack([true, 1 - true]))[None]
    loss = segcrit.Criterion("ce")(logits, torch.zeros(1, 4, dtype=torch.int64))
    assert float(loss) == pytest.approx(1.0066, abs=5e-5)


def test_infinite_logits_that_exclude_a_class():
    logits = torch.tensor([[[1.0, 2.0], [0.5, -1.0], [-torch.inf, -torch.inf]]], requires_grad=True)
    target = torch.tensor([[0, 1]])
    two = logits.detach()[:, :2].clone().requires_grad_()
    for name in ("ce", "focal", "dice", "jaccard", "tversky", "lovasz"):
        loss = segcrit.Criterion(name)(logits, target)
        wanted = segcrit.Criterion(name)(two, target)
        assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
        (gradient,) = torch.autograd.grad(loss, logits)
        (wanted_gradient,) = torch.autograd.grad(wanted, two)
        torch.testing.assert_close(gradient[:, :2], wanted_gradient)
        assert (gradient[:, 2] == 0).all()


def test_focal_derivative_is_finite_at_certainty():
    for gamma in (0.0, 0.3, 1.0, 2.0, 5.0):
        logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]], requires_grad=True)
        loss = segcrit.Criterion(f"focal(gamma={gamma})")(logits, torch.tensor([0, 0, 1]))
        loss.backward()
        assert torch.isfinite(logits.grad).all()
        assert (logits.grad[0] == 0).all()


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
def test_many_tiles_give_what_one_dense_computation_gives(task):
    """Larger than any tile: every sum and gradient is put together from parts."""
    shape = (260, 270) if task == "multiclass" else (300, 500)
    p = problem(task, images=3, classes=5, shape=shape, seed=10)
    p = p.ignoring(torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)) < 0.1)
    weight = positive_weights(p, zeros=True)
    first = "ce" if task == "multiclass" else "bce"
    ranking_name = "lovasz(exact=True)" if task == "multiclass" else "lovasz_hinge(exact=True)"
    text = f"{first} + dice(per_image=True) + jaccard + focal + {ranking_name}"
    z = p.logits.clone().requires_grad_()
    loss = segcrit.Criterion(text, task=task)(z, p.target, weight)
    (gradient,) = torch.autograd.grad(loss, z)
    z = p.logits.clone().requires_grad_()
    parts = [(first, {}), ("dice", {"per_image": True}), ("jaccard", {}), ("focal", {}), ("lovasz", {})]
    wanted = sum(naive.loss(name, z, p.target, weight, task=task, **o) for name, o in parts)
    (wanted_gradient,) = torch.autograd.grad(wanted, z)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-9)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-6, atol=1e-14)


def test_numpy_reads_what_torch_writes():
    """The loops were given the same numbers: one element by hand."""
    logits, target = target_of("multiclass", "index", False)
    s = scene.read(logits.numpy(), target.numpy())
    np.testing.assert_allclose(s.logits[1, 2, 5], float(logits[1, 2, 1, 1]))
