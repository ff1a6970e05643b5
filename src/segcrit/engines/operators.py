"""The sweep as PyTorch operators, so that autograd, ``torch.compile`` and export see one opaque, differentiable step.

``segcrit::sweep`` returns sums; what a loss makes of them is ordinary PyTorch on a few numbers, and the gradients with
respect to the sums arrive here by autograd. So every formula on the sums is fused without knowing it.

Plain tensors outside a trace take the same two steps through an ``autograd.Function``: the first call of a
``torch.library`` operator loads the compiler, more than a second that eager code has no use for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segcrit.core.dtypes import table_dtype
from segcrit.core.errors import BackendError
from segcrit.engines import pick
from segcrit.engines.reference import Sweep
from segcrit.engines.request import Request, Shapes, gradient_like

__all__ = ["sweep"]


def _compute(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    plan = Request.decode(request)
    engine = pick(plan.backend, logits.device)
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = engine.forward(
        Sweep(logits, target, pixel_weight, coefficients, logit_bias), plan
    )
    if plan.derives_sums:
        complete(result[1])
    return result


# On hard labels t² = t and |p − t| = p + t − 2 p t, so that U = T and D = P + T − 2 I: the engines do not compute them. The
# tables are in the order of FIELDS, I P Q T U V D.
def complete(tables: Tensor) -> None:
    """Fill U and D, in place."""
    tables[4] = tables[3]
    torch.add(tables[1], tables[3], out=tables[6]).sub_(tables[0], alpha=2)


def fold(gradient: Tensor) -> Tensor:
    """The gradient by the sums that were computed; T depends on no logit."""
    folded = gradient.clone()
    folded[0].sub_(gradient[6], alpha=2)
    folded[1].add_(gradient[6])
    return folded


_sweep = torch.library.custom_op("segcrit::sweep", _compute, mutates_args=())


@_sweep.register_fake
def _sweep_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    shapes = Shapes.of(logits, target, Request.decode(request))
    return (
        logits.new_empty(shapes.pixel, dtype=shapes.table),
        logits.new_empty(shapes.tables, dtype=shapes.table),
        logits.new_empty(shapes.histogram, dtype=shapes.table),
        logits.new_empty(shapes.histogram, dtype=shapes.table),
        logits.new_empty(shapes.confusion, dtype=torch.int64),
        logits.new_empty(shapes.maps, dtype=shapes.compute),
        logits.new_empty(shapes.normalizers, dtype=shapes.compute),
    )


def _compute_gradient(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    plan = Request.decode(request)
    engine = pick(plan.backend, logits.device)
    if plan.derives_sums:
        table_gradient = fold(table_gradient)
    result: Tensor = engine.backward(
        Sweep(logits, target, pixel_weight, coefficients, logit_bias),
        plan,
        normalizers,
        pixel_gradient,
        table_gradient,
        moment_gradient,
        map_gradient,
    )
    return result


_sweep_backward = torch.library.custom_op("segcrit::sweep_backward", _compute_gradient, mutates_args=())


@_sweep_backward.register_fake
def _sweep_backward_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    return gradient_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, pixel_weight, coefficients, logit_bias, request = inputs
    ctx.save_for_backward(logits, target, pixel_weight, coefficients, logit_bias, output[6])
    ctx.request = request
    ctx.shapes = [output[place].shape for place in (0, 1, 3)]
    ctx.mark_non_differentiable(output[2], output[4], output[6])
    # Zeros of the size of every output would cost more than some losses.
    ctx.set_materialize_grads(False)


def _differentiate_with(
    step: Callable[..., Tensor],
    ctx: Any,
    pixel_gradient: Tensor | None,
    table_gradient: Tensor | None,
    _counts: Any,
    moment_gradient: Tensor | None,
    _confusion: Any,
    map_gradient: Tensor | None,
    _normalizers: Any,
) -> tuple[Tensor | None, ...]:
    logits, target, pixel_weight, coefficients, logit_bias, normalizers = ctx.saved_tensors
    given = (pixel_gradient, table_gradient, moment_gradient)
    dense = [
        logits.new_zeros(shape, dtype=table_dtype(logits.device)) if gradient is None else gradient
        for gradient, shape in zip(given, ctx.shapes, strict=True)
    ]
    if map_gradient is not None and not map_gradient.numel():
        map_gradient = None  # traces make zeros of the maps that nobody asked for
    gradient = step(
        logits,
        target,
        pixel_weight,
        coefficients,
        logit_bias,
        normalizers,
        *dense,
        map_gradient,
        ctx.request,
    )
    return gradient, None, None, None, None, None


def _differentiate(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
    return _differentiate_with(_sweep_backward, ctx, *gradients)


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise BackendError(
        "first derivatives of a segcrit loss",
        "a request for second derivatives (create_graph=True)",
        "Second derivatives are not supported; use a loss of torch.nn for that term.",
    )


_sweep.register_autograd(_differentiate, setup_context=_save)
_sweep_backward.register_autograd(_refuse)


class _EagerSweep(torch.autograd.Function):
    """The same two steps without the dispatcher, and without ``setup_context``, for which torch inspects a signature."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = _compute(*inputs)
        _save(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _differentiate_with(_EagerSweepBackward.apply, ctx, *gradients)


class _EagerSweepBackward(torch.autograd.Function):
    """Second derivatives are refused, so that nothing is kept for them."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        return _compute_gradient(*inputs)

    backward = staticmethod(_refuse)


class _TransformedSweep(torch.autograd.Function):
    """The same for ``torch.func``, whose transforms ask for ``setup_context``."""

    forward = staticmethod(_compute)
    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _differentiate_with(_TransformedSweepBackward.apply, ctx, *gradients)


class _TransformedSweepBackward(torch.autograd.Function):
    forward = staticmethod(_compute_gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Second derivatives are refused, so that nothing is kept for them."""

    backward = staticmethod(_refuse)


def _step(logits: Tensor) -> Callable[..., Any]:
    if torch.compiler.is_compiling() or type(logits) not in (Tensor, torch.nn.Parameter):
        return _sweep
    # The question of autograd.Function.apply.
    return _TransformedSweep.apply if torch._C._are_functorch_transforms_active() else _EagerSweep.apply


def sweep(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One pass over the pixels; see ``engines.reference.forward`` for what comes back."""
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] = _step(logits)(
        logits, target, pixel_weight, coefficients, logit_bias, request
    )
    return result
