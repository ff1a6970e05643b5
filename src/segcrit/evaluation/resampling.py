"""Resamples and swaps of images (or groups) as blocks of weights times a table of sums."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.errors import DataError
from segcrit.evaluation.figures import Figure, columns_of
from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.policy import get_policy
from segcrit.evaluation.ratios import Floats, Integers

__all__ = ["Groups", "draw", "permutation_tests", "units"]

Groups = Mapping[str, Hashable] | Sequence[Hashable] | npt.NDArray[Any]

# Weights of at most this many bytes at a time.
_BLOCK_BYTES: Final = 32 * 2**20


def units(counts: PerImage, groups: Groups | None) -> tuple[Integers, int]:
    """The unit (0..number-1) of each image, numbered by sorted name: draws do not depend on the order."""
    if groups is None:
        # Ids need not be unique: every row is a unit of its own.
        rank = np.empty(counts.num_images, dtype=np.int64)
        rank[np.argsort(np.asarray(counts.ids, dtype=np.str_), kind="stable")] = np.arange(counts.num_images)
        return rank, counts.num_images
    if isinstance(groups, Mapping):
        missing = [image for image in counts.ids if image not in groups]
        if missing:
            raise DataError("a group for every image", f"none for {missing[0]!r}", "Complete the groups.")
        labels = [groups[image] for image in counts.ids]
    else:
        labels = list(groups)
        if len(labels) != counts.num_images:
            raise DataError(
                f"a group for each of {counts.num_images} images",
                f"{len(labels)} groups",
                "Give one label an image.",
            )
    names, unit = np.unique(np.asarray([str(label) for label in labels], dtype=np.str_), return_inverse=True)
    return unit.astype(np.int64), len(names)


def _unit_columns(counts: PerImage, basis: str, unit: Integers, number: int) -> Floats:
    columns = columns_of(counts, basis)
    result = np.zeros((number, columns.shape[1]))
    np.add.at(result, unit, columns)
    return result


def _block_rows(number: int) -> int:
    return max(1, _BLOCK_BYTES // (8 * max(number, 1)))


def draw(
    models: Sequence[PerImage],
    figures: Sequence[Figure],
    unit: Integers,
    number: int,
    resamples: int,
    seed: int,
) -> Floats:
    """Figures of bootstrap resamples, (resamples, figures, models); all models see the same resamples."""
    result = np.full((resamples, len(figures), len(models)), np.nan)
    if number == 0:
        return result
    task, policy = models[0].task, get_policy(models[0].policy)
    bases = list(dict.fromkeys(figure.basis for figure in figures))
    columns = [[_unit_columns(counts, basis, unit, number) for basis in bases] for counts in models]
    generator = np.random.default_rng([seed, 0])
    step = _block_rows(number)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, number, size=(rows, number))
        drawn += np.arange(rows)[:, None] * number
        # How often each unit was drawn: one multinomial sample a row, far cheaper than sampling it as such.
        weights = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
        for model, tables in enumerate(columns):
            sums = {basis: weights @ table for basis, table in zip(bases, tables, strict=True)}
            for place, figure in enumerate(figures):
                result[start : start + rows, place, model] = figure.combine(sums[figure.basis], task, policy)
    return result


def permutation_tests(
    models: Sequence[PerImage],
    places: Sequence[tuple[int, int]],
    figure: Figure,
    unit: Integers,
    number: int,
    resamples: int,
    seed: int,
) -> list[float]:
    """Two-sided p-values of the pairs by swapping the two models unit by unit."""
    if number == 0:
        return [1.0] * len(places)
    task, policy = models[0].task, get_policy(models[0].policy)
    columns = [_unit_columns(counts, figure.basis, unit, number) for counts in models]
    observed = [
        float(figure.combine(columns[left].sum(0), task, policy) - figure.combine(columns[right].sum(0), task, policy))
        for left, right in places
    ]
    exact = number < 63 and 2**number <= resamples
    total = 2**number if exact else resamples
    hits = np.zeros(len(places), dtype=np.int64)
    generator = np.random.default_rng([seed, 1])
    step = _block_rows(number)
    for start in range(0, total, step):
        rows = min(step, total - start)
        if exact:
            swap = (np.arange(start, start + rows)[:, None] >> np.arange(number)) & 1
        else:
            swap = generator.integers(0, 2, size=(rows, number), dtype=np.uint8)
        swapped = swap.astype(np.float64)
        for place, (left, right) in enumerate(places):
            move = swapped @ (columns[right] - columns[left])
            first = figure.combine(columns[left].sum(0) + move, task, policy)
            second = figure.combine(columns[right].sum(0) - move, task, policy)
            # A swap that leaves the difference as it is must count as a hit despite rounding.
            hits[place] += int((np.abs(first - second) >= abs(observed[place]) - 1e-12).sum())
    known = ~np.isnan(observed)
    shares = hits / total if exact else (1 + hits) / (1 + total)
    return [float(share) if ok else 1.0 for share, ok in zip(shares, known, strict=True)]
