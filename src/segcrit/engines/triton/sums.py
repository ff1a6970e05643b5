"""What the programs of a forward kernel left, added up in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segcrit.engines.formulas import FIELDS
from segcrit.engines.request import Request, Shapes
from segcrit.engines.triton.histograms import Words
from segcrit.engines.triton.options import ERRORS

__all__ = ["Sums", "finish_histograms", "of_programs", "over_images", "stack_fields"]

_BINS_AT_ONCE = 1024


@dataclass(frozen=True)
class Sums:
    """Results of a forward kernel.

    Attributes:
        refused: 0-d: how many pixels or elements hold a value that is not allowed; None where the request does not ask.
        pixel: (J,) float64.
        tables: class sums (7, rows, C) float64, 0 where not asked for.
        counts, moments: (rows, C, 2, K) float64, or None.
        confusion: int64, or None.
        maps: (J, N, ...) float32, or None.
        normalizers: (2, N, *S) float32, or None.
    """

    refused: Tensor | None
    pixel: Tensor
    tables: Tensor
    counts: Tensor | None = None
    moments: Tensor | None = None
    confusion: Tensor | None = None
    maps: Tensor | None = None
    normalizers: Tensor | None = None


# Beside a loss that takes a fifth of a millisecond every step that PyTorch starts counts: few and large ones.
def of_programs(partials: Tensor, blocks: int, request: Request) -> Tensor:
    """Sums of the programs (N, ..., blocks, SLOTS) over blocks, and over images where nobody asks for those of each.

    Returns:
        (N or 1, ..., SLOTS) float64.
    """
    if request.per_image or request.bins_per_image:
        return partials.sum(blocks, dtype=torch.float64)
    return partials.sum((0, blocks), dtype=torch.float64)[None]


def over_images(sums: Tensor) -> Tensor:
    """Σ over the first dimension, which stays."""
    return sums if len(sums) == 1 else sums.sum(0, keepdim=True)


def stack_fields(fields: dict[str, Tensor], shapes: Shapes, device: torch.device) -> Tensor:
    """The tables (7, rows, C) of the class sums by name, each (N or 1, C)."""
    nothing = torch.zeros(shapes.tables[1:], dtype=torch.float64, device=device)
    per_image = shapes.tables[1] > 1
    rows = {name: values if per_image else over_images(values) for name, values in fields.items()}
    return torch.stack([rows.get(name, nothing) for name in FIELDS])


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
    from segcrit.engines.triton.kernels.errors import write_histograms

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
