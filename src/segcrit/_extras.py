"""Import of optional packages, with one message when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from segcrit.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` and return it, or say which command installs it.

    Args:
        module: dotted name, for example ``"scipy.ndimage"``.
        extra: the extra of segcrit that brings it, for example ``"data"``.

    Raises:
        MissingExtraError: the package is not installed.

    Example:
        >>> require("math", extra="data").sqrt(4.0)
        2.0
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the absence of the package itself is ours to explain; a broken installation of it is not.
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtraError(
            f"the package {module.split('.')[0]!r}, which this feature needs",
            "an environment without it",
            f"Install it with: pip install 'segcrit[{extra}]'",
        ) from error
