"""Whether a file is still the one that was counted: its size, its time and a little of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from segcrit.apps.evaluate.reading.axes import companion
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError

__all__ = ["stamp_of"]

# Headers and checksums stand at the ends of a file: two versions of a prediction differ there.
_END: Final = 4096


def stamp_of(pair: Pair, *, needs_probabilities: bool) -> str:
    """A short text that changes when a file of an image is replaced, by an older one too (``cp -p``, ``rsync -a``).

    Args:
        pair: truth, predictions and valid area.
        needs_probabilities: whether files of probabilities beside the predictions are read.
    """
    files = list(pair.files)
    if needs_probabilities:
        files += [beside for path in pair.predictions if (beside := companion(path)) is not None]
    return _stamp(files)


def _stamp(files: Iterable[Path]) -> str:
    state = hashlib.blake2b(digest_size=8)
    for path in files:
        try:
            about = path.stat()
            state.update(f"{about.st_size} {about.st_mtime_ns}\n".encode())
            with open_regular(path) as stream:
                state.update(stream.read(_END))
                stream.seek(max(0, about.st_size - _END))
                state.update(stream.read(_END))
        except (OSError, DataError) as error:
            state.update(type(error).__name__.encode())  # counting it tells the reason
    return state.hexdigest()
