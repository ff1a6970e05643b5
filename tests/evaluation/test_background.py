"""The foreground is what is not the background, wherever that stands; a class called sky is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from segcrit.core.errors import DataError, ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import compare_pair

TRUTH = np.array([[0, 0, 1, 1, 2, 2, 2, 0], [0, 1, 1, 1, 2, 0, 0, 2]])
GUESS = np.array([[0, 1, 1, 1, 2, 2, 0, 0], [0, 1, 1, 2, 2, 0, 1, 2]])


def _report(names: Any = None, **options: Any) -> Report:
    return Evaluator(3, class_names=names, **options).update(GUESS, TRUTH, ids=["a", "b"]).compute()


def _without(report: Report, *left_out: int) -> float:
    return float(np.mean([value for index, value in enumerate(report.iou) if index not in left_out]))


@pytest.mark.parametrize(
    ("names", "options", "background"),
    [
        (None, {}, 0),
        (["background", "organ", "tumour"], {}, 0),
        (["sky", "road", "car"], {}, None),
        (["road", "car", "Background"], {}, 2),
        (["sky", "road", "car"], {"background": 1}, 1),
        (["background", "organ", "tumour"], {"background": None}, None),
    ],
)
def test_the_background_is_found_by_its_name_or_named(names: Any, options: Any, background: int | None) -> None:
    report = _report(names, **options)
    assert report.background == background
    left_out = () if background is None else (background,)
    assert report.foreground_iou == pytest.approx(_without(report, *left_out), rel=1e-12)
    per_image = np.delete(report.per_image.dice, left_out, axis=1)
    assert report.image_foreground_dice == pytest.approx(np.nanmean(np.nanmean(per_image, axis=1)), rel=1e-12)
    assert report.figures["class_foreground_dice"] == pytest.approx(np.nanmean(np.nanmean(per_image, axis=0)))
    back = Report.from_dict(report.to_dict(per_image=True))
    assert back.background == background
    np.testing.assert_equal(back.figures, report.figures)
    assert ("Foreground IoU (without" in str(report)) == (background is not None)


def test_tasks_decide_about_their_background() -> None:
    names = ["sky", "cloud"]
    binary = Evaluator(2, task="binary", class_names=names).update(GUESS % 2, TRUTH % 2).compute()
    assert binary.background == 0
    assert binary.foreground_iou == binary.iou[1]
    maps = np.stack([GUESS % 2, TRUTH % 2], axis=1)
    channels = Evaluator(2, task="multilabel", class_names=["background", "x"]).update(maps, maps[:, ::-1]).compute()
    assert channels.background is None
    assert channels.foreground_iou == channels.miou
    for task, wrong in (("binary", 1), ("binary", None), ("multilabel", 0), ("multiclass", 3), ("multiclass", "sky")):
        with pytest.raises(ParameterError, match="background"):
            Evaluator(2, task=task, background=wrong)


def test_nnunet_always_has_class_0_as_background() -> None:
    for names in (None, ["spleen", "liver", "kidney"]):
        report = _report(names, policy="nnunet")
        expected = np.nanmean(report.per_image.dice[:, 1:], axis=0).mean()
        assert report.tool_figures["foreground_mean Dice"] == pytest.approx(expected, rel=1e-12)
    assert _report(["sky", "road", "car"]).with_policy("nnunet").tool_figures == report.tool_figures


def test_states_merges_and_comparisons_know_the_background() -> None:
    named = Evaluator(3, class_names=["sky", "road", "car"], background=2).update(GUESS, TRUTH, ids=["a", "b"])
    again = Evaluator(3, class_names=["sky", "road", "car"], background=2).load_state_dict(named.state_dict())
    assert again.compute().foreground_iou == named.compute().foreground_iou
    with pytest.raises(ParameterError, match="background=None"):
        named.merge(Evaluator(3, class_names=["sky", "road", "car"]))
    old = named.compute().to_dict(per_image=True)
    del old["per_image"]["background"]
    assert Report.from_dict(old).background == 0  # what files of older versions mean
    whole, other = named.compute(), _report()
    assert compare_pair(whole, other, "miou", resamples=100).difference == 0
    with pytest.raises(DataError, match="one background"):
        compare_pair(whole, other, "foreground_iou", resamples=100)
    part = whole.select(["a"]).merge(whole.select(["b"]))
    assert part.foreground_iou == whole.foreground_iou


def test_distances_of_the_foreground_beside_those_of_all_classes() -> None:
    pytest.importorskip("scipy", reason="scipy is not installed")
    generator = np.random.default_rng(3)
    truth = np.kron(generator.integers(0, 3, (2, 4, 4)), np.ones((1, 5, 5), dtype=int))
    guess = np.roll(truth, 2, axis=2)

    def evaluated(names: list[str]) -> Report:
        evaluator = Evaluator(3, class_names=names, measures=["boundary"])
        return evaluator.update(guess, truth, ids=["a", "b"]).compute()

    report = evaluated(["background", "liver", "tumour"])
    scores = report.boundary
    assert scores is not None
    for name in ("hd95", "assd", "nsd", "boundary_iou"):
        values = getattr(scores, name)
        assert report.figures[name] == pytest.approx(values.mean(), rel=1e-12)
        assert report.figures[f"foreground_{name}"] == pytest.approx(values[1:].mean(), rel=1e-12)
        assert not math.isclose(report.figures[name], report.figures[f"foreground_{name}"])
    assert report.bootstrap("foreground_hd95", resamples=100).value == report.figures["foreground_hd95"]
    line = next(line for line in str(report).splitlines() if line.startswith("HD95 "))
    assert f"foreground {report.figures['foreground_hd95']:.4f}" in line
    assert not any(name.startswith("foreground_hd95") for name in evaluated(["sky", "road", "car"]).figures)
