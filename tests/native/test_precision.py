"""Errors against float64 beside those of the usual eager code in the same dtype."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import segcrit
from segcrit.engines.cpu import native

from .test_lovasz_precision import trained

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# One rounding of the result in its dtype, and a few roundings of float32 arithmetic.
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-9, torch.float16: 2**-12}
# As torch's GradScaler does it: gradients of a mean vanish in float16.
FACTOR = 4096.0


def eager_focal(logits: Tensor, target: Tensor) -> Tensor:
    loss = F.cross_entropy(logits, target, reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


def eager_dice(logits: Tensor, target: Tensor) -> Tensor:
    p = torch.softmax(logits, 1)
    hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    overlap, total = (p * hot).sum((0, 2, 3)), (p + hot).sum((0, 2, 3))
    return (1 - 2 * overlap / total).mean()


def eager_lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """The published algorithm: sort, cumulative sums, first differences."""
    p = torch.softmax(logits, 1).movedim(1, -1).reshape(-1, logits.shape[1])
    values = []
    for c in range(logits.shape[1]):
        hot = (target.reshape(-1) == c).to(p.dtype)
        errors, order = torch.sort((hot - p[:, c]).abs(), descending=True)
        hot = hot[order]
        total = hot.sum()
        jaccard = 1 - (total - hot.cumsum(0)) / (total + (1 - hot).cumsum(0))
        values.append(torch.dot(errors, torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))))
    return torch.stack(values).mean()


EAGER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": F.cross_entropy,
    "focal": eager_focal,
    "dice": eager_dice,
    "ce + dice": lambda z, t: F.cross_entropy(z, t) + eager_dice(z, t),
    "lovasz": eager_lovasz,
}


def measured(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    (gradient,) = torch.autograd.grad(
        FACTOR * value.to(torch.float32 if logits.dtype != torch.float64 else value.dtype), leaf
    )
    return float(value.detach()), gradient.double()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("text", EAGER)
def test_errors_are_no_larger_than_those_of_eager_code(text: str, dtype: torch.dtype) -> None:
    logits, target = trained()
    logits = logits.to(dtype)
    wanted, gradient = measured(EAGER[text], logits.double(), target)
    eager, eager_gradient = measured(EAGER[text], logits, target)
    found, found_gradient = measured(segcrit.Criterion(text, backend="cpu"), logits, target)
    rounding = ROUNDING[dtype]
    # The value is float32 in every dtype; a histogram adds what test_lovasz_precision.py allows.
    small = 1e-4 if text == "lovasz" else ROUNDING[torch.float32]
    assert abs(found - wanted) <= abs(eager - wanted) + small * abs(wanted)
    largest = float(gradient.abs().max())
    worst, eager_worst = (float((g - gradient).abs().max()) for g in (found_gradient, eager_gradient))
    if text == "lovasz":
        # Neighbours of one bin share a slope: single pixels differ, the direction does not.
        norm = float(gradient.norm())
        worst, eager_worst = (float((g - gradient).norm()) / norm for g in (found_gradient, eager_gradient))
        largest, rounding = 1.0, 0.0142 + rounding  # sqrt(2 (1 - 0.9999)): a cosine of 0.9999
    assert worst <= eager_worst + rounding * largest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *DTYPES[1:]], ids=str)
@pytest.mark.parametrize("margin", [4.0, 8.0, 12.0])
@pytest.mark.parametrize("text", ["ce", "focal(gamma=1)", "focal", "bce"])
def test_the_gradient_of_the_true_class_keeps_its_digits_where_p_is_near_one(
    text: str, margin: float, dtype: torch.dtype
) -> None:
    task = "binary" if text == "bce" else "multiclass"
    logits = torch.zeros(1, 1 if task == "binary" else 4, 300, dtype=dtype)
    logits[:, 0] = margin
    target = torch.full((1, 300), int(task == "binary"))
    leaf = logits.double().requires_grad_()
    z = leaf[:, 0] if task == "binary" else torch.log_softmax(leaf, 1)[:, 0]
    log_p = F.logsigmoid(z) if task == "binary" else z
    gamma = {"focal": 2, "focal(gamma=1)": 1}.get(text, 0)
    # Scaled so that float16 holds 1e-5 ** gamma and its digits.
    factor = 300 * 2.0**10 * float(torch.exp(torch.tensor(margin * gamma * 0.9)))
    (wanted,) = torch.autograd.grad(factor * ((-torch.expm1(log_p)) ** gamma * -log_p).mean(), leaf)
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(factor * segcrit.Criterion(text, task=task, backend="cpu")(leaf, target), leaf)
    # The dtype's rounding of the result; and the sum of C exponentials, near 1, is rounded C times, which 1 - p feels.
    arithmetic = 2**-53 if dtype == torch.float64 else 2**-24
    left = 1 - float(torch.exp(log_p.detach()).max())
    rounding = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    tolerance = rounding + (1 + gamma) * 4 * arithmetic / left
    # Rounded to the dtype before it is taken from 1, p would be 1 and nothing left: an error of 100 %.
    assert tolerance < 0.05
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=0)
