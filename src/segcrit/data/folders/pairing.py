"""Which file belongs to which: the one rule by which images, masks, predictions and whatever lies beside them are paired.

Files are paired by their names, their path without ending. Where these differ, what makes them match is left out, by
the first of these ways that pairs nearly all names, or else the one that pairs most:

1. nothing: the names are equal (Unicode forms aside);
2. an ending that many names of a folder share: ``_mask``, ``_gtFine_labelIds``;
3. words that tell what a file is, wherever they stand: ``image_1`` and ``mask_1``;
4. the folders that the files lie in;
5. the difference between upper and lower case.

An expression given by the user replaces 2, 3 and 5.
"""

from __future__ import annotations

import re
import reprlib
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from segcrit.core.errors import DataError, ParameterError
from segcrit.data.problems import named

__all__ = ["Pairing", "compiled", "pair_beside", "pair_names", "split_word"]

_SEPARATORS = "_-. /"
# Names of a folder that are looked at to find the endings they share.
_SAMPLE = 200
# A way that pairs this share of the smaller folder is taken at once.
_NEARLY_ALL = 0.9
# Another ending that pairs this share of what the best one pairs is another kind of file of the same images.
_SEVERAL = 0.5
# Words that tell what a file is, not which image it belongs to.
_ROLES = (
    "images?|imgs?|im|photos?|pictures?|inputs?|scans?|masks?|labels?|lbl|gts?|groundtruth|truth|targets?|"
    "seg|segs|segmentations?|annotations?|annots?|ann|preds?|predictions?|predicted|outputs?|out|results?"
)
_ROLE = re.compile(rf"(?<![^\W_])({_ROLES})(?:[_\-. ]+|(?=\d)|$|(?=/))", re.IGNORECASE)
# Kinds of files that are made from the labels and show something else: colours for people, numbers of objects.
_DERIVED = re.compile(r"(?i)[_\-.](color|colour|colors|instanceIds|instanceTrainIds|instances|polygons|panoptic|vis)$")
# Of Cityscapes' two numberings, the one that is made for training.
_PREFERRED = "labeltrainids"
# Expressions that are tried where nothing pairs: one number, its zeros left out, or all but a last number.
_HINTS = (r"(\d+)", r"0*(\d+)", r"^(.+?)(?:_\d+)?$", r"^(.+)_\d+$")
_SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Pairing:
    """Names of two folders, by the id that they share.

    Attributes:
        first: id -> name, of every name of the first folder; those without a partner have an id as well.
        second: the same of the second folder.
        how: how they were paired, a sentence; empty where the names are equal.
        others: names that were passed over, because they are another kind of file of the same images.
        preferred: whether ``how`` is a choice between two kinds of labels.
        tried: each way that was tried, and how many names it pairs.
    """

    first: Mapping[str, str]
    second: Mapping[str, str]
    how: str = ""
    others: tuple[str, ...] = ()
    preferred: bool = False
    tried: tuple[tuple[str, int], ...] = ()

    @property
    def common(self) -> list[str]:
        """The ids that both folders have, sorted."""
        return sorted(set(self.first) & set(self.second))

    def listing(self) -> str:
        """What was tried, and what the user can do, in sentences."""
        ways = "; ".join(f"{way} ({count} pairs)" for way, count in self.tried)
        return f"Tried: {ways}. {self._hint()}"

    def _hint(self) -> str:
        """The expression that would pair them; an example where none is known."""
        names = [list(side.values()) for side in (self.first, self.second)]
        starts = [_start(listed) for listed in names]
        rests = [{name.removeprefix(start) for name in listed} for listed, start in zip(names, starts, strict=True)]
        if any(starts) and rests[0] & rests[1]:
            parts = [start for start in dict.fromkeys(starts) if start]
            pattern = "|".join(f"^{re.escape(start)}(.+)" for start in parts)
            return (
                f"If they belong together without {' and '.join(map(repr, parts))}, pass --pair {shlex.quote(pattern)}."
            )
        for pattern in _HINTS:
            one, two = ({match[1] for name in listed if (match := re.search(pattern, name))} for listed in names)
            if one & two and [len(one), len(two)] == [len(listed) for listed in names]:
                return f"If names in which it finds the same belong together, pass --pair {shlex.quote(pattern)}."
        return "Pass --pair and an expression whose bracket finds in each name what both share."


@dataclass(frozen=True)
class _Way:
    """One way to make ids of the names of both folders."""

    left_out: str
    first: Mapping[str, str]
    second: Mapping[str, str]
    endings: tuple[str, str] = ("", "")

    @property
    def count(self) -> int:
        return len(self.first.keys() & self.second.keys())


