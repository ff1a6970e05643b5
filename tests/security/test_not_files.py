"""Pipes in place of files: whatever a command reads, it refuses them or goes on, and never waits for a writer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from segcrit.apps.compare.report.pictures import photo_uri
from segcrit.apps.compare.results import read_results
from segcrit.apps.compare.training.checkpoints import read_tensors
from segcrit.cli import main
from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from tests.evaluate.making import save_png

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An evaluation of two images."""
    for folder in ("truth", "guess"):
        for name in ("a", "b"):
            save_png(tmp_path / folder / f"{name}.png", np.eye(4, dtype=np.uint8))
    paths = [str(tmp_path / "guess"), str(tmp_path / "truth")]
    return ["evaluate", *paths, "--classes", "2", "--out", str(tmp_path / "out"), "--no-report", "--workers", "1"]


def test_masks_of_valid_pixels(words: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        pipe(tmp_path / "valid" / f"{name}.png")
    assert main([*words, "--valid", str(tmp_path / "valid")]) == 2


@pytest.mark.parametrize("name", ["guess/counts.npz", "out/results.json", "out/boundary.csv", "out/.counts/job.json"])
def test_files_of_an_earlier_evaluation(name: str, words: list[str], tmp_path: Path) -> None:
    pipe(tmp_path / name)
    assert main([*words, "--overwrite"]) in (0, 2)


def test_a_readme_of_a_data_folder(finished: Path, tmp_path: Path) -> None:
    for name in ("images", "masks", "splits", "classes.json"):
        (tmp_path / name).symlink_to(finished / "data" / name)
    pipe(tmp_path / "README.md")
    assert load_folder(tmp_path, progress=False).description == ""


def test_files_of_a_comparison(run: Path) -> None:
    training = run / "losses" / "01-ce" / "seed-0"
    with pytest.raises(DataError):
        read_tensors(pipe(training / "best.ckpt"), "a checkpoint", "")
    with pytest.raises(DataError):
        read_results(pipe(run / "results.json"))
    with pytest.raises(DataError):
        photo_uri(pipe(run / "examples" / "01-image.png"))


def test_pictures_of_other_formats_start_no_program(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(DataError):
        photo_uri(file)
