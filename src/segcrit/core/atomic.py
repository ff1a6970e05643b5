"""Reading and writing of files: only regular files are opened, and a reader sees the old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from segcrit.core.errors import DataError, ParameterError

__all__ = [
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_text",
    "decode_text",
    "inside",
    "locked",
    "open_regular",
    "read_text",
    "text_name_problem",
    "user_path",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    The temporary name keeps the suffix, because writers choose the format by it.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text()
        'done'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files readable by the owner only; a result should have the user's usual rights.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to ``path`` atomically and durably (flushed to disk before it replaces the old file)."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def atomic_write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, atomically and durably."""
    try:
        encoded = content.encode("utf-8")
    except UnicodeEncodeError as error:  # half a character: from a name of a file, or of JSON
        found = repr(content[max(0, error.start - 20) : error.end + 20])
        raise DataError(f"text in UTF-8 to write to {os.fspath(path)}", found, "Rename what is named so.") from error
    atomic_write_bytes(path, encoded)


# Larger than any list of names or classes that people write; anything larger was named by mistake.
_MOST_TEXT = 1 << 28


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; a pipe, socket or device is refused before it can block or act.

    Raises:
        DataError: it is no regular file.
        OSError: it does not exist or cannot be opened.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = file.write_text("text")
        >>> with open_regular(file) as stream:
        ...     stream.read()
        b'text'
    """
    # Looked at twice: opening a device may already act, and the name may be another file a moment later.
    _require_regular(os.stat(path).st_mode, path)
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    kind = next((name for is_kind, name in kinds if is_kind(mode)), "something else")
    raise DataError(f"a regular file at {os.fspath(path)}", kind, "Give the path of a file.")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a small file: UTF-8 with or without a byte order mark, UTF-16 with one, or Chinese text in GB 2312.

    A file in another encoding is refused, because names read in a wrong one are silently other names.

    Raises:
        DataError: it cannot be read, is no regular file, is larger than 256 MiB, or its encoding is not known.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "classes.txt"
        >>> _ = file.write_bytes("背景".encode("gbk"))
        >>> read_text(file)
        '背景'
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(_MOST_TEXT + 1)
    except FileNotFoundError as error:
        raise DataError(f"a text file {os.fspath(path)}", "no file", "Check the path.") from error
    except OSError as error:
        raise DataError(f"a text file {os.fspath(path)}", error.strerror or str(error), "Check its rights.") from error
    if len(content) > _MOST_TEXT:
        raise DataError(f"a text file {os.fspath(path)}", "more than 256 MiB", "Is it the right file?")
    text = decode_text(content)
    if text is None:
        raise DataError(f"text in UTF-8 in {os.fspath(path)}", "another encoding, or no text", "Save it as UTF-8.")
    return text


def decode_text(content: bytes) -> str | None:
    """The text of these bytes, in an encoding of :func:`read_text`; None where it is in another one, or no text."""
    # Both bytes of a GB 2312 letter have the highest bit; a single accented letter of Latin-1 is none, and refused.
    encodings = ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb2312")
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(encoding)
            if "\0" not in text:
                return text
    return None


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock file while something is written that two processes must not write at once.

    Where the file system has no locks, nothing is held.

    Args:
        path: of the lock file, which is removed at the end.
        doing: for the error: what the other process is at.

    Raises:
        ParameterError: another process holds it; its code is ``"in-use"``.
    """
    from filelock import FileLock, Timeout  # torch requires it

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ParameterError(
            f"one process at a time in {path.parent}",
            f"another one that is {doing}",
            "Wait for it, or choose another --out.",
            code="in-use",
        ) from error
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def inside(folder: Path, name: str) -> Path:
    """The path of a name that a file gives, in the folder that it belongs to.

    Raises:
        DataError: the name leads out of the folder; its code is ``"path-leaves-folder"``.

    Example:
        >>> inside(Path("runs"), "examples/1.png").as_posix()
        'runs/examples/1.png'
    """
    path = PurePath(name)
    if not path.parts or path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
        raise DataError(
            f"the name of a file in {folder}",
            f"{name!r}, which leads out of it",
            "The file that names it was edited; restore it, or make it again.",
            code="path-leaves-folder",
        )
    return folder / path


def text_name_problem(name: str) -> str:
    """Why a file name cannot stand in a table, a list or a page; empty where it can.

    Example:
        >>> text_name_problem("a.png"), text_name_problem("a\\udcff.png"), text_name_problem("a\\nb.png")
        ('', 'it is not UTF-8', 'it holds a line break')
    """
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "it is not UTF-8"
    return "it holds a line break" if "\n" in name or "\r" in name else ""


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as people write it, ``~`` for the home folder; the name of no user stays as it is written.

    ``Path.expanduser`` raises a RuntimeError there.

    Example:
        >>> user_path("~no such user/masks").as_posix()
        '~no such user/masks'
    """
    return Path(os.path.expanduser(path))
