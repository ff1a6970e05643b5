"""The numbers of a verdict: standings and pairs, each with an interval.

Two things differ between one comparison and its repetition: which test images happen to be at hand, and the
seed (initial weights, order of the batches). Images are resampled with replacement, whole groups where the
data has groups; with several seeds, the spread between them is added (:mod:`segcrit.apps.compare.verdict.seed_noise`).
Seeds are blocks: all losses share a seed's initial weights and batches, so what it does to all of them alike
does not blur the differences between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final

import numpy as np

from segcrit.apps.compare.records import ImageCounts, LossResult, Results, SeedResult, figure_name
from segcrit.apps.compare.verdict.records import PairComparison, Standing
from segcrit.apps.compare.verdict.seed_noise import Noise, between_losses, within_losses
from segcrit.metrics.named import evaluate, get_figure
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import Floats
from segcrit.metrics.resampling import draw, units
from segcrit.metrics.statistics import POWER, compare_all

__all__ = [
    "LEVEL",
    "SMALLEST_SAMPLE",
    "Ranking",
    "per_image",
    "quantiles",
    "rank",
    "seeds_with_figures",
    "smallest_p_value",
]

LEVEL: Final = 0.95
# Below six images even a loss that wins on every one has a permutation p-value above 5 % (2 / 2^5), and
# resampling so few underestimates their spread: no interval is given then.
SMALLEST_SAMPLE: Final = 6
# 10,000 resamples where that takes seconds, fewer for many losses, classes and images.
_MOST_RESAMPLES: Final = 10_000
_FEWEST_RESAMPLES: Final = 2_000
_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Ranking:
    """Standings (best first), all pairs in that order, and what the run could have resolved."""

    standings: tuple[Standing, ...]
    pairs: tuple[PairComparison, ...]
    resolution: float
    images: int  # test images
    units: int  # what was resampled: images, or groups of them
    resamples: int


def seeds_with_figures(loss: LossResult) -> list[tuple[SeedResult, ImageCounts]]:
    """The trainings of a loss that were tested, with their counts."""
    return [(seed, seed.counts) for seed in loss.seeds if seed.counts is not None and seed.figures is not None]


def per_image(results: Results, counts: ImageCounts) -> PerImage:
    """The counts as the evaluator knows them."""
    task = results.data.task
    positives = counts.tp + counts.fn
    # Every judged pixel of a multiclass image has one true class. The pixels of a multilabel image are not
    # kept; any number that is large enough serves, because the figures used here do not look at it.
    pixels = np.full_like(positives, 2**40) if task == "multilabel" else positives.sum(axis=1)
    background = results.data.background
    return PerImage(counts.ids, counts.tp, counts.fp, counts.fn, pixels, task, background=background)


def rank(results: Results) -> Ranking:
    """Rank the losses that were tested by the run's metric and compare every pair."""
    tested = {loss.name: seeds_with_figures(loss) for loss in results.losses}
    models = {name: [per_image(results, counts) for _, counts in seeds] for name, seeds in tested.items() if seeds}
    if not models:
        return Ranking((), (), float("nan"), 0, 0, 0)
    figure = figure_name(results.run.metric, results.data.background)
    scores = {name: [evaluate(counts, figure) for counts in parts] for name, parts in models.items()}
    # Best first; a NaN (no class exists) is last.
    names = sorted(models, key=lambda name: -np.nan_to_num(_mean(scores[name]), nan=-1.0))
    first = models[names[0]][0]
    unit, number = units(first, results.data.groups or None)
    resamples = _resamples(first, number, len(names))
    flat = [counts for name in names for counts in models[name]]
    drawn = draw(flat, [get_figure(figure, first.num_classes)], unit, number, resamples, 0)[:, 0, :]
    sizes = [len(models[name]) for name in names]
    owner = np.repeat(np.arange(len(names)), sizes)
    images = np.stack([drawn[:, owner == place].mean(axis=1) for place in range(len(names))], axis=1)
    by_seed = [
        {seed.seed: np.asarray(score) for (seed, _), score in zip(tested[name], scores[name], strict=True)}
        for name in names
    ]
    standings = _standings(names, scores, images, within_losses(by_seed), number)
    if len(names) < 2:
        return Ranking(standings, (), float("nan"), first.num_images, number, resamples)
    noise = between_losses(by_seed)
    if noise is None:
        pairs, sizes_found = _pairs_one_seed(results, models, names, figure, resamples)
    else:
        pairs, sizes_found = _pairs_seeds(names, scores, images, noise)
    if number < SMALLEST_SAMPLE:
        nan = float("nan")
        pairs = tuple(PairComparison(pair.first, pair.second, pair.difference, nan, nan, nan, False) for pair in pairs)
        return Ranking(standings, pairs, nan, first.num_images, number, resamples)
    if noise is None and smallest_p_value(len(pairs), number) > 1 - LEVEL:
        return Ranking(standings, pairs, float("nan"), first.num_images, number, resamples)
    # What it takes to tell a loss from the best one, for the typical loss.
    beside_best = [size for pair, size in zip(pairs, sizes_found, strict=True) if names[0] in (pair.first, pair.second)]
    return Ranking(standings, pairs, float(np.median(beside_best)), first.num_images, number, resamples)


