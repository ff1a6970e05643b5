"""Problems of a data folder, collected so that all of them can be told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from segcrit.core.errors import DataError
from segcrit.core.quantities import worded

__all__ = ["FolderError", "Problem", "named", "several"]

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One kind of problem of a data set.

    Attributes:
        severity: ``"error"`` makes training impossible, ``"warning"`` makes it doubtful, ``"note"`` is worth knowing.
        code: a short stable name, for machines.
        expected: what was expected, a noun phrase; empty for warnings and notes.
        got: what came instead.
        advice: what to do, a sentence.
        files: names of the files, at most the first twenty.
        count: number of files it concerns, 0 where it is not about files.
    """

    severity: Severity
    code: str
    expected: str
    got: str
    advice: str
    files: tuple[str, ...] = ()
    count: int = 0

    @classmethod
    def error(
        cls, code: str, expected: str, got: str, advice: str, files: Sequence[str] = (), count: int | None = None
    ) -> Problem:
        """A problem that makes training impossible, with the files it concerns."""
        return cls("error", code, expected, got, advice, tuple(files[:20]), len(files) if count is None else count)

    @classmethod
    def warning(cls, code: str, got: str, advice: str, files: Sequence[str] = ()) -> Problem:
        """A problem that makes results doubtful; ``got`` is a whole sentence without its full stop."""
        return cls("warning", code, "", got, advice, tuple(files[:20]), len(files))

    @classmethod
    def note(cls, code: str, got: str, advice: str, files: Sequence[str] = ()) -> Problem:
        """Something worth knowing; ``got`` is a whole sentence without its full stop."""
        return cls("note", code, "", got, advice, tuple(files[:20]), len(files))

    @property
    def message(self) -> str:
        """One line: what is the matter and what to do."""
        found = f"expected {self.expected}, got {self.got}" if self.expected else self.got
        return f"{found}. {self.advice}"

    @property
    def noted(self) -> str:
        """The message among notes, which begins with how serious it is."""
        return f"{self.severity.capitalize()}: {self.message}"

    def worded(self, spatial_dims: int) -> Problem:
        """The same in the words for images or for volumes."""
        expected, got, advice = (worded(text, spatial_dims) for text in (self.expected, self.got, self.advice))
        return replace(self, expected=expected, got=got, advice=advice)

    def to_dict(self) -> dict[str, object]:
        """JSON types."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "expected": self.expected,
            "got": self.got,
            "advice": self.advice,
            "files": list(self.files),
            "count": self.count,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Problem:
        """What :meth:`to_dict` gave."""
        names = ("severity", "code", "expected", "got", "advice")
        given = {name: content.get(name, "") for name in names}
        if not given["got"]:
            given["got"] = str(content.get("message", "")).rstrip(".")
        return cls(**given, files=tuple(content.get("files", ())), count=int(content.get("count", 0)))


class FolderError(DataError):
    """A data folder that cannot be used; ``problems`` lists every reason, the message tells the first.

    Example:
        >>> problem = Problem("error", "no-masks", "a folder masks/", "none", "Add it.")
        >>> str(FolderError([problem]))
        'expected a folder masks/, got none. Add it.'
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        others = sorted({problem.code for problem in self.problems[1:]})
        more = f" There are further problems ({', '.join(others)}): segcrit inspect lists them." if others else ""
        super().__init__(first.expected, first.got, first.advice + more, code=first.code)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


def named(names: Sequence[str], most: int = 4) -> str:
    """The first few names and how many more there are.

    Example:
        >>> named(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def several(items: Sequence[object], noun: str) -> str:
    """How many there are of a kind.

    Example:
        >>> several(["a"], "image"), several(["a", "b"], "image")
        ('1 image', '2 images')
    """
    return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"
