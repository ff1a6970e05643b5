"""Does my batch fit? What each loss needs beyond the logits, in plain words."""

from __future__ import annotations

from typing import Final

from segcrit.apps.bench.records import Panel, Row
from segcrit.core.numbers import memory

__all__ = ["MARGIN", "fit_rows", "fit_sentence"]

# Not all that is free should be taken: other programs, fragmentation, the network's own tensors.
MARGIN: Final = 0.9

FIT_HEAD: Final = ("loss", "library", "beyond logits", "fits here", "largest batch")


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
    return [_line(panel, row, needed) for row in panel.rows if (needed := _needed(row)) is not None]


def _needed(row: Row) -> int | None:
    return row.estimated if row.extra is None else row.extra


def _line(panel: Panel, row: Row, needed: int) -> list[str]:
    about = "about " if row.extra is None else ""
    problem = row.problem
    batch, fits = "", ""
    if panel.free is not None:
        each = (problem.logits_bytes + problem.target_bytes + needed) / problem.shape[0]
        largest = int(panel.free * MARGIN / each)
        fits = "yes" if largest >= problem.shape[0] else "no"
        batch = str(largest)
    return [row.kind, _library(row), about + memory(needed), fits, batch]


def _library(row: Row) -> str:
    return (
        row.library
        if row.library.startswith("segcrit") or row.library == "torch.compile"
        else f"{row.library}: {row.name}"
    )
