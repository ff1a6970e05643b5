"""Scores of parts of a data set, joined."""

from __future__ import annotations

from typing import Any

import numpy as np

from segcrit.core.errors import DataError
from segcrit.metrics.measure_table import MeasureTable
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.scores import Scores
from segcrit.metrics.tables import CountTable

__all__ = ["merged"]


def merged(first: Scores, second: Scores) -> dict[str, Any]:
    """What changes in ``first`` when ``second`` joins it; see :meth:`segcrit.Report.merge`."""
    own, other = first.per_image, second.per_image
    _check_settings(first, second)
    for counts in (own, other):
        repeated = len(set(counts.ids)) != len(counts.ids)
        unnamed = next((name for name in counts.ids if name.startswith("#")), None)
        if repeated or unnamed is not None:
            raise DataError(
                "images with ids of their own",
                f"the image {unnamed or counts.ids[0]!r}, which others may be called, too",
                "Give ids to Evaluator.update.",
            )
    rows = {name: row for row, name in enumerate(own.ids)}
    fresh = []
    for row, name in enumerate(other.ids):
        if name not in rows:
            fresh.append(row)
        elif not _same_image(own.select([rows[name]]), other.select([row])):
            raise DataError(
                "the same counts of an image in both reports", f"different ones of {name!r}", "Evaluate it once."
            )
    joined = _joined(own, other.select(np.asarray(fresh, dtype=np.int64)))
    # Sorted, so that the order of merging does not matter.
    order = sorted(range(joined.num_images), key=lambda row: joined.ids[row])
    per_image = joined.select(np.asarray(order, dtype=np.int64))
    # The notes of a report on repeated images hold for its own part.
    notes = tuple(dict.fromkeys([*first.notes, *second.notes]))
    pairs = per_image.pairs
    confusion = first.confusion if pairs is None else pairs.confusion()
    return {"confusion": confusion, "per_image": per_image, "notes": notes}


def _check_settings(first: Scores, second: Scores) -> None:
    def settings(report: Scores) -> dict[str, Any]:
        counts = report.per_image
        return {
            "class names": report.class_names,
            "task": report.task,
            "policy": report.policy,
            "background": (report.policy, counts.background),
            "confusion counts": None if counts.pairs is None else counts.pairs.shape,
            "measures": {kind: table.measure for kind, table in counts.measures.items()},
        }

    one, two = settings(first), settings(second)
    for name, value in one.items():
        if value != two[name] or value is None:
            raise DataError(f"reports with the same {name}", f"{value} and {two[name]}", "Evaluate both alike.")


def _same_image(one: PerImage, two: PerImage) -> bool:
    same = all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("tp", "fp", "fn", "pixels"))
    if one.pairs is not None and two.pairs is not None:
        same = same and np.array_equal(one.pairs.row(0), two.pairs.row(0))
    return same


def _joined(one: PerImage, two: PerImage) -> PerImage:
    arrays = {name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in ("tp", "fp", "fn", "pixels")}
    pairs = None
    if one.pairs is not None and two.pairs is not None:
        rows = [table.row(image) for table in (one.pairs, two.pairs) for image in range(table.images)]
        pairs = CountTable.from_rows(rows, one.pairs.shape)
    measures = {
        kind: MeasureTable(
            table.measure,
            {name: np.concatenate([values, two.measures[kind].arrays[name]]) for name, values in table.arrays.items()},
        )
        for kind, table in one.measures.items()
    }
    return PerImage(
        [*one.ids, *two.ids],
        **arrays,
        task=one.task,
        policy=one.policy,
        pairs=pairs,
        measures=measures,
        background=one.background,
    )
