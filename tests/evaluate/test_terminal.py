"""What is printed: the figures that people look for, and what is known about their differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segcrit.cli import main
from tests.evaluate.making import folders, maps, save_png


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
        assert row[3] == f"{pair['difference']:+.4f}"
        assert row[-1] == f"{pair['p_value']:.4f}"
    assert "miou of all pairs over 8 images" in text


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
