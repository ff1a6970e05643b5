"""Reducers: which pixels of a pixel loss count in its mean or sum.

A reducer sees the values, the log-probabilities of the targets and which pixels are valid, and hands back the share with
which each pixel counts: 1 or 0. Pixels of equal rank at the border of what is kept have equal shares, so that the result
does not depend on the order of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from segcrit.core.dtypes import table_dtype

__all__ = ["Reducer", "keep_largest", "keep_uncertain", "reducer_of"]

# (values, log-probabilities of the targets, valid) -> share of each pixel, all of one shape.
Reducer = Callable[[Tensor, Tensor, Tensor], Tensor]


def _largest(score: Tensor, valid: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the ``number`` valid pixels with the largest score, and the smallest score among them."""
    ranked = torch.where(valid, score, -float("inf")).reshape(-1)
    if ranked.numel() == 0:
        return torch.zeros_like(score), score.new_zeros(())
    if ranked.device.type == "cpu" and not torch.compiler.is_compiling():
        # A selection; sorting everything, which needs no number on the host, takes ten times as long.
        border = ranked.kthvalue(ranked.numel() - max(int(number), 1) + 1).values
    else:
        border = ranked.sort(descending=True).values.gather(0, (number - 1).clamp_min(0).to(torch.int64)[None])[0]
    # NaN is larger than every number: it must reach the loss.
    above = (ranked > border) | ranked.isnan()
    equal = ranked == border
    left = ((number - above.sum()) / equal.sum()).to(score.dtype).clamp_min(0.0)
    share = torch.where(above, 1.0, torch.where(equal, left, 0.0)).to(score.dtype)
    return share.reshape(score.shape), border


def keep_largest(values: Tensor, log_probability: Tensor, valid: Tensor, *, keep: float) -> Tensor:
    """The ⌊keep · n⌋ of the n valid pixels with the largest values, at least one."""
    number = torch.floor(valid.sum().to(table_dtype(values.device)) * keep).clamp_min(1.0)
    return torch.where(valid, _largest(values, valid, number)[0], 0.0)


def keep_uncertain(values: Tensor, log_probability: Tensor, valid: Tensor, *, ohem: float, min_kept: int) -> Tensor:
    """The pixels whose target has a probability below ``ohem``; where these are fewer, the ``min_kept`` least probable."""
    number = valid.sum().clamp_max(min_kept)
    least, border = _largest(-log_probability, valid, number.to(table_dtype(values.device)))
    enough = torch.where(valid & ~(log_probability.exp() >= ohem), 1.0, 0.0).to(values.dtype)
    # Fewer than that many are below the threshold where the last of them is not.
    return torch.where((number > 0) & (torch.exp(-border) >= ohem), torch.where(valid, least, 0.0), enough)


def reducer_of(values: Mapping[str, Any]) -> Reducer | None:
    """The reducer that the parameters of a pixel loss name, with its numbers; None where every pixel counts."""
    keep, ohem, min_kept = values.get("keep"), values.get("ohem"), int(values.get("min_kept", 0))
    if keep is not None:
        return lambda *maps: keep_largest(*maps, keep=keep)
    if ohem is not None:
        return lambda *maps: keep_uncertain(*maps, ohem=ohem, min_kept=min_kept)
    return None
