"""The sweep as PyTorch operators, so that autograd, ``torch.compile`` and export see one opaque, differentiable step.

``segcrit::sweep`` returns sums; what a loss makes of them is ordinary PyTorch on a few numbers, and the gradients with
respect to the sums arrive here by autograd. So every formula on the sums is fused without knowing it.

Plain tensors outside a trace take the same two steps through an ``autograd.Function``: the first call of a
``torch.library`` operator loads the compiler, more than a second that eager code has no use for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from segcrit.core.dtypes import table_dtype
from segcrit.core.errors import BackendError
from segcrit.engines import Part, parts, reference
from segcrit.engines.request import Call, Gradients, Request, Shapes, Sweep, Swept, gradient_like

__all__ = ["sweep"]


def _forward(engine: ModuleType, sweep: Sweep, request: Request) -> Swept:
    # An engine gives nothing where a label or weight is not allowed: the reference engine then raises the error.
    found: Swept | None = engine.forward(sweep, request)
    return reference.forward(sweep, request) if found is None else found


def _backward(engine: ModuleType, sweep: Sweep, request: Request, normalizers: Tensor, gradients: Gradients) -> Tensor:
    found: Tensor | None = engine.backward(sweep, request, normalizers, gradients)
    return reference.backward(sweep, request, normalizers, gradients) if found is None else found


def _compute(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
    request: Request,
) -> Swept:
    whole = Sweep(logits, target, pixel_weight, coefficients, logit_bias, tuple(operands))
    first, *others = parts(whole, request)
    swept = _forward(first.engine, first.of(whole), first.request)
    if others:
        swept = _joined(whole, request, [first, *others], swept)
    if request.derives_sums:
        complete(swept.tables, request)
    return swept


def _joined(whole: Sweep, request: Request, members: list[Part], first: Swept) -> Swept:
    """What the parts of a sweep delivered, as one."""
    shapes = Shapes.of(whole.logits, whole.target, request)
    pixel = first.pixel.new_zeros(shapes.pixel)
    tables = first.tables.new_zeros(shapes.tables)
    maps = first.maps.new_zeros(shapes.maps)
    row = {name: place for place, name in enumerate(request.rows)}
    for part in members:
        swept = first if part is members[0] else _forward(part.engine, part.of(whole), part.request)
        own = dict(zip(part.request.rows, swept.tables, strict=True))
        for name in part.request.fields:
            tables[row[name]] = own[name]
        for place, position in enumerate(part.losses):
            pixel[position] = swept.pixel[place]
            if request.maps:
                maps[position] = swept.maps[place]
    return first._replace(pixel=pixel, tables=tables, maps=maps)


def _compute_gradient(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: Request,
) -> Tensor:
    whole = Sweep(logits, target, pixel_weight, coefficients, logit_bias, tuple(operands))
    if request.derives_sums:
        table_gradient = fold(table_gradient, request)
    gradients = Gradients(pixel_gradient, table_gradient, moment_gradient, map_gradient)
    first, *others = parts(whole, request, normalizers=normalizers)
    if not others:
        return _backward(first.engine, whole, request, normalizers, gradients)
    row = {name: place for place, name in enumerate(request.rows)}

    def of_part(part: Part) -> Tensor:
        losses = list(part.losses)
        own = Gradients(
            pixel_gradient[losses],
            table_gradient[[row[name] for name in part.request.rows]],
            moment_gradient if part is first else moment_gradient[:0],
            None if map_gradient is None else map_gradient[losses],
        )
        return _backward(part.engine, part.of(whole), part.request, normalizers, own)

    total = of_part(first)
    for part in others:
        total.add_(of_part(part))
    return total


# On hard labels t² = t and |p − t| = p + t − 2 p t, so that U = T and D = P + T − 2 I: the engines do not compute them.
def complete(tables: Tensor, request: Request) -> None:
    """Fill U and D, in place."""
    table = dict(zip(request.rows, tables.unbind(0), strict=True))
    table["U"].copy_(table["T"])
    torch.add(table["P"], table["T"], out=table["D"]).sub_(table["I"], alpha=2)


def fold(gradient: Tensor, request: Request) -> Tensor:
    """The gradient by the sums that were computed; T depends on no logit."""
    folded = gradient.clone()
    table = dict(zip(request.rows, folded.unbind(0), strict=True))
    table["I"].sub_(table["D"], alpha=2)
    table["P"].add_(table["D"])
    return folded


# The two steps as operators, whose request is text.
def _traced(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
    request: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return tuple(_compute(logits, target, pixel_weight, coefficients, logit_bias, operands, Request.decode(request)))  # type: ignore[return-value]


_sweep = torch.library.custom_op("segcrit::sweep", _traced, mutates_args=())


@_sweep.register_fake
def _sweep_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
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


def _traced_gradient(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    return _compute_gradient(
        logits, target, pixel_weight, coefficients, logit_bias, operands, normalizers,
        pixel_gradient, table_gradient, moment_gradient, map_gradient, Request.decode(request),
    )  # fmt: skip


_sweep_backward = torch.library.custom_op("segcrit::sweep_backward", _traced_gradient, mutates_args=())


@_sweep_backward.register_fake
def _sweep_backward_fake(
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None,
    coefficients: Tensor,
    logit_bias: Tensor | None,
    operands: Sequence[Tensor],
    normalizers: Tensor,
    pixel_gradient: Tensor,
    table_gradient: Tensor,
    moment_gradient: Tensor,
    map_gradient: Tensor | None,
    request: str,
) -> Tensor:
    return gradient_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, operands, request = inputs
    swept = Swept(*output)
    ctx.save_for_backward(*tensors, swept.normalizers, *operands)
    ctx.request = request
    ctx.shapes = [item.shape for item in (swept.pixel, swept.tables, swept.moments)]
    ctx.mark_non_differentiable(swept.counts, swept.confusion, swept.normalizers)
    # Zeros of the size of every output would cost more than some losses.
    ctx.set_materialize_grads(False)


def _differentiate_with(step: Callable[..., Tensor], ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
    logits, target, pixel_weight, coefficients, logit_bias, normalizers, *operands = ctx.saved_tensors
    given = Swept(*upstream)  # type: ignore[arg-type]
    dense = [
        logits.new_zeros(shape, dtype=table_dtype(logits.device)) if gradient is None else gradient
        for gradient, shape in zip((given.pixel, given.tables, given.moments), ctx.shapes, strict=True)
    ]
    # Traces make zeros of the maps that nobody asked for.
    maps = given.maps if given.maps is not None and given.maps.numel() else None
    gradient = step(
        logits, target, pixel_weight, coefficients, logit_bias, operands, normalizers, *dense, maps, ctx.request
    )  # fmt: skip
    return gradient, None, None, None, None, [None] * len(operands), None


def _differentiate(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
    return _differentiate_with(_sweep_backward, ctx, *gradients)


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise BackendError(
        "first derivatives of a segcrit loss",
        "a request for second derivatives (create_graph=True)",
        "Second derivatives are not supported; use a loss of torch.nn for that term.",
    )


_sweep.register_autograd(_differentiate, setup_context=_save)
_sweep_backward.register_autograd(_refuse)


def _plain(gradients: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of an ``autograd.Function``, which takes a list for one input without a derivative."""
    return tuple(None if isinstance(item, list) else item for item in gradients)


