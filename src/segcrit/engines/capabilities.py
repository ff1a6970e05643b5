"""What an engine can do, in one table each: everything that is not in it is never given to that engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from segcrit.engines.formulas import operand_of, pixel_formulas
from segcrit.engines.request import PixelRequest, Request, Sweep

__all__ = ["Capabilities"]


def _never(*_: object) -> bool:
    return False


@dataclass(frozen=True)
class Capabilities:
    """The table of an engine.

    Attributes:
        formulas: keys of the pixel formulas that it computes; None for every formula of the table of losses.
        fields: class sums.
        operand_fields: class sums that it also computes with a further map as weight: ``"P"`` for ``P_distance``.
        errors: errors that its histograms count.
        logits: dtypes of logits.
        targets: dtypes of targets; None for every dtype.
        recomputes: (classes, upsample) -> whether the backward pass of a softmax needs no normalizers of the forward pass.
        leaves: (sweep, request) -> whether it leaves the whole sweep to the reference engine, for another reason.
        leaves_item: (pixel loss, request) -> whether it leaves this pixel loss to the reference engine.
    """

    formulas: frozenset[str] | None
    fields: frozenset[str]
    operand_fields: frozenset[str]
    errors: frozenset[str]
    logits: frozenset[torch.dtype]
    targets: frozenset[torch.dtype] | None
    recomputes: Callable[[int, bool], bool]
    leaves: Callable[[Sweep, Request], bool] = field(default=_never)
    leaves_item: Callable[[PixelRequest, Request], bool] = field(default=_never)

    def has_item(self, item: PixelRequest, request: Request) -> bool:
        """Whether the engine computes a pixel loss of this request."""
        known = pixel_formulas() if self.formulas is None else self.formulas
        return item.key in known and not self.leaves_item(item, request)

    def has_field(self, name: str) -> bool:
        """Whether the engine computes a class sum."""
        if operand_of(name):
            return name.partition("_")[0] in self.operand_fields
        return name in self.fields

    def has_sweep(self, sweep: Sweep, request: Request) -> bool:
        """Whether the engine takes the tensors and the histograms of this sweep, whichever losses are asked for."""
        if sweep.logits.dtype not in self.logits or request.errors not in self.errors:
            return False
        if self.targets is not None and sweep.target.dtype not in self.targets:
            return False
        return not self.leaves(sweep, request)
