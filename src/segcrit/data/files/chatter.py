"""Decoders log what they find odd in a file; while segcrit reads one, its own message tells what matters."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_chatter"]

_reading = threading.local()


class _WhileReading(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_reading, "depth", 0)


_filter = _WhileReading()


@contextmanager
def no_chatter() -> Iterator[None]:
    """Drop what tifffile and nibabel log in this thread; other threads and other messages are not touched."""
    for name in ("tifffile", "nibabel.global"):
        logging.getLogger(name).addFilter(_filter)  # adding it twice does nothing
    _reading.depth = getattr(_reading, "depth", 0) + 1
    try:
        yield
    finally:
        _reading.depth -= 1
