"""Does my batch fit? What each loss needs beyond the logits, in plain words."""

from __future__ import annotations

from typing import Final

from segcrit.apps.bench.records import Panel, Row

__all__ = ["MARGIN", "fit_rows", "fit_sentence", "size_in_words"]

# Not all that is free should be taken: other programs, fragmentation, the network's own tensors.
MARGIN: Final = 0.9
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30

FIT_HEAD: Final = ("loss", "library", "beyond logits", "fits here", "largest batch")


def size_in_words(size: int | None) -> str:
    """A size in words.

    Example:
        >>> size_in_words(5 << 20), size_in_words(3 << 29), size_in_words(16 << 10), size_in_words(None)
        ('5.0 MiB', '1.5 GiB', '16 KiB', 'unknown')
    """
    if size is None:
        return "unknown"
    if size >= _GIB:
        return f"{size / _GIB:.1f} GiB"
    if size >= _MIB:
        return f"{size / _MIB:.0f} MiB" if size >= 10 * _MIB else f"{size / _MIB:.1f} MiB"
    return f"{size / 1024:.0f} KiB"


def fit_sentence(panel: Panel) -> str:
    """What there is, before any loss."""
    problem = panel.problem
    there = f"Logits take {size_in_words(problem.logits_bytes)}, the target {size_in_words(problem.target_bytes)}"
    if problem.upsample != 1:
        there += f" (the logits at its size would be {size_in_words(problem.full_bytes)})"
    free = "how much memory is free is unknown here" if panel.free is None else f"{size_in_words(panel.free)} are free"
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
    return [row.kind, _library(row), about + size_in_words(needed), fits, batch]


def _library(row: Row) -> str:
    return (
        row.library
        if row.library.startswith("segcrit") or row.library == "torch.compile"
        else f"{row.library}: {row.name}"
    )
