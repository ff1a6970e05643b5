"""Triton's interpreter runs the production kernels: the numbers of the reference engine, for every loss and input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import triton.language as tl

import segcrit
import triton
from segcrit.engines.triton import engine, launch
from segcrit.engines.triton.kernels.arithmetic import focal_slope, focal_value
from tests.laws.cases import CASES
from tests.laws.problems import Problem, fractions, mask_of, one_hot, positive_weights, problem

from .agreement import assert_agree

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy's, of lanes that a mask throws away
    pytest.mark.filterwarnings("ignore::UserWarning"),  # what a scalar alpha is worth to a user
]

TABLE = [(case.expression, task) for case in CASES for task in case.tasks if not case.parameters.get("exact")]
FORMS = ["labels", "one-hot", "soft"]


@pytest.fixture(autouse=True)
def _small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of thirty pixels are divided among programs, as large ones are."""
    monkeypatch.setattr(launch, "MOST_PLACES", 16)


def single(task: str, **options: Any) -> Problem:
    return problem(task, dtype=torch.float32, **options)


@pytest.mark.parametrize(("expression", "task"), TABLE, ids=lambda x: x)
def test_every_loss(expression: str, task: str) -> None:
    p = single(task, shape=(4, 5), seed=150)
    p = p.ignoring(mask_of(p, 4))
    weight = positive_weights(p, zeros=True).float()
    assert_agree(expression, p.logits, p.target, weight, task=task)


@pytest.mark.parametrize("expression", ["ce + dice + lovasz(bins=64)", "focal + jaccard"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(expression: str, dtype: torch.dtype) -> None:
    p = single("multiclass", seed=151)
    assert_agree(expression, p.logits.to(dtype), p.target)
    q = single("multilabel", seed=152)
    assert_agree(
        f"b{expression}" if expression[:2] == "ce" else expression, q.logits.to(dtype), q.target, task="multilabel"
    )


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.float16, torch.bfloat16,
     torch.float32, torch.float64],
    ids=str,
)  # fmt: skip
def test_labels_of_every_dtype(dtype: torch.dtype) -> None:
    p = single("multiclass", classes=2, seed=153)
    q = single("binary", seed=154)
    ignored = 1 if dtype == torch.bool else 7
    for case in (p, q):
        target = case.target.clone()
        if dtype != torch.bool:
            target[:, :2, 1] = 7
        assert_agree("dice + focal", case.logits, target.to(dtype), task=case.task, ignore_index=ignored)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "expression",
    ["ce + dice(squared=True)", "focal(gamma=1.5)", "ce(label_smoothing=0.1)", "ce(unlabelled='background') + jaccard",
     "partial_ce(foreground_only=True)"],
)  # fmt: skip
def test_every_form_of_target(expression: str, form: str) -> None:
    p = single("multiclass", seed=155)
    target = p.target
    if form != "labels":
        target = one_hot(target, 4) if form == "one-hot" else fractions("multiclass", p.logits).float()
        target = torch.where(mask_of(p, 4)[:, None], torch.zeros((), dtype=target.dtype), target)
    assert_agree(expression, p.logits, target, positive_weights(p).float())


@pytest.mark.parametrize("expression", ["bce + dice(squared=True)", "focal(label_smoothing=0.1) + jaccard"])
def test_soft_elements(expression: str) -> None:
    p = single("multilabel", seed=156)
    target = fractions("multilabel", p.logits).float()
    target[0, 1, 2] = -100
    assert_agree(expression, p.logits, target, task="multilabel")


@pytest.mark.parametrize(
    ("low", "high", "align"),
    [
        ((3,), (8,), False),
        ((2, 3), (3, 5), False),
        ((2, 3), (4, 5), True),
        ((5, 4), (3, 2), False),
        ((1, 2), (3, 4), True),
        ((2, 2, 1), (3, 2, 2), False),
        ((2, 1, 2), (3, 2, 3), True),
    ],
)
def test_upsampling(low: tuple[int, ...], high: tuple[int, ...], align: bool) -> None:
    p = single("multiclass", images=1, shape=low, classes=3, seed=157)
    wide = single("multiclass", images=1, shape=high, classes=3, seed=158)
    options = {"upsample": "linear", "align_corners": align}
    assert_agree("ce + dice", p.logits, torch.where(mask_of(wide, 2), -100, wide.target), **options)
    elements = single("binary", images=1, shape=high, seed=159).target
    weight = positive_weights(wide).float()
    assert_agree("bce + tversky", p.logits[:, :1], elements, weight, task="binary", **options)


