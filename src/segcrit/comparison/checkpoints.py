"""Checkpoints that are whole or not there: the resumption of a killed run depends on it."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from segcrit import _files

__all__ = ["WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old file and replaces it.

    Lightning writes into the system's temporary folder first. Where that is another file system (often /tmp), its last
    step is a copy, and a process that is killed during it leaves half a checkpoint in place of the good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        with _files.atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
