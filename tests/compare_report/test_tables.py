"""The CSV files hold the figures of results.json."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.compare.results import Results, read_results, write_results
from segcrit.apps.compare.tables import BASELINE_NAME
from segcrit.apps.compare.verdict.text import judge
from tests.compare_report.factory import Recipe, make

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("run")
    recipe = Recipe(seeds=(0, 4), diverged=("focal",), groups=8, absent=(4,))
    write_results(folder, make(recipe, folder))
    return folder, read_results(folder)


def _rows(run: tuple[Path, Results], name: str) -> Rows:
    with (run[0] / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _value(cell: str) -> float:
    return math.nan if cell == "" else float(cell)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def test_trainings_hold_every_figure(run: tuple[Path, Results]) -> None:
    rows = {(row["loss"], int(row["seed"])): row for row in _rows(run, "trainings.csv")}
    assert len(rows) == 12
    for loss in run[1].losses:
        for seed in loss.seeds:
            row = rows[loss.name, seed.seed]
            assert row["status"] == seed.status
            for key in ("miou", "foreground_iou", "image_dice", "pixel_accuracy", "frequency_weighted_iou"):
                expected = getattr(seed.figures, key) if seed.figures else math.nan
                assert _same(_value(row[key]), expected)
    assert rows["focal", 0]["miou"] == ""


def test_losses_hold_means_over_seeds(run: tuple[Path, Results]) -> None:
    rows = {row["loss"]: row for row in _rows(run, "losses.csv")}
    assert set(rows) == {loss.name for loss in run[1].losses} | {BASELINE_NAME}
    for loss in run[1].losses:
        values = [seed.figures.miou for seed in loss.seeds if seed.figures]
        assert _value(rows[loss.name]["miou"]) == pytest.approx(np.mean(values) if values else math.nan, nan_ok=True)
        assert int(rows[loss.name]["seeds_tested"]) == len(values)
    baseline = run[1].baseline
    assert baseline is not None
    assert _value(rows[BASELINE_NAME]["pixel_accuracy"]) == baseline.figures.pixel_accuracy


def test_pairs_are_those_of_the_verdict(run: tuple[Path, Results]) -> None:
    verdict = judge(run[1])
    rows = _rows(run, "pairs.csv")
    assert len(rows) == len(verdict.pairs) == 10
    for row, pair in zip(rows, verdict.pairs, strict=True):
        assert (row["first"], row["second"]) == (pair.first, pair.second)
        assert [_value(row[key]) for key in ("difference", "low", "high")] == [pair.difference, pair.low, pair.high]
        assert row["distinguishable"] == str(pair.distinguishable)


def test_classes_add_up_to_the_mean(run: tuple[Path, Results]) -> None:
    rows = _rows(run, "classes.csv")
    tested = {loss.name for loss in run[1].losses} - {"focal"}
    assert {row["loss"] for row in rows} == tested | {BASELINE_NAME}
    reference = {int(row["class"]): _value(row["iou"]) for row in rows if row["loss"] == "ce"}
    for row in rows:
        if row["iou_change"]:
            assert row["iou_change_from"] == "ce"
            change = _value(row["iou"]) - reference[int(row["class"])]
            assert _value(row["iou_change"]) == pytest.approx(change, abs=1e-12)
    assert sum(_value(row["test_share"]) for row in rows if row["loss"] == "ce") == pytest.approx(1)


def test_images_hold_the_counts(run: tuple[Path, Results]) -> None:
    rows = [row for row in _rows(run, "images.csv") if row["loss"] == "dice" and row["seed"] == "4"]
    counts = next(seed.counts for loss in run[1].losses if loss.name == "dice" for seed in loss.seeds if seed.seed == 4)
    assert counts is not None
    for key in ("tp", "fp", "fn"):
        table = np.zeros_like(counts.tp)
        for row in rows:
            table[counts.ids.index(row["image"]), int(row["class"])] = int(row[key])
        np.testing.assert_array_equal(table, getattr(counts, key))
    assert {row["group"] for row in rows} == set(run[1].data.groups.values())


def test_curves_hold_every_point(run: tuple[Path, Results]) -> None:
    rows = _rows(run, "curves.csv")
    seed = run[1].losses[2].seeds[1]
    mine = [row for row in rows if row["loss"] == "ce + dice" and row["seed"] == "4"]
    training = [row for row in mine if row["curve"] == "training"]
    validation = [row for row in mine if row["curve"] == "validation"]
    assert [int(row["step"]) for row in training] == list(seed.training.steps)
    assert [_value(row["training_loss"]) for row in training] == list(seed.training.loss)
    assert [_value(row["miou"]) for row in validation] == list(seed.validation.miou)
    assert [_value(row["seconds"]) for row in validation] == list(seed.validation.seconds)
    # The last loss of the diverged training is NaN: an empty cell, not the word "nan".
    assert [row["training_loss"] for row in rows if row["loss"] == "focal" and row["curve"] == "training"][-1] == ""
