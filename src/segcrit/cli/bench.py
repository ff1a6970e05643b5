"""``segcrit bench``: time and memory of the losses on this machine."""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, Any

from segcrit.cli import _console
from segcrit.cli._parser import add_import
from segcrit.core.errors import ParameterError
from segcrit.core.names import nearest

if TYPE_CHECKING:
    from segcrit.apps.bench.problems import Problem
    from segcrit.apps.bench.records import Panel, Result
    from segcrit.core.progress import StageReporter

__all__ = ["add_parser", "print_fit", "print_machine", "print_panel", "print_targets", "run"]

DESCRIPTION = """\
Measures, on this machine's processor (not on a GPU) and for logits of your shape,
  - what each loss needs beyond the logits, forward and backward, against the memory that is free: does my batch fit?
  - how long it takes, beside a copy of the logits, PyTorch's own operations, the same through torch.compile, and the
    libraries that are installed (MONAI, kornia, segmentation-models-pytorch; torchmetrics for evaluation).
All of them take turns; the median is shown, and the times that 20 % and 80 % of the runs stayed below. What would need
more memory than is free is estimated from small sizes and left out."""

EPILOG = """\
examples:
  segcrit bench
  segcrit bench --shape 8,19,512,1024 --only ce "ce + dice" lovasz
  segcrit bench --shape 2,4,96,96,96 --losses "ce + dice(per_image=True)" --dtype bfloat16
  segcrit bench --shape 16,150,128,128 --upsample 4 --only ce     low-resolution logits, labels 4 times finer
  segcrit bench --shape 8,1,512,512 --task binary --json result.json --plot result.png

Ctrl-C shows and writes what was measured so far. More threads or fewer: --threads."""

INTERRUPTED = 130
DEFAULT_SHAPES = {"multiclass": "2,21,512,512", "multilabel": "2,8,512,512", "binary": "8,1,512,512"}
TASKS = tuple(DEFAULT_SHAPES)
DTYPES = ("float32", "bfloat16", "float16", "float64")


