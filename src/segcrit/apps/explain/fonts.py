"""Fonts of pictures: what the usual font lacks comes from other fonts of this machine, or is told."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from segcrit.core import optional

__all__ = ["fonts_for", "lacking"]

_USUAL = "DejaVu Sans"  # comes with matplotlib
# Has a picture of a box for every character.
_BOXES = "Last Resort"


@functools.lru_cache(maxsize=64)
def _cover(characters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Names of further fonts that have these characters, and the characters that no font has."""
    manager = optional.require("matplotlib.font_manager", extra="compare")
    left = _without(characters, manager.findfont(_USUAL))
    names: list[str] = []
    # Regular faces first: a bold one in their place would stand out.
    entries = sorted(
        manager.fontManager.ttflist, key=lambda entry: (entry.style != "normal", str(entry.weight) != "400")
    )
    for entry in entries if left else ():
        if entry.name == _USUAL or entry.name.startswith(_BOXES):
            continue
        try:
            rest = _without(left, entry.fname)
        except (OSError, RuntimeError):  # a font file that is gone or damaged
            continue
        if len(rest) < len(left):
            names.append(entry.name)
            left = rest
        if not left:
            break
    return tuple(names), "".join(sorted(left))


def _without(characters: frozenset[str], path: str) -> frozenset[str]:
    font = optional.require("matplotlib.font_manager", extra="compare").get_font(path)
    return frozenset(character for character in characters if not font.get_char_index(ord(character)))


def _unusual(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(
        character for text in texts for character in text if ord(character) > 0x2FF and character.isprintable()
    )


def lacking(texts: Iterable[str]) -> str:
    """A sentence about the characters that no font of this machine has; empty where there are none."""
    left = _cover(_unusual(texts))[1]
    if not left:
        return ""
    shown = left[:12] + ("…" if len(left) > 12 else "")
    codes = ", ".join(f"U+{ord(character):04X}" for character in left[:4]) + (", …" if len(left) > 4 else "")
    return (
        f"{len(left)} {'character' if len(left) == 1 else 'characters'} ({shown}; {codes}) are drawn as boxes: no font of "
        "this machine has them. Install one, such as Noto Sans CJK (package fonts-noto-cjk)."
    )


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """Draw with the usual font, and with others for the characters that it lacks."""
    import logging
    import warnings

    matplotlib = optional.require("matplotlib", extra="compare")
    names, left = _cover(_unusual(texts))
    families = [_USUAL, *names]
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        if left:  # told in the picture, in one sentence
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
