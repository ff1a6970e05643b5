"""Process groups: found at the first call, never pickled."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from segcrit.core.constraints import describe_value
from segcrit.core.errors import ParameterError

__all__ = ["check_process_group", "resolve_group", "world_size"]


def check_process_group(group: Any) -> Any:
    """Return None, ``"world"`` or the group, or raise."""
    if group is None or group == "world":
        return group
    if isinstance(group, str) or not hasattr(group, "size"):
        raise ParameterError(
            'process_group to be None, "world" or a torch.distributed process group',
            f"process_group={describe_value(group)}",
            'Use "world" for all processes.',
        )
    return group


def resolve_group(group: Any) -> Any:
    """The group for collectives, or None when this call stays on its own rank.

    Collectives run only where gradients are enabled: validation on one rank alone cannot hang.
    """
    if group is None or not torch.is_grad_enabled() or not dist.is_available() or not dist.is_initialized():
        return None
    return dist.group.WORLD if group == "world" else group


def world_size(group: Any) -> int:
    """Number of ranks."""
    return int(dist.get_world_size(group))
