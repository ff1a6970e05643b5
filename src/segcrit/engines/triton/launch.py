"""How a sweep is divided into programs, and the device that they run on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MOST_PLACES", "Division", "divide", "on_device"]

_LANES = 32
_WARPS = 4
# Of a class, loaded at once; see the kernels.
_PIXELS_OF_A_THREAD = 4
_INTERPOLATED_PIXELS_OF_A_THREAD = 1
_CLASSES_OF_A_TILE = 4
# Pixels of a program at most; tests lower it, so that small images are divided.
MOST_PLACES = 1 << 20
# Samples of low resolution have windows of pixels to visit: small programs, many of them.
_SAMPLES = 128


@dataclass(frozen=True)
class Division:
    """Programs of a kernel.

    Attributes:
        block: pixels of a program.
        chunk: classes of a tile.
        blocks: programs for the pixels of one image.
        warps: of a program.
    """

    block: int
    chunk: int
    blocks: int
    warps: int


def divide(places: int, classes: int, *, interpolated: bool = False, gather: bool = False) -> Division:
    """The division of ``places`` pixels or samples of an image.

    Each thread holds all classes of its pixels, so that sums over classes need no other thread. A pixel of interpolated
    logits keeps the places of its samples in registers.
    """
    chunk = min(_CLASSES_OF_A_TILE, _power_of_two(classes))
    wide = _LANES * _WARPS * (_INTERPOLATED_PIXELS_OF_A_THREAD if interpolated else _PIXELS_OF_A_THREAD)
    block = min(_SAMPLES if gather else wide, MOST_PLACES, max(_LANES, _power_of_two(places)))
    return Division(block, chunk, -(-places // block), max(1, min(_WARPS, block // _LANES)))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Kernels start on the current device, which in a process with several GPUs may be another than the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
