"""Counts of files that were replaced, of processes side by side, and of interruptions that come twice."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.evaluate.counting import run as run_module
from segcrit.apps.evaluate.counting.store import read_tally
from segcrit.apps.evaluate.counting.workers import uninterrupted
from segcrit.cli import main
from segcrit.core import atomic
from segcrit.core.errors import DataError, ParameterError
from tests.evaluate.making import save_png

SIZE = (8, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Label maps, perfect predictions, older ones that are all wrong, and their finished evaluation."""
    truth = np.arange(64, dtype=np.uint8).reshape(SIZE) % 2
    for name in ("a", "b"):
        save_png(tmp_path / "truth" / f"{name}.png", truth)
        save_png(tmp_path / "guess" / f"{name}.png", truth)
        save_png(tmp_path / "older" / f"{name}.png", 1 - truth)
    assert main(words(tmp_path)) == 0
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    paths = [str(folder / "guess"), str(folder / "truth")]
    return ["evaluate", *paths, "--classes", "2", "--out", str(folder / "out"), "--no-report", *more]


def miou(folder: Path) -> float:
    lines = (folder / "out" / "figures.csv").read_text().splitlines()
    return next(float(line.split(",")[2]) for line in lines if line.startswith("guess,miou,"))


@pytest.mark.parametrize("same_time", [False, True])
def test_an_older_file_is_counted_again(folder: Path, same_time: bool) -> None:
    file, older = folder / "guess" / "a.png", folder / "older" / "a.png"
    time = file.stat().st_mtime_ns if same_time else 10**18
    os.utime(older, ns=(time, time))
    os.replace(older, file)
    assert main(words(folder, "--resume")) == 0
    assert miou(folder) == pytest.approx(1 / 3)  # half of all pixels are right


def test_nothing_changed_nothing_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "rows_of", lambda *_: pytest.fail("counted again"))
    assert main(words(folder, "--resume")) == 0


@pytest.mark.parametrize("resume", [["--resume"], ["--overwrite"]])
def test_an_error_brings_no_figures(folder: Path, resume: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    save_png(folder / "truth" / "c.png", np.zeros(SIZE, dtype=np.uint8))  # without a prediction
    capsys.readouterr()
    assert main(words(folder, *resume)) == 2
    assert "miou" not in capsys.readouterr().out
    assert (folder / "out" / "counts.npz").is_file()


def test_one_process_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with atomic.locked(folder / "out" / ".counts.lock", "evaluating into it"):
        assert main(words(folder, "--resume")) == 2
    assert "another one that is evaluating" in capsys.readouterr().err
    assert main(words(folder, "--resume")) == 0
    assert not list((folder / "out").glob(".*"))
    with atomic.locked(folder / "x", "here"), pytest.raises(ParameterError) as caught, atomic.locked(folder / "x", "y"):
        pass
    assert caught.value.code == "in-use"


def test_a_second_interruption_waits_for_the_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first comes while images are counted, the second while what was counted is written down."""
    rows_of, save = run_module.rows_of, run_module.Tally.save

    def interrupted(*arguments: object) -> object:
        yield next(iter(rows_of(*arguments)))  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    def slow(tally: run_module.Tally, path: Path) -> None:
        signal.raise_signal(signal.SIGTERM)
        save(tally, path)

    monkeypatch.setattr(run_module, "rows_of", interrupted)
    monkeypatch.setattr(run_module.Tally, "save", slow)
    assert main(words(folder, "--overwrite", "--workers", "1")) == 130
    (part,) = (folder / "out" / ".counts").glob("part-*.npz")
    assert len(read_tally(part).ids) == 1
    part.with_name("part-000001 (copy).npz").write_bytes(b"somebody's")
    monkeypatch.undo()
    assert main(words(folder, "--resume")) == 0


def test_other_threads_are_never_interrupted() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


@pytest.mark.parametrize("name", ["starts", "cells", "counts", "pixels", "head", "ids"])
def test_edited_counts_are_damaged(name: str, folder: Path) -> None:
    file = folder / "out" / "counts.npz"
    with np.load(file) as content:
        arrays = dict(content)
    key = f"0/{name}" if f"0/{name}" in arrays else name
    changed = arrays[key].copy()
    changed[-1] = 125 if changed.dtype == np.uint8 else 10**6 if name != "counts" else -1
    arrays[key] = changed[:-1] if name in ("pixels", "head") else changed if name != "ids" else changed[:1]
    np.savez(file, **arrays)
    assert main(words(folder, "--resume")) == 2
    assert main(["merge", str(file), "--out", str(folder / "merged")]) == 2


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("sources", None),
        ("sources/predictions", ["guess"]),
        ("sources/predictions/guess", 1),
        ("sources/target", None),
        ("sources/options", {"tile": "wide"}),
        ("sources/images", 3),
        ("sources/assumed", 255),
        ("sources/listings", []),
        ("about/colors", [[300, 0, 0], [0, 0, 0]]),
        ("about/values", "words"),
        ("about/turned", "x"),
        ("about/target/classes", {"x": 0}),
        ("modes", {"": 1}),
        ("notes", 5),
        ("models", ["guess", "guess"]),
    ],
)
def test_an_edited_head_of_counts_is_damaged(place: str, value: object, folder: Path) -> None:
    file = folder / "out" / "counts.npz"
    with np.load(file) as content:
        arrays = dict(content)
    head = holder = json.loads(arrays["head"].tobytes())
    *path, last = place.split("/")
    for key in path:
        holder = holder[key]
    holder[last] = value
    np.savez(file, **arrays | {"head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)})
    with pytest.raises(DataError):
        read_tally(file)
    assert main(["merge", str(file), "--out", str(folder / "merged")]) == 2
