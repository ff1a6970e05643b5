"""Fused linear upsampling against ``torch.nn.functional.interpolate`` followed by the same loss."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import segcrit
from segcrit.engines.cpu import native
from tests.laws.test_memory import peak_bytes

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
# (low, high): whole, fractional and different factors for each axis, single samples, downscaling; wide enough for several
# strips of 256 columns, and narrow enough for many rows in a block.
SIZES = [
    ((7,), (28,)),
    ((300,), (777,)),
    ((11,), (4,)),
    ((6, 5), (24, 20)),
    ((5, 130), (13, 601)),
    ((9, 7), (4, 3)),
    ((1, 6), (5, 6)),
    ((7, 1), (7, 9)),
    ((3, 4, 5), (6, 8, 10)),
    ((4, 3, 70), (9, 7, 290)),
    ((5, 6, 4), (2, 11, 4)),
]
TEXTS = [
    ("ce", "multiclass"),
    ("ce(label_smoothing=0.1) + dice", "multiclass"),
    ("focal + jaccard(squared=True, per_image=True)", "multiclass"),
    ("bce(pos_weight=2) + dice", "multilabel"),
]


def scene(
    low: tuple[int, ...], high: tuple[int, ...], task: str = "multiclass", seed: int = 0, classes: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, *low, generator=random, dtype=torch.float64)
    shape = (2, *high) if task == "multiclass" else (2, classes, *high)
    target = torch.randint(classes if task == "multiclass" else 2, shape, generator=random)
    target[torch.rand(shape, generator=random) < 0.1] = -100
    return logits, target, torch.rand(2, *high, generator=random, dtype=torch.float64)


def interpolated(logits: Tensor, size: tuple[int, ...], align: bool) -> Tensor:
    return F.interpolate(logits, size=size, mode=MODES[len(size)], align_corners=align)


def run(
    text: str, logits: Tensor, target: Tensor, weight: Tensor | None = None, **options: object
) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    value = segcrit.Criterion(text, upsample="linear", backend="cpu", **options)(leaf, target, weight)
    return value.detach(), torch.autograd.grad(1.3 * value, leaf)[0]


@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
@pytest.mark.parametrize(("low", "high"), SIZES, ids=str)
@pytest.mark.parametrize(("text", "task"), TEXTS, ids=lambda x: x.split("(")[0])
def test_equal_to_interpolating_first(
    text: str, task: str, low: tuple[int, ...], high: tuple[int, ...], align: bool
) -> None:
    logits, target, weight = scene(low, high, task)
    leaf = logits.clone().requires_grad_()
    wanted = segcrit.Criterion(text, task=task, backend="reference")(interpolated(leaf, high, align), target, weight)
    gradient = torch.autograd.grad(1.3 * wanted, leaf)[0]
    found, found_gradient = run(text, logits, target, weight, task=task, align_corners=align)
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found_gradient, gradient, rtol=0, atol=2e-13 * float(gradient.abs().max()))


@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
def test_cross_entropy_by_pytorch_alone(align: bool) -> None:
    logits, target, _ = scene((6, 5), (23, 31), seed=1)
    leaf = logits.clone().requires_grad_()
    wanted = F.cross_entropy(interpolated(leaf, (23, 31), align), target)
    gradient = torch.autograd.grad(1.3 * wanted, leaf)[0]
    found, found_gradient = run("ce", logits, target, align_corners=align)
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(found_gradient, gradient, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
@pytest.mark.parametrize("view", ["channels last", "transposed", "cropped", "expanded"])
def test_low_resolution_logits_of_any_strides(view: str, align: bool) -> None:
    logits, target, weight = scene((9, 9), (31, 45), seed=2)
    other = {
        "channels last": lambda z: z.contiguous(memory_format=torch.channels_last),
        "transposed": lambda z: z.transpose(2, 3),
        "cropped": lambda z: F.pad(z, (1, 2, 3, 1))[:, :, 3:-1, 1:-2],
        "expanded": lambda z: z[:1].expand(2, -1, -1, -1),
    }[view](logits)
    wanted = run("ce + dice", other.contiguous(), target, weight, align_corners=align)
    found = run("ce + dice", other, target, weight, align_corners=align)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
def test_a_logit_that_no_valid_pixel_reads_may_be_anything(odd: float, align: bool) -> None:
    low, high = (6, 7), (24, 21)
    logits, target, _ = scene(low, high, seed=3)
    # Where the interpolation of a map with a single 1 is positive, that sample is read.
    mark = torch.zeros(1, 1, *low, dtype=torch.float64)
    mark[0, 0, 2, 3] = 1
    target[0][interpolated(mark, high, align)[0, 0] > 0] = -100
    clean = run("ce + dice + lovasz", logits, target, align_corners=align)
    logits[0, :, 2, 3] = odd
    dirty = run("ce + dice + lovasz", logits, target, align_corners=align)
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])
    assert not clean[1][0, :, 2, 3].any()


@pytest.mark.parametrize(("low", "high"), [(50, 99), (50, 148), (5, 20), (7, 21)])
@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
def test_a_neighbour_of_weight_zero_is_not_read(low: int, high: int, align: bool) -> None:
    # A position that falls on a sample: 0 times an infinite neighbour would be NaN, a rounded 1e-16 of it infinite.
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, low, generator=random, dtype=torch.float64)
    scale, offset = ((low - 1), (high - 1)) if align else (low, high)
    for i in range(high):
        above = i * scale if align else (2 * i + 1) * low - high
        below = offset if align else 2 * high
        if above < 0 or above % below or above // below + 1 >= low:
            continue
        sample = above // below
        changed = logits.clone()
        changed[0, :, sample + 1] = -math.inf
        target = torch.full((1, high), -100)
        target[0, i] = 1
        wanted = F.cross_entropy(logits[:, :, sample], torch.ones(1, dtype=torch.int64))
        found, gradient = run("ce", changed, target, align_corners=align)
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=0)
        assert gradient.isfinite().all()


def test_a_class_masked_by_minus_infinity() -> None:
    logits, target, _ = scene((6, 7), (24, 21), seed=4, classes=4)
    logits[:, 3] = -math.inf
    target[target == 3] = 0
    found, gradient = run("ce + dice", logits, target)
    wanted, gradient_of_three = run("ce + dice", logits[:, :3], target)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:, :3], gradient_of_three, rtol=1e-11, atol=1e-15)
    assert not gradient[:, 3].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [13, 37, 300])
def test_powers_of_what_is_left_stay_real_where_p_is_one(width: int, dtype: torch.dtype) -> None:
    # Interpolated otherwise backward than forward, a logit might exceed the maximum that was kept, and 1 - p be negative.
    logits, target, _ = scene((9, width), (31, 3 * width + 1), seed=10)
    value, gradient = run("focal(gamma=0.5) + focal(gamma=3.3)", (15 * logits).to(dtype), target)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("low", "high"), [((33, 21), (131, 83)), ((40, 70), (101, 290)), ((17, 9, 8), (33, 20, 31))], ids=str
)
def test_the_gradient_does_not_depend_on_the_number_of_threads(
    low: tuple[int, ...], high: tuple[int, ...], dtype: torch.dtype
) -> None:
    logits, target, weight = scene(low, high, seed=5)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(run("ce + dice + focal", logits.to(dtype), target, weight.float()))
    finally:
        torch.set_num_threads(before)
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


# The tables of 150 classes and 4096 bins are as large as this small image; their size does not depend on the pixels.
@pytest.mark.parametrize("text", ["ce", "ce + dice", "focal + jaccard", "lovasz(bins=256)"])
def test_peak_memory_of_many_classes(text: str) -> None:
    random = torch.Generator().manual_seed(6)
    logits = torch.randn(1, 150, 64, 64, generator=random).requires_grad_()
    target = torch.randint(150, (1, 256, 256), generator=random)
    criterion = segcrit.Criterion(text, upsample="linear", backend="cpu")
    criterion(logits[:, :, :4, :4], target[:, :16, :16]).backward()
    logits.grad = None
    peak = peak_bytes(lambda: criterion(logits, target).backward())
    assert peak <= 0.15 * 150 * 256 * 256 * 4


def test_deep_supervision_is_the_weighted_sum_of_its_levels() -> None:
    logits, target, weight = scene((24, 20), (24, 20), seed=7)
    levels = [logits, logits[:, :, ::2, ::2].contiguous(), logits[:, :, ::4, ::4].contiguous()]
    leaves = [level.clone().requires_grad_() for level in levels]
    criterion = segcrit.Criterion("ce + dice", backend="cpu", level_weights=[0.5, 0.3, 0.2])
    value = criterion(leaves, target, weight)
    gradients = torch.autograd.grad(1.3 * value, leaves)
    parts = [run("ce + dice", level, target, weight) for level in levels]
    torch.testing.assert_close(
        value.detach(), sum(w * part[0] for w, part in zip((0.5, 0.3, 0.2), parts, strict=True)), rtol=1e-12, atol=0
    )
    for share, gradient, part in zip((0.5, 0.3, 0.2), gradients, parts, strict=True):
        torch.testing.assert_close(gradient, share * part[1], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
def test_sums_of_two_batches_give_the_gradient_of_the_joined_batch(align: bool) -> None:
    logits, target, weight = scene((6, 7), (23, 30), seed=8)
    wanted, gradient = run("ce + dice", logits, target, weight, align_corners=align)
    criterion = segcrit.Criterion("ce + dice", upsample="linear", align_corners=align, backend="cpu")
    parts = [(logits[n : n + 1].clone().requires_grad_(), target[n : n + 1], weight[n : n + 1]) for n in range(2)]
    total = criterion.sums(*parts[0]) + criterion.sums(*parts[1])
    for n, (leaf, labels, weights) in enumerate(parts):
        value = criterion(leaf, labels, weights, sums=total)
        (1.3 * value).backward()
        torch.testing.assert_close(value.detach(), wanted, rtol=1e-12, atol=0)
        torch.testing.assert_close(leaf.grad, gradient[n : n + 1], rtol=1e-10, atol=1e-15)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
def test_the_compiled_graph_stays_whole(align: bool) -> None:
    logits, target, weight = scene((6, 7), (23, 30), seed=9)
    wanted, gradient = run("ce + dice + lovasz", logits, target, weight, align_corners=align)
    criterion = segcrit.Criterion("ce + dice + lovasz", upsample="linear", align_corners=align, backend="cpu")
    torch._dynamo.reset()
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    leaf = logits.clone().requires_grad_()
    value = compiled(leaf, target, weight)
    torch.testing.assert_close(value.detach(), wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(1.3 * value, leaf)[0], gradient, rtol=1e-10, atol=1e-15)
    torch._dynamo.reset()
