"""Mistakes in options and folders: told together, and with an advice that works when it is followed."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segcrit.apps.evaluate.counting import run
from segcrit.apps.evaluate.counting.run import AuditError, Job, count_files, merge_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.core.errors import DataError, ParameterError
from tests.evaluate.making import Array, folders, maps, save_png, slow_confusion, slow_miou, stopped_after


def _clean(classes: int = 3, number: int = 5) -> dict[str, tuple[Array, Array]]:
    """Without ignored pixels; class 0 is the most frequent."""
    generator = np.random.default_rng(4)
    found = {}
    for index in range(number):
        truth = np.maximum(generator.integers(-2, classes, (12, 17)), 0).astype(np.uint8)
        guess = np.where(generator.random(truth.shape) < 0.3, generator.integers(0, classes, truth.shape), truth)
        found[f"image{index}"] = truth, guess.astype(np.uint8)
    return found


def _evaluate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["evaluate", *words, "--quiet", "--no-report"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, " ".join((shown.out + shown.err).split())


def _followed(text: str) -> list[str]:
    """The options that an advice names."""
    found = re.search(r"[Pp]ass ((?:--[\w-]+(?: '[^']*'| [\w.,/-]*[\w,/-])? ?)+)", text)
    assert found, text
    return shlex.split(found[1])


def _miou(folder: Path) -> float:
    (model,) = json.loads((folder / "results.json").read_text())["models"]
    return float(model["report"]["figures"]["miou"])


@pytest.mark.parametrize("classes", [3, 4, 12])
def test_predictions_that_count_from_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int) -> None:
    content = _clean(classes)
    for place, (truth, guess) in content.items():
        content[place] = truth, np.where(guess == classes - 1, 0, guess).astype(np.uint8)  # no value is out of range
    shifted = {name: (truth, guess + 1) for name, (truth, guess) in content.items()}
    words = [*folders(tmp_path, shifted), "--classes", str(classes), "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 0
    assert "seem to count classes from 1" in text
    code, text = _evaluate(capsys, *words, *_followed(text), "--overwrite")
    assert code == 0
    assert "seem" not in text
    assert _miou(tmp_path / "out") == pytest.approx(slow_miou(slow_confusion(content, classes)), abs=1e-12)


def test_predictions_that_count_from_1_beside_reduced_label_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = _clean()
    both = {
        name: (truth + 1, np.where(guess == 2, 1, guess + 1).astype(np.uint8))
        for name, (truth, guess) in content.items()
    }
    words = [*folders(tmp_path, both), "--classes", "3", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words, "--reduce-zero-label")
    assert code == 0
    assert _followed(text) == ["--reduce-zero-label", "both"]
    code, text = _evaluate(capsys, *words, *_followed(text), "--overwrite")
    assert code == 0
    assert "seem" not in text


def test_two_classes_that_are_exchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = _clean(2)
    exchanged = {name: (truth, 1 - guess) for name, (truth, guess) in content.items()}
    words = [*folders(tmp_path, exchanged), "--classes", "2", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 0
    assert "seem to have the two classes exchanged" in text
    assert _evaluate(capsys, *words, *_followed(text), "--overwrite")[0] == 0
    assert _miou(tmp_path / "out") == pytest.approx(slow_miou(slow_confusion(content, 2)), abs=1e-12)


@pytest.mark.parametrize("value", [None, 0, 1, 2])
def test_good_and_constant_predictions_are_not_suspected(tmp_path: Path, value: int | None) -> None:
    content = {
        name: (truth, guess if value is None else np.full_like(guess, value))
        for name, (truth, guess) in _clean().items()
    }
    _, problems = count_files(_job(tmp_path, content), tmp_path / "out", workers=1)
    assert "numbered-otherwise" not in [problem.code for problem in problems]


def _job(root: Path, content: dict[str, tuple[Array, Array]], options: Options | None = None) -> Job:
    predictions, target = folders(root, content)
    return Job((predictions,), target, options or Options("3"))


@pytest.mark.parametrize("change", ["spacing", "flip", "stretch", "shift", "none"])
def test_volumes_that_lie_elsewhere(tmp_path: Path, change: str) -> None:
    generator = np.random.default_rng(3)
    content = {f"case{index}": generator.integers(0, 3, (6, 7, 5)).astype(np.uint8) for index in range(3)}
    other = {
        "spacing": np.diag([1.0, 1.0, 3.0, 1.0]),
        "flip": np.diag([-1.0, 1.0, 1.0, 1.0]),
        "stretch": np.diag([1.0, 1.04, 1.0, 1.0]),  # a quarter of a voxel at the last one
        "shift": np.array([[1, 0, 0, 0.2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "none": np.eye(4) + 1e-4,
    }
    # Far from the origin, where a relative tolerance would be that of many voxels.
    origin = np.zeros((4, 4))
    origin[:3, 3] = -900
    for folder, affine in (("truth", np.eye(4) + origin), ("guess", other[change] + origin)):
        (tmp_path / folder).mkdir()
        for name, labels in content.items():
            nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / folder / f"{name}.nii.gz")
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("3"))
    tally, problems = count_files(job, tmp_path / "out", workers=1)
    assert len(tally.ids) == 3
    found = [problem for problem in problems if problem.code == "affine-differs"]
    assert len(found) == (change != "none")
    for part in (1, 2):
        count_files(Job(job.predictions, job.target, job.options, (part, 2)), tmp_path / "shards", workers=1)
    assert merge_files([tmp_path / "shards"])[1] == problems
    for problem in found:
        assert problem.severity == "warning"
        assert problem.files == tuple(f"case{index}.nii.gz" for index in range(3))
        assert ("1×1×3 beside voxels of 1×1×1" in problem.message) == (change == "spacing")


def test_a_map_of_predictions_that_ignores_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = _clean()
    marked = {
        name: (truth, np.where(guess == 2, 255, guess).astype(np.uint8)) for name, (truth, guess) in content.items()
    }
    words = [*folders(tmp_path, marked), "--classes", "3", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "*:ignore" not in text  # not an advice that is refused when it is followed
    assert "--policy cityscapes counts pixels of the ignore label 255 as missed" in text
    code, text = _evaluate(capsys, *words, "--map-predictions", "0:0,1:1,255:ignore")
    assert code == 2
    assert "--ignore-index" not in text
    assert "Map them to a class, or pass --policy cityscapes" in text
    code, _ = _evaluate(capsys, *words, "--map-predictions", "0:0,1:1,255:ignore", "--policy", "cityscapes")
    assert code == 0
    matrix = slow_confusion(content)
    matrix[:, 2] = 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())["models"][0]["report"]["classes"]
    missed = slow_confusion(content)[:, 2]
    for label, entry in enumerate(found):
        union = matrix[label].sum() + missed[label] + matrix[:, label].sum() - matrix[label, label]
        assert entry["iou"] == pytest.approx(matrix[label, label] / union, abs=1e-12)


@pytest.mark.parametrize("with_classes", [True, False])
def test_grey_levels_of_three_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str], with_classes: bool) -> None:
    content = _clean()
    levels = np.array([0, 128, 255], np.uint8)
    words = [*folders(tmp_path, {name: (levels[truth], guess) for name, (truth, guess) in content.items()})]
    words += ["--out", str(tmp_path / "out"), *(["--classes", "3"] if with_classes else [])]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    options = _followed(text)
    assert options[-1] == "0:0,128:1,255:2"
    assert _evaluate(capsys, *words, *options)[0] == 0
    assert _miou(tmp_path / "out") == pytest.approx(slow_miou(slow_confusion(content)), abs=1e-12)


def test_grey_probabilities_of_the_foreground(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(8)
    content = {}
    for name, (truth, _) in _clean(2).items():
        content[name] = truth, np.clip(150 * truth + generator.integers(0, 100, truth.shape), 0, 255).astype(np.uint8)
    words = [*folders(tmp_path, content), "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "--values probabilities --task binary" in text
    code, text = _evaluate(capsys, *words, "--values", "probabilities")
    assert code == 2
    assert _followed(text) == ["--task", "binary"]
    assert _evaluate(capsys, *words, "--values", "probabilities", "--task", "binary")[0] == 0


def test_logits_of_another_number_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = _clean()
    _, target = folders(tmp_path, content)
    (tmp_path / "logits").mkdir()
    for name in content:
        np.save(
            tmp_path / "logits" / f"{name}.npy", np.random.default_rng(0).normal(size=(11, 12, 17)).astype(np.float32)
        )
    code, text = _evaluate(capsys, str(tmp_path / "logits"), target, "--classes", "12", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "Logits of 11 classes? Correct --classes" in text


def test_a_binary_task_beside_a_table_of_three_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*folders(tmp_path, _clean(2)), "--task", "binary", "--out", str(tmp_path / "out")]
    table = tmp_path / "classes.json"
    table.write_text(json.dumps({"classes": ["ground", "water", "wood"]}))
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert f"3, from {table}" in text
    assert _followed(text) == ["--classes", "2"]
    assert _evaluate(capsys, *words, *_followed(text), "--overwrite")[0] == 0


def test_predictions_and_label_maps_exchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions, target = folders(tmp_path / "data", _clean())
    Path(predictions).rename(tmp_path / "guess")
    predictions = str(tmp_path / "guess")
    (tmp_path / "data" / "classes.json").write_text(json.dumps({"classes": ["ground", "water", "wood"]}))
    code, text = _evaluate(capsys, target, predictions, "--out", str(tmp_path / "out"))
    assert code == 2
    assert "If PRED and TARGET are exchanged, exchange them" in text
    assert _evaluate(capsys, predictions, target, "--out", str(tmp_path / "out"))[0] == 0
    assert (
        _evaluate(capsys, target, predictions, "--out", str(tmp_path / "out"), *_followed(text), "--overwrite")[0] == 0
    )


def test_everything_is_told_at_once_and_forgotten_when_it_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = maps(8)
    words = [*folders(tmp_path, content), "--out", str(tmp_path / "out")]
    truth, guess = tmp_path / "truth", tmp_path / "guess"
    for path in (truth / "image00.png", guess / "image01.png"):
        path.write_bytes(path.read_bytes()[:70])
    save_png(guess / "image02.png", content["image02"][1][:-1])
    save_png(guess / "image03.png", np.full((12, 17), 9, np.uint8))
    (guess / "image04.png").unlink()
    code, text = _evaluate(capsys, *words)
    assert code == 2
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert {(entry["code"], entry["id"]) for entry in found["files"]} == {
        ("unreadable", "image00"),
        ("unreadable", "image01"),
        ("sizes-differ", "image02"),
        ("unknown-labels", "image03"),
        ("no-prediction", "image04"),
    }
    for name in ("image00", "image01", "image02", "image03", "image04"):
        assert name in text
    folders(tmp_path, content)
    assert _evaluate(capsys, *words)[0] == 0
    assert not (tmp_path / "out" / "audit.json").exists()


def test_one_folder_by_two_names_is_given_twice(tmp_path: Path) -> None:
    job = _job(tmp_path, maps(2))
    (tmp_path / "link").symlink_to(tmp_path / "guess")
    with pytest.raises(ParameterError, match="twice"):
        count_files(Job((*job.predictions, str(tmp_path / "link")), job.target, job.options), tmp_path / "out")


def test_photographs_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*folders(tmp_path, maps(2)), "--classes", "3", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words, "--images", str(tmp_path / "nowhere"))
    assert code == 2
    assert "nowhere, which does not exist" in text
    assert not (tmp_path / "out").exists()


def test_resume_of_what_is_finished_shows_it_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*folders(tmp_path, maps(3)), "--classes", "3", "--out", str(tmp_path / "out")]
    code, first = _evaluate(capsys, *words)
    assert code == 0
    counts = (tmp_path / "out" / "counts.npz").stat().st_mtime_ns
    assert _evaluate(capsys, "--resume", "--out", str(tmp_path / "out")) == (0, first)
    assert (tmp_path / "out" / "counts.npz").stat().st_mtime_ns == counts


def test_resume_with_other_files_keeps_what_is_finished(tmp_path: Path) -> None:
    job = _job(tmp_path / "a", maps(3))
    count_files(job, tmp_path / "out", workers=1)
    before = (tmp_path / "out" / "counts.npz").read_bytes()
    with pytest.raises(ParameterError, match="pass another --out"):
        count_files(_job(tmp_path / "b", maps(4, seed=1)), tmp_path / "out", resume=True, workers=1)
    assert (tmp_path / "out" / "counts.npz").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": "a"}', '{"digest": "a", "job": {"shard": 3}}'])
def test_a_damaged_job_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / ".counts").mkdir(parents=True)
    (tmp_path / "out" / ".counts" / "job.json").write_text(content)
    code, text = _evaluate(capsys, "--resume", "--out", "out")
    assert code == 2
    assert "Remove the folder out/.counts to begin anew" in text


def test_different_measures_of_one_image_do_not_merge(tmp_path: Path) -> None:
    """Label maps of the same counts and other edges: the order of the pixels differs."""
    generator = np.random.default_rng(2)
    truth, guess = (generator.integers(0, 2, (12, 12)).astype(np.uint8) for _ in range(2))
    options = Options("2", measures=("boundary",))
    order = generator.permutation(truth.size)
    for name in ("a", "b"):
        count_files(_job(tmp_path / name, {"image": (truth, guess)}, options), tmp_path / name, workers=1)
        truth, guess = (labels.ravel()[order].reshape(labels.shape) for labels in (truth, guess))
    with pytest.raises(DataError, match="different ones of 1 image"):
        merge_files([tmp_path / "a", tmp_path / "b"])
    tally, _ = merge_files([tmp_path / "a", tmp_path / "a" / "counts.npz"])
    assert Outcome(tally).first.num_images == 1


def test_large_sets_are_judged_by_names_and_headers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_QUICK", 3)
    content = maps(5)
    job = _job(tmp_path, content)
    save_png(tmp_path / "guess" / "image03.png", content["image03"][1][:-1])
    with pytest.raises(AuditError) as raised:
        count_files(job, tmp_path / "out")
    assert [problem.code for problem in raised.value.problems] == ["prediction-sizes-differ", "values-unseen"]
    assert raised.value.problems[0].files == ("image03.png",)
    assert not (tmp_path / "out").exists()
    (tmp_path / "guess" / "image03.png").unlink()
    with pytest.raises(AuditError) as raised:
        count_files(job, tmp_path / "out")
    assert raised.value.files == (("no-prediction", "guess", "image03"),)


def test_accents_of_macos_are_those_of_others(tmp_path: Path) -> None:
    content = maps(3)
    names = dict(zip(content, ("Zürich", "Genève", "Bern"), strict=True))
    for name, (truth, guess) in content.items():
        save_png(tmp_path / "truth" / f"{unicodedata.normalize('NFC', names[name])}.png", truth)
        save_png(tmp_path / "guess" / f"{unicodedata.normalize('NFD', names[name])}.png", guess)
    (tmp_path / "only.txt").write_text(unicodedata.normalize("NFD", "Zürich\nBern\n"))
    options = Options("3", ignore_index=255, only=str(tmp_path / "only.txt"))
    tally, problems = count_files(
        Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), options), tmp_path / "out", workers=1
    )
    assert tally.ids == ("Bern", "Zürich")
    assert not problems


def test_a_damaged_volume_is_told_with_everything_else(tmp_path: Path) -> None:
    for folder in ("truth", "guess"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            nibabel.save(
                nibabel.Nifti1Image(np.zeros((4, 5, 3), np.uint8), np.eye(4)), tmp_path / folder / f"{name}.nii.gz"
            )
    (tmp_path / "guess" / "a.nii.gz").write_bytes(b"no volume")
    with pytest.raises(AuditError) as raised:
        count_files(Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("2")), tmp_path / "out", workers=1)
    assert raised.value.files == (("unreadable", "guess", "a"),)


@pytest.mark.parametrize("classes", [5, 32, 150])
def test_classes_from_1_are_no_grey_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int) -> None:
    """ADE20K: 150 classes from 1, and 150 is also a grey level of 150 classes."""
    generator = np.random.default_rng(3)
    content = {}
    for name in "ab":
        guess = generator.integers(0, classes, (40, 40)).astype(np.uint8)
        truth = guess + 1
        truth[0, 0] = 0
        content[name] = truth, guess
    words = [*folders(tmp_path, content), "--classes", str(classes), "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "--reduce-zero-label" in text
    assert "grey levels" not in text


def test_values_of_many_classes_are_not_taken_for_grey_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, guess = np.zeros((2, 9, 9), np.uint8)
    truth[0, :3], truth[1] = (190, 192, 200), 1
    words = [*folders(tmp_path, {"a": (truth, guess)}), "--classes", "171", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "grey levels" not in text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--classes", "2"], "--classes"),
        (["--measures", "boundary"], "--measures"),
        (["--policy", "monai", "--map", "0:1,1:0"], "--policy, --map"),
    ],
)
def test_options_beside_resume_are_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *folders(tmp_path, maps(3)), "--classes", "3", *out)[0] == 0
    code, text = _evaluate(capsys, "--resume", *out, *words)
    assert code == 2
    assert named in text


def test_groups_and_photographs_may_change_at_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *folders(tmp_path, maps(8)), "--classes", "3", *out)[0] == 0
    assert not (tmp_path / "out" / "groups.csv").exists()
    assert _evaluate(capsys, "--resume", *out, "--group-by", "image0([0-3]?)")[0] == 0
    assert (tmp_path / "out" / "groups.csv").is_file()
    code, text = _evaluate(capsys, "--resume", *out, "--images", str(tmp_path / "nowhere"))
    assert code == 2
    assert "nowhere, which does not exist" in text


@pytest.mark.parametrize("command", ["evaluate", "merge"])
def test_a_table_of_groups_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = tmp_path / "out"
    words = [*folders(tmp_path, maps(6)), "--classes", "3", "--out", str(out)]
    assert _evaluate(capsys, *words)[0] == 0
    table = "".join(f"image0{place},{place // 2}\n" for place in range(6))
    (out / "groups.csv").write_text(table)
    (tmp_path / "link").symlink_to(out)
    words = ["merge", str(out), "--out", str(out)] if command == "merge" else ["evaluate", *words, "--overwrite"]
    assert main([*words, "--groups", str(tmp_path / "link" / "groups.csv")]) == 2
    assert "Rename it" in capsys.readouterr().err
    assert (out / "groups.csv").read_text() == table


def test_what_an_earlier_merge_found_is_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert _evaluate(capsys, *folders(tmp_path, maps(3)), "--classes", "3", "--out", str(out))[0] == 0
    (out / "audit.json").write_text("{}")
    assert main(["merge", str(out), "--out", str(out), "--quiet", "--no-report"]) == 0
    assert not (out / "audit.json").exists()


def test_a_folder_with_an_evaluation_is_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [*folders(tmp_path, maps(3)), "--classes", "3", "--out", str(out)]
    assert _evaluate(capsys, *words)[0] == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    code, text = _evaluate(capsys, *words, "--policy", "cityscapes")
    assert code == 2
    assert "counts.npz" in text
    assert "--overwrite" in text
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert _evaluate(capsys, *words, "--policy", "cityscapes", "--overwrite")[0] == 0
    assert (out / "results.json").read_bytes() != before["results.json"]
    code, text = _evaluate(capsys, *words, "--overwrite", "--resume")
    assert code == 2
    assert "both" in text


def _interrupted(words: list[str]) -> None:
    """A command that Ctrl-C ends after two images."""
    with stopped_after(2):
        assert main(words) == 130


def test_what_is_being_replaced_can_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["evaluate", *folders(tmp_path, maps(5)), "--classes", "3", "--out", str(out), "--quiet", "--no-report"]
    assert main(words) == 0
    before = _miou(out)
    words += ["--policy", "cityscapes"]
    _interrupted([*words, "--overwrite"])
    assert _miou(out) == before  # until there is another
    assert main(words) == 2
    assert main(["evaluate", "--resume", "--out", str(out), "--quiet", "--no-report"]) == 0
    assert json.loads((out / "results.json").read_text())["models"][0]["report"]["policy"] == "cityscapes"
    assert not (out / ".counts").exists()


def test_what_is_there_is_shown_again_while_it_is_being_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["evaluate", *folders(tmp_path, maps(5)), "--classes", "3", "--out", str(out), "--quiet", "--no-report"]
    assert main(words) == 0
    before = _miou(out)
    _interrupted([*words, "--policy", "cityscapes", "--overwrite"])
    parts = {file.name: file.read_bytes() for file in (out / ".counts").iterdir()}
    assert main([*words, "--resume"]) == 0
    assert _miou(out) == before
    assert {file.name: file.read_bytes() for file in (out / ".counts").iterdir()} == parts


@pytest.mark.parametrize("command", ["evaluate", "merge"])
def test_the_page_of_counts_that_were_replaced_goes_with_them(tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    paths = folders(tmp_path, maps(3))
    assert main(["evaluate", *paths, "--classes", "3", "--out", str(out), "--quiet"]) == 0
    assert main(["evaluate", "--resume", "--out", str(out), "--quiet", "--no-report"]) == 0
    assert (out / "report.html").is_file()  # the same counts
    other = ["--classes", "3", "--policy", "cityscapes", "--quiet", "--no-report", "--out"]
    if command == "evaluate":
        assert main(["evaluate", *paths, "--overwrite", *other, str(out)]) == 0
    else:
        assert main(["evaluate", *paths, *other, str(tmp_path / "other")]) == 0
        assert main(["merge", str(tmp_path / "other"), "--out", str(out), "--quiet", "--no-report"]) == 0
    assert not (out / "report.html").exists()


def test_shards_that_were_read_otherwise_say_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, options = _soft(tmp_path, "binary")
    words = [*paths, *options, "--classes", "2", "--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *words, "--shard", "1/2", "--values", "probabilities")[0] == 0
    assert _evaluate(capsys, *words, "--shard", "2/2", "--values", "logits")[0] == 0
    assert main(["merge", str(tmp_path / "out"), "--out", str(tmp_path / "whole")]) == 2
    assert "the same values, got probabilities and logits" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("mistake", ["both", "options", "folder"])
def test_a_mistake_beside_overwrite_costs_no_counts(tmp_path: Path, mistake: str) -> None:
    out = tmp_path / "out"
    paths = folders(tmp_path, maps(5))
    words = ["evaluate", *paths, "--classes", "3", "--out", str(out), "--quiet", "--no-report"]
    _interrupted(words)
    before = {file.name: file.read_bytes() for file in (out / ".counts").iterdir()}
    wrong = {
        "both": ["evaluate", "--out", str(out), "--resume", "--overwrite"],
        "options": [*words, "--overwrite", "--measures", "boundary(tolerance=-1)"],
        "folder": ["evaluate", paths[0], str(tmp_path / "nowhere"), "--out", str(out), "--overwrite"],
    }
    assert main(wrong[mistake]) == 2
    assert {file.name: file.read_bytes() for file in (out / ".counts").iterdir()} == before
    assert main([*words, "--overwrite"]) == 0
    assert not (out / ".counts").exists()


def test_results_of_something_else_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("a comparison of losses")
    words = [*folders(tmp_path, maps(2)), "--classes", "3", "--out", str(out)]
    for option in ((), ("--resume",), ("--overwrite",)):
        code, text = _evaluate(capsys, *words, *option)
        assert code == 2
        assert "results.json of something else" in text
    assert (out / "results.json").read_text() == "a comparison of losses"


def test_results_whose_counts_were_removed_may_be_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*folders(tmp_path, maps(2)), "--classes", "3", "--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *words)[0] == 0
    (tmp_path / "out" / "counts.npz").unlink()
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "--overwrite" in text
    assert _evaluate(capsys, *words, "--overwrite")[0] == 0


def test_the_audit_of_files_that_failed_takes_no_folder_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = folders(tmp_path, maps(2))
    assert _evaluate(capsys, *words, "--classes", "2")[0] == 2
    assert _evaluate(capsys, *words, "--classes", "3")[0] == 0
    assert _evaluate(capsys, *words, "--classes", "3")[0] == 0
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["evaluation", "evaluation-2"]
    assert not (tmp_path / "runs" / "evaluation" / "audit.json").exists()


def test_a_merge_does_not_replace_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        content = {f"{name}{place}": pair for place, pair in enumerate(maps(2, seed=seed).values())}
        count_files(_job(tmp_path / name, content), tmp_path / name, workers=1)
    counts = [tmp_path / name / "counts.npz" for name in ("a", "b")]
    before = counts[0].read_bytes()
    words = ["merge", *map(str, counts), "--quiet", "--no-report", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 2
    assert "which is one" in capsys.readouterr().err
    assert counts[0].read_bytes() == before
    assert main([*words, str(tmp_path / "both")]) == 0


def _soft(root: Path, task: str, *, calibrated: bool = True) -> tuple[list[str], list[str]]:
    """Folders of probabilities saved as plain arrays, without a word of what they are; the truth; and options."""
    generator = np.random.default_rng(5)
    channels = {"binary": 1, "multilabel": 3, "multiclass": 4}[task]
    for place in range(4):
        logits = generator.normal(size=(channels, 11, 13)) * 2
        truth = (logits + generator.normal(size=logits.shape) > 0).astype(np.uint8)
        if task == "multiclass":
            truth = (logits + generator.normal(size=logits.shape)).argmax(axis=0).astype(np.uint8)
            shares = np.exp(logits) / np.exp(logits).sum(axis=0)
        else:
            truth = truth[0] if task == "binary" else truth
            shares = 1 / (1 + np.exp(-logits))
        for folder, values in (("truth", truth), ("guess", shares.astype(np.float16)), ("logits", logits)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            np.save(root / folder / f"image{place}.npy", values)
    options = ["--task", task, *(() if task == "binary" else ("--classes", str(channels)))]
    return [str(root / name) for name in ("guess", "truth")], [*options, *(["--measures", "calibration"] * calibrated)]


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_probabilities_that_are_not_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    paths, options = _soft(tmp_path, task)
    words = [*paths, *options, "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "predictions of 'guess' that all lie between 0 and 1" in text
    assert _followed(text) == ["--values", "probabilities"]
    assert _evaluate(capsys, *words, *_followed(text))[0] == 0
    (model,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    as_they_are = _evaluate(capsys, str(tmp_path / "logits"), paths[1], *options, "--out", str(tmp_path / "logits-out"))
    assert as_they_are[0] == 0
    (other,) = json.loads((tmp_path / "logits-out" / "results.json").read_text())["models"]
    for name in ("miou", "ece", "nll"):
        assert model["report"]["figures"][name] == pytest.approx(other["report"]["figures"][name], abs=2e-3)
    # Whoever says that they are logits is believed.
    assert _evaluate(capsys, *words, "--overwrite", "--values", "logits")[0] == 0


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
@pytest.mark.parametrize("change", ["resampled", "void", "void tile"])
def test_probabilities_with_what_resampling_and_voids_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, change: str
) -> None:
    paths, options = _soft(tmp_path, task)
    for place, file in enumerate(sorted((tmp_path / "guess").iterdir())):
        values, truth = np.load(file).astype(np.float32), np.load(tmp_path / "truth" / file.name)
        if change == "resampled":
            values[..., 0] = -1e-7
            values[-1, ..., 0] = 1
            values[..., 1] = np.minimum(values[..., 1] * np.float32(1.00005), 1.00005)
        else:
            rows = slice(None) if change == "void tile" and place == 0 else slice(0, 2)
            values[..., rows, :], truth[..., rows, :] = np.nan, 255
            np.save(tmp_path / "truth" / file.name, truth)
        np.save(file, values)
    words = [*paths, *options, "--ignore-index", "255", "--out", str(tmp_path / "out")]
    code, text = _evaluate(capsys, *words)
    assert code == 2
    assert "predictions of 'guess' that all lie between 0 and 1" in text
    assert _followed(text) == ["--values", "probabilities"]
    assert _evaluate(capsys, *words, *_followed(text))[0] == 0


@pytest.mark.parametrize("largest", [1.0005, 1.02])
def test_what_is_too_large_for_a_probability_is_a_logit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], largest: float
) -> None:
    """No advice that the next command takes back."""
    paths, options = _soft(tmp_path, "binary")
    for file in (tmp_path / "guess").iterdir():
        values = np.load(file).astype(np.float32)
        values[0, 0, 0] = largest
        np.save(file, values)
    words = [*paths, *options, "--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *words, "--values", "probabilities")[0] == 2
    assert _evaluate(capsys, *words)[0] == 0


def test_probabilities_of_classes_are_as_good_as_logits_for_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, options = _soft(tmp_path, "multiclass", calibrated=False)
    code, text = _evaluate(capsys, *paths, *options, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "0 and 1" not in text
    assert _evaluate(capsys, *paths, *options, "--values", "probabilities", "--out", str(tmp_path / "b"))[0] == 0
    assert _miou(tmp_path / "out") == _miou(tmp_path / "b")


def test_a_name_of_an_array_is_believed_before_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Probabilities under the name of logits: the option that reads other floats right does not read these."""
    paths, options = _soft(tmp_path, "binary")
    for file in (tmp_path / "guess").iterdir():
        np.savez(file.with_suffix(".npz"), scores=np.load(file))
        file.unlink()
    words = [*paths, *options, "--out", str(tmp_path / "out")]
    for option in ((), ("--values", "probabilities")):
        code, text = _evaluate(capsys, *words, *option)
        assert code == 2
        assert "all lie between 0 and 1" in text
    assert "Call the arrays probabilities" in text
    assert _evaluate(capsys, *words, "--values", "logits")[0] == 0


def test_shards_that_were_told_what_others_took_for_granted_merge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, options = _soft(tmp_path, "binary")
    words = [str(tmp_path / "logits"), paths[1], *options, "--classes", "2", "--out", str(tmp_path / "out")]
    assert _evaluate(capsys, *words, "--shard", "1/2")[0] == 0
    assert _evaluate(capsys, *words, "--shard", "2/2", "--values", "logits")[0] == 0
    assert main(["merge", str(tmp_path / "out"), "--quiet", "--no-report", "--out", str(tmp_path / "whole")]) == 0


def test_some_logits_between_0_and_1_are_no_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, options = _soft(tmp_path, "binary")
    np.save(tmp_path / "guess" / "image2.npy", np.load(tmp_path / "logits" / "image2.npy").astype(np.float16))
    code, text = _evaluate(capsys, *paths, *options, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "different ways" not in text


def test_the_threshold_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, options = _soft(tmp_path, "binary")
    words = [str(tmp_path / "logits"), str(tmp_path / "truth"), *options, "--threshold", "0.9"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "binary at a threshold of 0.9" in " ".join(capsys.readouterr().out.split())
    assert "binary, threshold 0.9 ·" in (tmp_path / "out" / "report.html").read_text()
