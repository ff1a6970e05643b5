"""What the programs of a forward kernel left, added up in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segcrit.engines.request import Request, Shapes
from segcrit.engines.triton_engine.histograms import Words
from segcrit.engines.triton_engine.options import ERRORS

__all__ = ["Sums", "finish_histograms"]

_BINS_AT_ONCE = 1024


@dataclass(frozen=True)
class Sums:
    """Results of a forward kernel.

    Attributes:
        refused: 0-d: how many pixels or elements hold a value that is not allowed; counted where the request asks.
        pixel: (J,) float64.
        fields: class sums by name, (rows, C) float64.
        counts, moments: (rows, C, 2, K) float64, or None.
        confusion: int64, or None.
        maps: (J, N, ...) float32, or None.
        normalizers: (2, N, *S) float32, or None.
    """

    refused: Tensor
    pixel: Tensor
    fields: dict[str, Tensor]
    counts: Tensor | None = None
    moments: Tensor | None = None
    confusion: Tensor | None = None
    maps: Tensor | None = None
    normalizers: Tensor | None = None


def finish_histograms(
    words: Words, totals: Tensor, lows: Tensor, highs: Tensor | None, request: Request, shapes: Shapes
) -> tuple[Tensor, Tensor]:
    """Weights and moments in float64.

    Args:
        words: what was counted, all but the bottom bins.
        totals: (rows, C, 2): weight of all negatives and positives.
        lows: (rows, C, 2): sums of the errors in the bottom bins.
        highs: the same of the top bins, where errors have no bound.
        request: the request.
        shapes: of the results.
    """
    from segcrit.engines.triton_engine.kernels.errors import write_histograms

    device = totals.device
    counts = torch.empty(shapes.histogram, dtype=torch.float64, device=device)
    moments = torch.empty(shapes.histogram, dtype=torch.float64, device=device)
    programs = counts.numel() // request.bins
    kernel: Any = write_histograms
    kernel[(programs,)](
        counts, moments, words.words, words.weights, words.scales, totals.contiguous(), lows.contiguous(),
        None if highs is None else highs.contiguous(),
        KIND=ERRORS[request.errors], BINS=request.bins, SHIFT=words.shift, UNIT=words.unit, BLOCK=_BINS_AT_ONCE,
    )  # fmt: skip
    return counts, moments