@pytest.mark.parametrize(
    ("expression", "form"),
    [
        ("focal + jaccard(squared=True) + lovasz(bins=64)", "labels"),
        ("ce(label_smoothing=0.1)", "labels"),
        ("focal + dice", "one-hot"),
        ("ce(unlabelled='background')", "one-hot"),
        ("ce + dice(squared=True)", "soft"),
        ("focal(unlabelled='background')", "soft"),
    ],
)
def test_upsampling_with_every_form_of_target(expression: str, form: str) -> None:
    p = single("multiclass", images=1, shape=(2, 3), seed=160)
    wide = single("multiclass", images=1, shape=(3, 5), seed=161)
    target = wide.target
    if form != "labels":
        target = one_hot(target, 4) if form == "one-hot" else fractions("multiclass", wide.logits).float()
    ignored = torch.full((), -100 if form == "labels" else 0, dtype=target.dtype)
    mask = mask_of(wide, 2)
    target = torch.where(mask if form == "labels" else mask[:, None], ignored, target)
    assert_agree(expression, p.logits, target, positive_weights(wide, zeros=True).float(), upsample="linear")


@pytest.mark.parametrize("classes", [2, 3, 19, 37])
def test_every_number_of_classes(classes: int) -> None:
    p = single("multiclass", classes=classes, shape=(6, 7), seed=162)
    found = assert_agree("ce + dice + lovasz(bins=64)", p.logits, p.target)
    assert int(found.confusion.sum()) == p.target.numel()


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_values_of_pixels(task: str) -> None:
    p = single(task, seed=163)
    p = p.ignoring(mask_of(p, 5))
    upstream = torch.rand(2, *(() if task == "multiclass" else (4,)), 5, 6)
    results = []
    for backend in ("reference", "triton"):
        z = p.logits.clone().requires_grad_()
        with segcrit.use_backend(backend):
            values = segcrit.functional.focal(z, p.target, task=task, reduction="none")
            results.append((values.detach(), torch.autograd.grad(values, z, upstream)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=2e-6, atol=2e-7)


def test_a_loss_of_ones_own() -> None:
    @segcrit.pixel_loss
    def margin_of_this_test(logp: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.relu(0.7 - logp.exp()) ** 2

    p = single("multiclass", seed=164)
    assert_agree("margin_of_this_test + dice", p.logits, p.target, positive_weights(p, zeros=True).float())


def test_samples_without_pixels() -> None:
    p = single("multiclass", images=9, shape=(), seed=165)
    assert_agree("ce + dice + lovasz(bins=64)", p.logits, p.target)
    q = single("multilabel", images=9, shape=(), seed=166)
    assert_agree("bce + dice", q.logits, q.target, task="multilabel")


def test_two_calls_give_the_same_bits() -> None:
    p = single("multiclass", shape=(7, 9), seed=167)
    weight = positive_weights(p).float()
    first, second = (assert_agree("ce + dice + lovasz(bins=64)", p.logits, p.target, weight) for _ in range(2))
    assert torch.equal(first.value, second.value)
    assert torch.equal(first.gradient, second.gradient)


def test_the_graph_stays_whole_under_compile() -> None:
    torch._dynamo.reset()
    p, wide = (single("multiclass", images=1, shape=shape, seed=168) for shape in ((2, 3), (3, 4)))
    criterion = segcrit.Criterion("ce + dice", upsample="linear", backend="triton")
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    results = []
    # Compiled first: it is then that the kernels are imported.
    for call in (compiled, criterion):
        z = p.logits.clone().requires_grad_()
        value = call(z, wide.target)
        results.append((value.detach(), torch.autograd.grad(value, z)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-9)


def test_a_gradient_that_is_slightly_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = engine.backward
    monkeypatch.setattr(engine, "backward", lambda *arguments: backward(*arguments) * (1 + 4e-5))
    p = single("multiclass", seed=150)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_agree("ce + dice", p.logits, p.target)


@triton.jit
def _focal(log_p, values, slopes, GAMMA: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, 4)
    found = tl.load(log_p + place)
    tl.store(values + place, focal_value(found, GAMMA))
    tl.store(slopes + place, focal_slope(found, GAMMA))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.3])
def test_a_log_probability_above_0_by_a_rounding_is_that_of_certainty(gamma: float) -> None:
    log_p = torch.tensor([6e-8, 0.0, -0.7, float("nan")])
    values, slopes = torch.empty(4), torch.empty(4)
    _focal[(1,)](log_p, values, slopes, gamma)
    for found in (values, slopes):
        assert found[0] == found[1] == 0
        assert torch.isfinite(found[2])
        assert torch.isnan(found[3])
