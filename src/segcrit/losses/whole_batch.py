"""What needs the whole batch as one tile: sorting its errors, users' formulas of soft targets, maps derived from labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from segcrit.core.dtypes import compute_dtype
from segcrit.engines.interpolation import interpolate
from segcrit.engines.reference import transform_logits
from segcrit.labels.mask import View, read_target, read_weight
from segcrit.losses.formulas.ranking import exact_loss
from segcrit.losses.gate import Batch
from segcrit.losses.plan import Group

__all__ = ["exact_classes", "flat_logits", "read_whole"]


@dataclass(frozen=True)
class Whole:
    """The whole batch as one tile: target (N, C, M), valid and weight (N, 1 or C, M)."""

    target: Tensor
    valid: Tensor
    weight: Tensor


def read_whole(batch: Batch, view: View) -> Whole:
    images, pixels = batch.logits.shape[0], math.prod(batch.size)
    keep = batch.target.ndim - len(batch.size)
    target = batch.target.reshape(*batch.target.shape[:keep], pixels)
    dtype = compute_dtype(batch.logits.dtype)
    reading = read_target(
        target,
        kind=batch.kind,
        sigmoid=batch.task != "multiclass",
        num_classes=batch.logits.shape[1],
        ignore_index=batch.ignore_index,
        view=view,
        dtype=dtype,
        check=False,
    )
    weight = None if batch.pixel_weight is None else batch.pixel_weight.reshape(images, pixels)
    valid, factor = read_weight(weight, reading, dtype, check=False)
    return Whole(reading.target, valid, factor)


def flat_logits(batch: Batch) -> Tensor:
    """(N, C, M) in the arithmetic's dtype; what sorts all pixels needs them all, upsampled ones too."""
    logits = batch.logits.to(compute_dtype(batch.logits.dtype))
    if batch.upsample:
        logits = interpolate(logits, batch.size, batch.align_corners)
    return logits.reshape(*logits.shape[:2], math.prod(batch.size))


def exact_classes(group: Group, batch: Batch, bias: Tensor | None) -> dict[int, Tensor]:
    """Losses by sorting for each exact term: (C,), or (N, C) with per_image."""
    whole = read_whole(batch, group.template.view)
    logits = torch.where(whole.valid, flat_logits(batch), 0.0)
    scores = transform_logits(logits, whole.target, bias, group.template)
    result: dict[int, Tensor] = {}
    for term in group.exact:
        if term.loss.compute.errors == "margin":
            errors = torch.relu(1.0 - scores * (2.0 * whole.target - 1.0))
        else:
            errors = (whole.target - torch.softmax(scores, 1)).abs()
        positive = whole.target > 0
        weight = whole.weight.expand_as(errors)
        if not term.per_image:
            # All images as one: (1, C, N·M).
            errors, positive, weight = (item.transpose(0, 1).flatten(1)[None] for item in (errors, positive, weight))
        rows, classes = errors.shape[:2]
        cells = [exact_loss(errors[n, c], positive[n, c], weight[n, c]) for n in range(rows) for c in range(classes)]
        losses = torch.stack(cells).view(rows, classes) if cells else errors.sum(-1)
        result[term.index] = losses if term.per_image else losses[0]
    return result
