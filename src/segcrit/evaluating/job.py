"""What is to be evaluated, as a value that is written down beside unfinished counts and read again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from segcrit.data.problems import named
from segcrit.errors import DataError
from segcrit.evaluating.options import Options

__all__ = ["JOB_FILE", "Job", "read_job"]

JOB_FILE: Final = "job.json"


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
            return "counts"
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


def read_job(folder: Path, shard: tuple[int, int] | None = None) -> Job:
    """The unfinished job of a folder, or that of a shard there.

    Raises:
        DataError: there is none, or several.
    """
    found = sorted(folder.glob(f".*/{JOB_FILE}"))
    if shard is not None:
        wanted = f".{Job((), '', shard=shard).name}"
        found = [place for place in found if place.parent.name == wanted]
    if not found:
        raise DataError(
            f"an unfinished evaluation in {folder}", "none", "Give predictions and label maps to begin one."
        )
    if len(found) > 1:
        names = [place.parent.name.lstrip(".") for place in found]
        raise DataError(f"one unfinished evaluation in {folder}", named(names), "Repeat the command with --shard.")
    content = json.loads(found[0].read_text(encoding="utf-8"))["job"]
    own = content["shard"]
    return Job(
        tuple(content["predictions"]),
        content["target"],
        Options.from_dict(content["options"]),
        None if own is None else (int(own[0]), int(own[1])),
        content["images"],
    )
