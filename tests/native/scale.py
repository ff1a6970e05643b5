"""The size of the parts that a gradient is the sum of: what rounding errors are relative to where the parts cancel.

The gradient of a logit is p (G − Σ p G) with G = dL/dp, plus that of the pixel losses. Where p is 0 or 1, or G equal for all
classes, the sum is nothing but rounding, of about 1e-7 of its parts.
"""

from __future__ import annotations

from typing import Any

import torch

import segcrit
from segcrit.engines import reference

from .drawing import Case


def largest_part(case: Case) -> float:
    """Upper bound of the parts of dL/dz over all pixels, from the gradients of the sums that the formulas gave."""
    seen: list[float] = []
    backward = reference.backward

    def spy(sweep: Any, request: Any, normalizers: Any, gradients: Any) -> Any:
        pixel, table, moment, _ = gradients
        heaviest = 1.0 if sweep.pixel_weight is None else float(sweep.pixel_weight.max())
        # Slopes of the pixel losses are at most 1 for cross-entropy, about (1 + gamma) for focal losses, 1 + epsilon for
        # Poly-1.
        slopes = [1 + sum(value for _, value in item.scalars) for item in request.pixel]
        coefficients = sweep.coefficients.abs().amax((1, 2)).tolist() if slopes else []
        part = sum(abs(g) * c * s for g, c, s in zip(pixel.tolist(), coefficients, slopes, strict=True))
        part += float(table.abs().amax((1, 2)).sum()) if table.numel() else 0.0
        part += float(moment.abs().max()) if moment.numel() else 0.0
        seen.append(heaviest * abs(request.logit_scale) * part)
        return backward(sweep, request, normalizers, gradients)

    criterion = segcrit.Criterion(case.text, task=case.task, backend="reference", **case.options)
    logits = case.logits.detach().requires_grad_()
    reference.backward = spy
    try:
        torch.autograd.grad(criterion(logits, case.target, case.weight), logits)
    finally:
        reference.backward = backward
    # Upsampled logits receive the sum over the outputs that read them.
    outputs = 1.0
    if case.is_upsampled:
        for high, low in zip(case.size, case.logits.shape[2:], strict=True):
            outputs *= max(1.0, high / low)
    return outputs * sum(seen)
