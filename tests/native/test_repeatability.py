"""Bit by bit: the same again at a fixed number of threads; whole numbers, and what is summed in a fixed order, at any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import segcrit
from segcrit.engines.cpu import native

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

# Image sizes that give full and partial blocks, and more chunks than threads.
CASES = [
    ("ce + dice + focal", "multiclass"),
    ("lovasz", "multiclass"),
    ("lovasz(per_image=True) + jaccard(per_image=True)", "multiclass"),
    ("focal(label_smoothing=0.1) + dice(squared=True)", "multiclass"),
    ("bce + dice", "multilabel"),
    ("lovasz", "multilabel"),
]


def run(text: str, task: str, dtype: torch.dtype, threads: int, weighted: bool) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    logits = (3 * torch.randn(3, 6, 67, 211, generator=random)).to(dtype).requires_grad_()
    shape = (3, 67, 211) if task == "multiclass" else (3, 6, 67, 211)
    target = torch.randint(6 if task == "multiclass" else 2, shape, generator=random)
    weight = torch.rand(3, 67, 211, generator=random) if weighted else None
    criterion = segcrit.Criterion(text, task=task, backend="cpu", statistics=True)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        value = criterion(logits, target, weight)
        (gradient,) = torch.autograd.grad(value, logits)
    finally:
        torch.set_num_threads(before)
    assert criterion.last_confusion is not None
    return value.detach(), gradient, criterion.last_confusion


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("text", "task"), CASES)
def test_the_same_again_and_with_other_threads(text: str, task: str, dtype: torch.dtype, weighted: bool) -> None:
    first = run(text, task, dtype, 3, weighted)
    again = run(text, task, dtype, 3, weighted)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    # Histograms are whole numbers but with weights, of margins, and of float64, which has more digits than their unit.
    whole = "lovasz" not in text or (task == "multiclass" and not weighted and dtype != torch.float64)
    for threads in (1, 2, 8):
        other = run(text, task, dtype, threads, weighted)
        assert torch.equal(first[2], other[2])
        if whole:
            assert torch.equal(first[0], other[0])
            assert torch.equal(first[1], other[1])
        else:
            torch.testing.assert_close(first[0], other[0], rtol=1e-12 if dtype == torch.float64 else 1e-6, atol=0)
