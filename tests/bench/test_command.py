"""``segcrit bench``: what it prints and writes, what it refuses, what it leaves after Ctrl-C or without memory."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from segcrit.apps.bench import session
from segcrit.apps.bench.contenders import COMPILED
from segcrit.apps.bench.measure import Turns
from segcrit.apps.bench.records import Memory, Result
from segcrit.cli import main
from segcrit.core.progress import StageReporter

FAST = ["--seconds", "0.01", "--threads", "1"]
TINY = ["--shape", "2,3,16,16", *FAST]
WITHOUT = ["--no-memory", "--no-compile"]


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Memory is made up instead of measured; a test of the ruler itself is in test_measure.py."""
    asked: list[int] = []

    def measure(self, entries, advance=lambda: None):
        asked.append(len(entries))
        return [Memory(5 << 20, None) for _ in entries]

    monkeypatch.setattr("segcrit.apps.bench.memory.MemoryMeter.measure", measure)
    return asked


def test_a_whole_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_processes: list[int]) -> None:
    out, picture = tmp_path / "a.json", tmp_path / "a.png"
    words = ["bench", *TINY, "--only", "ce", "lovasz", "--no-compile", "--json", str(out), "--plot", str(picture)]
    threads = torch.get_num_threads()
    assert main(words) == 0
    assert torch.get_num_threads() == threads
    text = capsys.readouterr().out
    assert "2×3×16×16: does it fit?" in text
    assert text.index("does it fit?") < text.index("time and memory")
    assert "LovaszSoftmax as published" in text
    assert "lovasz, against a sort in float64" in text
    result = Result.load(out)
    (panel,) = result.panels
    assert not result.interrupted
    assert {row.kind for row in panel.rows} == {"ce", "lovasz"}
    for row in panel.rows:
        assert row.library != COMPILED
        assert (row.time is None) == bool(row.not_run)
        if row.time is not None:
            assert row.time.runs >= 3
            assert row.extra == 5 << 20
            assert (row.value_error is not None) == (row.kind == "lovasz" and not row.note)
        else:
            assert row.not_run == "not installed"
    assert panel.copy is not None
    assert set(panel.reads) == {"sum", "amax"}
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["--shape", "2,1,16,16", "--task", "binary"], 7),
        (["--shape", "2,3,16,16", "--task", "multilabel"], 5),
        (["--shape", "4,3"], 10),
        (["--shape", "1,3,6,6,6", "--channels-last", "--dtype", "bfloat16", "--only", "ce", "evaluate labels"], 2),
        (["--shape", "1,3,8,8", "--upsample", "2", "--losses", "ce+dice", "focal(gamma=3)"], 2),
        (["--shape", "1,3,8", "--only", "ce", "--losses", "ce", "2*ce"], 2),
    ],
    ids=str,
)
def test_other_problems(words: list[str], kinds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the dimensions, the task and the dtype: PyTorch and segcrit run; a peer that cannot says so."""
    assert main(["bench", *words, *FAST, *WITHOUT, "--json", str(tmp_path / "a.json")]) == 0
    (panel,) = Result.load(tmp_path / "a.json").panels
    assert len({row.kind for row in panel.rows}) == kinds
    for row in panel.rows:
        if row.library in ("torch", "segcrit", "segcrit reference"):
            assert row.time is not None, f"{row.kind}, {row.library}: {row.not_run}"
            assert row.value is not None
    out = capsys.readouterr().out
    assert "time and memory" in out


def test_several_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--shape", "1,3,8,8", "--shape", "1,4,8,8", "--losses", "2*ce"]
    assert main(["bench", *words, *FAST, *WITHOUT, "--json", str(tmp_path / "a.json")]) == 0
    assert [panel.key for panel in Result.load(tmp_path / "a.json").panels] == ["1×3×8×8", "1×4×8×8"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--shape", "2,21,x"], "expected --shape as whole numbers and commas, got '2,21,x'. Example: 2,21,512,512."),
        (["--shape", "2"], "expected a shape N,C and up to 3 spatial sizes"),
        (["--shape", "1,2,1000000000000000"], "expected a shape of at most"),
        (["--shape", "1,100000,8,8"], "expected a shape of at most"),
        (["--shape", "2,1,8,8"], "expected at least 2 classes for task multiclass, got shape 2×1×8×8."),
        (["--shape", "2,3", "--upsample", "2"], "expected a whole factor of 1 or more, and spatial dimensions"),
        (["--only", "dcie"], "Did you mean 'dice'?"),
        (["--only", "focal(gamma=3)"], "--losses takes any expression."),
        (["--losses", "cee"], "cee"),
        (["--losses", "bce"], "'binary'"),
        (["--seconds", "0"], "expected --seconds greater than 0, got 0."),
        (["--seconds", "nan"], "expected --seconds greater than 0, got nan."),
        (["--threads", "0"], "expected --threads of at least 1, got 0."),
        (["--plot", "a.bmp"], "expected a picture with one of the suffixes .png, .svg, .pdf, got a.bmp."),
        (["--import", "no_such_module_at_all"], "expected a module that can be imported"),
        (
            ["--dtype", "float31"],
            "'float31' is not one of float32, bfloat16, float16, float64. Did you mean 'float32'?",
        ),
        (["--sape", "1,2"], "Did you mean '--shape'?"),
    ],
    ids=str,
)
def test_wrong_words(words: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("segcrit: error: ")
    assert line in captured.err


def test_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_processes: list[int]
) -> None:
    """Ctrl-C in the middle of the turns: what was measured is shown and written, later shapes are left out."""
    take, taken = Turns._take, []

    def interrupted(self: Turns, name: str) -> None:
        taken.append(name)
        if len(taken) > 5:
            raise KeyboardInterrupt
        take(self, name)

    monkeypatch.setattr(Turns, "_take", interrupted)
    words = ["bench", *TINY, "--shape", "1,3,8,8", "--only", "ce", "--no-compile", "--json", str(tmp_path / "a.json")]
    assert main(words) == 130
    captured = capsys.readouterr()
    assert "time and memory" in captured.out
    assert "interrupted" in captured.err
    result = Result.load(tmp_path / "a.json")
    assert result.interrupted
    (panel,) = result.panels
    assert panel.copy is not None
    assert sum(row.time is not None for row in panel.rows) == 2


def test_without_enough_memory_the_greedy_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Estimates come first; what would not fit is never started."""
    monkeypatch.setattr(session, "free_memory", lambda: 60 << 20)
    needs = {"torch": 80 << 20, "segcrit": 8 << 20, "segcrit reference": 9 << 20}

    def estimated(meter, entries, advance=lambda: None):
        return [needs.get(entry.contender.library) for entry in entries]

    monkeypatch.setattr(session, "estimate", estimated)
    started = []
    keep = session._step
    monkeypatch.setattr(session, "_step", lambda work, tensors: started.append(1) or keep(work, tensors))
    words = ["bench", "--shape", "1,16,256,256", *FAST, *WITHOUT, "--only", "ce", "--json", str(tmp_path / "a.json")]
    assert main(words) == 0
    rows = {row.library: row for row in Result.load(tmp_path / "a.json").panels[0].rows}
    assert rows["torch"].not_run.startswith("would need about 80 MiB")
    assert rows["torch"].time is None
    assert rows["segcrit"].time is not None
    assert len(started) == 2
    out = capsys.readouterr().out
    assert "about 80 MiB" in out
    assert "Not run, would need about 80 MiB" in out


def test_logits_that_do_not_fit_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "free_memory", lambda: 60 << 20)
    monkeypatch.setattr(session, "estimate", lambda meter, entries, advance: [3 << 30 for _ in entries])
    monkeypatch.setattr(session, "_machine_steps", lambda tensors: pytest.fail("something large was started"))
    words = ["bench", "--shape", "8,150,512,512", *FAST, *WITHOUT, "--losses", "ce", "--json", str(tmp_path / "a.json")]
    assert main(words) == 0
    (panel,) = Result.load(tmp_path / "a.json").panels
    assert all(row.not_run.startswith("logits, their copy and the labels alone need") for row in panel.rows)
    assert all(row.estimated == 3 << 30 for row in panel.rows)
    out = capsys.readouterr().out
    assert "about 3.0 GiB" in out
    assert "time and memory" not in out


