"""What a step costs, and what share of it the loss takes."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["LossClock", "StepClock", "wait"]

# The first steps are slower: memory is allocated, kernels are chosen.
_WARM_UP: Final = 3
_EVERY: Final = 10
_MOST: Final = 60


def wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class LossClock:
    """Times the loss alone, forward and backward to the logits, on a copy of the logits of a few steps.

    Attributes:
        forward, backward: seconds of each measurement.
        last: seconds that the last measurement took away from its step.
    """

    def __init__(self) -> None:
        self.forward: list[float] = []
        self.backward: list[float] = []
        self.last = 0.0
        self.warm_up = _WARM_UP

    def due(self, step: int) -> bool:
        """Whether this step is measured."""
        self.last = 0.0
        return step >= self.warm_up and (step - self.warm_up) % _EVERY == 0 and len(self.forward) < _MOST

    def measure(
        self, criterion: nn.Module, logits: Tensor | list[Tensor], target: Tensor, weight: Tensor | None
    ) -> None:
        """Run the loss once more on detached logits."""
        begin = time.perf_counter()
        levels = [level.detach().requires_grad_() for level in (logits if isinstance(logits, list) else [logits])]
        device = levels[0].device
        wait(device)
        start = time.perf_counter()
        loss = criterion(levels if isinstance(logits, list) else levels[0], target, weight)
        wait(device)
        middle = time.perf_counter()
        torch.autograd.grad(loss, levels, allow_unused=True)
        wait(device)
        end = time.perf_counter()
        self.forward.append(middle - start)
        self.backward.append(end - middle)
        self.last = end - begin

    def medians(self) -> tuple[float, float]:
        """Seconds of forward and backward; NaN where nothing was measured."""
        return _median(self.forward), _median(self.backward)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"forward": self.forward, "backward": self.backward}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.forward, self.backward = list(state["forward"]), list(state["backward"])


class StepClock:
    """Times whole steps, on the steps where :class:`LossClock` measures, whose own time is taken off."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0
        self.warm_up = _WARM_UP

    def begin(self, step: int, device: torch.device) -> None:
        """At the start of a step."""
        if self._due(step):
            wait(device)
            self._start = time.perf_counter()

    def end(self, step: int, device: torch.device, other: float) -> None:
        """At the end of a step; ``other`` seconds of it do not belong to it."""
        if self._due(step) and self._start:
            wait(device)
            self.seconds.append(time.perf_counter() - self._start - other)
        self._start = 0.0

    def _due(self, step: int) -> bool:
        after = step - self.warm_up
        return after >= 0 and after % _EVERY in (0, 1, 5) and len(self.seconds) < 3 * _MOST

    def median(self) -> float:
        """Seconds of a step; NaN where nothing was measured."""
        return _median(self.seconds)


def _median(values: list[float]) -> float:
    return median(values) if values else float("nan")
