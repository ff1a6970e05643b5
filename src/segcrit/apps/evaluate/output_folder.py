"""The folder that results are written to: a new one, or one where nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segcrit.apps.evaluate.counting.job import COUNTS, JOB_FILE
from segcrit.apps.evaluate.results import FORMAT, RESULTS
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import read_json

__all__ = ["AUDIT", "COUNTS", "REPORT", "RESULTS", "new_folder", "require_free", "require_own"]

AUDIT: Final = "audit.json"
REPORT: Final = "report.html"


def new_folder(base: Path = Path("runs")) -> Path:
    """``evaluation``, or the first of ``evaluation-2``, ... that is not there, or holds only a failure's audit."""
    number = 1
    while True:
        folder = base / ("evaluation" if number == 1 else f"evaluation-{number}")
        if not folder.exists() or (folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {AUDIT}):
            return folder
        number += 1


def require_free(folder: Path, name: str, *, resume: bool, overwrite: bool) -> None:
    """Refuse to begin where counts or results lie already.

    Args:
        folder: of the results.
        name: of the counts: ``counts``, or that of a shard.
        resume: go on with what is there.
        overwrite: give up what is there: unfinished parts, and finished counts once there are others.

    Raises:
        ParameterError: something would be replaced that was not meant.
    """
    counts, parts = folder / f"{name}.npz", folder / f".{name}"
    if overwrite or not (parts / JOB_FILE).is_file():
        require_own(folder)
    there = counts if name != COUNTS or counts.is_file() else folder / RESULTS
    if there.is_file() and not (resume or overwrite):
        raise ParameterError(
            "a folder without an evaluation",
            f"{there}",
            "Choose another --out; --resume shows it again, and counts files anew that were written since; --overwrite "
            "replaces it.",
        )


def require_own(folder: Path) -> None:
    """Refuse a folder with results of something else, such as segcrit compare.

    Raises:
        ParameterError: it holds a report or results, and no counts that they came from.
    """
    if folder.exists() and not folder.is_dir():
        raise ParameterError("a folder for the results", f"{folder}, which is a file", "Choose another --out.")
    there = [file for file in (RESULTS, REPORT) if (folder / file).exists()]
    if there and not (folder / f"{COUNTS}.npz").is_file() and not _is_evaluation(folder / RESULTS):
        raise ParameterError(
            "a folder of segcrit evaluate, or an empty or new one",
            f"{folder}, which holds {there[0]} of something else",
            "Choose another --out.",
        )


def _is_evaluation(results: Path) -> bool:
    """Whether results are those of an evaluation, whose counts somebody removed."""
    try:
        return bool(read_json(results).get("format") == FORMAT)
    except (OSError, DataError, AttributeError):
        return False
