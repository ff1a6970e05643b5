"""How time and memory are measured. Nothing here knows what is measured."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]

# The allocator gives freed memory back at once only above this size; without it, the peak of the resident
# memory would miss whatever an earlier step has left in the allocator's hands.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    "MALLOC_ARENA_MAX": "1",
}


@dataclass(frozen=True)
class Timing:
    """Seconds of one step over several runs."""

    median: float
    low: float  # 20 % of the runs were faster
    high: float  # 20 % of the runs were slower
    runs: int


def time_steps(steps: Mapping[str, Step], *, seconds: float, least: int) -> dict[str, Timing]:
    """Time every step in turn, round after round, until each has had its share of ``seconds``.

    Turns spread a disturbance of the machine over all contenders instead of giving it to one of them. Each
    step has been run before (the caller does so), so that compiling and first touches are not counted.
    """
    samples: dict[str, list[float]] = {name: [] for name in steps}
    running = dict(steps)
    gc.collect()
    gc.disable()
    try:
        while running:
            for name, step in list(running.items()):
                start = time.perf_counter()
                step()
                samples[name].append(time.perf_counter() - start)
                if len(samples[name]) >= least and sum(samples[name]) >= seconds:
                    del running[name]
    finally:
        gc.enable()
    return {name: _summary(values) for name, values in samples.items()}


def _summary(values: list[float]) -> Timing:
    fifths = statistics.quantiles(values, n=5, method="inclusive")
    return Timing(statistics.median(values), fifths[0], fifths[3], len(values))


def allocated_peak(step: Step) -> int:
    """Largest number of bytes that torch's CPU allocator held during the step, above what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        step()
    # profiler.events() keeps only the changes that belong to no operator; the raw results have all of them.
    results = profiler.profiler.kineto_results
    changes = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def resident_peak(step: Step) -> int | None:
    """Growth of the process's resident memory during the step, or None where the system does not tell.

    To be called in a process of its own that was started with the variables ``ALLOCATOR``.
    """
    clear = Path("/proc/self/clear_refs")
    if not sys.platform.startswith("linux") or not clear.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    clear.write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    step()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
