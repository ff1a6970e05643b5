"""The memory that the array of one file may take: checked by its header, before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from segcrit.core.errors import DataError, ParameterError
from segcrit.core.machine import memory_limit
from segcrit.data.files.stored import Header

__all__ = ["BUDGET", "memory_budget", "require_memory", "set_memory_budget"]

# The name of the environment variable: worker processes inherit it.
BUDGET = "SEGCRIT_FILE_MEMORY"
_GIB = 1 << 30
# Where the system does not tell its memory.
_ASSUMED = 16 * _GIB


def memory_budget() -> int:
    """Bytes that the array of one file may take: ``SEGCRIT_FILE_MEMORY`` in GiB, or half of the memory of this machine.

    A container's own limit counts as its memory.

    Raises:
        ParameterError: the environment variable is no positive number.
    """
    given = os.environ.get(BUDGET)
    if given:
        return _bytes(given)
    limit = memory_limit()
    return (_ASSUMED if limit is None else limit) // 2


def set_memory_budget(gib: str | None) -> None:
    """Set the budget of this process and its workers; None leaves it as it is.

    Raises:
        ParameterError: it is no positive number.
    """
    if gib is not None:
        _bytes(gib)
        os.environ[BUDGET] = gib


def _bytes(gib: str) -> int:
    try:
        number = float(gib)
    except ValueError:
        number = 0.0
    if not 0 < number < 1 << 33:
        raise ParameterError("a positive number of GiB for the array of one file", repr(gib), "Write --file-memory 8.")
    return int(number * _GIB)


def require_memory(header: Header, path: Path) -> None:
    """Refuse a file whose array would take more than the budget.

    Raises:
        DataError: it would.
    """
    most = memory_budget()
    if header.nbytes > most:
        size = "×".join(str(length) for length in header.shape)
        raise DataError(
            f"a file whose array takes at most {most / _GIB:.3g} GiB",
            f"{path}, whose header claims {size} of {header.dtype}, {header.nbytes / _GIB:.3g} GiB",
            "If that is its size, pass a larger --file-memory (in GiB); if not, the file is damaged: copy it again.",
            code="too-large",
        )
