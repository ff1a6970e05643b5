"""What this machine is and has: for the report, and to decide how much may be kept in memory."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import torch

from segcrit.core.json_files import Record

__all__ = [
    "Machine",
    "available_memory",
    "describe_machine",
    "peak_memory",
    "reset_peak_memory",
    "usable_cores",
    "versions",
]

_PACKAGES: Final = (
    "torch",
    "lightning",
    "monai",
    "numpy",
    "segmentation-models-pytorch",
    "timm",
    "transformers",
    "tensorboard",
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


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _meminfo(key: str) -> float:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(key + ":"):
                return float(line.split()[1]) * 1024
    return float("nan")


def available_memory() -> float:
    """Bytes of main memory that are free to use; half of 8 GB where the system does not tell."""
    free = _meminfo("MemAvailable")
    with contextlib.suppress(OSError, ValueError):
        # A container's own limit.
        limit = float(Path("/sys/fs/cgroup/memory.max").read_text())
        used = float(Path("/sys/fs/cgroup/memory.current").read_text())
        free = min(free, limit - used)
    return free if free == free else 4e9


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def describe_machine(devices: Sequence[torch.device] = (), processes: int = 1) -> Machine:
    """The record of this machine for the report."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_processor(),
        cores=usable_cores(),
        memory_bytes=_meminfo("MemTotal"),
        gpus=tuple(torch.cuda.get_device_name(device) for device in devices if device.type == "cuda"),
        processes=processes,
        threads=torch.get_num_threads(),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of :func:`peak_memory`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            # Linux: sets the high-water mark of this process back to what it uses now.
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Most bytes used since the reset: of the device, or of this process on a CPU; NaN where unknown."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu":
        return float("nan")
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return float("nan")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used) * (1 if sys.platform == "darwin" else 1024)
