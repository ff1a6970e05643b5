"""Lovász losses by histograms against sorting in float64: on the logits of a trained network, and by their proven bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import segcrit
from segcrit.engines.cpu import native
from tests.oracles import naive

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])


def trained() -> tuple[Tensor, Tensor]:
    """Logits (3, 5, 72, 72) in float16 and labels; made by ``make_trained_logits.py``."""
    with np.load(Path(__file__).with_name("trained_logits.npz")) as stored:
        return torch.from_numpy(stored["logits"]), torch.from_numpy(stored["labels"].astype(np.int64))


def sorted_in_float64(
    logits: Tensor, target: Tensor, task: str = "multiclass", **options: object
) -> tuple[float, Tensor]:
    leaf = logits.double().requires_grad_()
    value = naive.loss("lovasz", leaf, target, task=task, **options)
    return float(value.detach()), torch.autograd.grad(value, leaf)[0]


def by_histograms(
    logits: Tensor, target: Tensor, task: str = "multiclass", text: str = "lovasz"
) -> tuple[float, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = segcrit.Criterion(text, task=task, backend="cpu")(leaf, target)
    # Gradients of a mean over 15,000 pixels lie below what float16 can hold.
    factor = 4096.0
    return float(value.detach()), torch.autograd.grad(factor * value, leaf)[0].double() / factor


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a.flatten() @ b.flatten()) / (a.norm() * b.norm()))


def test_the_stored_logits_are_those_of_a_trained_network() -> None:
    logits, target = trained()
    right = float((logits.argmax(1) == target).double().mean())
    confident = float((torch.softmax(logits.float(), 1).amax(1) > 0.99).double().mean())
    assert 0.9 < right < 0.99
    assert 0.5 < confident < 0.99
    assert target.unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_default_bins_on_trained_logits(dtype: torch.dtype) -> None:
    logits, target = trained()
    wanted, gradient = sorted_in_float64(logits, target)
    found, found_gradient = by_histograms(logits.to(dtype), target)
    assert abs(found - wanted) <= 1e-4 * wanted
    assert cosine(found_gradient, gradient) >= 0.9999
    assert float(found_gradient.norm() / gradient.norm()) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("label", [0, 1, 4])
def test_default_bins_of_the_hinge_on_trained_logits(label: int, dtype: torch.dtype) -> None:
    logits, target = trained()
    others = [c for c in range(5) if c != label]
    margin = logits[:, label : label + 1] - logits[:, others].amax(1, keepdim=True)
    hard = (target == label).long()
    wanted, gradient = sorted_in_float64(margin, hard, "binary")
    found, found_gradient = by_histograms(margin.to(dtype), hard, "binary")
    assert abs(found - wanted) <= 1e-4 * wanted
    assert cosine(found_gradient, gradient) >= 0.9999


@st.composite
def small_problem(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """A few pixels, also with errors crowded into few bins, where their order decides everything."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    classes, pixels = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    scale = draw(st.sampled_from([0.01, 0.1, 1.0, 5.0]))
    logits = scale * torch.randn(1, classes, pixels, generator=random, dtype=torch.float64)
    target = torch.randint(draw(st.integers(1, classes)), (1, pixels), generator=random)
    return logits, target, draw(st.sampled_from([16, 17, 64, 100, 1024, 4096]))


@given(small_problem(), st.sampled_from([torch.float32, torch.float64]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_value_is_off_by_at_most_one_bin(
    problem: tuple[Tensor, Tensor, int], dtype: torch.dtype, penalize: bool
) -> None:
    logits, target, bins = problem
    logits = logits.to(dtype)
    options = {"absent": "penalize"} if penalize else {}
    exact = naive.loss("lovasz", logits.double(), target, reduction="none", **options)
    with segcrit.use_backend("cpu"):
        found = segcrit.functional.lovasz_softmax(logits, target, bins=bins, reduction="none", **options)
    difference = (found.double() - exact).abs()
    assert bool((difference.nan_to_num(0) <= 1 / bins + 1e-6).all())
    assert torch.equal(found.isnan(), exact.isnan())


@given(small_problem(), st.sampled_from([torch.float32, torch.float64]), st.sampled_from([1.0, 10.0]))
@settings(max_examples=150, deadline=None)
def test_the_hinge_is_within_its_bound(problem: tuple[Tensor, Tensor, int], dtype: torch.dtype, scale: float) -> None:
    logits, target, bins = problem
    bins = 8 * max(2, bins // 8)
    margin, hard = (scale * logits[:, :1]).to(dtype), (target > 0).long()
    exact = float(naive.loss("lovasz", margin.double(), hard, task="binary"))
    with segcrit.use_backend("cpu"):
        found = float(segcrit.functional.lovasz_hinge(margin, hard, task="binary", bins=bins))
    assert abs(found - exact) <= 8 / bins * (1 + exact) + 1e-6 * (1 + exact)
