"""What the values of label maps and predictions mean: two codings, undeclared values, merged ones, probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcrit import cli
from segcrit.apps.evaluate.counting.run import AuditError, Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from tests.data.making import blocks, write_png
from tests.evaluate.making import Array, folders, maps, save_png, slow_confusion

LEVELS = np.array([0, 128, 255], np.uint8)


def _binary(number: int = 6) -> dict[str, tuple[Array, Array]]:
    return {name: (truth % 2, guess % 2) for name, (truth, guess) in maps(number, classes=2).items()}


def _codes(root: Path, **options: object) -> dict[str, str]:
    """Code -> severity of what is told; figures only where there is no error."""
    job = Job((str(root / "guess"),), str(root / "truth"), Options(**{"classes": "2", **options}))  # type: ignore[arg-type]
    try:
        _, problems = count_files(job, root / "out", progress=False, workers=1, overwrite=True)
    except AuditError as error:
        problems = list(error.problems)
    return {problem.code: problem.severity for problem in problems}


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("policy", ["segcrit", "cityscapes"])
@pytest.mark.parametrize("role", ["truth", "guess"])
def test_two_codings_in_one_folder(tmp_path: Path, role: str, policy: str, colour: bool) -> None:
    content = _binary()
    folders(tmp_path, content)
    for index, name in enumerate(sorted(content)):
        labels = content[name][role == "guess"] * np.uint8(255 if index % 2 else 1)
        save_png(tmp_path / role / f"{name}.png", np.stack([labels] * 3, axis=-1) if colour else labels)
    found = _codes(tmp_path, policy=policy)
    # Under this policy a predicted 255 is unknown at once; elsewhere only both codings together tell.
    code = "prediction-unknown-labels" if (role, policy) == ("guess", "segcrit") else "mixed-coding"
    assert found[code] == "error"
    rules = {"map" if role == "truth" else "map_predictions": "0:0,1:1,255:1"}
    assert "error" not in _codes(tmp_path, policy=policy, **rules).values()


def test_ignored_values_that_nobody_declared_are_no_note(tmp_path: Path) -> None:
    folders(tmp_path, maps(3))
    assert _codes(tmp_path, classes="3")["ignored-undeclared"] == "warning"
    assert _codes(tmp_path, classes=None)["ignored-undeclared"] == "warning"
    assert "ignored-undeclared" not in _codes(tmp_path, classes="3", ignore_index=255)
    assert "ignored-undeclared" not in _codes(tmp_path, classes="3", map="0:0,1:1,2:2,255:ignore")


def test_pixels_that_take_the_nearest_class_are_told(tmp_path: Path) -> None:
    content = {name: (LEVELS[np.minimum(truth, 2)], guess // 2) for name, (truth, guess) in maps(3).items()}
    folders(tmp_path, content)
    listed = [{"index": 0, "name": "a", "value": 0}, {"index": 1, "name": "b", "value": 255}]
    table = tmp_path / "classes.json"
    table.write_text(json.dumps({"classes": listed, "unknown": "nearest"}))
    assert _codes(tmp_path, classes=str(table), map_predictions="index")["values-moved"] == "warning"
    (first, *_) = content.values()
    for name in content:
        truth = np.where(first[0] == 128, 255, first[0]).astype(np.uint8)
        truth[0, 0] = 3
        save_png(tmp_path / "truth" / f"{name}.png", truth)
    assert _codes(tmp_path, classes=str(table), map_predictions="index")["values-moved"] == "note"


def test_jpeg_masks_of_two_classes_are_told(tmp_path: Path) -> None:
    content = {name: (np.kron(truth, np.ones((8, 8), np.uint8)), guess) for name, (truth, guess) in _binary(3).items()}
    folders(
        tmp_path, {name: (truth, np.kron(guess, np.ones((8, 8), np.uint8))) for name, (truth, guess) in content.items()}
    )
    for name, (truth, _) in content.items():
        (tmp_path / "truth" / f"{name}.png").unlink()
        Image.fromarray(truth * np.uint8(255)).save(tmp_path / "truth" / f"{name}.jpg")
    assert _codes(tmp_path, classes=None, map_predictions="index")["jpeg-masks"] == "warning"
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options(map_predictions="index"))
    report = Outcome(count_files(job, tmp_path / "again", progress=False, workers=1)[0]).first
    np.testing.assert_array_equal(report.confusion, 64 * slow_confusion(_binary(3), 2))


def test_grey_probabilities_beside_0_and_255(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = _binary(3)
    folders(tmp_path, {name: (truth * 255, guess * 200 + 20) for name, (truth, guess) in content.items()})
    words = [
        "evaluate",
        str(tmp_path / "guess"),
        str(tmp_path / "truth"),
        "--out",
        str(tmp_path / "out"),
        "--no-report",
    ]
    assert cli.main(words) == 2
    advice = capsys.readouterr().err
    assert advice.index("--values probabilities --task binary") < advice.index("--map-predictions")
    assert cli.main([*words, "--values", "probabilities", "--task", "binary"]) == 0
    job = Job((words[1],), words[2], Options(task="binary", values="probabilities"))
    report = Outcome(count_files(job, tmp_path / "again", progress=False, workers=1)[0]).first
    np.testing.assert_array_equal(report.confusion, slow_confusion(content, 2))


def test_a_text_file_of_class_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders(tmp_path, maps(2))
    (tmp_path / "names.txt").write_text("sky\nsea\nland\n")
    words = [
        "evaluate",
        str(tmp_path / "guess"),
        str(tmp_path / "truth"),
        "--out",
        str(tmp_path / "out"),
        "--no-report",
    ]
    assert cli.main([*words, "--classes", str(tmp_path / "names.txt")]) == 0
    report = json.loads((tmp_path / "out" / "results.json").read_text())["models"][0]["report"]
    assert [entry["name"] for entry in report["classes"]] == ["sky", "sea", "land"]
    assert cli.main([*words, "--classes", "no-such-names.txt", "--overwrite"]) == 2
    assert "no-such-names.txt" in capsys.readouterr().err


@pytest.mark.parametrize("odd", ["all", "half", "none"])
def test_multilabel_maps_of_255(tmp_path: Path, odd: str) -> None:
    for index in range(4):
        truth = np.random.default_rng(index).integers(0, 2, (2, 8, 9)).astype(np.uint8)
        bright = odd == "all" or (odd == "half" and index % 2 == 1)
        for folder, array in (("truth", truth * np.uint8(255 if bright else 1)), ("guess", truth)):
            (tmp_path / folder).mkdir(exist_ok=True)
            np.save(tmp_path / folder / f"{index}.npy", array)
    found = _codes(tmp_path, task="multilabel")
    code = {"all": "masks-0-255", "half": "mixed-coding", "none": ""}[odd]
    assert [name for name, severity in found.items() if severity == "error"] == ([code] if code else [])


def test_grey_probabilities_as_colour_and_labels_among_them(tmp_path: Path) -> None:
    content = _binary(4)
    folders(tmp_path, content)
    for name, (_, guess) in content.items():
        save_png(tmp_path / "guess" / f"{name}.png", np.stack([guess * np.uint8(200) + 20] * 3, axis=-1))
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("2", "binary", values="probabilities"))
    report = Outcome(count_files(job, tmp_path / "colour", progress=False, workers=1)[0]).first
    np.testing.assert_array_equal(report.confusion, slow_confusion(content, 2))
    for index, (name, (_, guess)) in enumerate(content.items()):
        save_png(tmp_path / "guess" / f"{name}.png", guess * np.uint8(200 if index else 1))
    assert _codes(tmp_path, task="binary", values="probabilities")["prediction-labels"] == "warning"
    folders(tmp_path, content)  # all of them are labels
    assert _codes(tmp_path, task="binary", values="probabilities")["prediction-labels"] == "warning"


def test_palettes_that_number_one_colour_differently(tmp_path: Path) -> None:
    truth = blocks([0, 1, 2])
    other = np.array([2, 0, 1], dtype=np.uint8)[truth]
    for index in range(4):
        write_png(tmp_path / "truth" / f"{index}.png", truth)
        palette = [255, 0, 0, 0, 255, 0, 0, 0, 0] if index % 2 else [0, 0, 0, 255, 0, 0, 0, 255, 0]
        write_png(tmp_path / "guess" / f"{index}.png", other if index % 2 else truth, palette=palette)
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("3"))
    problems = count_files(job, tmp_path / "out", progress=False)[1]
    assert "palettes-differ" in [problem.code for problem in problems]
