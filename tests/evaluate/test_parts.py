"""Shards, merges, kills and resumes give the figures of one run, to the last digit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrit.apps.evaluate.counting import run
from segcrit.apps.evaluate.counting.run import Interrupted, Job, count_files, merge_files
from segcrit.apps.evaluate.counting.store import read_tally
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.core.errors import DataError, ParameterError
from tests.evaluate.making import folders, maps

OPTIONS = Options("3", measures=("boundary", "calibration"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    root = tmp_path_factory.mktemp("files")
    content = maps(11)
    _, target = folders(root, content)
    generator = np.random.default_rng(5)
    (root / "logits").mkdir()
    for name, (_, guess) in content.items():
        logits = generator.normal(size=(3, *guess.shape)).astype(np.float32)
        np.put_along_axis(logits, guess[None].astype(np.int64), 2.0, axis=0)
        np.save(root / "logits" / f"{name}.npy", logits)
    return root, str(root / "logits"), target


def _figures(tally: Any) -> dict[str, float]:
    return Outcome(tally).first.figures


@pytest.fixture(scope="module")
def whole(files: tuple[Path, str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    _, predictions, target = files
    tally, _ = count_files(Job((predictions,), target, OPTIONS), tmp_path_factory.mktemp("whole"), workers=1)
    return _figures(tally)


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 13])
def test_any_number_of_shards_in_any_order(
    files: tuple[Path, str, str], whole: dict[str, float], tmp_path: Path, parts: int
) -> None:
    _, predictions, target = files
    for part in range(1, parts + 1):
        count_files(Job((predictions,), target, OPTIONS, (part, parts)), tmp_path, workers=1)
    shards = sorted(tmp_path.glob("shard-*.npz"))
    assert len(shards) == parts
    random.Random(parts).shuffle(shards)
    merged, _ = merge_files(shards)
    assert json.dumps(_figures(merged)) == json.dumps(whole)  # the same bits, NaN included
    folder, _ = merge_files([tmp_path])
    assert json.dumps(_figures(folder)) == json.dumps(whole)


def test_merges_of_merges(files: tuple[Path, str, str], whole: dict[str, float], tmp_path: Path) -> None:
    _, predictions, target = files
    for part in range(1, 4):
        count_files(Job((predictions,), target, OPTIONS, (part, 3)), tmp_path, workers=2)
    first, _ = merge_files([tmp_path / "shard-3-of-3.npz", tmp_path / "shard-1-of-3.npz"], allow_missing=True)
    first.save(tmp_path / "first.npz")
    both, _ = merge_files([tmp_path / "first.npz", tmp_path / "shard-2-of-3.npz"])
    assert json.dumps(_figures(both)) == json.dumps(whole)


def test_a_missing_shard_is_an_error(files: tuple[Path, str, str], tmp_path: Path, capsys: Any) -> None:
    _, predictions, target = files
    count_files(Job((predictions,), target, OPTIONS, (1, 3)), tmp_path)
    assert main(["merge", str(tmp_path), "--out", str(tmp_path / "m")]) == 2
    assert "2/3, 3/3 missing" in capsys.readouterr().err
    _, problems = merge_files([tmp_path], allow_missing=True)
    assert "shards-missing" in [problem.code for problem in problems]


def test_other_settings_do_not_merge(files: tuple[Path, str, str], tmp_path: Path) -> None:
    _, predictions, target = files
    count_files(Job((predictions,), target, Options("3"), (1, 2)), tmp_path)
    count_files(Job((predictions,), target, Options("3", policy="detectron2"), (2, 2)), tmp_path)
    with pytest.raises(DataError, match=r"settings \(policy\)"):
        merge_files([tmp_path])


def test_different_counts_of_one_image_do_not_merge(files: tuple[Path, str, str], tmp_path: Path) -> None:
    root, predictions, target = files
    count_files(Job((f"m={predictions}",), target, Options("3")), tmp_path / "a")
    count_files(Job((f"m={root / 'guess'}",), target, Options("3")), tmp_path / "b")
    same, _ = merge_files([tmp_path / "a" / "counts.npz", tmp_path / "a" / "counts.npz"])
    assert len(same.ids) == 11
    other = maps(11, seed=9)
    folders(tmp_path / "other", other)
    count_files(Job((f"m={tmp_path / 'other' / 'guess'}",), target, Options("3")), tmp_path / "c")
    with pytest.raises(DataError, match="different ones of 11 images"):
        merge_files([tmp_path / "a" / "counts.npz", tmp_path / "c" / "counts.npz"])


def test_damaged_files_do_not_merge(files: tuple[Path, str, str], tmp_path: Path) -> None:
    _, predictions, target = files
    count_files(Job((predictions,), target, Options("3")), tmp_path)
    path = tmp_path / "counts.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="damaged"):
        read_tally(path)
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(DataError, match="another npz"):
        read_tally(tmp_path / "other.npz")


def test_threads_and_processes_give_the_same(
    files: tuple[Path, str, str], whole: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segcrit.apps.evaluate.counting import workers

    _, predictions, target = files
    threads, _ = count_files(Job((predictions,), target, OPTIONS), tmp_path / "t", workers=3)
    monkeypatch.setattr(workers, "_WORTH_PROCESSES", 1)
    processes, _ = count_files(Job((predictions,), target, OPTIONS), tmp_path / "p", workers=2)
    assert json.dumps(_figures(threads)) == json.dumps(_figures(processes)) == json.dumps(whole)


def test_interrupted_and_resumed(
    files: tuple[Path, str, str], whole: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, predictions, target = files
    job = Job((predictions,), target, OPTIONS)
    original = run.rows_of
    counted: list[str] = []

    def some(pairs: Any, plan: Any, workers: int) -> Any:
        for place, row in enumerate(original(pairs, plan, 1)):
            if place == 4:
                raise KeyboardInterrupt
            counted.append(row.id)
            yield row

    monkeypatch.setattr(run, "rows_of", some)
    with pytest.raises(Interrupted, match="4 of 11 images"):
        count_files(job, tmp_path, save_every=0.0)
    with pytest.raises(Interrupted, match="8 of 11 images"):
        count_files(job, tmp_path, resume=True)
    assert not (tmp_path / "counts.npz").exists()
    with pytest.raises(ParameterError, match="--resume"):
        count_files(job, tmp_path)
    with pytest.raises(ParameterError, match="others"):
        count_files(Job((predictions,), target, Options("3")), tmp_path, resume=True)
    assert run.read_job(tmp_path) == job
    tally, _ = count_files(job, tmp_path, resume=True)
    assert len(counted) == len(set(counted)) == 11  # no image was counted twice
    assert json.dumps(_figures(tally)) == json.dumps(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["counts.npz"]
    again, _ = count_files(job, tmp_path, resume=True)  # finished: nothing is counted any more
    assert again.ids == tally.ids
    assert len(counted) == 11


SLOWLY = """
import sys, time
from segcrit.apps.evaluate.counting import one_image as counting, workers
original = counting.count_pair
def slow(pair, plan):
    time.sleep(0.15)
    return original(pair, plan)
