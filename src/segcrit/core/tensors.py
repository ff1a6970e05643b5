"""Tensors from the outside: subclasses become plain tensors, and what is no tensor or lacks an axis is explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constraints import describe_value
from segcrit.core.errors import DtypeError, ShapeError

__all__ = ["as_plain", "explain_missing_axis", "may_look", "not_a_tensor", "signed"]

_WIDE_UNSIGNED = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
# The operations that a refused pair of shapes is tried with, the likelier ones first: axes that logits get, and the target.
_ADDED_AXES = (((0, 0), (0,)), ((0,), (0,)), ((1,), ()), ((0,), ()), ((), (0,)), ((), (1,)))


def as_plain(name: str, value: Any) -> Tensor:
    """The tensor itself, or a view of it as a plain ``torch.Tensor``, on the same graph.

    Subclasses that only carry something along (fastai's TensorImage, MONAI's MetaTensor, torchvision's tv_tensors) are
    taken as the tensor that they hold; kernels do not know them. Those that change what an operation does stay as they are,
    except DTensor, which has no numbers of its own.

    Raises:
        DtypeError: no tensor; the message names the entry of a model's output that holds one.
    """
    if not isinstance(value, Tensor):
        raise not_a_tensor(name, value)
    kind = type(value)
    if kind is Tensor or kind is torch.nn.Parameter:
        return value
    if kind.__name__ == "DTensor":
        raise DtypeError(
            f"{name} as a tensor of this process",
            "a DTensor, whose parts lie on several processes",
            f"Pass {name}.full_tensor(), or its part {name}.to_local() to a criterion with process_group='world'.",
            code="distributed-tensor",
        )
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        # Not the method of the subclass, which may wrap the result again.
        plain: Tensor = torch._C.TensorBase.as_subclass(value, Tensor)
    return plain


def may_look(tensor: Tensor) -> bool:
    """Whether a tensor has numbers to look at, without waiting for a GPU: traces and transforms have none."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def signed(labels: Tensor) -> Tensor:
    """Labels of a wide unsigned type, for which torch has few operations, in a signed type that holds them.

    A uint64 label that int64 cannot hold becomes the largest int64, which is no class either: it must not wrap around to −1,
    which may be the ignore label.

    Example:
        >>> signed(torch.tensor([3, 2**64 - 1], dtype=torch.uint64)).tolist()
        [3, 9223372036854775807]
    """
    wider = _WIDE_UNSIGNED.get(labels.dtype)
    if wider is None:
        return labels
    result = labels.to(wider)
    if labels.dtype == torch.uint64:
        result = torch.where(result < 0, torch.iinfo(torch.int64).max, result)
    return result


def not_a_tensor(name: str, value: Any) -> DtypeError:
    """The error for something that is no tensor, with the way to the tensor where a model's output holds one."""
    got, advice, code = (
        f"{type(value).__name__} {describe_value(value)}",
        "Convert it with torch.as_tensor(...).",
        "dtype",
    )
    place = _place_of_tensor(value)
    if place:
        got, code = f"a model's output of type {type(value).__name__}", "model-output"
        if isinstance(value, Mapping):
            got += f" with the entries {', '.join(map(repr, list(value)[:4]))}"
        advice = f"Pass the entry that holds the {name}: output{place}."
    return DtypeError(f"{name} as a torch.Tensor", got, advice, code=code)


def _place_of_tensor(value: Any) -> str:
    """How to reach the tensor in an output of a model, or nothing."""
    if isinstance(getattr(value, "logits", None), Tensor):
        return ".logits"
    entries: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        # torchvision's networks call it "out"; other names in the order in which they stand.
        keys = sorted(value, key=lambda key: ["logits", "out"].index(key) if key in ("logits", "out") else 2)
        entries = [(f"[{key!r}]", value[key]) for key in keys]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        entries = [(f".{field}", getattr(value, field)) for field in value._fields]
    elif isinstance(value, (list, tuple)):
        entries = [(f"[{place}]", item) for place, item in enumerate(value)]
    # A loss may stand beside the logits.
    for place, item in entries:
        if isinstance(item, Tensor) and item.ndim > 1:
            return place
    for place, item in entries:
        if not isinstance(item, Tensor) and (inner := _place_of_tensor(item)):
            return place + inner
    return ""


def explain_missing_axis(
    error: ShapeError,
    first: tuple[str, Tensor],
    second: tuple[str, Tensor],
    fits: Callable[[tuple[int, ...], tuple[int, ...]], bool],
) -> ShapeError:
    """The same error, with the ``unsqueeze`` to use where a batch or channel axis is all that is missing.

    Args:
        error: what is wrong with the shapes as they are.
        first: name and tensor, for example of the logits.
        second: of the target.
        fits: whether two shapes fit together.
    """
    shapes = tuple(first[1].shape), tuple(second[1].shape)
    if len(shapes[0]) > 2 and fits(*shapes):  # something else is wrong
        return error
    for added in _ADDED_AXES:
        tried = [list(shape) for shape in shapes]
        calls = [first[0], second[0]]
        for side, axes in enumerate(added):
            for axis in axes:
                tried[side].insert(axis, 1)
                calls[side] += f".unsqueeze({axis})"
        # A plane of one channel may lack both axes; more dimensions than that are those of a batch.
        possible = len(tried[0]) > 2 and (len(added[0]) < 2 or len(tried[0]) == 4)
        if possible and fits(tuple(tried[0]), tuple(tried[1])):
            changed = [call for call, axes in zip(calls, added, strict=True) if axes]
            advice = f"An axis of size 1 is missing: pass {' and '.join(changed)}."
            return ShapeError(error.expected, error.got, advice, code="missing-axis")
    return error
