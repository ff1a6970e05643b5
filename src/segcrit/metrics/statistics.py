"""How sure a figure is: image-level bootstrap, and paired comparison of models on the same images.

The unit that is resampled is the image, or the group of images (scene, patient, or the runs of one image
under several seeds) where groups are given: pixels of one image are no independent observations. Everything
works on :class:`~segcrit.metrics.per_image.PerImage`, needs numpy only, and is deterministic in ``seed``
whatever the order of the images. A :class:`segcrit.Report` stands for its counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final, Literal

import numpy as np

from segcrit.core.errors import ParameterError
from segcrit.metrics.named import get_figure
from segcrit.metrics.pairing import Counts, align, check_foreground, check_measure, check_pairs, counts_of, names_of
from segcrit.metrics.ratios import Floats
from segcrit.metrics.resampling import Groups, draw, permutation_tests, units

__all__ = [
    "Interval",
    "PairedComparison",
    "bootstrap",
    "bootstrap_many",
    "compare_all",
    "compare_pair",
    "holm",
]

# End points of a 95 % percentile interval from 10,000 resamples are known to about 2 % of the interval's
# half-width.
DEFAULT_RESAMPLES: Final = 10_000
# The chance with which a true difference of the "resolvable" size would be found: the convention in study
# planning.
POWER: Final = 0.8


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its bootstrap interval.

    Attributes:
        statistic: name of the figure.
        value: the figure of all images.
        low, high: ends of the percentile interval; NaN with fewer than two units.
        standard_error: standard deviation over the resamples; NaN with fewer than two units.
        level: for example 0.95.
        units: how many images (or groups) were resampled.
        resamples: how many resamples were drawn.
    """

    statistic: str
    value: float
    low: float
    high: float
    standard_error: float
    level: float
    units: int
    resamples: int

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same images.

    ``low``, ``high`` and ``p_value`` hold for the whole family of pairs that was compared (for
    :func:`compare_pair`, that one pair); the ``single_*`` fields are those of this pair alone.

    Attributes:
        a, b: names of the models.
        statistic: name of the figure.
        value_a, value_b: the figure of each over all images.
        difference: ``value_a - value_b``.
        low, high: interval of the difference; over a family, all intervals hold together with probability
            ``level``.
        p_value: of "the two are exchangeable on each image", by paired permutation; Holm-corrected over a
            family.
        standard_error: of the difference, from the paired bootstrap.
        resolvable: the smallest true difference that such a comparison finds with 80 % probability.
        level: for example 0.95.
        units: how many images (or groups) were resampled.
        single_low, single_high, single_p_value: without the correction over the family.
    """

    a: str
    b: str
    statistic: str
    value_a: float
    value_b: float
    difference: float
    low: float
    high: float
    p_value: float
    standard_error: float
    resolvable: float
    level: float
    units: int
    single_low: float
    single_high: float
    single_p_value: float

    @property
    def significant(self) -> bool:
        """Whether both the interval and the permutation test tell the two apart; never below two units."""
        return self.p_value <= 1 - self.level + 1e-12 and (self.low > 0 or self.high < 0)

    def reversed(self) -> PairedComparison:
        """The same comparison, of ``b`` with ``a``: how a new model ``b`` changed the figure of an old one."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            value_a=self.value_b,
            value_b=self.value_a,
            # Not -x: no difference, turned round, would be -0.0.
            difference=0.0 - self.difference,
            low=0.0 - self.high,
            high=0.0 - self.low,
            single_low=0.0 - self.single_high,
            single_high=0.0 - self.single_low,
        )


def bootstrap(
    counts: Counts,
    statistic: str = "miou",
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
    level: float = 0.95,
    class_names: tuple[str, ...] | None = None,
) -> Interval:
    """Return a figure of the data set with its percentile bootstrap interval over images.

    Each resample draws as many images as there are, with replacement, adds up their counts and forms the
    figure anew: the mIoU of a resample is the mIoU of its summed counts, not a mean of per-image values. A
    class that a resample misses altogether is skipped there, as it would be in a data set without it.

    Args:
        counts: a :class:`segcrit.Report`, or its counts per image, ``report.per_image``.
        statistic: a name of :data:`segcrit.metrics.named.FIGURES`, or a class figure such as
            ``"iou[3]"``.
        resamples: number of resamples.
        seed: of the draws; the same seed gives the same interval, whatever the order of the images.
        groups: resample these instead of images: one label an image in the order of ``counts.ids``, or a
            mapping from image id to label.
        level: coverage of the interval, between 0 and 1.
        class_names: lets ``statistic`` name a class in words; a report knows them.

    Raises:
        ParameterError: an unknown figure, or a number out of range.
        DataError: ``groups`` does not fit the images.

    Example:
        >>> from segcrit.metrics import PerImage
        >>> tp, fp, fn = [[8], [6], [1]], [[1], [2], [9]], [[1], [2], [0]]
        >>> counts = PerImage(["a", "b", "c"], tp, fp, fn, pixels=[10, 10, 10])
        >>> interval = bootstrap(counts, "miou", seed=1)
        >>> round(interval.value, 4), interval.units, interval.low < interval.value < interval.high
        (0.5, 3, True)
    """
    many = bootstrap_many(
        counts,
        [statistic],
        resamples=resamples,
        seed=seed,
        groups=groups,
        level=level,
        class_names=class_names,
    )
    return many[statistic]


