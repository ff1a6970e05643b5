"""Evaluation: logits or labels to confusion counts, by torch, the peers and ``segcrit.Evaluator``.

Every counter is fed the same batch again and again, as a validation loop feeds batches; its value is the mean IoU,
which does not change by that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from segcrit.apps.bench.problems import Problem, Tensors, interpolate
from segcrit.engines import use_backend
from segcrit.metrics.evaluator import Evaluator

__all__ = ["TASKS", "Counter", "counters"]

TASKS: Final = ("multiclass", "binary")


@dataclass(frozen=True)
class Counter:
    """``step`` counts a batch; ``value`` gives the mean IoU of what was counted."""

    step: Callable[[Tensors], object]
    value: Callable[[Any], float]


Row = tuple[str, str, Callable[[Problem], Counter], str]


def counters(from_logits: bool, task: str) -> Iterator[Row]:
    """Library, name, maker and note of everyone who counts."""
    choose = "argmax" if task == "multiclass" else "threshold"
    yield "torch", f"{choose}, bincount" if from_logits else "bincount", partial(_bincount, from_logits), ""
    if task == "multiclass":
        yield "torchmetrics", "MulticlassJaccardIndex", partial(_torchmetrics, from_logits, "Jaccard"), ""
        yield "torchmetrics", "MulticlassConfusionMatrix", partial(_torchmetrics, from_logits, "Confusion"), ""
        yield (
            "torchmetrics",
            "segmentation.MeanIoU",
            partial(_torchmetrics_mean_iou, from_logits),
            "averages over images",
        )
        yield "monai", "get_confusion_matrix", partial(_monai_confusion, from_logits), ""
        yield "monai", "compute_iou", partial(_monai_iou, from_logits), "averages over images"
    else:
        yield "torchmetrics", "BinaryConfusionMatrix", partial(_torchmetrics, from_logits, "Binary"), ""
    yield "segcrit reference", "Evaluator", partial(_segcrit, from_logits, "reference"), ""
    yield "segcrit", "Evaluator", partial(_segcrit, from_logits, "auto"), ""


def _decide(problem: Problem, logits: Tensor) -> Tensor:
    """Predicted labels (N, *S')."""
    if problem.upsample != 1:
        logits = interpolate(logits, problem.target_size)
    return logits.argmax(1) if problem.task == "multiclass" else (logits[:, 0] > 0).long()


def _values(problem: Problem) -> int:
    return max(2, problem.classes)


class _Source:
    """Gives a counter its prediction and its labels; what belongs to the data is made before the clock starts."""

    def __init__(self, problem: Problem, from_logits: bool) -> None:
        self._problem = problem
        tensors = None if from_logits and problem.task == "multiclass" else problem.make()
        self.predicted = None if from_logits or tensors is None else _decide(problem, tensors.logits.detach())
        self._labels = None if problem.task == "multiclass" or tensors is None else tensors.target[:, 0].long()

    def logits(self, tensors: Tensors) -> Tensor:
        logits = tensors.logits.detach()
        return logits if self._problem.upsample == 1 else interpolate(logits, self._problem.target_size)

    def labels(self, tensors: Tensors) -> Tensor:
        return tensors.target if self._labels is None else self._labels

    def prediction(self, tensors: Tensors) -> Tensor:
        return _decide(self._problem, tensors.logits.detach()) if self.predicted is None else self.predicted


def _bincount(from_logits: bool, problem: Problem) -> Counter:
    source, values = _Source(problem, from_logits), _values(problem)

    def step(tensors: Tensors) -> Tensor:
        pairs = source.labels(tensors) * values + source.prediction(tensors)
        return torch.bincount(pairs.flatten(), minlength=values * values).reshape(values, values)

    return Counter(step, _mean_iou)


def _torchmetrics(from_logits: bool, which: str, problem: Problem) -> Counter:
    module = importlib.import_module("torchmetrics.classification")
    if which == "Binary":
        metric = module.BinaryConfusionMatrix()
    else:
        kind = {"Jaccard": module.MulticlassJaccardIndex, "Confusion": module.MulticlassConfusionMatrix}[which]
        metric = kind(num_classes=problem.classes)
    source = _Source(problem, from_logits)

    def step(tensors: Tensors) -> Any:
        if source.predicted is not None:
            metric.update(source.predicted, source.labels(tensors))
        else:
            logits = source.logits(tensors)
            metric.update(logits[:, 0] if which == "Binary" else logits, source.labels(tensors))
        return metric

    return Counter(step, lambda result: _of_metric(result, which))


def _torchmetrics_mean_iou(from_logits: bool, problem: Problem) -> Counter:
    """Takes labels only, and makes one-hot tensors of them."""
    metric = importlib.import_module("torchmetrics.segmentation").MeanIoU(problem.classes, input_format="index")
    source = _Source(problem, from_logits)

    def step(tensors: Tensors) -> Any:
        metric.update(source.prediction(tensors), source.labels(tensors))
        return metric

    return Counter(step, lambda result: float(result.compute()))


def _of_metric(metric: Any, which: str) -> float:
    computed = metric.compute()
    return float(computed) if which == "Jaccard" else _mean_iou(computed)


def _monai_one_hot(from_logits: bool, problem: Problem) -> Callable[[Tensors], tuple[Tensor, Tensor]]:
    """MONAI's metrics take one-hot tensors, which its AsDiscrete makes in the loop."""
    one_hot = importlib.import_module("monai.networks.utils").one_hot
    source = _Source(problem, from_logits)

    def both(tensors: Tensors) -> tuple[Tensor, Tensor]:
        prediction, labels = source.prediction(tensors), source.labels(tensors)
        return one_hot(prediction[:, None], problem.classes), one_hot(labels[:, None], problem.classes)

    return both


def _monai_confusion(from_logits: bool, problem: Problem) -> Counter:
    counted = importlib.import_module("monai.metrics").get_confusion_matrix
    both = _monai_one_hot(from_logits, problem)

    def value(result: Any) -> float:
        hit, false_positive, _, false_negative = result.sum(0).double().unbind(-1)  # MONAI's order: tp, fp, tn, fn
        return float((hit / (hit + false_positive + false_negative)).nanmean())

    return Counter(lambda tensors: counted(*both(tensors)), value)


def _monai_iou(from_logits: bool, problem: Problem) -> Counter:
    compute = importlib.import_module("monai.metrics").compute_iou
    both = _monai_one_hot(from_logits, problem)
    return Counter(lambda tensors: compute(*both(tensors)), lambda result: float(result.nanmean()))


def _segcrit(from_logits: bool, backend: str, problem: Problem) -> Counter:
    upsample = "linear" if problem.upsample != 1 and from_logits else None
    evaluator = Evaluator(problem.classes, task=problem.task, upsample=upsample)
    source = _Source(problem, from_logits)

    def step(tensors: Tensors) -> Evaluator:
        evaluator.reset()  # it keeps counts for each image
        with use_backend(backend):
            prediction = tensors.logits.detach() if source.predicted is None else source.predicted
            evaluator.update(prediction, source.labels(tensors))
        return evaluator

    return Counter(step, lambda result: result.compute().miou)


def _mean_iou(counts: Tensor) -> float:
    matrix = counts.double()
    hit = matrix.diagonal()
    return float((hit / (matrix.sum(0) + matrix.sum(1) - hit)).nanmean())
