"""Time and memory of each loss, forward and backward, beside a copy, torch eager and compiled, and the peers.

    python benchmarks/run.py                                  the shapes of the documentation
    python benchmarks/run.py --shape 4,19,256,256 --only ce   one shape, one kind of loss

Times are measured in one process, the contenders taking turns; memory in a process for each contender.
Writes a JSON file to benchmarks/results/ and prints the same as a table.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from contenders import CONTENDERS, Contender, Problem
from machine import commit, describe_engines, describe_machine, describe_versions
from measure import ALLOCATOR, Step, allocated_peak, resident_peak, time_steps

SCHEMA_VERSION = 1
RESULTS = Path(__file__).parent / "results"
SHAPES = [(2, 21, 512, 512), (1, 150, 512, 512)]
MIB = float(1 << 20)
# A table in a file or a pipe needs room that only a terminal can say it lacks.
console = Console(width=None if sys.stdout.isatty() else 125)


def main() -> int:
    options = _parse_arguments()
    torch.set_num_threads(options.threads)
    if options.memory_of is not None:
        print(json.dumps(_memory_of(CONTENDERS[options.memory_of], options.shape[0])))
        return 0
    results = []
    for shape in options.shape or SHAPES:
        results.append(_measure(shape, options))
        console.print(_table(results[-1]))
        for row in results[-1]["rows"]:
            if "failed" in row:
                console.print(f"  not run: {row['library']}, {row['name']}: {row['failed']}", style="dim")
    document = {
        "schema_version": SCHEMA_VERSION,
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "engines": describe_engines(),
        "dtype": "float32",
        "shapes": results,
    }
    path = options.out or RESULTS / f"{_slug(document)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(path)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of the losses on this machine.")
    parser.add_argument("--shape", type=_shape, action="append", help="N,C,H,W of the logits; may be repeated")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds of loss: ce 'ce + dice' lovasz ...")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each contender (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)  # for the processes it starts itself
    return parser.parse_args()


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(word) for word in text.split(","))
    if len(shape) < 2 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected N,C,H,W, got {text!r}")
    return shape


def _measure(shape: tuple[int, ...], options: argparse.Namespace) -> dict[str, Any]:
    problem = Problem.make(shape)
    source = problem.logits.detach()
    copy = torch.zeros_like(source)
    steps: dict[str, Step] = {"copy": lambda: copy.copy_(source)}
    rows: list[dict[str, Any]] = []
    for number, contender in enumerate(CONTENDERS):
        if options.only and contender.group not in options.only:
            continue
        row: dict[str, Any] = {
            "name": contender.name,
            "group": contender.group,
            "library": contender.library,
        }
        rows.append(row)
        with console.status(f"{contender.library}: {contender.name}"):
            try:
                step = _step(contender, problem)
                row["value"] = step()
            except Exception as error:
                # A peer that is missing or cannot run here is a row that says so, not the end of the run.
                row["failed"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
                continue
            steps[str(number)] = step
            if not options.no_memory:
                row |= _memory_in_its_own_process(number, shape, options.threads)
        row["number"] = number
    with console.status(f"timing {len(steps)} contenders in turns, {options.seconds:g} s each"):
        timings = time_steps(steps, seconds=options.seconds, least=5)
    copied = timings["copy"]
    for row in rows:
        if "number" in row:
            timing = timings[str(row.pop("number"))]
            row |= {
                "median_ms": timing.median * 1e3,
                "low_ms": timing.low * 1e3,
                "high_ms": timing.high * 1e3,
                "runs": timing.runs,
            }
    return {
        "shape": list(shape),
        "logits_bytes": source.nbytes,
        "copy_ms": copied.median * 1e3,
        "rows": rows,
    }


def _step(contender: Contender, problem: Problem) -> Step:
    loss = contender.make()

    def step() -> float:
        problem.logits.grad = None
        value = loss(problem.logits, problem.target)
        value.backward()
        return float(value.detach())

    return step


def _memory_in_its_own_process(number: int, shape: tuple[int, ...], threads: int) -> dict[str, Any]:
    words = ["--memory-of", number, "--shape", ",".join(map(str, shape)), "--threads", threads]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | ALLOCATOR,
    )
    if done.returncode != 0:
        return {"memory_failed": done.stderr.strip().splitlines()[-1][:120]}
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _memory_of(contender: Contender, shape: tuple[int, ...]) -> dict[str, Any]:
    """Bytes that a step needs beyond logits and labels, its gradient included, seen in two ways."""
    problem = Problem.make(shape)
    step = _step(contender, problem)
    step()  # compiles, and touches what is kept for good

    def fresh() -> None:
        problem.logits.grad = None

    fresh()
    resident = resident_peak(step)
    fresh()
    return {"resident_bytes": resident, "allocated_bytes": allocated_peak(step)}


def _table(result: dict[str, Any]) -> Table:
    shape = " x ".join(map(str, result["shape"]))
    table = Table(
        title=f"{shape}, float32: a copy of the logits takes {result['copy_ms']:.1f} ms",
        caption="Forward and backward. Extra memory: peak beyond the logits, the gradient included.",
    )
    table.add_column("loss", no_wrap=True)
    table.add_column("library", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("median ms", justify="right")
    table.add_column("20 - 80 %", justify="right", no_wrap=True)
    table.add_column("x copy", justify="right")
    table.add_column("extra MiB", justify="right")
    table.add_column("x logits", justify="right")
    group = None
    for row in result["rows"]:
        if group not in (None, row["group"]):
            table.add_section()
        group = row["group"]
        if "failed" in row:
            table.add_row(row["name"], row["library"], "not run", style="dim")
            continue
        extra = row.get("resident_bytes") or row.get("allocated_bytes")
        table.add_row(
            row["name"],
            row["library"],
            f"{row['value']:.4f}",
            f"{row['median_ms']:.1f}",
            f"{row['low_ms']:.1f} - {row['high_ms']:.1f}",
            f"{row['median_ms'] / result['copy_ms']:.1f}",
            "" if extra is None else f"{extra / MIB:.1f}",
            "" if extra is None else f"{extra / result['logits_bytes']:.2f}",
            style="bold" if row["library"] == "segcrit" else None,
        )
    return table


def _slug(document: dict[str, Any]) -> str:
    """Name of the file: day, processor, threads."""
    machine = document["machine"]
    text = f"{document['date'][:10]}-{machine['processor']}-{machine['threads']}-threads"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    raise SystemExit(main())
