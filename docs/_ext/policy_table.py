"""``{policy-table}``: what each policy of the evaluator does otherwise, from ``segcrit.metrics.policy.POLICIES``."""

from __future__ import annotations

from docutils import nodes
from nodes_of import code, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from segcrit.metrics.policy import POLICIES


class PolicyTable(SphinxDirective):
    """Name, one line, and the tool's own names of its figures."""

    def run(self) -> list[nodes.Node]:
        rows: list[list[str | nodes.Node]] = []
        for policy in POLICIES.values():
            figures = ", ".join(f"{theirs} = {ours}" for theirs, ours in policy.figures.items())
            rows.append([code(policy.name), policy.note, figures])
        return [table(["Policy", "What is special about it", "Its figures, and ours"], rows, [16, 50, 34])]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("policy-table", PolicyTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
