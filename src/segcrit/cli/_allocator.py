"""Memory that a training frees and needs again a moment later stays with the process."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Names of <malloc.h>, which ctypes does not know.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# The largest that glibc takes: larger blocks are given back at once in any case.
_LARGEST_KEPT = 32 << 20
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep up to 1 GiB of freed memory, and say whether it listens.

    Every step of a training on a CPU allocates and frees the same activations. By default the allocator hands them back to
    the system each time, which then clears every page again before its next use. Only commands call this: a library has no
    say in the memory of its user's process.

    Example:
        >>> isinstance(keep_freed_memory(), bool)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        # Other C libraries, musl for one, have no such setting.
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
