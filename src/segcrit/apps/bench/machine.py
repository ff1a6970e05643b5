"""The machine and the versions that a measurement belongs to, and the memory that is free."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch

from segcrit.core.constants import VERSION
from segcrit.engines import backends

__all__ = ["describe_engines", "describe_machine", "describe_versions", "file_name", "free_memory", "why_no_compiler"]

PACKAGES: Final = ("torch", "numpy", "monai", "kornia", "torchmetrics", "segmentation-models-pytorch")


def describe_machine() -> dict[str, Any]:
    """Processor, caches, memory, threads, operating system."""
    return {
        "processor": _processor(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "last_level_cache_bytes": _last_level_cache(),
        "memory_bytes": _memory(),
        "system": platform.platform(terse=True),
    }


def describe_versions() -> dict[str, str]:
    """Versions of Python and of every package that takes part; those that are not installed are left out."""
    versions = {"python": platform.python_version(), "segcrit": VERSION}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def describe_engines() -> dict[str, str]:
    """The engines of segcrit that can run here; the last one is what "segcrit" measures."""
    return {engine.name: engine.reason for engine in backends() if engine.available}


def file_name(*words: object) -> str:
    """Name of a file of results: letters, digits and hyphens.

    Example:
        >>> file_name("2026-11-25", "AMD EPYC(tm)", 2, "threads")
        '2026-11-25-amd-epyc-tm-2-threads'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, words)).lower()).strip("-")


def free_memory() -> int | None:
    """Bytes that this process may still take: of the machine, and of the group it was put into; None if unknown."""
    found = [size for size in (_available(), *_group_rooms()) if size is not None]
    return min(found, default=None)


def why_no_compiler() -> str:
    """Why ``torch.compile`` cannot make kernels here, in a few words; empty where it can."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler
    except ImportError:
        return ""  # another torch; compiling will tell
    try:
        get_cpp_compiler()
    except Exception:
        return "torch.compile found no C++ compiler (g++ or clang++)"
    return ""


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), flags=re.MULTILINE)
        if found is not None:  # counts the file cache, which a program may take, as available
            return int(found.group(1)) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        pass
    total = _memory()
    return None if total is None else total // 2  # macOS tells the whole only; half of it is rarely too much


def _group_rooms() -> list[int | None]:
    """Room below the limits of control groups (containers, job schedulers), version 2 and version 1."""
    pairs = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ]
    rooms: list[int | None] = []
    for limit, used in pairs:
        try:
            rooms.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    return rooms


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found.group(1).strip() if found else (platform.processor() or platform.machine())


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _last_level_cache() -> int | None:
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG]?)", path.read_text().strip())
        if found is not None:
            sizes.append(int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]])
    return max(sizes, default=None)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
