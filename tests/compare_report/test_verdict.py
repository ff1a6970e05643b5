"""The verdict says what the numbers carry: constructed situations, and how often chance alone makes a leader."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from segcrit.apps.compare.records import MetricName, Results, figure_name
from segcrit.apps.compare.verdict.ranking import per_image, rank
from segcrit.apps.compare.verdict.records import PairComparison, Verdict
from segcrit.apps.compare.verdict.seed_noise import between_losses, within_losses
from segcrit.apps.compare.verdict.text import caveats, judge, reference_loss
from segcrit.metrics.named import evaluate
from segcrit.metrics.statistics import compare_all
from tests.compare_report.factory import Recipe, from_counts, make, two_class_counts

Errors = NDArray[np.int64]


def _errors(random: np.random.Generator, images: int, level: float, spread: float = 15.0) -> Errors:
    return np.clip(np.round(level + spread * random.standard_normal(images)), 0, 500).astype(np.int64)


def _results(levels: dict[str, float], images: int = 40, spread: float = 15.0) -> Results:
    random = np.random.default_rng(0)
    shared = 30 * random.standard_normal(images)
    return from_counts(
        {
            name: [two_class_counts(np.clip(shared + _errors(random, images, level, spread), 0, 500).astype(np.int64))]
            for name, level in levels.items()
        }
    )


def _sentence(verdict: Verdict, start: str) -> str:
    found = [text for text in verdict.sentences if text.startswith(start)]
    assert len(found) == 1, verdict.sentences
    return found[0]


def test_a_clear_winner_leads_on_these_images() -> None:
    verdict = judge(_results({"ce": 150, "dice": 90, "focal": 160}))
    assert verdict.kind == "leader"
    assert verdict.best == "dice"
    assert verdict.top == ("dice",)
    second = verdict.pairs[0]
    assert verdict.headline == (
        f"`dice` leads on these test images: mIoU {verdict.standings[0].value:.3f}, {second.difference:.3f} ahead of "
        f"`ce` (95 % interval {second.low:.3f} to {second.high:.3f})."
    )
    assert verdict.sentences[0].startswith("Behind `dice`: `focal` by ")


def test_one_seed_is_said_to_leave_seed_noise_unknown() -> None:
    verdict = judge(_results({"ce": 150, "dice": 90}))
    text = _sentence(verdict, "One seed was trained")
    assert "the noise between seeds is unknown" in text
    assert "may not repeat with another seed" in text
    assert "`--seeds 3`" in text


def test_options_are_named_as_the_user_would_write_them() -> None:
    results = _results({"ce": 150, "dice": 90})
    verdict = judge(replace(results, run=replace(results.run, command="segcrit.compare(network, data, losses)")))
    assert "`seeds=3`" in _sentence(verdict, "One seed was trained")


def test_an_exact_tie_has_no_difference() -> None:
    errors = _errors(np.random.default_rng(1), 30, 100)
    verdict = judge(from_counts({name: [two_class_counts(errors)] for name in ("ce", "dice", "focal")}))
    assert verdict.kind == "tie"
    assert verdict.headline == (
        "`ce`, `dice` and `focal` are tied: largest difference 0.000 mIoU, 95 % interval 0.000 to 0.000."
    )
    assert not any(pair.distinguishable for pair in verdict.pairs)


def test_the_best_two_are_tied_when_others_are_behind() -> None:
    verdict = judge(_results({"ce": 100, "dice": 101, "focal": 200}))
    assert verdict.kind == "tie"
    assert set(verdict.top) == {"ce", "dice"}
    assert " are tied: difference " in verdict.headline
    assert "`focal`" not in verdict.headline
    assert verdict.sentences[0].startswith(f"Behind `{verdict.best}`: `focal` by ")


def test_practically_equal_losses_are_tied() -> None:
    verdict = judge(_results({"ce": 100, "dice": 100}, images=200, spread=2.0))
    assert verdict.kind == "tie"
    assert 0 < max(abs(verdict.pairs[0].low), abs(verdict.pairs[0].high)) <= 0.01


def test_a_lead_that_hardly_matters_is_called_so() -> None:
    verdict = judge(_results({"ce": 100, "dice": 98}, images=200, spread=2.0))
    assert verdict.kind == "leader"
    assert _sentence(verdict, "This lead is below 0.010")
    clear = judge(_results({"ce": 150, "dice": 90}))
    assert not any(text.startswith("This lead") for text in clear.sentences)


def test_wide_intervals_cannot_tell() -> None:
    verdict = judge(_results({"ce": 100, "dice": 104, "focal": 102}, images=25, spread=40.0))
    assert verdict.kind == "unclear"
    assert verdict.headline.startswith(f"Cannot tell: `{verdict.best}` has the highest mIoU")
    assert "may be chance (95 % interval −0." in verdict.headline
    assert set(verdict.top) == {"ce", "dice", "focal"}


def test_an_interval_that_the_test_does_not_confirm_is_explained() -> None:
    """Six images, each won by the same loss: the intervals lie far from 0, the corrected p-value cannot be below 0.09."""
    verdict = judge(_results({"dice": 50, "focal": 150, "ce": 250}, images=6))
    near, far = verdict.pairs[:2]
    assert near.low > 0.01
    assert far.low > 0.01
    assert near.unconfirmed
    assert far.unconfirmed
    assert near.p_value == pytest.approx(3 * 2 / 2**6)
    assert verdict.kind == "unclear"
    assert "may be chance" in verdict.headline
    assert "which a permutation test does not confirm, p = 0.094" in verdict.headline
    assert _sentence(verdict, "With 6 test images and 3 pairs of losses not even a loss that wins on every test image")
    # A size that could be told apart would contradict that.
    assert math.isnan(verdict.resolution)
    assert not any(text.startswith("The smallest difference") for text in verdict.sentences)
    # Who is named with an interval says it there, everybody else in a sentence of their own.
    four = judge(_results({"dice": 50, "focal": 150, "jaccard": 200, "ce": 250}, images=6))
    assert _sentence(four, "Not told apart either, although the interval leaves out 0: `jaccard` (p = ")
    enough = judge(_results({"dice": 50, "focal": 150, "ce": 250}, images=8))
    assert enough.kind == "leader"
    assert enough.resolution > 0
    assert not any(pair.unconfirmed for pair in enough.pairs)
    assert not any("not even a loss" in text or "Not told apart" in text for text in enough.sentences)


def test_many_losses_do_not_put_every_difference_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """The correction for 120 pairs takes more permutations than the time that a slow comparison is given."""
    monkeypatch.setattr("segcrit.apps.compare.verdict.ranking._SECONDS", 0.0)
    levels = {f"focal(gamma={k})": 40 + 25 * k for k in range(16)}
    ranking = rank(_results(levels, images=150, spread=3.0))
    assert len(ranking.pairs) == 120
    assert 120 / (1 + ranking.resamples) < 0.05
    assert all(pair.distinguishable for pair in ranking.pairs[:15])


@pytest.mark.parametrize("images", [1, 2, 5])
def test_too_few_images_cannot_tell(images: int) -> None:
    verdict = judge(_results({"ce": 300, "dice": 20}, images=images))
    assert verdict.kind == "unclear"
    noun = "1 test image is" if images == 1 else f"{images} test images are"
    assert verdict.headline == f"Cannot tell: {noun} too few to compare losses."
    assert math.isnan(verdict.resolution)
    assert all(math.isnan(pair.low) and not pair.distinguishable for pair in verdict.pairs)
    assert math.isnan(verdict.standings[0].low)


def test_groups_count_as_one_image_each() -> None:
    results = _results({"ce": 150, "dice": 90}, images=40)
    first = results.losses[0].seeds[0].counts
    assert first is not None
    groups = {name: str(k % 4) for k, name in enumerate(first.ids)}
    verdict = judge(replace(results, data=replace(results.data, groups=groups)))
    assert verdict.headline == "Cannot tell: 4 test groups are too few to compare losses."
    assert verdict.groups == 4
    groups = {name: str(k // 2) for k, name in enumerate(first.ids)}
    verdict = judge(replace(results, data=replace(results.data, groups=groups)))
    assert verdict.kind == "leader"
    assert "groups of test images" in verdict.method


def test_one_loss_is_no_comparison() -> None:
    verdict = judge(_results({"ce": 100}))
    assert verdict.kind == "single"
    assert verdict.headline.startswith("Only one loss was compared: `ce` reaches mIoU ")
    assert verdict.pairs == ()
    assert not any(text.startswith("One seed") for text in verdict.sentences)


def test_diverged_losses_are_named_and_not_ranked() -> None:
    verdict = judge(make(Recipe(diverged=("focal", "dice"))))
    assert "focal" not in {standing.loss for standing in verdict.standings}
    assert _sentence(verdict, "`focal`") == "`focal` diverged and is not ranked: the loss became NaN at step 110."
    assert _sentence(verdict, "`dice`")


def test_nothing_to_judge() -> None:
    assert judge(make(Recipe(losses=("ce",), diverged=("ce",)))).headline == "No verdict: every loss diverged."
    waiting = judge(make(Recipe(losses=("ce",), interrupted=True)))
    assert waiting.headline == "No verdict yet: no loss was tested."
    assert _sentence(waiting, "Not tested yet") == "Not tested yet: `ce`."
    assert _sentence(waiting, "The run was interrupted")
    results = make(Recipe(losses=("ce", "dice"), diverged=("ce",)))
    untrained = replace(results, losses=(results.losses[0], replace(results.losses[1], seeds=())))
    assert judge(untrained).headline == "No verdict yet: no loss was tested."


def test_baseline_is_named_and_compared() -> None:
    verdict = judge(_results({"ce": 100, "dice": 90}))
    assert _sentence(verdict, "Always predicting") == (
        "Always predicting “class 0”, the most frequent class of the training data, would score 0.250 mIoU; every "
        "tested loss is above that."
    )
    poor = judge(_results({"ce": 100, "dice": 450}))
    assert "`dice` did not get above that" in _sentence(poor, "Always predicting")


def test_losses_that_learnt_nothing_have_no_leader() -> None:
    verdict = judge(_results({"ce": 460, "dice": 480}))
    assert verdict.kind == "unclear"
    assert verdict.headline == (
        "Cannot tell: no loss gets above always predicting “class 0” (mIoU 0.250). Train longer before comparing."
    )
    assert verdict.sentences[0].startswith("`ce` leads on these test images")
    assert not any(text.startswith("Always predicting") for text in verdict.sentences)


def test_a_shared_learning_rate_is_pointed_out() -> None:
    assert "`--tune-lr`" in _sentence(judge(make(Recipe())), "All losses were trained with the learning rate 0.002")
    tuned = _sentence(judge(make(Recipe(losses=("ce", "dice"), tuned=True))), "Each loss was trained with")
    assert tuned.endswith("on the validation images: `ce` 0.004 and `dice` 0.004.")


def test_reference_is_plain_ce_where_it_was_tested() -> None:
    assert reference_loss(make(Recipe(losses=("dice", "ce", "focal")))) == "ce"
    assert reference_loss(make(Recipe(losses=("dice", "focal")))) == "dice"
    assert reference_loss(make(Recipe(losses=("dice", "ce"), diverged=("ce",)))) == "dice"


def test_verdict_is_deterministic_and_ignores_the_order_of_losses() -> None:
    results = make(Recipe())
    again = judge(replace(results, losses=tuple(reversed(results.losses))))
    assert again.headline == judge(results).headline
    assert judge(make(Recipe())) == judge(results)


@pytest.mark.parametrize("metric", ["miou", "foreground_iou", "image_dice"])
def test_standings_are_the_figures_of_the_metric(metric: MetricName) -> None:
    results = make(Recipe(absent=(4,)))
    results = replace(results, run=replace(results.run, metric=metric))
    for standing in judge(results).standings:
        loss = next(loss for loss in results.losses if loss.name == standing.loss)
        assert standing.value == pytest.approx(getattr(loss.seeds[0].figures, metric), abs=1e-12)
        assert standing.low < standing.value < standing.high


def test_without_a_background_every_class_counts() -> None:
    results = make(Recipe(losses=("ce", "dice")))
    everything = replace(
        results, data=replace(results.data, background=None), run=replace(results.run, metric="foreground_iou")
    )
    assert judge(everything).standings[0].value == judge(results).standings[0].value
    assert figure_name("image_dice", None) == "image_dice"


def test_multilabel_counts_need_no_pixels() -> None:
    results = make(Recipe(losses=("ce", "dice")))
    multilabel = replace(results, data=replace(results.data, task="multilabel"))
    assert judge(multilabel).kind in ("leader", "unclear", "tie")


def test_one_seed_gives_the_numbers_of_the_statistics() -> None:
    results = make(Recipe())
    models = {loss.name: per_image(results, loss.seeds[0].counts) for loss in results.losses if loss.seeds[0].counts}
    order = [standing.loss for standing in judge(results).standings]
    expected = compare_all({name: models[name] for name in order}, "miou")
    for mine, theirs in zip(judge(results).pairs, expected, strict=True):
        assert (mine.first, mine.second) == (theirs.a, theirs.b)
        assert (mine.difference, mine.low, mine.high) == (theirs.difference, theirs.low, theirs.high)
        assert mine.distinguishable == theirs.significant


def _with_seed_noise(seeds: int, noise: float, gap: float, random: np.random.Generator) -> Results:
    """Two losses, the second better by ``gap`` errors, each seed off by its own ``noise`` on every image."""
    images = 60
    shared = 100 + 10 * random.standard_normal(images)
    tables = {}
    for place, name in enumerate(("ce", "dice", "focal")):
        level = shared - (gap if place == 1 else 0)
        tables[name] = [
            two_class_counts(
                np.clip(level + noise * random.standard_normal() + 3 * random.standard_normal(images), 0, 500).astype(
                    np.int64
                )
            )
            for _ in range(seeds)
        ]
    return from_counts(tables)


def test_seed_noise_widens_the_intervals() -> None:
    quiet = rank(_with_seed_noise(3, 0.0, 12.0, np.random.default_rng(2)))
    loud = rank(_with_seed_noise(3, 20.0, 12.0, np.random.default_rng(2)))
    assert quiet.pairs[0].high - quiet.pairs[0].low < 0.3 * (loud.pairs[0].high - loud.pairs[0].low)
    assert quiet.standings[0].loss == "dice"
    assert quiet.pairs[0].distinguishable


def test_several_seeds_may_lead_without_the_caveat() -> None:
    verdict = judge(_with_seed_noise(4, 2.0, 40.0, np.random.default_rng(3)))
    assert verdict.headline.startswith("`dice` leads: mIoU ")
    text = _sentence(verdict, "The seeds of one loss lie up to ")
    assert "the intervals contain this noise" in text


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_chance_seldom_makes_a_leader(seeds: int) -> None:
    """Losses that are equal in truth: a leader may be named in 5 % of the comparisons.

    With several seeds that must hold for new seeds as well. 80 comparisons with a chance of 5 % exceed 10 with
    probability 0.2 %.
    """
    random = np.random.default_rng(seeds)
    noise = 0.0 if seeds == 1 else 15.0
    found = [rank(_with_seed_noise(seeds, noise, 0.0, random)) for _ in range(80)]
    wrong = sum(any(pair.distinguishable for pair in ranking.pairs) for ranking in found)
    assert wrong <= 10


def test_ignoring_seed_noise_would_name_leaders() -> None:
    """The test above can fail: judged as if each were the only seed, the same runs have a leader far too often."""
    random = np.random.default_rng(2)
    wrong = 0
    for _ in range(20):
        results = _with_seed_noise(2, 15.0, 0.0, random)
        single = replace(results, losses=tuple(replace(loss, seeds=loss.seeds[:1]) for loss in results.losses))
        wrong += any(pair.distinguishable for pair in rank(single).pairs)
    assert wrong > 10


def test_what_a_seed_does_to_all_losses_alike_is_taken_out() -> None:
    effect = {0: 0.0, 1: 0.3, 2: -0.2}
    by_seed = [{seed: np.asarray(level + move) for seed, move in effect.items()} for level in (0.1, 0.2, 0.4)]
    noise = between_losses(by_seed)
    assert noise is not None
    assert noise.freedom == 4
    assert float(noise.variance) == pytest.approx(0, abs=1e-30)
    within = within_losses(by_seed)
    assert within is not None
    assert within.freedom == 6
    assert float(within.variance) == pytest.approx(np.var([0.0, 0.3, -0.2], ddof=1))


def test_resolvable_difference_is_found_in_four_of_five_runs() -> None:
    """The law behind "smallest difference that this run could have resolved", by simulation."""
    random = np.random.default_rng(5)
    size = np.median([rank(_pair(random, 0.0)).resolution for _ in range(10)])
    # One error in each half moves the IoU of both classes by about 2 * 500 / 600**2 (100 errors of 500 pixels).
    gap = float(size) / (2 * 500 / 600**2)
    hits = sum(any(pair.distinguishable for pair in rank(_pair(random, gap)).pairs) for _ in range(60))
    assert 0.62 * 60 <= hits <= 0.95 * 60


def _pair(random: np.random.Generator, gap: float) -> Results:
    level = 100 + 10 * random.standard_normal(50)
    return from_counts(
        {
            name: [two_class_counts(np.round(level - shift + 12 * random.standard_normal(50)).astype(np.int64))]
            for name, shift in (("ce", 0.0), ("dice", gap))
        }
    )


def test_class_changes_are_differences_of_iou() -> None:
    results = make(Recipe(seeds=(0, 1), absent=(5,)))
    verdict = judge(results)
    assert {change.loss for change in verdict.changes} == {loss.name for loss in results.losses} - {"ce"}
    figures = {
        loss.name: np.mean([seed.figures.iou for seed in loss.seeds if seed.figures], axis=0) for loss in results.losses
    }
    for change in verdict.changes:
        np.testing.assert_allclose(change.change, figures[change.loss] - figures["ce"], atol=1e-12)
        known = ~np.isnan(change.low)
        assert known.sum() >= 4
        assert math.isnan(change.change[5])
        assert math.isnan(change.low[5])
        assert np.all(np.asarray(change.low)[known] <= np.asarray(change.change)[known] + 0.02)


def test_a_class_in_few_images_has_no_interval() -> None:
    """One image decides its IoU: resampling cannot show how far it would move."""
    counts = {}
    for name, wrong in (("ce", 40), ("dice", 10)):
        tp = np.array([[500, 0]] * 20)
        tp[3] = [400, 100 - wrong]
        fn = np.zeros_like(tp)
        fn[3, 1] = wrong
        fp = fn[:, ::-1].copy()
        table = two_class_counts(np.zeros(20, dtype=np.int64))
        counts[name] = [replace(table, tp=tp, fp=fp, fn=fn)]
    change = judge(from_counts(counts)).changes[0]
    assert change.change[1] == pytest.approx(0.3)
    assert math.isnan(change.low[1])
    assert not math.isnan(change.low[0])


def test_factory_and_evaluator_agree() -> None:
    """The factory's plain sums are an oracle for the figures that the ranking takes from the evaluator."""
    results = make(Recipe(absent=(4,)))
    for loss in results.losses:
        counts, figures = loss.seeds[0].counts, loss.seeds[0].figures
        assert counts is not None
        assert figures is not None
        table = per_image(results, counts)
        for mine, theirs in (
            ("miou", "miou"),
            ("foreground_iou", "foreground_iou"),
            ("image_dice", "image_foreground_dice"),
            ("pixel_accuracy", "pixel_accuracy"),
            ("mean_accuracy", "mean_accuracy"),
            ("frequency_weighted_iou", "frequency_weighted_iou"),
        ):
            assert getattr(figures, mine) == pytest.approx(evaluate(table, theirs), abs=1e-12)


def test_the_headline_alone_keeps_its_caveats() -> None:
    pair = PairComparison("a", "b", 0.004, 0.001, 0.008, 0.01, True)
    clear = replace(pair, difference=0.1, low=0.05, high=0.15)
    verdict = judge(_results({"a": 0.0, "b": 30.0}))
    one_seed = replace(verdict, kind="leader", best="a", pairs=(pair,), seeds=1)
    assert len(caveats(one_seed)) == 2
    assert len(caveats(replace(one_seed, seeds=3))) == 1
    assert len(caveats(replace(one_seed, pairs=(clear,)))) == 1
    assert caveats(replace(one_seed, pairs=(clear,), seeds=3)) == []
