"""Intervals that cover, tests that keep their level, and a speed that allows both."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from segcrit.core.errors import DataError, ParameterError
from segcrit.metrics import resampling, statistics
from segcrit.metrics.named import FIGURES, evaluate
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.statistics import bootstrap, bootstrap_many, compare_all, compare_pair, holm


def _truth(images: int, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Pixels of each class in each image; images differ in content."""
    return generator.multinomial(1000, generator.dirichlet(np.full(classes, 1.0), size=images))


def _model(truth: np.ndarray, quality: float, generator: np.random.Generator, spread: float = 0.08) -> PerImage:
    """Right with a probability that varies from image to image; errors spread over the other classes."""
    images, classes = truth.shape
    right = np.clip(quality + spread * generator.normal(size=(images, 1)), 0.02, 0.98)
    tp = generator.binomial(truth, right)
    fn = truth - tp
    fp = np.zeros_like(fn)
    for label in range(classes):
        others = np.delete(np.arange(classes), label)
        share = np.full(len(others), 1 / len(others))
        fp[:, others] += generator.multinomial(fn[:, label], share)
    return PerImage([f"i{k:05d}" for k in range(images)], tp, fp, fn, truth.sum(axis=1))


def test_bootstrap_agrees_with_resampling_by_hand() -> None:
    generator = np.random.default_rng(0)
    counts = _model(_truth(30, 4, generator), 0.7, generator)
    values = []
    for _ in range(4000):
        rows = generator.integers(0, 30, 30)
        tp, fp, fn = (getattr(counts, name)[rows].sum(axis=0) for name in ("tp", "fp", "fn"))
        values.append((tp / (tp + fp + fn)).mean())
    interval = bootstrap(counts, "miou")
    low, high = np.quantile(values, [0.025, 0.975])
    width = high - low
    assert interval.low == pytest.approx(low, abs=0.05 * width)
    assert interval.high == pytest.approx(high, abs=0.05 * width)
    assert interval.standard_error == pytest.approx(np.std(values), rel=0.05)
    assert interval.value == evaluate(counts, "miou")


def test_standard_error_of_a_plain_mean_is_known() -> None:
    """With equal image sizes the pixel accuracy is a mean over images: its error is sd / sqrt(n)."""
    generator = np.random.default_rng(1)
    counts = _model(_truth(200, 3, generator), 0.8, generator)
    values = counts.tp.sum(axis=1) / counts.pixels
    interval = bootstrap(counts, "pixel_accuracy")
    assert interval.standard_error == pytest.approx(values.std() / math.sqrt(200), rel=0.03)
    assert interval.low == pytest.approx(values.mean() - 1.96 * values.std() / math.sqrt(200), abs=5e-4)


@pytest.mark.parametrize("statistic", ["miou", "image_miou", "iou[2]"])
def test_interval_covers_the_truth_about_as_often_as_it_says(statistic: str) -> None:
    generator = np.random.default_rng(2)
    population = _model(_truth(20_000, 3, generator), 0.7, generator)
    wanted = evaluate(population, statistic)
    trials, hits = 300, 0
    for trial in range(trials):
        sample = population.select(generator.integers(0, 20_000, 50))
        interval = bootstrap(sample, statistic, resamples=400, seed=trial)
        hits += interval.low <= wanted <= interval.high
    # 95 % minus the small deficit of percentile intervals at n = 50; three binomial errors are 0.04
    assert 0.90 <= hits / trials <= 0.985


def test_same_seed_same_interval_in_any_order_and_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    counts = _model(_truth(40, 3, generator), 0.7, generator)
    shuffled = counts.select(generator.permutation(40))
    reference = bootstrap(counts, "miou", resamples=500)
    assert bootstrap(shuffled, "miou", resamples=500) == reference
    assert bootstrap(counts, "miou", resamples=500, seed=1).low != reference.low
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", 8 * 40 * 7)
    assert bootstrap(counts, "miou", resamples=500) == reference


