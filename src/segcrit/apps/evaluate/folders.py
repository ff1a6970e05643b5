"""``segcrit.evaluate``: what the command ``segcrit evaluate`` does, from Python; and an evaluation read back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from segcrit.apps.evaluate.counting.job import COUNTS, Job
from segcrit.apps.evaluate.counting.run import count_files
from segcrit.apps.evaluate.counting.store import read_tally
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.output_folder import AUDIT, REPORT, RESULTS, require_free
from segcrit.apps.evaluate.page.page import write_page
from segcrit.apps.evaluate.reading.matching import read_groups
from segcrit.apps.evaluate.results import FORMAT, Outcome, write_tables
from segcrit.core.errors import DataError, UnknownParameterError
from segcrit.core.json_files import read_json
from segcrit.core.names import nearest
from segcrit.data.problems import Problem

__all__ = ["evaluate", "load_evaluation", "write_outcome"]

Paths = str | os.PathLike[str]
_OPTIONS: Final = tuple(entry.name for entry in fields(Options))


def evaluate(
    predictions: Paths | Sequence[Paths] | Mapping[str, Paths],
    target: Paths,
    *,
    classes: int | str | Sequence[str] | None = None,
    out: Paths | None = None,
    title: str | None = None,
    images: Paths | None = None,
    report: bool = True,
    resamples: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Outcome:
    """Judge predictions in files against label maps, as the command ``segcrit evaluate`` does.

    Args:
        predictions: a folder (or file) of predictions; several of them; or a dictionary of names and folders.
        target: the folder (or file) of the label maps.
        classes: number of classes, their names, or the path of a classes.json; None: a classes.json beside the label
            maps, or what values they hold.
        out: folder that report.html, results.json, the CSV tables and the counts are written to; None: nothing is
            written.
        title: heading of the report.
        images: folder of the photographs, for the report.
        report: whether report.html is written.
        resamples: of the intervals; None: up to 2,000.
        workers: images that are counted at a time; None: one a processor.
        resume: go on with an interrupted evaluation in ``out``.
        overwrite: replace an evaluation in ``out``.
        progress: True shows a bar, False none, None one in a terminal.
        options: the other options of the command: ``task``, ``threshold``, ``ignore_index``, ``policy``, ``map``,
            ``map_predictions``, ``reduce_zero_label``, ``values``, ``upsample``, ``align_corners``, ``measures``,
            ``tile``, ``allow_unmatched``, ``pair``, ``valid``, ``only``, ``groups``, ``group_by``.

    Returns:
        The outcome: ``reports`` (model -> :class:`segcrit.Report`), ``first``, ``intervals``, ``comparisons``, ...

    Raises:
        SegcritError: figures would be wrong, or the files do not fit together; the message says what to do.

    Example:
        >>> outcome = evaluate("predictions", "masks", classes=19, out="runs/eval")  # doctest: +SKIP
        >>> outcome.first.miou  # doctest: +SKIP
    """
    for name in options:
        if name not in _OPTIONS:
            hint = nearest(name, _OPTIONS) or f"Options: {', '.join(_OPTIONS)}."
            raise UnknownParameterError("an option of segcrit.evaluate", repr(name), hint)
    if classes is not None and not isinstance(classes, (int, str)):
        classes = os.fspath(classes) if isinstance(classes, os.PathLike) else ",".join(classes)
    if "measures" in options:
        given = options["measures"]
        options["measures"] = (given,) if isinstance(given, str) else tuple(given)
    for name in ("only", "groups"):
        if options.get(name) is not None:
            options[name] = os.fspath(options[name])
    settings = Options(classes=None if classes is None else str(classes), **options)
    photographs = None if images is None else os.fspath(images)
    job = Job(_words(predictions), os.fspath(target), settings, None, photographs)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="segcrit-") as folder:
            tally, problems = count_files(job, Path(folder), workers=workers, progress=progress)
    else:
        place = Path(out)
        require_free(place, job.name, resume=resume, overwrite=overwrite)
        tally, problems = count_files(
            job, place, resume=resume, overwrite=overwrite, workers=workers, progress=progress
        )
        (place / AUDIT).unlink(missing_ok=True)  # what an earlier attempt found
    groups = read_groups(tally.ids, settings.groups, settings.group_by)
    outcome = Outcome(tally, tuple(problems), groups, resamples, title or "")
    if out is not None:
        write_outcome(outcome, Path(out), images=photographs, report=report)
    return outcome


def _words(predictions: Paths | Sequence[Paths] | Mapping[str, Paths]) -> tuple[str, ...]:
    """As the command line takes them: ``PATH`` or ``NAME=PATH``."""
    if isinstance(predictions, Mapping):
        return tuple(f"{name}={os.fspath(path)}" for name, path in predictions.items())
    if isinstance(predictions, (str, os.PathLike)):
        return (os.fspath(predictions),)
    return tuple(os.fspath(path) for path in predictions)


def write_outcome(outcome: Outcome, folder: Path, *, images: str | None = None, report: bool = True) -> Path:
    """Write the tables, and the page if it is wanted; a page of counts that these replaced is removed.

    Returns:
        The path of the page, or of results.json.
    """
    write_tables(outcome, folder)
    page, counts = folder / REPORT, folder / f"{COUNTS}.npz"
    if report:
        write_page(outcome, page, images=images)
        return page
    if page.is_file() and counts.is_file() and page.stat().st_mtime_ns < counts.stat().st_mtime_ns:
        page.unlink()
    return folder / RESULTS


def load_evaluation(folder: Path) -> Outcome:
    """The outcome that ``segcrit evaluate``, ``segcrit merge`` or :func:`evaluate` wrote.

    Args:
        folder: that was given as ``--out``.

    Raises:
        DataError: there is no evaluation, or it is damaged.
    """
    counts, results = folder / f"{COUNTS}.npz", folder / RESULTS
    if not counts.is_file():
        shards = sorted(folder.glob("shard-*.npz"))
        advice = f"Join its shards: segcrit merge {folder}." if shards else "Give the folder of --out."
        raise DataError(f"the counts of an evaluation, {counts}", "no such file", advice)
    tally = read_tally(counts)
    if not results.is_file():
        return Outcome(tally)
    content = read_json(results, "the results of segcrit evaluate")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError("the results of segcrit evaluate", f"{results} of something else", "Give the folder of --out.")
    groups = content.get("image_groups")
    problems = tuple(Problem.from_dict(entry) for entry in content.get("audit", ()))
    title = content.get("title", "")
    if groups is not None and set(groups) != set(tally.ids):
        raise DataError(f"the groups of the images of {counts}", f"other images in {results}", "Evaluate anew.")
    return Outcome(tally, problems, groups, content.get("resamples"), title)
