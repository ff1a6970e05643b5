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
from segcrit.core.errors import DataError, UnknownParameterError
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
    assert (pair["first"], pair["second"], pair["value_second"], pair["units"]) == ("old", "better", 1, 3)
    assert pair["difference"] == 1 - pair["value_first"] > 0
    assert pair["low"] <= pair["difference"] <= pair["high"]
    rows = _read(done / "out" / "comparison.csv")
    assert {row["figure"] for row in rows} == set(content["comparisons"])
    for row in rows:
        (wanted,) = content["comparisons"][row["figure"]]
        assert {name: row[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}
    assert list(content["groups"]) == ["scene 0", "scene 1", "scene 2"]
    own = {name: maps for place, (name, maps) in enumerate(maps(9).items()) if place % 3 == 1}
    wanted = slow_miou(slow_confusion(own))
    assert content["groups"]["scene 1"]["old"]["figures"]["miou"] == pytest.approx(wanted, abs=1e-15)


def test_boundaries_of_each_image_and_class(tmp_path: Path) -> None:
    """Squares that were shifted: distances worked out by hand, beside the mean over the classes of the image."""
    for name, shift in (("a", 2), ("b", 5)):
        truth, guess = np.zeros((2, 40, 40), np.uint8)
        truth[10:20, 10:20] = guess[10:20, 10 + shift : 20 + shift] = 1
        save_png(tmp_path / "truth" / f"{name}.png", truth)
        save_png(tmp_path / "guess" / f"{name}.png", guess)
    words = [str(tmp_path / "guess"), str(tmp_path / "truth"), "--classes", "back,square", "--measures"]
    words += ["boundary(tolerance=1)", "objects(edges=(200,))"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out"), "--no-report", "--quiet"]) == 0
    rows = _read(tmp_path / "out" / "images.csv")
    assert [float(row["hausdorff[square]"]) for row in rows] == [2, 5]
    for row in rows:
        for name in ("hausdorff", "hd95", "hd95_pooled", "assd", "masd", "nsd", "boundary_iou", "boundary_f1"):
            own = [float(row[f"{name}[{label}]"]) for label in ("back", "square")]
            assert float(row[name]) == pytest.approx(sum(own) / 2, abs=1e-12)
    classes = _read(tmp_path / "out" / "boundary.csv")
    assert [(row["model"], row["name"]) for row in classes] == [("guess", "back"), ("guess", "square")]
    assert float(classes[1]["hausdorff"]) == 3.5
    content = json.loads((tmp_path / "out" / "results.json").read_text())["models"][0]["report"]["measures"]
    objects = _read(tmp_path / "out" / "objects.csv")
    assert [(row["name"], row["size"], int(row["tp"])) for row in objects] == [
        ("back", "of 200 pixels and more", 2 * 1500 - 20 - 50),
        ("square", "below 200 pixels", 200 - 20 - 50),
    ]
    _same(objects, content["objects"]["rows"])


def test_curves_and_reliability_are_tables(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in "ab":
        save_png(tmp_path / "truth" / f"{name}.png", random.integers(0, 2, (9, 9)).astype(np.uint8))
        (tmp_path / "guess").mkdir(exist_ok=True)
        np.save(tmp_path / "guess" / f"{name}.npy", random.normal(size=(1, 9, 9)).astype(np.float32))
    words = [str(tmp_path / "guess"), str(tmp_path / "truth"), "--task", "binary", "--classes", "2", "--measures"]
    words += ["curves", "calibration(bins=4)", "--out", str(tmp_path / "out"), "--no-report", "--quiet"]
    assert main(["evaluate", *words]) == 0
    content = json.loads((tmp_path / "out" / "results.json").read_text())["models"][0]["report"]["measures"]
    bins = _read(tmp_path / "out" / "calibration.csv")
    assert sum(int(row["count"]) for row in bins) == 2 * 81
    _same(bins, content["calibration"]["rows"])
    curves = _read(tmp_path / "out" / "curves.csv")
    found = content["curves"]
    assert [float(row["threshold"]) for row in curves if row["index"] == curves[0]["index"]] == found["thresholds"]
    for name in ("iou", "dice", "precision", "recall"):
        wanted = [value for own in found[name] for value in own if any(entry is not None for entry in own)]
        assert [float(row[name]) if row[name] else None for row in curves] == wanted


def _same(rows: list[dict[str, str]], wanted: list[dict[str, Any]]) -> None:
    assert len(rows) == len(wanted) > 0
    for row, own in zip(rows, wanted, strict=True):
        assert {name: row[name] for name in own} == {name: "" if v is None else str(v) for name, v in own.items()}


def test_the_reports_are_those_of_the_evaluator(done: Path) -> None:
    from segcrit.apps.evaluate.counting.store import read_tally
    from segcrit.apps.evaluate.results import Outcome

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


def test_long_names_do_not_break_the_table(done: Path, tmp_path: Path, capsys: Any) -> None:
    names = ["a-model-of-last-week-with-seed-0", "a-model-of-today-with-seed-0"]
    words = [f"{names[0]}={done / 'guess'}", f"{names[1]}={done / 'better'}", str(done / "truth"), "--classes", "3"]
    assert main(["evaluate", *words, "--out", str(tmp_path), "--no-report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [f"({place}) {name}" in lines for place, name in enumerate(names, 1)] == [True, True]
    assert any(line.split()[:1] == ["frequency_weighted_iou"] for line in lines)


def test_no_difference_has_no_sign(done: Path, tmp_path: Path, capsys: Any) -> None:
    """Two models that are alike: a difference of 0 is written as 0, not as the -0 of a difference turned round."""
    (tmp_path / "twin").mkdir()
    for file in (done / "guess").iterdir():
        (tmp_path / "twin" / file.name).write_bytes(file.read_bytes())
    words = [str(done / "guess"), str(tmp_path / "twin"), str(done / "truth"), "--classes", "3"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == 0
    assert "-0.0000" not in capsys.readouterr().out
    assert {row["difference"] for row in _read(tmp_path / "out" / "comparison.csv")} == {"0.0"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">-0.000<" not in page
    assert "−0.000" not in page


def test_tables_of_an_earlier_run_do_not_stay(done: Path, tmp_path: Path) -> None:
    words = [f"old={done / 'guess'}", str(done / "better"), str(done / "truth"), "--classes", "3", "--group-by", "(.)$"]
    words += ["--measures", "boundary", "objects", "--out", str(tmp_path), "--quiet", "--no-report"]
    assert main(["evaluate", *words]) == 0
    optional = ["boundary.csv", "comparison.csv", "groups.csv", "objects.csv"]
    assert all((tmp_path / name).is_file() for name in optional)
    (tmp_path / "curves.csv").write_text("epoch,loss\n1,0.5\n")  # no table of ours
    assert main(["evaluate", str(done / "guess"), *words[2:5], *words[-4:], "--overwrite"]) == 0
    left = sorted(path.name for path in tmp_path.glob("*.csv"))
    assert left == ["classes.csv", "confusion.csv", "curves.csv", "figures.csv", "images.csv"]


def test_the_terminal_says_how_boundaries_were_measured(done: Path, tmp_path: Path, capsys: Any) -> None:
    words = [
        str(done / "guess"),
        str(done / "truth"),
        "--classes",
        "3",
        "--measures",
        "boundary(spacing=0.5, tolerance=1)",
    ]
    assert main(["evaluate", *words, "--out", str(tmp_path), "--quiet", "--no-report"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Boundary: spacing 0.5 × 0.5, as the option spacing of boundary says, for all images; tolerance 1" in text
    assert main(["evaluate", *words[:-2], "--out", str(tmp_path), "--overwrite", "--quiet", "--no-report"]) == 0
    assert "Boundary:" not in capsys.readouterr().out


def test_python_gives_what_the_command_writes(tmp_path: Path) -> None:
    content = maps(7)
    predictions, target = folders(tmp_path, content)
    (tmp_path / "groups.csv").write_text("".join(f"{name},{index % 3}\n" for index, name in enumerate(content)))
    words = ["--classes", "sky,car,road", "--groups", str(tmp_path / "groups.csv"), "--title", "T", "--no-report"]
    assert main(["evaluate", predictions, target, *words, "--out", str(tmp_path / "command"), "--quiet"]) == 0
    options = {"classes": ["sky", "car", "road"], "groups": tmp_path / "groups.csv", "title": "T", "progress": False}
    ours = segcrit.evaluate(predictions, target, out=tmp_path / "python", report=False, **options)
    for name in ("figures.csv", "classes.csv", "images.csv", "groups.csv", "results.json"):
        one, other = ((tmp_path / folder / name).read_text() for folder in ("command", "python"))
        assert one == other, name
    unwritten = segcrit.evaluate({"guess": predictions}, target, **options)
    written = ours.to_dict(per_image=True)
    assert unwritten.to_dict(per_image=True) == written
    for place in ("command", "python", "python/results.json"):
        assert segcrit.load(tmp_path / place).to_dict(per_image=True) == written
    results = json.loads((tmp_path / "python" / "results.json").read_text())
    assert segcrit.Report.from_dict(results).to_dict(per_image=True) == ours.first.to_dict(per_image=True)
    (tmp_path / "report.json").write_text(json.dumps(ours.first.to_dict(per_image=True)))
    assert segcrit.load(tmp_path / "report.json").miou == ours.first.miou


def test_options_and_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownParameterError, match="ignore_index"):
        segcrit.evaluate("a", "b", ignore_idx=3)
    for name in ("empty", "nowhere"):
        with pytest.raises(DataError):
            segcrit.load(tmp_path / name)
        (tmp_path / "empty").mkdir(exist_ok=True)


def test_the_table_of_images_holds_counts_and_volumes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    random = np.random.default_rng(0)
    maps_of = {}
    for name, spacing in (("a", (0.5, 1.0, 2.0)), ("b", (1.0, 1.0, 1.0))):
        pair = [random.integers(0, 3, (5, 6, 4)).astype(np.uint8) for _ in range(2)]
        maps_of[name] = (*pair, float(np.prod(spacing)))
        for folder, array in zip(("truth", "guess"), pair, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            image = nibabel.Nifti1Image(array, np.diag([*spacing, 1.0]))
            image.to_filename(tmp_path / folder / f"{name}.nii.gz")
    segcrit.evaluate(
        tmp_path / "guess", tmp_path / "truth", classes=3, out=tmp_path / "o", report=False, progress=False
    )
    with (tmp_path / "o" / "images.csv").open() as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    for name, (truth, guess, voxel) in maps_of.items():
        row = {key: value for key, value in rows[name].items() if "[" in key}
        for index in range(3):
            label = f"[class {index}]" if f"iou[class {index}]" in row else f"[{index}]"
            tp = int(((truth == index) & (guess == index)).sum())
            fp, fn = int((guess == index).sum()) - tp, int((truth == index).sum()) - tp
            assert [int(row[f"{kind}{label}"]) for kind in ("tp", "fp", "fn")] == [tp, fp, fn]
            assert float(row[f"iou{label}"]) == pytest.approx(tp / (tp + fp + fn), abs=1e-15)
            assert float(row[f"dice{label}"]) == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-15)
            assert float(row[f"true_volume{label}"]) == pytest.approx((tp + fn) * voxel)
            assert float(row[f"predicted_volume{label}"]) == pytest.approx((tp + fp) * voxel)
