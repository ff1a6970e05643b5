"""The files around the code agree with it."""

from __future__ import annotations

import re
import sys

import pytest

import segcrit
from tests.rules.source import PACKAGE, REPOSITORY


def _pyproject() -> str:
    return (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert f'\nversion = "{segcrit.__version__}"\n' in _pyproject()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_small_install_needs_torch_and_numpy_only() -> None:
    line = re.search(r"^dependencies = \[(.*)\]$", _pyproject(), re.MULTILINE)
    assert line is not None
    assert re.findall(r'"([a-z]+)', line[1]) == ["torch", "numpy"]


def _pinned() -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert "==" in line, f"constraints.txt: {line!r} names no exact version"
            pins.setdefault(line.split("==")[0], []).append(line)
    return pins


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs tomllib")
def test_every_requirement_has_a_tested_version() -> None:
    import tomllib

    project = tomllib.loads(_pyproject())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=!~ ;]", requirement)[0] for group in groups for requirement in group}
    names.discard("segcrit")
    missing = {name.lower().replace("_", "-") for name in names} - set(_pinned())
    assert not missing, f"not in constraints.txt: {sorted(missing)}"


def test_torch_is_pinned_without_a_build_of_its_own() -> None:
    assert _pinned()["torch"] == ["torch==2.13.0"]  # "+cpu" would refuse the CUDA wheels, and the reverse


def test_nothing_names_a_path_of_one_machine() -> None:
    own = re.compile(r"(?<![\w.])/(root|work|tmp|farm)/")
    texts = [*REPOSITORY.glob("*.*"), *PACKAGE.rglob("*.py"), *(REPOSITORY / "docs").rglob("*.md")]
    found = [
        str(path.relative_to(REPOSITORY))
        for path in texts
        if path.suffix in {".py", ".md", ".toml", ".txt"} and own.search(path.read_text(encoding="utf-8"))
    ]
    assert not found
