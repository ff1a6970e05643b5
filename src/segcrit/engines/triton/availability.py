"""Whether the engine can run here, found out without importing Triton."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sysconfig
from functools import lru_cache
from pathlib import Path

import torch

__all__ = ["OLDEST", "OLDEST_DEVICE", "describe", "is_installed", "is_interpreted"]


# The oldest release that the kernels were compiled with, and the oldest compute capability that they were compiled for.
OLDEST = (3, 5)
OLDEST_DEVICE = (7, 0)


def is_installed() -> bool:
    """Whether the package ``triton`` can be imported."""
    return importlib.util.find_spec("triton") is not None


def _release() -> tuple[int, int]:
    """Major and minor version of Triton; builds of one's own that carry no version count as new."""
    try:
        numbers = importlib.metadata.version("triton").split(".")
        return int(numbers[0]), int(numbers[1])
    except (importlib.metadata.PackageNotFoundError, ValueError, IndexError):
        return OLDEST


def is_interpreted() -> bool:
    """Whether Triton's interpreter is asked for, which runs the kernels on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


@lru_cache(maxsize=1)
def _lacks() -> str:
    """What Triton cannot build its connection to the driver without; images for deployment often lack it."""
    if not os.environ.get("CC") and not any(map(shutil.which, ("gcc", "clang"))):
        return "Triton needs a C compiler and finds none: install gcc, or name one in CC"
    scheme = sysconfig.get_default_scheme()
    scheme = "posix_prefix" if scheme == "posix_local" else scheme
    folders = [sysconfig.get_paths(scheme)["include"]]
    folders += [folder for name in ("CPATH", "C_INCLUDE_PATH") for folder in os.environ.get(name, "").split(os.pathsep)]
    if not any((Path(folder) / "Python.h").is_file() for folder in folders if folder):
        return "Triton needs Python.h and does not find it: install Python's headers (python3-dev)"
    return ""


@lru_cache(maxsize=1)
def _missing() -> str:
    """What is not installed. Found out once: a loss is computed hundreds of times a second."""
    if not is_installed():
        return "Triton is not installed: pip install 'segcrit[triton]' (Linux)"
    if _release() < OLDEST:
        return f"Triton is older than {OLDEST[0]}.{OLDEST[1]}, which PyTorch 2.9 and newer bring"
    return ""


def describe() -> tuple[bool, str]:
    """Whether the engine can run here, and why or how."""
    missing = _missing()
    if missing:
        return False, missing
    if is_interpreted():
        return True, "Triton kernels in Triton's interpreter, slow, for tests (TRITON_INTERPRET is set)"
    if torch.version.hip is not None:
        return False, "the Triton kernels are for CUDA; PyTorch's build for ROCm is served by the reference engine"
    if not torch.cuda.is_available():
        return False, "no CUDA device that PyTorch can use"
    lacking = _lacks()
    return (False, lacking) if lacking else (True, "Triton kernels, compiled when first used")
