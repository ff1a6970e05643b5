"""Linear interpolation of low-resolution logits to the pixels of the target: one rule for every engine.

Along one axis ``out[i] = (1 − share[i]) in[first[i]] + share[i] in[second[i]]``, with the positions of
``torch.nn.functional.interpolate(size=..., mode="linear" | "bilinear" | "trilinear")``, computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from segcrit.core.dtypes import without_autocast

__all__ = ["Axis", "axis_of", "interpolate", "transpose"]


@dataclass(frozen=True)
class Axis:
    """Interpolation along one axis.

    Attributes:
        first: (out,) int32: sample at or before each output's position.
        second: (out,) int32: the next sample, or the last one.
        share: (out,) float64 in [0, 1): weight of ``second``; 0 where the position falls on ``first``.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    def weights(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Indices and weights of both samples.

        A position that falls on a sample reads that sample twice with half its weight: 0 times a neighbour that is
        infinite or NaN would not be 0.
        """
        exact = (self.share == 0) | (self.first == self.second)
        second = torch.where(exact, self.first, self.second)
        of_second = torch.where(exact, 0.5, self.share)
        of_first = torch.where(exact, 0.5, 1.0 - self.share)
        return (
            self.first.to(device=device, dtype=torch.int64),
            second.to(device=device, dtype=torch.int64),
            of_first.to(device=device, dtype=dtype),
            of_second.to(device=device, dtype=dtype),
        )

    def matrix(self, samples: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(out, in) weights; its transpose is the gradient."""
        first, second, of_first, of_second = self.weights(device, dtype)
        rows = torch.arange(len(first), device=device)
        matrix = torch.zeros(len(first), samples, device=device, dtype=dtype)
        matrix[rows, first] = of_first
        matrix[rows, second] += of_second
        return matrix


def axis_of(samples: int, outputs: int, align_corners: bool) -> Axis:
    """Interpolation from ``samples`` to ``outputs`` positions along one axis.

    Example:
        >>> axis_of(2, 4, False).share.tolist()
        [0.0, 0.25, 0.75, 0.0]
    """
    # Tensors of a trace, as torch.export makes them, mean nothing after it: they are not kept.
    traced = type(torch.empty(0, device="cpu")) is not Tensor
    make = _kept_axis.__wrapped__ if traced else _kept_axis
    return make(samples, outputs, align_corners)


@lru_cache(maxsize=64)
def _kept_axis(samples: int, outputs: int, align_corners: bool) -> Axis:
    # Positions as fractions of whole numbers: one that falls on a sample does so exactly, and reads no neighbour.
    place = torch.arange(outputs, dtype=torch.int64, device="cpu")
    if align_corners:
        above, below = place * (samples - 1), max(outputs - 1, 1)
    else:
        above, below = ((2 * place + 1) * samples - outputs).clamp_min(0), 2 * outputs
    first = (above // below).clamp_max(samples - 1)
    second = (first + 1).clamp_max(samples - 1)
    share = torch.where(second > first, (above - first * below).to(torch.float64) / below, 0.0)
    return Axis(first.to(torch.int32), second.to(torch.int32), share)


def interpolate(logits: Tensor, size: tuple[int, ...], align_corners: bool, rows: slice | None = None) -> Tensor:
    """Logits (..., \\*low) at ``size``, of the first spatial axis only ``rows``.

    Args:
        logits: leading dimensions and then as many spatial ones as ``size`` has.
        size: spatial size of the result.
        align_corners: as in ``torch.nn.functional.interpolate``.
        rows: part of the first spatial axis, or None for all of it.
    """
    leading = logits.ndim - len(size)
    for place, outputs in enumerate(size):
        dimension = leading + place
        axis = axis_of(logits.shape[dimension], outputs, align_corners)
        parts = axis.weights(logits.device, logits.dtype)
        if place == 0 and rows is not None:
            parts = tuple(part[rows] for part in parts)  # type: ignore[assignment]
        first, second, of_first, of_second = parts
        shape = (-1, *[1] * (logits.ndim - dimension - 1))
        logits = logits.index_select(dimension, first) * of_first.view(shape) + logits.index_select(
            dimension, second
        ) * of_second.view(shape)
    return logits


def transpose(
    gradient: Tensor, low: tuple[int, ...], size: tuple[int, ...], align_corners: bool, rows: slice
) -> Tensor:
    """Gradient (..., \\*low) of the samples from that of outputs (..., rows, \\*rest)."""
    leading = gradient.ndim - len(size)
    for place in reversed(range(len(size))):
        matrix = axis_of(low[place], size[place], align_corners).matrix(low[place], gradient.device, gradient.dtype)
        if place == 0:
            matrix = matrix[rows]
        # Autocast would take the product in half precision.
        with without_autocast(gradient.device):
            gradient = (gradient.movedim(leading + place, -1) @ matrix).movedim(-1, leading + place)
    return gradient
