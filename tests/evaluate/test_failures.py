"""Every way in which files can be wrong has a message that names the files, before any figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcrit.apps.evaluate.counting.run import AuditError, Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.cli import main
from tests.evaluate.making import Array, folders, maps, save_png

Content = dict[str, tuple[Array, Array]]


def evaluate(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Run the command; returns all that it printed."""
    assert main(["evaluate", *words, "--quiet", "--no-report"]) == code
    shown = capsys.readouterr()
    if code:
        errors = [line for line in shown.err.splitlines() if line.startswith("segcrit: error: ")]
        assert len(errors) == 1, shown.err
        assert "Traceback" not in shown.err
        assert "miou" not in shown.out
    return shown.out + shown.err


def _truth_value(value: int) -> Callable[[Path, Content], None]:
    def act(root: Path, content: Content) -> None:
        for name in list(content)[:2]:
            truth = content[name][0].copy()
            truth[0, :4] = value
            save_png(root / "truth" / f"{name}.png", truth)

    return act


def _guess_value(root: Path, content: Content) -> None:
    guess = content["image02"][1].copy()
    guess[:] = 9
    save_png(root / "guess" / "image02.png", guess)


def _other_size(root: Path, content: Content) -> None:
    save_png(root / "guess" / "image03.png", content["image03"][1][:-1])


def _damaged(root: Path, content: Content) -> None:
    path = root / "guess" / "image01.png"
    path.write_bytes(path.read_bytes()[:60])


def _jpeg(root: Path, content: Content) -> None:
    (root / "truth" / "image04.png").unlink()
    Image.fromarray(content["image04"][0]).save(root / "truth" / "image04.jpg")


def _colours(root: Path, content: Content) -> None:
    save_png(root / "guess" / "image05.png", np.random.default_rng(0).integers(0, 255, (12, 17, 3)).astype(np.uint8))


def _missing(root: Path, content: Content) -> None:
    (root / "guess" / "image06.png").unlink()


def _twice(root: Path, content: Content) -> None:
    np.save(root / "guess" / "image06.npy", content["image06"][1])


def _logits_of_other_classes(root: Path, content: Content) -> None:
    (root / "guess" / "image00.png").unlink()
    np.save(root / "guess" / "image00.npy", np.zeros((5, 12, 17), dtype=np.float32))


def _nan(root: Path, content: Content) -> None:
    (root / "guess" / "image00.png").unlink()
    np.save(root / "guess" / "image00.npy", np.full((3, 12, 17), np.nan, dtype=np.float32))


def _several_arrays(root: Path, content: Content) -> None:
    (root / "guess" / "image00.png").unlink()
    np.savez(root / "guess" / "image00.npz", a=np.zeros(3), b=np.zeros(3))


CASES = [
    (_truth_value(3), ["3 (8 pixels)", "2 label maps", "image00.png, image01.png", "--ignore-index 3"]),
    (_truth_value(77), ["77 (8 pixels)", "--map '77:CLASS"]),
    (_guess_value, ["predicted labels 0 to 2", "9 (", "image02.png"]),
    (_other_size, ["12×17", "11×17", "image03.png"]),
    (_damaged, ["image01.png", "damaged or cut off"]),
    (_jpeg, ["JPEG", "image04.jpg"]),
    (_colours, ["colours", "image05.png"]),
    (_missing, ["1 label map without a prediction of 'guess': image06", "--allow-unmatched"]),
    (_twice, ["1 name twice: image06"]),
    (_logits_of_other_classes, ["(3, *size)", "5×12×17", "image00.npy"]),
    (_nan, ["NaN", "image00.npy"]),
    (_several_arrays, ["one array in", "a, b"]),
]


@pytest.mark.parametrize(("act", "wanted"), CASES, ids=lambda case: getattr(case, "__name__", None))
def test_bad_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], act: Callable[[Path, Content], None], wanted: list[str]
) -> None:
    content = maps()
    predictions, target = folders(tmp_path, content)
    act(tmp_path, content)
    out = tmp_path / "out"
    text = evaluate(capsys, predictions, target, "--classes", "3", "--out", str(out))
    joined = " ".join(text.split())
    for words in wanted:
        assert words in joined, text
    assert not (out / "results.json").exists()
    assert not list(out.rglob("*.npz")) if out.exists() else True


def test_every_kind_of_trouble_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = maps()
    predictions, target = folders(tmp_path, content)
    for act in (_truth_value(77), _guess_value, _damaged):
        act(tmp_path, content)
    text = " ".join(evaluate(capsys, predictions, target, "--classes", "3", "--out", str(tmp_path / "out")).split())
    assert "77 (8 pixels)" in text
    assert "image02.png" in text
    assert "damaged" in text


def test_masks_of_0_and_255_where_255_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {
        name: (np.where(truth == 1, 255, 0).astype(np.uint8), guess % 2) for name, (truth, guess) in maps().items()
    }
    predictions, target = folders(tmp_path, content)
    text = evaluate(capsys, predictions, target, "--classes", "2", "--out", str(tmp_path / "out"))
    assert "no foreground is left in 7 label maps" in " ".join(text.split())
    assert "--map '0:0,255:1'" in text
    evaluate(capsys, predictions, target, "--map", "0:0,255:1", "--ignore-index", "none", "--out",
             str(tmp_path / "right"), code=0)  # fmt: skip


