"""Class descriptions as users write them: names, pairs, mappings, objects, or a ``classes.json``."""

from __future__ import annotations

import contextlib
import operator
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segcrit.core.atomic import read_text
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import parse_json
from segcrit.labels.colors import Color, distinct_colors

__all__ = ["Entry", "as_color", "entries_of", "fill_colors", "read_classes", "split_classes"]


@dataclass(frozen=True)
class Entry:
    """One class: its label, its name, and its colour if it has one."""

    index: int
    name: str
    color: Color | None


def as_color(color: Sequence[int] | str) -> Color:
    """Three numbers 0 … 255, or ``"#rrggbb"``, as a tuple.

    Example:
        >>> as_color("#ff8000")
        (255, 128, 0)
    """
    parts: list[int] = []
    if isinstance(color, str):
        if re.fullmatch("#?[0-9a-fA-F]{6}", color):
            parts = list(bytes.fromhex(color.removeprefix("#")))
    else:
        # NumPy integers are integers; 0.5 is not, and must not become 0.
        with contextlib.suppress(TypeError):
            parts = [operator.index(part) for part in color]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        raise ParameterError("a colour as three numbers 0 to 255 or '#rrggbb'", repr(color), "Correct it.")
    return parts[0], parts[1], parts[2]


def entries_of(classes: Iterable[Any]) -> list[Entry]:
    """Entries from names, pairs (name, colour), mappings or objects; without an index the position counts.

    Example:
        >>> entries_of(["sea", ("land", (0, 128, 0))])
        [Entry(index=0, name='sea', color=None), Entry(index=1, name='land', color=(0, 128, 0))]
    """
    return [_entry(position, item) for position, item in enumerate(classes)]


def _entry(position: int, item: Any) -> Entry:
    if isinstance(item, str):
        return Entry(position, item, None)
    if isinstance(item, Mapping):
        index, name, color = (item.get(key) for key in ("index", "name", "color"))
    elif hasattr(item, "name"):
        index, name, color = (getattr(item, key, None) for key in ("index", "name", "color"))
    elif isinstance(item, Sequence) and len(item) == 2:
        index, (name, color) = None, item
    else:
        raise ParameterError(
            "a class as a name, a pair (name, colour), or a mapping with 'index', 'name' and 'color'",
            repr(item),
            "Describe every class in one of these ways.",
        )
    if index is None:
        index = position
    if isinstance(index, bool) or not isinstance(index, int):
        raise ParameterError("a class index that is an integer", repr(index), "Correct the index.")
    label = f"class {index}" if name is None else str(name)
    return Entry(index, label, None if color is None else as_color(color))


def split_classes(entries: Sequence[Entry], ignore_index: int | None) -> tuple[list[Entry], Entry | None]:
    """The classes in the order of their labels, and the entry of ignored pixels if there is one."""
    by_index: dict[int | None, Entry] = {entry.index: entry for entry in entries}
    repeated = len(by_index) < len(entries)
    ignored = by_index.pop(ignore_index, None)
    if repeated or set(by_index) != set(range(len(by_index))):
        raise ParameterError(
            "class indices 0, 1, 2, … without gaps, each once",
            ", ".join(str(entry.index) for entry in entries),
            "Number the classes anew, and name the label without meaning as ignore_index.",
        )
    return [by_index[index] for index in range(len(by_index))], ignored


def fill_colors(classes: Sequence[Entry], taken: Iterable[Color]) -> list[Color]:
    """The colours of ``classes``; those without one get a colour that is neither used nor ``taken``."""
    given = {entry.color for entry in classes}.union(taken)
    # At most as many of these can be given away already as there are classes and taken colours.
    enough = min(256, len(classes) + len(given))
    spare = iter(color for color in distinct_colors(enough) if color not in given)
    return [entry.color or next(spare, (128, 128, 128)) for entry in classes]


def read_classes(path: str | os.PathLike[str]) -> tuple[list[Entry], int | None]:
    """Entries and ignore_index of a ``classes.json``; 255 if the file does not say."""
    file = Path(path)
    content = parse_json(read_text(file), f"a readable {file.name}", f"Correct {file}.")
    classes = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(classes, list) or not classes:
        raise DataError(
            "a classes.json with a list 'classes'",
            f"{file} without one",
            'Write {"classes": [{"index": 0, "name": "background", "color": [0, 0, 0]}, …]}.',
        )
    ignore_index = content.get("ignore_index", 255)
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise DataError("an integer or null as ignore_index", f"{ignore_index!r} in {file}", "Correct it.")
    try:
        return entries_of(classes), ignore_index
    except ParameterError as error:
        raise DataError(error.expected, f"{error.got} in {file}", error.advice, code=error.code) from error
