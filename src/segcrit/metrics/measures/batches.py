"""A batch through the measures of an evaluator."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrit.core.errors import ParameterError, ShapeError
from segcrit.metrics.counts import predict_labels
from segcrit.metrics.inputs import Batch
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.base import Sample, are_spacings, measures_of
from segcrit.metrics.ratios import Floats
from segcrit.metrics.settings import Settings

__all__ = ["measure_batch"]


@torch.no_grad()
def measure_batch(batch: Batch, settings: Settings, spacing: Any = None) -> dict[str, list[Values]]:
    """Measure a batch whose counts were taken, which means that its labels are classes.

    Args:
        batch: checked prediction and target.
        settings: with the measures.
        spacing: a number, (D,), (N, D) or None.

    Returns:
        kind -> the arrays of each image.

    Raises:
        ShapeError, ParameterError: the spacing does not fit the images.
    """
    size = tuple(batch.target.shape[2:] if settings.task == "multilabel" else batch.target.shape[1:])
    rows = read_spacing(spacing, batch.images, len(size))

    @cache
    def labels() -> Tensor:
        return predict_labels(batch.prediction, settings, size) if batch.is_logits else batch.prediction

    sample = Sample(batch, settings, labels, rows)
    return {measure.kind: measure.measure(sample) for measure in measures_of(settings)}


def read_spacing(spacing: Any, images: int, dimensions: int) -> Floats | None:
    """One row an image of positive numbers, or None.

    Example:
        >>> read_spacing([1.0, 0.5], 2, 2)
        array([[1. , 0.5],
               [1. , 0.5]])
    """
    if spacing is None:
        return None
    values = np.asarray(torch.as_tensor(spacing).cpu() if isinstance(spacing, Tensor) else spacing, dtype=np.float64)
    if values.shape not in ((), (dimensions,), (images, dimensions)):
        raise ShapeError(
            f"a spacing of one number, of shape ({dimensions},) or ({images}, {dimensions})",
            str(values.shape),
            "Give the size of a pixel along each spatial dimension, in the order of the array.",
        )
    if not are_spacings(values):
        raise ParameterError("a spacing of positive numbers", str(values.tolist()), "Give the size of a pixel.")
    return np.broadcast_to(values, (images, dimensions))
