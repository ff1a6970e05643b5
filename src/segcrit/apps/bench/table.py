"""A measurement as rows of text; the command line, the documentation and the README lay them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from segcrit.apps.bench.records import Panel, Result, Row, Timing, Verdict
from segcrit.core.numbers import counted, duration, memory, significant

__all__ = [
    "FIT_HEAD",
    "HEAD",
    "HEAD_MEANING",
    "MARGIN",
    "PRECISION_HEAD",
    "TARGET_HEAD",
    "about_machine",
    "about_panel",
    "comparable",
    "fit_rows",
    "fit_sentence",
    "not_run",
    "panel_rows",
    "precision_rows",
    "target_rows",
]

HEAD: Final = ("what", "library", "ms", "20 – 80 %", "runs", "× copy", "vs eager", "vs compiled", "MiB", "× logits")
HEAD_MEANING: Final = (
    "ms: median of the runs; × copy: times a copy of the logits; vs eager, vs compiled: how many times faster than "
    "PyTorch's own operations on the same logits; MiB, × logits: peak memory beyond the logits, gradient included."
)
PRECISION_HEAD: Final = ("library", "value", "relative error", "cosine of the gradient")
TARGET_HEAD: Final = ("target", "asked for", "measured", "")
FIT_HEAD: Final = ("loss", "library", "beyond logits", "fits here", "largest batch")
# Not all that is free should be taken: other programs, fragmentation, the network's own tensors.
MARGIN: Final = 0.9
_MIB: Final = float(1 << 20)
_BASES: Final = ("torch", "torch.compile")  # what the two columns of speed compare with


def about_machine(result: Result) -> str:
    """Machine, versions and date in a sentence."""
    machine = result.machine
    cache = machine["last_level_cache_bytes"]
    words = [
        str(machine["processor"]),
        counted(machine["threads"], "thread"),
        str(machine["vector_instructions"]),
        *([f"last-level cache {memory(cache)}"] if cache else []),
        *([f"memory {memory(machine['memory_bytes'])}"] if machine["memory_bytes"] else []),
    ]
    versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    engine = list(result.engines.values())[-1]
    return f"{', '.join(words)}. {versions}. Engine of the segcrit rows: {engine}. Measured on {result.date[:10]}."


def about_panel(panel: Panel) -> str:
    """What a copy and a read of the logits take."""
    sentence = f"Logits {memory(panel.problem.logits_bytes)}"
    if panel.problem.upsample != 1:
        sentence += f", {memory(panel.problem.full_bytes)} at the size of the labels"
    if panel.copy is not None:
        sentence += f"; a copy of them takes {duration(panel.copy.median / 1e3)}"
    if panel.read is not None:
        sentence += f", a read {duration(panel.read.median / 1e3)} ({panel.read_by})"
    return sentence + "."


def panel_rows(panel: Panel) -> list[list[str]]:
    """The rows of a panel's table, below ``HEAD``; what was not run says so in its second column."""
    return [_cells(panel, row) for row in panel.rows]


def precision_rows(panel: Panel) -> list[list[str]]:
    """What was compared with a float64 sort, below ``PRECISION_HEAD``."""
    return [
        [row.label, f"{row.value:.7f}", f"{row.value_error:.1e}", f"{row.gradient_cosine:.7f}"]
        for row in panel.rows
        if row.value_error is not None and row.gradient_cosine is not None
    ]


def _cells(panel: Panel, row: Row) -> list[str]:
    what = row.kind if row.problem == panel.problem else f"{row.kind}, {_variant(row)}"
    if row.time is None:
        reason = "not installed" if row.not_run == "not installed" else "not run"
        return [what, f"{row.label} ({reason})", *[""] * 8]
    extra = row.extra
    return [
        what,
        row.label,
        significant(row.time.median),
        f"{significant(row.time.low)} – {significant(row.time.high)}",
        str(row.time.runs),
        _ratio(row.time, panel.copy if row.problem == panel.problem else None),
        *(_ratio(_base(panel, row, library), row.time) for library in _BASES),
        "" if extra is None else significant(extra / _MIB),
        "" if extra is None else f"{extra / row.problem.full_bytes:.2f}",
    ]


def _variant(row: Row) -> str:
    layout = ", channels last" if row.problem.channels_last else ""
    return f"{row.problem.dtype}{layout}"


def _base(panel: Panel, row: Row, library: str) -> Timing | None:
    found = comparable(panel.rows, row, library)
    return None if found is None else found.time


def comparable(rows: Iterable[Row], row: Row, library: str) -> Row | None:
    """The first measured row of a library that computes the same on the same logits."""
    return next(
        (
            other
            for other in rows
            if other.library == library
            and other.kind == row.kind
            and other.problem == row.problem
            and other.time is not None
        ),
        None,
    )


def _ratio(top: Timing | None, bottom: Timing | None) -> str:
    return "" if top is None or bottom is None else significant(top.median / bottom.median)


def not_run(panel: Panel) -> list[str]:
    """A line for each reason why something was not measured, with everything that it kept."""
    reasons: dict[str, list[str]] = {}
    for row in panel.rows:
        if row.not_run:
            reasons.setdefault(row.not_run, []).append(f"{row.library} {row.name} ({row.kind})")
    return [f"{reason}: {'; '.join(names)}" for reason, names in reasons.items()]


def target_rows(result: Result) -> list[list[str]]:
    """Every target with what was measured."""
    return [
        [
            verdict.name,
            verdict.demand,
            "" if verdict.measured is None else _figure(verdict.measured),
            _status(verdict),
        ]
        for verdict in result.verdicts
    ]


def _status(verdict: Verdict) -> str:
    if verdict.measured is None:
        return f"{verdict.status}: {verdict.detail}"
    if verdict.reachable is not None:
        return f"{verdict.status}; the speed of memory allows {_figure(verdict.reachable)}"
    return verdict.status


def _figure(value: float) -> str:
    # Three digits would round a cosine of 0.99995 to 1.
    return f"{value:.6f}" if 0.99 < value < 1 else f"{value:.3g}"


def fit_sentence(panel: Panel) -> str:
    """What there is, before any loss."""
    problem = panel.problem
    there = f"Logits take {memory(problem.logits_bytes)}, the target {memory(problem.target_bytes)}"
    if problem.upsample != 1:
        there += f" (the logits at its size would be {memory(problem.full_bytes)})"
    free = "how much memory is free is unknown here" if panel.free is None else f"{memory(panel.free)} are free"
    return f"{there}; {free}. The network and its activations come on top."


def fit_rows(panel: Panel) -> list[list[str]]:
    """A line for each loss whose need is known: measured, or estimated from small sizes ("about")."""
    return [_fit_cells(panel, row, needed) for row in panel.rows if (needed := _needed(row)) is not None]


def _needed(row: Row) -> int | None:
    return row.estimated if row.extra is None else row.extra


def _fit_cells(panel: Panel, row: Row, needed: int) -> list[str]:
    about = "about " if row.extra is None else ""
    problem = row.problem
    batch, fits = "", ""
    if panel.free is not None:
        each = (problem.logits_bytes + problem.target_bytes + needed) / problem.shape[0]
        largest = int(panel.free * MARGIN / each)
        fits = "yes" if largest >= problem.shape[0] else "no"
        batch = str(largest)
    return [row.kind, row.label, about + memory(needed), fits, batch]
