"""Which class is the background: the one rule for everything that speaks of the foreground."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError

__all__ = ["BY_NAME", "background_of", "read_background"]

BY_NAME: Final = "by name"

# What class 0 is called where it is the rest and not an object of its own.
_REST: Final = frozenset(
    {"background", "bg", "none", "nothing", "other", "others", "rest", "outside", "unlabelled", "unlabeled", "void"}
)
_NAMELESS: Final = re.compile(r"(?:class|label)?[ _-]?0*")
# What says it at any place. A class called "other" may be one of several leftovers there.
_PLAIN: Final = frozenset({"background", "bg"})


def background_of(names: Sequence[str]) -> int | None:
    """The class that is the background: class 0 by its name or because it has none, otherwise one that is called
    background; None where every class is a class like the others.

    Figures of the foreground leave this class out; water, sky or road must not be left out because they come first.

    Example:
        >>> background_of(["Background", "tumour"]), background_of(["class 0", "class 1"]), background_of(["sky", "car"])
        (0, 0, None)
        >>> background_of(["sky", "car", "background"])
        2
    """
    words = [name.strip().lower() for name in names]
    if words[0] in _REST or _NAMELESS.fullmatch(words[0]):
        return 0
    return next((index for index, word in enumerate(words) if word in _PLAIN), None)


def read_background(given: int | str | None, names: Sequence[str], task: Task) -> int | None:
    """The background of a task: of a binary one always 0, of a multilabel one, whose channels are objects, none.

    Args:
        given: a class number, None for no background, or ``"by name"``.
        names: of the classes.
        task: of the evaluation.

    Raises:
        ParameterError: no such class, or one that the task does not have.

    Example:
        >>> read_background("by name", ["sky", "car"], "multiclass"), read_background(1, ["sky", "car"], "multiclass")
        (None, 1)
    """
    fixed = {"binary": 0, "multilabel": None}
    if task in fixed:
        if given not in (BY_NAME, fixed[task]) or isinstance(given, bool):
            raise ParameterError(
                f"background={fixed[task]!r} in a {task} task",
                repr(given),
                "Leave background out: the task decides it.",
            )
        return fixed[task]
    if given is None:
        return None
    if isinstance(given, str) and given == BY_NAME:
        return background_of(names)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < len(names):
        raise ParameterError(
            f"background to be a class from 0 to {len(names) - 1}, None or {BY_NAME!r}",
            repr(given),
            "Give the number of the class that is the background, or None where there is none.",
        )
    return given