def compiled(pattern: str, option: str = "pair") -> re.Pattern[str]:
    """The expression of an option.

    Raises:
        ParameterError: it cannot be read.
    """
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:  # nested too deeply, or {1000000000000} times
        shown = f"{reprlib.repr(pattern)} ({error})"
        raise ParameterError(f"a regular expression as {option}", shown, "Correct it.") from error


def split_word(text: str) -> str | None:
    """The split that a folder's name means.

    Example:
        >>> split_word("training"), split_word("val2017"), split_word("Test"), split_word("trainer")
        ('train', 'val', 'test', None)
    """
    return _SPLIT_WORDS.get(re.sub(r"\d+$", "", text.lower()))


def pair_names(
    first: Collection[str],
    second: Collection[str],
    pattern: str | None = None,
    what: tuple[str, str] = ("images", "masks"),
) -> Pairing:
    """Pair the names of two folders.

    Args:
        first: names of the first folder: paths without ending.
        second: names of the second folder.
        pattern: an expression searched in each name; its first bracket that matched, or the whole match, is the id.
            In a folder where it matches none, the names are ids; where it matches some, the others are passed over.
        what: what the folders hold, for sentences.

    Raises:
        DataError: several files of each image could be meant, or the expression gives two files one id.
        ParameterError: the expression cannot be read.

    Example:
        >>> pairing = pair_names(["a_1", "a_2"], ["a_1_mask", "a_2_mask"])
        >>> pairing.common, pairing.how
        (['a_1', 'a_2'], "Paired by leaving out '_mask' at the end of the names of the masks.")
    """
    if pattern is not None:
        return _by_pattern(first, second, pattern, what)
    enough = max(1, _NEARLY_ALL * min(len(first), len(second)))
    tried: list[_Way] = []
    try:
        for way in _all_ways(first, second, enough, what):
            tried.append(way)
            if way.count >= enough:
                break
    except DataError:
        if not any(way.count for way in tried):
            raise
    best = max(tried, key=lambda way: way.count)
    return _paired(best if best.count else tried[0], tried, what)


def _all_ways(first: Collection[str], second: Collection[str], enough: float, what: tuple[str, str]) -> Iterable[_Way]:
    """All ways, simple ones first."""
    plain = [{name: name for name in names} for names in (first, second)]
    folded = [{name.casefold(): name for name in names} for names in (first, second)]
    unique = len(folded[0]) == len(first) and len(folded[1]) == len(second)
    if len(plain[0].keys() & plain[1].keys()) >= enough or not (
        unique and len(folded[0].keys() & folded[1].keys()) >= enough
    ):
        yield from _ways(plain[0], plain[1], what, "")
        flat = [_flat(names) for names in (first, second)]
        if flat != plain:
            yield from (way for way in _ways(flat[0], flat[1], what, "their folders") if not _contradict(way))
    else:
        yield _Way("", plain[0], plain[1])
    if unique:
        yield from map(_in_own_case, _ways(folded[0], folded[1], what, "the difference of upper and lower case"))


def _ways(first: Mapping[str, str], second: Mapping[str, str], what: tuple[str, str], also: str) -> Iterable[_Way]:
    """Ways to make the ids match, simple ones first; ``also`` is what was left out already."""
    yield _Way(also, first, second)
    also = also and f" and {also}"
    by_ending = _by_ending(first, second, what)
    if by_ending is not None:
        yield _Way(f"{by_ending.left_out}{also}", by_ending.first, by_ending.second, by_ending.endings)
    words = [_without_roles(names) for names in (first, second)]
    if words[0][1] or words[1][1]:
        told = ", ".join(sorted({repr(word) for _, found in words for word in found}))
        yield _Way(f"the words {told}{also}", words[0][0], words[1][0])


def _paired(way: _Way, tried: Sequence[_Way], what: tuple[str, str]) -> Pairing:
    first, second, others = dict(way.first), dict(way.second), []
    how, preferred = "", False
    counted = tuple((f"without {entry.left_out}" if entry.left_out else "equal names", entry.count) for entry in tried)
    if way.count and way.left_out:
        how = f"Paired by leaving out {way.left_out}."
        for side, ending in ((first, way.endings[0]), (second, way.endings[1])):
            other = second if side is first else first
            if not ending:
                continue
            # Files that are called as the paired ones but for another ending are another kind of file of them.
            kinds = [
                key
                for key, name in side.items()
                if key not in other and not name.casefold().endswith(ending.casefold()) and _sibling(key, other, ending)
            ]
            others += [side.pop(key) for key in sorted(kinds)]
    if others:
        how += f" Other files of the same names are passed over ({len(others)}): {named(others, 3)}."
        preferred = any(_PREFERRED in ending.lower() for ending in way.endings)
        preferred = preferred and any("labelids" in name.lower() for name in others)
    return Pairing(first, second, how, tuple(others), preferred, counted)


