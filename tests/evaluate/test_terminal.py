"""What is printed: the figures that people look for, and what is known about their differences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.evaluate.page.page import render
from segcrit.apps.evaluate.standings import best_models, digits_of, ranking, ties, verdict
from segcrit.cli import main
from tests.evaluate.making import folders, maps, save_png
from tests.evaluate.test_page import outcome_of


def _printed(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> tuple[list[list[str]], str]:
    """Rows by words, and everything in one line."""
    assert main(["evaluate", *words, "--out", str(out), "--quiet", "--no-report"]) == 0
    text = capsys.readouterr().out
    return [line.split() for line in text.splitlines()], " ".join(text.split())


def test_the_pairs_of_three_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, target = folders(tmp_path, maps(8))
    for model in "ab":
        for name, (_, guess) in maps(8, seed=ord(model)).items():
            save_png(tmp_path / model / f"{name}.png", guess)
    words = [predictions, str(tmp_path / "a"), str(tmp_path / "b"), target, "--classes", "3"]
    rows, text = _printed(capsys, tmp_path / "out", *words)
    pairs = json.loads((tmp_path / "out" / "results.json").read_text())["comparisons"]["miou"]
    assert len(pairs) == 3
    for pair in pairs:
        (row,) = [row for row in rows if row[:3] == [pair["second"], "−", pair["first"]]]
        assert row[3] == f"{pair['difference']:+.4f}".replace("-", "−")
        assert row[-1] == (f"{pair['p_value']:.3f}" if pair["p_value"] >= 0.001 else "0.001")
    assert "mIoU of all pairs over 8 images" in text


def test_figures_of_the_foreground_where_there_is_a_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    content = {}
    for place in range(7):
        truth = np.zeros((24, 30), np.uint8)
        truth[4:12, 5:20], truth[14:20, 8:25] = 1, 2
        guess = np.roll(truth, generator.integers(0, 3), axis=1)
        content[f"case{place}"] = truth, guess
    words = [*folders(tmp_path, content), "--classes", "background,anterior,posterior", "--measures", "boundary"]
    rows, text = _printed(capsys, tmp_path / "out", *words)
    (model,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    for name in ("foreground_dice", "image_foreground_dice", "foreground_hd95", "foreground_nsd"):
        interval = model["intervals"][name]
        assert [name, f"{model['report']['figures'][name]:.4f}", f"[{interval['low']:.4f},"] in [
            row[:3] for row in rows
        ]
    shown = [row[0] for row in rows if row]
    assert "hd95" not in shown
    assert "Lower is better: foreground_hd95, foreground_assd." in text
    assert model["report"]["figures"]["foreground_dice"] == pytest.approx(_foreground_dice(content), abs=1e-12)
    rows, text = _printed(capsys, tmp_path / "plain", *words[:2], "--classes", "sky,car,road", "--measures", "boundary")
    assert not any(row[0].startswith("foreground") for row in rows if row)
    assert "Lower is better: hd95, assd." in text


def _foreground_dice(content: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
    values = []
    for label in (1, 2):
        both = sum(int(((truth == label) & (guess == label)).sum()) for truth, guess in content.values())
        sizes = sum(int((truth == label).sum() + (guess == label).sum()) for truth, guess in content.values())
        values.append(2 * both / sizes)
    return float(np.mean(values))


def test_how_much_is_ignored_and_how_many_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.full((10, 10), 255, np.uint8)
    truth[:2, :5], truth[2:4, :5] = 0, 1
    content = {f"{scene}_{place}": (truth, np.where(truth == 255, 0, truth)) for scene in "abc" for place in range(2)}
    words = [*folders(tmp_path, content), "--classes", "2", "--group-by", "^(.)_"]
    _, text = _printed(capsys, tmp_path / "out", *words)
    assert "120 pixels count; 80.0 % of all are ignored" in text
    assert "bootstrap interval over 3 groups of images" in text


def _models(root: Path, wrong: dict[str, float]) -> list[str]:
    """Folders of models with a share of wrong pixels each, and the truth last; models of one share differ in a few."""
    random = np.random.default_rng(1)
    truths = {name: truth for name, (truth, _) in maps(12, (24, 24)).items()}
    noise = {name: random.random(truth.shape) for name, truth in truths.items()}
    for place, (model, share) in enumerate(wrong.items()):
        for name, truth in truths.items():
            guess = np.where(noise[name] < share, (truth + 1) % 3, np.where(truth == 255, 0, truth)).astype(np.uint8)
            if name == "image00":
                guess[0, : 5 * place] = (guess[0, : 5 * place] + 1) % 3
            save_png(root / model / f"{name}.png", guess)
    for name, truth in truths.items():
        save_png(root / "masks" / f"{name}.png", truth)
    return [*(str(root / model) for model in wrong), str(root / "masks")]


def test_the_verdict_on_three_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _models(tmp_path, {"worst": 0.4, "even": 0.2, "alike": 0.2})
    outcome = outcome_of(tmp_path / "o", words[:-1], words[-1])
    top = best_models(outcome, "miou")
    assert set(top) == {"even", "alike"}
    assert ties(outcome, "miou") == [top, ("worst",)]
    assert ranking(outcome, "miou") == [*top, "worst"]
    assert outcome.title == "Evaluation of worst, even and alike"
    assert len(repr(outcome)) < 200
    assert f"worst {outcome.reports['worst'].miou:.4f}" in repr(outcome)
    sentences = verdict(outcome)
    assert "even" in sentences[0]
    assert "alike" in sentences[0]
    assert sentences[1].startswith(f"Behind {top[0]}: worst by ")
    rows, text = _printed(capsys, tmp_path / "out", *words, "--classes", "3")
    assert " ".join(sentences) in text
    (shown,) = [row[1:] for row in rows if row[:1] == ["miou"] and len(row) == 4]
    assert len(set(shown)) == 3  # a tie is shown with as many digits as it takes
    page = render(outcome)
    summary = page[page.index("<h2>Summary") : page.index("<h2>Classes")]
    digits = digits_of([report.miou for report in outcome.reports.values()], 3)
    bold = [model for model in top if f"<b>{outcome.reports[model].miou:.{digits}f}</b>" in summary]
    assert bold == list(top)
    assert sentences[0] in page


def test_a_lead_that_is_certain_and_hardly_matters(tmp_path: Path) -> None:
    words = _models(tmp_path, {"a": 0.200, "b": 0.203})
    outcome = outcome_of(tmp_path / "o", words[:-1], words[-1])
    sentences = verdict(outcome)
    (pair,) = outcome.comparisons["miou"]
    assert pair.significant
    assert sentences[0].startswith("a leads: ")
    assert "hardly matters" in sentences[1]


def test_histograms_of_several_models_have_one_scale(tmp_path: Path) -> None:
    words = _models(tmp_path, {"a": 0.0, "b": 0.3, "c": 0.6})
    page = render(outcome_of(tmp_path / "o", words[:-1], words[-1]))
    bars = re.findall(r'<span style="height: ([\d.]+)%" title="[^"]*: ([\d,]+) images">', page)
    assert len(bars) == 60
    highest = max(int(count) for _, count in bars)
    assert all(float(height) == pytest.approx(100 * int(count) / highest, abs=0.06) for height, count in bars)
    assert f"the top line is {highest} for every model" in page
