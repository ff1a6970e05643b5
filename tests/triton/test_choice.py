"""When the engine is chosen, what is said where it cannot run, and that nobody pays for it who does not use it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

import segcrit
from segcrit import engines
from segcrit.core.errors import BackendError
from segcrit.engines import triton
from segcrit.engines.triton import availability


def _backend() -> segcrit.engines.Backend:
    return next(item for item in segcrit.backends() if item.name == "triton")


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    availability._missing.cache_clear()
    availability._lacks.cache_clear()
    yield
    availability._missing.cache_clear()
    availability._lacks.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were one, with Triton."""
    monkeypatch.setattr(availability, "is_installed", lambda: True)
    monkeypatch.setattr(availability, "_release", lambda: availability.OLDEST)
    monkeypatch.setattr(availability, "is_interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)


def test_without_the_package(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_without_a_gpu(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _backend().reason == "no CUDA device that PyTorch can use"
    with pytest.raises(BackendError, match="no CUDA device"), segcrit.use_backend("triton"):
        pass


def test_without_a_compiler_the_first_loss_does_not_break(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(availability.sysconfig, "get_paths", lambda scheme: {"include": str(Path(__file__).parent)})
    assert "Python.h" in _backend().reason
    assert engines.pick("auto", torch.device("cuda")) is engines.reference
    availability._lacks.cache_clear()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    assert "install gcc" in _backend().reason
    with pytest.raises(BackendError, match="C compiler"):
        segcrit.Criterion("ce", backend="triton")


def test_with_all_that_it_needs(gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(availability.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    assert engines.pick("auto", torch.device("cuda")).__name__.endswith("triton.engine")


def test_what_is_installed_is_found_out_once(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(availability, "is_installed", lambda: asked.append("Triton") or True)
    for _ in range(3):
        engines.pick("auto", torch.device("cuda"))
    assert asked == ["Triton"]


def test_tensors_on_the_cpu_are_not_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "describe", lambda: (True, "as if"))
    monkeypatch.setattr(triton, "is_interpreted", lambda: False)
    with segcrit.use_backend("triton"), pytest.raises(BackendError, match="logits on cpu"):
        segcrit.functional.cross_entropy(torch.zeros(1, 2, 4), torch.zeros(1, 4).long())


@pytest.mark.parametrize(("available", "name"), [(True, "engine"), (False, "reference")])
def test_cuda_tensors_choose_it_where_it_can_run(available: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "describe", lambda: (available, "as if"))
    assert engines.pick("auto", torch.device("cuda", 1)).__name__.split(".")[-1] == name


def test_normalizers_are_kept_for_the_engine_that_reads_them() -> None:
    def kept(backend: str, device: str, classes: int, upsample: bool = False) -> bool:
        return engines.keeps_normalizers(backend, torch.empty(1, classes, 4, device=device), upsample)

    with FakeTensorMode():  # a CUDA tensor without a GPU
        assert kept("auto", "cuda", 2)
        assert kept("reference", "cuda", 2)
    assert kept("triton", "cpu", 2)
    assert not kept("auto", "cpu", 2)
    assert not kept("cpu", "cpu", 2)
    assert kept("auto", "cpu", 2, upsample=True)
    assert kept("auto", "cpu", 3)


@pytest.mark.parametrize("upsample", [None, "linear"])
def test_the_backward_pass_uses_the_engine_of_the_forward_pass(
    upsample: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    for module in (engines.reference, engines.native):
        name = module.__name__.rpartition(".")[2]
        backward = module.backward

        def spy(*arguments: Any, name: str = name, backward: Any = backward) -> Any:
            used.append(name)
            return backward(*arguments)

        monkeypatch.setattr(module, "backward", spy)
    logits = torch.zeros(1, 3, 4, requires_grad=True)
    criterion = segcrit.Criterion("ce + dice", upsample=upsample)
    with segcrit.use_backend("reference"):
        value = criterion(logits, torch.zeros(1, 4).long())
    # Where the device is a GPU this runs in another thread, which has never heard of the block.
    thread = threading.Thread(target=value.backward)
    thread.start()
    thread.join()
    assert used == ["reference"]


def test_other_devices_are_served_by_the_reference_engine() -> None:
    assert engines.pick("auto", torch.device("mps")).__name__ == "segcrit.engines.reference"


def test_the_interpreter_is_no_choice_for_tensors_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "describe", lambda: (True, "as if"))
    monkeypatch.setattr(triton, "is_interpreted", lambda: True)
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
