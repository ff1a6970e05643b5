"""benchmarks/gpu without a GPU: it says so; and what it makes of a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from segcrit.apps.bench.contenders import contenders
from segcrit.apps.bench.problems import Problem
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


@pytest.fixture
def no_gpu_needed(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that measures, with times and memory that are made up."""
    import measure  # type: ignore[import-not-found]

    for name in ("empty_cache", "synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(measure, "elapsed", lambda step: 1.5)
    monkeypatch.setattr(measure, "replayed", lambda step: 1.0)
    return measure


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
        replayed = time if library.startswith("segcrit") else None
        called = {"segcrit": 2.0, "segcrit compiled": 2.0, "torch": 9.0, "torch.compile": 3.0}[library]
        return {
            "kind": kind, "library": library, "milliseconds": called, "replayed": replayed, "peak_mib": 180.0, "note": ""
        }  # fmt: skip

    rows = [row("ce", "segcrit", ours), row("lovasz", "segcrit", 4 * ours)]
    rows += [row("ce", library, 1.0) for library in ("torch", "torch.compile", "segcrit compiled")]
    case = {"name": "a", "shape": [1, 19, 8, 8], "upsample": upsample, "compulsory_bytes": 10**9, "rows": rows}
    case["logits_bytes"] = 100 << 20
    return {"device": "a GPU", "copy_bytes_a_second": 1e12, "cache_bytes": 50 << 20, "cases": [case]}


def test_verdicts(program: ModuleType) -> None:
    near, far = program.verdicts(_result(1.25))[0], program.verdicts(_result(1.3))[0]
    assert "80% of the speed" in near
    assert "100% compiled" in near
    assert "target 80%: met" in near
    assert "target 80%: missed" in far
    assert "4.0 × ce (target 3.0: missed)" in program.verdicts(_result(1.25))[1]
    upsampled = program.verdicts(_result(0.5, upsample=4))[0]
    # As it is called, like the others, not as a graph.
    assert "180 MiB (target 200: met), 4.5 × faster than torch (target 4.0: met)" in upsampled
    assert "1.5 × faster than torch.compile (target 2.0: missed)" in upsampled
    assert "cache" not in upsampled
    small = _result(0.5) | {"cache_bytes": 126 << 20}
    assert "fit into the GPU's cache" in program.verdicts(small)[0]


def test_what_was_not_measured_is_not_passed_over(program: ModuleType) -> None:
    result = _result(1.25)
    assert not program.not_measured(result)
    first, second, *others = result["cases"][0]["rows"]
    first |= {"milliseconds": None, "replayed": None, "note": "RuntimeError: illegal memory access"}
    second |= {"replayed": None, "note": "not as a graph: RuntimeError: capture"}
    for row in others[:2]:  # others may be missing
        row |= {"milliseconds": None, "note": "out of memory"}
    lines = program.not_measured(result)
    assert len(lines) == 2
    assert "illegal memory access" in lines[0]
    assert "capture" in lines[1]


def test_what_is_not_a_number_agrees_with_nothing(program: ModuleType) -> None:
    from check import disagreement  # type: ignore[import-not-found]

    value, gradient = torch.tensor(0.5), torch.tensor([1.0, -2.0])
    nan = float("nan")
    for kind in ("ce", "lovasz"):
        assert not disagreement(kind, "float32", (value, gradient), (value + 1e-6, gradient * (1 + 1e-6)))
        wrong = disagreement(kind, "float32", (value, gradient), (value * nan, gradient * torch.tensor([1.0, nan])))
        assert len(wrong) == 2
        # A gradient that vanishes proves nothing.
        assert disagreement(kind, "float32", (value, gradient * 0), (value, gradient * 0))


@pytest.mark.parametrize("library", ["segcrit compiled", "torch.compile"])
def test_every_compiled_contender_is_compiled(
    library: str, program: ModuleType, no_gpu_needed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    monkeypatch.setattr(torch, "compile", lambda loss, **options: calls.append("compile") or loss)
    case = replace(program.cases()[0], problem=Problem((1, 3, 4, 4)))
    rows = (*contenders("ce", "multiclass"), no_gpu_needed.compiled("ce"))
    [one] = [item for item in rows if item.library == library]
    row = no_gpu_needed._run(one, case, case.problem.make())
    assert calls == ["reset", "compile"]
    assert (row.replayed is not None) == (library == "segcrit compiled")


def test_a_graph_that_fails_takes_no_other_number_with_it(
    program: ModuleType, no_gpu_needed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: object) -> float:
        raise RuntimeError("no capture")

    monkeypatch.setattr(no_gpu_needed, "replayed", fail)
    case = replace(program.cases()[0], problem=Problem((1, 3, 4, 4)))
    [ours] = [item for item in contenders("ce", "multiclass") if item.library == "segcrit"]
    row = no_gpu_needed._run(ours, case, case.problem.make())
    assert row.milliseconds == 1.5
    assert row.replayed is None
    assert "no capture" in row.note


def test_the_picture(program: ModuleType, tmp_path: Path) -> None:
    from plot import draw  # type: ignore[import-not-found]

    draw(_result(1.25), tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").stat().st_size > 1000


def test_the_results_folder_claims_nothing_that_is_not_there() -> None:
    text = (FOLDER / "results" / "README.md").read_text(encoding="utf-8")
    measured = list((FOLDER / "results").glob("*.json"))
    assert ("There is none yet" in text) == (not measured)
