"""Memory of contenders: measured in a process of its own, or estimated from small problems where that is too large."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from segcrit.apps.bench.contenders import Contender
from segcrit.apps.bench.measure import ALLOCATOR
from segcrit.apps.bench.memory_process import LINE
from segcrit.apps.bench.problems import Problem
from segcrit.apps.bench.records import Memory
from segcrit.core.json_files import encode

__all__ = ["GREEDIEST", "Entry", "MemoryMeter", "base_bytes", "estimate", "largest_bytes"]

# Bytes beyond the logits, for each logit, that no contender exceeds: the Lovász losses of the peers reach 48 to 70
# (float32), one-hot tensors of int64 add 8 and their copies as much again. Below that, nothing needs to be estimated.
GREEDIEST: Final = 128
# Logits of the two small problems through which the estimate is a line.
_SMALL: Final = (1 << 20, 1 << 22)


@dataclass(frozen=True)
class Entry:
    """A contender and what it computes."""

    contender: Contender
    problem: Problem


def base_bytes(problem: Problem) -> int:
    """Bytes that must be there before any loss: logits, their copy, the target, and what making them takes for a moment."""
    made_in_float32 = 4 * math.prod(problem.shape)
    return 2 * problem.logits_bytes + made_in_float32 + 2 * problem.target_bytes


def largest_bytes(problem: Problem) -> int:
    """Bytes beyond the logits that no contender exceeds."""
    return GREEDIEST * problem.pixels * problem.classes


class MemoryMeter:
    """Measures peak memory in another process, which lives until :meth:`close` or until it runs out of memory.

    Args:
        modules: imported there first, because they define losses.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._modules = list(modules)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> MemoryMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._forget(self._process)

    def _forget(self, process: subprocess.Popen[str]) -> int:
        """Wait for the end, close the pipes, and tell the exit code."""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not sent will not be
                    pipe.close()
        self._process = None
        return process.wait()

    def measure(self, entries: Sequence[Entry], advance: Callable[[], None] = lambda: None) -> list[Memory | str]:
        """Peak memory of each, or why there is none. A process that dies takes only its present contender with it."""
        answers: list[Memory | str] = []
        while len(answers) < len(entries):
            reason = self._ask(entries[len(answers) :], answers, advance)
            if reason:
                answers.append(reason)
                advance()
        return answers

    def _ask(self, entries: Sequence[Entry], answers: list[Memory | str], advance: Callable[[], None]) -> str:
        """Add the answers that come; returns why the process ended, empty if it did not."""
        process = self._process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            return "the process that measures memory cannot be talked to"
        order = {
            "threads": torch.get_num_threads(),
            "modules": self._modules,
            "tasks": [{"problem": encode(entry.problem), "key": entry.contender.key} for entry in entries],
        }
        due = len(entries)
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith(LINE):
                    answers.append(_answer(json.loads(line.removeprefix(LINE))))
                    advance()
                    due -= 1
                if not due:
                    return ""
        except BrokenPipeError:
            pass
        code = self._forget(process)
        if code < 0:
            return f"the process that measured it was ended by signal {-code}, as when memory runs out"
        return f"the process that measured it left with exit code {code}"

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "segcrit.apps.bench.memory_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | ALLOCATOR,
        )


def _answer(content: dict[str, Any]) -> Memory | str:
    return str(content["failed"]) if "failed" in content else Memory(**content)


def estimate(
    meter: MemoryMeter, entries: Sequence[Entry], advance: Callable[[], None] = lambda: None
) -> list[int | None]:
    """Bytes beyond logits and target that each would need: a line through two small problems of the same kind.

    What does not grow with the pixels (tables, histograms) is its value at 0. None where a small problem did not run.
    """
    small = [[Entry(entry.contender, entry.problem.smaller(size)) for entry in entries] for size in _SMALL]
    peaks = [meter.measure(part, advance) for part in small]
    found: list[int | None] = []
    for index, entry in enumerate(entries):
        points = []
        for part, peak in zip(small, peaks, strict=True):
            memory = peak[index]
            extra = memory.peak if isinstance(memory, Memory) else None
            if extra is not None:
                points.append((part[index].problem.pixels, extra))
        found.append(line_through(points, entry.problem.pixels) if len(points) == len(_SMALL) else None)
    return found


def line_through(points: Sequence[tuple[int, int]], pixels: int) -> int:
    """Value at ``pixels`` of the line through two points, rising and never below 0.

    Example:
        >>> line_through([(100, 1200), (200, 2200)], 1000)
        10200
        >>> line_through([(100, 1200), (100, 1300)], 1000)
        13000
    """
    (first, low), (second, high) = points
    if second == first:
        return high * pixels // max(1, second)
    slope = max(0.0, (high - low) / (second - first))
    return round(max(0.0, low - slope * first) + slope * pixels)
