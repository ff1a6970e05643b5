"""Two classes and sigmoids, whole blocks of 0 and 1 without weights: the loops that take them, beside those that do not."""

from __future__ import annotations

import math

import pytest
import torch

import segcrit
from segcrit.engines.cpu import native

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

# 2 full blocks of 256 pixels and a part of one in each image.
SIZE = (3, 19, 29)
TWO_CLASSES = (
    "ce",
    "ce(class_weight=[0.3, 2])",
    "ce(class_weight=[0, 2])",
    "dice",
    "dice(squared=True, per_image=True)",
    "ce + jaccard(squared=True)",
    "0.5*ce(class_weight=[1, 3]) + tversky(alpha=0.2, beta=0.8, per_image=True)",
    "ce(reduction='sum') + dice(classes=[1])",
)
SIGMOIDS = (
    "bce",
    "bce(pos_weight=3)",
    "bce(pos_weight=0.5) + dice",
    "dice(squared=True)",
    "jaccard(per_image=True) + 2*bce",
    "bce(logit_scale=2) + dice(logit_scale=2, squared=True)",
)
CASES = [(text, "multiclass", 2) for text in TWO_CLASSES] + [
    (text, *task) for text in SIGMOIDS for task in (("binary", 1), ("multilabel", 4))
]
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12, torch.bfloat16: 8e-3, torch.float16: 1e-3}


def both(text: str, task: str, logits: torch.Tensor, target: torch.Tensor, **options):
    criterion = segcrit.Criterion(text, task=task, **options)
    results = []
    for backend in ("cpu", "reference"):
        z = logits.detach().requires_grad_()
        with segcrit.use_backend(backend):
            value = criterion(z, target)
            # As torch's GradScaler does it: small gradients have few digits in float16.
            factor = 1024.0 if z.dtype == torch.float16 else 1.7
            (gradient,) = torch.autograd.grad(factor * value, z)
        results.append((float(value.detach()), gradient.double()))
    return results