def bootstrap_many(
    counts: Counts,
    statistics: Sequence[str],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
    level: float = 0.95,
    class_names: tuple[str, ...] | None = None,
) -> dict[str, Interval]:
    """Return the intervals of several figures from the same resamples; arguments as in :func:`bootstrap`."""
    _check_settings(resamples, level)
    own = counts_of(counts)
    known = class_names or names_of(counts)
    figures = [get_figure(name, own.num_classes, known, own) for name in statistics]
    values = [figure.of(own) for figure in figures]
    unit, number = units(own, groups)
    drawn = draw([own], figures, unit, number, resamples, seed)[:, :, 0]
    result = {}
    for column, (name, value) in enumerate(zip(statistics, values, strict=True)):
        low, high = _percentiles(drawn[:, column], number, level)
        error = _standard_error(drawn[:, column], number)
        result[name] = Interval(name, value, low, high, error, level, number, resamples)
    return result


def compare_pair(
    a: Counts,
    b: Counts,
    statistic: str = "miou",
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
    level: float = 0.95,
    names: tuple[str, str] = ("a", "b"),
) -> PairedComparison:
    """Compare two models on the same images: difference, interval, p-value, smallest resolvable difference.

    The interval is the percentile interval of the paired bootstrap (both models are given the same resample).
    The p-value is that of a paired permutation: under "the models are exchangeable", swapping the two on any
    subset of the images (groups) is as likely as not; it is the share of swaps whose difference is at least
    as large in size. All swaps are enumerated where there are at most ``resamples`` of them, otherwise
    ``resamples`` are drawn and the p-value is (1 + hits) / (1 + resamples), which is never 0. The resolvable
    difference is (z of the two-sided level + z of 80 %) x standard error: the usual sample-size formula
    solved for the effect.

    Args:
        a, b: reports on the two models on the same images, or their counts per image; matched by id, in any order.
        statistic, resamples, seed, groups, level: as in :func:`bootstrap`.
        names: how the result calls the two.

    Raises:
        DataError: the two were not measured on the same images against the same truth.
        ParameterError: an unknown figure, or a number out of range.

    Example:
        >>> from segcrit.metrics import PerImage
        >>> truth = [[10, 5]] * 8
        >>> worse = PerImage(range(8), [[9, 3 - i % 2] for i in range(8)], [[2 + i % 2, 1] for i in range(8)],
        ...                  [[1, 2 + i % 2] for i in range(8)], [15] * 8)
        >>> better = PerImage(range(8), truth, [[0, 0]] * 8, [[0, 0]] * 8, [15] * 8)
        >>> result = compare_pair(better, worse, "miou")
        >>> result.p_value == 2 / 2**8, result.significant
        (True, True)
    """
    if names[0] == names[1]:
        raise ParameterError("two different names", repr(names), "Name the models apart.")
    family = {names[0]: a, names[1]: b}
    return compare_all(family, statistic, resamples=resamples, seed=seed, groups=groups, level=level)[0]


