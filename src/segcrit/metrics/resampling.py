"""Resamples and swaps of images (or groups) as blocks of weights times a table of sums."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.metrics.named import Figure
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Floats, Integers
from segcrit.metrics.worst import worst_mean, worst_mean_swapped

__all__ = ["Groups", "draw", "group_labels", "permutation_tests", "units"]

Groups = Mapping[str, Hashable] | Sequence[Hashable] | npt.NDArray[Any]

Swapped = Callable[[tuple[int, int], Floats], tuple[Floats, Floats]]

# Weights of at most this many bytes at a time.
_BLOCK_BYTES: Final = 32 * 2**20


def units(counts: PerImage, groups: Groups | None) -> tuple[Integers, int]:
    """The unit (0..number-1) of each image, numbered by sorted name: draws do not depend on the order."""
    if groups is None:
        # Ids need not be unique: every row is a unit of its own.
        rank = np.empty(counts.num_images, dtype=np.int64)
        rank[np.argsort(np.asarray(counts.ids, dtype=np.str_), kind="stable")] = np.arange(counts.num_images)
        return rank, counts.num_images
    labels = group_labels(counts, groups)
    names, unit = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True)
    return unit.astype(np.int64), len(names)


def group_labels(counts: PerImage, groups: Groups) -> list[str]:
    """The group of each image as text.

    Raises:
        DataError: an image has none.
    """
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
    return [str(label) for label in labels]


def _unit_columns(counts: PerImage, figure: Figure, unit: Integers, number: int) -> Floats:
    columns = figure.columns_of(counts)
    result = np.zeros((number, columns.shape[1]))
    np.add.at(result, unit, columns)
    return result


def _weighted(weights: Floats, table: Floats) -> Floats:
    """``weights @ table``, where an infinite value (the loss of what was excluded) counts only if it was drawn."""
    infinite = np.isposinf(table)
    if not infinite.any():
        plain: Floats = weights @ table
        return plain
    sums: Floats = weights @ np.where(infinite, 0.0, table)
    sums[weights @ infinite > 0] = np.inf
    return sums


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
    # Figures of one basis share their columns.
    bases = {figure.basis: figure for figure in figures if figure.worst is None}
    columns = [
        {basis: _unit_columns(counts, figure, unit, number) for basis, figure in bases.items()} for counts in models
    ]
    worst = {
        (place, model): figure.columns_of(counts)
        for place, figure in enumerate(figures)
        if figure.worst is not None
        for model, counts in enumerate(models)
    }
    generator = np.random.default_rng([seed, 0])
    step = _block_rows(number)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, number, size=(rows, number))
        drawn += np.arange(rows)[:, None] * number
        # How often each unit was drawn: one multinomial sample a row, far cheaper than sampling it as such.
        weights = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
        block = result[start : start + rows]
        for model, tables in enumerate(columns):
            sums = {basis: _weighted(weights, table) for basis, table in tables.items()}
            for place, figure in enumerate(figures):
                if figure.worst is None:
                    block[:, place, model] = figure.combine(sums[figure.basis], task, policy)
                else:
                    block[:, place, model] = worst_mean(worst[place, model], weights[:, unit], figure.worst, policy)
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
    swapped_figures = _swapper(models, figure, unit, number)
    # Infinite figures differ by inf - inf.
    with np.errstate(invalid="ignore"):
        return _p_values(swapped_figures, places, number, resamples, seed)


def _p_values(
    swapped_figures: Swapped, places: Sequence[tuple[int, int]], number: int, resamples: int, seed: int
) -> list[float]:
    nothing = np.zeros((1, number))
    observed = [float(first[0] - second[0]) for first, second in (swapped_figures(pair, nothing) for pair in places)]
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
        for place, pair in enumerate(places):
            first, second = swapped_figures(pair, swapped)
            # A swap that leaves the difference as it is must count as a hit despite rounding; and so must one after which
            # a figure is undefined, which says nothing against "exchangeable".
            smaller = np.abs(first - second) < _at_least(observed[place])
            hits[place] += int((~smaller).sum())
    known = ~np.isnan(observed)
    shares = hits / total if exact else (1 + hits) / (1 + total)
    return [float(share) if ok else 1.0 for share, ok in zip(shares, known, strict=True)]


def _at_least(observed: float) -> float:
    return abs(observed) - 1e-12 * max(1.0, abs(observed))


def _swapper(models: Sequence[PerImage], figure: Figure, unit: Integers, number: int) -> Swapped:
    """A function of a pair and swaps (swaps, units): the figures of both models after each swap."""
    task, policy = models[0].task, get_policy(models[0].policy)
    share = figure.worst
    if share is not None:
        tables = [figure.columns_of(counts) for counts in models]

        def sorted_anew(pair: tuple[int, int], swap: Floats) -> tuple[Floats, Floats]:
            left, right = tables[pair[0]], tables[pair[1]]
            images = swap[:, unit]
            return (
                worst_mean_swapped(left, right, images, share, policy),
                worst_mean_swapped(right, left, images, share, policy),
            )

        return sorted_anew
    columns = [_unit_columns(counts, figure, unit, number) for counts in models]

    def summed_anew(pair: tuple[int, int], swap: Floats) -> tuple[Floats, Floats]:
        left, right = columns[pair[0]], columns[pair[1]]
        move = swap @ (right - left)
        first = figure.combine(left.sum(0) + move, task, policy)
        return first, figure.combine(right.sum(0) - move, task, policy)

    return summed_anew
