"""Figures: the only module of explain that imports matplotlib (extra ``compare``)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segcrit.apps.explain.colour import PARTS, cell_colour, is_dark, scale_of
from segcrit.apps.explain.curves import Panel
from segcrit.apps.explain.fonts import fonts_for, lacking
from segcrit.apps.explain.steps import (
    Array,
    Block,
    ClassTable,
    Explanation,
    Layout,
    PixelTable,
    RankTable,
    Step,
    format_number,
)
from segcrit.core import optional
from segcrit.core.widths import columns_of, wrapped

__all__ = ["curves_figure", "map_picture", "numbers_figure", "panel_picture", "picture", "ramp"]

# Sizes in inches; text of 9 points at this width reads well on a printed page.
WIDTH, MARGIN = 9.0, 0.4
CELL_WIDTH, CELL_HEIGHT = 0.66, 0.36
LINE = 0.19
INK, SOFT, RULE = "#1c2430", "#5b6675", "#dde3ea"
BLUE, ORANGE = "#2f7cbb", "#d5742a"
MAX_PIXELS = 60000  # the renderer's limit on a side of an image is 2**16
# Okabe and Ito's palette without its yellow, which vanishes on white.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")

# An index of one letter after a symbol, and no part of a name such as class_weight.
_INDEX = re.compile(r"(?<=[A-Za-zΣℓ\u0303])(?<![A-Za-z]{2})_([a-z])(?![A-Za-z0-9_])")

Command = Callable[[Any], None]


def _figure(width: float, height: float) -> Any:
    """A figure without pyplot: no window system, no global state."""
    figure_module = optional.require("matplotlib.figure", extra="compare")
    backend = optional.require("matplotlib.backends.backend_agg", extra="compare")
    figure = figure_module.Figure(figsize=(width, height), facecolor="white")
    backend.FigureCanvasAgg(figure)
    return figure


def _saved(figure: Any, kind: str, dpi: float) -> bytes:
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": "segcrit"}
    figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)
    return stream.getvalue()


@dataclass
class _Sheet:
    """A page that grows downwards; what is drawn on it is kept until its height is known. Units are inches."""

    top: float = MARGIN
    commands: list[Command] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, words: str, size: float = 9, colour: str = INK, weight: str = "normal", **options: Any
    ) -> None:
        options.setdefault("va", "top")
        self.words.append(words)
        shown = _with_subscripts(words)
        math = shown != words
        self.commands.append(
            lambda axes: axes.text(
                x, y, shown, fontsize=size, color=colour, fontweight=weight, parse_math=math, **options
            )
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str,
        edge: str = "#c8d0d9",
        line: float = 0.6,
        **more: Any,
    ) -> None:
        patches = optional.require("matplotlib.patches", extra="compare")
        patch = patches.Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, linewidth=line, **more)
        self.commands.append(lambda axes: axes.add_patch(patch))

    def line(self, points: Sequence[tuple[float, float]], colour: str = SOFT, width: float = 0.8) -> None:
        xs, ys = zip(*points, strict=True)
        self.commands.append(lambda axes: axes.plot(xs, ys, color=colour, linewidth=width))

    def paragraph(
        self, words: str, size: float = 9, colour: str = INK, weight: str = "normal", indent: float = 0.0
    ) -> None:
        # A character is about 0.55 of its size wide in the default font.
        per_line = int((WIDTH - 2 * MARGIN - indent) * 72 / (size * 0.56))
        for line in wrapped(words, per_line) or [""]:
            self.text(MARGIN + indent, self.top, line, size, colour, weight)
            self.top += size / 72 * 1.45

    def render(self, dpi: float) -> bytes:
        told = lacking(self.words)
        if told:
            self.paragraph(told, 8.5, "#a52a1d")
        height = self.top + MARGIN
        with fonts_for(self.words):
            figure = _figure(WIDTH, height)
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_xlim(0, WIDTH)
            axes.set_ylim(height, 0)
            axes.axis("off")
            for command in self.commands:
                command(axes)
            return _saved(figure, "png", min(dpi, MAX_PIXELS / max(height, WIDTH)))


def _with_subscripts(words: str) -> str:
    r"""Formulas with their indices below the line, as mathtext writes them: ``p_c`` is p with a small c.

    Example:
        >>> _with_subscripts("Σ_k p_k, class_weight"), _with_subscripts("50 $ a class")
        ('Σ$_{\\mathrm{k}}$ p$_{\\mathrm{k}}$, class_weight', '50 $ a class')
    """
    if not _INDEX.search(words):
        return words
    return _INDEX.sub(lambda found: rf"$_{{\mathrm{{{found[1]}}}}}$", words.replace("$", r"\$"))


def numbers_figure(explanation: Explanation, *, title: str | None = None, dpi: float = 130) -> bytes:
    """All steps of an explanation as one tall PNG figure.

    Args:
        explanation: what ``explain_numbers`` returned.
        title: heading; None for the expression.
        dpi: resolution.

    Example:
        >>> from segcrit.apps.explain import explain_numbers
        >>> numbers_figure(explain_numbers("dice"))[:4]
        b'\\x89PNG'
    """
    sheet = _Sheet()
    sheet.paragraph(title or f"{explanation.expression}, step by step", 14, weight="bold")
    sheet.paragraph(f"loss = {format_number(explanation.value)}", 12)
    for check in explanation.checks:
        outcome = "agrees" if check.agrees else f"DIFFERS by {check.difference:.1e}"
        sheet.paragraph(
            f"{check.name}: {format_number(check.value)}, {outcome}", 8.5, "#00704f" if check.agrees else "#a52a1d"
        )
    for note in explanation.notes:
        sheet.paragraph(note, 8.5, SOFT)
    number = 0
    groups = [(explanation.opening, "")]
    groups += [(term.steps, f" · {term.text}" if len(explanation.terms) > 1 else "") for term in explanation.terms]
    groups.append((explanation.closing, ""))
    for steps, where in groups:
        for step in steps:
            number += 1
            _draw_step(sheet, step, number, where, explanation.layout)
    return sheet.render(dpi)


def _draw_step(sheet: _Sheet, step: Step, number: int, where: str, layout: Layout) -> None:
    sheet.top += 0.16
    sheet.line([(MARGIN, sheet.top), (WIDTH - MARGIN, sheet.top)], RULE)
    sheet.top += 0.1
    sheet.paragraph(f"{number}  {step.title}{where}", 10.5, weight="bold")
    sheet.paragraph(step.formula, 9.5, "#0b4a85", indent=0.22)
    sheet.paragraph(step.caption, 8.5, SOFT, indent=0.22)
    for block in step.blocks:
        sheet.top += 0.08
        _draw_block(sheet, block, layout)
    for name, value in step.results:
        sheet.paragraph(f"{name} = {format_number(value)}", 10, weight="bold", indent=0.22)


def _draw_block(sheet: _Sheet, block: Block, layout: Layout) -> None:
    if isinstance(block, PixelTable):
        _draw_pixels(sheet, block, layout)
    elif isinstance(block, ClassTable):
        rows = [
            [name, *(format_number(values[row]) for _, values in block.columns)] for row, name in enumerate(block.rows)
        ]
        _draw_table(sheet, [block.corner, *(name for name, _ in block.columns)], rows, block.skipped)
        if block.bars:
            _draw_bars(sheet, block)
    else:
        _draw_stairs(sheet, block)


def _draw_pixels(sheet: _Sheet, table: PixelTable, layout: Layout) -> None:
    """A grid for each column and image, side by side as far as they fit."""
    left, lowest = MARGIN + 0.22, sheet.top
    size = layout.height * layout.width
    for column in table.columns:
        scale = scale_of(column.kind, [float(v) for c in table.columns if c.kind == column.kind for v in c.values])
        for image in range(layout.images):
            width = min(layout.width * CELL_WIDTH, WIDTH - 2 * MARGIN - 0.22)
            cell = width / layout.width
            if left + width > WIDTH - MARGIN + 1e-6:
                left, sheet.top = MARGIN + 0.22, lowest + 0.1
            name = column.name if layout.images == 1 else f"{column.name}, image {image}"
            sheet.text(left, sheet.top, name, 8, SOFT, "bold")
            for place in range(size):
                pixel = image * size + place
                row, at = divmod(place, layout.width)
                x, y = left + at * cell, sheet.top + LINE + row * CELL_HEIGHT
                dropped = column.dropped is not None and bool(column.dropped[pixel])
                marked = column.marked is not None and bool(column.marked[pixel]) and not dropped
                colour = "#f4f4f4" if dropped else cell_colour(column.kind, float(column.values[pixel]), scale)
                sheet.box(x, y, cell, CELL_HEIGHT, colour, hatch="////" if dropped else None)
                if marked:
                    sheet.box(x + 0.02, y + 0.02, cell - 0.04, CELL_HEIGHT - 0.04, "none", "#111111", 1.8)
                ink = "#9aa3ad" if dropped else ("white" if is_dark(colour) else INK)
                words = column.text(pixel).strip("()*")
                sheet.text(
                    x + cell / 2, y + CELL_HEIGHT / 2, words, 8 if cell > 0.5 else 5.5, ink, ha="center", va="center"
                )
            lowest = max(lowest, sheet.top + LINE + layout.height * CELL_HEIGHT)
            left += width + 0.22
    sheet.top = lowest + 0.06


def _draw_table(
    sheet: _Sheet, headers: list[str], rows: list[list[str]], skipped: frozenset[int] = frozenset()
) -> None:
    widths = [0.085 * max(columns_of(row[index]) for row in [headers, *rows]) + 0.2 for index in range(len(headers))]
    for place, row in enumerate([headers, *rows]):
        x = MARGIN + 0.22
        for index, cell in enumerate(row):
            grey = place == 0 or place - 1 in skipped
            right = index > 0
            sheet.text(
                x + widths[index] - 0.1 if right else x, sheet.top, cell, 8, SOFT if grey else INK,
                "bold" if place == 0 else "normal", ha="right" if right else "left",
            )  # fmt: skip
            x += widths[index]
        sheet.top += LINE
    sheet.top += 0.04


def _draw_bars(sheet: _Sheet, table: ClassTable) -> None:
    """Hit, missed and false alarm end to end: the whole bar is the union."""
    kept = [row for row in range(len(table.rows)) if row not in table.skipped]
    longest = max((sum(lengths[row] for _, lengths in table.bars) for row in kept), default=0.0) or 1.0
    for row in kept:
        x = MARGIN + 1.4
        sheet.text(x - 0.1, sheet.top + 0.04, table.rows[row][:18], 8, INK, ha="right")
        for index, (_, lengths) in enumerate(table.bars):
            width = 4.2 * lengths[row] / longest
            sheet.box(x, sheet.top, width, LINE, PARTS[index], "white")
            x += width
        sheet.top += LINE + 0.06
    x = MARGIN + 1.4
    for index, (name, _) in enumerate(table.bars):
        sheet.box(x, sheet.top + 0.02, 0.12, 0.12, PARTS[index])
        sheet.text(x + 0.17, sheet.top, name, 8, SOFT)
        x += 0.35 + 0.075 * len(name)
    sheet.text(x, sheet.top, "whole bar: the union", 8, SOFT)
    sheet.top += LINE + 0.04


def _draw_stairs(sheet: _Sheet, table: RankTable) -> None:
    """Heights are errors, widths Jaccard increments, the area is the loss of the class."""
    sheet.paragraph(f"{table.name}: loss = area = {format_number(table.value)}", 8.5, weight="bold", indent=0.22)
    left, width, height = MARGIN + 0.75, 4.2, 1.3
    top = max((rank.error for rank in table.ranks), default=0.0) or 1.0
    base = sheet.top + height
    for rank in table.ranks:
        x, step, tall = (
            left + (rank.jaccard - rank.increment) * width,
            rank.increment * width,
            rank.error / top * height,
        )
        if step <= 0 or tall <= 0:
            continue
        sheet.box(x, base - tall, step, tall, BLUE if rank.positive else ORANGE, "white")
        if step > 0.09 * len(rank.pixel) and tall > LINE:
            sheet.text(x + step / 2, base - 0.05, rank.pixel, 7.5, "white", ha="center", va="bottom")
    sheet.line([(left, sheet.top), (left, base), (left + width, base)])
    sheet.text(left - 0.05, sheet.top, format_number(top, 2), 7.5, SOFT, ha="right")
    sheet.text(left + width / 2, base + 0.03, "Jaccard loss of the pixels so far, 0 to 1", 7.5, SOFT, ha="center")
    for place, (name, colour) in enumerate((("pixel of the class", BLUE), ("other pixel", ORANGE))):
        sheet.box(left + width + 0.3, sheet.top + place * LINE, 0.12, 0.12, colour)
        sheet.text(left + width + 0.48, sheet.top + place * LINE - 0.02, name, 8, SOFT)
    sheet.top = base + 0.24
    rows = [
        [
            rank.pixel, "yes" if rank.positive else "no", format_number(rank.error), f"{rank.positives:g}",
            f"{rank.negatives:g}", format_number(rank.jaccard), format_number(rank.increment), format_number(rank.product),
        ]
        for rank in table.ranks
    ]  # fmt: skip
    _draw_table(sheet, ["pixel", "class?", "error", "F", "B", "J", "ΔJ", "error·ΔJ"], rows)


def panel_picture(panel: Panel) -> bytes:
    """One panel of curves as an SVG drawing, sized to be read on a phone."""
    # Without a salt, matplotlib puts random names into the file, and the same input would give another page.
    matplotlib = optional.require("matplotlib", extra="compare")
    with fonts_for(_words_of(panel)), matplotlib.rc_context({"svg.hashsalt": "segcrit"}):
        figure = _figure(5.2, 4.0)
        figure.set_layout_engine("constrained")
        _plot(figure.add_subplot(), panel)
        if told := lacking(_words_of(panel)):
            figure.suptitle("\n".join(wrapped(told, 70)), fontsize=7)
        return _saved(figure, "svg", 100)


def _words_of(*panels: Panel) -> list[str]:
    return [
        words
        for panel in panels
        for words in (panel.title, panel.x_label, panel.y_label, *(curve.name for curve in panel.curves))
    ]


def curves_figure(panels: Sequence[Panel], *, dpi: float = 130) -> bytes:
    """All panels as one PNG figure, two a row."""
    rows = (len(panels) + 1) // 2
    words = _words_of(*panels)
    with fonts_for(words):
        figure = _figure(11.0, 4.4 * rows)
        figure.set_layout_engine("constrained", hspace=0.06, wspace=0.05)
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, 2, place + 1)
            _plot(axes, panel)
            axes.set_title(panel.title, fontsize=10)
        if told := lacking(words):
            figure.suptitle("\n".join(wrapped(told, 130)), fontsize=8)
        return _saved(figure, "png", dpi)


def _plot(axes: Any, panel: Panel) -> None:
    for index, curve in enumerate(panel.curves):
        style = "-" if index < len(LINES) else "--"
        axes.plot(curve.x, curve.y, style, color=LINES[index % len(LINES)], linewidth=1.8, label=curve.name)
    axes.set_xlabel(panel.x_label, fontsize=9)
    axes.set_ylabel(panel.y_label, fontsize=9)
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    axes.set_xlim(*panel.x_limits)
    axes.grid(color=RULE, linewidth=0.7)
    axes.tick_params(labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Below the axes the legend never hides a line.
    longest = max(len(curve.name) for curve in panel.curves)
    columns = max(1, min(len(panel.curves), 60 // (longest + 6)))
    transforms = optional.require("matplotlib.transforms", extra="compare")
    below = axes.transAxes + transforms.ScaledTranslation(0, -34 / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, ncols=columns
    )


def map_picture(values: Array, *, colours: str = "magma", top: float | None = None) -> bytes:
    """A map (H, W) as a PNG picture, one pixel a pixel; NaN is grey. 0 is the first colour, ``top`` the last.

    Example:
        >>> map_picture(np.array([[0.0, 0.5], [1.0, np.nan]]))[:4]
        b'\\x89PNG'
    """
    matplotlib = optional.require("matplotlib", extra="compare")
    finite = values[np.isfinite(values)]
    highest = top if top is not None else float(finite.max(initial=0.0))
    shares = np.clip(np.nan_to_num(values) / (highest or 1.0), 0.0, 1.0)
    pixels = matplotlib.colormaps[colours](shares)
    pixels[~np.isfinite(values)] = (0.82, 0.82, 0.82, 1.0)
    return picture((pixels * 255).round().astype(np.uint8))


def ramp(colours: str, steps: int = 9) -> tuple[str, ...]:
    """The colours of a map from low to high as ``#rrggbb``, for the scale below it."""
    matplotlib = optional.require("matplotlib", extra="compare")
    rows = (matplotlib.colormaps[colours](np.linspace(0, 1, steps)) * 255).round().astype(int)
    return tuple("#" + "".join(f"{channel:02x}" for channel in row[:3]) for row in rows)


def picture(colours: Any) -> bytes:
    """An array (H, W, 3 or 4) of uint8 as a PNG picture."""
    image = optional.require("matplotlib.image", extra="compare")
    stream = io.BytesIO()
    image.imsave(stream, np.ascontiguousarray(colours), format="png", metadata={"Software": "segcrit"})
    return stream.getvalue()
