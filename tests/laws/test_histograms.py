"""Lovász losses from histograms of errors against exact sorting: bounds, typical errors, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import segcrit
from tests.oracles import naive

from .problems import positive_weights, problem


def smooth_field(channels: int, size: int, *, seed: int, coarse: int = 12) -> Tensor:
    """Random fields (channels, size, size) that vary over about size / coarse pixels."""
    g = torch.Generator().manual_seed(seed)
    grid = torch.randn(1, channels, coarse, coarse, generator=g, dtype=torch.float64)
    return torch.nn.functional.interpolate(grid, size=(size, size), mode="bicubic", align_corners=False)[0]


def realistic(classes: int, size: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels as of a half-trained network: smooth regions, unequal classes, 80 % of pixels right."""
    bias = torch.linspace(1.2, -0.8, classes, dtype=torch.float64)[:, None, None]
    truth = smooth_field(classes, size, seed=seed) + bias
    noise = smooth_field(classes, size, seed=seed + 2, coarse=24)
    noise += 0.3 * torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    labels = truth.argmax(0)
    low, high = 0.0, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        right = float(((truth + middle * noise).argmax(0) == labels).double().mean())
        low, high = (middle, high) if right > 0.8 else (low, middle)
    return 3.0 * (truth + low * noise)[None], labels[None]


def value_and_gradient(text: str, logits: Tensor, target: Tensor, task: str = "multiclass") -> tuple[float, Tensor]:
    z = logits.clone().requires_grad_()
    loss = segcrit.Criterion(text, task=task)(z, target)
    return float(loss.detach()), torch.autograd.grad(loss, z)[0]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.double().flatten(), b.double().flatten(), 0))


@pytest.mark.parametrize("classes", [2, 5, 21])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_default_bins_on_realistic_logits(classes: int, dtype: torch.dtype):
    logits, target = realistic(classes, 96, seed=classes)
    logits = logits.to(dtype)
    right = float((logits.argmax(1) == target).double().mean())
    assert 0.78 < right < 0.82
    exact, exact_gradient = value_and_gradient("lovasz(exact=True)", logits.double(), target)
    value, gradient = value_and_gradient("lovasz", logits, target)
    assert abs(value - exact) <= 1e-4 * exact
    assert cosine(gradient, exact_gradient) >= (0.9999 if dtype != torch.bfloat16 else 0.999)
    length = float(gradient.double().norm() / exact_gradient.norm())
    assert length == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("bins", [16, 64, 256, 1024, 4096, 65536])
def test_error_is_at_most_one_bin(bins: int):
    for seed in range(4):
        logits, target = realistic(4, 24, seed=seed)
        exact = segcrit.functional.lovasz_softmax(logits, target, exact=True, reduction="none")
        value = segcrit.functional.lovasz_softmax(logits, target, bins=bins, reduction="none")
        assert float((value - exact).abs().max()) <= 1 / bins


def test_error_is_at_most_one_bin_where_all_errors_share_it():
    """Few pixels whose order inside one bin decides everything: the worst case of the bound."""
    g = torch.Generator().manual_seed(3)
    for _ in range(30):
        p = 0.5 + 0.02 * torch.rand(12, generator=g, dtype=torch.float64)
        logits = torch.stack([torch.log(p), torch.log1p(-p)])[None]
        target = torch.randint(0, 2, (1, 12), generator=g)
        target[0, :2] = torch.tensor([0, 1])
        exact = segcrit.functional.lovasz_softmax(logits, target, exact=True, reduction="none")
        value = segcrit.functional.lovasz_softmax(logits, target, bins=16, reduction="none")
        assert float((value - exact).abs().max()) <= 1 / 16


def test_more_bins_come_closer():
    logits, target = realistic(8, 64, seed=7)
    exact, exact_gradient = value_and_gradient("lovasz(exact=True)", logits, target)
    errors, cosines = [], []
    for bins in (64, 512, 4096):
        value, gradient = value_and_gradient(f"lovasz(bins={bins})", logits, target)
        errors.append(abs(value - exact))
        cosines.append(1 - cosine(gradient, exact_gradient))
    assert errors[2] < errors[0] / 10
    assert cosines[2] < cosines[1] < cosines[0]


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("bins", [64, 512, 4096])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_hinge_error_is_within_its_bound(task: str, bins: int, scale: float):
    """(8 / bins) · (1 + loss) for errors below 255."""
    for seed in range(3):
        p = problem(task, shape=(12, 12), seed=seed, scale=scale)
        exact = segcrit.functional.lovasz_hinge(p.logits, p.target, task=task, exact=True, reduction="none")
        value = segcrit.functional.lovasz_hinge(p.logits, p.target, task=task, bins=bins, reduction="none")
        assert ((value - exact).abs() <= 8 / bins * (1 + exact)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_default_bins_of_the_hinge_on_realistic_logits(dtype: torch.dtype):
    logits, target = realistic(2, 96, seed=11)
    margin = (logits[:, 1:] - logits[:, :1]).to(dtype)
    exact, exact_gradient = value_and_gradient("lovasz(exact=True)", margin.double(), target, "binary")
    value, gradient = value_and_gradient("lovasz", margin, target, "binary")
    assert abs(value - exact) <= 1e-4 * exact
    assert cosine(gradient, exact_gradient) >= 0.9999


def test_hinge_survives_errors_beyond_its_bins():
    logits = torch.tensor([[[-3000.0, 1e4, -1e30, 5.0]]], dtype=torch.float64)
    target = torch.tensor([[1, 0, 1, 1]])
    exact, _ = value_and_gradient("lovasz(exact=True)", logits, target, "binary")
    value, gradient = value_and_gradient("lovasz", logits, target, "binary")
    assert value == pytest.approx(exact, rel=0.7)
    assert torch.isfinite(gradient).all()


def test_weights_in_bins():
    logits, target = realistic(3, 32, seed=5)
    weight = positive_weights(problem(images=1, shape=(32, 32)), zeros=True)
    exact = naive.loss("lovasz", logits, target, weight)
    value = segcrit.functional.lovasz_softmax(logits, target, pixel_weight=weight)
    assert float(value) == pytest.approx(float(exact), rel=1e-4)
    images = segcrit.functional.lovasz_softmax(logits, target, pixel_weight=weight, per_image=True)
    torch.testing.assert_close(images, value)


def test_an_absent_class_that_is_penalised_costs_its_largest_error():
    logits, target = realistic(3, 16, seed=6)
    target = torch.where(target == 2, 0, target)
    values = segcrit.functional.lovasz_softmax(logits, target, absent="penalize", reduction="none")
    largest = torch.softmax(logits, 1)[:, 2].max()
    assert float(values[2]) == pytest.approx(float(largest), abs=1 / 4096)
    sorted_values = segcrit.functional.lovasz_softmax(logits, target, absent="penalize", exact=True, reduction="none")
    assert float(sorted_values[2]) == pytest.approx(float(largest), rel=1e-12)


def test_float32_sorting_loses_more_than_float64():
    """Closed-form increments in float64 keep the gradient that differences of float32 sums lose."""
    logits, target = realistic(4, 128, seed=9)
    _, wide = value_and_gradient("lovasz(exact=True)", logits, target)
    _, narrow = value_and_gradient("lovasz(exact=True)", logits.float(), target)
    assert float((narrow.double() - wide).norm() / wide.norm()) < 1e-4
