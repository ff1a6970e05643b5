"""The folder of a run: where everything lies, and what is known about the run when it is continued.

run.json                      settings, losses, what identifies data and network; time spent so far
initial/seed-0.pt             the initial weights that every loss starts from
losses/01-ce/learning_rate.json   what the search for one found
losses/01-ce/seed-0/          last.ckpt (to resume from), best.ckpt, result.json (finished)
losses/01-ce/seed-0/predictions/
tensorboard/01-ce/seed-0/     event files
examples/                     pictures for the report
results.json, *.csv, report.html
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from segcrit.apps.compare.records import ComputedWord, LearningRate, SeedResult
from segcrit.core import atomic
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import damaged, decode, encode, read_json

__all__ = ["DataRecord", "LossPlan", "ModelRecord", "RunDirectory", "RunState", "TrainingFolder"]

_VERSION: Final = 1
_RUN_FILE: Final = "run.json"
_RESTORE_RUN: Final = "The file was edited or damaged: restore it, or start a new run in another folder."

T = TypeVar("T")


@dataclass(frozen=True)
class LossPlan:
    """One loss of a run.

    Attributes:
        given: as the user wrote it.
        canonical: ``str(parse(given))``, which identifies it.
        resolved: the same with numbers for words: what is trained.
        folder: name of its folder.
        words: the words that were computed.
    """

    given: str
    canonical: str
    resolved: str
    folder: str
    words: tuple[ComputedWord, ...] = ()

    def __post_init__(self) -> None:
        # A name from run.json: the folder is written to, and checkpoints in it are removed.
        if re.fullmatch(r"\d+-[A-Za-z0-9.+_-]*", self.folder) is None:
            raise DataError(
                "the name of a loss's folder, such as '01-ce'",
                reprlib.repr(self.folder),
                _RESTORE_RUN,
                code="path-leaves-folder",
            )


@dataclass(frozen=True)
class DataRecord:
    """How the data was given, and what identifies it.

    Attributes:
        fingerprint: of images, splits and classes.
        name: for people.
        kind: ``"default"``, ``"folder"`` or ``"own"`` loaders.
        path, train_labels, group_by, pair, valid: of a folder, as the user gave them.
    """

    fingerprint: str
    name: str
    kind: Literal["default", "folder", "own"]
    path: str = ""
    train_labels: str = ""
    group_by: str = ""
    pair: str = ""
    valid: str = ""


@dataclass(frozen=True)
class ModelRecord:
    """How the network was given.

    Attributes:
        spec: as the user wrote it, or the name of an object.
        signature: of the names and shapes of its weights.
        own: whether it was given as an object, which only a call can give again.
    """

    spec: str
    signature: str
    own: bool


@dataclass(frozen=True)
class RunState:
    """The content of ``run.json``."""

    created: str
    segcrit_version: str
    command: str
    settings: dict[str, Any]
    data: DataRecord
    model: ModelRecord
    losses: tuple[LossPlan, ...]
    elapsed_seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    version: int = _VERSION


@dataclass(frozen=True)
class TrainingFolder:
    """The files of one loss and seed."""

    path: Path

    @property
    def last(self) -> Path:
        """Checkpoint at the end of the latest epoch."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint with the best validation figure."""
        return self.path / "best.ckpt"

    @property
    def result_file(self) -> Path:
        """Present when the training is finished and tested."""
        return self.path / "result.json"

    @property
    def predictions(self) -> Path:
        """Predicted labels of the test images."""
        return self.path / "predictions"

    def remove_leftovers(self) -> None:
        """Remove checkpoints that a killed process was in the middle of writing (see :mod:`segcrit.core.atomic`)."""
        for path in self.path.glob(".*.ckpt"):
            path.unlink(missing_ok=True)

    @property
    def batches_file(self) -> Path:
        """Checksum of the first batches."""
        return self.path / "batches.txt"

    def read_result(self) -> SeedResult | None:
        """The result, or None where the training is not finished."""
        return _read(SeedResult, self.result_file, f"Remove {self.path} to train this loss and seed again.")

    def write_result(self, result: SeedResult) -> None:
        """Mark the training as finished."""
        atomic.atomic_write_text(self.result_file, json.dumps(encode(result), allow_nan=False) + "\n")


