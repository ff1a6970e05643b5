"""What is to be evaluated, as a value that is written down beside unfinished counts and read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from segcrit.apps.evaluate.counting.store import read_tally
from segcrit.apps.evaluate.options import Options
from segcrit.core.errors import DataError
from segcrit.core.json_files import damaged, decode, read_json
from segcrit.data.problems import named

__all__ = ["COUNTS", "JOB_FILE", "Job", "read_job", "read_job_file"]

JOB_FILE: Final = "job.json"
# Name of the counts of a whole evaluation.
COUNTS: Final = "counts"


@dataclass(frozen=True)
class Job:
    """What is to be evaluated.

    Attributes:
        predictions: as given: ``NAME=PATH`` or ``PATH``.
        target: folder or file of the truth.
        options: what decides about the figures.
        shard: part and number of parts, or None.
        images: folder of the photographs, for the report.
    """

    predictions: tuple[str, ...]
    target: str
    options: Options = field(default_factory=Options)
    shard: tuple[int, int] | None = None
    images: str | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        if self.shard is None:
            return COUNTS
        part, parts = self.shard
        width = len(str(parts))
        return f"shard-{part:0{width}d}-of-{parts}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "predictions": list(self.predictions),
            "target": self.target,
            "options": self.options.to_dict(),
            "shard": None if self.shard is None else list(self.shard),
            "images": self.images,
        }


@dataclass(frozen=True)
class JobFile:
    """A job that is not finished, and the digest of everything that decides about its counts."""

    digest: str
    job: Job


def read_job(folder: Path, shard: tuple[int, int] | None = None) -> Job:
    """The unfinished job of a folder, or that of a shard there; else the finished one.

    Raises:
        DataError: there is none, or several, or its file is damaged.
    """
    found = sorted(folder.glob(f".*/{JOB_FILE}"))
    if shard is not None:
        wanted = f".{Job((), '', shard=shard).name}"
        found = [place for place in found if place.parent.name == wanted]
    if not found:
        finished = folder / f"{Job((), '', shard=shard).name}.npz"
        if not finished.is_file():
            raise DataError(f"an evaluation in {folder}", "none", "Give predictions and label maps to begin one.")
        return _finished_job(finished, shard)
    if len(found) > 1:
        names = [place.parent.name.lstrip(".") for place in found]
        raise DataError(f"one unfinished evaluation in {folder}", named(names), "Repeat the command with --shard.")
    return read_job_file(found[0]).job


def read_job_file(file: Path) -> JobFile:
    """The digest and the job of an unfinished evaluation.

    Raises:
        DataError: the file is damaged.
    """
    advice = f"Remove the folder {file.parent} to begin anew."
    what = "the file of an unfinished evaluation"
    return _checked(decode(JobFile, read_json(file, what, advice), str(file), advice=advice), file, advice)


def _checked(content: JobFile, file: Path, advice: str) -> JobFile:
    shard = content.job.shard
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise damaged(f"a shard I/N with I from 1 to N in {file}", f"{shard[0]}/{shard[1]}", advice)
    return content


def _finished_job(file: Path, shard: tuple[int, int] | None) -> Job:
    stored = read_tally(file).sources.get("job")
    advice = "Evaluate that part anew."
    job = None if stored is None else decode(Job, stored, str(file), advice=advice)
    if job is None or (job.shard is None) != (shard is None):
        raise DataError(
            "counts of an evaluation",
            f"{file}, which segcrit merge wrote",
            "Run segcrit merge again; nothing is left to count.",
        )
    return _checked(JobFile("", job), file, advice).job
