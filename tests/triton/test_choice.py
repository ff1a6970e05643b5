"""When the engine is chosen, what is said where it cannot run, and that nobody pays for it who does not use it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
import torch

import segcrit
from segcrit import engines
from segcrit.engines import triton_engine
from segcrit.engines.triton_engine import availability
from segcrit.errors import BackendError


def _backend() -> segcrit.engines.Backend:
    return next(item for item in segcrit.backends() if item.name == "triton")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "is_installed", lambda: False)
    assert not _backend().available
    with pytest.raises(BackendError, match=r"pip install 'segcrit\[triton\]'"):
        segcrit.Criterion("ce", backend="triton")


def test_a_triton_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "is_installed", lambda: True)
    monkeypatch.setattr(availability.importlib.metadata, "version", lambda name: "3.4.0")
    assert "older than 3.5" in _backend().reason
    with pytest.raises(BackendError, match="older"):
        segcrit.Criterion("ce", backend="triton")


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "is_installed", lambda: True)
    monkeypatch.setattr(availability, "_release", lambda: availability.OLDEST)
    monkeypatch.setattr(availability, "is_interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _backend().reason == "no CUDA device that PyTorch can use"
    with pytest.raises(BackendError, match="no CUDA device"), segcrit.use_backend("triton"):
        pass


def test_tensors_on_the_cpu_are_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_engine, "describe", lambda: (True, "as if"))
    monkeypatch.setattr(triton_engine, "is_interpreted", lambda: False)
    with segcrit.use_backend("triton"), pytest.raises(BackendError, match="logits on cpu"):
        segcrit.functional.cross_entropy(torch.zeros(1, 2, 4), torch.zeros(1, 4).long())


@pytest.mark.parametrize(("available", "name"), [(True, "engine"), (False, "reference")])
def test_cuda_tensors_choose_it_where_it_can_run(available: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_engine, "describe", lambda: (available, "as if"))
    assert engines.pick("auto", torch.device("cuda", 1)).__name__.split(".")[-1] == name


def test_other_devices_are_served_by_the_reference_engine() -> None:
    assert engines.pick("auto", torch.device("mps")).__name__ == "segcrit.engines.reference"


def test_the_interpreter_is_no_choice_for_tensors_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_engine, "describe", lambda: (True, "as if"))
    monkeypatch.setattr(triton_engine, "is_interpreted", lambda: True)
    assert "triton" not in engines.pick("auto", torch.device("cpu")).__name__
    assert "triton" in engines.pick("triton", torch.device("cpu")).__name__


def test_triton_is_not_imported_by_others() -> None:
    program = (
        "import sys, torch, segcrit; logits = torch.zeros(1, 2, 8, 8, requires_grad=True)\n"
        "segcrit.backends(); segcrit.Criterion('ce + dice')(logits, torch.zeros(1, 8, 8).long()).backward()\n"
        "print('triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_availability_is_found_out_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    assert not availability.is_installed()
