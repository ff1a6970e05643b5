"""What this machine is and has: for reports, and to decide how much memory may be taken."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch

from segcrit.core.json_files import Record

__all__ = [
    "Machine",
    "describe_machine",
    "free_memory",
    "machine_facts",
    "memory_limit",
    "peak_memory",
    "process_memory",
    "processor_model",
    "reset_peak_memory",
    "total_memory",
    "usable_cores",
    "versions",
]

# Limit and use of the control group (container, job scheduler) of this process, version 2 and version 1.
_GROUPS: Final = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True, eq=False)
class Machine(Record):
    """Where the comparison ran."""

    system: str  # operating system and architecture, "Linux x86_64"
    cpu: str  # model name of the processor, "" if unknown
    cores: int  # cores that this process could use
    memory_bytes: float = float("nan")  # main memory
    gpus: tuple[str, ...] = ()  # model names of the accelerators that were used, one entry a device
    processes: int = 1  # training processes (DDP ranks) over all machines
    threads: int = 0  # intra-op threads of a process, 0 if unknown


def describe_machine(devices: Sequence[torch.device] = (), processes: int = 1) -> Machine:
    """The record of this machine for the report of a comparison."""
    total = total_memory()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=processor_model(),
        cores=usable_cores(),
        memory_bytes=float("nan") if total is None else float(total),
        gpus=tuple(torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"),
        processes=processes,
        threads=torch.get_num_threads(),
    )


def machine_facts() -> dict[str, Any]:
    """Processor, caches, memory, threads and operating system, as plain data beside a measurement."""
    return {
        "processor": processor_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "last_level_cache_bytes": _last_level_cache(),
        "memory_bytes": total_memory(),
        "system": platform.platform(terse=True),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of these packages; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def processor_model() -> str:
    """The model name of the processor, or its architecture where the system does not tell."""
    found = _line_of("/proc/cpuinfo", r"model name\s*:\s*(.+)")
    return found or platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use: a container or a job scheduler may allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int | None:
    """Bytes of main memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def memory_limit() -> int | None:
    """Bytes of main memory that this process may have at most: of the machine, and of its control group."""
    known = [total_memory(), *(_bytes_in(limit) for limit, _ in _GROUPS)]
    return min((size for size in known if size is not None), default=None)


def free_memory() -> int | None:
    """Bytes that this process may still take: of the machine, and of its control group; None if unknown."""
    known = [_available()]
    for limit, used in _GROUPS:
        most, now = _bytes_in(limit), _bytes_in(used)
        known.append(None if most is None or now is None else max(0, most - now))
    return min((size for size in known if size is not None), default=None)


def process_memory(key: str) -> int | None:
    """Bytes in a line of Linux' status of this process: ``VmRSS`` now, ``VmHWM`` at its peak; None elsewhere."""
    found = _line_of("/proc/self/status", rf"{key}:\s*(\d+) kB")
    return None if found is None else int(found) * 1024


def reset_peak_memory(device: torch.device) -> bool:
    """Start a new measurement of :func:`peak_memory`; False where the system does not allow it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    with contextlib.suppress(OSError):
        # Linux: sets the high-water mark of this process back to what it uses now.
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def peak_memory(device: torch.device) -> float:
    """Most bytes used since the reset: of the device, or of this process on a CPU; NaN where unknown."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu":
        return float("nan")
    peak = process_memory("VmHWM")
    if peak is not None:
        return float(peak)
    try:
        import resource
    except ImportError:
        return float("nan")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used) * (1 if sys.platform == "darwin" else 1024)


def _available() -> int | None:
    found = _line_of("/proc/meminfo", r"MemAvailable:\s*(\d+) kB")
    if found is not None:  # counts the file cache, which a program may take, as available
        return int(found) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    total = total_memory()
    return None if total is None else total // 2  # macOS tells the whole only; half of it is rarely too much


def _bytes_in(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _last_level_cache() -> int | None:
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        found = re.fullmatch(r"(\d+)([KMG]?)", path.read_text().strip())
        if found is not None:
            sizes.append(int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]])
    return max(sizes, default=None)


def _line_of(path: str, pattern: str) -> str | None:
    """What the group of a pattern matches at the beginning of a line of a file of the system; None where nothing does."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search("^" + pattern, text, flags=re.MULTILINE)
    return found[1].strip() if found else None
