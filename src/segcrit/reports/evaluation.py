"""A report as one self-contained HTML page."""

from __future__ import annotations

import math
import os
import re
from functools import partial
from importlib import resources
from typing import Any, Final

import numpy as np

from segcrit.core import atomic, optional
from segcrit.core.numbers import percent, score
from segcrit.metrics.named import FIGURES, columns_of
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import CLASS_RATIOS
from segcrit.metrics.report import Report
from segcrit.metrics.resampling import Groups
from segcrit.metrics.scores import Scores
from segcrit.metrics.statistics import Interval, bootstrap_many
from segcrit.metrics.summary import figure_label, summary_figures

__all__ = [
    "breakable",
    "channel_table",
    "class_table",
    "matrix_of",
    "page_style",
    "scroll_style",
    "write_page",
]

_MOST_RESAMPLES: Final = 2_000
_FEWEST_RESAMPLES: Final = 200
# Draws (images times resamples) that take about two seconds.
_DRAWS: Final = 200_000_000
# A share of a class below this is left blank in the matrix: its colour could not be told from the page's.
_VISIBLE: Final = 0.001
_CONFUSIONS: Final = 12
_BINS: Final = 20
# Letters of a name that are never broken, as far as the name has places to break.
_WORD: Final = 24


def write_page(
    report: Scores, path: str | os.PathLike[str], *, title: str = "Evaluation", groups: Groups | None = None
) -> None:
    """Write the page; see :meth:`segcrit.metrics.report.Report.save_html`."""
    atomic.atomic_write_text(path, render(report, title=title, groups=groups))


def scroll_style() -> str:
    """Rules for tables that scroll, of every page."""
    return _template("scroll.css")


def page_style() -> str:
    """Rules for the pages of an evaluation."""
    return scroll_style() + _template("style.css")


def _template(name: str) -> str:
    return (resources.files("segcrit.reports") / "templates" / name).read_text(encoding="utf-8")


def render(report: Scores, *, title: str, groups: Groups | None = None) -> str:
    """The page as text."""
    jinja2 = optional.require("jinja2", extra="compare")
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_template),
    )
    environment.filters.update(
        figure=score, percent=partial(percent, places=1), amount=lambda value: f"{value:,}", breakable=breakable
    )
    intervals = _intervals(report, groups)
    content = {
        "title": title,
        "report": report,
        "style": page_style(),
        "elements": "elements" if report.task == "multilabel" else "pixels",
        "headline": _named_figure(report, report.headline, intervals),
        "facts": [
            _named_figure(report, name, intervals) for name in summary_figures(report) if name != report.headline
        ],
        "resampling": next(iter(intervals.values()), None),
        "unit": "images" if groups is None else "groups of images",
        "classes": class_table(report, intervals),
        "matrix": matrix_of(report) if report.task != "multilabel" else None,
        "channels": channel_table(report) if report.task == "multilabel" else None,
        "images": _images(report),
        "definitions": [(figure_label(report, name), FIGURES[name].description) for name in FIGURES],
        "policy": get_policy(report.policy),
    }
    return str(environment.get_template("report.html.j2").render(content))


def breakable(name: str) -> Any:
    """A name as HTML that is broken after ``_``, ``/``, ``-`` or ``.`` where a column is narrow, and not inside a word.

    Example:
        >>> print(breakable("sign_symbol<b>"))
        sign_<wbr>symbol&lt;b&gt;
    """
    markup = optional.require("markupsafe", extra="compare")
    pieces = re.split(r"(?<=[_/.\-+])(?=\w)", name)
    # A piece that is longer than any column has to be cut somewhere.
    parts = [piece[start : start + _WORD] for piece in pieces for start in range(0, len(piece), _WORD)]
    return markup.Markup("<wbr>").join(parts)


