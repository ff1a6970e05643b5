"""The result of a measurement as plain data: what is written to JSON, and read back by tables, plots and documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from segcrit.apps.bench.problems import Problem
from segcrit.core.atomic import atomic_write_text
from segcrit.core.errors import DataError
from segcrit.core.json_files import decode, encode, read_json

__all__ = ["SCHEMA_VERSION", "Memory", "Panel", "Result", "Row", "Timing", "Verdict"]

SCHEMA_VERSION: Final = 2


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one step over several runs.

    Attributes:
        median: half of the runs were faster.
        low: 20 % of the runs were faster.
        high: 20 % of the runs were slower.
        runs: how many there were.
    """

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Memory:
    """Bytes that a step needed at its peak beyond logits and target, its gradient included.

    Attributes:
        resident: growth of the process's resident memory; None where the system does not tell.
        allocated: peak of what torch's allocator held. Kernels of other libraries may allocate beside it.
    """

    resident: int | None
    allocated: int | None

    @property
    def peak(self) -> int | None:
        """The resident memory where it is known, otherwise what torch's allocator held."""
        return self.allocated if self.resident is None else self.resident


@dataclass(frozen=True)
class Row:
    """One contender of a panel.

    Attributes:
        kind: what is computed: a loss expression, or a word for an evaluation.
        library: who computes it.
        name: what it is called there.
        problem: what it was computed on.
        value: the loss or the mean IoU.
        note: how the value differs by definition.
        time: forward and backward, or counting.
        memory: peak beyond logits and target.
        estimated: bytes beyond logits and target, from small problems, where the real one was too large.
        value_error: Lovász only: relative difference from a float64 sort.
        gradient_cosine: Lovász only: cosine of the angle to the float64 gradient.
        not_run: why it was not measured; empty where it was.
    """

    kind: str
    library: str
    name: str
    problem: Problem
    value: float | None = None
    note: str = ""
    time: Timing | None = None
    memory: Memory | None = None
    estimated: int | None = None
    value_error: float | None = None
    gradient_cosine: float | None = None
    not_run: str = ""

    @property
    def label(self) -> str:
        """Library and name; the library alone where it calls the loss as it is written."""
        return self.library if self.name == self.kind else f"{self.library}: {self.name}"

    @property
    def extra(self) -> int | None:
        """Measured bytes beyond logits and target."""
        return None if self.memory is None else self.memory.peak


@dataclass(frozen=True)
class Panel:
    """Rows that were measured in the same turns, so that their ratios mean something.

    Attributes:
        key: short name that targets refer to.
        problem: what the copy and the read are of; rows with another problem are variants of it.
        free: bytes of memory that were free before; None where the system does not tell.
        copy: copy of the logits into a buffer that exists and has been touched.
        reads: the same for a sum and for a maximum of the logits.
        rows: the contenders.
    """

    key: str
    problem: Problem
    free: int | None = None
    copy: Timing | None = None
    reads: dict[str, Timing] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    @property
    def read(self) -> Timing | None:
        """The faster of the reads."""
        return min(self.reads.values(), key=lambda timing: timing.median, default=None)

    @property
    def read_by(self) -> str:
        """Name of the faster read."""
        return min(self.reads, key=lambda name: self.reads[name].median, default="")


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured.

    Attributes:
        name: the target in words.
        demand: ``">= 8"`` or ``"<= 1.15"``.
        measured: the ratio or figure; None where something was not measured.
        status: ``"met"``, ``"not met"``, ``"not measured"`` or ``"does not apply"``.
        detail: what was compared, or why it was not.
        reachable: where less than what is asked for is in reach of any implementation, the ratio that is: the other's time
            over that of two reads and one write of the logits.
    """

    name: str
    demand: str
    measured: float | None
    status: str
    detail: str
    reachable: float | None = None


@dataclass(frozen=True)
class Result:
    """A whole measurement.

    Attributes:
        date: ISO date and time, UTC.
        commit: state of the source, where it is known.
        machine: processor, caches, memory, threads.
        versions: of Python and of every package that took part.
        engines: engines of segcrit that can run here.
        settings: how it was measured.
        panels: what was measured.
        verdicts: targets.
        interrupted: stopped before its end.
    """

    date: str
    commit: str | None
    machine: dict[str, Any]
    versions: dict[str, str]
    engines: dict[str, str]
    settings: dict[str, Any]
    panels: tuple[Panel, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    interrupted: bool = False

    def panel(self, key: str) -> Panel | None:
        """The panel of that name."""
        return next((panel for panel in self.panels if panel.key == key), None)

    def with_panel(self, panel: Panel) -> Result:
        """The result with one panel more."""
        return replace(self, panels=(*self.panels, panel))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the schema's version first."""
        return {"schema_version": SCHEMA_VERSION, **encode(self)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Result:
        """The inverse of :meth:`to_dict`.

        Raises:
            DataError: it is the result of another version, or something else.
        """
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(
                f"a measurement of schema version {SCHEMA_VERSION}", f"version {version}", "Measure again: make bench."
            )
        return decode(cls, content, "result", advice="Measure again: make bench.")

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        atomic_write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is no measurement of this version.
        """
        return cls.from_dict(read_json(Path(path), "a measurement", "Measure again: make bench."))
