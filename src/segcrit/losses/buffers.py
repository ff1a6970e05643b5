"""Parameters with a number for each class, as buffers of a module that survive every way of building it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ClassBuffers"]


class ClassBuffers(nn.Module):
    """A module whose per-class parameters move with it and stay out of checkpoints.

    Their values belong to the definition of the loss, as its expression does. No checkpoint brings them back where
    ``to_empty`` has left memory without values (a model built under ``torch.device("meta")``); they are taken from here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, Tensor] = {}

    def keep(self, name: str, value: Tensor) -> None:
        """Make a buffer of a tensor, on the device where this module is being built."""
        self._given[name] = value.detach().cpu().clone()
        device = torch.get_default_device()
        device = value.device if device.type in ("cpu", "meta") else device
        self.register_buffer(name, value.detach().clone().to(device), persistent=False)

    def kept(self, name: str) -> Tensor:
        """The buffer; where it is a tensor without numbers, its values."""
        buffer: Tensor = getattr(self, name)
        return self._given[name] if buffer.is_meta else buffer

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # Weights are float64 numbers, which Apple's MPS does not have: there they become float32, as the arithmetic is.
        def move(tensor: Tensor) -> Tensor:
            try:
                return fn(tensor)
            except TypeError:
                if tensor.dtype != torch.float64:
                    raise
                return fn(tensor.float())

        moved = super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        for name, value in self._given.items():
            buffer: Tensor = getattr(self, name)
            if not buffer.is_meta:
                with torch.no_grad():
                    buffer.copy_(value)
        return moved
