"""``segcrit.load``: what an evaluation or a comparison wrote, as the objects that they return in Python."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from segcrit.core.atomic import user_path
from segcrit.core.errors import DataError
from segcrit.core.json_files import read_json

if TYPE_CHECKING:
    from segcrit.apps.compare.records import Results
    from segcrit.apps.evaluate.results import Outcome
    from segcrit.metrics.report import Report

__all__ = ["load"]

_RESULTS = "results.json"


def load(path: str | os.PathLike[str]) -> Outcome | Results | Report:
    """Read what ``segcrit evaluate``, ``segcrit merge``, ``segcrit compare`` or ``Report.to_dict`` wrote.

    Args:
        path: the folder given as ``--out``, or the results.json in it; or a JSON file of
            ``report.to_dict(per_image=True)``.

    Returns:
        Of an evaluation what :func:`segcrit.evaluate` returns, of a comparison what :func:`segcrit.compare` returns, of a
        file of one report the :class:`segcrit.Report`.

    Raises:
        DataError: there is nothing of this kind, or it is damaged.

    Example:
        >>> outcome = load("runs/evaluation")  # doctest: +SKIP
        >>> outcome.first.miou, load("runs/compare-1").verdict.headline  # doctest: +SKIP
    """
    from segcrit.apps.evaluate.folders import load_evaluation

    place = user_path(path)
    file = place / _RESULTS if place.is_dir() else place
    if not file.exists():
        if (place / "counts.npz").is_file() or any(place.glob("shard-*.npz")):
            return load_evaluation(place)
        raise DataError(
            "a folder of segcrit evaluate or segcrit compare",
            f"{place} without {_RESULTS}",
            "Give the folder of --out.",
        )
    content = read_json(file, "the results of segcrit")
    if isinstance(content, dict):
        if "format" in content:
            return load_evaluation(file.parent)
        if "per_image" in content:
            from segcrit.metrics.report import Report

            return Report.from_dict(content)
    from segcrit.apps.compare.results import read_results

    return read_results(file)
