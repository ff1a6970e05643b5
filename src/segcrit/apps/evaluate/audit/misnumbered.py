"""Predictions whose classes are numbered otherwise than the truth's: legal values, and figures without meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from segcrit.metrics.definition import Sums, kappa
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Integers

__all__ = ["LEAST_GAIN", "LEAST_KAPPA", "agreement", "other_numbering"]

# Cohen's kappa, not accuracy: a model that learnt nothing and always predicts one class agrees with any numbering by chance.
LEAST_KAPPA: Final = 0.2
LEAST_GAIN: Final = 0.2


def other_numbering(matrix: Integers) -> tuple[str, float, float] | None:
    """The numbering by which predictions would agree far better with the truth, if there is one.

    Args:
        matrix: pixels by true and predicted class, (C, C).

    Returns:
        ``"from 1"`` (predictions are the class + 1), ``"from -1"`` (the class - 1) or ``"exchanged"`` (two classes), Cohen's
        kappa as it is and in that numbering; None where the predictions are as good as they are.

    Example:
        >>> other_numbering(np.array([[0, 90, 5], [5, 0, 60], [0, 0, 0]]))[0]
        'from 1'
        >>> other_numbering(np.array([[0, 90, 0], [0, 60, 0], [0, 0, 0]])) is None  # one class everywhere
        True
        >>> other_numbering(np.array([[900, 80, 5], [800, 5, 60], [0, 0, 0]])) is None  # poor, but right where it says 0
        True
    """
    truth = matrix.sum(axis=1)
    own = agreement(matrix, truth)
    found = ((name, agreement(moved, truth)) for name, moved in _numberings(matrix))
    name, best = max(found, key=lambda entry: entry[1])
    return (name, own, best) if best >= LEAST_KAPPA and best >= own + LEAST_GAIN else None


def _numberings(matrix: Integers) -> Iterator[tuple[str, Integers]]:
    down, up = np.zeros_like(matrix), np.zeros_like(matrix)
    down[:, :-1], up[:, 1:] = matrix[:, 1:], matrix[:, :-1]
    if len(matrix) == 2:
        yield "exchanged", matrix[:, ::-1]
    else:
        yield "from 1", down
        yield "from -1", up


def agreement(matrix: Integers, truth: Integers) -> float:
    """Cohen's kappa, agreement beyond chance, 0 where it is undefined; pixels that have left the matrix count as wrong."""
    tp = np.diagonal(matrix).astype(np.float64)
    pixels = np.full_like(tp, truth.sum())
    sums = Sums(tp, matrix.sum(axis=0) - tp, truth - tp, pixels, "multiclass", get_policy("segcrit"))
    return float(np.nan_to_num(kappa(sums)))
