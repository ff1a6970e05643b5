"""Scores out of the values that they were written as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from segcrit.core.errors import DataError
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.scores import Scores

__all__ = ["SCHEMA_VERSION", "read_scores"]

SCHEMA_VERSION: Final = 2
# Version 1 had no measures and no confusion counts of the images.
_READABLE: Final = (1, 2)


def read_scores(content: Mapping[str, Any]) -> Scores:
    """Read the scores; see :meth:`segcrit.Report.from_dict`."""
    models = content.get("models")
    if isinstance(models, list) and "format" in content:  # results.json of segcrit evaluate
        if len(models) != 1:
            raise DataError(
                "the results of one model",
                f"those of {len(models)}",
                'Give content["models"][0]["report"], or another.',
            )
        content = models[0]["report"]
    version = content.get("schema_version")
    if version not in _READABLE:
        raise DataError(
            f"a report of schema version {SCHEMA_VERSION} or older",
            repr(version),
            "Read it with the version that wrote it.",
        )
    missing = [key for key in ("task", "policy", "classes", "confusion", "per_image") if key not in content]
    if missing:
        raise DataError(
            "a report with the counts of its images",
            f"one without {', '.join(missing)}",
            "Write it with report.to_dict(per_image=True), or read the folder with segcrit.load.",
        )
    per_image = PerImage.from_dict(content["per_image"])
    names = tuple(str(row["name"]) for row in content["classes"])
    scores = Scores(
        class_names=names,
        task=per_image.task,
        policy=per_image.policy,
        confusion=np.asarray(content["confusion"], dtype=np.int64),
        per_image=per_image,
        notes=tuple(content.get("notes", ())),
    )
    _require_agreement(scores, content["task"], content["policy"])
    return scores


def _require_agreement(scores: Scores, task: str, policy: str) -> None:
    """Two parts of a file that was edited by hand may contradict each other."""
    table, count, counts = scores.confusion, scores.num_classes, scores.per_image
    shape = (count, 2, 2) if scores.task == "multilabel" else (count, count)
    agree = (scores.task, scores.policy) == (task, policy) and scores.per_image.num_classes == count
    if agree and table.shape == shape:
        right = table[:, 1, 1] if scores.task == "multilabel" else table.diagonal()
        agree = bool(
            (right == scores.class_counts["tp"]).all() and counts.pixels.sum() >= table.sum() and table.min() >= 0
        )
        if counts.pairs is None:
            agree = agree and bool(counts.pixels.sum() == table.sum())
        else:
            given = (counts.tp, counts.fp, counts.fn, counts.pixels)
            agree = agree and np.array_equal(counts.pairs.confusion(), table)
            agree = agree and all(map(np.array_equal, given, counts.pairs.class_counts(scores.task)))
    else:
        agree = False
    if not agree:
        raise DataError(
            "a report whose task, classes, confusion matrix and counts of images agree",
            "parts that contradict each other",
            "Write it anew with report.to_dict(per_image=True).",
        )
