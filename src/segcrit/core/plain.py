"""Numbers and arrays as values that JSON holds: NaN is null, an infinity is the text ``"inf"`` or ``"-inf"``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["floats", "plain"]


def plain(value: Any) -> Any:
    """Bring numbers, arrays, and lists and dictionaries of them to plain values.

    Example:
        >>> plain({"a": np.array([0.5, np.nan, np.inf]), "b": np.int64(3)})
        {'a': [0.5, None, 'inf'], 'b': 3}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        # Whole numbers, by far the most, need no look at each.
        return value.tolist() if value.dtype.kind in "biu" else plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def floats(values: Any) -> npt.NDArray[np.float64]:
    """An array of float64 from what :func:`plain` made of one.

    Example:
        >>> floats([[0.5, None], ["-inf", 2]])
        array([[ 0.5,  nan],
               [-inf,  2. ]])
    """
    array = np.asarray(values, dtype=object)
    unknown = np.frompyfunc(lambda value: value is None, 1, 1)(array).astype(bool)
    result: npt.NDArray[np.float64] = np.where(unknown, np.nan, array).astype(np.float64)
    return result