def _intervals(report: Scores, groups: Groups | None) -> dict[str, Interval]:
    if report.num_images < 2:
        return {}
    resamples = max(_FEWEST_RESAMPLES, min(_MOST_RESAMPLES, _DRAWS // report.num_images))
    names = [*summary_figures(report), *(f"iou[{index}]" for index in range(report.num_classes))]
    found = bootstrap_many(report.per_image, names, resamples=resamples, groups=groups)
    return {name: interval for name, interval in found.items() if not math.isnan(interval.low)}


def _named_figure(report: Scores, name: str, intervals: dict[str, Interval]) -> dict[str, Any]:
    return {
        "label": figure_label(report, name),
        "description": FIGURES[name].description,
        "value": report.figures[name],
        "interval": intervals.get(name),
    }


def class_table(report: Scores, intervals: dict[str, Interval]) -> list[dict[str, Any]]:
    """One row a class, with the widths of its bars in percent."""
    rows = report.class_rows()
    largest = max((row["share"] for row in rows if not math.isnan(row["share"])), default=0.0)
    for row in rows:
        row["interval"] = intervals.get(f"iou[{row['index']}]")
        row["absent"] = math.isnan(row["iou"])
        row["share_width"] = 0.0 if row["absent"] or largest == 0 else 100 * row["share"] / largest
        row["widths"] = {name: 0.0 if math.isnan(row[name]) else 100 * row[name] for name in CLASS_RATIOS}
    return rows


def matrix_of(report: Scores) -> dict[str, Any]:
    """Geometry and colours of the row-normalised confusion matrix, and the largest confusions in words."""
    counts = report.confusion.astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    classes = report.num_classes
    size = 46 if classes <= 12 else 26 if classes <= 32 else 12 if classes <= 64 else 7
    named = classes <= 32
    longest = max(len(name) for name in report.class_names)
    margin = min(190, 18 + 8 * longest) if named else 44
    cells = [
        {
            "x": margin + size * int(column),
            "y": margin + size * int(row),
            "share": float(shares[row, column]),
            # The square root lets small confusions be seen beside large ones.
            "strength": round(math.sqrt(shares[row, column]), 3),
            "right": bool(row == column),
            "text": f"{100 * shares[row, column]:.0f}" if classes <= 12 and shares[row, column] >= 0.005 else "",
            "title": f"true {report.class_names[row]}, predicted {report.class_names[column]}: "
            f"{percent(float(shares[row, column]), 1)} ({int(counts[row, column]):,} pixels)",
        }
        for row, column in np.argwhere(shares >= _VISIBLE)
    ]
    step = 1 if named else 10
    ticks = [
        {"place": margin + size * (index + 0.5), "text": _shorten(report.class_names[index]) if named else str(index)}
        for index in range(0, classes, step)
    ]
    return {
        "size": size,
        "margin": margin,
        "side": margin + size * classes + 4,
        "classes": classes,
        "named": named,
        "cells": cells,
        "ticks": ticks,
        "confusions": _confusions(report, shares),
    }


def _shorten(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _confusions(report: Scores, shares: np.ndarray[Any, np.dtype[np.float64]]) -> list[dict[str, Any]]:
    """The off-diagonal pairs with most pixels."""
    wrong = report.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:_CONFUSIONS]
    pairs = [divmod(int(place), report.num_classes) for place in order]
    errors = max(1, int(wrong.sum()))
    return [
        {
            "truth": report.class_names[row],
            "prediction": report.class_names[column],
            "pixels": int(wrong[row, column]),
            "of_class": float(shares[row, column]),
            "of_errors": int(wrong[row, column]) / errors,
        }
        for row, column in pairs
        if wrong[row, column] > 0
    ]


def channel_table(report: Scores) -> list[dict[str, Any]]:
    """Counts of each channel of a multilabel task."""
    return [
        {
            "name": name,
            "tp": int(report.confusion[index, 1, 1]),
            "fp": int(report.confusion[index, 0, 1]),
            "fn": int(report.confusion[index, 1, 0]),
            "tn": int(report.confusion[index, 0, 0]),
        }
        for index, name in enumerate(report.class_names)
    ]


def _images(report: Scores) -> dict[str, Any] | None:
    """Distribution of the per-image IoU, and the images at its ends."""
    kind = "foreground" if report.task == "binary" else "image"
    columns = columns_of(report.per_image, f"{kind}:iou")
    known = np.flatnonzero(columns[:, 1])
    if len(known) < 2:
        return None
    values = columns[known, 0]
    counts, _ = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    order = np.argsort(values, kind="stable")
    rows = min(5, len(known) // 2)
    ids = report.per_image.ids

    def entry(place: int) -> dict[str, Any]:
        return {"id": ids[int(known[place])], "value": float(values[place])}

    return {
        "label": "IoU of the foreground" if kind == "foreground" else "mean IoU of the classes in the image",
        "bars": [
            {"height": 100 * int(count) / int(counts.max()), "count": int(count), "low": index / _BINS}
            for index, count in enumerate(counts)
        ],
        "worst": [entry(int(place)) for place in order[:rows]],
        "median": entry(int(order[len(order) // 2])),
        "best": [entry(int(place)) for place in order[::-1][:rows]],
        "quantiles": [(f"{100 * q:.0f} %", float(np.quantile(values, q))) for q in (0.05, 0.25, 0.5, 0.75, 0.95)],
        "skipped": report.num_images - len(known),
    }


Report._write_page = write_page
