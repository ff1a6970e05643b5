"""An evaluator as a metric of torchmetrics, where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segcrit.core import optional
from segcrit.core.errors import ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.named import get_figure

__all__ = ["as_torchmetric"]


def as_torchmetric(evaluator: Evaluator, figures: str | Sequence[str] | None = None) -> Any:
    """Return a ``torchmetrics.Metric`` that counts with a copy of this evaluator.

    It goes where such a metric goes: into a ``MetricCollection``, into Lightning's ``self.log``, through
    ``reset``, ``forward``, pickling and state dictionaries. In several processes ``compute`` merges the images of all,
    by id, so that images that a sampler repeats count once and a process without an image does no harm.

    ``metric.update(preds, target, ids=None, spacing=None)`` takes what :meth:`segcrit.Evaluator.update` takes;
    ``metric.report()`` gives the whole :class:`segcrit.Report`.

    Args:
        evaluator: its settings and the images that it has already.
        figures: one name of ``report.figures`` or a class figure (``compute`` gives a tensor without dimensions), or
            several (``compute`` gives a dictionary; Lightning's ``self.log`` wants one figure a metric). Default: the
            headline of the task.

    Raises:
        ParameterError: no such figure.
        MissingExtraError: torchmetrics is not installed.

    Example:
        >>> import torch, segcrit
        >>> metric = segcrit.as_torchmetric(segcrit.Evaluator(2), ["miou", "iou[1]"])
        >>> metric.update(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1]]))
        >>> {name: round(float(value), 4) for name, value in metric.compute().items()}
        {'miou': 0.5833, 'iou[1]': 0.6667}
    """
    optional.require("torchmetrics", extra="bench")
    from segcrit.metrics.evaluator import Evaluator
    from segcrit.metrics.torchmetric import EvaluatorMetric

    if not isinstance(evaluator, Evaluator):
        raise ParameterError("an Evaluator", type(evaluator).__name__, "Write as_torchmetric(Evaluator(19)).")
    counts = evaluator.compute()
    chosen = counts.headline if figures is None else figures
    for name in [chosen] if isinstance(chosen, str) else chosen:
        get_figure(name, counts.num_classes, counts.class_names, counts.per_image)
    return EvaluatorMetric(evaluator, chosen if isinstance(chosen, str) else tuple(chosen))
