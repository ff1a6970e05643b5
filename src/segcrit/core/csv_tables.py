"""Tables as CSV that any program reads: numbers with all their digits, and no name that a spreadsheet runs."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["csv_text", "name_of_cell"]

# What spreadsheets take for a formula (the full-width signs too), and the mark that tells them it is text. A name that
# begins with marks gets one more, so that every name can be told from its cell.
_FORMULA: Final = re.compile("'*[=+\\-@\t\r＝＋－＠]")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, the head among them; NaN is an empty cell.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, and is no number, gets an
    apostrophe before it, which makes it text in a spreadsheet; :func:`name_of_cell` takes it away again.

    Example:
        >>> print(csv_text([["class", "iou"], ["=1+1", -0.5], ["-1", float("nan")]]), end="")
        class,iou
        '=1+1,-0.5
        -1,
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
        return "'" + value
    return value


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", text, re.ASCII) is not None


def name_of_cell(cell: str) -> str:
    """The text that :func:`csv_text` wrote as this cell.

    Example:
        >>> name_of_cell("'=1+1"), name_of_cell("'s-Gravenhage"), name_of_cell("-1")
        ('=1+1', "'s-Gravenhage", '-1')
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
