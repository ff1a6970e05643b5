"""The process in which memory is measured: ``python -m segcrit.apps.bench.memory_process``, told what to do on stdin.

One JSON object a line in: threads, modules to import, tasks. One line a task out, beginning with ``LINE``. Tasks share
a process, because importing torch and the peers takes longer than measuring: each of them starts after what the one
before has left was given back, and what stays (code, thread pools) lies below its start.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
from dataclasses import asdict
from typing import Any, Final

import torch

from segcrit.apps.bench.contenders import COMPILED, find
from segcrit.apps.bench.measure import allocated_peak, resident_peak
from segcrit.apps.bench.problems import Problem, Tensors
from segcrit.apps.bench.records import Memory
from segcrit.core.json_files import decode

__all__ = ["LINE", "WARM_UP"]

LINE: Final = "segcrit-memory "
# Logits of the small problem on which a contender is tried first, so that first touches are not counted.
WARM_UP: Final = 1 << 17
_IMPORTS: Final = {
    COMPILED: ("torch._inductor.compile_fx",),
    "monai": ("monai.losses", "monai.metrics"),
    "kornia": ("kornia.losses",),
    "smp": ("segmentation_models_pytorch.losses",),
    "torchmetrics": ("torchmetrics.classification",),
}


def _main() -> None:
    # The memory of the gradient counts, though it is kept from the step before in training.
    os.environ["SEGCRIT_KEEP_GRADIENT_MEMORY"] = "0"
    for line in sys.stdin:
        _follow(json.loads(line))


def _follow(order: dict[str, Any]) -> None:
    torch.set_num_threads(order["threads"])
    for module in order["modules"]:
        importlib.import_module(module)
    _settle({task["key"][1] for task in order["tasks"]})
    made: tuple[Problem, Tensors] | None = None
    for task in order["tasks"]:
        problem = decode(Problem, task["problem"], "problem")
        if made is None or made[0] != problem:
            made = None  # gives the memory of the last one back first
            made = (problem, problem.make())
        try:
            answer: dict[str, Any] = asdict(_measure(tuple(task["key"]), problem, made[1]))
        except Exception as error:
            # One contender that cannot run here is no reason to lose the others.
            answer = {"failed": describe(error)}
        print(LINE + json.dumps(answer), flush=True)


def _settle(libraries: set[str]) -> None:
    """Import what takes part, and let the garbage collector look no more at the million objects that this makes.

    Every measurement collects garbage before and after; with the imports under its eyes each time would take longer
    than the measurement.
    """
    for library in sorted(libraries & set(_IMPORTS)):
        for module in _IMPORTS[library]:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _measure(key: tuple[str, str, str], problem: Problem, tensors: Tensors) -> Memory:
    contender = find(problem.task, key)
    work = contender.build(problem)
    if contender.is_compiled:
        work.step(tensors)  # compiles for this shape
    else:
        small = problem.smaller(WARM_UP)
        contender.build(small).step(small.make())

    def fresh() -> None:
        tensors.logits.grad = None
        gc.collect()

    fresh()
    resident = resident_peak(lambda: work.step(tensors))
    allocated = None
    if resident is None:
        fresh()
        allocated = allocated_peak(lambda: work.step(tensors))
    fresh()
    if contender.is_compiled:
        torch.compiler.reset()
    return Memory(resident, allocated)


def describe(error: BaseException) -> str:
    """An exception in one short line."""
    if isinstance(error, ModuleNotFoundError):
        return "not installed" if error.name else str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


if __name__ == "__main__":
    _main()
