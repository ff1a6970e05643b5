"""A report goes wherever the counts of its images go."""

from __future__ import annotations

import numpy as np
import pytest

from segcrit.core.errors import ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.statistics import bootstrap, bootstrap_many, compare_all, compare_pair

NAMES = ["sky", "car"]


def _evaluator(seed: int) -> Evaluator:
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, 2, (8, 30))
    guess = np.where(generator.random(truth.shape) < 0.1 + 0.1 * seed, 1 - truth, truth)
    return Evaluator(2, class_names=NAMES).update(guess, truth, ids=range(8))


def test_reports_give_what_their_counts_give() -> None:
    one, two = _evaluator(1).compute(), _evaluator(2).compute()
    assert bootstrap(one, resamples=200) == bootstrap(one.per_image, resamples=200)
    many = bootstrap_many(one, ["miou", "iou[car]"], resamples=200)
    assert many["iou[car]"].value == one.iou[1]
    pair = compare_pair(one, two, resamples=200)
    assert pair == compare_pair(one.per_image, two.per_image, resamples=200)
    assert pair == compare_pair(one, two.per_image, resamples=200)
    assert pair == compare_all({"a": one, "b": two}, resamples=200)[0]
    assert compare_pair(one, two, "recall[car]", resamples=200).value_a == one.recall[1]


def test_an_evaluator_is_not_yet_a_report() -> None:
    evaluator = _evaluator(1)
    with pytest.raises(ParameterError, match=r"a Report.*Evaluator.*compute\(\) first"):
        bootstrap(evaluator, resamples=200)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"a Report.*ndarray.*Evaluator.compute"):
        compare_pair(evaluator.compute(), np.eye(2), resamples=200)  # type: ignore[arg-type]