def compare_all(
    models: Mapping[str, Counts],
    statistic: str = "miou",
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    groups: Groups | None = None,
    level: float = 0.95,
) -> list[PairedComparison]:
    """Compare several models on the same images, with a verdict that is honest about the number of pairs.

    p-values are corrected by Holm's step-down method. The intervals hold together: each is a percentile
    interval of the paired bootstrap, all at the same level, chosen as the smallest one at which they contain
    the resampled differences of *all* pairs at once in ``level`` of the resamples. Because the pairs share
    models and images, this is narrower than Bonferroni; for a single pair it is the ordinary percentile
    interval.

    Args:
        models: name -> report, or counts per image, on the same images; matched by id, in any order.
        pairs: the pairs to compare, as (name, name); default: all.
        statistic, resamples, seed, groups, level: as in :func:`compare_pair`.

    Returns:
        One comparison a pair, in the order of ``pairs``.

    Raises:
        DataError: the models were not measured on the same images against the same truth.
        ParameterError: fewer than two models, an unknown name or figure, or a number out of range.
    """
    _check_settings(resamples, level)
    chosen = check_pairs(models, pairs)
    names = list(models)
    counts = {name: counts_of(given) for name, given in models.items()}
    aligned = align(counts)
    first = aligned[0]
    figure = get_figure(statistic, first.num_classes, names_of(models[names[0]]), first)
    check_foreground(counts, figure.name)
    check_measure(counts, figure.basis.partition(":")[0])
    unit, number = units(first, groups)
    column = {name: place for place, name in enumerate(names)}
    values = [figure.of(part) for part in aligned]
    drawn = draw(aligned, [figure], unit, number, resamples, seed)[:, 0, :]
    places = [(column[left], column[right]) for left, right in chosen]
    gaps = np.stack([drawn[:, left] - drawn[:, right] for left, right in places], axis=1)
    tests = permutation_tests(aligned, places, figure, unit, number, resamples, seed)
    corrected = holm(tests)
    joint = _joint_level(gaps, level) if number > 1 else level
    quantile = NormalDist().inv_cdf((1 + min(joint, 1 - 1 / resamples)) / 2) + NormalDist().inv_cdf(POWER)
    result = []
    for place, ((left, right), (name_a, name_b)) in enumerate(zip(places, chosen, strict=True)):
        error = _standard_error(gaps[:, place], number)
        low, high = _percentiles(gaps[:, place], number, joint)
        single_low, single_high = _percentiles(gaps[:, place], number, level)
        result.append(
            PairedComparison(
                a=name_a,
                b=name_b,
                statistic=statistic,
                value_a=values[left],
                value_b=values[right],
                difference=values[left] - values[right],
                low=low,
                high=high,
                p_value=corrected[place],
                standard_error=error,
                resolvable=quantile * error,
                level=level,
                units=number,
                single_low=single_low,
                single_high=single_high,
                single_p_value=tests[place],
            )
        )
    return result


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down method (Holm 1979), in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    result = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        result[place] = largest
    return result


def check_resamples(resamples: int) -> None:
    """Refuse too few resamples.

    Raises:
        ParameterError: fewer than 100.
    """
    if resamples < 100:
        raise ParameterError("at least 100 resamples", str(resamples), "Use 2,000 or more for a stable interval.")


def _check_settings(resamples: int, level: float) -> None:
    check_resamples(resamples)
    if not 0 < level < 1:
        raise ParameterError("a level between 0 and 1", str(level), "Use 0.95 for a 95 % interval.")


def _joint_level(gaps: Floats, level: float) -> float:
    """The common level of percentile intervals that hold for all columns at once in ``level`` of the
    resamples.

    For each resample and pair, the level of the smallest percentile interval that contains it is |2 rank/R -
    1|; the level-quantile of the largest over pairs is the answer (the calibrated simultaneous intervals of
    Beran 1988).
    """
    if gaps.shape[1] == 1:
        return level
    # A resample without the class says nothing about a pair, as in the percentiles.
    known = ~np.isnan(gaps)
    depth = np.zeros(len(gaps))
    for column, there in zip(gaps.T, known.T, strict=True):
        # Ties take their middle rank: pairs with equal predictions have one value only and never bind.
        values = column[there]
        ordered = np.sort(values)
        middle = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
        depth[there] = np.maximum(depth[there], np.abs(2 * middle / max(len(values), 1) - 1))
    depth = depth[known.any(axis=1)]
    return float(max(level, np.quantile(depth, level))) if depth.size else level


def _percentiles(drawn: Floats, units: int, level: float) -> tuple[float, float]:
    known = drawn[~np.isnan(drawn)]
    if units < 2 or known.size == 0:
        return float("nan"), float("nan")
    # Between infinite values (of a likelihood) nothing can be interpolated.
    method: Literal["linear", "inverted_cdf"] = "linear" if np.isfinite(known).all() else "inverted_cdf"
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method=method)
    return float(low), float(high)


def _standard_error(drawn: Floats, units: int) -> float:
    known = drawn[~np.isnan(drawn)]
    if units < 2 or known.size < 2 or not np.isfinite(known).all():
        return float("nan")
    return float(known.std(ddof=1))
