"""The sweep as PyTorch operators, so that autograd, ``torch.compile`` and export see one opaque, differentiable step.

``segcrit::sweep`` returns sums; what a loss makes of them is ordinary PyTorch on a few numbers, and the gradients with
respect to the sums arrive here by autograd. So every formula on the sums is fused without knowing it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segcrit.engines import pick
from segcrit.engines.reference import Sweep
from segcrit.engines.request import Request, Shapes, gradient_like
from segcrit.errors import BackendError

__all__ = ["sweep"]


@torch.library.custom_op("segcrit::sweep", mutates_args=())
def _sweep(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = Request.decode(request)
    engine = pick(plan.backend, logits.device)
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = engine.forward(
        Sweep(logits, target, pixel_weight, coefficients, logit_bias), plan
    )
    return result


@_sweep.register_fake
def _sweep_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    shapes = Shapes.of(logits, Request.decode(request))
    return (
        logits.new_empty(shapes.pixel, dtype=shapes.table),
        logits.new_empty(shapes.tables, dtype=shapes.table),
        logits.new_empty(shapes.histogram, dtype=shapes.table),
        logits.new_empty(shapes.histogram, dtype=shapes.table),
        logits.new_empty(shapes.confusion, dtype=torch.int64),
        logits.new_empty(shapes.maps, dtype=shapes.compute),
    )


@torch.library.custom_op("segcrit::sweep_backward", mutates_args=())
def _sweep_backward(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    plan = Request.decode(request)
    engine = pick(plan.backend, logits.device)
    result: Tensor = engine.backward(
        Sweep(logits, target, pixel_weight, coefficients, logit_bias),
        plan,
        pixel_gradient,
        table_gradient,
        moment_gradient,
        map_gradient,
    )
    return result


@_sweep_backward.register_fake
def _sweep_backward_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    return gradient_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, pixel_weight, coefficients, logit_bias, request = inputs
    ctx.save_for_backward(logits, target, pixel_weight, coefficients, logit_bias)
    ctx.request = request
    ctx.has_maps = output[5].numel() > 0
    ctx.mark_non_differentiable(output[2], output[4])
    ctx.set_materialize_grads(True)


def _differentiate(
    ctx: Any,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    _counts: Any,
    moment_gradient: Tensor,
    _confusion: Any,
    map_gradient: Tensor,
) -> tuple[Tensor | None, ...]:
    logits, target, pixel_weight, coefficients, logit_bias = ctx.saved_tensors
    gradient = _sweep_backward(
        logits,
        target,
        pixel_weight,
        coefficients,
        logit_bias,
        pixel_gradient,
        table_gradient,
        moment_gradient,
        map_gradient if ctx.has_maps else None,
        ctx.request,
    )
    return gradient, None, None, None, None, None


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise BackendError(
        "first derivatives of a segcrit loss",
        "a request for second derivatives (create_graph=True)",
        "Second derivatives are not supported; use a loss of torch.nn for that term.",
    )


_sweep.register_autograd(_differentiate, setup_context=_save)
_sweep_backward.register_autograd(_refuse)


def sweep(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One pass over the pixels; see ``engines.reference.forward`` for what comes back."""
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = _sweep(
        logits, target, pixel_weight, coefficients, logit_bias, request
    )
    return result
