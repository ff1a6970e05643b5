"""The command ``segcrit``: finds the command that was asked for, runs it, turns errors into exit codes.

Only this module and the parser are imported for ``segcrit --help``; a command's module is imported when it
is named, and what it needs (torch, lightning, matplotlib) when it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import TextIO, cast

from segcrit.cli import _console
from segcrit.cli._console import Output
from segcrit.cli._parser import Parser, fail, join_negative_numbers
from segcrit.core.errors import SegcritError
from segcrit.core.names import nearest
from segcrit.core.optional import import_own

__all__ = ["COMMANDS", "Command", "available_commands", "build_parser", "main"]

FAULT = 1
ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(frozen=True)
class Command:
    """One row of ``segcrit --help``; the module ``segcrit.cli.<name>`` holds ``add_parser`` and ``run``."""

    name: str
    group: str
    purpose: str


CHOOSE, JUDGE, UNDERSTAND = "Choose a loss", "Judge predictions", "Understand a loss"
PREPARE, MACHINE = "Prepare labels", "Your machine"

COMMANDS = (
    Command("compare", CHOOSE, "train one network under several losses on your data and report which won"),
    Command("inspect", CHOOSE, "look through a data folder: class shares, label errors, losses that suit it"),
    Command("evaluate", JUDGE, "judge predictions against label maps: figures, intervals, a report; compare models"),
    Command("merge", JUDGE, "join the shards of an evaluation"),
    Command("explain", UNDERSTAND, "every step of a loss with your own numbers, maps of an image, curves"),
    Command("losses", UNDERSTAND, "the table of losses, or one of them in full"),
    Command("scribble", PREPARE, "make scribbles, points or partial labels from full masks"),
    Command("bench", MACHINE, "time and memory of each loss on this machine; does your batch fit?"),
    Command("doctor", MACHINE, "versions, engines and GPU here, and what is missing"),
)

EXAMPLES = (
    ("segcrit explain", "a worked example, step by step"),
    ("segcrit inspect DATA", "what is in a folder with images/ and masks/"),
    ('segcrit compare DATA --losses ce dice "ce + dice"', "which loss is best there"),
    ("segcrit evaluate PRED MASKS --classes 19", "mIoU and more, with intervals"),
    ("segcrit losses focal", "formula, parameters, when to use it"),
    ("segcrit bench --shape 4,19,512,1024", "what the losses cost on your batch"),
)


def available_commands() -> list[Command]:
    """The commands whose module is part of this installation."""
    return [command for command in COMMANDS if find_spec(f"segcrit.cli.{command.name}") is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``segcrit`` with these arguments (default: those of the process) and return its exit code.

    0: done. 2: bad input, reported in one line on stderr. 130: interrupted. 1: a fault of segcrit, reported in one
    line that asks for a report. ``--traceback`` shows where in the code an error came from.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        segcrit ...
        0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in words
    words = join_negative_numbers([word for word in words if word != "--traceback"])
    _survive_narrow_encodings()
    if sys.stderr is None:
        sys.stderr = cast(TextIO, Output(None))  # closed (2>&-); print would take stdout for it
    usual, output = sys.stdout, Output(sys.stdout)
    sys.stdout = cast(TextIO, output)
    try:
        code = _guarded(words, show_traceback)
        output.flush()
    finally:
        sys.stdout = usual
    if code == 0 and isinstance(output.failure, BrokenPipeError):
        return BROKEN_PIPE
    if code == 0 and isinstance(output.failure, OSError):
        _console.say(_message(output.failure))
        return ERROR
    return code


def _guarded(words: list[str], show_traceback: bool) -> int:
    """Run the command; whatever it raises becomes one sentence and an exit code."""
    try:
        with warnings.catch_warnings():
            _show_own_warnings_as_notes()
            _require_text(words)
            return _dispatch(words)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            _console.say(leaving.code)
        return leaving.code if isinstance(leaving.code, int) else (0 if leaving.code is None else ERROR)
    except KeyboardInterrupt:
        print("\nsegcrit: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if show_traceback:
            import traceback

            traceback.print_exc()
        # An OSError is the user's disk, folder or permission, not a fault of the program.
        if isinstance(error, (SegcritError, OSError, MemoryError)):
            _console.say(_message(error))
            return ERROR
        what = " ".join(f"{type(error).__name__}: {error}".split())
        ask = "Please report it with" if show_traceback else "Please repeat the command with --traceback and report"
        _console.say(f"segcrit failed, which is a fault of segcrit ({what[:300]}). {ask} what it printed.")
        return FAULT


def _require_text(words: Sequence[str]) -> None:
    for word in words:
        if "\0" in word or any("\ud800" <= letter <= "\udfff" for letter in word):
            fail(f"{word!r} is not text in UTF-8.", "Rename the file or folder.")


def build_parser(names: Sequence[str]) -> Parser:
    """Make the parser with the options of these commands."""
    parser = Parser(prog="segcrit", add_help=False)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        _module(name).add_parser(subparsers)
    return parser


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        if len(words) > 1 and first == "help":
            return _dispatch([words[1], "--help"])
        print(help_text())
        return 0
    if first in ("-V", "--version"):
        print(f"segcrit {_version()}")
        return 0
    names = [command.name for command in available_commands()]
    if first not in names:
        kind = "option" if first.startswith("-") else "command"
        fail(f"segcrit has no {kind} {first!r}.", nearest(first, names) or f"Commands: {', '.join(names)}.")
    parser = build_parser([first])
    arguments, extra = parser.parse_known_args(words)
    if extra:
        _subparser(parser, first).refuse_unknown(extra)
    if getattr(arguments, "out", None) == "":
        fail("argument --out: expected a name, got an empty text.", f"See 'segcrit {first} --help'.")
    for name in getattr(arguments, "modules", ()):
        import_own(name)
    return int(_module(first).run(arguments))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"segcrit.cli.{name}")


def _subparser(parser: Parser, name: str) -> Parser:
    for action in parser._actions:
        if action.dest == "command" and isinstance(action.choices, dict):
            found = action.choices[name]
            if isinstance(found, Parser):
                return found
    return parser


def help_text() -> str:
    """The text of ``segcrit --help``: commands by purpose, options, examples."""
    commands = available_commands()
    lines = [
        "usage: segcrit COMMAND [options]",
        "",
        f"segcrit {_version()}: losses and evaluation for semantic segmentation with PyTorch.",
    ]
    group = ""
    for command in commands:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {command.name:<10}{command.purpose}")
    lines += [
        "",
        "Options:",
        "  -h, --help   this text; 'segcrit COMMAND --help' lists the options of a command",
        "  --version    the version of segcrit",
        "  --traceback  with any command: show where in the code an error came from",
        "",
        "Examples:",
    ]
    names = {command.name for command in commands}
    examples = [example for example in EXAMPLES if example[0].split()[1] in names]
    width = max((len(example[0]) for example in examples), default=0)
    lines += [f"  {call:<{width}}   {meaning}" for call, meaning in examples]
    return "\n".join(lines)


def _version() -> str:
    from segcrit.core.constants import VERSION

    return VERSION


def _message(error: BaseException) -> str:
    if isinstance(error, SegcritError):
        return str(error)
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"expected enough memory, got too little{detail}. Work on less at a time, or on a larger machine."
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{place}"
    return str(error) or type(error).__name__


def _survive_narrow_encodings() -> None:
    """Write "?" for a Σ that the terminal cannot show, instead of dying of it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _show_own_warnings_as_notes() -> None:
    """Print warnings raised inside segcrit as one line; those of other packages keep their usual form."""
    usual = warnings.showwarning
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        if os.path.abspath(filename).startswith(home):
            _console.say(str(message), "note")
        else:
            usual(message, category, filename, lineno, None, line)

    warnings.showwarning = show
