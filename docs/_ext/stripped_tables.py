"""``{stripped-kernels}``: the newest benchmarks/results/stripped-*.json; no number is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from nodes_of import paragraph, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class StrippedKernels(SphinxDirective):
    """One table a shape: what was timed, milliseconds, and the same in copies of the logits."""

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir).parent / "benchmarks" / "results"
        files = sorted(folder.glob("stripped-*.json"))
        if not files:
            return [paragraph("Nothing was measured yet: python benchmarks/stripped.py.")]
        self.env.note_dependency(str(files[-1]))
        content = json.loads(files[-1].read_text(encoding="utf-8"))
        machine = content["machine"]
        found: list[nodes.Node] = []
        for part in content["tables"]:
            times = part["milliseconds"]
            copy = times["copy of the logits"]
            shape = "×".join(str(length) for length in part["shape"])
            rows = [[name, f"{time:.3g} ms", f"{time / copy:.2g}"] for name, time in times.items()]
            found += [
                paragraph(nodes.strong("", f"{shape}, {part['task']}")),
                table(["Timed", "Median", "In copies"], rows, [60, 20, 20]),
            ]
        found.append(
            paragraph(
                f"{machine['processor']}, {machine['threads']} threads, {machine['vector_instructions']}, {content['date']}."
            )
        )
        return found


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("stripped-kernels", StrippedKernels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
