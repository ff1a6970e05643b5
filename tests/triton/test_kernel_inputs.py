"""Inputs that are bad, extreme, empty or lie oddly in memory, in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import segcrit
from segcrit.core.errors import LabelError, ParameterError
from segcrit.engines import reference
from segcrit.engines.triton import launch
from tests.laws.problems import fractions, mask_of, one_hot, positive_weights, problem

from .agreement import assert_agree, outcome

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of lanes that a mask throws away


@pytest.fixture(autouse=True)
def _small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MOST_PLACES", 16)


@pytest.fixture
def only_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference engine is not asked."""

    def refuse(*_: Any) -> Any:
        pytest.fail("the reference engine was asked")

    monkeypatch.setattr(reference, "forward", refuse)
    monkeypatch.setattr(reference, "backward", refuse)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("upsample", [None, "linear"])
def test_the_backward_pass_finds_what_it_needs(classes: int, upsample: str | None, only_triton: None) -> None:
    p = problem(classes=classes, dtype=torch.float32)
    criterion = segcrit.Criterion("ce + dice", upsample=upsample)
    assert outcome(criterion, "triton", p.logits, p.target).gradient.any()


def test_bad_labels_are_named_where_they_are_looked_at() -> None:
    p = problem(dtype=torch.float32)
    bad = p.target.clone()
    bad[1, 2, 3] = 9
    with pytest.raises(LabelError, match="label 9"):
        segcrit.Criterion("ce", backend="triton")(p.logits, bad)
    with pytest.raises(LabelError, match="sum to 1"):
        segcrit.Criterion("ce", backend="triton")(p.logits, torch.full_like(p.logits, 0.5))
    twice = one_hot(p.target, 4)
    twice[0, :2, 0, 0] = 1
    with pytest.raises(LabelError, match="sum to 1"):
        segcrit.Criterion("dice", backend="triton")(p.logits, twice)
    q = problem("binary", dtype=torch.float32)
    with pytest.raises(LabelError, match="label 2"):
        segcrit.Criterion("bce", task="binary", backend="triton")(q.logits, q.target * 2)
    soft = fractions("binary", q.logits).float()
    with pytest.raises(LabelError, match="hard labels"):
        segcrit.Criterion("lovasz", task="binary", backend="triton")(q.logits, soft)


def test_bad_weights_are_refused_where_they_are_looked_at() -> None:
    p = problem(dtype=torch.float32)
    weight = positive_weights(p).float()
    weight[0, 0, 0] = -1
    with pytest.raises(ParameterError, match="pixel_weight"):
        segcrit.Criterion("ce", backend="triton")(p.logits, p.target, weight)


@pytest.mark.parametrize("expression", ["ce", "ce + dice", "lovasz(bins=64)", "focal + lovasz(bins=64)"])
@pytest.mark.parametrize("label", [4, 9, 255, -1, 2**40, -(2**62)])
def test_a_bad_label_that_nobody_looked_at_makes_nan(expression: str, label: int, only_triton: None) -> None:
    p = problem(dtype=torch.float32)
    bad = p.target.clone()
    bad[1, 2, 3] = label
    found = outcome(segcrit.Criterion(expression, validate="never"), "triton", p.logits, bad)
    assert torch.isnan(found.value)
    assert torch.isnan(found.gradient).any()


@pytest.mark.parametrize("label", [2, -1])
def test_a_bad_element_that_nobody_looked_at_makes_nan(label: int, only_triton: None) -> None:
    p = problem("multilabel", dtype=torch.float32)
    bad = p.target.clone()
    bad[1, 2, 3, 3] = label
    for expression in ("bce", "dice", "lovasz(bins=64)"):
        found = outcome(segcrit.Criterion(expression, task="multilabel", validate="never"), "triton", p.logits, bad)
        assert torch.isnan(found.value)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_ignored_pixels_may_hold_anything(task: str) -> None:
    p = problem(task, seed=170, dtype=torch.float32)
    mask = mask_of(p, 6)
    q = p.ignoring(mask)
    dirty = torch.where(
        mask[:, None], torch.tensor([float("nan"), float("inf")])[torch.randint(2, (4, 1, 1))], q.logits
    )
    expression = ("ce" if task == "multiclass" else "bce") + " + dice + lovasz(bins=64)"
    clean = assert_agree(expression, q.logits, q.target, task=task)
    found = assert_agree(expression, dirty, q.target, task=task)
    assert torch.equal(clean.value, found.value)
    assert torch.equal(clean.gradient, found.gradient)


@pytest.mark.parametrize("expression", ["ce", "dice", "lovasz(bins=64)", "focal"])
def test_nan_that_counts_is_not_hidden(expression: str, only_triton: None) -> None:
    p = problem(seed=171, dtype=torch.float32)
    p.logits[0, 1, 2, 2] = float("nan")
    assert torch.isnan(outcome(segcrit.Criterion(expression), "triton", p.logits, p.target).value)


@pytest.mark.parametrize("expression", ["ce + dice", "focal(gamma=0.5)", "lovasz(bins=64)", "ce(label_smoothing=0.1)"])
@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_extreme_logits(expression: str, size: float) -> None:
    p = problem(seed=172, dtype=torch.float32)
    assert_agree(expression, p.logits * size, p.target)
    q = problem("multilabel", seed=173, dtype=torch.float32)
    expression = expression if expression[:2] != "ce" else f"b{expression}"
    assert_agree(expression, q.logits * size, q.target, task="multilabel")


