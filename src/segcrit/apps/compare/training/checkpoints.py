"""Checkpoints: written whole or not at all, and read as data, so that no code that a file holds is ever run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from segcrit.core import atomic
from segcrit.core.errors import DataError

__all__ = ["WholeCheckpoints", "load_weights", "read_tensors"]

_AGAIN: Final = "Remove it to train this loss and seed from the start."


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old file and replaces it; reads tensors and plain values only.

    Lightning writes into the system's temporary folder first. Where that is another file system (often /tmp), its last
    step is a copy, and a process that is killed during it leaves half a checkpoint in place of the good one. When it
    reads, versions before 2.6 unpickle whatever the file holds.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        with atomic.atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint; ``weights_only`` is always true."""
        return read_tensors(Path(path), "a checkpoint of this training", _AGAIN, map_location, ("state_dict",))


def read_tensors(
    path: Path, what: str, advice: str, map_location: Any = "cpu", keys: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The dictionary in a file of ``torch.save``, without running code that the file may hold.

    Args:
        path: of the file.
        what: it should be, for the error.
        advice: for the error.
        map_location: where its tensors go.
        keys: of dictionaries that must be in it.

    Raises:
        DataError: the file is damaged, holds objects of other classes, or lacks a key; its code is
            ``"damaged-checkpoint"``.
    """
    found = "another kind of file, without " + " and ".join(keys) if keys else "something else than named tensors"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with atomic.open_regular(path) as stream:
                content = torch.load(stream, map_location=map_location, weights_only=True)
        if isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in keys):
            return content
    except (FileNotFoundError, PermissionError, MemoryError, DataError):
        raise
    except Exception as error:  # damaged files raise whatever their bytes lead to
        if isinstance(error, torch.OutOfMemoryError):
            raise
        found = f"a file that cannot be read ({type(error).__name__})"
    raise DataError(f"{what} at {path}", found, advice, code="damaged-checkpoint")


def load_weights(
    network: nn.Module, weights: dict[str, Any], what: str, advice: str = _AGAIN, prefix: str = "network."
) -> None:
    """Put weights that a file holds into a network; names without the prefix are left out.

    Raises:
        DataError: they do not fit; its code is ``"weights-do-not-fit"``.
    """
    own = {name[len(prefix) :]: value for name, value in weights.items() if str(name).startswith(prefix)}
    try:
        network.load_state_dict(own)
    except (RuntimeError, TypeError, AttributeError) as error:
        last = str(error).splitlines()[-1].strip()
        raise DataError(what, f"weights that do not fit ({last})", advice, code="weights-do-not-fit") from error
