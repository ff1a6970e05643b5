"""Histograms of errors as whole numbers: how many bits count and how many hold the errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segcrit.engines.request import Request

__all__ = ["Words", "most_pixels"]

_BITS = 63
_FINEST = 15  # units of 2⁻¹⁵ bins
_COARSEST = 7
_LARGEST_EXPONENT = 126  # of a scale in float32
_MARGIN_BITS = 8  # errors below the last bin are smaller than 2⁸
# Fewer pixels use the words of this many, where the finest units fit: kernels are compiled for the layout of a word.
_FEWEST_BITS = (_BITS - _FINEST) // 2


def most_pixels() -> int:
    """Pixels that one histogram can count."""
    return 1 << ((_BITS - _COARSEST) // 2)


@dataclass(frozen=True)
class Words:
    """Histograms under construction.

    Attributes:
        words: (rows, C, 2, K) int64: packed counts and distances where ``shift`` > 0, otherwise weight · error.
        weights: the same shape, the weights, where they are not packed; otherwise None.
        scales: (2,) float32, the fixed point of weights and of weight · error; None where packed.
        shift: bits below the count, 0 where not packed.
        unit: parts of a bin.
    """

    words: Tensor
    weights: Tensor | None
    scales: Tensor | None
    shift: int
    unit: float

    @staticmethod
    def make(
        shape: tuple[int, ...], pixels: int, request: Request, weight: Tensor | None, device: torch.device
    ) -> Words:
        """Zeros for histograms of at most ``pixels`` errors each."""
        words = torch.zeros(shape, dtype=torch.int64, device=device)
        bits = pixels.bit_length()
        if weight is None and request.errors == "probability":
            bits = max(_FEWEST_BITS, bits)
            unit = min(_FINEST, _BITS - 2 * bits)
            return Words(words, None, None, bits + unit, float(1 << unit))
        free = _BITS - 1 - bits - (_MARGIN_BITS if request.errors == "margin" else 0)
        if weight is None:
            scales = torch.full((2,), 2.0**free, dtype=torch.float32, device=device)
        else:
            # The largest weight is known on the device only; a copy to the host would wait for all that is queued.
            peak = weight.nan_to_num(0.0, 0.0, 0.0).amax().to(torch.float64).clamp_min(1e-30)
            exponent = torch.floor(free - torch.log2(peak)).clamp_max(_LARGEST_EXPONENT)
            scales = torch.exp2(exponent).to(torch.float32).expand(2).contiguous()
        return Words(words, torch.zeros_like(words), scales, 0, 1.0)
