"""Pages of binary and multilabel tasks: curves over the threshold, calibration of one probability, errors near edges."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.evaluate.page.boundaries import boundary_rows
from segcrit.apps.evaluate.page.charts import threshold_curves
from segcrit.apps.evaluate.page.page import render
from segcrit.apps.evaluate.results import Outcome
from segcrit.metrics.ratios import Floats
from tests.evaluate.test_page import check, outcome_of


def _random(root: Path, channels: int, models: tuple[str, ...]) -> tuple[Floats, dict[str, Floats]]:
    """Truth (images, channels, H, W) and the logits of each model, saved as folders."""
    generator = np.random.default_rng(channels)
    truth = generator.random((4, channels, 12, 15)) < 0.3
    logits = {}
    for place, model in enumerate(models):
        logits[model] = (2.0 * truth - 1 + (1 + place) * generator.normal(size=truth.shape)).astype(np.float32)
    for name, values in {"truth": truth.astype(np.uint8), **logits}.items():
        (root / name).mkdir(parents=True)
        for image, content in enumerate(values):
            np.save(root / name / f"image{image}.npy", content[0] if name == "truth" and channels == 1 else content)
    return truth, logits


def _outcome(root: Path, channels: int, models: tuple[str, ...], measures: tuple[str, ...]) -> Outcome:
    sigmoid = {"classes": "2", "task": "binary"} if channels == 1 else {"classes": str(channels), "task": "multilabel"}
    return outcome_of(root, [str(root / model) for model in models], str(root / "truth"), measures=measures, **sigmoid)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("models", [("a",), ("a", "b"), ("a", "b", "c")])
def test_curves_over_the_threshold(tmp_path: Path, channels: int, models: tuple[str, ...]) -> None:
    truth, logits = _random(tmp_path, channels, models)
    outcome = _outcome(tmp_path, channels, models, ("curves", "calibration"))
    text = render(outcome)
    page = check(text)
    assert "<h2>Thresholds</h2>" in text
    assert text.count('<path class="curve') == channels * 2 * len(models)
    assert "share of the foreground, %" in text
    assert "accuracy, %" not in text
    thresholds = np.arange(1, 100) / 100
    found = threshold_curves(outcome.reports) or []
    assert len(found) == channels
    for channel, entry in enumerate(found):
        positive = truth[:, channel]
        assert [line["model"] for line in entry["lines"]] == list(models)
        for line in entry["lines"]:
            probability = 1 / (1 + np.exp(-logits[line["model"]][:, channel].astype(np.float64)))
            guesses = [probability > threshold for threshold in thresholds]
            iou = np.array([(guess & positive).sum() / (guess | positive).sum() for guess in guesses])
            best = int(iou.argmax())
            assert line["best"] == pytest.approx(thresholds[best])
            assert line["best_iou"] == pytest.approx(iou[best])
            assert line["best_precision"] == pytest.approx(positive[guesses[best]].mean())
            assert line["best_recall"] == pytest.approx(guesses[best][positive].mean())
            assert f"{iou[best]:.3f}" in page.text
            points = np.array([step.split() for step in re.split("[ML]", line["by_threshold"])[1:]], dtype=float)
            np.testing.assert_allclose(points[:, 0], 100 * thresholds, atol=0.051)
            np.testing.assert_allclose(points[:, 1], 100 - 100 * iou, atol=0.051)


def test_more_channels_than_charts(tmp_path: Path) -> None:
    _random(tmp_path, 14, ("a",))
    text = render(_outcome(tmp_path, 14, ("a",), ("curves(thresholds=1000)",)))
    check(text)
    assert text.count('<path class="curve') == 2 * 12
    assert "The curves of the other 2 are in curves.csv" in text
    assert max(map(len, re.findall(r'<path class="curve[^>]*>', text))) < 6000  # thinned
    assert "Thresholds" not in render(_outcome(tmp_path, 14, ("a",), ()))


@pytest.mark.parametrize("channels", [1, 2])
def test_errors_near_edges_of_sigmoid_tasks(tmp_path: Path, channels: int) -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[:, 30:] = 1
    guess = truth.copy()
    guess[10:20, 30:31] = 0  # ten pixels beside the edge
    guess[10:15, 2:8] = 1  # thirty invented ones in the interior
    for name, labels in (("truth", truth), ("guess", guess)):
        (tmp_path / name).mkdir()
        stack = [labels, *[truth] * (channels - 1)]
        np.save(tmp_path / name / "image.npy", np.stack(stack) if channels > 1 else labels)
    outcome = _outcome(tmp_path, channels, ("guess",), ("boundary(trimap=3)",))
    (row,) = boundary_rows(outcome) or []
    assert row["whole"]
    assert row["near_share"] == pytest.approx(0.25)
    pixels = 3600 * channels
    near = row["near_pixels"] * pixels
    assert 0.05 * pixels < near < 0.15 * pixels
    assert row["near_rate"] == pytest.approx(10 / near)
    assert row["far_rate"] == pytest.approx(30 / (pixels - near))
    text = render(outcome)
    check(text)
    assert f"{'Elements' if channels > 1 else 'Pixels'} near an edge" in text


def test_a_curve_of_one_threshold_is_a_dot(tmp_path: Path) -> None:
    """A path of one point draws nothing."""
    _random(tmp_path, 1, ("a",))
    outcome = _outcome(tmp_path, 1, ("a",), ("curves(thresholds=1)",))
    assert len(re.findall(r'<path class="curve line0" d="M[\d.]+ [\d.]+h0">', render(outcome))) == 2
