"""Each policy gives the tool's own numbers: beside the tool where it installs, beside written loops elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.apps.compare.settings import Settings
from segcrit.core.errors import LabelError, ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.named import FIGURES, get_figure
from segcrit.metrics.policy import POLICIES, get_policy
from segcrit.metrics.report import Report
from tests.evaluation import oracle, tools

WRITTEN = ["mmsegmentation", "detectron2", "cityscapes", "huggingface", "monai", "nnunet"]


def _draw(seed: int, classes: int, images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Skewed draws: classes that are missing from an image, from truth or prediction, or from both."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(classes, 0.25), size=(2, images))
    truth, guess = (np.stack([generator.choice(classes, 14, p=row) for row in side]) for side in weights)
    truth[generator.random(truth.shape) < 0.1] = 255
    return guess, truth


def _report(guess: np.ndarray, truth: np.ndarray, classes: int, policy: str) -> Report:
    return Evaluator(classes, ignore_index=255, policy=policy).update(guess, truth).compute()


@pytest.mark.parametrize("policy", WRITTEN)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 6))
@settings(max_examples=60)
def test_written_tools(policy: str, seed: int, classes: int) -> None:
    guess, truth = _draw(seed, classes)
    matrices = [oracle.confusion(guess[i], truth[i], classes, 255) for i in range(len(guess))]
    report = _report(guess, truth, classes, policy)
    expected = getattr(tools, policy)(matrices)
    assert report.tool_figures.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(report.tool_figures[name], value, rtol=1e-12, err_msg=name)
    # The same counts under another rule, without evaluating again.
    again = _report(guess, truth, classes, "segcrit").with_policy(policy)
    np.testing.assert_equal(again.tool_figures, report.tool_figures)
    np.testing.assert_equal(again.figures, report.figures)


@pytest.mark.parametrize("policy", ["mmsegmentation", "cityscapes", "huggingface", "detectron2"])
def test_a_predicted_ignore_label(policy: str) -> None:
    guess = np.array([[0, 0, 255, 1, 255, 1]])
    truth = np.array([[0, 0, 0, 1, 255, 0]])
    matrix = [[2, 1, 1], [0, 1, 0]]
    report = _report(guess, truth, 2, policy)
    expected = getattr(tools, policy)([matrix])
    for name, value in expected.items():
        assert report.tool_figures[name] == pytest.approx(value, rel=1e-12), name
    # class 0: tp 2, predicted 2; false negatives 2 where the pixel counts, 1 where it is left out
    assert report.iou[0] == pytest.approx(2 / 3 if policy == "detectron2" else 2 / 4)
    assert report.confusion.tolist() == [[2, 1], [0, 1]]
    assert report.num_pixels == (4 if policy == "detectron2" else 5)
    back = Report.from_dict(report.to_dict(per_image=True))
    np.testing.assert_equal(back.figures, report.figures)
    with pytest.raises(LabelError, match="label 255"):
        _report(guess, truth, 2, "segcrit")
    with pytest.raises(LabelError, match="label 2"):
        _report(np.where(guess == 255, 2, guess), truth, 2, policy)


def test_nan_logits_are_no_ignored_prediction() -> None:
    logits = torch.zeros(1, 2, 3)
    logits[0, :, 1] = math.nan
    from segcrit.core.errors import DataError

    with pytest.raises(DataError, match="NaN at 1 pixel"):
        Evaluator(2, ignore_index=255, policy="mmsegmentation").update(logits, torch.zeros(1, 3, dtype=torch.int64))


def test_logits_and_labels_agree_under_a_policy_with_a_column_more() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 9, 7, generator=generator)
    truth = torch.randint(0, 4, (2, 9, 7), generator=generator)
    one = Evaluator(4, policy="cityscapes").update(logits, truth).compute()
    two = Evaluator(4, policy="cityscapes").update(logits.argmax(1), truth).compute()
    assert np.array_equal(one.confusion, two.confusion)
    assert np.array_equal(one.confusion, Evaluator(4).update(logits, truth).compute().confusion)


@pytest.mark.parametrize("seed", range(12))
def test_torchmetrics(seed: int) -> None:
    classification = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    classes = 5
    guess, truth = _draw(seed, classes)
    report = _report(guess, truth, classes, "torchmetrics")
    given = (torch.from_numpy(guess), torch.from_numpy(truth))
    for name, value in report.tool_figures.items():
        word, _, options = name.partition("(average='")
        kind = getattr(classification, word)
        average = {} if word == "MulticlassCohenKappa" else {"average": options.removesuffix("')") or "macro"}
        expected = float(kind(classes, ignore_index=255, **average)(*given))
        assert value == pytest.approx(expected, abs=1e-6), name
    # The values of single classes, in which an absent class shows 0.
    for word, values in (
        ("MulticlassJaccardIndex", report.iou),
        ("MulticlassF1Score", report.dice),
        ("MulticlassPrecision", report.precision),
        ("MulticlassRecall", report.recall),
    ):
        expected = getattr(classification, word)(classes, average=None, ignore_index=255)(*given)
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-6, err_msg=word)


@pytest.mark.parametrize("seed", range(6))
def test_monai(seed: int) -> None:
    metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    classes = 4
    guess, truth = _draw(seed, classes, images=4)
    truth = np.where(truth == 255, 0, truth)  # MONAI knows no ignore label
    report = _report(guess, truth, classes, "monai")
    hot = [
        torch.nn.functional.one_hot(torch.from_numpy(values), classes).movedim(-1, 1).float()
        for values in (guess, truth)
    ]
    for name, kind in (("DiceMetric", metrics.DiceMetric), ("MeanIoU", metrics.MeanIoU)):
        metric = kind(include_background=True, reduction="mean")
        metric(*hot)
        assert report.tool_figures[name] == pytest.approx(float(metric.aggregate()), abs=1e-6), name
    metric = metrics.DiceMetric(include_background=True, reduction="mean_batch")
    metric(*hot)
    known = report.per_image.dice
    means = [oracle.mean(known[:, index].tolist()) for index in range(classes)]
    np.testing.assert_allclose(np.nan_to_num(means), metric.aggregate().numpy(), atol=1e-6)


def test_five_answers_to_one_confusion_matrix() -> None:
    """Class 2 is only predicted, class 3 is nowhere."""
    guess, truth = np.array([[0, 0, 1, 2]]), np.array([[0, 0, 1, 1]])
    values = {policy: _report(guess, truth, 4, policy).miou for policy in POLICIES}
    # IoU: 1, 1/2, 0 (only predicted), undefined (absent)
    assert values["segcrit"] == values["mmsegmentation"] == values["cityscapes"] == values["torchmetrics"] == 0.5
    assert values["detectron2"] == values["monai"] == 0.75
    assert math.isnan(values["nnunet"])


def test_mmsegmentation_drops_the_worst_class_from_its_fscore() -> None:
    """A class that is never right: Dice 0, but 0/0 as harmonic mean of precision 0 and recall 0."""
    guess, truth = np.array([[0, 0, 0, 0, 1]]), np.array([[0, 0, 1, 1, 0]])
    matrix = oracle.confusion(guess, truth, 2, 255)
    report = _report(guess, truth, 2, "mmsegmentation")
    assert report.dice[1] == 0
    assert report.tool_figures["mDice"] == pytest.approx((2 * 2 / 7) / 2)
    assert tools.mmsegmentation_fscore([matrix]) == pytest.approx(2 * 2 / 7)
    assert "mFscore" in POLICIES["mmsegmentation"].note


def test_shown_values_and_mean_of_torchmetrics() -> None:
    report = _report(np.array([[0, 1]]), np.array([[0, 1]]), 3, "torchmetrics")
    assert report.iou.tolist() == [1, 1, 0]
    assert report.miou == 1


def test_policies_are_complete_and_say_their_difference() -> None:
    for policy in POLICIES.values():
        assert policy.note.count("\n") == 0
        assert policy.note.endswith(".")
        assert set(policy.figures.values()) <= set(FIGURES)
    with pytest.raises(ParameterError, match="'cityscapes'"):
        Evaluator(2, policy="coco")


def test_evaluators_of_two_policies_do_not_merge() -> None:
    with pytest.raises(ParameterError, match="policy='monai'"):
        Evaluator(2).merge(Evaluator(2, policy="monai"))


def test_merging_and_states_with_a_column_more(tmp_path: Any) -> None:
    guess = np.array([[0, 255, 1], [1, 1, 255], [0, 0, 0]])
    truth = np.array([[0, 0, 1], [0, 1, 255], [0, 1, 1]])
    options: dict[str, Any] = {"ignore_index": 255, "policy": "cityscapes"}
    whole = Evaluator(2, **options).update(guess, truth, ["a", "b", "c"])
    part = Evaluator(2, **options).update(guess[2:], truth[2:], ["c"])
    part.merge(Evaluator(2, **options).update(guess[:2], truth[:2], ["a", "b"]))
    assert np.array_equal(part.compute().confusion, whole.compute().confusion)
    loaded = Evaluator(2, **options).load_state_dict(whole.state_dict())
    np.testing.assert_equal(loaded.compute().figures, whole.compute().figures)


# Class 2 is ignored. Truth 0: right, right, taken for 2; truth 1: right, taken for 2, taken for 0.
_IGNORED_CLASS = (np.array([[0, 0, 2, 1, 2, 0, 2, 1]]), np.array([[0, 0, 0, 1, 1, 1, 2, 2]]))


@pytest.mark.parametrize("form", ["labels", "logits", "chunks"])
@pytest.mark.parametrize("policy", ["segcrit", "cityscapes"])
def test_an_ignored_class_has_no_figures_and_its_predictions_are_misses(policy: str, form: str) -> None:
    guess, truth = _IGNORED_CLASS
    prediction: Any = guess
    if form == "logits":
        prediction = torch.nn.functional.one_hot(torch.from_numpy(guess), 3).movedim(-1, 1).float()
    elif form == "chunks":
        prediction = torch.from_numpy(guess).to(torch.int16)
    report = Evaluator(3, ignore_index=2, policy=policy).update(prediction, truth, ids=["a"]).compute()
    assert report.num_pixels == 6
    np.testing.assert_allclose(report.iou, [2 / 4, 1 / 3, math.nan])
    assert report.miou == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert report.pixel_accuracy == pytest.approx(3 / 6)
    assert report.class_counts["fn"].tolist() == [1, 2, 0]
    assert report.class_counts["fp"].tolist() == [1, 0, 0]
    assert report.confusion.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert report.image_miou == report.miou
    back = Report.from_dict(report.to_dict(per_image=True))
    np.testing.assert_equal(back.figures, report.figures)


def test_an_ignored_class_in_a_binary_task() -> None:
    guess, truth = np.array([[0, 1, 1, 0]]), np.array([[0, 1, 1, 1]])
    report = Evaluator(1, task="binary", ignore_index=0).update(guess, truth).compute()
    np.testing.assert_allclose(report.iou, [math.nan, 2 / 3])
    assert report.miou == report.foreground_iou == pytest.approx(2 / 3)


def test_measures_leave_an_ignored_class_out() -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    truth, guess = np.zeros((2, 1, 12, 12), dtype=np.int64)
    truth[0, 2:8, 2:8], guess[0, 2:8, 2:8] = 1, 1
    guess[0, 3:5, 3:5], guess[0, 9:, 9:] = 2, 2
    evaluator = Evaluator(3, ignore_index=2, measures=["boundary", "objects"])
    report = evaluator.update(guess, truth, ids=["a"]).compute()
    assert report.boundary is not None
    assert report.objects is not None
    assert math.isnan(report.boundary.hd95[2])
    assert report.boundary.judged.tolist() == [1, 1, 0]
    assert report.objects.fp[2].sum() == 0
    assert np.isnan(report.objects.iou[2]).all()


@pytest.mark.parametrize("policy", ["mmsegmentation", "huggingface", "torchmetrics", "detectron2", "monai"])
def test_tools_that_count_an_ignored_class(policy: str) -> None:
    guess, truth = _IGNORED_CLASS
    report = Evaluator(3, ignore_index=2, policy=policy).update(guess, truth, ids=["a"]).compute()
    matrix = [[2, 0, 1], [1, 1, 1], [0, 0, 0]]
    if policy != "torchmetrics":
        for name, value in getattr(tools, policy)([matrix]).items():
            assert report.tool_figures[name] == pytest.approx(value, rel=1e-12), name
        return
    classification = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is not installed")
    given = (torch.from_numpy(guess), torch.from_numpy(truth))
    for word in ("MulticlassF1Score", "MulticlassPrecision", "MulticlassRecall", "MulticlassAccuracy"):
        expected = float(getattr(classification, word)(3, ignore_index=2)(*given))
        assert report.tool_figures[word] == pytest.approx(expected, abs=1e-6), word
    # Its Jaccard index alone leaves the class out, as the policy says; that number is segcrit's own.
    theirs = float(classification.MulticlassJaccardIndex(3, ignore_index=2)(*given))
    own = Evaluator(3, ignore_index=2).update(guess, truth, ids=["a"]).compute()
    assert own.miou == pytest.approx(theirs, abs=1e-6)
    assert "Jaccard index alone" in POLICIES["torchmetrics"].note


def test_a_class_that_is_never_predicted_has_precision_0_and_counts() -> None:
    guess, truth = np.array([[1, 1, 1, 1]]), np.array([[0, 0, 1, 1]])
    report = Evaluator(2).update(guess, truth).compute()
    assert report.precision.tolist() == [0, 0.5]
    assert report.mean_precision == 0.25
    assert math.isnan(report.with_policy("mmsegmentation").precision[0])


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: get_policy("mmsegmentaton"), "mmsegmentation"),
        (lambda: get_figure("mIoU_", 3), "miou"),
        (lambda: Evaluator(3, measures="boundry"), "boundary"),
        (lambda: Settings(metric="mIoU"), "miou"),
    ],
)
def test_a_slip_of_a_name_is_answered_with_the_name(call: Any, meant: str) -> None:
    with pytest.raises(ParameterError) as caught:
        call()
    assert f"Did you mean {meant!r}?" in caught.value.advice
