"""Tables, JSON and comparisons of evaluate and merge hold the same figures as the reports."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segcrit
from segcrit.cli import main
from tests.evaluate.making import folders, maps, save_png, slow_confusion, slow_miou


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    content = maps(9)
    _, target = folders(root, content)
    for name, (truth, guess) in content.items():
        save_png(root / "better" / f"{name}.png", np.where(truth == 255, guess, truth))
    lines = ["image,group", *(f"{name},scene {place % 3}" for place, name in enumerate(content))]
    (root / "groups.csv").write_text("\n".join(lines))
    words = [f"old={root / 'guess'}", str(root / "better"), target, "--classes", "road,car,sky"]
    words += ["--groups", str(root / "groups.csv"), "--out", str(root / "out"), "--quiet", "--no-report"]
    assert main(["evaluate", *words]) == 0
    return root


def test_json_and_csv_hold_the_same_figures(done: Path) -> None:
    content = json.loads((done / "out" / "results.json").read_text())
    assert (content["format"], content["version"], content["num_images"]) == ("segcrit evaluation", 1, 9)
    assert [model["name"] for model in content["models"]] == ["old", "better"]
    wanted = slow_confusion(maps(9))
    assert content["models"][0]["report"]["confusion"] == wanted.tolist()
    assert content["models"][0]["report"]["figures"]["miou"] == pytest.approx(slow_miou(wanted), abs=1e-15)
    assert content["models"][1]["report"]["figures"]["miou"] == 1
    for row in _read(done / "out" / "figures.csv"):
        (model,) = (model for model in content["models"] if model["name"] == row["model"])
        value = model["report"]["figures"][row["figure"]]
        assert (float(row["value"]) if row["value"] else None) == value
        if row["low"]:
            assert float(row["low"]) == model["intervals"][row["figure"]]["low"]
    classes = _read(done / "out" / "classes.csv")
    assert [row["name"] for row in classes] == ["road", "car", "sky"] * 2
    assert [float(row["iou"]) for row in classes[:3]] == [
        row["iou"] for row in content["models"][0]["report"]["classes"]
    ]
    confusion = _read(done / "out" / "confusion.csv")
    assert [int(confusion[1][f"predicted {name}"]) for name in ("road", "car", "sky")] == wanted[1].tolist()


def test_images_table(done: Path) -> None:
    rows = _read(done / "out" / "images.csv")
    assert len(rows) == 18
    for row in rows[:9]:
        matrix = slow_confusion({"one": maps(9)[row["image"]]})
        assert float(row["image_miou"]) == pytest.approx(slow_miou(matrix), abs=1e-15)
        assert int(row["pixels"]) == matrix.sum()
        assert row["group"].startswith("scene ")


def test_comparison_and_groups(done: Path) -> None:
    content = json.loads((done / "out" / "results.json").read_text())
    (pair,) = content["comparisons"]["miou"]
    assert (pair["a"], pair["b"], pair["value_b"], pair["units"]) == ("old", "better", 1, 3)
    assert pair["difference"] == pair["value_a"] - 1 < 0
    assert {row["figure"] for row in _read(done / "out" / "comparison.csv")} == set(content["comparisons"])
    assert list(content["groups"]) == ["scene 0", "scene 1", "scene 2"]
    own = {name: maps for place, (name, maps) in enumerate(maps(9).items()) if place % 3 == 1}
    wanted = slow_miou(slow_confusion(own))
    assert content["groups"]["scene 1"]["old"]["figures"]["miou"] == pytest.approx(wanted, abs=1e-15)


def test_the_reports_are_those_of_the_evaluator(done: Path) -> None:
    from segcrit.evaluating import read_tally
    from segcrit.evaluating.results import Outcome

    evaluator = segcrit.Evaluator(3, ignore_index=255, class_names=["road", "car", "sky"])
    for name, (truth, guess) in maps(9).items():
        evaluator.update(guess[None], truth[None], ids=[name])
    tally = read_tally(done / "out" / "counts.npz")
    assert Outcome(tally).reports["old"].to_dict(per_image=True) == evaluator.compute().to_dict(per_image=True)


def test_merge_writes_what_evaluate_writes(done: Path, tmp_path: Path, capsys: Any) -> None:
    words = [f"old={done / 'guess'}", str(done / "better"), str(done / "truth"), "--classes", "road,car,sky"]
    words += ["--groups", str(done / "groups.csv"), "--quiet", "--out", str(tmp_path)]
    for part in (2, 1):
        assert main(["evaluate", *words, "--shard", f"{part}/2"]) == 0
    assert main(["merge", str(tmp_path), "--out", str(tmp_path / "all"), "--no-report"]) == 0
    for name in ("figures.csv", "classes.csv", "confusion.csv", "images.csv", "comparison.csv", "groups.csv"):
        assert (tmp_path / "all" / name).read_bytes() == (done / "out" / name).read_bytes(), name


def test_the_change_is_that_from_the_first_to_the_second(done: Path, tmp_path: Path, capsys: Any) -> None:
    words = [f"old={done / 'guess'}", str(done / "better"), str(done / "truth"), "--classes", "3"]
    assert main(["evaluate", *words, "--out", str(tmp_path), "--no-report"]) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["miou"]]
    old, new, change = (float(word) for word in row[1:4])
    assert change == pytest.approx(new - old, abs=1.5e-4)
    assert change > 0


def test_the_table_shows_figures_and_policy(done: Path, tmp_path: Path, capsys: Any) -> None:
    words = [str(done / "guess"), str(done / "truth"), "--classes", "3", "--policy", "mmsegmentation"]
    assert main(["evaluate", *words, "--out", str(tmp_path), "--no-report"]) == 0
    shown = capsys.readouterr().out
    assert "mIoU as mmsegmentation reports it" in shown
    assert "Evaluation of guess: 9 images, 3 classes" in shown
    assert str(tmp_path / "results.json") in shown
