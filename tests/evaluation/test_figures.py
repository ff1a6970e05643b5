"""Every figure against slow loops, by hand, and against other tools where they are right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.core.errors import DataError, ParameterError, ShapeError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.named import FIGURES, evaluate
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.report import Report
from tests.evaluation import oracle


def _report(prediction: Any, truth: Any, classes: int, **options: Any) -> Report:
    return Evaluator(classes, **options).update(np.asarray(prediction), np.asarray(truth)).compute()


def _check_against_oracle(report: Report, expected: dict[str, Any]) -> None:
    for name in ("iou", "dice", "precision", "recall"):
        np.testing.assert_allclose(getattr(report, name), expected[name], rtol=1e-12, err_msg=name)
    for name in FIGURES:
        np.testing.assert_allclose(report.figures[name], expected[name], rtol=1e-12, atol=1e-15, err_msg=name)


def test_six_pixels_by_hand() -> None:
    report = _report([[0, 0, 1, 1, 1, 2]], [[0, 0, 0, 1, 1, 1]], 4)
    assert report.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # class 2 was only predicted: 0, in the mean; class 3 is nowhere: NaN, not in the mean
    np.testing.assert_allclose(report.iou, [2 / 3, 2 / 4, 0, np.nan])
    np.testing.assert_allclose(report.dice, [4 / 5, 4 / 6, 0, np.nan])
    np.testing.assert_allclose(report.precision, [1, 2 / 3, 0, np.nan])
    np.testing.assert_allclose(report.recall, [2 / 3, 2 / 3, 0, np.nan])
    assert report.miou == pytest.approx((2 / 3 + 2 / 4) / 3)
    assert report.pixel_accuracy == pytest.approx(4 / 6)
    assert report.mean_accuracy == pytest.approx((2 / 3 + 2 / 3) / 3)
    assert report.frequency_weighted_iou == pytest.approx(0.5 * 2 / 3 + 0.5 * 2 / 4)
    assert report.foreground_iou == pytest.approx((2 / 4 + 0) / 2)
    assert report.kappa == pytest.approx((4 / 6 - (3 * 2 + 3 * 3) / 36) / (1 - 15 / 36))
    np.testing.assert_allclose(report.share, [0.5, 0.5, 0, 0])


@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=80, deadline=None)
def test_all_figures_against_loops(classes: int, images: int, seed: int, concentrated: bool) -> None:
    generator = np.random.default_rng(seed)
    # Skewed draws leave classes out of images, and of the whole set.
    weights = generator.dirichlet(np.full(classes, 0.15 if concentrated else 2.0), size=2)
    truth = generator.choice(classes, size=(images, 12), p=weights[0])
    prediction = generator.choice(classes, size=(images, 12), p=weights[1])
    truth[generator.random(truth.shape) < 0.1] = 255
    matrices = [oracle.confusion(prediction[i], truth[i], classes, 255) for i in range(images)]
    report = _report(prediction, truth, classes, ignore_index=255)
    _check_against_oracle(report, oracle.figures(matrices))


def _swapped(prediction: Any, truth: Any) -> Report:
    known = np.where(truth == 255, prediction, truth)
    return _report(known, np.where(truth == 255, 255, prediction), 5, ignore_index=255)


def _nothing_ignored(prediction: Any, truth: Any) -> Report:
    return _report(prediction, np.where(truth == 255, 0, truth), 5)


def _one_large_image(prediction: Any, truth: Any) -> Report:
    return _report(prediction.reshape(1, -1), truth.reshape(1, -1), 5, ignore_index=255)


def _wrong_in_one_class(prediction: Any, truth: Any) -> Report:
    return _report(np.where(truth == 255, prediction, (prediction + (truth == 3)) % 4), truth, 5, ignore_index=255)


def _policy(name: str) -> Any:
    def judge(prediction: Any, truth: Any) -> Report:
        return _report(prediction, truth, 5, ignore_index=255).with_policy(name)

    return judge


WRONG = {
    "truth and prediction swapped": _swapped,
    "ignored pixels counted": _nothing_ignored,
    "images joined": _one_large_image,
    "wrong in one class": _wrong_in_one_class,
    "false alarms cost nothing": _policy("monai"),
    "absent classes shown as 0": _policy("torchmetrics"),
    "classes only predicted left out": _policy("detectron2"),
}


@pytest.mark.parametrize("name", [None, *WRONG])
def test_wrong_evaluators_are_rejected(name: str | None) -> None:
    """The comparison with the loops can fail: on the same pixels it refuses every one of these, and not the right one."""
    generator = np.random.default_rng(5)
    truth = generator.choice(4, size=(3, 12), p=[0.6, 0.3, 0.0, 0.1])
    prediction = np.where(generator.random(truth.shape) < 0.3, generator.integers(0, 3, truth.shape), truth)
    truth[1:][truth[1:] == 3], prediction[1:][prediction[1:] == 3] = 0, 0  # a class of one image
    prediction[0, :2], truth[0, :2] = 2, 0  # a class that was only predicted
    prediction[2, 3], truth[:, 5] = 2, 255
    expected = oracle.figures([oracle.confusion(prediction[i], truth[i], 5, 255) for i in range(3)])
    if name is None:
        _check_against_oracle(_report(prediction, truth, 5, ignore_index=255), expected)
        return
    with pytest.raises(AssertionError):
        _check_against_oracle(WRONG[name](prediction, truth), expected)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_binary_figures_are_those_of_two_classes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = (generator.random((3, 15)) < 0.3).astype(np.int64)
    logits = generator.normal(size=(3, 1, 15))
    labels = (logits[:, 0] > 0).astype(np.int64)
    matrices = [oracle.confusion(labels[i], truth[i], 2, -100) for i in range(3)]
    report = Evaluator(1, task="binary").update(logits, truth).compute()
    _check_against_oracle(report, oracle.figures(matrices))
    assert report.foreground_iou == report.iou[1]
    assert report.headline == "foreground_iou"
    assert report.class_names == ("background", "foreground")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_multilabel_channels_are_binary_maps(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = (generator.random((2, 3, 20)) < [[[0.4], [0.1], [0.0]]]).astype(np.int64)
    prediction = (generator.random((2, 3, 20)) < [[[0.4], [0.1], [0.02]]]).astype(np.int64)
    truth[0, 0, :5] = 255
    report = _report(prediction, truth, 3, task="multilabel", ignore_index=255)
    each = [oracle.confusion(prediction[:, c], truth[:, c], 2, 255) for c in range(3)]
    for name in ("iou", "dice", "precision", "recall"):
        expected = [oracle.class_figures(matrix)[name][1] for matrix in each]
        # A channel that is 1 nowhere is absent, although its zeros are right.
        expected = [math.nan if m[0][1] + m[1][0] + m[1][1] == 0 else v for m, v in zip(each, expected, strict=True)]
        np.testing.assert_allclose(getattr(report, name), expected, rtol=1e-12)
    right = sum(m[0][0] + m[1][1] for m in each)
    assert report.pixel_accuracy == pytest.approx(right / (2 * 60 - 5), abs=1e-15)
    assert report.num_pixels == 2 * 60 - 5
    assert report.foreground_iou == report.miou or math.isnan(report.miou)


def test_permuting_the_classes_permutes_the_results() -> None:
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 5, (2, 4, 50))
    order = generator.permutation(5)
    report, permuted = _report(prediction, truth, 5), _report(order[prediction], order[truth], 5)
    np.testing.assert_array_equal(permuted.iou[order], report.iou)
    np.testing.assert_array_equal(permuted.confusion[np.ix_(order, order)], report.confusion)
    assert permuted.miou == pytest.approx(report.miou, abs=1e-15)


def test_macro_is_the_mean_of_the_class_figures() -> None:
    report = _report([[0, 1, 1, 3]], [[0, 1, 0, 1]], 6)
    assert report.miou == np.nanmean(report.iou)
    assert report.mean_dice == np.nanmean(report.dice)
    assert report.mean_accuracy == np.nanmean(report.recall)
    assert report.mean_precision == np.nanmean(report.precision)


def test_a_false_alarm_never_raises_a_mean() -> None:
    truth = [[0, 0, 1, 1]]
    clean, alarm = _report([[0, 0, 1, 0]], truth, 3), _report([[0, 0, 1, 2]], truth, 3)
    for name in ("miou", "mean_dice", "image_miou", "class_miou", "mean_precision"):
        assert alarm.figures[name] < clean.figures[name], name


def test_a_class_that_is_never_predicted_lowers_every_mean() -> None:
    """Undefined precision must not drop a missed class from the mean, nor an undefined F1."""
    report = _report([[0, 0, 0, 0]], [[0, 0, 0, 1]], 2)
    assert report.precision[1] == report.dice[1] == report.iou[1] == 0
    assert report.mean_precision == pytest.approx(0.75 / 2)
    assert report.mean_dice == pytest.approx(6 / 7 / 2)


def test_a_missed_object_never_improves_a_score() -> None:
    truth = np.zeros((1, 40), dtype=np.int64)
    truth[0, 10:20], truth[0, 25:28] = 1, 2
    good = truth.copy()
    worse = good.copy()
    for place in np.flatnonzero(truth[0]):
        worse = worse.copy()
        worse[0, place] = 0
        before, after = _report(good, truth, 3), _report(worse, truth, 3)
        for name in FIGURES:
            assert after.figures[name] <= before.figures[name] + 1e-12, name
        good = worse


def test_nothing_to_judge_is_nan_not_zero() -> None:
    for report in (
        Evaluator(3).compute(),
        _report(np.zeros((2, 4), dtype=int), np.full((2, 4), 255), 3, ignore_index=255),
        _report(np.zeros((2, 0), dtype=int), np.zeros((2, 0), dtype=int), 3),
    ):
        assert all(math.isnan(value) for value in report.figures.values())
        assert np.isnan(report.iou).all()
        assert np.isnan(report.share).all()
        assert report.num_pixels == 0


def test_three_means_of_iou_differ_as_defined() -> None:
    """mIoU over the data set, over images and over classes on two images of different content."""
    truth = [[0, 0, 0, 0], [1, 1, 0, 0]]
    prediction = [[0, 0, 0, 1], [1, 0, 0, 0]]
    report = _report(prediction, truth, 2)
    assert report.miou == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert report.image_miou == pytest.approx(((3 / 4 + 0) / 2 + (2 / 3 + 1 / 2) / 2) / 2)
    assert report.class_miou == pytest.approx(((3 / 4 + 2 / 3) / 2 + (0 + 1 / 2) / 2) / 2)


def test_batch_averages_are_not_used() -> None:
    """The figure of a set is that of its pixels, however they were batched."""
    generator = np.random.default_rng(1)
    truth, prediction = generator.integers(0, 3, (2, 6, 30))
    whole = _report(prediction, truth, 3)
    for size in (1, 2, 5):
        evaluator = Evaluator(3)
        for start in range(0, 6, size):
            evaluator.update(prediction[start : start + size], truth[start : start + size])
        assert evaluator.compute().figures == whole.figures


@pytest.mark.parametrize("ignored", [None, 255, -1])
def test_parity_with_torchmetrics_where_all_classes_are_present(ignored: int | None) -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 7, (3, 20, 20), generator=generator)
    prediction = torch.randint(0, 7, (3, 20, 20), generator=generator)
    if ignored is not None:
        truth[:, :3] = ignored
    options: dict[str, Any] = {"num_classes": 7, "ignore_index": ignored}
    evaluator = Evaluator(7, ignore_index=-100 if ignored is None else ignored)
    report = evaluator.update(prediction, truth).compute()
    for metric, value in [
        (classification.MulticlassJaccardIndex(average="none", **options), report.iou),
        (classification.MulticlassJaccardIndex(**options), report.miou),
        (classification.MulticlassJaccardIndex(average="weighted", **options), report.frequency_weighted_iou),
        (classification.MulticlassF1Score(average="none", **options), report.dice),
        (classification.MulticlassPrecision(average="none", **options), report.precision),
        (classification.MulticlassRecall(average="none", **options), report.recall),
        (classification.MulticlassAccuracy(average="micro", **options), report.pixel_accuracy),
        (classification.MulticlassCohenKappa(**options), report.kappa),
        (classification.MulticlassConfusionMatrix(**options), report.confusion),
    ]:
        np.testing.assert_allclose(metric(prediction, truth).numpy(), value, rtol=2e-6)


def test_torchmetrics_gives_0_to_absent_classes_and_we_nan() -> None:
    classification = pytest.importorskip("torchmetrics.classification")
    truth, prediction = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]])
    theirs = classification.MulticlassJaccardIndex(3, average="none")(prediction, truth)
    ours = _report(prediction.numpy(), truth.numpy(), 3)
    assert theirs[2] == 0
    assert math.isnan(ours.iou[2])
    np.testing.assert_allclose(classification.MulticlassJaccardIndex(3)(prediction, truth), ours.miou, rtol=1e-6)


def test_class_figures_by_number_and_name() -> None:
    report = _report([[0, 1, 1, 2]], [[0, 1, 0, 2]], 3, class_names=["sky", "road", "tree"])
    assert evaluate(report.per_image, "iou[1]") == report.iou[1]
    assert evaluate(report.per_image, "recall[sky]", report.class_names) == report.recall[0]
    for wrong in ("iou[3]", "iou[sea]", "mIou", "nothing", "miou[1]", "iou"):
        with pytest.raises(ParameterError):
            evaluate(report.per_image, wrong, report.class_names)
    with pytest.raises(ParameterError, match="Did you mean 'miou'"):
        evaluate(report.per_image, "mioo")


def test_per_image_counts_are_checked() -> None:
    good: dict[str, Any] = {"ids": ["a"], "tp": [[1, 2]], "fp": [[0, 1]], "fn": [[1, 0]], "pixels": [4]}
    counts = PerImage(**good)
    again = PerImage.from_dict(counts.to_dict())
    assert again.ids == counts.ids
    assert np.array_equal(again.tp, counts.tp)
    assert again.tp.dtype == np.int64
    for change, error in [
        ({"tp": [[1, -2]]}, DataError),
        ({"tp": [[9, 2]]}, DataError),
        ({"tp": [[0.5, 2]]}, DataError),
        ({"tp": [[1, 2, 3]]}, ShapeError),
        ({"ids": ["a", "b"]}, ShapeError),
        ({"pixels": [[4, 4]]}, ShapeError),
        ({"task": "other"}, ParameterError),
        ({"policy": "other"}, ParameterError),
    ]:
        with pytest.raises(error):
            PerImage(**(good | change))
    with pytest.raises(DataError, match="'fn'"):
        PerImage.from_dict({key: value for key, value in counts.to_dict().items() if key != "fn"})
