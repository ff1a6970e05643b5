"""Keeping losses away from the places where their slope jumps: edges of bins, and equal probability and soft target.

The value and the slope of a histogram jump where an error crosses an edge, and the slope of |p - t|, in Dice and its kind
with soft targets, where p crosses t. Two engines round differently in the last digit: such a pixel proves nothing about
either. It gets the weight 0.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .drawing import Case

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
# Of an error, relative: many roundings of float32 (6e-8 each) in interpolation, softmax and position.
ROUNDING = 5e-6
# Of float64, likewise.
FINE = 1e-12


def full_resolution(case: Case) -> Tensor:
    """The logits at the size of the target, float64, by PyTorch."""
    logits = case.logits.double()
    if not case.is_upsampled:
        return logits
    align = bool(case.options["align_corners"])
    return F.interpolate(logits, size=case.size, mode=MODES[len(case.size)], align_corners=align)


def near_edges(case: Case) -> Tensor:
    """(N, *S) bool: pixels with an error so near to the edge of a bin that rounding may carry it over."""
    bins = next((k for k in (64, 512) if f"bins={k}" in case.text), 4096)
    rounding = FINE if case.logits.dtype == torch.float64 else ROUNDING
    logits = full_resolution(case)
    if case.task == "multiclass":
        p = torch.softmax(logits, 1)
        # exp(z − max) multiplies the rounding of its argument, and log p that of the largest logit.
        size = 1 + logits.abs().amax(1, keepdim=True)
        errors = torch.cat((p, 1 - p), 1)
        slack = rounding * size * torch.cat((p, torch.minimum(p, 1 - p) + 1e-6 * (1 - p)), 1)
        position, slack = errors * bins, slack * bins
    else:
        # Both signs; error 0 is where the hinge bends.
        errors = torch.cat((1 - logits, 1 + logits), 1)
        octave = torch.log2((errors + 1).clamp_min(1)).floor()
        mantissa = (errors + 1).clamp_min(1) / 2**octave
        position = (octave + mantissa - 1) * bins / 8
        slack = rounding * (1 + logits.abs()).repeat(1, 2, *[1] * (logits.ndim - 2)) * bins / 8 + rounding * position
        slack = torch.where(errors < -rounding * 100, 0.0, slack)
    edge = position.round()
    near = ((position - edge).abs() <= slack) & (edge > 0) & (edge < bins)
    if case.task != "multiclass":
        near |= errors.abs() <= rounding * (1 + logits.abs()).repeat(1, 2, *[1] * (logits.ndim - 2))
    return near.any(1)


def near_soft_target(case: Case) -> Tensor:
    """(N, *S) bool: pixels with a probability so near to its soft target that rounding decides which is larger."""
    rounding = FINE if case.logits.dtype == torch.float64 else ROUNDING
    logits = full_resolution(case)
    p = torch.softmax(logits, 1) if case.task == "multiclass" else torch.sigmoid(logits)
    target = case.target.double().reshape(p.shape)
    # Certain pixels are at their target of 0 or 1 and have no slope.
    certain = (target == 0) | (target == 1)
    slack = rounding * (1 + logits.abs().amax(1, keepdim=True)) * p
    return (((p - target).abs() <= slack) & ~certain).any(1)


def away_from_edges(case: Case) -> Case:
    """The case with weight 0 at pixels where a slope jumps, if it has any."""
    elements = math.prod((*case.logits.shape[:2], *case.size))
    soft = case.target.is_floating_point() and case.target.numel() == elements
    near = near_soft_target(case) if soft else torch.zeros((), dtype=torch.bool)
    if "lovasz" in case.text:
        near = near | near_edges(case)
    if not bool(near.any()):
        return case
    weight = torch.ones(near.shape) if case.weight is None else case.weight
    return dataclasses.replace(case, weight=torch.where(near, 0.0, weight))
