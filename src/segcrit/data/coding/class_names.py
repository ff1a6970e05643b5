"""Classes from text files: one name a line, numbered lines, tables with a header, and the label map of CVAT."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from segcrit.core.atomic import read_text
from segcrit.core.errors import DataError

__all__ = ["TEXT_SUFFIXES", "class_rows", "read_class_names"]

TEXT_SUFFIXES: Final = (".txt", ".csv", ".tsv", ".names")
_NUMBERED: Final = re.compile(r"(\d{1,20})(?:\s*[:;,=]\s*|\s+)(\S.*)")
_CVAT: Final = re.compile(r"([^:]+):(\d{1,20}),(\d{1,20}),(\d{1,20}):[^:]*:[^:]*")
_INDEX: Final = ("index", "idx", "id", "label", "value", "class_id", "trainid")
_NAME: Final = ("name", "class", "class_name", "label_name")
# labelme writes it first, for polygons that are left out; the classes begin after it.
_LEFT_OUT: Final = "__ignore__"


def read_class_names(path: Path) -> list[dict[str, Any]]:
    """The classes in a text file, as the list ``"classes"`` of a classes.json.

    Raises:
        DataError: it cannot be read, or lists no class.
    """
    try:
        found = class_rows(read_text(path))
    except csv.Error as error:
        raise DataError(f"a table of classes in {path}", str(error), "Save it as CSV again.") from error
    if not found:
        raise DataError(f"the name of a class on each line of {path}", "no names", "Write one a line.")
    return found


def class_rows(text: str) -> list[dict[str, Any]]:
    """The classes in a text; without numbers of their own they count from 0.

    Example:
        >>> class_rows("road\\nsky\\n")
        [{'index': 0, 'name': 'road'}, {'index': 1, 'name': 'sky'}]
        >>> class_rows("7 road\\n11: sky\\n")
        [{'index': 7, 'name': 'road'}, {'index': 11, 'name': 'sky'}]
        >>> class_rows("name,r,g,b\\nsky,128,128,128\\n")
        [{'index': 0, 'name': 'sky', 'color': [128, 128, 128]}]
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and lines[0] == _LEFT_OUT:
        del lines[0]
    if not lines:
        return []
    delimiter = next((sign for sign in "\t;," if sign in lines[0]), None)
    header = [] if delimiter is None else [cell.strip().lower() for cell in lines[0].split(delimiter)]
    if delimiter is not None and any(name in header for name in _NAME):
        rows = csv.DictReader(lines[1:], fieldnames=header, delimiter=delimiter)
        return [_row(place, row, header) for place, row in enumerate(rows)]
    colored = [_CVAT.fullmatch(line) for line in lines]
    if all(colored):
        return [
            {"index": place, "name": match[1], "color": [int(match[part]) for part in (2, 3, 4)]}
            for place, match in enumerate(match for match in colored if match is not None)
        ]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        return [{"index": int(match[1]), "name": match[2]} for match in numbered if match is not None]
    return [{"index": place, "name": line} for place, line in enumerate(lines)]


def _row(place: int, row: Mapping[str, str | None], header: Sequence[str]) -> dict[str, Any]:
    """One line of a table: number, name and colour where it has them; of several names in a cell the first."""
    number = next((row[key] for key in _INDEX if key in header), None)
    name = next(row[key] for key in _NAME if key in header) or ""
    found: dict[str, Any] = {"index": place, "name": re.split(r"[;,]", name)[0].strip()}
    if number is not None and re.fullmatch(r"\s*-?\d{1,20}\s*", number):
        found["index"] = int(number)
    color = [row.get(key) or "" for key in ("r", "g", "b")]
    if all(re.fullmatch(r"\s*\d{1,20}\s*", part) for part in color):
        found["color"] = [int(part) for part in color]
    return found
