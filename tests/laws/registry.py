"""The list of laws, filled by the modules that define them."""

from __future__ import annotations

from collections.abc import Callable

from .subject import Subject

Check = Callable[[Subject], None]
ALL: dict[str, Check] = {}


def law(check: Check) -> Check:
    ALL[check.__name__] = check
    return check