def _sibling(name: str, ids: Mapping[str, str], ending: str) -> bool:
    """Whether a name is one of the ids with another ending that begins as ``ending`` does, or goes on after it."""
    inner = max(ending.rfind(mark) for mark in "_-.")
    start = ending[: inner + 1] if inner > 0 else ending
    place = name.find(start, 1)
    while place > 0:
        if name[:place] in ids:
            return True
        place = name.find(start, place + 1)
    return False


def pair_beside(
    names: Sequence[Mapping[str, str]], files: Collection[str], pattern: str | None = None, what: str = "files"
) -> dict[str, str]:
    """Files that lie beside images: id -> name of the file, by whichever names of the images pair most of them.

    So ``01_test_mask`` belongs to ``01_test``, whose label map is called ``01_manual``.

    Args:
        names: mappings of names, such as those of images or of masks, to ids.
        files: names of the files.
        pattern: as in :func:`pair_names`.
        what: what the files are, for sentences.
    """
    best: dict[str, str] = {}
    for own in names:
        pairing = pair_names(own, files, pattern, ("images", what))
        found = {own[pairing.first[key]]: pairing.second[key] for key in pairing.common}
        if len(found) > len(best):
            best = found
        if len(best) == min(len(own), len(files)):
            break
    return best


def _by_ending(first: Mapping[str, str], second: Mapping[str, str], what: tuple[str, str]) -> _Way | None:
    """The endings of both folders that pair most names, the shortest of these.

    Raises:
        DataError: several kinds of files belong to each image.
    """
    shortened = [
        {"": dict(side)} | {ending: _without_ending(side, ending) for ending in _endings(side)}
        for side in (first, second)
    ]
    counts = {
        (one, two): len(shortened[0][one].keys() & shortened[1][two].keys())
        for one in shortened[0]
        for two in shortened[1]
        if (one or two) and not _other_split(one, two)
    }
    most = max(counts.values(), default=0)
    if not most:
        return None
    # The shortest ending of each kind of file: what remains tells images apart as well as it can.
    likely = sorted(
        (pair for pair, count in counts.items() if count >= _SEVERAL * most), key=lambda p: len(p[0] + p[1])
    )
    kinds: list[tuple[str, str]] = []
    for pair in likely:
        if not any(pair[0].endswith(kept[0]) and pair[1].endswith(kept[1]) for kept in kinds):
            kinds.append(pair)
    kinds.sort(key=lambda pair: -counts[pair])
    paired = [shortened[0][one].keys() & shortened[1][two].keys() for one, two in kinds]
    # Kinds that hold other images than the best one are names given in another way, not further files of its images.
    rivals = [kind for kind, ids in zip(kinds, paired, strict=True) if 2 * len(ids & paired[0]) >= len(ids)]
    chosen = _one_kind(rivals, first, second, what)
    parts = [
        f"{ending!r} at the end of the names of the {name}" for ending, name in zip(chosen, what, strict=True) if ending
    ]
    return _Way(" and ".join(parts), shortened[0][chosen[0]], shortened[1][chosen[1]], chosen)


def _one_kind(
    kinds: Sequence[tuple[str, str]], first: Mapping[str, str], second: Mapping[str, str], what: tuple[str, str]
) -> tuple[str, str]:
    """The kind of file that is meant, where there are several of each image."""
    plain = [pair for pair in kinds if not any(_DERIVED.search(ending) for ending in pair)] or list(kinds)
    preferred = [pair for pair in plain if any(ending.lower().endswith(_PREFERRED) for ending in pair)]
    if len(plain) > 1 and len(preferred) == 1 and all("label" in "".join(pair) for pair in plain):
        return preferred[0]
    # Endings of one side that all fit one and the same of the other are several files of an image; else any will do.
    if len(plain) > 1 and len({pair[0] for pair in plain}) > 1 and len({pair[1] for pair in plain}) > 1:
        return plain[0]
    if len(plain) > 1:
        side = 0 if len({pair[0] for pair in plain}) > 1 else 1
        options = [pair[side] for pair in plain]
        names = [min(name for name in (first, second)[side] if name.endswith(ending)) for ending in options]
        choices = " or ".join(f"--pair {shlex.quote(_pattern_of(pair))}" for pair in plain[:3])
        raise DataError(
            f"one file for each image among the {what[side]}, or --pair to choose",
            f"{len(options)} kinds of them: {named(names, 4)}",
            f"Choose with {choices}.",
        )
    return plain[0]


