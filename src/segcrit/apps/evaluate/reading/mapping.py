"""What the values in label files mean: options of the command line, brought to one coding."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from segcrit.core.errors import ParameterError
from segcrit.data.coding.mask_coding import LabelCoding, UnknownPolicy, value_ranges
from segcrit.labels.palette import Palette

__all__ = ["ValueMap", "identity_coding", "parse_map", "reduced_coding"]

_RULE: Final = re.compile(r"\s*(\*|-?\d{1,20})(?:\s*\.\.\s*(-?\d{1,20}))?\s*:\s*(-?\d{1,20}|ignore)\s*")
_MOST_VALUES: Final = 1 << 16


@dataclass(frozen=True)
class ValueMap:
    """A parsed ``--map``: stored value -> label, None for "ignore"; ``rest`` is the label of every other value.

    Attributes:
        values: all at once, so that ``0:1, 1:0`` swaps.
        others: whether there is a rule for all other values.
        rest: its label, None for ignored.
    """

    values: Mapping[int, int | None]
    others: bool = False
    rest: int | None = None

    @property
    def ignores(self) -> bool:
        """Whether a value, or every other one, is to be ignored."""
        return None in self.values.values() or (self.others and self.rest is None)

    def coding(self, classes: int, void: int | None, palette: Palette | None = None) -> LabelCoding:
        """The coding that this map describes.

        Raises:
            ParameterError: a label is no class, or values are to be ignored without an ignore label.
        """
        named = {value: label for value, label in self.values.items() if label is not None and label != void}
        ignored = tuple(sorted(set(self.values) - set(named)))
        wrong = sorted({label for label in named.values() if not 0 <= label < classes})
        if wrong:
            raise ParameterError(
                f"a map to classes 0 to {classes - 1} or 'ignore'",
                f"the label {wrong[0]}",
                "Correct --map, or --classes.",
            )
        if (ignored or self.others) and void is None:
            raise ParameterError(
                "an ignore label beside a map that ignores values", "none", "Pass --ignore-index, such as 255."
            )
        unknown: UnknownPolicy = "error"
        if self.others:
            if self.rest is not None and self.rest != void:
                raise ParameterError(
                    "'*:ignore' for all other values", f"'*:{self.rest}'", "List the values of that class."
                )
            unknown = "ignore"
        elif void is not None and void not in named:
            ignored = tuple(sorted({*ignored, void}))
        if not named:
            raise ParameterError("a map with at least one class", "one that ignores everything", "Add a class.")
        return LabelCoding(named, ignored, void, palette, unknown)


def parse_map(text: str) -> ValueMap:
    """Read ``"7:0, 8:1, 0..6:ignore, *:ignore"``.

    Raises:
        ParameterError: a rule cannot be read, or a value has two.

    Example:
        >>> parse_map("7:0, 8..9:1, *:ignore")
        ValueMap(values={7: 0, 8: 1, 9: 1}, others=True, rest=None)
    """
    values: dict[int, int | None] = {}
    others, rest = False, None
    for rule in text.split(","):
        if not rule.strip():
            continue
        found = _RULE.fullmatch(rule)
        if found is None or (found[1] == "*" and found[2]):
            raise ParameterError(
                "a map such as '7:0,8:1,*:ignore'", reprlib.repr(rule.strip()), "Write VALUE:CLASS, or LOW..HIGH:CLASS."
            )
        label = None if found[3] == "ignore" else int(found[3])
        if found[1] == "*":
            others, rest = True, label
            continue
        low, high = int(found[1]), int(found[2] or found[1])
        if not low <= high <= low + _MOST_VALUES:
            raise ParameterError("a range from low to high", rule.strip(), "Write LOW..HIGH:CLASS.")
        for value in range(low, high + 1):
            if value in values:
                raise ParameterError("one label for each value of a map", f"two for {value}", "Keep one of them.")
            values[value] = label
    if not values:
        raise ParameterError("a map such as '7:0,8:1'", repr(text), "Write VALUE:CLASS.")
    return ValueMap(values, others, rest)


def identity_coding(classes: int, void: int | None, palette: Palette | None = None) -> LabelCoding:
    """Values are labels."""
    ignored = () if void is None or 0 <= void < classes else (void,)
    return LabelCoding({label: label for label in range(classes)}, ignored, void, palette)


def reduced_coding(classes: int, void: int | None) -> LabelCoding:
    """Value 0 is ignored, the classes are numbered from 1 (mmsegmentation's ``reduce_zero_label``).

    Raises:
        ParameterError: no label for ignored pixels.
    """
    if void is None:
        raise ParameterError("an ignore label beside --reduce-zero-label", "none", "Pass --ignore-index 255.")
    ignored = (0,) if 1 <= void <= classes else tuple(sorted({0, void}))
    return LabelCoding({label + 1: label for label in range(classes)}, ignored, void)


def is_identity(coding: LabelCoding) -> bool:
    """Whether decoding would change no value and every other value is an error."""
    same = all(value == label for value, label in coding.classes.items())
    return same and set(coding.ignored) <= {coding.ignore_index} and coding.unknown == "error"


def shown(coding: LabelCoding) -> str:
    """The stored values of a coding, for messages."""
    return value_ranges([*coding.classes, *coding.ignored])