def test_every_figure_can_be_resampled() -> None:
    generator = np.random.default_rng(4)
    counts = _model(_truth(25, 3, generator), 0.7, generator)
    intervals = bootstrap_many(counts, [*FIGURES, "iou[0]", "recall[2]"], resamples=500)
    for name, interval in intervals.items():
        assert interval.value == evaluate(counts, name)
        assert interval.low < interval.value < interval.high, name
        assert interval == bootstrap(counts, name, resamples=500)


def test_groups_are_resampled_as_wholes() -> None:
    generator = np.random.default_rng(5)
    single = _model(_truth(30, 3, generator), 0.7, generator)
    # Four copies of each image say nothing new: grouped, the interval stays; as images, it would halve.
    rows = np.repeat(np.arange(30), 4)
    copies = single.select(rows)
    reference = bootstrap(single, "miou")
    for groups in ([single.ids[row] for row in rows], np.array(single.ids)[rows], {i: i for i in single.ids}):
        grouped = bootstrap(copies, "miou", groups=groups)
        assert grouped.units == 30
        assert (grouped.low, grouped.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    alone = bootstrap(copies, "miou")
    assert alone.units == 120
    assert alone.standard_error == pytest.approx(reference.standard_error / 2, rel=0.1)
    with pytest.raises(DataError, match="each of 120 images"):
        bootstrap(copies, groups=["a"])
    with pytest.raises(DataError, match="none for"):
        bootstrap(copies, groups={"i00000": 1})


def test_one_image_has_no_interval() -> None:
    counts = PerImage(["a"], [[5, 5]], [[1, 0]], [[0, 1]], [11])
    interval = bootstrap(counts)
    assert interval.units == 1
    assert all(math.isnan(value) for value in (interval.low, interval.high, interval.standard_error))
    other = PerImage(["a"], [[5, 6]], [[0, 0]], [[0, 0]], [11])
    result = compare_pair(other, counts)
    assert result.difference > 0
    assert result.p_value == 1
    assert math.isnan(result.low)
    assert math.isnan(result.resolvable)
    assert not result.significant
    empty = PerImage([], np.zeros((0, 2), dtype=int), np.zeros((0, 2), dtype=int), np.zeros((0, 2), dtype=int), [])
    assert math.isnan(bootstrap(empty).value)
    assert not compare_pair(empty, empty).significant


def test_permutation_p_value_by_enumeration() -> None:
    """Six images: all 64 swaps, formed anew here by hand."""
    generator = np.random.default_rng(6)
    truth = _truth(6, 3, generator)
    a, b = _model(truth, 0.75, generator), _model(truth, 0.7, generator)

    def miou(rows: list[tuple[PerImage, int]]) -> float:
        tp, fp, fn = (sum(getattr(m, n)[k] for m, k in rows) for n in ("tp", "fp", "fn"))
        return float((tp / (tp + fp + fn)).mean())

    gaps = []
    for mask in range(64):
        swap = [(mask >> k) & 1 for k in range(6)]
        first = miou([((b if s else a), k) for k, s in enumerate(swap)])
        second = miou([((a if s else b), k) for k, s in enumerate(swap)])
        gaps.append(abs(first - second))
    expected = np.mean([gap >= gaps[0] - 1e-12 for gap in gaps])
    result = compare_pair(a, b)
    assert result.p_value == expected
    assert result.difference == pytest.approx(miou([(a, k) for k in range(6)]) - miou([(b, k) for k in range(6)]))


def test_drawn_swaps_agree_with_all_swaps() -> None:
    generator = np.random.default_rng(7)
    truth = _truth(12, 3, generator)
    a, b = _model(truth, 0.73, generator), _model(truth, 0.7, generator)
    every, some = compare_pair(a, b, resamples=4096), compare_pair(a, b, resamples=4095)
    assert every.p_value == pytest.approx(some.p_value, abs=4 * math.sqrt(0.25 / 4095))


def test_equal_models_are_found_different_as_rarely_as_the_level_says() -> None:
    generator = np.random.default_rng(8)
    trials = 300
    found = covered = 0
    for trial in range(trials):
        truth = _truth(40, 3, generator)
        a, b = (_model(truth, 0.7, generator) for _ in range(2))
        result = compare_pair(a, b, resamples=400, seed=trial)
        found += result.p_value <= 0.05
        covered += result.low <= 0 <= result.high
    assert 0.02 <= found / trials <= 0.09
    assert 0.90 <= covered / trials <= 0.985


def test_a_family_of_equal_models_keeps_the_level_together() -> None:
    """Six pairs of four equal models: uncorrected, some pair would look different in every fifth family."""
    generator = np.random.default_rng(9)
    trials = 150
    wrong = {"p": 0, "interval": 0, "verdict": 0, "single": 0}
    for trial in range(trials):
        truth = _truth(40, 3, generator)
        models = {name: _model(truth, 0.7, generator) for name in "abcd"}
        pairs = compare_all(models, resamples=400, seed=trial)
        wrong["p"] += any(pair.p_value <= 0.05 for pair in pairs)
        wrong["interval"] += any(not pair.low <= 0 <= pair.high for pair in pairs)
        wrong["verdict"] += any(pair.significant for pair in pairs)
        wrong["single"] += any(pair.single_p_value <= 0.05 for pair in pairs)
    assert wrong["p"] / trials <= 0.09
    assert wrong["interval"] / trials <= 0.11
    assert wrong["verdict"] / trials <= 0.09
    assert wrong["single"] / trials >= 0.12


def test_the_resolvable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(10)
    truth = _truth(40, 3, generator)
    # How large a difference such data resolve, from one typical comparison ...
    resolvable = np.mean(
        [
            compare_pair(_model(truth, 0.7, generator), _model(truth, 0.7, generator), resamples=400).resolvable
            for _ in range(20)
        ]
    )
    big = _truth(20_000, 3, generator)
    slope = (evaluate(_model(big, 0.75, generator), "miou") - evaluate(_model(big, 0.65, generator), "miou")) / 0.1
    # ... and how often a true difference of that size is found.
    trials, found = 150, 0
    for trial in range(trials):
        truth = _truth(40, 3, generator)
        a, b = _model(truth, 0.7 + resolvable / slope, generator), _model(truth, 0.7, generator)
        result = compare_pair(a, b, resamples=400, seed=trial)
        found += result.low > 0
    assert 0.68 <= found / trials <= 0.90


def test_comparing_is_antisymmetric_and_matches_ids() -> None:
    generator = np.random.default_rng(11)
    truth = _truth(30, 3, generator)
    a, b = _model(truth, 0.75, generator), _model(truth, 0.7, generator)
    forward, backward = compare_pair(a, b), compare_pair(b, a)
    assert forward.difference == -backward.difference
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.p_value == backward.p_value
    order = generator.permutation(30)
    assert compare_pair(a.select(order), b) == forward
    assert compare_pair(a, b.select(order)) == forward


def test_equal_predictions_are_tied_exactly() -> None:
    generator = np.random.default_rng(12)
    truth = _truth(20, 3, generator)
    a, b = _model(truth, 0.75, generator), _model(truth, 0.6, generator)
    same, *others = compare_all({"a": a, "twin": a, "b": b})
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert not same.significant
    assert all(pair.significant for pair in others)


def test_a_family_of_one_pair_is_the_pair() -> None:
    generator = np.random.default_rng(13)
    truth = _truth(20, 3, generator)
    models = {name: _model(truth, 0.7, generator) for name in "abc"}
    pair = compare_pair(models["a"], models["b"], names=("a", "b"))
    assert (pair.low, pair.high, pair.p_value) == (pair.single_low, pair.single_high, pair.single_p_value)
    assert compare_all(models, pairs=[("a", "b")]) == [pair]
    every = compare_all(models)
    assert [(one.a, one.b) for one in every] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert every[0].single_low == pair.low
    assert every[0].low < pair.low
    assert every[0].high > pair.high
    assert every[0].resolvable > pair.resolvable
    assert [one.p_value for one in every] == holm([one.single_p_value for one in every])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_cannot_be_compared_is_refused() -> None:
    generator = np.random.default_rng(14)
    truth = _truth(6, 3, generator)
    a, b = _model(truth, 0.75, generator), _model(truth, 0.7, generator)
    with pytest.raises(DataError, match="'i00005' is in one only"):
        compare_pair(a, b.select([0, 1, 2, 3, 4]))
    with pytest.raises(DataError, match="same truth"):
        compare_pair(a, _model(_truth(6, 3, generator), 0.7, generator))
    with pytest.raises(DataError, match="same way"):
        compare_pair(a, _model(_truth(6, 4, generator), 0.7, generator))
    with pytest.raises(ParameterError, match="at least two models"):
        compare_all({"a": a})
    with pytest.raises(ParameterError, match="among 'a', 'b'"):
        compare_all({"a": a, "b": b}, pairs=[("a", "c")])
    with pytest.raises(ParameterError, match="different names"):
        compare_pair(a, b, names=("x", "x"))
    with pytest.raises(ParameterError, match="100 resamples"):
        bootstrap(a, resamples=10)
    with pytest.raises(ParameterError, match="between 0 and 1"):
        bootstrap(a, level=95)
    with pytest.raises(ParameterError, match="a figure among"):
        bootstrap(a, "accuracy")


def test_ten_thousand_resamples_of_five_thousand_images_take_seconds() -> None:
    generator = np.random.default_rng(15)
    counts = _model(_truth(5000, 19, generator), 0.7, generator)
    start = time.perf_counter()
    interval = bootstrap(counts, "miou", resamples=10_000)
    assert time.perf_counter() - start < 10
    assert interval.low < interval.value < interval.high


def test_a_reversed_pair_is_the_pair_of_the_other_order() -> None:
    generator = np.random.default_rng(8)
    truth = _truth(12, 3, generator)
    counts = [_model(truth, quality, generator) for quality in (0.7, 0.72)]
    pair = compare_pair(*counts, "miou", names=("old", "new"))
    turned = pair.reversed()
    assert turned.reversed() == pair
    assert (turned.a, turned.b) == ("new", "old")
    other = compare_pair(counts[1], counts[0], "miou", names=("new", "old"))
    for name in ("value_a", "value_b", "difference", "low", "high", "p_value", "single_low", "single_high"):
        assert getattr(turned, name) == pytest.approx(getattr(other, name), abs=1e-12), name


def test_a_swap_that_leaves_a_figure_undefined_is_no_evidence() -> None:
    """Each of two models predicts the class in one image, wrongly: their IoU is 0, the difference 0, and so p = 1.

    Half of the swaps give all false alarms to one model, and leave the IoU of the other undefined.
    """
    first = PerImage("ab", [[8, 0], [9, 0]], [[0, 1], [0, 0]], [[1, 0], [0, 0]], [9, 9])
    second = PerImage("ab", [[9, 0], [8, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]], [9, 9])
    result = compare_pair(first, second, "iou[1]")
    assert result.difference == 0
    assert result.p_value == 1


def test_resamples_without_the_class_say_nothing_of_the_common_level() -> None:
    """They are no largest differences: the level is that of the resamples in which the figure is defined."""
    generator = np.random.default_rng(4)
    gaps = generator.normal(size=(3000, 1)) + generator.normal(size=(3000, 3))
    padded = np.concatenate([gaps, np.full((900, 3), np.nan)])[generator.permutation(3900)]
    level = statistics._joint_level(padded, 0.95)
    assert level == statistics._joint_level(gaps, 0.95)
    ends = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2], axis=0)
    assert np.mean(((gaps >= ends[0]) & (gaps <= ends[1])).all(axis=1)) == pytest.approx(0.95, abs=0.002)
    assert statistics._joint_level(np.full((100, 2), np.nan), 0.95) == 0.95
