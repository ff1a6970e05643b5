"""Pages: self-contained HTML made from explanations by jinja2. No network, no scripts but a few lines of highlighting."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcrit.apps.explain.colour import PARTS, cell_colour, is_dark, scale_of
from segcrit.apps.explain.curves import Panel
from segcrit.apps.explain.steps import (
    Block,
    ClassTable,
    Column,
    Explanation,
    Layout,
    PixelTable,
    RankTable,
    format_number,
)
from segcrit.core import optional
from segcrit.core.constants import VERSION
from segcrit.core.numbers import percent

__all__ = ["curves_page", "numbers_page", "picture_source", "render"]

TEMPLATES = Path(__file__).parent / "templates"

# Drawing units of the staircase; its text is as large as the page's on a phone.
STAIR_WIDTH, STAIR_HEIGHT = 300.0, 130.0


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; needs the extra ``compare`` (jinja2)."""
    jinja2 = optional.require("jinja2", extra="compare")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mathematics"] = _mathematics
    text: str = environment.get_template(template).render(
        version=VERSION, number=format_number, percent=percent, **values
    )
    return text


def _mathematics(formula: str) -> Any:
    """Subscripts and superscripts of a formula as markup; the rest of it is escaped."""
    markup = optional.require("markupsafe", extra="compare")
    escaped = str(markup.escape(formula))
    raised = re.sub(r"\^\(?(\w+)\)?", r"<sup>\1</sup>", escaped)
    lowered = re.sub(r"_(\{([^}]*)\}|\w(?!\w))", lambda found: f"<sub>{found[2] or found[1]}</sub>", raised)
    return markup.Markup(lowered)


def picture_source(content: bytes, kind: str) -> str:
    """A picture as a data URL: ``kind`` is ``"png"`` or ``"svg+xml"``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def numbers_page(explanation: Explanation, *, title: str | None = None, command: str = "") -> str:
    """The page of an explanation with numbers.

    Args:
        explanation: what ``explain_numbers`` returned.
        title: heading; None for "EXPRESSION, step by step".
        command: the command line that makes this page, shown at its end.

    Returns:
        One HTML file as text, with nothing to load from elsewhere.

    Example:
        >>> from segcrit.apps.explain import explain_numbers
        >>> page = numbers_page(explain_numbers("ce"))
        >>> "1.0066" in page and "<script src" not in page
        True
    """

    def draw(block: Block) -> dict[str, Any]:
        if isinstance(block, PixelTable):
            return _pixel_block(block, explanation.layout)
        return _class_block(block) if isinstance(block, ClassTable) else _rank_block(block)

    return render(
        "numbers.html.j2",
        title=title or f"{explanation.expression}, step by step",
        explanation=explanation,
        command=command,
        draw=draw,
        pixels=[explanation.layout.name(index) for index in range(explanation.layout.pixels)],
    )


def curves_page(panels: Sequence[Panel], *, names: Sequence[str]) -> str:
    """The page of curves: one drawing a panel, with a caption each.

    Args:
        panels: what ``curves`` returned.
        names: the losses, for the heading.
    """
    from segcrit.apps.explain.draw import panel_picture

    drawn = [(panel, picture_source(panel_picture(panel), "svg+xml")) for panel in panels]
    return render("curves.html.j2", title="Losses as curves", panels=drawn, names=list(names))


@dataclass(frozen=True)
class Cell:
    """One cell of a grid."""

    text: str
    colour: str
    dark: bool
    pixel: int
    marked: bool
    dropped: bool


def _pixel_block(table: PixelTable, layout: Layout) -> dict[str, Any]:
    """A strip with a row for each column of numbers where the pixels are a list, else a small grid for each."""
    scales = {kind: _scale(table, kind) for kind in {column.kind for column in table.columns}}
    named = [(column.name, _cells(column, scales[column.kind])) for column in table.columns]
    if layout.height == 1:
        names = [layout.name(index) for index in range(layout.pixels)]
        return {"form": "strip", "rows": named, "pixels": names}
    size = layout.height * layout.width
    grids = []
    for name, cells in named:
        for image in range(layout.images):
            part = cells[image * size : (image + 1) * size]
            rows = [part[row * layout.width : (row + 1) * layout.width] for row in range(layout.height)]
            grids.append((name if layout.images == 1 else f"{name}, image {image}", rows))
    return {"form": "grids", "grids": grids}


def _scale(table: PixelTable, kind: str) -> float:
    return scale_of(kind, [float(v) for column in table.columns if column.kind == kind for v in column.values])


def _cells(column: Column, scale: float) -> list[Cell]:
    cells = []
    for index, value in enumerate(column.values):
        dropped = column.dropped is not None and bool(column.dropped[index])
        marked = column.marked is not None and bool(column.marked[index]) and not dropped
        colour = "#f4f4f4" if dropped else cell_colour(column.kind, float(value), scale)
        text = column.text(index).strip("()*")
        cells.append(Cell(text, colour, is_dark(colour), index, marked, dropped))
    return cells


def _class_block(table: ClassTable) -> dict[str, Any]:
    whole = [sum(lengths[row] for _, lengths in table.bars) for row in range(len(table.rows))]
    longest = max((value for row, value in enumerate(whole) if row not in table.skipped), default=0.0) or 1.0
    bars = [
        {
            "name": name,
            "skipped": row in table.skipped,
            "parts": [
                {
                    "share": 100 * min(lengths[row] / longest, 1.0),
                    "colour": PARTS[index],
                    "name": part,
                    "value": lengths[row],
                }
                for index, (part, lengths) in enumerate(table.bars)
            ],
        }
        for row, name in enumerate(table.rows)
        if table.bars
    ]
    legend = [(part, PARTS[index]) for index, (part, _) in enumerate(table.bars)]
    return {"form": "classes", "table": table, "bars": bars, "legend": legend}


def _rank_block(table: RankTable) -> dict[str, Any]:
    """The sorted errors as a table and as a staircase of area = loss."""
    top = max((rank.error for rank in table.ranks), default=0.0) or 1.0
    steps = []
    for rank in table.ranks:
        width = rank.increment * STAIR_WIDTH
        height = rank.error / top * STAIR_HEIGHT
        left = (rank.jaccard - rank.increment) * STAIR_WIDTH
        steps.append(
            {
                "x": round(left, 2),
                "y": round(STAIR_HEIGHT - height, 2),
                "width": round(width, 2),
                "height": round(height, 2),
                "positive": rank.positive,
                "label": rank.pixel if width > 7 * len(rank.pixel) else "",
            }
        )
    return {"form": "ranks", "table": table, "steps": steps, "top": top, "width": STAIR_WIDTH, "height": STAIR_HEIGHT}
