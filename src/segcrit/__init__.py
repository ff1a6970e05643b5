"""segcrit: losses and evaluation for semantic segmentation with PyTorch.

>>> import torch, segcrit
>>> criterion = segcrit.Criterion("ce + 0.5*dice")
>>> criterion
Criterion('ce + 0.5*dice')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segcrit import errors, functional
from segcrit._registry import list_losses
from segcrit.criterion import Criterion
from segcrit.custom import pixel_loss, region_loss
from segcrit.encodings import Palette, from_one_hot, one_hot
from segcrit.engines import backends, use_backend
from segcrit.evaluation import Evaluator, Report
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
from segcrit.weights import border_weight_map, class_frequencies, class_weights, pos_weight

if TYPE_CHECKING:
    from segcrit.comparison import compare

__all__ = [
    "BinaryCrossEntropyLoss",
    "Criterion",
    "CrossEntropyLoss",
    "DiceLoss",
    "Evaluator",
    "FocalLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "Palette",
    "PartialCrossEntropyLoss",
    "Report",
    "Sums",
    "TverskyLoss",
    "backends",
    "border_weight_map",
    "class_frequencies",
    "class_weights",
    "compare",
    "errors",
    "from_one_hot",
    "functional",
    "list_losses",
    "one_hot",
    "pixel_loss",
    "pos_weight",
    "region_loss",
    "use_backend",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Comparing loads the training library; everything else stays light.
    if name == "compare":
        from segcrit.comparison import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
