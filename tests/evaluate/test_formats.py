"""One set of maps in every format gives the same counts, and these are those of a loop over the pixels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from tests.evaluate.making import Array, folders, maps, save_png, slow_confusion, slow_miou

COLORS = [(0, 0, 0), (200, 10, 10), (10, 200, 10)]


def confusion(root: Path, predictions: str, target: str, **options: Any) -> Array:
    options.setdefault("classes", "3")
    tally, problems = count_files(
        Job((predictions,), target, Options(**options)), root / "out", progress=False, workers=2
    )
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return Outcome(tally).first.confusion


def test_index_png(tmp_path: Path) -> None:
    content = maps()
    wanted = slow_confusion(content)
    tally, _ = count_files(
        Job((folders(tmp_path, content)[0],), str(tmp_path / "truth"), Options("3")), tmp_path / "out"
    )
    report = Outcome(tally).first
    np.testing.assert_array_equal(report.confusion, wanted)
    assert report.miou == pytest.approx(slow_miou(wanted), abs=1e-15)
    assert tally.ids == tuple(sorted(content))
    assert tally.pixels.tolist() == [12 * 17] * 7


def _one_hot(guess: Array, random: np.random.Generator) -> Array:
    logits = random.normal(size=(3, *guess.shape)).astype(np.float32)
    np.put_along_axis(logits, guess[None].astype(np.int64), 9.0, axis=0)
    return logits


def _write(kind: str, path: Path, guess: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logits = _one_hot(guess, np.random.default_rng(3))
    soft = np.exp(logits) / np.exp(logits).sum(0)
    match kind:
        case "palette":
            save_png(path.with_suffix(".png"), guess, COLORS)
        case "grey tif":
            tifffile.imwrite(path.with_suffix(".tif"), guess)
        case "npy labels":
            np.save(path.with_suffix(".npy"), guess.astype(np.int64))
        case "npy float labels":
            np.save(path.with_suffix(".npy"), guess.astype(np.float32))
        case "npz labels":
            np.savez(path.with_suffix(".npz"), labels=guess, other=np.zeros(3))
        case "npy logits":
            np.save(path.with_suffix(".npy"), logits)
        case "npy logits of a batch":
            np.save(path.with_suffix(".npy"), logits[None].astype(np.float16))
        case "npy logits, channels last":
            np.save(path.with_suffix(".npy"), np.moveaxis(logits, 0, -1))
        case "npz probabilities":
            np.savez(path.with_suffix(".npz"), probabilities=soft)
        case "tif logits":
            tifffile.imwrite(path.with_suffix(".tif"), logits, photometric="minisblack", planarconfig="separate")


KINDS = [
    "palette", "grey tif", "npy labels", "npy float labels", "npz labels", "npy logits", "npy logits of a batch",
    "npy logits, channels last", "npz probabilities", "tif logits",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_formats_of_predictions(tmp_path: Path, kind: str) -> None:
    content = maps(4)
    _, target = folders(tmp_path, content)
    for name, (_, guess) in content.items():
        _write(kind, tmp_path / "other" / name, guess)
    np.testing.assert_array_equal(confusion(tmp_path, str(tmp_path / "other"), target), slow_confusion(content))


def test_colour_masks_by_classes_json(tmp_path: Path) -> None:
    content = maps(3)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:3], table[255] = COLORS, (255, 255, 255)
    for name, (truth, guess) in content.items():
        save_png(tmp_path / "data" / "masks" / f"{name}.png", table[truth])
        save_png(tmp_path / "guess" / f"{name}.png", table[guess])
    classes = [{"index": index, "name": f"c{index}", "color": color} for index, color in enumerate(COLORS)]
    void = {"index": 255, "name": "void", "color": [255, 255, 255]}
    (tmp_path / "data" / "classes.json").write_text(json.dumps({"ignore_index": 255, "classes": [*classes, void]}))
    found = confusion(tmp_path, str(tmp_path / "guess"), str(tmp_path / "data" / "masks"), classes=None)
    np.testing.assert_array_equal(found, slow_confusion(content))


def test_nifti_volumes_with_spacing(tmp_path: Path) -> None:
    content = maps(2, size=(8, 9, 5))  # type: ignore[arg-type]
    for name, (truth, guess) in content.items():
        for folder, array in (("truth", truth), ("guess", guess)):
            (tmp_path / folder).mkdir(exist_ok=True)
            affine = np.diag([2.0, 1.0, 0.5, 1.0])
            nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / folder / f"{name}.nii.gz")
    options = Options("3", measures=("boundary",))
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), options)
    tally, _ = count_files(job, tmp_path / "out", progress=False)
    report = Outcome(tally).first
    np.testing.assert_array_equal(report.confusion, slow_confusion(content))
    import segcrit

    whole = segcrit.Evaluator(3, ignore_index=255, measures=["boundary"])
    for name, (truth, guess) in content.items():
        whole.update(guess[None], truth[None], ids=[name], spacing=[2.0, 1.0, 0.5])
    assert report.figures == pytest.approx(whole.compute().figures, abs=0, nan_ok=True)


def test_binary_probabilities_as_grey_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(3):
        soft = random.integers(0, 256, (9, 11)).astype(np.uint8)
        save_png(tmp_path / "guess" / f"{index}.png", soft)
        save_png(tmp_path / "truth" / f"{index}.png", (soft / 255 > 0.601).astype(np.uint8))
    found = confusion(
        tmp_path, str(tmp_path / "guess"), str(tmp_path / "truth"), classes="2", task="binary", values="probabilities",
        threshold=0.601,
    )  # fmt: skip
    assert found[0, 1] == found[1, 0] == 0
    assert found.sum() == 3 * 99


def test_multilabel_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (4, 9, 11)).astype(np.uint8)
    for folder, array in (("truth", truth), ("guess", (truth * 4.0 - 2.0).astype(np.float32))):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", array)
    found = confusion(tmp_path, str(tmp_path / "guess"), str(tmp_path / "truth"), classes="a,b,c,d", task="multilabel")
    assert found[:, 1, 1].tolist() == truth.sum(axis=(1, 2)).tolist()
    assert not found[:, 0, 1].any()
    assert not found[:, 1, 0].any()


def test_logits_of_lower_resolution(tmp_path: Path) -> None:
    import segcrit

    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (16, 20)).astype(np.uint8)
    logits = random.normal(size=(3, 4, 5)).astype(np.float32)
    save_png(tmp_path / "truth" / "a.png", truth)
    (tmp_path / "guess").mkdir()
    np.save(tmp_path / "guess" / "a.npy", logits)
    found = confusion(tmp_path, str(tmp_path / "guess"), str(tmp_path / "truth"), upsample="linear")
    whole = segcrit.Evaluator(3, upsample="linear").update(logits[None], truth[None]).compute()
    np.testing.assert_array_equal(found, whole.confusion)


def test_names_match_without_common_endings_and_in_folders(tmp_path: Path) -> None:
    content = maps(4)
    for index, (name, (truth, guess)) in enumerate(content.items()):
        city = f"city{index % 2}"
        save_png(tmp_path / "truth" / city / f"{name}_gtFine_labelIds.png", truth)
        save_png(tmp_path / "guess" / city / f"{name}_leftImg8bit.png", guess)
    found = confusion(tmp_path, str(tmp_path / "guess"), str(tmp_path / "truth"))
    np.testing.assert_array_equal(found, slow_confusion(content))


def test_two_files(tmp_path: Path) -> None:
    content = maps(1)
    folders(tmp_path, content)
    found = confusion(tmp_path, str(tmp_path / "guess" / "image00.png"), str(tmp_path / "truth" / "image00.png"))
    np.testing.assert_array_equal(found, slow_confusion(content))


def _stored(content: dict[str, tuple[Array, Array]], of: dict[int, int]) -> dict[str, tuple[Array, Array]]:
    table = np.arange(256, dtype=np.uint8)
    for label, value in of.items():
        table[label] = value
    return {name: (table[truth], guess) for name, (truth, guess) in content.items()}


def test_map_of_values(tmp_path: Path) -> None:
    content = maps(3)
    stored = _stored(content, {0: 7, 1: 8, 2: 0, 255: 33})
    predictions, target = folders(tmp_path, stored)
    found = confusion(tmp_path, predictions, target, map="7:0,8:1,0:2,*:ignore")
    np.testing.assert_array_equal(found, slow_confusion(content))


def test_map_applies_to_all_values_at_once(tmp_path: Path) -> None:
    content = maps(3)
    stored = _stored(content, {0: 1, 1: 2, 2: 0})  # in a loop, 1 -> 0 and then 0 -> 2 would collapse
    predictions, target = folders(tmp_path, stored)
    found = confusion(tmp_path, predictions, target, map="1:0,2:1,0:2")
    np.testing.assert_array_equal(found, slow_confusion(content))


def test_reduce_zero_label(tmp_path: Path) -> None:
    content = maps(3)
    stored = _stored(content, {0: 1, 1: 2, 2: 3, 255: 0})
    predictions, target = folders(tmp_path, stored)
    np.testing.assert_array_equal(
        confusion(tmp_path, predictions, target, reduce_zero_label="target"), slow_confusion(content)
    )


def test_masks_of_0_and_255_without_classes(tmp_path: Path) -> None:
    content = maps(4, classes=2)
    clean = {name: (np.where(truth == 255, 0, truth), guess) for name, (truth, guess) in content.items()}
    stored = {name: (truth * 255, guess * 255) for name, (truth, guess) in clean.items()}
    predictions, target = folders(tmp_path, stored)
    np.testing.assert_array_equal(
        confusion(tmp_path, predictions, target, classes=None), slow_confusion(clean, classes=2)
    )
    numbers = {name: (truth, guess // 255) for name, (truth, guess) in stored.items()}
    predictions, target = folders(tmp_path / "numbers", numbers)
    np.testing.assert_array_equal(
        confusion(tmp_path, predictions, target, classes=None), slow_confusion(clean, classes=2)
    )


@pytest.mark.parametrize("tile", [16, 37])
@pytest.mark.parametrize("layout", ["tiles", "strips", "mixed", "npy"])
def test_windows_of_large_images_give_the_same_counts(tmp_path: Path, layout: str, tile: int) -> None:
    content = maps(1, size=(150, 203))
    truth, guess = content["image00"]
    for folder, array in (("truth", truth), ("guess", guess)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "a.tif"
        if layout == "npy" and folder == "guess":
            np.save(path.with_suffix(".npy"), _one_hot(array, np.random.default_rng(0)))
        elif layout == "strips" or (layout == "mixed" and folder == "guess"):
            tifffile.imwrite(path, array, rowsperstrip=7, compression="zlib")
        else:
            tifffile.imwrite(path, array, tile=(32, 48), compression="zlib")
    options = {"tile": tile, "measures": ("calibration",)} if layout == "npy" else {"tile": tile}
    found = confusion(tmp_path, str(tmp_path / "guess"), str(tmp_path / "truth"), **options)
    np.testing.assert_array_equal(found, slow_confusion(content))


@pytest.mark.parametrize("channels", ["first", "last", "volumes"])
def test_one_hot_label_maps_in_npz_files(tmp_path: Path, channels: str) -> None:
    truth = np.random.default_rng(0).integers(0, 3, (4, 5, 6) if channels == "volumes" else (5, 6))
    (tmp_path / "truth").mkdir()
    (tmp_path / "guess").mkdir()
    rows = np.moveaxis(np.eye(3, dtype=np.uint8)[truth], -1, -1 if channels == "last" else 0)
    np.savez(tmp_path / "truth" / "a.npz", mask=rows)
    np.save(tmp_path / "guess" / "a.npy", truth)
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("3"))
    tally, problems = count_files(job, tmp_path / "out", progress=False)
    assert not problems
    assert Outcome(tally).first.miou == 1.0
    assert tally.pixels.tolist() == [truth.size]


@pytest.mark.parametrize("shape", [(8, 5, 6), (3, 5, 6), (5, 6, 4)])
def test_npy_volumes_of_equal_slices_stay_volumes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "truth").mkdir()
    for folder in ("labels", "logits"):
        (tmp_path / folder).mkdir()
    volumes = {"a": np.random.default_rng(0).integers(0, 3, shape), "b": np.zeros(shape, dtype=np.int64)}
    for name, truth in volumes.items():
        np.save(tmp_path / "truth" / f"{name}.npy", truth)
        np.save(tmp_path / "labels" / f"{name}.npy", truth)
        np.save(tmp_path / "logits" / f"{name}.npy", np.moveaxis(np.eye(3, dtype=np.float32)[truth] * 9, -1, 0))
    for folder in ("labels", "logits"):
        job = Job((str(tmp_path / folder),), str(tmp_path / "truth"), Options("3"))
        tally, _ = count_files(job, tmp_path / f"out-{folder}", progress=False)
        assert Outcome(tally).first.miou == 1.0
        assert set(tally.pixels.tolist()) == {math.prod(shape)}
