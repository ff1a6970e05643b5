"""The evaluation of files as one self-contained HTML page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from segcrit.apps.evaluate.measured import object_rows
from segcrit.apps.evaluate.page.boundaries import boundary_rows, boundary_terms
from segcrit.apps.evaluate.page.charts import bars_of, class_changes, histogram, reliability, threshold_curves
from segcrit.apps.evaluate.page.pictures import Absent, Gallery, Panel, legend_color
from segcrit.apps.evaluate.results import Outcome
from segcrit.apps.evaluate.standings import best_models, digits_of, label_of, verdict
from segcrit.core import atomic, optional
from segcrit.core.numbers import p_value, percent, score, signed
from segcrit.core.quantities import worded
from segcrit.metrics.named import figures_of
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import CLASS_RATIOS
from segcrit.reports.error_colors import legend_style
from segcrit.reports.evaluation import (
    breakable,
    channel_table,
    class_table,
    matrix_of,
    page_style,
)

if TYPE_CHECKING:
    from segcrit.metrics.statistics import PairedComparison

__all__ = ["render", "write_page"]

_WORST: Final = 4
_CHANGED: Final = 3
_MOST_NAMES: Final = 60
_MOST_CHARTS: Final = 12


def write_page(outcome: Outcome, path: str | os.PathLike[str], *, images: str | None = None) -> None:
    """Write the page.

    Args:
        outcome: what was found.
        path: of the file; written atomically.
        images: folder of the photographs.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    atomic.atomic_write_text(path, render(outcome, images=images))


def render(outcome: Outcome, *, images: str | None = None) -> str:
    """The page as text."""
    jinja2 = optional.require("jinja2", extra="compare")
    own = resources.files("segcrit.apps.evaluate") / "templates"
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: (own / name).read_text(encoding="utf-8")),
    )
    environment.filters.update(
        figure=score,
        percent=partial(percent, places=1),
        amount=lambda value: f"{value:,}",
        signed=signed,
        p_value=p_value,
        breakable=breakable,
    )
    style = page_style() + (own / "style.css").read_text(encoding="utf-8") + legend_style()
    return str(environment.get_template("page.html.j2").render({"style": style, **_content(outcome, images)}))


def _content(outcome: Outcome, images: str | None) -> dict[str, Any]:
    report = outcome.first
    models = list(outcome.reports)
    dims = outcome.tally.spatial_dims
    image, pixel = worded("image", dims), worded("pixel", dims)
    gallery = Gallery(outcome.tally, images)
    chosen, absent = _chosen(outcome, gallery)
    return {
        "outcome": outcome,
        "threshold": outcome.tally.settings.threshold,
        "title": outcome.title,
        "report": report,
        "models": models,
        "single": len(models) == 1,
        "elements": "elements" if report.task == "multilabel" else f"{pixel}s",
        "image_word": image,
        "pixel_word": pixel,
        "summary": _summary(outcome),
        "verdict": [worded(sentence, dims) for sentence in verdict(outcome)],
        "caution": worded(outcome.caution, dims),
        "resampling": next((i for found in outcome.intervals.values() for i in found.values()), None),
        "unit": f"{image}s" if outcome.groups is None else f"groups of {image}s",
        "pairs": [pair.reversed() for pair in outcome.comparisons.get(outcome.headline, [])],
        "classes": _classes(outcome),
        "matrices": _matrices(outcome),
        "channels": channel_table(report) if report.task == "multilabel" else None,
        "changes": _changes(outcome),
        "images": _images(outcome),
        "panels": chosen,
        "absent": absent,
        "legend": _legend(outcome, chosen),
        "boundary": boundary_rows(outcome),
        "terms": boundary_terms(outcome),
        "objects": object_rows(outcome.reports),
        "calibration": reliability({name: own.calibration for name, own in outcome.reports.items()}),
        "curves": _curves(outcome),
        "groups": _groups(outcome),
        "problems": [problem.worded(dims) for problem in outcome.problems],
        "notes": [worded(note, dims) for note in (*outcome.tally.notes, *report.notes)],
        "policy": get_policy(report.policy),
        "definitions": [
            (worded(figure.label, dims), worded(figure.description, dims))
            for name, figure in figures_of(report.per_image).items()
            if name
        ],
        "ignored": outcome.ignored_share,
    }


