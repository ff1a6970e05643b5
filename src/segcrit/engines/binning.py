"""From errors to histogram bins, the same in every engine.

Errors in [0, 1] use K uniform bins of width 1/K. Errors of a margin are unbounded: with x = 1 + m, each of the 8 octaves of
x in [1, 256) has K/8 uniform bins, so that a bin's width is at most 8 (1 + m)/K. The Lovász extension L is monotone,
positively homogeneous and adds the constant of a shift, so that the histogram value differs from L by at most (8/K)(1 + L)
for errors below 255; larger ones share the last bin.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["OCTAVES", "bin_index"]

OCTAVES = 8


def bin_index(errors: Tensor, kind: str, bins: int) -> Tensor:
    """Index of the bin of each error, int64 in [0, bins); NaN goes to the last bin."""
    if kind == "probability":
        position = errors * bins
    else:
        shifted = errors + 1.0
        # frexp gives x = mantissa · 2^exponent with mantissa in [0.5, 1): octave = exponent − 1.
        mantissa, exponent = torch.frexp(shifted)
        per_octave = bins / OCTAVES
        position = (exponent - 1) * per_octave + (2 * mantissa - 1) * per_octave
    position = torch.nan_to_num(position, nan=float(bins), posinf=float(bins))
    return position.clamp_(0, bins - 1).to(torch.int64)
