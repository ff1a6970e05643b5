"""Logits of a lower resolution: what the two passes over them, which divide the pixels differently, must agree on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import segcrit
from segcrit.engines.interpolation import axis_of
from segcrit.engines.operators import sweep
from segcrit.engines.request import Call, Request, Sweep

LOW, HIGH = (9, 41), (31, 143)


def low_and_labels(scale: float, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and the labels that they predict: every probability of a label is large."""
    logits = scale * torch.randn(2, 3, *LOW, generator=torch.Generator().manual_seed(seed))
    return logits, F.interpolate(logits, size=HIGH, mode="bilinear").argmax(1)


@pytest.fixture
def filled_memory() -> Iterator[None]:
    """New tensors hold NaN, whatever the memory held before."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("filled_memory")
def test_normalizers_of_ignored_pixels_are_numbers():
    logits, labels = low_and_labels(3.0)
    labels[:, 8:25] = -100
    request = Request("multiclass", errors="probability", bins=64)
    tensors = Sweep(logits, labels, None, torch.ones(0, 2, 3), None)
    normalizers = sweep(tensors, request, request.encode(), Call(upsample=True, save=True)).normalizers
    assert bool(torch.isfinite(normalizers).all())
    assert bool((normalizers[1] >= 0.5).all())


@pytest.mark.parametrize("gamma", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("width", [143, 300])
def test_focal_gradient_of_sure_pixels_is_a_number(gamma: float, width: int):
    """A probability that the backward pass finds above 1 would have an error below 0, and a root that is no number."""
    logits, _ = low_and_labels(20.0)
    labels = F.interpolate(logits, size=(31, width), mode="bilinear").argmax(1)
    logits.requires_grad_()
    segcrit.Criterion(f"focal(gamma={gamma})", upsample="linear")(logits, labels).backward()
    assert logits.grad is not None
    assert not bool(logits.grad.isnan().any())


def test_threads_do_not_change_a_digit(engine: str):
    if engine == "reference":
        pytest.skip("PyTorch's matrix product may divide its sums by the number of threads")
    threads = torch.get_num_threads()
    logits, labels = low_and_labels(4.0)
    criterion = segcrit.Criterion("ce + dice + lovasz", upsample="linear")
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            z = logits.clone().requires_grad_()
            loss = criterion(z, labels)
            results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
    finally:
        torch.set_num_threads(threads)
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_tensors_of_a_trace_are_not_kept():
    with FakeTensorMode():
        axis_of(7, 29, False)
    assert type(axis_of(7, 29, False).first) is Tensor


def test_autocast_around_the_backward_pass_changes_nothing():
    logits, labels = low_and_labels(1.0, seed=3)
    criterion = segcrit.Criterion("ce + dice", upsample="linear")
    gradients = []
    for enabled in (False, True):
        z = logits.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            gradients += torch.autograd.grad(criterion(z, labels), z)
    assert torch.equal(*gradients)


def test_tensors_without_numbers_have_a_gradient():
    """As tools that count operations or memory pass them through a network and its loss."""
    logits = torch.empty(2, 3, *LOW, device="meta", requires_grad=True)
    labels = torch.empty(2, *HIGH, device="meta", dtype=torch.int64)
    criterion = segcrit.Criterion("ce + dice", upsample="linear", validate="never")
    with segcrit.use_backend("reference"):
        criterion(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad.shape == logits.shape
