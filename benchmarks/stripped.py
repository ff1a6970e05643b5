"""How fast the arithmetic alone can be that a loss cannot do without: what limits the targets that are not met.

    python benchmarks/stripped.py     needs g++ or clang++; writes benchmarks/results/stripped-DATE-MACHINE.json

``stripped/kernels.cpp`` holds loops with the engine's own elementary functions and nothing else: no labels, no weights, no
checks, no sums, no errors. They are compiled for this processor and take turns with the losses of segcrit and with what the
targets compare to, in one run. What such a loop needs, no implementation of its loss with these functions falls below.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import segcrit
from segcrit.apps.bench import eager
from segcrit.apps.bench.contenders import contender_versions
from segcrit.apps.bench.measure import Turns
from segcrit.apps.bench.problems import Problem
from segcrit.apps.bench.suite import file_name
from segcrit.core import atomic
from segcrit.core.machine import machine_facts

HERE = Path(__file__).resolve().parent
BINS = 4096
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp",
)
SECONDS = 2.0


def main() -> int:
    compiler = os.environ.get("CXX", "g++")
    with tempfile.TemporaryDirectory(prefix="segcrit-") as folder:
        library = Path(folder) / "stripped.so"
        source = HERE / "stripped" / "kernels.cpp"
        subprocess.run([compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        kernels = ctypes.CDLL(str(library))
        tables = [measure(kernels, "multiclass", shape) for shape in ((2, 21, 512, 512), (1, 150, 512, 512))]
        tables.append(measure(kernels, "binary", (8, 1, 512, 512)))
    machine = machine_facts()
    name = file_name("stripped", date.today(), machine["processor"], machine["threads"], "threads")
    path = HERE / "results" / f"{name}.json"
    content = {"date": str(date.today()), "machine": machine, "versions": contender_versions(), "tables": tables}
    atomic.atomic_write_text(path, json.dumps(content, indent=1) + "\n")
    print(path)
    return 0


def measure(kernels: Any, task: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Medians in ms of everything on logits of one shape."""
    problem = Problem(shape, task=task)
    tensors = problem.make()
    steps = _stripped(kernels, task, tensors.logits) | _others(task, tensors.logits, tensors.target)
    turns = Turns(steps, seconds=SECONDS)
    turns.run()
    milliseconds = {name: timing.median for name, timing in turns.timings().items()}
    print(task, shape)
    for name, time in milliseconds.items():
        print(f"  {name:45s} {time:9.2f} ms")
    return {"task": task, "shape": list(shape), "milliseconds": milliseconds}


def _stripped(kernels: Any, task: str, logits: Tensor) -> dict[str, Callable[[], object]]:
    logits = logits.detach()
    out = torch.zeros_like(logits)
    images, classes = logits.shape[:2]
    pixels, threads = logits[0, 0].numel(), torch.get_num_threads()
    scale = torch.zeros(images, pixels)
    labels = torch.zeros(images, pixels, dtype=torch.int32)
    counts = torch.zeros(threads, classes, BINS, dtype=torch.int32)

    def call(name: str, *arrays: Tensor) -> Callable[[], object]:
        function = getattr(kernels, name)
        pointers = [ctypes.c_void_p(array.data_ptr()) for array in arrays]
        sizes = [ctypes.c_int64(size) for size in (images, classes, pixels)]

        def run(kept: tuple[Tensor, ...] = arrays) -> None:  # the arrays live as long as what reads them
            function(*pointers, *sizes, ctypes.c_int(threads))

        return run

    steps: dict[str, Callable[[], object]] = {
        "read of the logits": logits.sum,
        "copy of the logits": lambda: out.copy_(logits),
    }
    if task == "binary":
        forward, backward = call("softplus", logits, scale), call("logistic", logits, out)
        return steps | {"stripped: softplus forward, logistic backward": lambda: (forward(), backward())}
    forward, backward = call("normalisers", logits, scale), call("gradient", logits, scale, out)
    counting = call("histograms", logits, scale, counts)
    sloping = call("slopes", logits, scale, torch.rand(classes, BINS), out)
    return steps | {
        "stripped: exponentials forward and backward": lambda: (forward(), backward()),
        "stripped: the same with histograms": lambda: (forward(), counting(), backward()),
        "stripped: histograms, and slopes from tables": lambda: (forward(), counting(), sloping()),
        "stripped: largest logit": call("largest", logits, labels),
    }


def _others(task: str, logits: Tensor, target: Tensor) -> dict[str, Callable[[], object]]:
    def trained(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(logits, target), logits)

    logits.requires_grad_()
    if task == "binary":
        return {
            "segcrit: bce(pos_weight=3)": trained(segcrit.Criterion("bce(pos_weight=3)", task="binary")),
            "torch: bce with pos_weight": trained(eager.binary_cross_entropy(3.0)),
        }
    evaluator = segcrit.Evaluator(logits.shape[1])

    def evaluate() -> None:
        evaluator.update(logits.detach(), target)
        evaluator.reset()

    return {
        "segcrit: ce": trained(segcrit.Criterion("ce")),
        "segcrit: focal": trained(segcrit.Criterion("focal")),
        "segcrit: lovasz": trained(segcrit.Criterion("lovasz")),
        "segcrit: logits to counts": evaluate,
        "torch: F.cross_entropy": trained(torch.nn.functional.cross_entropy),
        "torch: focal": trained(eager.focal),
    }


if __name__ == "__main__":
    sys.exit(main())
