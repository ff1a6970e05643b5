"""segcrit: losses and evaluation for semantic segmentation with PyTorch.

>>> import torch, segcrit
>>> criterion = segcrit.Criterion("ce + 0.5*dice")
>>> criterion
Criterion('ce + 0.5*dice')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segcrit import errors
from segcrit._constants import VERSION

if TYPE_CHECKING:
    from segcrit import functional
    from segcrit._load import load
    from segcrit._registry import list_losses
    from segcrit.comparison import compare
    from segcrit.criterion import Criterion
    from segcrit.custom import pixel_loss, region_loss
    from segcrit.encodings import Palette, from_one_hot, one_hot
    from segcrit.engines import backends, use_backend
    from segcrit.evaluating import evaluate
    from segcrit.evaluation import (
        Boundary,
        Calibration,
        Evaluator,
        ObjectSizes,
        Report,
        ThresholdCurves,
        as_torchmetric,
    )
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

__all__ = [
    "BinaryCrossEntropyLoss",
    "Boundary",
    "Calibration",
    "Criterion",
    "CrossEntropyLoss",
    "DiceLoss",
    "Evaluator",
    "FocalLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "ObjectSizes",
    "Palette",
    "PartialCrossEntropyLoss",
    "Report",
    "Sums",
    "ThresholdCurves",
    "TverskyLoss",
    "as_torchmetric",
    "backends",
    "border_weight_map",
    "class_frequencies",
    "class_weights",
    "compare",
    "errors",
    "evaluate",
    "from_one_hot",
    "functional",
    "list_losses",
    "load",
    "one_hot",
    "pixel_loss",
    "pos_weight",
    "region_loss",
    "use_backend",
]

__version__ = VERSION


# Where each public name lives. It is imported when it is first used, so that `segcrit --help` does not wait for torch and
# `import segcrit` not for the training library.
_HOMES = {
    "BinaryCrossEntropyLoss": "segcrit.modules",
    "Boundary": "segcrit.evaluation",
    "Calibration": "segcrit.evaluation",
    "Criterion": "segcrit.criterion",
    "CrossEntropyLoss": "segcrit.modules",
    "DiceLoss": "segcrit.modules",
    "Evaluator": "segcrit.evaluation",
    "FocalLoss": "segcrit.modules",
    "JaccardLoss": "segcrit.modules",
    "LovaszHingeLoss": "segcrit.modules",
    "LovaszSoftmaxLoss": "segcrit.modules",
    "ObjectSizes": "segcrit.evaluation",
    "Palette": "segcrit.encodings",
    "PartialCrossEntropyLoss": "segcrit.modules",
    "Report": "segcrit.evaluation",
    "Sums": "segcrit.sums",
    "ThresholdCurves": "segcrit.evaluation",
    "TverskyLoss": "segcrit.modules",
    "as_torchmetric": "segcrit.evaluation",
    "backends": "segcrit.engines",
    "border_weight_map": "segcrit.weights",
    "class_frequencies": "segcrit.weights",
    "class_weights": "segcrit.weights",
    "compare": "segcrit.comparison",
    "evaluate": "segcrit.evaluating",
    "from_one_hot": "segcrit.encodings",
    "list_losses": "segcrit._registry",
    "load": "segcrit._load",
    "one_hot": "segcrit.encodings",
    "pixel_loss": "segcrit.custom",
    "pos_weight": "segcrit.weights",
    "region_loss": "segcrit.custom",
    "use_backend": "segcrit.engines",
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("segcrit.functional")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("segcrit.formulas")  # fills the table of losses
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
