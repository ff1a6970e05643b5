"""Losses with one mistake each, of the kinds that were found in real libraries, and the honest ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.oracles import naive

from .subject import Subject


def honest(name: str, task: str, family: str, *, facts: dict[str, Any] | None = None, **options: Any) -> Subject:
    """A correct dense loss as a subject: it must pass every law, or rejecting the wrong ones would say nothing."""

    def call(
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        class_weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        if family == "ranking" and target.is_floating_point() and bool((target % 1 != 0).any()):
            raise ValueError("expected hard labels, got a soft target.")
        settings = dict(options)
        if class_weight is not None:
            settings["class_weight"] = class_weight
        return naive.loss(name, logits, target, pixel_weight, task=task, ignore_index=ignore_index, **settings)

    return Subject(f"honest {name}", task, call, family, bool(options.get("per_image")), {**(facts or {}), **options})


class _Replace(torch.autograd.Function):
    """The value of a loss with another gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def _wrap(base: Subject, name: str, call: Callable[..., Tensor]) -> Subject:
    return Subject(name, base.task, call, base.family, base.per_image, base.facts, base.rtol)


def sign_flipped(base: Subject) -> Subject:
    """Returns the score instead of the loss: training goes the wrong way."""
    return _wrap(base, "sign flipped", lambda *a, **k: -base.call(*a, **k))


def ignored_as_background(base: Subject) -> Subject:
    """The ignore mask is dropped: ignored pixels are read as class 0."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        label = k.get("ignore_index", -100)
        return base.call(logits, torch.where(target == label, 0, target), weight, **k)

    return _wrap(base, "ignored as background", call)


def ignored_in_the_denominator(base: Subject) -> Subject:
    """The mean divides by all pixels, the ignored ones included (segmentation_models_pytorch, mmsegmentation)."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        share = (target != k.get("ignore_index", -100)).double().mean()
        return base.call(logits, target, weight, **k) * (share if target.numel() else 1.0)

    return _wrap(base, "ignored pixels in the denominator", call)


def ignored_multiplied(base: Subject) -> Subject:
    """Ignored pixels are multiplied by 0 instead of left out: NaN spreads."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        return base.call(logits, target, weight, **k) + (logits * 0).double().sum()

    return _wrap(base, "ignored pixels multiplied by 0", call)


def weight_not_normalised(base: Subject) -> Subject:
    """Pixel weights enter the numerator only."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        loss = base.call(logits, target, weight, **k)
        return loss if weight is None or weight.numel() == 0 else loss * weight.double().mean()

    return _wrap(base, "pixel weight not normalised", call)


def class_weight_not_normalised(base: Subject) -> Subject:
    """Class weights enter the numerator only (MONAI's DiceLoss)."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        loss = base.call(logits, target, weight, **k)
        w = k.get("class_weight")
        return loss if w is None else loss * w.mean()

    return _wrap(base, "class weight not normalised", call)


def gradient_scaled(base: Subject, factor: float = 1.01) -> Subject:
    """A right value with a gradient one per cent too long."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        inner = logits.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = base.call(inner, target, weight, **k)
            (gradient,) = torch.autograd.grad(loss, inner)
        return _Replace.apply(logits, loss.detach(), factor * gradient)

    return _wrap(base, "gradient scaled", call)


def upstream_dropped(base: Subject) -> Subject:
    """The backward pass forgets the gradient that comes from above."""

    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
            ctx.save_for_backward(gradient)
            return value.clone()

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
            return ctx.saved_tensors[0], None, None

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        inner = logits.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = base.call(inner, target, weight, **k)
            (gradient,) = torch.autograd.grad(loss, inner)
        return Forgetful.apply(logits, loss.detach(), gradient)

    return _wrap(base, "upstream gradient dropped", call)


def target_written(base: Subject) -> Subject:
    """Clears the ignore label in the caller's own target, as one copied Dice loss does."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        loss = base.call(logits, target, weight, **k)
        target.masked_fill_(target == k.get("ignore_index", -100), 0)
        return loss

    return _wrap(base, "target written to", call)


def images_swapped(base: Subject, other: Subject) -> Subject:
    """Claims what ``base`` is (pooled or per image) and computes the other."""
    return _wrap(base, "pooling and averaging confused", other.call)


def absent_counted(base: Subject) -> Subject:
    """Divides by all classes where only the present ones were summed (segmentation_models_pytorch)."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        labels = target[(target >= 0) & (target < logits.shape[1])].unique().numel()
        return base.call(logits, target, weight, **k) * labels / logits.shape[1]

    return _wrap(base, "absent classes counted", call)


def raw_labels_sorted(base: Subject) -> Subject:
    """Lovász-softmax that sorts class indices instead of foregrounds (kornia)."""

    def call(logits: Tensor, target: Tensor, weight: Tensor | None = None, **k: Any) -> Tensor:
        p = torch.softmax(logits.double().flatten(2), 1)
        flat = target.reshape(target.shape[0], -1)
        total = p.new_zeros(())
        for c in range(logits.shape[1]):
            errors = ((flat == c).double() - p[:, c]).abs().reshape(-1)
            order = torch.argsort(errors.detach(), descending=True)
            y = flat.reshape(-1)[order].double()
            union = y.sum() + (1 - y).cumsum(0)
            jaccard = 1 - (y.sum() - y.cumsum(0)) / union
            steps = jaccard - torch.cat([jaccard.new_zeros(1), jaccard[:-1]])
            total = total + (errors[order] * steps).sum()
        return total / logits.shape[1]

    return _wrap(base, "class indices sorted", call)
