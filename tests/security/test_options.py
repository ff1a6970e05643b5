"""Options that cannot be meant are one sentence and exit code 2."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.compare import runner
from segcrit.apps.compare.predictions import file_stem
from segcrit.apps.compare.prepare import Prepared
from segcrit.apps.compare.settings import Settings
from segcrit.apps.compare.training.module import _schedule
from segcrit.cli import main
from segcrit.core.errors import SegcritError
from segcrit.data.coding.class_names import read_class_names
from tests.evaluate.making import save_png

OPTIONS = (
    ["--num-workers", "-1"],
    ["--num-nodes", "0"],
    ["--accelerator", "tpu"],
    ["--devices", "0,x"],
    ["--strategy", "nope"],
    ["--precision", "nope"],
    ["--seeds", "1" + "0" * 20],
    ["--seeds", "1," + "9" * 20],
    ["--steps", "9" * 30],
    ["--epochs", "9" * 12],
    ["--batch-size", "9" * 12],
    ["--learning-rate", "nan"],
    ["--out", ""],
    ["--model", ":x"],
    ["--model", "..:x"],
    ["--import", ".."],
    ["--losses", "(" * 3000],
)


@pytest.mark.parametrize("words", OPTIONS, ids=lambda words: " ".join(words)[:30])
def test_options_of_compare(words: list[str], finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", str(finished / "data"), "--losses", "ce", "--crop", "16", "--quiet", "--dry-run", *words])
    assert code == 2, capsys.readouterr().err


def test_a_step_that_the_network_cannot_do(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(finished / "data"), "--losses", "ce", "--crop", "1", "--batch-size", "1", "--steps", "2"]
    assert main([*words, "--quiet", "--dry-run"]) == 2
    assert "--crop" in capsys.readouterr().err


@pytest.mark.parametrize("steps", range(1, 24))
def test_schedules_of_every_length(steps: int) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = _schedule(Settings(steps=steps), optimizer, 0.1, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)


@pytest.mark.parametrize("written", [False, True])
def test_a_run_that_wrote_nothing_cannot_be_continued(
    written: bool, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        def __init__(self, prepared: Prepared, begin: float) -> None:
            self.directory = prepared.context.directory

        def run(self) -> None:
            if written:
                self.directory.path.mkdir()
                self.directory.run_file.touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "Session", Stopped)
    words = ["compare", str(finished / "data"), "--losses", "ce", "--steps", "2", "--crop", "16", "--quiet"]
    assert main([*words, "--num-workers", "0", "--out", str(tmp_path / "run")]) == 130
    assert ("--resume" in capsys.readouterr().err) == written


def test_names_that_differ_in_forbidden_characters_stay_apart() -> None:
    names = ["a:b", "a?b", "a<b", "a>b", "a|b", "a*b", "a_b", "x/a:b", "x/../a:b", "../a", "a", "a//b", "a/b", ""]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert all(".." not in stem.split("/") and not set(stem) & set(':?<>|*"') for stem in stems)
    assert file_stem("a_b") == "a_b"


def test_counts_among_the_label_maps_are_no_label_map(tmp_path: Path) -> None:
    for folder in ("truth", "guess"):
        save_png(tmp_path / folder / "a.png", np.eye(4, dtype=np.uint8))
    out = tmp_path / "truth" / "out"
    words = ["evaluate", str(tmp_path / "guess"), str(tmp_path / "truth"), "--classes", "2", "--out", str(out)]
    assert main([*words, "--no-report"]) == 0
    assert main([*words, "--no-report", "--overwrite"]) == 0


@pytest.mark.parametrize(("parent", "part"), [(b"python\0/bin/torchrun\0--nproc", (2, 4)), (b"python\0train.py", None)])
def test_each_process_of_torchrun_evaluates_a_part(
    parent: bytes, part: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segcrit.cli.evaluate import _launched_part

    assert _launched_part() is None
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(Path, "read_bytes", lambda path: parent)
    assert _launched_part() == part


DIGITS = "9" * 5000
OPTIONS_OF_EVALUATE = (
    ["--shard", f"1/{DIGITS}"],
    ["--shard", f"{DIGITS}/{DIGITS}"],
    ["--map", f"{DIGITS}:0"],
    ["--map", f"0..{DIGITS}:0"],
    ["--classes", DIGITS],
    ["--measures", "boundary(tolerance=" + "1+" * 100_000 + "1)"],
    ["--measures", "boundary(spacing=(1e-320, 1))"],
    ["--measures", "boundary(spacing=1e200)"],
    ["--pair", "(" * 2000 + ")" * 2000],
    ["--group-by", "a{99999999999999999999}"],
    ["--groups", "huge.csv"],
    ["--groups", "~nosuchuser/groups.csv"],
    ["--valid", "~nosuchuser/valid"],
)


@pytest.mark.parametrize("words", OPTIONS_OF_EVALUATE, ids=lambda words: " ".join(words)[:30])
def test_options_of_evaluate(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("truth", "guess"):
        save_png(tmp_path / folder / "a.png", np.eye(4, dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    Path("huge.csv").write_text(f'image,group\na,"{"x" * 200_000}"\n')
    code = main(
        ["evaluate", "guess", "truth", "--classes", "2", "--out", "out", "--no-report", "--workers", "1", *words]
    )
    said = capsys.readouterr().err
    assert code == 2, said
    assert words[0] == "--classes" or len(said) < 1000


def test_names_of_classes_may_be_longer_than_the_name_of_a_file(tmp_path: Path) -> None:
    for folder in ("truth", "guess"):
        save_png(tmp_path / folder / "a.png", np.eye(4, dtype=np.uint8))
    names = ",".join(f"a class of the name {index}" for index in range(200))
    words = ["evaluate", str(tmp_path / "guess"), str(tmp_path / "truth"), "--classes", names]
    assert main([*words, "--out", str(tmp_path / "out"), "--no-report", "--workers", "1"]) == 0


@pytest.mark.parametrize("text", [f"{DIGITS} road\n", f"road:{DIGITS},0,0::\n", f"index,name\n{DIGITS},road\n"])
def test_numbers_of_thousands_of_digits_in_lists_of_classes(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with contextlib.suppress(SegcritError):
        read_class_names(tmp_path / "classes.txt")
