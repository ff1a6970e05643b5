"""Memory that large gradients of the logits are written to, kept from one training step to the next.

Allocators give blocks of many megabytes back to the operating system, which clears new ones page by page when they are first
touched. That takes as long as the whole backward pass (docs/performance.md). So a block whose gradient is gone is kept, and
the system is told (``MADV_FREE``) that it may take the pages whenever it needs memory: they count as memory of the process
until then, but nothing runs out of memory because of them. Such a gradient is an ordinary tensor, but for its storage, which
PyTorch cannot resize.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref

import numpy as np
import torch
from torch import Tensor

from segcrit.engines.request import gradient_like

__all__ = ["new_gradient"]

# Below, allocators keep memory by themselves: glibc always gives back blocks of 32 MiB and more, smaller ones at first.
_SMALLEST = 4 << 20
# Gradients that are free at the same time: of the large outputs of deep supervision, of two networks in turn.
_BLOCKS = 4
_HUGE_PAGE = 2 << 20
_SWITCH = "SEGCRIT_KEEP_GRADIENT_MEMORY"


class _Block:
    """Private memory from the operating system, in pages of 2 MiB where it has them."""

    def __init__(self, size: int) -> None:
        self.memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(self.memory, dtype=np.uint8)
        first = -whole.ctypes.data % _HUGE_PAGE
        self.bytes = whole[first : first + size]

    def lease(self, size: int) -> np.ndarray:
        """The first bytes, as an object of their own, whose end tells that the gradient is gone."""
        return self.bytes[:size]


_free: list[_Block] = []


def _give_back(block: _Block) -> None:
    try:
        block.memory.madvise(mmap.MADV_FREE)
    except OSError:
        # A kernel that does not know the advice would never get the pages back.
        return
    _free.append(block)
    for oldest in _free[:-_BLOCKS]:
        _take(oldest)


def _take(block: _Block) -> bool:
    """Whether the block was free until now; other threads may take it at the same time."""
    try:
        _free.remove(block)
    except ValueError:
        return False
    return True


def _is_kept() -> bool:
    return sys.platform == "linux" and os.environ.get(_SWITCH, "1") != "0"


def _block_of(size: int) -> _Block:
    # The last one is the most likely to be in the caches still. A block more than twice as large stays for its own kind.
    for block in reversed(tuple(_free)):
        if size <= len(block.bytes) <= 2 * size and _take(block):
            return block
    return _Block(size)


def new_gradient(logits: Tensor) -> Tensor:
    """Uninitialised gradient of logits on the CPU, of the layout of ``gradient_like``."""
    gradient = gradient_like(logits)
    size = gradient.numel() * gradient.element_size()
    if size < _SMALLEST or not _is_kept():
        return gradient
    try:
        block = _block_of(size)
    except OSError:
        return gradient
    lease = block.lease(size)
    weakref.finalize(lease, _give_back, block).atexit = False
    # What was allocated first has not been touched, so that it cost nothing.
    gradient.set_(torch.from_numpy(lease).untyped_storage(), 0, gradient.shape, gradient.stride())
    return gradient
