"""``{benchmark-tables}``: the newest measurement in benchmarks/results; no number is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from nodes_of import code, paragraph, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
GIB = float(1 << 30)


def newest() -> tuple[Path, dict[str, Any]] | None:
    """The measurement with the latest date, and its file."""
    documents = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in RESULTS.glob("*.json")]
    return max(documents, key=lambda item: item[1]["date"], default=None)


class BenchmarkTables(SphinxDirective):
    """One table for each shape, with the machine and the versions above them."""

    def run(self) -> list[nodes.Node]:
        found = newest()
        if found is None:
            raise self.error("benchmarks/results holds no measurement; run: make bench")
        path, document = found
        self.env.note_dependency(str(path))
        machine, versions = document["machine"], document["versions"]
        memory = f", {machine['memory_bytes'] / GIB:.0f} GiB" if machine["memory_bytes"] else ""
        engine = list(document["engines"].values())[-1]
        packages = ", ".join(f"{name} {number}" for name, number in versions.items())
        result: list[nodes.Node] = [
            paragraph(
                f"{machine['processor']}, {machine['threads']} threads, "
                f"{machine['vector_instructions']}{memory}; {document['dtype']}. {packages}. "
                f"Engine of the segcrit rows: {engine}. Measured on {document['date'][:10]}, file ",
                code(f"benchmarks/results/{path.name}"),
                ".",
            )
        ]
        for measured in document["shapes"]:
            shape = " × ".join(map(str, measured["shape"]))
            result.append(
                paragraph(
                    nodes.strong(text=shape),
                    f": the logits take {measured['logits_bytes'] / (1 << 20):.0f} MiB, "
                    f"a copy of them {measured['copy_ms']:.1f} ms.",
                )
            )
            result.append(self._table(measured))
        return result

    @staticmethod
    def _table(measured: dict[str, Any]) -> nodes.table:
        rows: list[list[str | nodes.Node]] = []
        for row in measured["rows"]:
            if "failed" in row:
                continue
            extra = row.get("resident_bytes") or row.get("allocated_bytes")
            name = nodes.strong(text=row["name"]) if row["library"] == "segcrit" else row["name"]
            rows.append(
                [
                    name,
                    row["library"],
                    f"{row['median_ms']:.1f} ({row['low_ms']:.1f} – {row['high_ms']:.1f})",
                    f"{row['median_ms'] / measured['copy_ms']:.0f}",
                    "–" if extra is None else f"{extra / measured['logits_bytes']:.2f}",
                ]
            )
        head = ["Loss", "Library", "Milliseconds (20 – 80 %)", "× copy", "Extra memory, × logits"]
        return table(head, rows, [32, 16, 24, 12, 16])


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("benchmark-tables", BenchmarkTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
