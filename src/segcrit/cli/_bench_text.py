"""What ``segcrit bench`` and the project's own measurement print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segcrit.cli import _console

if TYPE_CHECKING:
    from segcrit.apps.bench.records import Panel, Result

__all__ = ["print_fit", "print_machine", "print_panel", "print_targets"]


def print_fit(panel: Panel) -> None:
    """Does my batch fit: what each loss needs, against the memory that is free."""
    from segcrit.apps.bench.fit import FIT_HEAD, fit_rows, fit_sentence

    _console.heading(f"{panel.problem.title}: does it fit?")
    _console.text(fit_sentence(panel))
    rows = fit_rows(panel)
    if rows:
        _console.table(FIT_HEAD, rows)


def print_panel(panel: Panel) -> None:
    """A table for each kind of loss, the precision of Lovász, and why something is missing."""
    from segcrit.apps.bench.table import (
        HEAD,
        HEAD_MEANING,
        PRECISION_HEAD,
        about_panel,
        not_run,
        panel_rows,
        precision_rows,
    )

    rows = panel_rows(panel)
    if any(row.time is not None for row in panel.rows):
        _console.heading(f"{panel.problem.title}: time and memory")
        _console.text(about_panel(panel))
        for kind in dict.fromkeys(row[0] for row in rows):
            print(f"\n  {kind}")
            _console.table(HEAD[1:], [row[1:] for row in rows if row[0] == kind])
        exact = precision_rows(panel)
        if exact:
            print("\n  lovasz, against a sort in float64")
            _console.table(PRECISION_HEAD, exact)
        print()
        _console.text(HEAD_MEANING)
    for line in not_run(panel):
        _console.text(f"Not run, {line}.")


def print_machine(result: Result) -> None:
    """The machine and the versions."""
    from segcrit.apps.bench.table import about_machine

    print()
    _console.text(about_machine(result))


def print_targets(result: Result) -> None:
    """Every target, met or not."""
    from segcrit.apps.bench.table import TARGET_HEAD, target_rows

    _console.heading("Targets")
    _console.table(TARGET_HEAD, target_rows(result))