def test_a_common_offset_changes_nothing() -> None:
    p = problem(seed=174, dtype=torch.float32)
    whole = p.logits.round()
    near, far = (assert_agree("ce + dice", whole + offset, p.target) for offset in (0.0, 1e4))
    assert torch.equal(near.value, far.value)
    assert torch.equal(near.gradient, far.gradient)


def test_classes_masked_by_infinite_logits() -> None:
    p = problem(classes=6, seed=175, dtype=torch.float32)
    p.logits[:, :4][:, [0, 1, 2, 3]] = float("-inf")
    target = p.target % 2 + 4
    found = assert_agree("ce + dice + focal", p.logits, target)
    assert torch.isfinite(found.gradient).all()


@pytest.mark.parametrize(("images", "shape"), [(0, (5, 6)), (2, (0, 6))])
def test_nothing_at_all(images: int, shape: tuple[int, ...]) -> None:
    logits = torch.zeros(images, 3, *shape, requires_grad=True)
    target = torch.zeros(images, *shape, dtype=torch.int64)
    value = segcrit.Criterion("ce + dice", backend="triton")(logits, target)
    value.backward()
    assert float(value.detach()) == 0


def test_nothing_that_counts() -> None:
    p = problem(dtype=torch.float32)
    found = assert_agree("ce + dice + lovasz(bins=64)", p.logits, torch.full_like(p.target, -100))
    assert float(found.value) == 0
    assert not found.gradient.any()


def _layouts(tensor: torch.Tensor) -> list[torch.Tensor]:
    larger = tensor.new_zeros([length + 2 for length in tensor.shape])
    cropped = larger[tuple(slice(1, -1) for _ in tensor.shape)].copy_(tensor)
    unaligned = torch.cat((tensor.new_zeros(1), tensor.reshape(-1)))[1:].view(tensor.shape)
    stepped = tensor.repeat_interleave(2, -1)[..., ::2]
    last = tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    return [tensor, cropped, unaligned, stepped, last]


@pytest.mark.parametrize("place", range(5))
def test_every_layout_in_memory(place: int) -> None:
    p = problem(seed=176, dtype=torch.float32)
    weight = positive_weights(p).float()
    logits, target, weight = (_layouts(tensor)[place] for tensor in (p.logits, p.target, weight))
    before = logits.clone(), target.clone(), weight.clone()
    assert_agree("ce + dice", logits, target, weight)
    assert_agree("ce + dice", logits, one_hot(target, 4), weight)
    assert all(torch.equal(a, b) for a, b in zip(before, (logits, target, weight), strict=True))


@pytest.mark.parametrize("form", ["one-hot", "soft"])
def test_classes_that_lie_further_apart_than_32_bits_count(form: str, only_triton: None) -> None:
    p = problem(classes=4, images=1, shape=(5,), dtype=torch.float32)
    step = (1 << 31) // 3 + 16
    # Memory that is not touched costs nothing.
    memory = torch.empty(3 * step + 5, dtype=torch.uint8 if form == "one-hot" else torch.float16)
    target = memory.as_strided((1, 4, 5), (4 * step, step, 1)).copy_(one_hot(p.target, 4))
    criterion = segcrit.Criterion("ce + dice", validate="never")
    near, far = (outcome(criterion, "triton", p.logits, t) for t in (target.clone(), target))
    assert torch.isfinite(near.value)
    assert torch.equal(far.value, near.value)
    assert torch.equal(far.gradient, near.gradient)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_weights_of_any_size_are_counted(size: float) -> None:
    p = problem(seed=179, dtype=torch.float32)
    weight = positive_weights(p).float()
    plain = assert_agree("lovasz(bins=64)", p.logits, p.target, weight)
    found = assert_agree("lovasz(bins=64)", p.logits, p.target, weight * size)
    torch.testing.assert_close(found.value, plain.value, rtol=1e-5, atol=0)


def test_what_the_kernels_leave_to_the_reference_engine() -> None:
    p = problem(seed=177)
    value = segcrit.Criterion("ce", backend="triton")(p.logits, p.target)
    assert value.dtype == torch.float64
    torch.testing.assert_close(value, segcrit.Criterion("ce", backend="reference")(p.logits, p.target), rtol=0, atol=0)


def test_counts_of_histograms_are_those_of_the_reference_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(shape=(15, 17), seed=178, dtype=torch.float32)
    monkeypatch.setattr(launch, "MOST_PLACES", 128)
    weight = positive_weights(p).float()
    for given in (None, weight):
        sums = [
            segcrit.Criterion("lovasz(bins=64)", backend=name).sums(p.logits, p.target, given).tensors
            for name in ("reference", "triton")
        ]
        assert any(name.endswith("counts") for name in sums[0])
        for name, wanted in sums[0].items():
            exact = given is None and name.endswith("counts")
            torch.testing.assert_close(sums[1][name], wanted, rtol=0, atol=0 if exact else 2e-6 * float(wanted.max()))