workers.count_pair = slow
from segcrit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_killed_and_resumed(
    files: tuple[Path, str, str], whole: dict[str, float], tmp_path: Path, number: int, code: int
) -> None:
    _, predictions, target = files
    words = ["evaluate", predictions, target, "--classes", "3", "--measures", "boundary", "calibration"]
    words += ["--out", str(tmp_path), "--save-every", "0", "--workers", "1", "--quiet", "--no-report"]
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *words], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob(".counts/part-*.npz"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    if code == 130:
        assert "--resume" in errors
    assert not (tmp_path / "results.json").exists()
    assert main(["evaluate", "--out", str(tmp_path), "--resume", "--quiet", "--no-report"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())["models"][0]["report"]["figures"]
    assert found == {name: None if value != value else value for name, value in whole.items()}


IN_PROCESSES = """
import sys
from segcrit.apps.evaluate.counting import workers
workers._WORTH_PROCESSES = 1
from segcrit.cli import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    """Otherwise each of them keeps its memory, which may be what the first was killed for."""
    predictions, target = folders(tmp_path, maps(400, (120, 120)))
    words = [
        "evaluate",
        predictions,
        target,
        "--classes",
        "3",
        "--measures",
        "boundary",
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--save-every", "0", "--workers", "2", "--quiet", "--no-report"]
    process = subprocess.Popen([sys.executable, "-c", IN_PROCESSES, *words])
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".counts/part-*.npz")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert len(children) >= 2
    end = time.monotonic() + 20
    try:
        while left := [child for child in children if _lives(child)]:
            assert time.monotonic() < end, left
            time.sleep(0.05)
    finally:
        for child in children:
            if _lives(child):
                os.kill(int(child), signal.SIGKILL)


IN_A_POOL = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from segcrit.apps.evaluate.counting import workers

def wait(pairs, folder):
    if pairs[0] == "first":
        return [os.getpid()]
    (folder / str(os.getpid())).touch()
    while True:
        time.sleep(1)

workers._count_some = wait
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    rows = workers._in_processes(["first"] * 4 + ["later"] * 12, folder, 2)
    first = next(rows)
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    os.kill(first, signal.SIGKILL)
    try:
        list(rows)
    except workers.WorkerLost:
        print("lost", len(multiprocessing.active_children()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_worker_that_is_lost_takes_the_others_with_it(tmp_path: Path) -> None:
    """They ignore the signal by which an executor ends them; one that works, or waits for a lock, would be waited for."""
    program, folder = tmp_path / "pool.py", tmp_path / "busy"
    program.write_text(IN_A_POOL)
    folder.mkdir()
    process = subprocess.Popen([sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        text, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert text.split() == ["lost", "0"]


def _lives(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes on this system")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("awaited", [".counts/job.json", ".counts/part-*.npz"])
def test_a_signal_to_all_processes_ends_quietly(tmp_path: Path, number: int, awaited: str) -> None:
    """As a terminal and the scheduler of a cluster send it: to the workers too, even while they start."""
    predictions, target = folders(tmp_path, maps(70, size=(160, 160)))
    out = tmp_path / "out"
    words = ["evaluate", predictions, target, "--classes", "3", "--measures", "boundary", "--out", str(out)]
    words += ["--workers", "2", "--save-every", "0", "--quiet", "--no-report"]
    command = [sys.executable, "-m", "segcrit", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while not list(out.glob(awaited)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip().startswith("segcrit: interrupted after"), errors
    end = time.monotonic() + 60
    while _is_there(process.pid):  # a worker ends when it has counted its images
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