def smallest_p_value(pairs: int, units: int) -> float:
    """The corrected p-value of a loss that wins on every image: no permutation of so few can be rarer."""
    return min(1.0, pairs * 2.0 ** (1 - units))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _resamples(first: PerImage, number: int, losses: int) -> int:
    # Measured on one core: about 60 ns a pair, class and resample, and 0.1 ns a product of the sums over images.
    seconds = 0.5 * losses**2 * first.num_classes * (6e-8 + 4e-10 * number)
    # Among R drawn permutations the smallest p-value is 1 / (1 + R), and the correction multiplies it by the pairs.
    enough = 20 * losses * (losses - 1)
    fewest = min(max(_FEWEST_RESAMPLES, enough), _MOST_RESAMPLES)
    return int(np.clip(_SECONDS / max(seconds, 1e-9), fewest, _MOST_RESAMPLES))


def _standings(
    names: Sequence[str],
    scores: dict[str, list[float]],
    images: Floats,
    noise: Noise | None,
    number: int,
) -> tuple[Standing, ...]:
    if noise is not None:
        sizes = np.array([len(scores[name]) for name in names])
        images = images + noise.sample(np.random.default_rng([0, 2]), sizes, len(images))
    standings = []
    for place, name in enumerate(names):
        spread = images[:, place]
        # A score has no value outside [0, 1], whatever Student's t says.
        low, high = np.clip(quantiles(spread), 0.0, 1.0) if number >= SMALLEST_SAMPLE else (np.nan, np.nan)
        standings.append(Standing(name, _mean(scores[name]), float(low), float(high), tuple(scores[name])))
    return tuple(standings)


def quantiles(spread: Floats) -> Floats:
    """Ends of the percentile interval over the first axis, NaN where nothing is known."""
    unknown = np.isnan(spread).all(axis=0)
    ends = np.nanquantile(np.where(unknown, 0.0, spread), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.where(unknown, np.nan, ends)


def _pairs_one_seed(
    results: Results, models: dict[str, list[PerImage]], names: Sequence[str], figure: str, resamples: int
) -> tuple[tuple[PairComparison, ...], list[float]]:
    groups = results.data.groups or None
    found = compare_all(
        {name: models[name][0] for name in names}, figure, resamples=resamples, groups=groups, level=LEVEL
    )
    pairs = tuple(
        PairComparison(pair.a, pair.b, pair.difference, pair.low, pair.high, pair.p_value, pair.significant)
        for pair in found
    )
    return pairs, [pair.resolvable for pair in found]


def _pairs_seeds(
    names: Sequence[str], scores: dict[str, list[float]], images: Floats, noise: Noise
) -> tuple[tuple[PairComparison, ...], list[float]]:
    """All pairs with image and seed variation.

    All intervals have the same width in standard errors: the 95 % quantile of the largest deviation over
    the pairs, so that they hold together (single-step max-t). The corrected p-value is the share of resamples
    whose largest deviation reaches the pair's own.
    """
    generator = np.random.default_rng([0, 3])
    sizes = np.array([len(scores[name]) for name in names])
    deviation = images - np.nanmean(images, axis=0) + noise.sample(generator, sizes, len(images))
    places = list(combinations(range(len(names)), 2))
    gaps = np.stack([deviation[:, a] - deviation[:, b] for a, b in places], axis=1)
    of_images = np.array([np.nanvar(images[:, a] - images[:, b], ddof=1) for a, b in places])
    of_seeds = float(noise.variance) * np.array([1 / sizes[a] + 1 / sizes[b] for a, b in places])
    error = np.sqrt(of_images + of_seeds)
    scale = np.where(error > 0, error, 1.0)
    largest = np.nan_to_num(np.abs(gaps) / scale).max(axis=1)
    factor = float(np.quantile(largest, LEVEL))
    pairs, resolvable = [], []
    for (a, b), size, unit in zip(places, error, scale, strict=True):
        difference = _mean(scores[names[a]]) - _mean(scores[names[b]])
        hits = int((largest >= abs(difference) / unit).sum())
        p_value = (1 + hits) / (1 + len(largest)) if size > 0 else 1.0
        low, high = difference - factor * float(size), difference + factor * float(size)
        pairs.append(
            PairComparison(names[a], names[b], difference, low, high, p_value, size > 0 and (low > 0 or high < 0))
        )
        resolvable.append((factor + NormalDist().inv_cdf(POWER)) * float(size))
    return tuple(pairs), resolvable
