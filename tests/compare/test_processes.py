"""The command, in processes of its own where it is killed, interrupted or shares its work; its words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segcrit.apps.compare.results import read_results
from segcrit.cli import main

# A network whose steps can be slowed down without changing a number.
NETWORK = """
import os, time
from torch import nn

class Slow(nn.Module):
    def forward(self, image):
        if self.training:
            time.sleep(float(os.environ.get("SEGCRIT_TEST_SLEEP", "0")))
        return image

def make(num_classes):
    return nn.Sequential(Slow(), nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))
"""
# No file may name code: a run with a network of the user's own is told its name again.
OWN = ["--model", "slow_network:make"]
TRAINING = [*OWN, "--batch-size", "4", "--crop", "32", "--learning-rate", "0.03"]

pytestmark = pytest.mark.slow
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the module of the network."""
    (tmp_path / "slow_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    return tmp_path


# `python -m segcrit`, with Ctrl-C heard even where the tests run in the background of a shell, which mutes it.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from segcrit.cli import main; sys.exit(main(sys.argv[1:]))"
)


def start(
    place: Path, *words: str, sleep: float = 0.0, program: tuple[str, str] = ("-m", "segcrit")
) -> subprocess.Popen[str]:
    environment = os.environ | {"SEGCRIT_TEST_SLEEP": str(sleep), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *program, "compare", *words],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: to start torch and lightning anew takes seconds."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["compare", *words])
        return code, *capsys.readouterr()

    return call


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_a_killed_run_goes_on_and_ends_like_an_uninterrupted_one(folder: Path, place: Path, run: Run) -> None:
    words = [str(folder), "--losses", "ce", "dice", *TRAINING, "--steps", "24", "--epochs", "6"]
    code, out, error = run(*words, "--out", "whole")
    assert code == 0, error
    assert out.splitlines()[-1] == str(Path("whole") / "report.html")
    assert (place / "whole" / "report.html").stat().st_size > 10_000

    process = start(place, *words, "--out", "parts", sleep=0.25)
    # Killed with the second loss in the middle of an epoch.
    wait_for(place / "parts" / "losses" / "02-dice" / "seed-0" / "last.ckpt", process)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (place / "parts" / "results.json").exists()

    code, out, error = run("--out", "parts", "--resume", *OWN)
    assert code == 0, error
    assert "from step" in error
    assert "[1/1] dice" in error
    for part, whole in zip(read_results(place / "parts").losses, read_results(place / "whole").losses, strict=True):
        found, expected = part.seeds[0], whole.seeds[0]
        assert found.training.steps == expected.training.steps
        assert found.validation.steps == expected.validation.steps
        # Sums of floats may be taken in another order in another process; another batch would show in the first digits.
        assert found.training.loss == pytest.approx(expected.training.loss, rel=1e-5)
        assert found.validation.miou == pytest.approx(expected.validation.miou, abs=1e-3)
        assert found.figures.miou == pytest.approx(expected.figures.miou, abs=1e-3)


def test_ctrl_c_says_how_to_go_on(folder: Path, place: Path, run: Run) -> None:
    process = start(
        place,
        str(folder),
        "--losses",
        "ce",
        *TRAINING,
        "--steps",
        "24",
        "--epochs",
        "6",
        "--out",
        "run",
        sleep=0.25,
        program=("-c", PROGRAM),
    )
    wait_for(place / "run" / "losses" / "01-ce" / "seed-0" / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Continue with: segcrit compare --out run --resume --model slow_network:make" in error
    assert "Traceback" not in error
    assert run("--out", "run", "--resume", *OWN)[0] == 0


@pytest.mark.distributed
def test_two_processes_train_like_one(folder: Path, place: Path, run: Run) -> None:
    words = [
        str(folder),
        "--losses",
        "ce",
        "ce + dice",
        *TRAINING,
        "--steps",
        "12",
        "--epochs",
        "2",
        "--save-predictions",
    ]
    code, _, error = run(*words, "--out", "one", "--accelerator", "cpu", "--devices", "1")
    assert code == 0, error
    both = start(place, *words, "--out", "two", "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp")
    out, error = both.communicate(timeout=300)
    assert both.returncode == 0, error
    assert out.count("report.html") == 1
    one, two = read_results(place / "one"), read_results(place / "two")
    assert two.run.machine.processes == 2
    for first, second in zip(one.losses, two.losses, strict=True):
        assert second.seeds[0].training.loss == pytest.approx(first.seeds[0].training.loss, rel=1e-4)
        assert second.seeds[0].counts.ids == first.seeds[0].counts.ids
        assert second.seeds[0].figures.miou == pytest.approx(first.seeds[0].figures.miou, abs=5e-3)
    written = [
        sorted(path.name for path in (place / name / "losses/01-ce/seed-0/predictions").iterdir())
        for name in ("one", "two")
    ]
    assert written[0] == written[1]
    # Continued by one process, it gains a loss that starts from the same weights.
    code, _, error = run("--out", "two", "--add", "dice", "--accelerator", "cpu", *OWN)
    assert code == 0, error
    assert len(read_results(place / "two").losses) == 3


def test_wrong_words_are_one_line_and_code_2(folder: Path, place: Path, run: Run) -> None:
    for words, expected in (
        ([str(folder), "--losses", "ce", "dcie"], "Did you mean 'dice'"),
        ([str(place / "nowhere")], "nowhere"),
        (["--resume"], "--out"),
        (["--out", "nothing", "--resume"], "no such folder"),
        ([str(folder), "--stpes", "3"], "--steps"),
        ([str(folder), "--seeds", "many"], "many"),
        ([str(folder), "--model", "no_module_here:make"], "no_module_here"),
        ([str(folder), "--import", "no_module_here"], "no_module_here"),
    ):
        code, out, error = run(*words)
        assert code == 2, (words, error)
        assert expected in error
        assert error.startswith("segcrit: error: ")
        assert "Traceback" not in error
        assert not out
    assert sorted(path.name for path in place.iterdir() if path.name != "__pycache__") == ["slow_network.py"]


def test_losses_of_the_users_own(folder: Path, place: Path, run: Run) -> None:
    (place / "my_losses.py").write_text(
        "import segcrit\n"
        "@segcrit.region_loss\n"
        "def my_overlap(s, *, smooth: float = 1.0):\n"
        "    return 1 - (2 * s.I + smooth) / (s.P + s.T + smooth)\n"
    )
    code, out, error = run(
        str(folder), "--import", "my_losses", "--losses", "ce", "my_overlap(smooth=2)", *TRAINING,
        "--steps", "4", "--out", "run", "--dry-run",
    )  # fmt: skip
    assert code == 0, error
    assert "my_overlap(smooth=2)" in out
    assert "about" in out
    assert not (place / "run").exists()
