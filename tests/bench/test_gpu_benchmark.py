"""benchmarks/gpu without a GPU: it says so; and what it makes of a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.rules.source import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "gpu"
NAMES = ("cases", "check", "measure", "plot", "run")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module; its neighbours are found as they are when it is started."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import run  # type: ignore[import-not-found]

    yield run
    for name in NAMES:
        sys.modules.pop(name, None)


def test_without_a_gpu_it_says_so() -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 2
    assert "nothing was measured" in done.stderr
    assert not done.stdout


def test_compulsory_bytes_worked_out_by_hand(program: ModuleType) -> None:
    found = {case.name: case.compulsory_bytes for case in program.cases()}
    pixels = 8 * 512 * 1024
    assert found["Cityscapes"] == 3 * pixels * 19 * 4 + 2 * pixels * 8
    assert found["Cityscapes, bf16"] == 3 * pixels * 19 * 2 + 2 * pixels * 8
    assert found["ADE20K, logits at 1/4"] == 3 * 16 * 150 * 128 * 128 * 4 + 2 * 16 * 512 * 512 * 8
    assert found["binary"] == (3 + 2) * 32 * 1024 * 1024 * 4


def _result(ours: float, upsample: int = 1) -> dict[str, Any]:
    def row(kind: str, library: str, time: float) -> dict[str, Any]:
        replayed = time if library == "segcrit" else None
        return {"kind": kind, "library": library, "milliseconds": 9.0, "replayed": replayed, "peak_mib": 180.0}

    rows = [row("ce", "segcrit", ours), row("lovasz", "segcrit", 4 * ours), row("ce", "torch", 1.0)]
    case = {"name": "a", "shape": [1, 19, 8, 8], "upsample": upsample, "compulsory_bytes": 10**9, "rows": rows}
    return {"device": "a GPU", "copy_bytes_a_second": 1e12, "cases": [case]}


def test_verdicts(program: ModuleType) -> None:
    near, far = program.verdicts(_result(1.25))[0], program.verdicts(_result(1.3))[0]
    assert "80% of the speed" in near
    assert "target 80%: met" in near
    assert "target 80%: missed" in far
    assert "4.0 × ce (target 3.0: missed)" in program.verdicts(_result(1.25))[1]
    upsampled = program.verdicts(_result(0.5, upsample=4))[0]
    assert "180 MiB (target 200: met), 18.0 × faster than torch" in upsampled


def test_the_picture(program: ModuleType, tmp_path: Path) -> None:
    from plot import draw  # type: ignore[import-not-found]

    draw(_result(1.25), tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_the_results_folder_claims_nothing_that_is_not_there() -> None:
    text = (FOLDER / "results" / "README.md").read_text(encoding="utf-8")
    measured = list((FOLDER / "results").glob("*.json"))
    assert ("There is none yet" in text) == (not measured)
