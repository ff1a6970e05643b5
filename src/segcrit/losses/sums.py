"""The additive state of a loss: what micro-batches, tiles and ranks add up before the formulas are applied."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segcrit.core.errors import LabelError, ParameterError, SegcritError

__all__ = ["Sums", "joined", "reduced_over_ranks"]


class Sums:
    """Sums over pixels (and over images, for terms with ``per_image=True``) of one or several batches.

    Made by ``criterion.sums(logits, target)``; added with ``+`` or ``sum``; handed back as ``criterion(..., sums=total)``.

    Attributes:
        signature: the expression and settings the sums belong to; only equal ones can be added.
        tensors: the sums by name, all additive, without gradient.

    Example:
        >>> import segcrit, torch
        >>> criterion = segcrit.Criterion("ce + dice")
        >>> logits, target = torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8))
        >>> total = sum(criterion.sums(part, label) for part, label in zip(logits.split(2), target.split(2)))
        >>> torch.allclose(criterion(logits[:2], target[:2], sums=total), criterion(logits, target))
        True
    """

    __slots__ = ("signature", "tensors")

    def __init__(self, signature: str, tensors: Mapping[str, Tensor]) -> None:
        self.signature = signature
        self.tensors: Mapping[str, Tensor] = MappingProxyType(dict(tensors))

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        if self.signature != other.signature:
            raise ParameterError(
                "sums of the same criterion",
                f"sums of {self.signature!r} and of {other.signature!r}",
                "Add only sums made by criteria with the same expression and settings.",
            )
        return Sums(self.signature, {name: value + other.tensors[name] for name, value in self.tensors.items()})

    def __radd__(self, other: object) -> Sums:
        # sum() starts from 0.
        return self if other == 0 else NotImplemented

    def merge(self, other: Sums) -> Sums:
        """The sums of both, the same as ``self + other``."""
        return self + other

    def to(self, device: torch.device | str) -> Sums:
        """The sums on another device."""
        return Sums(self.signature, {name: value.to(device) for name, value in self.tensors.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return Sums, (self.signature, dict(self.tensors))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.tensors.items())
        return f"Sums({self.signature!r}, {{{inner}}})"


def joined(local: Mapping[str, Tensor], total: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The values of ``total`` with the gradient of ``local`` times ``scale``.

    total + scale·(local − detached local): the formulas see the joined batch, and the gradient reaches only what was
    computed here. Scale is 1 for micro-batches and the world size for ranks, whose gradients DDP averages.
    """
    return {
        name: total[name].to(device=value.device, dtype=value.dtype) + scale * (value - value.detach())
        for name, value in local.items()
    }


def reduced_over_ranks(
    local: Mapping[str, Tensor], group: Any, failure: SegcritError | None, looks: bool
) -> dict[str, Tensor]:
    """Sums over all ranks of the group, by one all-reduce of all tensors together.

    Args:
        local: the sums of this rank.
        group: the process group.
        failure: what is wrong with this rank's labels or weights, if anything: the other ranks, too, raise then instead of
            waiting for a rank that does not come.
        looks: whether values are looked at, which on a GPU waits for it.
    """
    names = list(local)
    if not names:
        return {}
    tensors = [local[name].detach().reshape(-1) for name in names]
    flat = torch.cat([*tensors, tensors[0].new_full((1,), float(failure is not None))])
    dist.all_reduce(flat, op=dist.ReduceOp.SUM, group=group)
    if failure is not None:
        raise failure
    if looks and bool(flat[-1] > 0):
        raise LabelError(
            "labels and weights that are allowed on every rank of the process group",
            f"others on {int(flat[-1])} of them",
            "The message of that rank says which.",
            code="other-rank",
        )
    parts = torch.split(flat[:-1], [local[name].numel() for name in names])
    return {name: part.view_as(local[name]) for name, part in zip(names, parts, strict=True)}
