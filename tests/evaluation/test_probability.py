"""Calibration and curves over the threshold: by loops, beside PyTorch's losses and torchmetrics."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segcrit.core.errors import DataError, DtypeError, ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.measures.probability.calibration import Calibration, CalibrationScores
from segcrit.metrics.measures.probability.curves import Curves, ThresholdCurves
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import compare_pair


def _problem(
    task: str = "multiclass", images: int = 3, size: tuple[int, ...] = (9, 11), seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    channels = 1 if task == "binary" else 4
    logits = 2 * torch.randn(images, channels, *size, generator=generator)
    shape = (images, channels, *size) if task == "multilabel" else (images, *size)
    target = torch.randint(0, 4 if task == "multiclass" else 2, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.15] = 255
    return logits, target


def _evaluate(logits: torch.Tensor, target: torch.Tensor, task: str = "multiclass", **options: Any) -> Report:
    measures = options.pop("measures", ["calibration"])
    number = {"multiclass": 4, "multilabel": 4, "binary": 1}[task]
    evaluator = Evaluator(number, task=task, ignore_index=255, measures=measures, **options)
    return evaluator.update(logits, target).compute()


def _scores(report: Report) -> CalibrationScores:
    assert report.calibration is not None
    return report.calibration


def _curves(report: Report) -> Curves:
    assert report.curves is not None
    return report.curves


def _loop(logits: torch.Tensor, target: torch.Tensor, task: str, bins: int) -> dict[str, Any]:
    """Pixel by pixel in Python floats."""
    counts, hits, confidence = [0] * bins, [0] * bins, [0.0] * bins
    brier = nll = 0.0
    if task == "multiclass":
        elements = [
            ([float(z) for z in logits[(n, slice(None), *place)]], int(target[(n, *place)]))
            for n in range(len(target))
            for place in np.ndindex(tuple(target.shape[1:]))
        ]
    else:
        full = target if task == "multilabel" else target[:, None]
        elements = [
            ([0.0, float(z)], int(y)) for z, y in zip(logits.flatten().tolist(), full.flatten().tolist(), strict=True)
        ]
    for values, label in elements:
        if label == 255:
            continue
        total = math.fsum(math.exp(z - max(values)) for z in values)
        probabilities = [math.exp(z - max(values)) / total for z in values]
        if task == "multiclass":
            best = probabilities.index(max(probabilities))
            p, right = probabilities[best], best == label
            brier += math.fsum((q - (index == label)) ** 2 for index, q in enumerate(probabilities))
        else:
            p, right = probabilities[1], label == 1
            brier += (p - label) ** 2
        nll -= math.log(probabilities[label])
        place = min(int(p * bins), bins - 1)
        counts[place] += 1
        hits[place] += right
        confidence[place] += p
    number = sum(counts)
    gaps = [abs(h - c) for h, c in zip(hits, confidence, strict=True)]
    return {
        "counts": counts,
        "hits": hits,
        "ece": math.fsum(gaps) / number,
        "mce": max(g / n for g, n in zip(gaps, counts, strict=True) if n),
        "brier": brier / number,
        "nll": nll / number,
    }


@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_calibration_against_a_loop_over_pixels(task: str, bins: int) -> None:
    logits, target = _problem(task)
    report = _evaluate(logits, target, task, measures=[Calibration(bins)])
    scores, expected = _scores(report), _loop(logits, target, task, bins)
    assert scores.counts.tolist() == expected["counts"]
    assert scores.hits.tolist() == expected["hits"]
    for name in ("ece", "mce", "brier", "nll"):
        assert getattr(scores, name) == pytest.approx(expected[name], rel=1e-12), name
        assert report.figures[name] == getattr(scores, name)
    assert len(scores.edges) == bins + 1


def test_negative_log_likelihood_is_the_cross_entropy() -> None:
    logits, target = _problem()
    expected = F.cross_entropy(logits.double(), target, ignore_index=255)
    assert _scores(_evaluate(logits, target)).nll == pytest.approx(float(expected), rel=1e-12)
    logits, target = _problem("multilabel")
    valid = target != 255
    expected = F.binary_cross_entropy_with_logits(logits.double()[valid], target[valid].double())
    assert _scores(_evaluate(logits, target, "multilabel")).nll == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_torchmetrics(norm: str) -> None:
    metrics = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    name = "ece" if norm == "l1" else "mce"
    logits, target = _problem()
    metric = metrics.MulticlassCalibrationError(4, n_bins=10, norm=norm, ignore_index=255)
    ours = getattr(_scores(_evaluate(logits, target, measures=[Calibration(10)])), name)
    assert ours == pytest.approx(float(metric(logits.softmax(1), target)), abs=1e-6)
    logits, target = _problem("binary")
    metric = metrics.BinaryCalibrationError(n_bins=10, norm=norm, ignore_index=255)
    ours = getattr(_scores(_evaluate(logits, target, "binary", measures=[Calibration(10)])), name)
    assert ours == pytest.approx(float(metric(logits[:, 0].sigmoid(), target)), abs=1e-6)


def test_calibration_by_hand() -> None:
    """Ten pixels with confidence 0.8, of which 5 are right: 0.3 apart."""
    logits = torch.tensor([0.8, 0.2], dtype=torch.float64).log()[None, :, None].expand(1, 2, 10)
    target = torch.tensor([[0] * 5 + [1] * 5])
    report = Evaluator(2, measures=[Calibration(10)]).update(logits, target).compute()
    scores = _scores(report)
    assert scores.ece == scores.mce == pytest.approx(0.3)
    assert scores.brier == pytest.approx((5 * (0.04 + 0.04) + 5 * (0.64 + 0.64)) / 10)
    assert scores.nll == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)
    row = scores.rows()[int(np.flatnonzero(scores.counts)[0])]
    assert (row["count"], row["accuracy"]) == (10, 0.5)
    assert row["confidence"] == pytest.approx(0.8)


def test_confidences_of_0_and_1() -> None:
    """A confidence of exactly 0 or 1 has a bin: torchmetrics once crashed at 0."""
    logits = torch.tensor([[[1000.0, -1000.0, 1000.0, -1000.0]]])
    report = _evaluate(logits, torch.tensor([[1, 0, 0, 1]]), "binary", measures=[Calibration(5)])
    scores = _scores(report)
    assert scores.counts.tolist() == [2, 0, 0, 0, 2]
    assert scores.hits.tolist() == [1, 0, 0, 0, 1]
    assert scores.ece == 0.5
    assert scores.brier == 0.5
    assert scores.nll == pytest.approx(500)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_extreme_and_masked_logits(dtype: torch.dtype) -> None:
    logits, target = _problem()
    logits = (logits * 1e3).to(dtype)
    logits[:, 3] = -math.inf
    target[target == 3] = 0
    scores = _scores(_evaluate(logits, target))
    wide = logits.double()
    expected = F.cross_entropy(wide.clamp_min(-1e30), target, ignore_index=255)
    assert scores.nll == pytest.approx(float(expected), rel=1e-9)
    valid = target != 255
    assert scores.hits.sum() == int((wide.argmax(1) == target)[valid].sum())
    target[0, 0, 0] = 3
    assert _scores(_evaluate(logits, target)).nll == math.inf
    content = _evaluate(logits, target).to_dict(per_image=True)
    assert content["figures"]["nll"] == "inf"
    assert Report.from_dict(json.loads(json.dumps(content, allow_nan=False))).figures["nll"] == math.inf


def test_the_winner_of_a_tie_is_the_label_of_the_evaluation() -> None:
    logits = torch.zeros(1, 4, 6)
    report = _evaluate(logits, torch.tensor([[0, 0, 1, 1, 2, 3]]))
    assert _scores(report).hits.sum() == report.class_counts["tp"].sum() == 2


def test_ignored_pixels_may_hold_anything() -> None:
    logits, target = _problem()
    reference = _scores(_evaluate(logits, target))
    for value in (math.nan, math.inf, -math.inf):
        broken = torch.where((target == 255)[:, None], value, logits)
        assert _scores(_evaluate(broken, target)).ece == reference.ece
    broken = logits.clone()
    broken[0, 1, target[0] != 255] = math.inf
    with pytest.raises(DataError, match="softmax"):
        _evaluate(broken, target)
    nothing = _evaluate(logits, torch.full_like(target, 255))
    assert all(math.isnan(nothing.figures[name]) for name in ("ece", "mce", "brier", "nll"))


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_low_resolution_is_interpolating_first(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from segcrit.metrics.measures.probability import blocks

    small, _ = _problem(task, size=(5, 4))
    _, target = _problem(task, size=(17, 13))
    dense = F.interpolate(small, (17, 13), mode="bilinear", align_corners=False)
    measures = ["calibration"] if task == "multiclass" else ["calibration", "curves"]
    whole = _evaluate(dense.double(), target, task, measures=measures)
    for floats in (blocks._UPSAMPLED, 17 * 13, 3 * 17 * 13):  # all classes at once, one by one, in threes
        monkeypatch.setattr(blocks, "_UPSAMPLED", floats)
        report = _evaluate(small, target, task, measures=measures, upsample="linear")
        for name in ("ece", "brier", "nll"):
            assert report.figures[name] == pytest.approx(whole.figures[name], rel=1e-5), name
        if task != "multiclass":
            assert np.abs(_curves(report).tp - _curves(whole).tp).max() <= 1


def test_blocks_of_pixels_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from segcrit.metrics.measures.probability import blocks

    logits, target = _problem()
    whole = _scores(_evaluate(logits, target))
    monkeypatch.setattr(blocks, "_FLOATS", 28)
    parts = _scores(_evaluate(logits, target))
    assert np.array_equal(parts.counts, whole.counts)
    for name in ("ece", "brier", "nll"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_curves_are_evaluations_at_each_threshold(task: str) -> None:
    logits, target = _problem(task)
    # Probabilities on the thresholds themselves.
    logits.flatten()[::5] = torch.logit(torch.arange(1, 10) / 10).repeat(99)[: len(logits.flatten()[::5])]
    curves = _curves(_evaluate(logits, target, task, measures=[ThresholdCurves(9)]))
    assert curves.thresholds.tolist() == pytest.approx([0.1 * k for k in range(1, 10)])
    for place, threshold in enumerate(curves.thresholds):
        one = _evaluate(logits, target, task, measures=[], threshold=float(threshold))
        rows = [1] if task == "binary" else range(4)
        for row in rows:
            for name in ("tp", "fp", "fn"):
                assert getattr(curves, name)[row, place] == one.class_counts[name][row], (name, threshold)
            for name in ("precision", "recall", "dice", "iou"):
                assert getattr(curves, name)[row, place] == getattr(one, name)[row]


def test_half_precision_logits_meet_the_threshold_of_the_evaluator() -> None:
    logits, target = _problem("binary")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        curves = _curves(_evaluate(logits.to(dtype), target, "binary", measures=[ThresholdCurves([0.3, 0.7])]))
        one = _evaluate(logits.to(dtype), target, "binary", measures=[], threshold=0.3)
        assert curves.tp[1, 0] == one.class_counts["tp"][1]


def test_the_best_threshold() -> None:
    probability = torch.tensor([[[0.15, 0.35, 0.45, 0.9]]])
    curves = _curves(
        _evaluate(probability.logit(), torch.tensor([[0, 1, 0, 1]]), "binary", measures=[ThresholdCurves(9)])
    )
    # Dice: 4/6 at 0.1, 4/5 at 0.2 and 0.3, 2/4 at 0.4, 2/3 from 0.5 on
    np.testing.assert_allclose(curves.dice[1], [4 / 6, 4 / 5, 4 / 5, 2 / 4, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 0])
    assert curves.best()[1] == 0.2
    assert curves.best("precision")[1] == 0.5
    assert math.isnan(curves.best()[0])
    with pytest.raises(ParameterError, match="iou"):
        curves.best("accuracy")
    assert {row["name"] for row in curves.rows()} == {"foreground"}


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_parts_merge_in_any_order_with_repetitions(task: str) -> None:
    measures = ["calibration"] if task == "multiclass" else ["calibration", "curves"]
    logits, target = _problem(task, images=5)
    number = {"multiclass": 4, "multilabel": 4, "binary": 1}[task]

    def part(rows: list[int]) -> Evaluator:
        evaluator = Evaluator(number, task=task, ignore_index=255, measures=measures)
        return evaluator.update(logits[rows], target[rows], [f"i{row}" for row in rows])

    whole = part([0, 1, 2, 3, 4]).compute()
    parts = [
        part([4, 1]),
        part([0, 1]),
        part([3, 2, 0]),
        Evaluator(number, task=task, ignore_index=255, measures=measures),
    ]
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        merged = Evaluator(number, task=task, ignore_index=255, measures=measures)
        for place in order:
            merged.merge(pickle.loads(pickle.dumps(parts[place])))
        report = merged.compute()
        assert np.array_equal(_scores(report).counts, _scores(whole).counts)
        for name in ("ece", "mce", "brier", "nll"):
            assert report.figures[name] == pytest.approx(whole.figures[name], rel=1e-12), name
        if task != "multiclass":
            assert np.array_equal(_curves(report).tp, _curves(whole).tp)


def test_the_store_does_not_grow_with_the_image() -> None:
    sizes = []
    for side in (8, 128):
        logits, target = _problem("binary", images=1, size=(side, side))
        evaluator = Evaluator(1, task="binary", ignore_index=255, measures=["calibration", "curves"])
        sizes.append(len(pickle.dumps(evaluator.update(logits, target, ["a"]))))
    assert sizes[1] < sizes[0] + 100


def test_intervals_and_comparison() -> None:
    logits, target = _problem(images=20)
    report = _evaluate(logits, target)
    sharper = _evaluate(logits * 3, target)
    for name in ("ece", "brier", "nll"):
        interval = report.bootstrap(name, resamples=300)
        assert interval.low < interval.value < interval.high
        assert interval.value == report.figures[name]
    result = compare_pair(sharper.per_image, report.per_image, "nll", resamples=500)
    assert result.difference == pytest.approx(sharper.figures["nll"] - report.figures["nll"])
    assert result.significant  # random logits: the surer, the worse
    assert report.worst(1, "nll")[0][1] == max(value for _, value in report.worst(20, "nll"))


def test_labels_have_no_probabilities() -> None:
    target = torch.zeros(1, 4, dtype=torch.int64)
    evaluator = Evaluator(4, measures=["calibration"])
    with pytest.raises(DtypeError, match="calibration"):
        evaluator.update(target, target)
    assert evaluator.num_images == 0
    with pytest.raises(DtypeError, match="curves"):
        Evaluator(1, task="binary", measures="curves").update(target, target)
    with pytest.raises(ParameterError, match="multiclass"):
        Evaluator(4, measures=["curves"])


@pytest.mark.parametrize("bins", [0, 1.5, True, "15"])
def test_wrong_bins(bins: Any) -> None:
    with pytest.raises(ParameterError, match="bins"):
        Calibration(bins)


@pytest.mark.parametrize("thresholds", [0, True, [], [0.5, 0.5], [0.0], [1.0], [0.7, 0.2]])
def test_wrong_thresholds(thresholds: Any) -> None:
    with pytest.raises(ParameterError, match="thresholds"):
        ThresholdCurves(thresholds)


def test_an_infinite_likelihood_in_one_image() -> None:
    """Its class was given the probability 0: the figure is infinite, and so is every resample that holds the image."""
    logits = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(6, 5, dtype=torch.int64)
    finite = Evaluator(2, measures=["calibration"]).update(logits, target, ids=list("abcdef")).compute()
    logits[3, 0, 2] = -math.inf
    report = Evaluator(2, measures=["calibration"]).update(logits, target, ids=list("abcdef")).compute()
    assert report.figures["nll"] == math.inf
    interval = report.bootstrap("nll", resamples=500)
    others = finite.per_image.select([0, 1, 2, 4, 5]).measures["calibration"].arrays["nll"]
    assert others.min() / 5 - 1e-12 <= interval.low <= others.max() / 5 + 1e-12  # resamples without that image
    assert interval.high == math.inf
    assert math.isnan(interval.standard_error)
    comparison = compare_pair(report.per_image, finite.per_image, "nll", resamples=100)
    assert comparison.difference == math.inf
    assert 0 < comparison.p_value <= 1
