"""How time and memory are measured. Nothing here knows what is measured."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch.profiler import ProfilerActivity, profile

from segcrit.apps.bench.records import Timing
from segcrit.core.machine import process_memory, reset_peak_memory

__all__ = ["ALLOCATOR", "Step", "Turns", "allocated_peak", "resident_peak"]

Step = Callable[[], object]

# The allocator gives freed memory back at once only above this size; without it, the peak of the resident
# memory would miss whatever an earlier step has left in the allocator's hands.
ALLOCATOR: Final = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX": "1",
}
LEAST_RUNS: Final = 3
MOST_RUNS: Final = 200


class Turns:
    """Times several steps in turns, until each has had its share of seconds.

    The next turn goes to the step that is furthest behind, so that the runs of every step are spread over the whole
    time and a disturbance of the machine hits all of them. A step gets at least 3 runs, however long they take, and
    at most 200.

    Args:
        steps: what is timed.
        seconds: share of each.
        finished: told the name and the result of each run, outside of the clock.
        failed: told the name and the exception of a step that raised one; it gets no more turns.
    """

    def __init__(
        self,
        steps: Mapping[str, Step],
        *,
        seconds: float,
        finished: Callable[[str, object], None] = lambda name, result: None,
        failed: Callable[[str, Exception], None] = lambda name, error: None,
    ) -> None:
        self._steps = dict(steps)
        self._seconds = seconds
        self._finished = finished
        self._failed = failed
        self._samples: dict[str, list[float]] = {name: [] for name in steps}

    def run(self) -> None:
        """Take all turns. What an interruption leaves is still in :meth:`timings`."""
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            while True:
                name = min(self._steps, key=self._done, default=None)
                if name is None or self._done(name) >= 1:
                    return
                self._take(name)
        finally:
            if collecting:
                gc.enable()

    def _take(self, name: str) -> None:
        step = self._steps[name]
        start = time.perf_counter()
        try:
            result = step()
        except Exception as error:
            del self._steps[name], self._samples[name]
            self._failed(name, error)
            return
        self._samples[name].append(time.perf_counter() - start)
        self._finished(name, result)

    def _done(self, name: str) -> float:
        """Share of the step's turns that it has had; 1 and more: all."""
        runs, spent = len(self._samples[name]), sum(self._samples[name])
        return min(runs / LEAST_RUNS, max(spent / self._seconds, runs / MOST_RUNS))

    def completed(self) -> float:
        """How many steps' worth of turns have been taken."""
        return sum(min(1.0, self._done(name)) for name in self._steps)

    def timings(self) -> dict[str, Timing]:
        """Of every step that had a turn."""
        return {name: _summary(samples) for name, samples in self._samples.items() if samples}


def _summary(samples: list[float]) -> Timing:
    values = [seconds * 1e3 for seconds in samples]
    fifths = statistics.quantiles(values, n=5, method="inclusive") if len(values) > 1 else values * 4
    return Timing(statistics.median(values), fifths[0], fifths[3], len(values))


def allocated_peak(step: Step) -> int:
    """Largest number of bytes that torch's CPU allocator held during the step, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        step()
    # profiler.events() keeps only the changes that belong to no operator; the raw results have all of them.
    inner = profiler.profiler
    if inner is None or inner.kineto_results is None:
        return 0
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in inner.kineto_results.events() if event.name() == "[memory]"
    )
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def resident_peak(step: Step) -> int | None:
    """Growth of the process's resident memory during the step, or None where the system does not tell.

    To be called in a process of its own that was started with the variables ``ALLOCATOR``.
    """
    if not sys.platform.startswith("linux"):
        return None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
    if not reset_peak_memory(torch.device("cpu")):
        return None  # some containers do not allow it
    before = process_memory("VmRSS")
    step()
    peak = process_memory("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)
