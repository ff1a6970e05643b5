"""How many columns a text takes on a terminal, where Chinese, Japanese and Korean characters take two."""

from __future__ import annotations

import textwrap
import unicodedata

__all__ = ["columns_of", "padded", "wrapped"]


def columns_of(text: str) -> int:
    """Columns of a text.

    Example:
        >>> columns_of("road"), columns_of("道路"), columns_of("e\\u0301")
        (4, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text filled up with blanks to a width, on its right side, or with ``right`` on its left.

    Example:
        >>> padded("道路", 6) + "|", padded("1", 3, right=True)
        ('道路  |', '  1')
    """
    blanks = " " * (width - columns_of(text))
    return blanks + text if right else text + blanks


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of a width, broken between words, and inside a word that is wider than a line.

    Example:
        >>> wrapped("a long text", 6), wrapped("低い植生と道路", 8)
        (['a long', 'text'], ['低い植生', 'と道路'])
    """
    if columns_of(text) == len(text):
        return textwrap.wrap(text, width)
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and columns_of(line) + 1 + columns_of(word) <= width:
            line += f" {word}"
            continue
        if line:
            lines.append(line)
        line = ""
        for character in word:
            if line and columns_of(line) + _columns(character) > width:
                lines.append(line)
                line = ""
            line += character
    return [*lines, line] if line else lines