def agree(results, tolerance: float) -> None:
    (value, gradient), (wanted, expected) = results
    assert math.isclose(value, wanted, rel_tol=min(tolerance, 5e-6), abs_tol=1e-7)
    assert float((gradient - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("text", "task", "channels"), CASES)
def test_the_short_loops_agree_with_the_reference_engine(text, task, channels, dtype):
    random = torch.Generator().manual_seed(3)
    logits = (4 * torch.randn(SIZE[0], channels, *SIZE[1:], generator=random)).to(dtype)
    shape = SIZE if task == "multiclass" else tuple(logits.shape)
    target = (torch.rand(shape, generator=random) < 0.3).to(torch.int64)
    agree(both(text, task, logits, target), TOLERANCE[dtype])


@pytest.mark.parametrize(
    "target_dtype", [torch.uint8, torch.bool, torch.int8, torch.int32, torch.float32, torch.float64]
)
@pytest.mark.parametrize(
    ("text", "task", "channels"), [("ce + dice", "multiclass", 2), ("bce + dice", "multilabel", 4)]
)
def test_every_dtype_of_the_target(text, task, channels, target_dtype):
    random = torch.Generator().manual_seed(4)
    logits = 4 * torch.randn(SIZE[0], channels, *SIZE[1:], generator=random)
    shape = SIZE if task == "multiclass" else tuple(logits.shape)
    target = (torch.rand(shape, generator=random) < 0.3).to(target_dtype)
    agree(both(text, task, logits, target), 5e-6)


@pytest.mark.parametrize("share", [0.0005, 0.5])
@pytest.mark.parametrize(("text", "task", "channels"), CASES)
def test_some_blocks_with_ignored_pixels_or_fractions(text, task, channels, share):
    random = torch.Generator().manual_seed(5)
    logits = 4 * torch.randn(SIZE[0], channels, *SIZE[1:], generator=random)
    shape = SIZE if task == "multiclass" else tuple(logits.shape)
    target = (torch.rand(shape, generator=random) < 0.3).to(torch.int16)
    target[torch.rand(shape, generator=random) < share] = 255
    agree(both(text, task, logits, target, ignore_index=255), 5e-6)
    if task != "multiclass":
        fractions = target.clamp(max=1).float()
        fractions[torch.rand(shape, generator=random) < share] = 0.3
        agree(both(text, task, logits, fractions, ignore_index=255), 5e-6)


@pytest.mark.parametrize("ignored", [0, 1])
@pytest.mark.parametrize(
    ("text", "task", "channels"), [("ce + dice", "multiclass", 2), ("bce + dice", "multilabel", 4)]
)
def test_an_ignore_label_that_is_0_or_1(text, task, channels, ignored):
    random = torch.Generator().manual_seed(6)
    logits = 4 * torch.randn(SIZE[0], channels, *SIZE[1:], generator=random)
    shape = SIZE if task == "multiclass" else tuple(logits.shape)
    target = (torch.rand(shape, generator=random) < 0.3).to(torch.uint8)
    agree(both(text, task, logits, target, ignore_index=ignored), 5e-6)


@pytest.mark.parametrize("bad", [2, 2**32, 2**32 + 1, -1, -(2**33)])
@pytest.mark.parametrize(("text", "task", "channels"), [("ce", "multiclass", 2), ("bce", "multilabel", 4)])
def test_a_label_out_of_range_is_named_or_makes_the_loss_nan(text, task, channels, bad):
    logits = torch.randn(SIZE[0], channels, *SIZE[1:], requires_grad=True)
    target = torch.zeros(SIZE if task == "multiclass" else tuple(logits.shape), dtype=torch.int64)
    target.view(-1)[7] = bad
    with pytest.raises(ValueError, match=str(bad)):
        segcrit.Criterion(text, task=task)(logits, target)
    value = segcrit.Criterion(text, task=task, validate="never")(logits, target)
    assert math.isnan(float(value.detach()))


@pytest.mark.parametrize(("text", "task", "channels"), [("ce + dice", "multiclass", 2), ("bce + dice", "binary", 1)])
@pytest.mark.parametrize("size", [1e-6, 40.0, 200.0, 1e4])
def test_small_and_large_logits(text, task, channels, size):
    random = torch.Generator().manual_seed(7)
    logits = size * torch.randn(SIZE[0], channels, *SIZE[1:], generator=random)
    shape = SIZE if task == "multiclass" else tuple(logits.shape)
    target = (torch.rand(shape, generator=random) < 0.3).to(torch.uint8)
    agree(both(text, task, logits, target), 5e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("text", "task", "channels"), [("ce", "multiclass", 2), ("bce(pos_weight=0)", "binary", 1)])
def test_logits_that_are_no_numbers_give_what_the_reference_engine_gives(text, task, channels, value):
    logits = torch.zeros(SIZE[0], channels, *SIZE[1:])
    logits[0, 0, 3, 4] = value
    target = torch.zeros(SIZE if task == "multiclass" else tuple(logits.shape), dtype=torch.uint8)
    (found, gradient), (wanted, expected) = both(text, task, logits, target)
    # A build without vector lanes (with sanitizers, MSVC) adds the 256 equal terms of a block in float32 one by one: each
    # addition rounds by at most half a unit, and equal terms let the roundings have one sign.
    assert math.isclose(found, wanted, rel_tol=256 * 2.0**-24) or (math.isnan(found) and math.isnan(wanted))
    assert torch.equal(gradient.isnan(), expected.isnan())


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_that_are_written_past_the_caches(threads):
    """At 16 MiB and more, in full blocks."""
    random = torch.Generator().manual_seed(8)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for text, task, channels in (
            ("ce + dice", "multiclass", 2),
            ("bce + dice", "multilabel", 2),
            ("bce", "binary", 1),
        ):
            logits = 3 * torch.randn(2 // channels + 1, channels, 1536, 1024, generator=random)
            logits = logits[:2] if channels == 2 else torch.cat((logits, logits))[:4]
            shape = (len(logits), *logits.shape[2:]) if task == "multiclass" else tuple(logits.shape)
            target = (torch.rand(shape, generator=random) < 0.3).to(torch.uint8)
            assert logits.numel() * 4 >= 16 << 20
            agree(both(text, task, logits, target), 5e-6)
    finally:
        torch.set_num_threads(before)


def test_another_layout_at_the_backward_pass():
    """Saved tensors may come back with other strides: the backward pass need not take what the forward pass took."""
    random = torch.Generator().manual_seed(9)
    target = torch.randint(2, (2, 64, 64), generator=random)
    plain = torch.randn(2, 2, 64, 64, generator=random).requires_grad_()
    criterion = segcrit.Criterion("ce + dice")
    criterion(plain, target).backward()
    other = plain.detach().clone().requires_grad_()

    def strided(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor.repeat_interleave(2, -1)[..., ::2] if tensor.shape == target.shape else tensor

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, strided):
        loss = criterion(other, target)
    loss.backward()
    torch.testing.assert_close(other.grad, plain.grad, rtol=1e-5, atol=1e-9)
