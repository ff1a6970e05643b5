"""Peak extra memory of forward and backward, as a multiple of the logits, by the allocator's own events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import segcrit

from .problems import fractions, problem

LIMIT = 2.5


def peak_bytes(work: Callable[[], object]) -> int:
    """Largest number of bytes that work() held at once beyond what existed before, from the profiler's memory events."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profiler:
        work()
    held = peak = 0
    events = profiler.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    assert memory, "the profiler reports no memory events"
    for _, change in memory:
        held += change
        peak = max(peak, held)
    return peak


def ratio(text: str, logits: Tensor, target: Tensor, weight: Tensor | None = None, **settings: object) -> float:
    module = segcrit.Criterion(text, **settings)
    small = logits[:, :, :8, :8].clone().requires_grad_()
    small_target = target[..., :8, :8]
    module(small, small_target, None if weight is None else weight[..., :8, :8]).backward()
    leaf = logits.clone().requires_grad_()

    def work() -> None:
        module(leaf, target, weight).backward()

    return peak_bytes(work) / (logits.numel() * logits.element_size())


def test_the_ruler_measures_what_it_should():
    logits = torch.zeros(1, 16, 256, 256)
    bytes_of = logits.numel() * 4

    def work() -> None:
        a = logits * 2
        b = a + 1
        del a
        c = b * 3
        del b, c

    assert peak_bytes(work) == pytest.approx(2 * bytes_of, rel=0.01)

    leaf = logits.clone().requires_grad_()
    target = torch.zeros(1, 256, 256, dtype=torch.int64)

    def eager() -> None:
        p = torch.softmax(leaf, 1)
        hot = torch.nn.functional.one_hot(target, 16).movedim(-1, 1).float()
        (1 - 2 * (p * hot).sum() / (p + hot).sum()).backward()

    assert peak_bytes(eager) > 3.9 * bytes_of


CASES = [
    ("ce", "multiclass"),
    ("ce + dice", "multiclass"),
    ("ce(label_smoothing=0.1) + focal + jaccard(squared=True) + dice(per_image=True)", "multiclass"),
    ("lovasz", "multiclass"),
    ("bce(pos_weight=2) + dice", "multilabel"),
    ("focal(alpha=0.25) + lovasz", "multilabel"),
]


@pytest.mark.parametrize("form", ["index", "one-hot", "soft"])
@pytest.mark.parametrize(("text", "task"), CASES)
def test_peak_extra_memory_stays_below_the_limit(text: str, task: str, form: str):
    p = problem(task, images=2, classes=19, shape=(224, 224), dtype=torch.float32, seed=120)
    target = p.target
    if form == "one-hot" and task == "multiclass":
        target = torch.nn.functional.one_hot(p.target, 19).movedim(-1, 1).to(torch.uint8)
    elif form == "soft":
        if "lovasz" in text:
            # Lovász losses take hard labels only; floats that are 0 and 1 are the widest form they accept.
            hot = torch.nn.functional.one_hot(p.target, 19).movedim(-1, 1) if task == "multiclass" else p.target
            target = hot.float()
        else:
            target = fractions(task, p.logits).float()
    weight = torch.rand(2, 224, 224, generator=torch.Generator().manual_seed(0))
    used = ratio(text, p.logits, target, weight, task=task, class_weight=torch.ones(19))
    assert used < LIMIT, f"{used:.2f} times the logits"


@pytest.mark.parametrize("shape", [(65536,), (256, 256), (32, 64, 32)], ids=str)
def test_peak_extra_memory_with_any_number_of_dimensions(shape):
    p = problem(images=1, classes=19, shape=shape, dtype=torch.float32, seed=121)
    module = segcrit.Criterion("ce + dice")
    module(torch.zeros(1, 19, 4), torch.zeros(1, 4).long())
    leaf = p.logits.clone().requires_grad_()
    used = peak_bytes(lambda: module(leaf, p.target).backward()) / (p.logits.numel() * 4)
    assert used < LIMIT


def test_peak_extra_memory_without_spatial_dimensions_and_with_channels_last():
    logits = torch.randn(65536, 19, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(65536, dtype=torch.int64)
    module = segcrit.Criterion("ce + dice")
    leaf = logits.clone().requires_grad_()
    assert peak_bytes(lambda: module(leaf, target).backward()) / (logits.numel() * 4) < LIMIT
    p = problem(images=2, classes=19, shape=(192, 192), dtype=torch.float32, seed=122)
    leaf = p.logits.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert peak_bytes(lambda: module(leaf, p.target).backward()) / (p.logits.numel() * 4) < LIMIT
