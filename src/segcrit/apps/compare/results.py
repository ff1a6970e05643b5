"""``results.json``: writing, reading and checking the records of one comparison."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from segcrit.apps.compare.records import (
    METRICS,
    SCHEMA_VERSION,
    Baseline,
    ClassEntry,
    ComputedWord,
    Cost,
    DataInfo,
    Example,
    ExamplePrediction,
    Figures,
    ImageCounts,
    LearningRate,
    LearningRateTrial,
    LossResult,
    MetricName,
    NetworkInfo,
    Results,
    RunInfo,
    SeedResult,
    TrainingCurve,
    ValidationCurve,
)
from segcrit.core import atomic
from segcrit.core.errors import DataError
from segcrit.core.json_files import damaged, decode, encode, parse_json
from segcrit.core.machine import Machine

__all__ = [
    "METRICS",
    "RESULTS_FILE",
    "SCHEMA_VERSION",
    "Baseline",
    "ClassEntry",
    "ComputedWord",
    "Cost",
    "DataInfo",
    "Example",
    "ExamplePrediction",
    "Figures",
    "ImageCounts",
    "LearningRate",
    "LearningRateTrial",
    "LossResult",
    "Machine",
    "MetricName",
    "NetworkInfo",
    "Results",
    "RunInfo",
    "SeedResult",
    "TrainingCurve",
    "ValidationCurve",
    "from_json",
    "read_results",
    "to_json",
    "write_results",
]

RESULTS_FILE: Final = "results.json"


def to_json(results: Results) -> str:
    """The text of ``results.json``: one field a line at the top levels, NaN as ``null``."""
    return json.dumps(encode(results), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def from_json(text: str, *, source: str = RESULTS_FILE) -> Results:
    """Read the text of ``results.json``.

    Args:
        text: the content of the file.
        source: its name, for error messages.

    Raises:
        DataError: the text is not JSON, has another schema version, or its parts do not fit together.
    """
    content = parse_json(text, f"a JSON file written by segcrit compare in {source}")
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(
            f"a results file of segcrit compare in {source}",
            "JSON without the field 'schema_version'",
            "Give the folder of a comparison, the one that holds report.html.",
        )
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise DataError(
            f"schema version {SCHEMA_VERSION} in {source}",
            f"version {version!r}",
            "Read it with the segcrit version that wrote it (see the field run.segcrit_version), "
            "or run the comparison again.",
        )
    results = decode(Results, content, "results")
    _check(results)
    return results


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read ``results.json``, given the file or the run's folder.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    file = Path(path)
    if file.is_dir():
        file = file / RESULTS_FILE
    try:
        with atomic.open_regular(file) as stream:
            text = stream.read().decode("utf-8")
    except FileNotFoundError:
        raise DataError(
            f"a results file at {file}",
            "no such file",
            "Give the folder that segcrit compare wrote to (--out).",
        ) from None
    except UnicodeDecodeError:
        raise damaged(f"a JSON file written by segcrit compare in {file}", "bytes that are not text") from None
    return from_json(text, source=str(file))


def write_results(run_dir: str | os.PathLike[str], results: Results) -> Path:
    """Write ``results.json`` and the CSV files into the run's folder, each atomically.

    Returns:
        The path of ``results.json``.

    Raises:
        DataError: the parts of ``results`` do not fit together (nothing is written then).
    """
    # Imported here because both read the records that this module defines the file of.
    from segcrit.apps.compare.tables import csv_files
    from segcrit.apps.compare.verdict.text import judge

    _check(results)
    verdict = judge(results)
    folder = Path(run_dir)
    for name, content in csv_files(results, verdict).items():
        atomic.atomic_write_text(folder / name, content)
    # Last, so that whoever waits for results.json finds the tables that belong to it.
    atomic.atomic_write_text(folder / RESULTS_FILE, to_json(replace(results, verdict=verdict)))
    return folder / RESULTS_FILE


def _check(results: Results) -> None:
    """Refuse results whose parts do not fit together: the report relies on it without looking again."""
    classes = len(results.data.classes)
    names = [loss.name for loss in results.losses]
    if len(set(names)) != len(names):
        raise damaged("losses with different names", f"{names}")
    if [entry.index for entry in results.data.classes] != list(range(classes)):
        raise damaged("classes numbered from 0", f"{[entry.index for entry in results.data.classes]}")
    for split, shares in results.data.class_shares.items():
        _check_length(f"data.class_shares.{split}", len(shares), classes)
    ids: tuple[str, ...] | None = None
    trained = [(f"losses.{loss.name}.{seed.seed}", seed) for loss in results.losses for seed in loss.seeds]
    tested: list[tuple[str, SeedResult | Baseline]] = [*trained]
    if results.baseline is not None:
        tested.append(("baseline", results.baseline))
    for place, part in tested:
        if part.figures is not None:
            for key in ("iou", "dice", "precision", "recall"):
                _check_length(f"{place}.figures.{key}", len(getattr(part.figures, key)), classes)
        if part.confusion is not None and part.confusion.shape != (classes, classes):
            raise damaged(f"a table of {classes} × {classes} in {place}.confusion", f"{part.confusion.shape}")
        if part.counts is None:
            continue
        for key in ("tp", "fp", "fn"):
            shape = getattr(part.counts, key).shape
            if shape != (len(part.counts.ids), classes):
                raise damaged(f"counts of shape {(len(part.counts.ids), classes)} in {place}.counts.{key}", f"{shape}")
        if ids is not None and part.counts.ids != ids:
            raise damaged("the same test images in the same order for every loss", f"other images in {place}")
        ids = part.counts.ids
    for place, seed in trained:
        for curve in (seed.training, seed.validation):
            lengths = {key: len(value) for key, value in vars(curve).items()}
            if len(set(lengths.values())) > 1:
                raise damaged(f"curves of equal length in {place}", f"{lengths}")
    for example in results.examples:
        for name in (example.image, example.truth, *(prediction.labels for prediction in example.predictions)):
            atomic.inside(Path("examples"), name)
        for prediction in example.predictions:
            if prediction.loss not in names:
                raise damaged(f"examples of the losses {names}", f"{prediction.loss!r}")


def _check_length(place: str, length: int, classes: int) -> None:
    if length != classes:
        raise damaged(f"{classes} values, one a class, in {place}", f"{length}")
