"""Names for images: the user's ids, and numbers for single acts of counting that no two processes share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

import torch

from segcrit.core.errors import ShapeError

__all__ = ["Numbering", "read_ids"]

# Numbers fit into int64.
_LIMIT: Final = 1 << 63


class Numbering(Iterator[int]):
    """Numbers that no other numbering gives: a random start of 63 bits, and up from there."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._last = secrets.randbits(63)

    def __next__(self) -> int:
        self._last = (self._last + 1) % _LIMIT
        return self._last


def read_ids(ids: Iterable[object] | None, images: int) -> list[str] | None:
    """Ids as texts, one an image; None stays None."""
    if ids is None:
        return None
    if isinstance(ids, (str, bytes)):
        raise ShapeError(f"a sequence of {images} ids", f"the text {ids!r}", "Give a list, one id an image.")
    names = [str(name.item() if isinstance(name, torch.Tensor) else name) for name in ids]
    if len(names) != images:
        raise ShapeError(f"{images} ids", f"{len(names)}", "Give one id an image of the batch.")
    return names
