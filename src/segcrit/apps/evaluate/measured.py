"""What was measured beside the counts, as tables: one a measure, and columns of the table of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from segcrit.metrics.measures.boundary.options import Boundary
from segcrit.metrics.ratios import Floats, nan_mean
from segcrit.metrics.report import Report

__all__ = ["KINDS", "Table", "image_columns", "measured_classes", "measured_tables", "object_rows"]

# Heads, then rows.
Table = tuple[list[str], list[list[Any]]]

KINDS: Final = ("boundary", "calibration", "curves", "objects")


def measured_tables(reports: Mapping[str, Report]) -> dict[str, Table]:
    """A table for each measure that was taken: ``boundary``, ``calibration``, ``curves``, ``objects``.

    They have a row for each model and class, bin of confidences, class and threshold, or class and size of objects.
    """
    tables: dict[str, Table] = {}
    for kind in KINDS:
        for model, report in reports.items():
            found = getattr(report, kind)
            for row in [] if found is None else found.rows():
                heads, rows = tables.setdefault(kind, (["model", *row], []))
                rows.append([model, *(row[name] for name in heads[1:])])
    return tables


def measured_classes(report: Report) -> list[int]:
    """The classes whose boundaries were measured; empty where none were."""
    table = report.per_image.measures.get(Boundary.kind)
    measure = None if table is None else table.measure
    return measure.chosen(report.num_classes, report.task) if isinstance(measure, Boundary) else []


def image_columns(report: Report) -> tuple[list[str], Floats]:
    """Scores and distances of the boundaries of each image, and their names.

    Of each score the mean over the classes of the image, then the value of each class: ``hd95``, ``hd95[road]``.
    Distances are in the unit of the spacing. (images, 0) where no boundaries were measured.
    """
    if report.boundary is None:
        return [], np.zeros((report.num_images, 0))
    classes = measured_classes(report)
    heads: list[str] = []
    columns: list[Floats] = []
    for name, values in report.boundary.per_image.items():
        own = values[:, classes]
        heads += [name, *(f"{name}[{report.class_names[index]}]" for index in classes)]
        columns += [nan_mean(own, axis=1)[:, None], own]
    return heads, np.concatenate(columns, axis=1)


def object_rows(reports: Mapping[str, Report]) -> dict[str, Any] | None:
    """IoU and recall of each class and size of objects, for every model; None where they were not measured."""
    found = {model: report.objects for model, report in reports.items()}
    first = next(iter(found.values()))
    if first is None:
        return None
    shares = {model: own for model, own in found.items() if own is not None}
    pixels = first.tp + first.fn
    rows = [
        {
            "name": name,
            "models": [
                {"model": model, "iou": own.iou[index].tolist(), "recall": own.recall[index].tolist()}
                for model, own in shares.items()
            ],
            "pixels": pixels[index].tolist(),
        }
        for index, name in enumerate(first.class_names)
        if any((own.tp + own.fp + own.fn)[index].any() for own in shares.values())
    ]
    return {"sizes": list(first.words), "rows": rows}
