"""Small builders of document nodes that the local extensions share."""

from __future__ import annotations

from collections.abc import Sequence

from docutils import nodes


def paragraph(*pieces: str | nodes.Node) -> nodes.paragraph:
    """A paragraph of texts and inline nodes."""
    node = nodes.paragraph()
    for piece in pieces:
        node += nodes.Text(piece) if isinstance(piece, str) else piece
    return node


def code(text: str) -> nodes.literal:
    """Inline code."""
    return nodes.literal(text, text)


def table(head: Sequence[str], rows: Sequence[Sequence[str | nodes.Node]], widths: Sequence[int]) -> nodes.table:
    """A table; a cell is a text, an inline node or a paragraph."""
    node = nodes.table(classes=["colwidths-given"])
    group = nodes.tgroup(cols=len(head))
    node += group
    for width in widths:
        group += nodes.colspec(colwidth=width)
    header = nodes.thead()
    header += _row(head)
    body = nodes.tbody()
    for row in rows:
        body += _row(row)
    group += [header, body]
    return node


def _row(cells: Sequence[str | nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        entry = nodes.entry()
        entry += cell if isinstance(cell, nodes.paragraph) else paragraph(cell)
        row += entry
    return row
