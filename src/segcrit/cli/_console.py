"""Everything the commands print: headings, text and tables, pretty in a terminal and plain in a pipe.

With ``rich`` installed and a terminal at the other end, tables get colours and rules. Otherwise the same
content is written as plain, aligned text, which is also what scripts and tests read.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from segcrit.core.widths import columns_of, padded, wrapped

__all__ = ["Output", "columns", "heading", "note", "plain", "say", "table", "text"]

# Names come from files. A terminal obeys control characters (C0, C1), and shows text in another order between the
# controls of writing direction; the separators of lines and paragraphs break a line where the reader sees none.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
DEFAULT_WIDTH = 100
MAXIMUM_WIDTH = 120


def plain(text: str) -> str:
    r"""Text that a terminal only shows: control characters are written as in JSON, so that printed JSON reads back.

    Example:
        >>> print(plain("sea\x1b[31m\u202e"))
        sea\u001b[31m\u202e
    """
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)


class Output:
    """Standard output of a command: everything printed is made plain, and what nobody reads any more is dropped.

    A reader that leaves (head, less) or a closed output is no reason to leave a report unwritten.

    Args:
        stream: what is written to; None where the process has no standard output.

    Attributes:
        failure: the first error of writing, None while all went well.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream: TextIO = io.StringIO() if stream is None else stream
        self.failure: Exception | None = ValueError("closed") if stream is None else None

    def write(self, text: str) -> int:
        """Write text, made plain."""
        self._attempt(lambda: self.stream.write(plain(text)))
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        self._attempt(self.stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        if self.failure is not None:
            return
        try:
            act()
        except (OSError, ValueError) as failure:  # ValueError: somebody closed it
            self.failure = failure
            with suppress(OSError, ValueError):  # Python would complain again when it flushes at exit
                number = self.stream.fileno()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def columns() -> int:
    """Width that output may use: of the terminal, or of ``COLUMNS``, or 100; never more than 120."""
    return max(40, min(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, MAXIMUM_WIDTH))


def _rich_console() -> Any | None:
    # Piped output stays plain: no cut lines, no box characters, the same on every machine.
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    # Its own control characters pass; the text that it is given is made plain before.
    raw = sys.stdout.stream if isinstance(sys.stdout, Output) else sys.stdout
    return Console(file=raw, width=columns(), highlight=False)


def heading(title: str) -> None:
    """Print a section title, set off from what came before by an empty line."""
    title = plain(title)
    console = _rich_console()
    if console is None:
        print(f"\n{title}\n{'=' * columns_of(title)}")
    else:
        from rich.text import Text

        console.print()
        console.print(Text(title, style="bold cyan"))


def text(message: str = "", *, indent: int = 0) -> None:
    """Print a paragraph, wrapped at the width of the terminal; line breaks in ``message`` are kept."""
    prefix = " " * indent
    for paragraph in message.split("\n"):
        print(_filled(paragraph, prefix))


def note(message: str) -> None:
    """Print a remark on stderr, so that piped results stay clean."""
    print(plain(_filled(f"note: {message}")), file=sys.stderr)


def say(message: str, kind: str = "error") -> None:
    """Print ``segcrit: error: message``, or another kind of remark, on stderr."""
    print(plain(f"segcrit: {kind}: {message}"), file=sys.stderr)


def _filled(paragraph: str, prefix: str = "") -> str:
    # An option that is broken at its hyphens, or a path anywhere, cannot be copied.
    return textwrap.fill(
        paragraph,
        columns(),
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_on_hyphens=False,
        break_long_words=False,
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 2) -> None:
    """Print a table; columns of numbers are right-aligned, long texts are wrapped inside their column.

    Args:
        headers: one title a column; a column without any text below its title is left out.
        rows: cells as text, as many in each row as there are headers.
        indent: blanks before each line of the plain form.
    """
    kept = [index for index in range(len(headers)) if not rows or any(row[index] for row in rows)]
    headers = [plain(headers[index]) for index in kept]
    rows = [[plain(row[index]) for index in kept] for row in rows]
    console = _rich_console()
    right = [_is_numeric([row[index] for row in rows]) for index in range(len(headers))]
    if console is None:
        print("\n".join(plain_table(headers, rows, right, columns(), indent)))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    pretty = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title, is_right in zip(headers, right, strict=True):
        pretty.add_column(Text(title), justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        pretty.add_row(*(Text(cell) for cell in row))
    console.print(pretty)


def plain_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int, indent: int = 2
) -> list[str]:
    """Lay a table out as lines of plain text no wider than ``width``, as far as its shortest words allow.

    Example:
        >>> rows = [["ce", "0.5"], ["dice", "12.25"]]
        >>> print("\\n".join(plain_table(["name", "value"], rows, [False, True], width=40, indent=0)))
        name  value
        ----  -----
        ce      0.5
        dice  12.25
    """
    gap = 2
    natural = [max(columns_of(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    # A column of numbers may be as narrow as its numbers, its title wrapped between words.
    narrow = [
        max(columns_of(part) for part in (*title.split(), *cells, ""))
        for title, *cells in zip(headers, *rows, strict=True)
    ]
    widths = _fit(natural, narrow, right, width - indent - gap * (len(headers) - 1))
    lines = [*_row(headers, widths, right, gap), (" " * gap).join("-" * size for size in widths)]
    for row in rows:
        lines += _row(row, widths, right, gap)
    return [(" " * indent + line).rstrip() for line in lines]


def _fit(natural: list[int], narrow: list[int], right: Sequence[bool], available: int) -> list[int]:
    """Narrow the columns, a character at a time, until the table fits: titles of numbers first, then the widest text."""
    widths = list(natural)
    shortest = 12
    while sum(widths) > available:
        titles = [index for index, size in enumerate(widths) if right[index] and size > narrow[index]]
        wide = [index for index, size in enumerate(widths) if not right[index] and size > shortest]
        if not titles and not wide:
            break
        widest = max(titles or wide, key=lambda index: widths[index])
        widths[widest] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: int) -> list[str]:
    parts_of = [wrapped(cell, size) or [""] for cell, size in zip(cells, widths, strict=True)]
    lines = []
    for index in range(max(len(part) for part in parts_of)):
        parts = []
        for part, size, is_right in zip(parts_of, widths, right, strict=True):
            piece = part[index] if index < len(part) else ""
            parts.append(padded(piece, size, right=is_right))
        lines.append((" " * gap).join(parts))
    return lines


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers only; blanks, dashes and dropped marks do not count against it."""
    seen = False
    for cell in cells:
        word = cell.strip().strip("()*").replace("−", "-").replace("%", "").strip()
        if word in ("", "-", "–", "dropped", "skipped"):
            continue
        try:
            float(word)
        except ValueError:
            return False
        seen = True
    return seen
