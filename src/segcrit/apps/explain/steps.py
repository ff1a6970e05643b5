"""What an explanation is: steps of numbers with a formula and a sentence each. Pure data, no drawing, no torch.

Numbers that belong to pixels are kept as columns, one value a pixel. A terminal shows them as a table with one row a
pixel; a picture shows each column as a small grid in the shape of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "Block",
    "Check",
    "ClassTable",
    "Column",
    "Explanation",
    "Layout",
    "Mask",
    "PixelTable",
    "Rank",
    "RankTable",
    "Step",
    "TermExplanation",
    "format_number",
]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Kind = Literal["number", "probability", "signed", "label", "target"]


def format_number(value: float, digits: int = 4) -> str:
    """A number as people write it: four decimals, scientific where four decimals would show nothing.

    Example:
        >>> format_number(0.510826), format_number(-2.0), format_number(3e-7), format_number(float("nan"))
        ('0.5108', '-2.0000', '3.0e-07', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    magnitude = abs(value)
    if magnitude != 0 and (magnitude < 0.5 * 10**-digits or magnitude >= 1e6):
        return f"{value:.1e}"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


@dataclass(frozen=True)
class Layout:
    """Where the pixels lie: ``shape`` is (images, width) or (images, height, width), in reading order."""

    shape: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    @property
    def images(self) -> int:
        """Number of images."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Rows of one image."""
        return self.shape[1] if len(self.shape) == 3 else 1

    @property
    def width(self) -> int:
        """Columns of one image."""
        return self.shape[-1]

    def name(self, pixel: int) -> str:
        """Name of a pixel in tables: its row and column, or its number in a list.

        Example:
            >>> Layout((1, 2, 2)).name(3), Layout((1, 4)).name(3)
            ('(1, 1)', '3')
        """
        place = [int(index) for index in np.unravel_index(pixel, self.shape)]
        text = str(place[1]) if len(place) == 2 else f"({place[1]}, {place[2]})"
        return f"image {place[0]} {text}" if self.images > 1 else text

    def image_of(self) -> npt.NDArray[np.int64]:
        """Index of the image of each pixel."""
        return np.repeat(np.arange(self.images), self.pixels // self.images)


@dataclass(frozen=True)
class Column:
    """One number for each pixel.

    Attributes:
        name: heading.
        values: (pixels,).
        kind: decides the colours of a picture and how a number is written.
        marked: pixels that the step singles out (the true class), None for none.
        dropped: pixels that do not count, shown struck out, None for none.
    """

    name: str
    values: Array
    kind: Kind = "number"
    marked: Mask | None = None
    dropped: Mask | None = None

    def text(self, pixel: int) -> str:
        """The cell of a pixel; a dropped one is in brackets, a marked one has a star."""
        value = float(self.values[pixel])
        cell = str(int(value)) if self.kind in ("label", "target") and value.is_integer() else format_number(value)
        if self.dropped is not None and self.dropped[pixel]:
            return f"({cell})"
        if self.marked is not None and self.marked[pixel]:
            return f"{cell}*"
        return cell


@dataclass(frozen=True)
class PixelTable:
    """Columns over the same pixels."""

    columns: tuple[Column, ...]


@dataclass(frozen=True)
class ClassTable:
    """Numbers of classes (or of terms): one row each.

    Attributes:
        corner: heading of the row names.
        rows: row names.
        columns: (heading, values) pairs.
        skipped: rows that do not enter the mean.
        bars: parts of a whole for each row, drawn end to end in pictures: (name of the part, lengths).
    """

    corner: str
    rows: tuple[str, ...]
    columns: tuple[tuple[str, tuple[float, ...]], ...]
    skipped: frozenset[int] = frozenset()
    bars: tuple[tuple[str, tuple[float, ...]], ...] = ()


@dataclass(frozen=True)
class Rank:
    """One pixel in the order of its error."""

    pixel: str
    positive: bool
    error: float
    positives: float
    negatives: float
    jaccard: float
    increment: float

    @property
    def product(self) -> float:
        """Error times increment: what this pixel adds."""
        return self.error * self.increment


@dataclass(frozen=True)
class RankTable:
    """The sorted errors of one class; the loss is the area under the staircase of width increment, height error."""

    name: str
    ranks: tuple[Rank, ...]
    total_positives: float

    @property
    def value(self) -> float:
        """Σ error · increment."""
        return sum(rank.product for rank in self.ranks)


Block = PixelTable | ClassTable | RankTable


@dataclass(frozen=True)
class Step:
    """One step: what is done, the formula, a sentence in plain words, the numbers.

    Attributes:
        title: a few words.
        formula: text with Unicode mathematics.
        caption: why this step, and what to look at.
        blocks: the numbers.
        results: named single numbers that come out of it.
    """

    title: str
    formula: str
    caption: str
    blocks: tuple[Block, ...] = ()
    results: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class TermExplanation:
    """One term of a loss expression.

    Attributes:
        text: the term as written back, for example ``"0.5*dice(smooth=1)"``.
        title: name in prose.
        weight: factor of the term.
        steps: how its value and gradient come about.
        value: value without the factor.
        gradient: (pixels, classes), derivative of the unweighted value for each logit.
        spelled_out: False where only the library's result is shown, because the steps of this loss are not written.
    """

    text: str
    title: str
    weight: float
    steps: tuple[Step, ...]
    value: float
    gradient: Array
    spelled_out: bool = True


@dataclass(frozen=True)
class Check:
    """A result from elsewhere beside ours.

    Attributes:
        name: whose result, for example ``"torch.nn.CrossEntropyLoss"``.
        value: its value.
        difference: absolute difference of the values.
        gradient_difference: largest absolute difference of the gradients, None where it was not compared.
        agrees: whether both are within ``tolerance``.
        tolerance: absolute tolerance that was applied.
        remark: why something was not compared.
    """

    name: str
    value: float
    difference: float
    gradient_difference: float | None
    agrees: bool
    tolerance: float
    remark: str = ""


@dataclass(frozen=True)
class Explanation:
    """Every step of a loss on a few pixels.

    Attributes:
        expression: the loss, written back.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        layout: where the pixels lie.
        class_names: one a class or channel.
        opening: the steps that all terms share: the numbers and the probabilities.
        terms: one for each term of the expression.
        closing: the sum of the terms, when there are several.
        value: value of the loss.
        gradient: (pixels, classes).
        checks: results of the library and of torch beside ours.
        notes: remarks on how the input was read.
    """

    expression: str
    task: str
    layout: Layout
    class_names: tuple[str, ...]
    opening: tuple[Step, ...]
    terms: tuple[TermExplanation, ...]
    closing: tuple[Step, ...]
    value: float
    gradient: Array
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Whether every check agrees."""
        return all(check.agrees for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain data for JSON."""
        return {
            "loss": self.expression,
            "task": self.task,
            "shape": list(self.layout.shape),
            "classes": list(self.class_names),
            "value": self.value,
            "gradient": self.gradient.tolist(),
            "steps": [_step_dict(step) for step in self.opening],
            "terms": [
                {
                    "term": term.text,
                    "weight": term.weight,
                    "value": term.value,
                    "steps": [_step_dict(step) for step in term.steps],
                }
                for term in self.terms
            ],
            "sum": [_step_dict(step) for step in self.closing],
            "checks": [vars(check) for check in self.checks],
            "notes": list(self.notes),
        }


def _step_dict(step: Step) -> dict[str, Any]:
    return {
        "title": step.title,
        "formula": step.formula,
        "caption": step.caption,
        "numbers": [_block_dict(block) for block in step.blocks],
        "results": dict(step.results),
    }


def _block_dict(block: Block) -> dict[str, Any]:
    if isinstance(block, PixelTable):
        return {"pixels": {column.name: _plain(column.values) for column in block.columns}}
    if isinstance(block, ClassTable):
        return {
            "rows": list(block.rows),
            "columns": {name: _plain(values) for name, values in block.columns},
            "skipped": [block.rows[index] for index in sorted(block.skipped)],
        }
    return {"sorted": block.name, "ranks": [vars(rank) | {"product": rank.product} for rank in block.ranks]}


def _plain(values: Array | Sequence[float]) -> list[float | None]:
    # JSON knows no NaN.
    return [None if math.isnan(value) else float(value) for value in values]