def _summary(outcome: Outcome) -> list[dict[str, Any]]:
    """One row a figure of the summary: its value of each model, and the comparison of two."""
    figures = figures_of(outcome.first.per_image)
    rows = []
    for name in outcome.summary:
        values = {model: report.figures[name] for model, report in outcome.reports.items()}
        pairs = outcome.comparisons.get(name, [])
        digits = digits_of(list(values.values()), 3)
        rows.append(
            {
                "name": name,
                "label": label_of(outcome, name),
                "description": worded(figures[name].description, outcome.tally.spatial_dims),
                "better": figures[name].better,
                "values": values,
                "texts": {model: score(v) if digits == 3 else f"{v:.{digits}f}" for model, v in values.items()},
                "best": best_models(outcome, name) or _best(values, figures[name].better),
                "intervals": {model: outcome.intervals[model].get(name) for model in values},
                "pair": _pair(outcome, pairs[0], figures[name].better) if len(values) == 2 and pairs else None,
            }
        )
    return rows


def _best(values: Mapping[str, float], better: str) -> tuple[str, ...]:
    """The models that show the best figure, where it was not tested whether they differ; none where all show the same."""
    texts = {model: score(value) for model, value in values.items() if not math.isnan(value)}
    if len(set(texts.values())) < 2:
        return ()
    best = (max if better == "higher" else min)(texts, key=lambda model: values[model])
    return tuple(model for model, text in texts.items() if text == texts[best])


def _pair(outcome: Outcome, pair: PairedComparison, better: str) -> dict[str, Any]:
    """The second model against the first, and the verdict."""
    change = pair.reversed()
    word = "better" if (change.difference > 0) == (better == "higher") else "worse"
    if not change.significant:
        word = "too few to tell" if outcome.caution else "not told apart"
    return {
        "difference": change.difference,
        "low": change.low,
        "high": change.high,
        "p_value": change.p_value,
        "verdict": word,
        "kind": word if change.significant else "even",
        # The interval alone leaves out 0, which the test of the same images does not confirm.
        "contradicted": not change.significant and (change.low > 0 or change.high < 0),
    }


def _classes(outcome: Outcome) -> list[dict[str, Any]]:
    """One entry a class, with a row a model: its figures, their bars, and which of them are the best."""
    tables = {model: class_table(report, outcome.intervals[model]) for model, report in outcome.reports.items()}
    classes = []
    for place, first in enumerate(next(iter(tables.values()))):
        rows = {model: table[place] for model, table in tables.items()}
        best = {name: _best({model: row[name] for model, row in rows.items()}, "higher") for name in CLASS_RATIOS}
        classes.append({**first, "models": [{**row, "model": model, "best": best} for model, row in rows.items()]})
    return classes


def _matrices(outcome: Outcome) -> list[dict[str, Any]]:
    if outcome.first.task == "multilabel":
        return []
    matrices = [{"model": model, **matrix_of(report)} for model, report in outcome.reports.items()]
    for cell in (cell for matrix in matrices for cell in matrix["cells"]):
        cell["title"] = worded(cell["title"], outcome.tally.spatial_dims)
    return matrices


