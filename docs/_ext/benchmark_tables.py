"""``{benchmark-tables}``, ``{benchmark-targets}``: the newest file in benchmarks/results; no number is typed by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

from docutils import nodes
from nodes_of import code, paragraph, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from segcrit.apps.bench.records import SCHEMA_VERSION, Panel, Result
from segcrit.apps.bench.table import (
    HEAD,
    HEAD_MEANING,
    PRECISION_HEAD,
    TARGET_HEAD,
    about_machine,
    about_panel,
    not_run,
    panel_rows,
    precision_rows,
    target_rows,
)

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def newest() -> tuple[Path, Result] | None:
    """The measurement of the present schema with the latest date, and its file."""
    found = []
    for path in RESULTS.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema_version") == SCHEMA_VERSION:
            found.append((path, Result.from_dict(content)))
    return max(found, key=lambda item: item[1].date, default=None)


class _Measured(SphinxDirective):
    """What the two directives share: the measurement, or one sentence where there is none."""

    def run(self) -> list[nodes.Node]:
        found = newest()
        if found is None:
            # A page without numbers is right; numbers of another version of the measurement would be wrong.
            return [paragraph("This version has not been measured yet: ", code("make bench"), " measures it.")]
        self.env.note_dependency(str(found[0]))
        return self.nodes_of(*found)

    def nodes_of(self, path: Path, result: Result) -> list[nodes.Node]:
        raise NotImplementedError


class BenchmarkTables(_Measured):
    """The picture, the machine and the versions, and a table for each panel."""

    def nodes_of(self, path: Path, result: Result) -> list[nodes.Node]:
        content: list[nodes.Node] = []
        picture = path.with_suffix(".png")
        if picture.exists():
            place = os.path.relpath(picture, Path(self.env.doc2path(self.env.docname)).parent)
            content.append(nodes.image(uri=Path(place).as_posix(), alt="Time and peak memory of the losses"))
        content.append(paragraph(f"{about_machine(result)} File: ", code(f"benchmarks/results/{path.name}"), "."))
        content.append(paragraph(HEAD_MEANING))
        for panel in result.panels:
            content += _panel(panel)
        return content


def _panel(panel: Panel) -> list[nodes.Node]:
    rows = [[nodes.strong(text=cell) if cell and ours else cell for cell in row] for row, ours in _marked(panel)]
    content: list[nodes.Node] = [
        paragraph(nodes.strong(text=f"{panel.key}, {panel.problem.title}"), f": {about_panel(panel)}"),
        table(HEAD, rows, [16, 26, 8, 14, 6, 8, 8, 10, 8, 8]),
    ]
    exact = precision_rows(panel)
    if exact:
        content.append(paragraph("Lovász against a sort in float64 on the same logits:"))
        content.append(table(PRECISION_HEAD, exact, [34, 16, 16, 20]))
    content += [paragraph(f"Not run, {line}.") for line in not_run(panel)]
    return content


def _marked(panel: Panel) -> list[tuple[list[str], bool]]:
    return [(cells, row.library == "segcrit") for cells, row in zip(panel_rows(panel), panel.rows, strict=True)]


class BenchmarkTargets(_Measured):
    """Every target, met or not."""

    def nodes_of(self, path: Path, result: Result) -> list[nodes.Node]:
        return [table(TARGET_HEAD, target_rows(result), [40, 10, 10, 40])]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("benchmark-tables", BenchmarkTables)
    app.add_directive("benchmark-targets", BenchmarkTargets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
