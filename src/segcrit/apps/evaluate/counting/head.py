"""The types of what a file of counts tells beside its counts: checked once, where it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from segcrit.apps.evaluate.options import Options
from segcrit.core.json_files import damaged, decode

__all__ = ["check_head"]

_ADVICE: Final = "Evaluate that part anew."

Color = tuple[int, int, int]


@dataclass(frozen=True)
class _Coding:
    classes: dict[str, int]
    ignored: tuple[int, ...]
    unknown: str
    ignore_index: int | None
    palette: tuple[Color, ...] | None
    ignore_color: Color | None


@dataclass(frozen=True)
class _About:
    settings: dict[str, Any]  # read, and checked, by the evaluator
    colors: tuple[Color, ...]
    target: _Coding
    predictions: tuple[_Coding, ...]
    values: Literal["logits", "probabilities"]
    turned: tuple[bool, ...] = ()


@dataclass(frozen=True)
class _Sources:
    digest: str = ""
    target: str = ""
    predictions: dict[str, str] = field(default_factory=dict)
    images: str | None = None
    options: Options = field(default_factory=Options)
    assumed: tuple[int, ...] = ()
    listings: dict[str, str] = field(default_factory=dict)
    unmatched: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Head:
    about: _About
    models: tuple[str, ...]
    modes: dict[str, dict[str, int]]
    sources: _Sources
    notes: tuple[str, ...]


def check_head(content: dict[str, Any], file: Path) -> None:
    """Refuse a head that holds other types than :meth:`Tally.save` writes.

    Raises:
        DataError: it does; its code is ``"damaged-file"``.
    """
    head = decode(_Head, content, str(file), advice=_ADVICE)
    about = head.about
    codings = (about.target, *about.predictions)
    colors = [*about.colors, *(color for coding in codings for color in coding.palette or ())]
    fits = (
        len(about.predictions) == len(head.models) == len(set(head.models))
        and all(0 <= part <= 255 for color in colors for part in color)
        and all(re.fullmatch(r"-?\d{1,20}", value) for coding in codings for value in coding.classes)
    )
    if not fits:
        raise damaged(f"codings, colours and names of models in {file} that fit together", "others", _ADVICE)
