"""Walking through folders: every real folder once, whatever links there are, and the image files in it by name."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from segcrit.core.atomic import open_regular, text_name_problem
from segcrit.core.errors import DataError
from segcrit.data.files.formats import file_format, stem

__all__ = ["Found", "find_images", "is_array", "require_text", "walk"]

# Files that systems and tools leave beside images.
_BYSTANDERS = {"thumbs.db", "desktop.ini", "readme.md", "readme.txt", "license", "license.txt"}


@dataclass
class Found:
    """The image files of a folder and of the folders in it.

    Attributes:
        files: by their path below the folder without ending, ``city/image_1``, in Unicode's composed form.
        twice: names that several files have; ``files`` holds the first of them.
        skipped: files that are no images.
        folders: how many folders they lie in, the folder itself not counted.
    """

    files: dict[str, Path] = field(default_factory=dict)
    twice: dict[str, list[Path]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)


def walk(root: Path, role: str = "image") -> Iterator[tuple[Path, list[str]]]:
    """Every folder below ``root``, links to folders included, with the names of the files in it; hidden ones left out.

    A real folder is visited once, by its own path before any link to it: loops of links end, and a farm of links to
    one folder costs no more than that folder.

    Raises:
        DataError: a folder cannot be read: its images would be missing without a word.
    """
    seen = {os.path.realpath(root)}
    waiting, links = [str(root)], deque[str]()
    while waiting or links:
        if not waiting:
            link = links.popleft()
            real = os.path.realpath(link)
            if real in seen:
                continue
            seen.add(real)
            waiting.append(link)
        folder = waiting.pop()
        files = []
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"folders of {role}s that can be read in {root}",
                f"{error.filename}: {error.strerror}",
                "Change its rights.",
            ) from error
        inside = []
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                files.append(entry.name)
            elif entry.is_symlink():
                links.append(entry.path)
            elif (real := os.path.realpath(entry.path)) not in seen:  # seen already, where a link led above it
                seen.add(real)
                inside.append(entry.path)
        waiting += reversed(inside)
        yield Path(folder), files


def find_images(root: Path, role: str = "image", *, arrays: bool = False) -> Found:
    """The image files of a folder and its folders; with ``arrays`` npz files as well.

    Raises:
        DataError: a folder cannot be read, or a name is no text on one line.
    """
    found = Found()
    for place, names in walk(root, role):
        inside = place.relative_to(root)
        for name in names:
            path = place / name
            if not (is_array(path) if arrays else file_format(path) is not None) or (arrays and _is_counts(path)):
                if name.lower() not in _BYSTANDERS:
                    found.skipped.append((inside / name).as_posix())
                continue
            # macOS writes an accent as a letter of its own, others do not: names that look alike are alike.
            key = unicodedata.normalize("NFC", (inside / stem(path)).as_posix())
            require_text(key, root)
            if key in found.files:
                found.twice.setdefault(key, [found.files[key]]).append(path)
            else:
                found.files[key] = path
            if inside.parts:
                found.folders.add(inside.as_posix())
    return found


def _is_counts(path: Path) -> bool:
    """Whether a file holds what an earlier evaluation counted, whose --out lies among the label maps."""
    if re.fullmatch(r"counts|shard-\d+-of-\d+", path.stem) is None or path.suffix != ".npz":
        return False
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as content:
            return {"head.npy", "ids.npy"} <= set(content.namelist())
    except Exception:  # damaged files raise nearly anything, pipes a DataError; whoever reads it tells what it is
        return False


def is_array(path: Path) -> bool:
    """Whether the name is that of an array or image file."""
    return file_format(path) is not None or path.suffix.lower() == ".npz"


def require_text(name: str, root: Path) -> None:
    """Refuse names that cannot stand in a table, a list or a page.

    Raises:
        DataError: the name holds a line break, or bytes that are no UTF-8.
    """
    if problem := text_name_problem(name):
        raise DataError(
            f"names of files in {root} that are text on one line",
            f"{name!r}: {problem}",
            "Rename the file, in every folder alike.",
        )
