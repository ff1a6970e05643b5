"""Compile the kernels for a real GPU on a machine without one: ``python -m tests.triton.compiling``.

The engine runs on CPU tensors up to the launch of a kernel; there the kernel is compiled for the named architecture, down to
the machine code that NVIDIA's assembler makes, and not started. So what is compiled is exactly what the engine would start:
types, alignment and constants included. Prints registers and stack of each.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import segcrit

CASES: dict[str, dict[str, Any]] = {
    "ce, 19 classes": {"text": "ce", "shape": (2, 19, 64, 64)},
    "ce + dice, 19 classes": {"text": "ce + dice", "shape": (2, 19, 64, 64)},
    "ce + dice, 19 classes, bf16": {"text": "ce + dice", "shape": (2, 19, 64, 64), "dtype": torch.bfloat16},
    "ce + dice, 150 classes": {"text": "ce + dice", "shape": (2, 150, 64, 64)},
    "focal + dice, weights": {"text": "focal + dice", "shape": (2, 19, 64, 64), "weight": True},
    "ce, smoothing": {"text": "ce(label_smoothing=0.1)", "shape": (2, 19, 64, 64)},
    "ce + lovasz, 19 classes": {"text": "ce + lovasz", "shape": (2, 19, 64, 64)},
    "ce + dice, one-hot, 2 classes": {"text": "ce + dice", "shape": (2, 2, 64, 64), "form": "one-hot"},
    "ce + dice, soft": {"text": "ce + dice(squared=True)", "shape": (2, 19, 64, 64), "form": "soft"},
    "ce + dice, 150 classes, upsampled": {"text": "ce + dice", "shape": (2, 150, 16, 16), "upsample": 4},
    "ce + dice, 3-D": {"text": "ce + dice", "shape": (1, 4, 8, 16, 16), "upsample": 2},
    "bce + dice, binary": {"text": "bce + dice", "shape": (2, 1, 64, 64), "task": "binary"},
    "bce + lovasz, multilabel, upsampled": {
        "text": "bce + lovasz", "shape": (2, 5, 16, 16), "task": "multilabel", "upsample": 4
    },
    "ce + dice, one image of one row": {"text": "ce + dice", "shape": (1, 3, 1, 1)},
}  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A kernel as the GPU would get it."""

    name: str
    registers: int
    spilled: int  # bytes of a thread's stack
    shared: int
    warps: int
    seconds: float


class _Driver:
    """As much of Triton's driver as compiling needs."""

    def __init__(self, capability: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        # Triton keeps what it has compiled by device: another architecture is another device.
        return self._target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def compiling(capability: int) -> Iterator[list[Compiled]]:
    """Inside, kernels are compiled for this compute capability (90: H100) instead of started; the list tells which."""
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    found: list[Compiled] = []

    def compile_only(kernel: Any, grid: Any) -> Any:
        def launch(*arguments: Any, **options: Any) -> None:
            start = time.perf_counter()
            result = kernel.run(*arguments, grid=grid, warmup=True, **options)
            found.append(_resources(kernel.fn.__name__, result, time.perf_counter() - start))

        return launch

    original = JITFunction.__getitem__
    JITFunction.__getitem__ = compile_only
    active = driver._active
    driver.set_active(_Driver(capability))
    try:
        yield found
    finally:
        JITFunction.__getitem__ = original
        driver._active = active


def _resources(name: str, kernel: Any, seconds: float) -> Compiled:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        done = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    numbers = {key: int(value) for key, value in re.findall(r"(REG|STACK):(\d+)", done.stdout)}
    return Compiled(
        name, numbers["REG"], numbers["STACK"], kernel.metadata.shared, kernel.metadata.num_warps, seconds
    )  # fmt: skip


def run(
    text: str,
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    task: str = "multiclass",
    form: str = "labels",
    weight: bool = False,
    upsample: int = 1,
) -> None:
    """Forward and backward of one loss, for the kernels that are started on the way."""
    from segcrit import engines
    from segcrit.engines.triton import engine

    images, classes, *low = shape
    size = [upsample * length for length in low]
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    if task != "multiclass":
        target = torch.zeros((images, classes, *size), dtype=torch.int64)
    elif form == "labels":
        target = torch.zeros((images, *size), dtype=torch.int64)
    else:
        target = torch.zeros((images, classes, *size), dtype=torch.uint8 if form == "one-hot" else torch.float32)
    weights = torch.ones((images, *size)) if weight else None
    criterion = segcrit.Criterion(
        text, task=task, upsample=None if upsample == 1 else "linear", validate="never", statistics=True
    )
    # After construction, which asks whether the engine can run here.
    criterion.backend = "triton"
    # Nothing is computed, so that values and shapes alone are meaningful.
    picked, engines.pick = engines.pick, lambda *_: engine
    check = type(criterion)._looks
    type(criterion)._looks = lambda *_: False
    try:
        criterion(logits, target, weights).backward()
    finally:
        engines.pick, type(criterion)._looks = picked, check


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.triton.compiling", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--capability", type=int, default=90, help="80: A100, 90: H100 and H200, 100: B200")
    parser.add_argument("--only", help="part of the name of a case")
    options = parser.parse_args(arguments)
    for name, case in CASES.items():
        if options.only and options.only not in name:
            continue
        with compiling(options.capability) as found:
            run(**case)
        for kernel in found:
            print(
                f"{name:38} {kernel.name:18} {kernel.registers:4} registers, {kernel.spilled:5} bytes of stack, "
                f"{kernel.shared:6} bytes shared, {kernel.warps} warps, {kernel.seconds:5.1f} s to compile",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
