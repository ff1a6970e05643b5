"""A page for every row of the table of losses, and the table itself, made from ``segcrit.list_losses()``.

Nothing about a loss is written in the documentation by hand: a new row of the table brings its own page.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from nodes_of import code, paragraph, table
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import segcrit
from segcrit.losses.table import Loss

FOLDER = "reference/generated"


def _page_name(loss: Loss) -> str:
    return f"loss-{loss.name.replace('_', '-')}"


def _default(value: object) -> str:
    return str(value) if not isinstance(value, str) else repr(value)


def _page(loss: Loss) -> str:
    """The page of one loss, in Markdown."""
    names = ", ".join(f"`{name}`" for name in (loss.name, *loss.aliases))
    lines = [
        f"# {loss.title}",
        "",
        f"In expressions: {names}. Family: {loss.family}. Tasks: {', '.join(loss.tasks)}.",
        "",
        "```{code-block} text",
        ":class: formula",
        "",
        loss.formula,
        "```",
        "",
        f"**Use it when** {loss.use_when}.",
        "",
        f"**Avoid it when** {loss.avoid_when}.",
        "",
        f"**Reference:** {loss.reference}.",
        "",
        "## Parameters",
        "",
    ]
    for parameter in loss.parameters.values():
        allowed = f"; {parameter.constraint.describe()}" if parameter.constraint is not None else ""
        lines += [
            f"`{parameter.name}` = `{_default(parameter.default)}`",
            f": {parameter.meaning or 'see the formula'}{allowed}.",
            "",
        ]
    lines += [
        "## As a function",
        "",
        "```{eval-rst}",
        f".. autofunction:: segcrit.functional.{loss.function}",
        "```",
        "",
        "## As a module",
        "",
        "```{eval-rst}",
        f".. autoclass:: segcrit.{loss.module}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _write_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{_page_name(loss)}.md": _page(loss) for loss in _built_in()}
    for stale in folder.glob("*.md"):
        if stale.name not in pages:
            stale.unlink()
    for name, text in pages.items():
        path = folder / name
        # An unchanged file keeps its time, so that the next build is quick.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _built_in() -> list[Loss]:
    return [loss for loss in segcrit.list_losses() if loss.function is not None]


class LossTable(SphinxDirective):
    """``{loss-table}``: name, family, tasks, when to use each loss and when not."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for loss in _built_in():
            link = addnodes.pending_xref(
                "",
                refdomain="std",
                reftype="doc",
                reftarget=f"/{FOLDER}/{_page_name(loss)}",
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            link += code(loss.name)
            rows.append([paragraph(link), loss.family, loss.use_when, loss.avoid_when])
        return [table(["Loss", "Family", "Use it when", "Avoid it when"], rows, [14, 12, 37, 37])]


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("builder-inited", _write_pages)
    app.add_directive("loss-table", LossTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
