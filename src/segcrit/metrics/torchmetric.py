"""The metric of torchmetrics that :func:`segcrit.as_torchmetric` makes; imported only where torchmetrics is there."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.report import Report

__all__ = ["EvaluatorMetric"]


class EvaluatorMetric(Metric):
    """A metric whose state is an evaluator; see :func:`segcrit.as_torchmetric`."""

    is_differentiable = False
    # torchmetrics' Running keeps the states of its window, which an evaluator does not have: it takes no such metric.
    full_state_update = True

    def __init__(self, evaluator: Evaluator, figures: str | tuple[str, ...]) -> None:
        super().__init__()
        self.figures = figures
        self._evaluator = copy.deepcopy(evaluator)
        self._own: Evaluator | None = None

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Whether a larger value is better; None where several figures disagree."""
        from segcrit.metrics.named import get_figure

        report = self._evaluator.compute()
        names = [self.figures] if isinstance(self.figures, str) else self.figures
        kinds = {
            get_figure(name, report.num_classes, report.class_names, report.per_image).better == "higher"
            for name in names
        }
        return kinds.pop() if len(kinds) == 1 else None

    def update(self, preds: Any, target: Any, ids: Any = None, spacing: Any = None) -> None:
        """Count a batch; see :meth:`segcrit.Evaluator.update`."""
        self._evaluator.update(preds, target, ids, spacing=spacing)

    def report(self) -> Report:
        """The report on this process's images; between ``sync`` and ``unsync`` on those of all."""
        return self._evaluator.compute()

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The figures of all processes' images."""
        return self._values(self._evaluator)

    def forward(self, preds: Any, target: Any, ids: Any = None, spacing: Any = None) -> Any:
        """Count a batch and return the figures of this batch alone."""
        self.update(preds, target, ids, spacing)
        alone = copy.copy(self._evaluator).reset()
        found: Any = self._values(alone.update(preds, target, ids, spacing=spacing))
        self._forward_cache = found
        return found

    def _values(self, evaluator: Evaluator) -> Tensor | dict[str, Tensor]:
        report = evaluator.compute()

        def value(name: str) -> Tensor:
            known = report.figures.get(name)
            if known is None:
                known = _class_figure(report, name)
            return torch.tensor(known, dtype=torch.float32, device=self.device)

        if isinstance(self.figures, str):
            return value(self.figures)
        return {name: value(name) for name in self.figures}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._own = None
        self._evaluator.reset()

    def sync(
        self,
        dist_sync_fn: Any = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Any = None,
    ) -> None:
        """Merge the images of all processes; a collective call."""
        if self._is_synced and should_sync:
            raise TorchMetricsUserError("The metric has already been synced.")
        available = distributed_available or self.distributed_available_fn
        if not should_sync or not (callable(available) and available()):
            return
        self._own = self._evaluator
        self._evaluator = copy.copy(self._evaluator).synchronize(process_group or self.process_group)
        self._is_synced = True

    def unsync(self, should_unsync: bool = True) -> None:
        """Back to this process's own images."""
        if not should_unsync:
            return
        if not self._is_synced or self._own is None:
            raise TorchMetricsUserError("The metric has already been un-synced.")
        self._evaluator, self._own = self._own, None
        self._is_synced = False

    def merge_state(self, incoming_state: Any) -> None:
        """Add the images of another such metric."""
        if not isinstance(incoming_state, EvaluatorMetric):
            raise TorchMetricsUserError("Only another metric of as_torchmetric can be merged into this one.")
        self._evaluator.merge(incoming_state._evaluator)
        self._update_count += incoming_state._update_count
        self._computed = None

    def get_extra_state(self) -> dict[str, Any]:
        """The images, in ``state_dict``."""
        return {"update_count": self._update_count, "evaluator": self._evaluator.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the images of a ``state_dict``."""
        self._update_count = state["update_count"]
        self._evaluator.load_state_dict(state["evaluator"])
        self._computed = None


def _class_figure(report: Report, name: str) -> float:
    from segcrit.metrics.named import evaluate

    return evaluate(report.per_image, name, report.class_names)
