"""segcrit: losses and evaluation for semantic segmentation with PyTorch.

>>> import torch, segcrit
>>> criterion = segcrit.Criterion("ce + 0.5*dice")
>>> criterion
Criterion('ce + 0.5*dice')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segcrit.core import errors
from segcrit.core.constants import VERSION

if TYPE_CHECKING:
    from segcrit import functional
    from segcrit.apps.compare import compare
    from segcrit.apps.evaluate.folders import evaluate
    from segcrit.apps.load import load
    from segcrit.engines import backends, use_backend
    from segcrit.labels.one_hot import from_one_hot, one_hot
    from segcrit.labels.palette import Palette
    from segcrit.labels.weights.border import border_weight_map
    from segcrit.labels.weights.frequencies import class_frequencies
    from segcrit.labels.weights.positives import pos_weight
    from segcrit.labels.weights.schemes import class_weights
    from segcrit.losses.criterion import Criterion
    from segcrit.losses.custom import pixel_loss, region_loss
    from segcrit.losses.derived import derive
    from segcrit.losses.modules import (
        BinaryCrossEntropyLoss,
        BoundaryLoss,
        CrossEntropyLoss,
        DiceLoss,
        FocalLoss,
        GeneralisedDiceLoss,
        JaccardLoss,
        LovaszHingeLoss,
        LovaszSoftmaxLoss,
        PartialCrossEntropyLoss,
        Poly1Loss,
        TverskyLoss,
    )
    from segcrit.losses.sums import Sums
    from segcrit.losses.table import list_losses
    from segcrit.metrics.adapter import as_torchmetric
    from segcrit.metrics.evaluator import Evaluator
    from segcrit.metrics.measures.boundary.options import Boundary
    from segcrit.metrics.measures.objects import ObjectSizes
    from segcrit.metrics.measures.probability.calibration import Calibration
    from segcrit.metrics.measures.probability.curves import ThresholdCurves
    from segcrit.metrics.report import Report

__all__ = [
    "BinaryCrossEntropyLoss",
    "Boundary",
    "BoundaryLoss",
    "Calibration",
    "Criterion",
    "CrossEntropyLoss",
    "DiceLoss",
    "Evaluator",
    "FocalLoss",
    "GeneralisedDiceLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "ObjectSizes",
    "Palette",
    "PartialCrossEntropyLoss",
    "Poly1Loss",
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
    "derive",
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
    "BinaryCrossEntropyLoss": "segcrit.losses.modules",
    "Boundary": "segcrit.metrics",
    "BoundaryLoss": "segcrit.losses.modules",
    "Calibration": "segcrit.metrics",
    "Criterion": "segcrit.losses.criterion",
    "CrossEntropyLoss": "segcrit.losses.modules",
    "DiceLoss": "segcrit.losses.modules",
    "Evaluator": "segcrit.metrics",
    "FocalLoss": "segcrit.losses.modules",
    "GeneralisedDiceLoss": "segcrit.losses.modules",
    "JaccardLoss": "segcrit.losses.modules",
    "LovaszHingeLoss": "segcrit.losses.modules",
    "LovaszSoftmaxLoss": "segcrit.losses.modules",
    "ObjectSizes": "segcrit.metrics",
    "Palette": "segcrit.labels",
    "PartialCrossEntropyLoss": "segcrit.losses.modules",
    "Poly1Loss": "segcrit.losses.modules",
    "Report": "segcrit.metrics",
    "Sums": "segcrit.losses.sums",
    "ThresholdCurves": "segcrit.metrics",
    "TverskyLoss": "segcrit.losses.modules",
    "as_torchmetric": "segcrit.metrics",
    "backends": "segcrit.engines",
    "border_weight_map": "segcrit.labels.weights",
    "class_frequencies": "segcrit.labels.weights",
    "class_weights": "segcrit.labels.weights",
    "compare": "segcrit.apps.compare",
    "derive": "segcrit.losses.derived",
    "evaluate": "segcrit.apps.evaluate",
    "from_one_hot": "segcrit.labels",
    "list_losses": "segcrit.losses.table",
    "load": "segcrit.apps.load",
    "one_hot": "segcrit.labels",
    "pixel_loss": "segcrit.losses.custom",
    "pos_weight": "segcrit.labels.weights",
    "region_loss": "segcrit.losses.custom",
    "use_backend": "segcrit.engines",
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return import_module("segcrit.functional")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("segcrit.losses.formulas")  # fills the table of losses
    if _HOMES[name] == "segcrit.metrics":
        import_module("segcrit.reports.evaluation")  # gives reports their page
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
