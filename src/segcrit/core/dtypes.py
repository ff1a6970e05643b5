"""The dtype policy: which dtypes come in, what the pixel arithmetic uses, what sums and results have."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["LOGITS_DTYPES", "compute_dtype", "is_integer", "table_dtype", "without_autocast"]

LOGITS_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def compute_dtype(logits: torch.dtype) -> torch.dtype:
    """Dtype of pixel arithmetic and of the returned loss: float32, or float64 for float64 logits."""
    return torch.float64 if logits == torch.float64 else torch.float32


def table_dtype(device: torch.device) -> torch.dtype:
    """Dtype in which sums over pixels accumulate: float64, except where the device has none (Apple's MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in the dtype of their factors; nothing where there is no autocast, as for tensors without numbers."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def is_integer(dtype: torch.dtype) -> bool:
    """True for integer dtypes and bool."""
    return not dtype.is_floating_point and not dtype.is_complex