def test_without_a_compiler_the_compiled_row_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "why_no_compiler", lambda: "torch.compile found no C++ compiler (g++ or clang++)")
    assert main(["bench", *TINY, "--only", "ce", "--no-memory", "--json", str(tmp_path / "a.json")]) == 0
    rows = Result.load(tmp_path / "a.json").panels[0].rows
    assert [row.not_run for row in rows if row.library == COMPILED] == [
        "torch.compile found no C++ compiler (g++ or clang++)"
    ]
    assert "found no C++ compiler" in capsys.readouterr().out


def test_a_picture_without_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is measured."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", *TINY, "--plot", "a.png"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("pip install 'segcrit[bench]'\n")


def test_losses_of_a_module_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the process that measures memory."""
    name = "segcrit_test_losses_of_a_user"
    (tmp_path / f"{name}.py").write_text(
        "import segcrit\n@segcrit.region_loss\ndef half_of_a_dice(s):\n    return 0.5 - s.I / (s.P + s.T)\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["bench", *TINY, "--import", name, "--losses", "half_of_a_dice", "--json", "a.json"]
    try:
        assert main(words) == 0
    finally:
        sys.modules.pop(name, None)
        from segcrit.losses import table

        del table._TABLE["half_of_a_dice"], table._NAMES["half_of_a_dice"]
    rows = Result.load(tmp_path / "a.json").panels[0].rows
    assert [row.library for row in rows] == ["segcrit reference", "segcrit"]
    assert all(row.memory is not None for row in rows), [row.not_run for row in rows]


def test_a_missing_compiler_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from segcrit.apps.bench.contenders import why_no_compiler

    def missing() -> str:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", missing)
    assert "no C++ compiler" in why_no_compiler()


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    assert main(["bench", *TINY, *WITHOUT, "--losses", "dice", "--json", str(tmp_path / "a.json")]) == 0
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == 2
    assert content["panels"][0]["rows"][0]["time"]["runs"] >= 3


def test_lines_elsewhere_from_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log file has its first line before a peer is imported or a compiler is looked for, and a line for every stage."""
    said_before: list[str] = []

    def look() -> str:
        said_before.append(capsys.readouterr().err)
        return "no compiler"

    monkeypatch.setattr(session, "why_no_compiler", look)
    assert main(["bench", *TINY, "--no-memory", "--losses", "dice"]) == 0
    assert re.fullmatch(r"2×3×16×16: who can run here \(\d+\)\n", said_before[0])
    assert ": time (" in capsys.readouterr().err


def test_the_first_bar_comes_before_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(StageReporter, "prepare", lambda self, title, total=1: shown.append(title))

    def refuse(arguments: object, progress: StageReporter) -> int:
        assert shown == ["loading PyTorch"]
        return 0

    monkeypatch.setattr("segcrit.cli.bench._measure", refuse)
    assert main(["bench"]) == 0


def test_the_bar_says_what_it_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    progress = StageReporter(show=True)
    progress.stage("who can run here", 2)
    progress.at("monai")
    progress.at("kornia")
    assert progress._bars.tasks[-1].fields["note"] == "kornia"
    progress.end_stage()
    progress.at("nothing")


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    progress = StageReporter(show=True)
    progress.stage("time", 3)
    progress.update(1.5)
    progress.advance()
    progress.end_stage()
    progress.end_stage()
    silent = StageReporter(show=False)
    silent.stage("time", 3)
    silent.update(1)
    silent.end_stage()
    assert capsys.readouterr().out == ""
