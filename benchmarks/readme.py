"""Writes the newest measurement into the README, between its two markers; no number is typed by hand.

python benchmarks/readme.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from segcrit.apps.bench import suite
from segcrit.apps.bench.records import SCHEMA_VERSION, Panel, Result, Row
from segcrit.core.errors import DataError, SegcritError
from segcrit.core.numbers import counted, duration, memory

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- benchmark: written by benchmarks/readme.py -->", "<!-- end of benchmark -->"

# Rows of the table: panel, kind.
ROWS = (
    (suite.FIRST, "ce"),
    (suite.FIRST, "ce + dice"),
    (suite.MANY, "ce + dice"),
    (suite.FIRST, "focal"),
    (suite.FIRST, "lovasz"),
    (suite.UPSAMPLED, "ce"),
    (suite.LOGITS, "evaluate logits"),
    (suite.LABELS, "evaluate labels"),
)
HEAD = (
    "",
    "PyTorch, as projects write it",
    "torch.compile",
    "fastest other library",
    "segcrit",
    "faster than PyTorch",
    "memory of PyTorch",
    "of segcrit",
)


def main() -> int:
    try:
        path, result = newest(RESULTS)
        readme = ROOT / "README.md"
        text = replace_block(readme.read_text(encoding="utf-8"), render(result, path.relative_to(ROOT).as_posix()))
    except SegcritError as error:
        print(f"benchmarks/readme.py: error: {error}", file=sys.stderr)
        return 2
    readme.write_text(text, encoding="utf-8")
    return 0


def newest(folder: Path) -> tuple[Path, Result]:
    """The measurement of the present schema with the latest date, and its file."""
    found = [
        (path, Result.from_dict(content))
        for path in folder.glob("*.json")
        if (content := json.loads(path.read_text(encoding="utf-8"))).get("schema_version") == SCHEMA_VERSION
    ]
    if not found:
        raise DataError(
            f"a measurement of schema version {SCHEMA_VERSION} in benchmarks/results", "none", "Make one: make bench."
        )
    return max(found, key=lambda item: item[1].date)


def replace_block(text: str, block: str) -> str:
    """The README with another block between its markers."""
    if START not in text or END not in text:
        raise DataError(f"a README with the lines {START!r} and {END!r}", "one without", "Put them back.")
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{block}\n{END}{tail}"


def render(result: Result, path: str) -> str:
    """Picture, table, and where they come from."""
    met = sum(verdict.status == "met" for verdict in result.verdicts)
    asked = sum(verdict.status in ("met", "not met") for verdict in result.verdicts)
    machine = result.machine
    lines = [
        f"![Time and peak memory of losses and of evaluation]({Path(path).with_suffix('.png').as_posix()})",
        "",
        (
            "Forward and backward, evaluation one count; medians in one run, all contenders taking turns. Memory: peak "
            "beyond the logits, gradient included."
        ),
        "",
        f"| {' | '.join(HEAD)} |",
        f"|---{'|---:' * (len(HEAD) - 1)}|",
    ]
    for key, kind in ROWS:
        panel = result.panel(key)
        if panel is not None:
            lines.append(f"| {' | '.join(_cells(panel, kind))} |")
    lines += [
        "",
        (
            f"{machine['processor']}, {counted(machine['threads'], 'thread')}, {machine['vector_instructions']}, torch "
            f"{result.versions['torch']}, {result.date[:10]}: [{Path(path).name}]({path}). segcrit sets itself {asked} "
            "goals for speed and memory, each a comparison with PyTorch, with other libraries or with a copy of the "
            f"logits; in this run {met} were reached and {asked - met} were missed. All rows and all goals, the missed ones "
            "too: [docs/performance.md](docs/performance.md), filled in by `make docs`. `segcrit bench --shape N,C,H,W` "
            "measures your machine and your shape."
        ),
    ]
    return "\n".join(lines)


def _cells(panel: Panel, kind: str) -> list[str]:
    rows = [row for row in panel.rows if row.kind == kind and row.problem == panel.problem]
    eager, compiled, ours = (_first(rows, library) for library in ("torch", "torch.compile", "segcrit"))
    others = [row for row in rows if row.library not in ("torch", "torch.compile") and "segcrit" not in row.library]
    other = min((row for row in others if row.time is not None), key=_milliseconds, default=None)
    return [
        f"{kind}, {panel.problem.title}",
        _time(eager),
        _time(compiled),
        _time(other) + ("" if other is None else f" ({other.library})"),
        f"**{_time(ours)}**",
        _speed(eager, ours),
        _memory(eager),
        f"**{_memory(ours)}**",
    ]


def _first(rows: list[Row], library: str) -> Row | None:
    return next((row for row in rows if row.library == library and row.time is not None), None)


def _milliseconds(row: Row) -> float:
    return float("inf") if row.time is None else row.time.median


def _time(row: Row | None) -> str:
    return "–" if row is None or row.time is None else duration(row.time.median / 1e3)


def _speed(eager: Row | None, ours: Row | None) -> str:
    if eager is None or ours is None:
        return "–"
    return f"{_milliseconds(eager) / _milliseconds(ours):.2g}×"


def _memory(row: Row | None) -> str:
    return "–" if row is None or row.extra is None else memory(row.extra)


if __name__ == "__main__":
    raise SystemExit(main())