def _pattern_of(endings: tuple[str, str]) -> str:
    return "|".join(f"(.+){re.escape(ending)}$" for ending in dict.fromkeys(endings) if ending)


def _endings(names: Collection[str]) -> list[str]:
    """Endings, from a separator on, that many names share; no mere number, which tells images apart."""
    listed = list(names)
    sample = listed[:: max(1, len(listed) // _SAMPLE)]
    counts: Counter[str] = Counter()
    for name in sample:
        counts.update(
            name[place:]
            for place in range(1, len(name) - 1)
            if name[place] in _SEPARATORS and not name[place + 1 :].isdigit()
        )
    least = 1 if len(sample) < 4 else max(2, len(sample) // 10)
    return [ending for ending, count in counts.items() if count >= least]


def _start(names: Iterable[str]) -> str:
    """What all names begin with, up to a separator."""
    listed = sorted(names)
    first, last = listed[0], listed[-1]
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    start = first[:same]
    return start[: max(start.rfind(mark) for mark in _SEPARATORS) + 1]


def _without_ending(names: Mapping[str, str], ending: str) -> dict[str, str]:
    short = {key.removesuffix(ending): name for key, name in names.items() if key.endswith(ending) and key != ending}
    for key, name in names.items():
        if not key.endswith(ending):
            short.setdefault(key, name)
    return short


def _other_split(one: str, two: str) -> bool:
    """Whether endings tell different splits: ``1_train`` is not ``1_test``."""
    splits = [{split_word(word) for word in re.split(r"[_\-. /]", ending)} - {None} for ending in (one, two)]
    return bool(splits[0]) and bool(splits[1]) and splits[0] != splits[1]


def _without_roles(names: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Names without the words of :data:`_ROLES`, and these words; names that would become equal stay as they are."""
    found: dict[str, str] = {}
    words: set[str] = set()
    twice: set[str] = set()
    for key, name in names.items():
        base = PurePosixPath(key)
        short = _ROLE.sub("", base.name).strip(_SEPARATORS)
        if short and short != base.name:
            words |= {match[1].lower() for match in _ROLE.finditer(base.name)}
            short = str(base.with_name(short))
        else:
            short = key
        if short in found:
            twice.add(short)
        found[short] = name
    if twice:
        return dict(names), set()
    return found, words


def _in_own_case(way: _Way) -> _Way:
    """Ids of small letters as the first folder writes them, where they are the beginning of its name."""
    own = {key: name[: len(key)] if name.casefold().startswith(key) else key for key, name in way.first.items()}
    sides = ({own.get(key, key): name for key, name in side.items()} for side in (way.first, way.second))
    return replace(way, first=next(sides), second=next(sides))


def _flat(names: Collection[str]) -> dict[str, str]:
    """Names without their folders, or as they are where two would be equal."""
    found = {name.rpartition("/")[2]: name for name in names}
    return found if len(found) == len(names) else {name: name for name in names}


def _contradict(way: _Way) -> bool:
    """Whether files would be paired whose folders tell different splits."""
    for key in way.first.keys() & way.second.keys():
        splits = [{split_word(part) for part in side[key].split("/")[:-1]} - {None} for side in (way.first, way.second)]
        if splits[0] and splits[1] and not splits[0] & splits[1]:
            return True
    return False


def _by_pattern(first: Collection[str], second: Collection[str], pattern: str, what: tuple[str, str]) -> Pairing:
    expression = compiled(pattern)
    sides, others = [], []
    for names, kind in ((first, what[0]), (second, what[1])):
        ids: dict[str, str] = {}
        passed = []
        for name in names:
            match = expression.search(name)
            if match is None:
                passed.append(name)
                continue
            key = next((group for group in match.groups() if group is not None), match.group(0))
            if key in ids:
                raise DataError(
                    f"an expression that tells the {kind} apart (--pair {pattern!r})",
                    f"{key!r} for {ids[key]} and for {name}",
                    "Widen its bracket, or have it match only one of the two.",
                )
            ids[key] = name
        sides.append(ids or {name: name for name in names})
        others += passed if ids else []
    way = _Way(f"by {pattern!r}", sides[0], sides[1])
    if not way.count:
        flat = [{key.rpartition("/")[2]: name for key, name in side.items()} for side in sides]
        if all(len(short) == len(side) for short, side in zip(flat, sides, strict=True)):
            bare = _Way(f"by {pattern!r}, folders left out", flat[0], flat[1])
            way = bare if bare.count and not _contradict(bare) else way
    how = f"Paired {way.left_out}." + (f" It passes over {len(others)} files: {named(others, 3)}." if others else "")
    return Pairing(way.first, way.second, how, tuple(others), False, ((way.left_out, way.count),))