def add_parser(subparsers: Any) -> None:
    """Add the command ``bench``."""
    parser = subparsers.add_parser(
        "bench", help="time and memory of the losses here", description=DESCRIPTION, epilog=EPILOG
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--shape",
        action="append",
        metavar="N,C,H,W",
        help="logits, with 0 to 3 spatial sizes; may be repeated (default: by task, 2,21,512,512)",
    )
    what.add_argument(
        "--only", nargs="+", metavar="KIND", help='of what is measured by default, only: ce "ce + dice" ...'
    )
    what.add_argument("--losses", nargs="+", metavar="LOSS", help="these expressions instead of the default ones")
    what.add_argument("--task", choices=TASKS, default="multiclass", help="default: multiclass")
    what.add_argument("--dtype", choices=DTYPES, default="float32", help="of the logits (default: float32)")
    what.add_argument(
        "--upsample", type=int, default=1, metavar="FACTOR", help="labels are this many times finer along each axis"
    )
    what.add_argument("--channels-last", action="store_true", help="logits in channels-last memory layout")
    add_import(what)
    how = parser.add_argument_group("how it is measured")
    how.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: as torch decides)")
    how.add_argument("--seconds", type=float, default=1.0, metavar="X", help="time for each contender (default: 1)")
    how.add_argument("--no-memory", action="store_true", help="measure time only")
    how.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    results = parser.add_argument_group("results")
    results.add_argument("--json", metavar="FILE", help="write everything that was measured")
    results.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 130 when it was interrupted."""
    from segcrit.core.progress import StageReporter

    progress = StageReporter()
    progress.prepare("loading PyTorch")
    try:
        return _measure(arguments, progress)
    finally:
        progress.end_stage()


def _measure(arguments: argparse.Namespace, progress: StageReporter) -> int:
    import torch

    from segcrit.apps.bench.contenders import COMPILED
    from segcrit.apps.bench.plot import check_picture, draw
    from segcrit.apps.bench.session import Options, measure, new_result, plan_panel

    _check(arguments)
    if arguments.plot is not None:
        check_picture(arguments.plot)
    problems = _problems(arguments)
    without = (COMPILED,) if arguments.no_compile else ()
    plans = [plan_panel(problem, _kinds(arguments), without=without) for problem in problems]

    def show_fit(panel: Panel) -> None:
        progress.end_stage()
        print_fit(panel)

    options = Options(
        seconds=arguments.seconds,
        memory=not arguments.no_memory,
        modules=tuple(arguments.modules),
        show_fit=show_fit,
        show=print_panel,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads or before)
    try:
        result = measure(plans, options, progress, new_result(options))
    finally:
        torch.set_num_threads(before)
    print_machine(result)
    if arguments.json is not None:
        result.save(arguments.json)
        print(f"Result: {arguments.json}")
    if arguments.plot is not None and _has_times(result):
        draw(result, arguments.plot)
        print(f"Picture: {arguments.plot}")
    if result.interrupted:
        print("segcrit: interrupted; this is what was measured before.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if not (arguments.seconds > 0 and math.isfinite(arguments.seconds)):
        raise ParameterError("--seconds greater than 0", f"{arguments.seconds:g}", "Try 1.")
    if arguments.threads is not None and arguments.threads < 1:
        raise ParameterError("--threads of at least 1", str(arguments.threads), "Leave it out to use torch's own.")


def _problems(arguments: argparse.Namespace) -> list[Problem]:
    from segcrit.apps.bench.problems import Problem

    return [
        Problem(
            _numbers(text),
            arguments.task,
            arguments.dtype,
            channels_last=arguments.channels_last,
            upsample=arguments.upsample,
        )
        for text in arguments.shape or [DEFAULT_SHAPES[arguments.task]]
    ]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ParameterError("--shape as whole numbers and commas", repr(text), "Example: 2,21,512,512.") from None


def _kinds(arguments: argparse.Namespace) -> list[str]:
    from segcrit.apps.bench.contenders import kinds
    from segcrit.losses.expression.syntax import parse

    known = kinds(arguments.task)
    chosen = []
    for word in arguments.only or ():
        kind = word if word in known else next((kind for kind in known if kind == _canonical(word)), None)
        if kind is None:
            hint = nearest(word, known) or "--losses takes any expression."
            raise ParameterError(f"--only of {', '.join(map(repr, known))}", repr(word), hint)
        chosen.append(kind)
    chosen += [str(parse(text)) for text in arguments.losses or ()]
    return list(dict.fromkeys(chosen)) or list(known)


def _canonical(word: str) -> str:
    """An expression as it is printed back; other words as they are."""
    from segcrit.core.errors import SegcritError
    from segcrit.losses.expression.syntax import parse

    try:
        return str(parse(word))
    except SegcritError:
        return word


def _has_times(result: Result) -> bool:
    return any(row.time is not None for panel in result.panels for row in panel.rows)


def print_fit(panel: Panel) -> None:
    """Does my batch fit: what each loss needs, against the memory that is free."""
    from segcrit.apps.bench.table import FIT_HEAD, fit_rows, fit_sentence

    _console.heading(f"{panel.problem.title}: does it fit?")
    _console.text(fit_sentence(panel))
    rows = fit_rows(panel)
    if rows:
        _console.table(FIT_HEAD, rows)


def print_panel(panel: Panel) -> None:
    """A table for each kind of loss, the precision of Lovász, and why something is missing."""
    from segcrit.apps.bench.table import (
        HEAD,
        HEAD_MEANING,
        PRECISION_HEAD,
        about_panel,
        not_run,
        panel_rows,
        precision_rows,
    )

    rows = panel_rows(panel)
    if any(row.time is not None for row in panel.rows):
        _console.heading(f"{panel.problem.title}: time and memory")
        _console.text(about_panel(panel))
        for kind in dict.fromkeys(row[0] for row in rows):
            print(f"\n  {kind}")
            _console.table(HEAD[1:], [row[1:] for row in rows if row[0] == kind])
        exact = precision_rows(panel)
        if exact:
            print("\n  lovasz, against a sort in float64")
            _console.table(PRECISION_HEAD, exact)
        print()
        _console.text(HEAD_MEANING)
    for line in not_run(panel):
        _console.text(f"Not run, {line}.")


def print_machine(result: Result) -> None:
    """The machine and the versions."""
    from segcrit.apps.bench.table import about_machine

    print()
    _console.text(about_machine(result))


def print_targets(result: Result) -> None:
    """Every target, met or not."""
    from segcrit.apps.bench.table import TARGET_HEAD, target_rows

    _console.heading("Targets")
    _console.table(TARGET_HEAD, target_rows(result))
