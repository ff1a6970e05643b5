"""Warnings that point at the line of the user's code, however many layers of segcrit and PyTorch lie between."""

from __future__ import annotations

import os
import sys
import warnings

import torch

__all__ = ["warn"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# The commands are users of the package: what they cause is told as a note of theirs.
_COMMANDS = os.path.join(_PACKAGE, "cli") + os.sep
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep


def _is_between(filename: str) -> bool:
    return filename.startswith((_PACKAGE, _TORCH)) and not filename.startswith(_COMMANDS)


def warn(message: str) -> None:
    """Issue a ``UserWarning`` at the line that called into segcrit."""
    level = 1
    frame = sys._getframe(0)
    while frame.f_back is not None and _is_between(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
