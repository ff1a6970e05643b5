"""Masks of the pixels that count: what is outside enters no figure, no loss and no share, whichever command reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.core.errors import DataError
from segcrit.data.audit.auditing import audit
from segcrit.data.folders.folder import load_folder
from segcrit.data.folders.valid_area import read_valid
from segcrit.data.problems import FolderError
from tests.data.making import blocks, photo, write_png
from tests.evaluate.making import Array, folders, maps, save_png, slow_confusion


def _areas(root: Path, content: dict[str, tuple[Array, Array]], ending: str = "") -> dict[str, Array]:
    random = np.random.default_rng(5)
    areas = {name: random.random(truth.shape) < 0.6 for name, (truth, _) in content.items()}
    for name, area in areas.items():
        save_png(root / f"{name}{ending}.png", area.astype(np.uint8) * random.integers(1, 256, dtype=np.uint8))
    return areas


def _confusion(content: dict[str, tuple[Array, Array]], areas: dict[str, Array]) -> Array:
    return slow_confusion(
        {name: (np.where(areas[name], t, 255).astype(np.uint8), p) for name, (t, p) in content.items()}
    )


@pytest.mark.parametrize(("ending", "void"), [("", None), ("_fov", "none")])
def test_evaluation(tmp_path: Path, ending: str, void: str | None) -> None:
    content = {
        name: (truth if void is None else np.minimum(truth, 2), guess) for name, (truth, guess) in maps(5).items()
    }
    predictions, target = folders(tmp_path, content)
    areas = _areas(tmp_path / "fov", content, ending)
    options = Options("3", valid=str(tmp_path / "fov"), ignore_index=void)
    tally, _ = count_files(Job((predictions,), target, options), tmp_path / "out", workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, _confusion(content, areas))
    assert any("fov" in note for note in tally.notes)


@pytest.mark.parametrize("kind", ["tif", "png"])
def test_evaluation_by_windows(tmp_path: Path, kind: str) -> None:
    content = maps(1, size=(64, 48))
    ((name, (truth, guess)),) = content.items()
    for folder, array in (("truth", truth), ("guess", guess)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / f"{name}.tif", array, tile=(16, 16))
    area = np.random.default_rng(0).random(truth.shape) < 0.5
    (tmp_path / "fov").mkdir()
    if kind == "tif":
        tifffile.imwrite(tmp_path / "fov" / f"{name}.tif", area.astype(np.uint8), tile=(16, 16))
    else:
        save_png(tmp_path / "fov" / f"{name}.png", np.repeat(area[..., None], 3, axis=2).astype(np.uint8) * 255)
    options = Options("3", valid=str(tmp_path / "fov"), tile=16)
    tally, _ = count_files(Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), options), tmp_path / "o", workers=1)
    np.testing.assert_array_equal(Outcome(tally).first.confusion, _confusion(content, {name: area}))


def test_what_lies_outside_is_no_undeclared_value(tmp_path: Path) -> None:
    """Background alone, half of it outside: nothing was ignored for its value."""
    content = {name: (np.zeros_like(truth), np.zeros_like(guess)) for name, (truth, guess) in maps(3).items()}
    predictions, target = folders(tmp_path, content)
    _areas(tmp_path / "fov", content)
    options = Options("2", valid=str(tmp_path / "fov"))
    _, problems = count_files(Job((predictions,), target, options), tmp_path / "out", workers=1)
    assert not {problem.code for problem in problems} & {"ignored-undeclared", "masks-0-255"}


def test_what_is_missing_or_of_another_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = maps(3)
    predictions, target = folders(tmp_path, content)
    _areas(tmp_path / "fov", content)
    words = ["evaluate", predictions, target, "--classes", "3", "--valid", str(tmp_path / "fov"), "--no-report"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    save_png(tmp_path / "fov" / "image01.png", np.ones((5, 5), np.uint8))
    assert main([*words, "--out", str(tmp_path / "b")]) == 2
    assert "5×5" in capsys.readouterr().err
    (tmp_path / "fov" / "image01.png").unlink()
    assert main([*words, "--out", str(tmp_path / "c")]) == 2
    assert "image01" in capsys.readouterr().err
    # What was counted with an area is not gone on with without it.
    assert main([*words[:5], "--no-report", "--out", str(tmp_path / "a"), "--resume"]) == 2


def _data(root: Path) -> Path:
    for index in range(6):
        write_png(root / "images" / f"{index}_test.png", photo((8, 8), index))
        write_png(root / "masks" / f"{index}_manual1.png", blocks([0, 1], (8, 8)))
        area = np.zeros((8, 8), np.uint8)
        area[:, 2:5] = 255
        write_png(root / "fov" / f"{index}_test_mask.png", area)
    return root


def test_data_folder(tmp_path: Path) -> None:
    """Named as DRIVE is; the outer columns do not count: 2 of class 0 and 1 of class 1 are left."""
    data = load_folder(_data(tmp_path), valid="fov")
    assert data.ignore_index == 255
    label = data.read(data.ids[0]).label
    assert [np.unique(label[:, column]).tolist() for column in range(8)] == [[255]] * 2 + [[0]] * 2 + [[1]] + [
        [255]
    ] * 3
    report = audit(data)
    assert [row.share for row in report.classes] == pytest.approx([2 / 3, 1 / 3])
    assert report.ignored_share == pytest.approx(5 / 8)
    (tmp_path / "fov" / "3_test_mask.png").unlink()
    with pytest.raises(FolderError) as caught:
        load_folder(tmp_path, valid="fov")
    assert [(entry.code, entry.files) for entry in caught.value.problems] == [("no-valid-area", ("3",))]


def test_areas_of_all_kinds(tmp_path: Path) -> None:
    area = np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)
    write_png(tmp_path / "grey.png", area.astype(np.uint8) * 7)
    write_png(tmp_path / "one.png", area)
    # In a palette the number counts, not its colour: 0 may be shown white.
    write_png(tmp_path / "palette.png", area.astype(np.uint8), palette=[255, 255, 255, 0, 0, 0])
    colors = np.zeros((2, 3, 4), np.uint8)
    colors[area, 1], colors[..., 3] = 9, 255
    write_png(tmp_path / "alpha.png", colors)
    np.save(tmp_path / "floats.npy", np.where(area, 0.25, 0))
    np.save(tmp_path / "missing.npy", np.where(area, 0.25, np.nan))
    declared = [(42113, "s", 0, "255", True)]
    tifffile.imwrite(tmp_path / "declared.tif", np.where(area, 7, 255).astype(np.uint8), extratags=declared)
    for name in ("grey.png", "one.png", "palette.png", "alpha.png", "floats.npy", "missing.npy", "declared.tif"):
        np.testing.assert_array_equal(read_valid(tmp_path / name, (2, 3)), area)
    write_png(tmp_path / "lossy.jpg", area.astype(np.uint8) * 255)
    with pytest.raises(DataError, match="lossy"):
        read_valid(tmp_path / "lossy.jpg", (2, 3))
    colors[..., :3], colors[..., 3] = 0, area
    write_png(tmp_path / "alpha alone.png", colors)
    tifffile.imwrite(tmp_path / "inverted.tif", area.astype(np.uint8), photometric="miniswhite")
    for name in ("alpha alone.png", "inverted.tif"):
        with pytest.raises(DataError) as caught:
            read_valid(tmp_path / name, (2, 3))
        assert caught.value.code == "doubtful-values"
