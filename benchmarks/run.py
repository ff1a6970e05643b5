"""The project's own measurement: every loss, several shapes, beside a copy, torch eager and compiled, and the peers.

    python benchmarks/run.py                              everything
    python benchmarks/run.py --only "21 classes" binary   some panels, into runs/bench: not for the documentation
    python benchmarks/run.py --from FILE                  judge and draw a measurement again, without measuring

Writes benchmarks/results/DATE-MACHINE.json and the picture beside it, and prints tables and targets. Then
``python benchmarks/readme.py`` writes the newest result into the README. Your own shapes: ``segcrit bench``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from segcrit.apps.bench.plot import draw
from segcrit.apps.bench.records import Result
from segcrit.apps.bench.session import Options, PanelPlan, measure, new_result
from segcrit.apps.bench.suite import SHOWN, file_name, plans
from segcrit.apps.bench.targets import TARGETS, judge
from segcrit.cli.bench import print_machine, print_panel, print_targets
from segcrit.core.errors import SegcritError
from segcrit.core.progress import StageReporter

HERE = Path(__file__).resolve().parent
RESULTS, PARTS = HERE / "results", HERE.parent / "runs" / "bench"
ERROR, INTERRUPTED = 2, 130


def main() -> int:
    options = _parse_arguments()
    try:
        return _run(options)
    except (SegcritError, OSError) as error:
        print(f"benchmarks/run.py: error: {error}", file=sys.stderr)
        return ERROR


def _run(options: argparse.Namespace) -> int:
    if options.again is not None:
        result, path = Result.load(options.again), options.again
    else:
        torch.set_num_threads(options.threads)
        settings = Options(seconds=options.seconds, memory=not options.no_memory, show=print_panel)
        chosen = _chosen(options.only)
        result = measure(chosen, settings, StageReporter(), new_result(settings, _commit()))
        # What the documentation is made of is complete; parts lie where git does not look.
        folder = PARTS if options.only or result.interrupted else RESULTS
        path = options.out or folder / f"{_slug(result)}.json"
    asked = [target for target in TARGETS if not options.only or target.top.panel in options.only]
    result = replace(result, verdicts=judge(result, asked))
    result.save(path)
    print_targets(result)
    print_machine(result)
    print(path)
    if any(row.time is not None for panel in result.panels for row in panel.rows):
        in_full = {panel.key for panel in result.panels} >= {key for key, _ in SHOWN}
        draw(result, path.with_suffix(".png"), chosen=SHOWN if in_full else None)
        print(path.with_suffix(".png"))
    return INTERRUPTED if result.interrupted else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of the losses, on the shapes of the targets.")
    parser.add_argument(
        "--only", nargs="+", metavar="PANEL", choices=[plan.key for plan in plans()], help="some panels"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each contender (default: 1)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--from", dest="again", type=Path, metavar="FILE", help="judge and draw this result again")
    return parser.parse_args()


def _chosen(keys: list[str] | None) -> list[PanelPlan]:
    return [plan for plan in plans() if keys is None or plan.key in keys]


def _commit() -> str | None:
    """The state of the source: hash of the commit, with "+" after it where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", "../native").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _slug(result: Result) -> str:
    """Name of the file: day, processor, threads."""
    return file_name(result.date[:10], result.machine["processor"], result.machine["threads"], "threads")


if __name__ == "__main__":
    raise SystemExit(main())