def _changes(outcome: Outcome) -> dict[str, Any] | None:
    """What got better and what worse from the first to the second of two models: classes and images."""
    if len(outcome.reports) != 2:
        return None
    (old, first), (new, second) = outcome.reports.items()
    gains = outcome.image_values(second) - outcome.image_values(first)
    known = np.flatnonzero(~np.isnan(gains))
    order = known[np.argsort(gains[known], kind="stable")]
    ids = outcome.tally.ids

    def entries(rows: Sequence[int], sign: int) -> list[dict[str, Any]]:
        return [{"id": ids[row], "gain": float(gains[row])} for row in rows if sign * gains[row] > 0]

    number = min(8, len(order))
    return {
        "old": old,
        "new": new,
        "classes": class_changes(first, second),
        "better": entries([int(row) for row in order[::-1][:number]], 1),
        "worse": entries([int(row) for row in order[:number]], -1),
        "improved": int((gains[known] > 0).sum()),
        "worsened": int((gains[known] < 0).sum()),
        "same": int((gains[known] == 0).sum()),
    }


def _image_order(outcome: Outcome) -> list[int]:
    values = outcome.image_values(outcome.first)
    known = np.flatnonzero(~np.isnan(values))
    return [int(row) for row in known[np.argsort(values[known], kind="stable")]]


def _images(outcome: Outcome) -> dict[str, Any] | None:
    if len(_image_order(outcome)) < 2:
        return None
    values = {model: outcome.image_values(report) for model, report in outcome.reports.items()}
    known = {model: own[~np.isnan(own)] for model, own in values.items()}
    highest = max(1, *(int(histogram(own).max()) for own in known.values()))
    label = "IoU of the foreground" if outcome.first.task == "binary" else "mean IoU of the classes in the image"
    return {
        "label": worded(label, outcome.tally.spatial_dims),
        # One scale for all models: bars of the same height are the same number of images.
        "highest": highest,
        "histograms": {model: bars_of(histogram(own), highest) for model, own in known.items()},
        "quantiles": {
            model: [(f"{100 * q:.0f} %", float(np.quantile(own, q))) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
            for model, own in known.items()
            if len(own)
        },
        "skipped": outcome.first.num_images - len(known[next(iter(known))]),
    }


def _chosen(outcome: Outcome, gallery: Gallery) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Images to show, the worst and the median one; of two models, those that changed most. And why others have none."""
    order = _image_order(outcome)
    values = outcome.image_values(outcome.first)
    wanted: list[tuple[str, int]] = []
    if len(outcome.reports) == 2:
        second = outcome.image_values(list(outcome.reports.values())[1])
        gains = second - values
        known = [row for row in np.argsort(gains, kind="stable").tolist() if not math.isnan(gains[row])]
        wanted += [("improved most", row) for row in known[::-1][:_CHANGED] if gains[row] > 0]
        wanted += [("worsened most", row) for row in known[:_CHANGED] if gains[row] < 0]
    wanted += [("worst", row) for row in order[: min(_WORST, max(1, len(order) // 2))]]
    if order:
        wanted.append(("median", order[len(order) // 2]))
    panels = []
    absent: dict[str, list[str]] = {}
    done: set[int] = set()
    for why, row in wanted:
        if row in done:
            continue
        done.add(row)
        panel = gallery.panel(outcome.tally.ids[row])
        if isinstance(panel, Absent):
            absent.setdefault(panel.why, []).append(panel.id)
            continue
        figures = {model: float(outcome.image_values(report)[row]) for model, report in outcome.reports.items()}
        panels.append({"why": why, "panel": panel, "figures": figures})
    return panels, absent


def _legend(outcome: Outcome, panels: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    shown: list[Panel] = [entry["panel"] for entry in panels]
    seen = frozenset[int]().union(*(panel.seen for panel in shown))
    tinted = any(panel.photo is not None for panel in shown)
    colors = outcome.tally.about["colors"]
    names = outcome.first.class_names
    return [(names[label], legend_color(colors[label], tinted)) for label in sorted(seen)[:_MOST_NAMES]]


def _curves(outcome: Outcome) -> dict[str, Any] | None:
    channels = threshold_curves(outcome.reports)
    if not channels:
        return None
    return {"channels": channels, "charts": channels[:_MOST_CHARTS]}


def _groups(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "name": group,
            "images": next(iter(models.values())).num_images,
            "values": {model: report.figures[outcome.headline] for model, report in models.items()},
        }
        for group, models in outcome.by_group.items()
    ]
