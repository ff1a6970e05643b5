"""What ``segcrit evaluate`` and ``segcrit merge`` print: the audit, the figures, the comparison, the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segcrit.cli import _console
from segcrit.core.numbers import counted, number, p_value, percent

if TYPE_CHECKING:
    from segcrit.apps.evaluate.results import Outcome
    from segcrit.data.problems import Problem
    from segcrit.metrics.statistics import PairedComparison

__all__ = ["print_outcome", "print_problems"]

# Letters that the names of several models may have together in the head of a table.
_NAMES_WIDTH = 36
_DIGITS = 4


def print_problems(problems: Sequence[Problem]) -> None:
    """The audit."""
    if problems:
        _console.heading("What to know about the files")
    for problem in problems:
        _console.text(problem.noted, indent=2)


def print_outcome(outcome: Outcome) -> None:
    """The figures, what is known about differences, and the classes."""
    from segcrit.apps.evaluate.standings import label_of, verdict
    from segcrit.core.quantities import worded
    from segcrit.metrics.named import figures_of

    report = outcome.first
    print_problems([problem.worded(outcome.tally.spatial_dims) for problem in outcome.problems])
    dims = outcome.tally.spatial_dims
    images = worded(counted(report.num_images, "image"), dims)
    task = (
        "" if report.task == "multiclass" else f"{report.task} at a threshold of {outcome.tally.settings.threshold:g}, "
    )
    _console.heading(f"{outcome.title}: {images}, {report.num_classes} classes, {task}policy {report.policy}")
    if outcome.ignored_share > 0:
        pixels = worded(f"{report.num_pixels:,} pixels", dims)
        _console.text(f"{pixels} count; {percent(outcome.ignored_share, 1)} of all are ignored.")
    for note in outcome.tally.notes:
        _console.text(worded(note, dims))
    heads = _model_heads(list(outcome.reports))
    _console.table(["figure", *heads, *_comparison_heads(outcome)], _summary_rows(outcome))
    for sentence in verdict(outcome):
        _console.text(worded(sentence, dims))
    units = f"{outcome.units:,} {worded('images' if outcome.groups is None else 'groups of images', dims)}"
    if len(outcome.reports) == 1 and outcome.units > 1:
        _console.text(f"[low, high]: 95 % bootstrap interval over {units}.")
    figures = figures_of(report.per_image)
    lower = [name for name in outcome.summary if figures[name].better == "lower"]
    if lower:
        _console.text(f"Lower is better: {', '.join(lower)}.")
    pairs = outcome.comparisons.get(outcome.headline, [])
    if len(pairs) > 1:
        _console.text(
            f"{label_of(outcome, outcome.headline)} of all pairs over {units}; intervals and p (Holm) hold for all together:"
        )
        rows = [[f"{pair.b} − {pair.a}", *_change_cells(pair)] for pair in pairs]
        _console.table(["pair", "change", "95 % interval", "p"], rows)
    if outcome.caution:
        _console.text(worded(outcome.caution, dims))
    if report.boundary is not None:
        _console.text(str(report.boundary.scale))
    rows = [
        [
            f"{index} {name}",
            percent(float(report.share[index]), 1),
            *(number(float(own.iou[index]), _DIGITS) for own in outcome.reports.values()),
        ]
        for index, name in enumerate(report.class_names)
    ]
    _console.heading("IoU of the classes")
    _console.table(["class", "share", *heads], rows)
    for name, value in report.tool_figures.items():
        _console.text(f"{name} as {report.policy} reports it: {number(value, _DIGITS)}")


def _model_heads(models: list[str]) -> list[str]:
    """Titles of the models' columns: their names, or letters that are explained, so that no column breaks its words."""
    if len(models) == 1 or sum(map(len, models)) <= _NAMES_WIDTH:
        return models
    letters = [f"({number})" for number in range(1, len(models) + 1)]
    for letter, model in zip(letters, models, strict=True):
        _console.text(f"{letter} {model}")
    return letters


def _comparison_heads(outcome: Outcome) -> list[str]:
    return ["change", "95 % interval", "p"] if len(outcome.reports) == 2 and outcome.comparisons else []


def _summary_rows(outcome: Outcome) -> list[list[str]]:
    from segcrit.apps.evaluate.standings import digits_of

    rows = []
    for name in outcome.summary:
        cells = []
        digits = digits_of([report.figures[name] for report in outcome.reports.values()], _DIGITS)
        for model, report in outcome.reports.items():
            interval = outcome.intervals[model].get(name)
            text = number(report.figures[name], digits)
            if interval is not None and len(outcome.reports) == 1:
                text += f"  [{number(interval.low, _DIGITS)}, {number(interval.high, _DIGITS)}]"
            cells.append(text)
        pair = outcome.comparisons.get(name, [None])[0] if _comparison_heads(outcome) else None
        if pair is not None:
            cells += _change_cells(pair)
        elif _comparison_heads(outcome):
            cells += ["", "", ""]
        rows.append([name, *cells])
    return rows


def _change_cells(pair: PairedComparison) -> list[str]:
    """The second against the first, as on the page."""
    change = pair.reversed()
    difference, low, high = (
        f"{'+' if value > 0 else ''}{number(value, _DIGITS)}" for value in (change.difference, change.low, change.high)
    )
    return [difference, f"[{low}, {high}]", p_value(change.p_value)]