def test_predictions_of_0_and_255(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {name: (truth, (guess % 2) * 255) for name, (truth, guess) in maps(classes=2).items()}
    predictions, target = folders(tmp_path, content)
    text = evaluate(capsys, predictions, target, "--classes", "2", "--out", str(tmp_path / "out"))
    assert "--map-predictions '0:0,255:1'" in text


def test_constant_and_empty_maps_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = maps()
    content["image00"][0][:] = 255
    content["image01"][0][:] = 2
    content["image03"][1][:] = 0
    predictions, target = folders(tmp_path, content)
    text = " ".join(
        evaluate(capsys, predictions, target, "--classes", "3", "--out", str(tmp_path / "o"), code=0).split()
    )
    assert "In 1 label map every pixel is ignored: image00" in text
    assert "1 of 7 label maps hold one class only: class 2 (1)" in text
    assert "1 of 7 predictions of 'guess' hold one class where the truth has several: class 0 (1)" in text


def test_allow_unmatched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = maps()
    predictions, target = folders(tmp_path, content)
    _missing(tmp_path, content)
    (tmp_path / "truth" / "image00.png").unlink()
    words = [predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--allow-unmatched"]
    text = evaluate(capsys, *words, code=0)
    assert "1 label map without a prediction of 'guess': image06" in text
    assert "1 prediction of 'guess' without a label map: image00" in text
    assert "5 images" in text


def test_only_the_listed_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = maps()
    predictions, target = folders(tmp_path, content)
    _missing(tmp_path, content)
    (tmp_path / "twin").mkdir()
    for name in ("image00", "image03"):
        save_png(tmp_path / "twin" / f"{name}.png", content[name][1])
    listed = tmp_path / "test.txt"
    listed.write_text("# of the challenge\nimage03.png\nguess/image00\n")
    words = [predictions, str(tmp_path / "twin"), target, "--classes", "3", "--out", str(tmp_path / "out")]
    together = evaluate(capsys, *words)
    assert "5 label maps without a prediction of 'twin'" in " ".join(together.split())
    text = evaluate(capsys, *words, "--only", str(listed), code=0)
    assert "2 images" in text
    assert "without" not in text
    listed.write_text("image03\nimage77\n")
    assert "1 name without an image: image77" in " ".join(
        evaluate(capsys, *words, "--overwrite", "--only", str(listed)).split()
    )
    listed.write_text("image06\n")
    text = " ".join(evaluate(capsys, *words, "--overwrite", "--only", str(listed)).split())
    assert "1 label map without a prediction of 'guess', 'twin': image06" in text


OPTIONS = [
    (["guess"], "predictions and label maps"),
    (["nowhere", "truth"], "which does not exist"),
    (["guess", "truth", "--classes", "x"], "--classes 19"),
    (["guess", "truth", "--classes", "3", "--task", "multi"], "task"),
    (["guess", "truth", "--classes", "3", "--policy", "mmseg"], "policy"),
    (["guess", "truth", "--classes", "3", "--map", "7=1"], "'7:0,8:1,*:ignore'"),
    (["guess", "truth", "--classes", "3", "--map", "0:5"], "a map to classes 0 to 2"),
    (["guess", "truth", "--classes", "3", "--measures", "sharpness"], "measures"),
    (["guess", "truth", "--classes", "3", "--measures", "calibration"], "logits"),
    (["guess", "truth", "--classes", "3", "--shard", "4/3"], "a shard I/N"),
    (["guess", "truth", "--shard", "1/3", "--out", "o"], "--classes, because a shard"),
    (["guess", "truth", "--classes", "3", "--ignore-index", "void"], "--ignore-index N"),
    (["guess", "truth", "--classes", "3", "--groups", "none.csv"], "none.csv"),
    (["guess", "guess", "truth", "--classes", "3"], "twice"),
    (["--resume", "--out", "o"], "an evaluation in o"),
    (["guess", "truth", "--classes", "3", "--workers", "0"], "at least one worker"),
]


@pytest.mark.parametrize(
    ("words", "wanted"), OPTIONS, ids=lambda case: " ".join(case) if isinstance(case, list) else ""
)
def test_bad_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], wanted: str
) -> None:
    folders(tmp_path, maps(3))
    monkeypatch.chdir(tmp_path)
    text = evaluate(capsys, *words)
    assert wanted in text


def test_counting_stops_where_everything_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segcrit.apps.evaluate.counting import run

    monkeypatch.setattr(run, "_MOST_TROUBLES", 5)
    content = {f"{index:03d}": (np.full((4, 4), 9, np.uint8), np.zeros((4, 4), np.uint8)) for index in range(40)}
    predictions, target = folders(tmp_path, content)
    with pytest.raises(AuditError) as raised:
        count_files(Job((predictions,), target, Options("3")), tmp_path / "out", workers=1)
    codes = [problem.code for problem in raised.value.problems]
    assert "unknown-labels" in codes
    assert "stopped" in codes
    assert len(raised.value.files) == 5


def test_every_file_is_in_audit_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {name: (np.full_like(truth, 9), guess) for name, (truth, guess) in maps().items()}
    predictions, target = folders(tmp_path, content)
    text = evaluate(capsys, predictions, target, "--classes", "3", "--out", str(tmp_path / "out"))
    assert "audit.json" in text
    found = json.loads((tmp_path / "out" / "audit.json").read_text())["files"]
    assert found == [{"code": "unknown-labels", "model": "", "id": name} for name in content]
