"""What the values in a folder of masks tell about their coding: two codings, pixels ignored or moved unasked.

The rules are those of every command: loading a folder (``compare``, ``inspect``) and evaluating one call them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from segcrit.data.coding.mask_coding import LabelCoding, StoredMask, value_ranges
from segcrit.data.problems import Problem, named
from segcrit.data.scanning import MaskValues

__all__ = [
    "ELEMENTS",
    "IN_FILE",
    "Wording",
    "check_values",
    "classes_json",
    "differing_palettes",
    "grey_counts",
    "mixed_coding",
    "real_values",
    "with_option",
]

# The largest value of masks that are spread over the range of their type: two classes as 0 and 255, three as 0, 128, 255.
_TOPS: Final = (255, 65535)
_MOST_LEVELS: Final = 8
# A value with this share of the pixels is meant; of many different values, only with the larger one.
_SHARE, _SHARE_OF_MANY, _MANY = 0.001, 0.01, 12
# JPEG and smooth edges give values beside a class, each far rarer than the class.
_BESIDE, _RARER = 4, 0.2
# A smaller share of pixels that take the nearest class is what stray values at borders are.
_STRAY: Final = 0.01


@dataclass(frozen=True)
class Wording:
    """How the problems of one folder are worded.

    Attributes:
        what: the files, in the plural.
        mixed: what to do about two codings, given the stored values of each class.
        ignored: what to do about a value that is ignored although nothing says so.
        foreground: what to do where the foreground is ignored as a whole.
    """

    what: str
    mixed: str
    ignored: str
    foreground: str


IN_FILE: Final = Wording(
    "masks",
    "If they mean the same, list the values of each class in classes.json: {classes}; if {high} means ignored, add "
    '"ignore_index": {high} there.',
    'If it means void, write "ignore_index": {value} into classes.json; if it is a class, list it there as a "value".',
    'If 255 is the foreground, write "value": 255 into that class in classes.json.',
)


ELEMENTS: Final = Wording(
    "multilabel maps",
    "If they mean the same, save 0 and 1 in every channel; if {high} means ignored, pass --ignore-index {high}.",
    "If it means void, pass --ignore-index {value}; if not, save 0 and 1 in every channel.",
    "If 255 is the foreground, save 0 and 1 in every channel.",
)


def with_option(option: str, what: str) -> Wording:
    """The wording for label maps (``--map``) or predictions (``--map-predictions``) of an evaluation."""
    void = "pass --ignore-index {value}" if option == "--map" else "predict a class there"
    return Wording(
        what,
        f"If they mean the same, pass {option} '{{rules}}'; if {{high}} means ignored, pass --ignore-index {{high}}.",
        f"If it means void, {void}; if it is a class, say which with {option} 'VALUE:CLASS'.",
        f"If 255 is the foreground, pass {option} '0:0,255:1'.",
    )


def grey_counts(mask: MaskValues) -> dict[int, int]:
    """Pixels of each value; a colour of three equal channels is that value.

    Other colours, and the value that the file declares as missing, are left out.
    """
    if not mask.is_color:
        return {value: pixels for value, pixels in mask.counts.items() if value != mask.nodata}
    return {key & 255: pixels for key, pixels in mask.counts.items() if key == (key & 255) * 0x010101}


def real_values(counts: Mapping[int, int]) -> list[int]:
    """The values that hold a real share of the pixels, sorted; what lies beside a far larger one is its edge.

    Example:
        >>> real_values({0: 700, 128: 100, 255: 200}), real_values({0: 7000, 2: 90, 250: 1, 255: 3000})
        ([0, 128, 255], [0, 255])
    """
    total = sum(counts.values())
    least = total * (_SHARE if len(counts) <= _MANY else _SHARE_OF_MANY)
    found: list[int] = []
    for value, pixels in sorted(counts.items(), key=lambda entry: -entry[1]):
        beside = any(abs(value - own) <= _BESIDE and pixels <= _RARER * counts[own] for own in found)
        if pixels >= least and not beside:
            found.append(value)
    return sorted(found)


def classes_json(values: Sequence[Sequence[int]], **others: str) -> str:
    """The text of a classes.json whose classes are stored as these values.

    Example:
        >>> classes_json([[0], [1, 255]])
        '{"classes": [{"index": 0, "name": "...", "value": 0}, {"index": 1, "name": "...", "values": [1, 255]}]}'
    """
    entries = [
        {"index": index, "name": "...", **({"value": own[0]} if len(own) == 1 else {"values": list(own)})}
        for index, own in enumerate(values)
    ]
    return json.dumps({"classes": entries, **others})


@dataclass(frozen=True)
class Mixed:
    """Files of two codings: class numbers, and the same classes spread over the range of the type.

    Attributes:
        low: files of class numbers.
        high: files of spread values.
        levels: spread value -> class number.
    """

    low: tuple[str, ...]
    high: tuple[str, ...]
    levels: Mapping[int, int]

    def problem(self, wording: Wording, *, severity: str = "error") -> Problem:
        """What is told about them."""
        low, high = (_listed(sorted({0, *values})) for values in (self.levels.values(), self.levels))
        got = (
            f"{len(self.low)} {wording.what} of {low} and {len(self.high)} {wording.what} of {high}, never both in one: "
            f"{named(self.high)}"
        )
        classes: dict[int, list[int]] = {0: [0]}
        for value, label in sorted(self.levels.items()):
            classes.setdefault(label, [label]).append(value)
        listed = [classes.get(label, [label]) for label in range(max(classes) + 1)]
        rules = ",".join(f"{value}:{label}" for label, own in enumerate(listed) for value in own)
        advice = wording.mixed.format(classes=classes_json(listed), rules=rules, high=max(self.levels))
        if severity == "warning":
            return Problem.warning("mixed-coding", got[0].upper() + got[1:], advice, self.high)
        return Problem.error("mixed-coding", f"one coding in all {wording.what}", got, advice, self.high)


def _listed(values: Sequence[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} and {values[-1]}"


def mixed_coding(files: Mapping[str, Mapping[int, int]]) -> Mixed | None:
    """Whether some files hold class numbers and the others the same classes spread over the range of the type.

    Files that hold both kinds of values say that these are different things; then nothing is mixed.

    Args:
        files: for each file, pixels of each stored value.

    Example:
        >>> mixed_coding({"a": {0: 5, 1: 4}, "b": {0: 5, 255: 4}}).levels
        {255: 1}
        >>> mixed_coding({"a": {0: 5, 1: 4}, "b": {0: 5, 1: 2, 255: 2}}) is None  # 255 is something else than 1
        True
    """
    kinds: dict[frozenset[int], list[str]] = {}
    for name, counts in files.items():
        if inner := frozenset(value for value in counts if value):
            kinds.setdefault(inner, []).append(name)
    present = frozenset().union(*kinds)
    for top in _TOPS:
        for classes in range(1, _MOST_LEVELS + 1) if top in present else ():
            spread = {way(top * own / classes): own for own in range(1, classes + 1) for way in (math.floor, math.ceil)}
            numbers = frozenset(range(1, classes + 1))
            low = [name for values, names in kinds.items() if values <= numbers for name in names]
            high = [name for values, names in kinds.items() if values <= spread.keys() for name in names]
            used = {value: spread[value] for value in sorted(present - numbers) if value in spread}
            if (
                low
                and high
                and len(low) + len(high) == sum(map(len, kinds.values()))
                and (classes == 1 or len(used) > 1)
            ):
                return Mixed(tuple(low), tuple(high), used)
    return None


def check_values(found: Mapping[str, MaskValues], coding: LabelCoding, wording: Wording) -> list[Problem]:
    """Two codings, a foreground that is ignored, pixels that are ignored or take the nearest class unasked.

    Args:
        found: for each file, pixels of each stored value.
        coding: by which they are read.
        wording: of the problems.
    """
    numbers = {name: grey_counts(mask) for name, mask in found.items() if not _read_by_color(mask, coding)}
    counts: Counter[int] = Counter()
    for own in numbers.values():
        counts.update(own)
    return [
        *_unasked(numbers, counts, coding, wording),
        *_moved(found, coding, wording),
        *_thresholded(found, wording),
        *differing_palettes(found, coding, wording),
    ]


def differing_palettes(found: Mapping[str, MaskValues], coding: LabelCoding, wording: Wording) -> list[Problem]:
    """A warning where one colour has several numbers in palette files that are read by their numbers."""
    numbers: dict[tuple[int, ...], dict[int, str]] = {}
    for name, mask in found.items():
        if mask.palette is not None and not _read_by_color(mask, coding):
            for value in mask.counts:
                if value < len(mask.palette):
                    numbers.setdefault(tuple(mask.palette[value].tolist()), {}).setdefault(value, name)
    several = {color: own for color, own in numbers.items() if len(own) > 1 and len(set(own.values())) > 1}
    if not several:
        return []
    color, own = next(iter(several.items()))
    shown = [f"{value} in {name}" for value, name in own.items()]
    got = f"The palettes of the {wording.what} differ: the colour {color} has the numbers {named(shown, 3)}"
    advice = "They are read by their numbers. If the colours tell the classes, list these in classes.json."
    return [Problem.warning("palettes-differ", got, advice, list(dict.fromkeys(own.values())))]


def _thresholded(found: Mapping[str, MaskValues], wording: Wording) -> list[Problem]:
    lossy = {name: mask for name, mask in found.items() if mask.thresholded is not None}
    if not lossy:
        return []
    share = sum(mask.thresholded or 0 for mask in lossy.values()) / sum(mask.pixels for mask in lossy.values())
    got = (
        f"{len(lossy)} {wording.what} are stored with loss (JPEG) and read with a threshold at half of white, which "
        f"moves {share:.2%} of their pixels to 0 or 255"
    )
    return [
        Problem.warning(
            "jpeg-masks", got, "Borders may be off by a pixel; take PNG masks where there are some.", list(lossy)
        )
    ]


def _read_by_color(mask: MaskValues, coding: LabelCoding) -> bool:
    if mask.is_color:
        return any(key != (key & 255) * 0x010101 for key in mask.counts)
    values = np.array(list(mask.counts), dtype=np.int64)
    return coding.palette_colors(StoredMask(values, False, mask.palette, mask.mode)) is not None


def _unasked(
    files: Mapping[str, Mapping[int, int]], counts: Mapping[int, int], coding: LabelCoding, wording: Wording
) -> list[Problem]:
    """Values with a meaning that nobody gave them."""
    classes = coding.classes
    mixed = mixed_coding(files)
    wrong = mixed is not None and {v for v, own in mixed.levels.items() if classes.get(v) != classes.get(own)}
    if mixed is not None and wrong:
        declared = wrong <= set(coding.ignored) - set(coding.assumed)
        return [mixed.problem(wording, severity="warning" if declared else "error")]
    unasked = {value: counts[value] for value in coding.assumed if value in counts}
    if not unasked:
        return []
    shown = value_ranges(unasked)
    if len(set(classes.values())) == 2 and len(counts) - len(unasked) <= 1:
        got = (
            f"{value_ranges(counts)} only, and {shown} is ignored: no foreground is left in {len(files)} {wording.what}"
        )
        expected = f"{wording.what} of 0 and 1"
        return [Problem.error("masks-0-255", expected, got, wording.foreground, list(files))]
    share = sum(unasked.values()) / sum(counts.values())
    got = f"{share:.2%} of the pixels of the {wording.what} hold {shown} and are ignored, which nothing declares"
    return [Problem.warning("ignored-undeclared", got, wording.ignored.format(value=max(unasked)))]


def _moved(found: Mapping[str, MaskValues], coding: LabelCoding, wording: Wording) -> list[Problem]:
    """Pixels whose values are no class, where ``"unknown"`` gives them a meaning."""
    if coding.unknown == "error":
        return []
    counts: Counter[int] = Counter()
    strange: Counter[int | tuple[int, ...]] = Counter()
    colors = set() if coding.palette is None else {*coding.palette.colors, coding.palette.ignore_color}
    for mask in found.values():
        if not _read_by_color(mask, coding):
            counts.update(own := grey_counts(mask))
            strange.update({value: pixels for value, pixels in own.items() if value not in coding.table})
        elif mask.is_color:
            named_colors = {(key >> 16, key >> 8 & 255, key & 255): pixels for key, pixels in mask.counts.items()}
            strange.update({color: pixels for color, pixels in named_colors.items() if color not in colors})
    if not strange:
        return []
    total = sum(mask.pixels for mask in found.values())
    share = sum(strange.values()) / total
    listing = ", ".join(f"{value} ({pixels / total:.2%})" for value, pixels in strange.most_common(4))
    more = f" and {len(strange) - 4} more values" if len(strange) > 4 else ""
    fate = "take the nearest class" if coding.unknown == "nearest" else "are ignored"
    got = f"{share:.2%} of the pixels of the {wording.what} hold values that are no class and {fate}: {listing}{more}"
    real = set(real_values(counts))
    meant = [value for value, pixels in strange.items() if value in real or pixels >= _SHARE_OF_MANY * total]
    if meant and coding.unknown == "nearest":
        advice = f"{named(list(map(str, meant)))}: so large a share is no stray value. Give it a class of its own."
        return [Problem.warning("values-moved", got, advice)]
    make = Problem.note if share < _STRAY else Problem.warning
    return [make("values-moved", got, "That is as it should be for stray values at borders; otherwise check them.")]
