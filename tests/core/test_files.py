"""Only regular files are opened, and text is read in the encodings that people save."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from segcrit.core.atomic import open_regular, read_text
from segcrit.core.errors import DataError


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(tmp_path / "socket"))
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", Path("/dev/zero")):
        with pytest.raises(DataError, match=path.name):
            open_regular(path)
        with pytest.raises(DataError, match=path.name):
            read_text(path)
    server.close()
    with pytest.raises(DataError):
        read_text(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk"])
def test_encodings_of_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("道路\n建筑, road\n".encode(encoding))
    assert read_text(tmp_path / "a.txt").split() == ["道路", "建筑,", "road"]


def test_text_of_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Straße, forêt".encode("latin-1"))
    (tmp_path / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    for name in ("a.txt", "b.txt"):
        with pytest.raises(DataError, match=name):
            read_text(tmp_path / name)
