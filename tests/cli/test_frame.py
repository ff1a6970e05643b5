"""The frame of the command line: help, exit codes, one clear line for every mistake."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from segcrit import cli
from segcrit.cli import _console, _parser, available_commands, build_parser, main
from segcrit.core.errors import DataError

COMMANDS = [command.name for command in available_commands()]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes ``segcrit doctor`` do something else; call it with what it should do."""

    def install(act: Any) -> None:
        def add_parser(subparsers: Any) -> None:
            parser = subparsers.add_parser("doctor")
            parser.add_argument("--labels", nargs="+")
            parser.add_argument("--size", type=int)
            parser.add_argument("--task", choices=("multiclass", "binary"))
            parser.add_argument("--flag", action="store_true")

        module = types.SimpleNamespace(add_parser=add_parser, run=act)
        monkeypatch.setattr(cli, "_module", lambda name: module)

    return install


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for entry in available_commands():
        assert f"  {entry.name}" in text
        assert entry.purpose in text
    assert text.startswith("usage: segcrit COMMAND [options]\n")
    assert max(map(len, text.splitlines())) <= 110
    assert main([]) == 0
    assert capsys.readouterr().out == text
    assert main(["help"]) == 0
    assert capsys.readouterr().out == text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from segcrit import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"segcrit {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: segcrit {name}")
    assert len(text.splitlines()) > 5
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_keeps_its_name(name: str) -> None:
    parser = build_parser([name])
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert list(subparsers.choices) == [name]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["explian"], "segcrit: error: segcrit has no command 'explian'. Did you mean 'explain'?"),
        (["--verison"], "segcrit: error: segcrit has no option '--verison'."),
        (
            ["doctor", "--lables", "1"],
            "segcrit: error: 'segcrit doctor' has no option '--lables'. Did you mean '--labels'?",
        ),
        (
            ["doctor", "--label", "1"],
            "segcrit: error: 'segcrit doctor' has no option '--label'. Did you mean '--labels'?",
        ),
        (["doctor", "--zzz"], "segcrit: error: 'segcrit doctor' has no option '--zzz'. See 'segcrit doctor --help'."),
        (
            ["doctor", "more"],
            "segcrit: error: unexpected argument 'more' for 'segcrit doctor'. See 'segcrit doctor --help'.",
        ),
        (
            ["doctor", "--task", "binry"],
            "segcrit: error: argument --task: 'binry' is not one of multiclass, binary. Did you mean 'binary'?",
        ),
        (
            ["doctor", "--size", "big"],
            "segcrit: error: argument --size: invalid int value: 'big'. See 'segcrit doctor --help'.",
        ),
        (["doctor", "--size"], "segcrit: error: argument --size: expected one argument. See 'segcrit doctor --help'."),
    ],
)
def test_wrong_words(words: list[str], line: str, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda arguments: 0)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_an_error_of_segcrit_is_one_line(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise DataError("a folder", "no such folder", "Give one.")

    command(fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "segcrit: error: expected a folder, got no such folder. Give one.\n"
    assert main(["doctor", "--traceback"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("segcrit: error: expected a folder, got no such folder. Give one.\n")


def test_an_error_of_the_system_is_one_line(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        open("/nowhere/at/all")  # noqa: SIM115 - it never opens
        return 0

    command(fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "segcrit: error: No such file or directory: /nowhere/at/all\n"


def test_a_fault_of_segcrit_asks_for_a_report(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        return [][0]

    command(fail)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("segcrit: error: ")
    assert said.count("\n") == 1
    assert "IndexError" in said
    assert "--traceback" in said
    assert main(["doctor", "--traceback"]) == 1
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


def test_too_little_memory_is_no_fault(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise MemoryError

    command(fail)
    assert main(["doctor"]) == 2
    assert "expected enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["b\udcff", "a\0b"])
def test_words_that_are_no_text(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", word]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Gone(io.StringIO):
    """An output whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize(("stream", "code"), [(None, 0), (Gone(), 141)])
def test_without_a_reader_the_command_still_does_its_work(
    stream: Any, code: int, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def work(arguments: argparse.Namespace) -> int:
        print("a table")
        done.append("the report")
        return 0

    command(work)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["doctor"]) == code
    assert done == ["the report"]
    assert sys.stdout is stream


def test_what_is_printed_does_nothing_to_the_terminal(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    name = "sea\x1b]0;title\x07\x9b31m\u202e\r\x7f"

    def show(arguments: argparse.Namespace) -> int:
        print(name)
        print(json.dumps([name], ensure_ascii=False))
        _console.heading(name)
        _console.table(["name"], [[name]])
        _console.text(name)
        _console.note(name)
        warnings.simplefilter("always")
        warnings.warn_explicit(name, UserWarning, _parser.__file__, 1)
        raise DataError(name, name, name)

    command(show)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    for text in captured:
        assert not set(text) & set("\x1b\x07\x9b\u202e\r\x7f")
        assert "sea\\u001b]0;title\\u0007\\u009b31m\\u202e" in text
    assert json.loads(captured.out.splitlines()[1]) == [name]
    assert _console.plain("Größe ∂ 水\tκ\n👍🏽") == "Größe ∂ 水\tκ\n👍🏽"


def test_interrupt(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    command(interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "\nsegcrit: interrupted.\n"


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3)])
def test_exit_code_of_a_command(code: int, expected: int, command: Any) -> None:
    command(lambda arguments: code)
    assert main(["doctor"]) == expected


def test_own_warnings_are_notes(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def warn(arguments: argparse.Namespace) -> int:
        warnings.simplefilter("always")
        warnings.warn_explicit("look out", UserWarning, _parser.__file__, 1)
        warnings.warn_explicit("theirs", UserWarning, "/elsewhere/other.py", 1)
        return 0

    command(warn)
    with pytest.warns(UserWarning, match="theirs") as others:
        assert main(["doctor"]) == 0
    assert capsys.readouterr().err == "segcrit: note: look out\n"
    assert len(others) == 1


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--labels", "-1,2 / 0,3"], ["-1,2 / 0,3"]),
        (["--labels", "-1", "-2"], ["-1", "-2"]),
        (["--labels", "-1.5 2"], ["-1.5 2"]),
        (["--labels", "-1;2"], ["-1;2"]),
        (["--labels=-.5,1"], ["-.5,1"]),
    ],
)
def test_negative_numbers_are_values(words: list[str], read: list[str], command: Any) -> None:
    seen: list[Any] = []
    command(lambda arguments: seen.append(arguments.labels) or 0)
    assert main(["doctor", *words]) == 0
    assert seen == [read]


def _run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "segcrit", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **options,
    )


def test_the_command_as_a_process() -> None:
    """``python -m segcrit`` in a terminal that knows ASCII only: symbols are lost, nothing else."""
    done = _run("losses", "dice", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "1 ? (2 I + s)/(P + T + s)" in done.stdout


def test_a_closed_pipe_is_quiet() -> None:
    shell = f"'{sys.executable}' -m segcrit losses --json | head -c 5"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("[")


# Hides everything that only an extra installs: what is left is the smallest installation. One process for all commands,
# because each has to import torch.
SMALL = """
import contextlib, io, json, sys
for name in ("rich matplotlib jinja2 markupsafe lightning pytorch_lightning monai PIL scipy pandas tifffile nibabel "
             "tensorboard").split():
    sys.modules[name] = None
from segcrit.cli import main
results = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""

WORK_ALWAYS = [["--help"], ["doctor"], ["losses"], ["losses", "lovasz"], ["explain", "dice + lovasz"], ["explain"]]
WORK_ALWAYS += [["bench", "--shape", "1,3,8,8", "--only", "ce", "--no-compile", "--no-memory", "--seconds", "0.01"]]
NEED_MORE = [["explain", "--out", "x.html"], ["explain", "--out", "x.png"], ["explain", "--curves"]]
NEED_MORE += [["explain", "--image", "a", "--checkpoint", "b"]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str, str]]]:
    """A folder, and what each command line said there: exit code, stdout, stderr."""
    folder = tmp_path_factory.mktemp("small")
    lines = WORK_ALWAYS + NEED_MORE
    done = subprocess.run(
        [sys.executable, "-c", SMALL, json.dumps(lines)], capture_output=True, text=True, check=True, cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    results = json.loads(done.stdout)
    return folder, {" ".join(words): tuple(result) for words, result in zip(lines, results, strict=True)}


@pytest.mark.parametrize("words", WORK_ALWAYS, ids=" ".join)
def test_the_smallest_installation(words: list[str], small: tuple[Path, dict[str, tuple[int, str, str]]]) -> None:
    code, out, err = small[1][" ".join(words)]
    assert code == 0, err
    assert len(out) > 300


def test_pictures_say_what_they_need(small: tuple[Path, dict[str, tuple[int, str, str]]]) -> None:
    folder, said = small
    for words in NEED_MORE:
        code, _, err = said[" ".join(words)]
        assert code == 2
        assert err.startswith("segcrit: error: expected the package")
        assert err.endswith("pip install 'segcrit[compare]'\n")
    assert not list(folder.iterdir())
