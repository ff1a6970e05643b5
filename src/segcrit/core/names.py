"""Which name was meant: the one rule for every "Did you mean ...?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["near_names", "nearest"]

# Share of letters that two names have in common, in order, from which on one is taken for a slip of the other. Below it
# short names meet by chance: "nope" and "home" share half of theirs.
_CLOSE = 0.6


def near_names(word: str, names: Iterable[str], most: int = 1) -> list[str]:
    """The names that ``word`` may be a slip of, the nearest first; upper and lower case are the same.

    Example:
        >>> near_names("Dcie", ["dice", "focal"]), near_names("nope", ["home", "opt"])
        (['dice'], [])
    """
    known = {name.lower(): name for name in names}
    return [known[name] for name in difflib.get_close_matches(word.lower(), list(known), n=most, cutoff=_CLOSE)]


def nearest(word: str, names: Iterable[str]) -> str:
    """The hint "Did you mean 'x'?", or an empty text where no name is near.

    Example:
        >>> nearest("dcie", ["dice", "focal"])
        "Did you mean 'dice'?"
        >>> nearest("zzz", ["dice", "focal"])
        ''
    """
    close = near_names(word, names)
    return f"Did you mean {close[0]!r}?" if close else ""
