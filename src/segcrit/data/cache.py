"""The user's cache folder, and a memory of what was read from the files of a data set."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from segcrit.core.atomic import atomic_write_text, user_path
from segcrit.core.constants import VERSION
from segcrit.core.json_files import read_json

__all__ = ["FileMemory", "cache_folder"]

# Raise the number when the meaning of a remembered value changes.
_VERSION = f"{VERSION}/4"
# A file this young could change again without its time stamp showing it (FAT counts in steps of two seconds).
_RACY_NANOSECONDS = 3_000_000_000
# Reading fewer files again costs less than a file in the user's cache folder.
_WORTH_REMEMBERING = 50


def cache_folder() -> Path:
    """Where segcrit keeps what it can make again: ``SEGCRIT_CACHE``, or the system's place for caches.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    named = os.environ.get("SEGCRIT_CACHE")
    if named:
        return user_path(named).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "segcrit" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "segcrit"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "segcrit"


class FileMemory:
    """What was found in files, remembered between runs as long as a file's size and time of change are the same.

    A cache that cannot be read or written is as good as an empty one: nothing depends on it but time.

    Args:
        root: the folder of the data set; it names the cache file.
        enabled: False remembers only within this object.
    """

    def __init__(self, root: Path, *, enabled: bool = True) -> None:
        digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
        self._file = cache_folder() / "index" / f"{root.resolve().name or 'root'}-{digest}.json"
        self._enabled = enabled
        self._entries: dict[str, dict[str, Any]] = {}
        self._changed = False
        if enabled:
            self._read()

    def get(self, path: Path, kind: str) -> Any | None:
        """The remembered value of this kind, or None where there is none or the file has changed since."""
        entry = self._entries.get(str(path))
        if entry is None or entry["stamp"] != _stamp(path):
            return None
        return entry.get(kind)

    def put(self, path: Path, kind: str, value: Any) -> None:
        """Remember ``value`` (of JSON types) for the file as it is now."""
        stamp = _stamp(path)
        if stamp is None or time.time_ns() - stamp[1] < _RACY_NANOSECONDS:
            return
        entry = self._entries.get(str(path))
        if entry is None or entry["stamp"] != stamp:
            entry = self._entries[str(path)] = {"stamp": stamp}
        entry[kind] = value
        self._changed = True

    def save(self) -> None:
        """Write what is new to the cache folder, if that is possible."""
        if not (self._enabled and self._changed and len(self._entries) >= _WORTH_REMEMBERING):
            return
        try:
            content = json.dumps({"version": _VERSION, "files": self._entries}, separators=(",", ":"))
            atomic_write_text(self._file, content)
            self._changed = False
        except OSError:
            self._enabled = False

    def _read(self) -> None:
        try:
            content = read_json(self._file)
            if content["version"] == _VERSION:
                self._entries = dict(content["files"])
        except (OSError, ValueError, KeyError, TypeError):  # DataError is a ValueError
            self._entries = {}


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