class RunDirectory:
    """A run's folder.

    Args:
        path: the folder; made when the first file is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def run_file(self) -> Path:
        """``run.json``."""
        return self.path / _RUN_FILE

    def training(self, loss: LossPlan, seed: int) -> TrainingFolder:
        """The folder of one loss and seed."""
        return TrainingFolder(self.path / "losses" / loss.folder / f"seed-{seed}")

    def read_learning_rate(self, loss: LossPlan) -> LearningRate | None:
        """What the search for a learning rate found so far; its value is NaN while trials are missing."""
        path = self.path / "losses" / loss.folder / "learning_rate.json"
        return _read(LearningRate, path, "Remove it to search for the learning rate again.")

    def write_learning_rate(self, loss: LossPlan, rate: LearningRate) -> None:
        """Keep what the search found so far."""
        path = self.path / "losses" / loss.folder / "learning_rate.json"
        atomic.atomic_write_text(path, json.dumps(encode(rate), allow_nan=False) + "\n")

    def initial_weights(self, seed: int) -> Path:
        """The weights that every loss starts from."""
        return self.path / "initial" / f"seed-{seed}.pt"

    def tensorboard(self, loss: LossPlan, seed: int) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard" / loss.folder / f"seed-{seed}"

    def relative(self, path: Path) -> str:
        """A path as results keep it: relative to the folder, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    def read(self) -> RunState:
        """What the run was started with.

        Raises:
            DataError: there is no run in the folder, or its file is damaged or of another version.
        """
        try:
            content = read_json(self.run_file, "a run", _RESTORE_RUN)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"a run of segcrit compare in {self.path}",
                "a folder without run.json" if self.path.is_dir() else "no such folder",
                "Give the folder of a run (--out), or leave --resume and --add out to start one.",
            ) from None
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise DataError(
                f"version {_VERSION} in {self.run_file}",
                reprlib.repr(content.get("version")) if isinstance(content, dict) else type(content).__name__,
                "Continue the run with the version of segcrit that started it.",
            )
        state = decode(RunState, content, str(self.run_file), advice=_RESTORE_RUN)
        if len({loss.folder for loss in state.losses}) < len(state.losses):
            raise damaged(f"a folder of its own for each loss in {self.run_file}", "one twice", _RESTORE_RUN)
        return state

    def write(self, state: RunState) -> None:
        """Keep what the run was started with, and how far it came."""
        atomic.atomic_write_text(self.run_file, json.dumps(encode(state), indent=1, allow_nan=False) + "\n")

    def require_new(self) -> None:
        """Refuse to start where something lies already.

        Raises:
            ParameterError: the folder is not empty.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ParameterError(f"a folder for the run at {self.path}", "a file", "Choose another --out.")
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        if self.run_file.exists():
            raise ParameterError(
                "an empty or new folder to start a run in",
                f"{self.path}, which holds a run",
                "Continue it with --resume, extend it with --add LOSS, or choose another --out.",
            )
        raise ParameterError(
            "an empty or new folder to start a run in",
            f"{self.path}, which holds other files",
            "Choose another --out (--resume and --add need the folder of a run).",
        )


def folder_name(position: int, canonical: str) -> str:
    """A short name for the folder of a loss, "03-ce+dice"; the number makes it unique.

    Example:
        >>> folder_name(3, "ce + 0.5*dice(smooth=1)")
        '03-ce+0.5dice-smooth-1'
    """
    short = re.sub(r"[^A-Za-z0-9.+_]+", "-", canonical.replace(" ", "").replace("*", "")).strip("-.")
    return f"{position:02d}-{short[:40].rstrip('-.')}"


def _read(kind: type[T], path: Path, advice: str) -> T | None:
    """The record in a file of the run, or None where it is not written yet."""
    try:
        content = read_json(path, "a file of the run", advice)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return decode(kind, content, str(path), advice=advice)