class _EagerSweep(torch.autograd.Function):
    """The same two steps without the dispatcher, and without ``setup_context``, for which torch inspects a signature."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = tuple(_compute(*inputs))
        _save(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _plain(_differentiate_with(_EagerSweepBackward.apply, ctx, *gradients))


class _EagerSweepBackward(torch.autograd.Function):
    """Second derivatives are refused, so that nothing is kept for them."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        return _compute_gradient(*inputs)

    backward = staticmethod(_refuse)


class _TransformedSweep(torch.autograd.Function):
    """The same for ``torch.func``, whose transforms ask for ``setup_context``."""

    @staticmethod
    def forward(*inputs: Any) -> Any:
        return tuple(_compute(*inputs))

    setup_context = staticmethod(_save)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return _plain(_differentiate_with(_TransformedSweepBackward.apply, ctx, *gradients))


class _TransformedSweepBackward(torch.autograd.Function):
    forward = staticmethod(_compute_gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Second derivatives are refused, so that nothing is kept for them."""

    backward = staticmethod(_refuse)


def _step(logits: Tensor) -> Callable[..., Any] | None:
    """The ``autograd.Function`` for these logits; None for a trace or a subclass, which take the operator."""
    if torch.compiler.is_compiling() or type(logits) not in (Tensor, torch.nn.Parameter):
        return None
    # The question of autograd.Function.apply.
    return _TransformedSweep.apply if torch._C._are_functorch_transforms_active() else _EagerSweep.apply


def sweep(tensors: Sweep, template: Request, text: str, call: Call) -> Swept:
    """One pass over the pixels.

    Args:
        tensors: what is read.
        template: what is to be delivered.
        text: the template as text, for a trace.
        call: what only the call knows.
    """
    inputs = (tensors.logits, tensors.target, tensors.pixel_weight, tensors.coefficients, tensors.logit_bias)
    operands = list(tensors.operands)
    step = _step(tensors.logits)
    if step is None:
        return Swept(*_sweep(*inputs, operands, text + call.encode()))
    return Swept(*step(*inputs, operands, template.at(call)))
