"""Names that tell of series: a common stem and a running number, such as slices of a patient or frames of a drive."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from segcrit.data.problems import Problem, named

__all__ = ["Series", "divided_series", "find_series"]

# Numbers of a name, counted from its end, of which each may be the running one.
_MOST_NUMBERS: Final = 5
# Fewer series cannot be divided into train, val and test.
_FEWEST: Final = 3
_SHARE: Final = 0.5
# Expressions that a person would write, tried before the one that always fits.
_PLAIN: Final = (r"^\D*\d+", r"^[^_]+", r"^[^-]+", r"^[^/]+", r"^[^_]+_[^_]+")


@dataclass(frozen=True)
class Series:
    """Images that belong together by their names.

    Attributes:
        groups: for every id its series.
        pattern: an expression that finds the series in the ids.
    """

    groups: Mapping[str, str]
    pattern: str


def find_series(ids: Sequence[str]) -> Series | None:
    """The series that names tell of, the largest that there are; None where names are no more than numbered.

    A number of a name is a running one if most images share what stands before it with others, and if it rises in
    equal steps there.

    Example:
        >>> names = [f"patient{patient}_slice_{slice}" for patient in range(4) for slice in range(5)]
        >>> find_series(names).pattern, find_series([f"image_{number}" for number in range(20)])
        ('^\\\\D*\\\\d+', None)
    """
    numbers = {name: list(re.finditer(r"\d+", name)) for name in ids}
    for place in range(min(_MOST_NUMBERS, max((len(found) for found in numbers.values()), default=0)), 0, -1):
        stems: dict[str, list[tuple[str, int]]] = {}
        for name, found in numbers.items():
            if len(found) >= place:
                match = found[-place]
                stems.setdefault(name[: match.start()], []).append((name, int(match[0])))
        groups = {name: stem for stem, members in stems.items() for name, _ in members}
        running = [members for members in stems.values() if _runs({number for _, number in members})]
        members = sum(map(len, running))
        if len(groups) == len(numbers) and len(stems) >= _FEWEST and members > _SHARE * len(numbers):
            return Series(groups, _pattern(groups, place))
    return None


def _runs(numbers: set[int]) -> bool:
    """Whether numbers rise in steps of which most are equal; two numbers do."""
    ordered = sorted(numbers)
    steps = Counter(second - first for first, second in itertools.pairwise(ordered))
    return bool(steps) and steps.most_common(1)[0][1] >= _SHARE * steps.total()


def _pattern(groups: Mapping[str, str], place: int) -> str:
    """The plainest expression that divides the ids as ``groups`` do."""
    for pattern in _PLAIN:
        found = {name: re.search(pattern, name) for name in groups}
        keys = {(groups[name], match[0] if match else None) for name, match in found.items()}
        if len(keys) == len(set(groups.values())) == len({key for _, key in keys}) and all(found.values()):
            return pattern
    return rf"^(.*?)[_\-. /]*\d+(?:\D+\d+){{{place - 1}}}\D*$"


def divided_series(splits: Mapping[str, Sequence[str]]) -> list[Problem]:
    """A warning about series of which images stand in several splits, and how to mend it; nothing where none do."""
    series = find_series([name for names in splits.values() for name in names])
    if series is None:
        return []
    places: dict[str, dict[str, str]] = {}
    for split, names in splits.items():
        for name in names:
            places.setdefault(series.groups[name], {}).setdefault(split, name)
    torn = [found for found in places.values() if len(found) > 1]
    if not torn:
        return []
    shown = [f"{name} in {split}" for split, name in torn[0].items()]
    return [
        Problem.warning(
            "series-divided",
            f"Names tell of {len(places)} series (slices of a patient, frames of a drive, tiles of a scene), and images of "
            f"{len(torn)} of them stand in several splits ({named(shown)}), which makes test figures too good",
            f"Pass --group-by '{series.pattern}' to keep each together, or --group-by '.+' if every image stands alone.",
            shown,
        )
    ]
