"""What a class is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClassInfo"]


@dataclass(frozen=True)
class ClassInfo:
    """One class: the label that stands for it in every array, its name, and the colour it is drawn in.

    Example:
        >>> ClassInfo(1, "car", (64, 0, 128)).name
        'car'
    """

    index: int
    name: str
    color: tuple[int, int, int]
