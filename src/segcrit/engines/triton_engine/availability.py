"""Whether the engine can run here, found out without importing Triton."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

import torch

__all__ = ["OLDEST", "describe", "is_installed", "is_interpreted"]


# The oldest release that the kernels were compiled with.
OLDEST = (3, 5)


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


def describe() -> tuple[bool, str]:
    """Whether the engine can run here, and why or how."""
    if not is_installed():
        return False, "Triton is not installed: pip install 'segcrit[triton]' (Linux)"
    if _release() < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return False, f"Triton is older than {oldest}, which PyTorch 2.9 and newer bring"
    if is_interpreted():
        return True, "Triton kernels in Triton's interpreter, slow, for tests (TRITON_INTERPRET is set)"
    if torch.version.hip is not None:
        return False, "the Triton kernels are for CUDA; PyTorch's build for ROCm is served by the reference engine"
    if not torch.cuda.is_available():
        return False, "no CUDA device that PyTorch can use"
    return True, "Triton kernels, compiled when first used"
