"""segcrit: losses and evaluation for semantic segmentation with PyTorch.

>>> import torch, segcrit
>>> criterion = segcrit.Criterion("ce + 0.5*dice")
>>> criterion
Criterion('ce + 0.5*dice')
"""

from __future__ import annotations

from segcrit import errors, functional
from segcrit._registry import list_losses
from segcrit.criterion import Criterion
from segcrit.custom import pixel_loss, region_loss
from segcrit.engines import backends, use_backend
from segcrit.modules import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    JaccardLoss,
    LovaszHingeLoss,
    LovaszSoftmaxLoss,
    PartialCrossEntropyLoss,
    TverskyLoss,
)
from segcrit.sums import Sums

__all__ = [
    "BinaryCrossEntropyLoss",
    "Criterion",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "PartialCrossEntropyLoss",
    "Sums",
    "TverskyLoss",
    "backends",
    "errors",
    "functional",
    "list_losses",
    "pixel_loss",
    "region_loss",
    "use_backend",
]

__version__ = "0.1.0"
