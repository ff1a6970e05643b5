"""The order of axes: a perfect prediction has mIoU 1 whatever file carries it, or the user is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.core.errors import ParameterError, SegcritError
from tests.evaluate.making import Array, save_png

CUBE, BOX = (6, 6, 6), (4, 5, 6)


def _truth(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def _nifti(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def _soft(labels: Array) -> Array:
    return np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, 0) * np.float32(0.9) + np.float32(0.03)


def _miou(root: Path, **options: Any) -> float:
    job = Job((str(root / "guess"),), str(root / "truth"), Options(classes="3", **options))
    return Outcome(count_files(job, root / "out", progress=False, workers=1, overwrite=True)[0]).first.miou


WRITERS = {
    "nnU-Net": lambda path, t: np.savez(path.with_suffix(".npz"), probabilities=_soft(t.T)),
    "nnU-Net v1": lambda path, t: np.savez(path.with_suffix(".npz"), softmax=_soft(t.T).astype(np.float16)),
    "npz logits of nibabel": lambda path, t: np.savez(path.with_suffix(".npz"), logits=_soft(t)),
    "npy of MONAI": lambda path, t: np.save(path.with_suffix(".npy"), _soft(t)),
    "npy of MONAI, a batch": lambda path, t: np.save(path.with_suffix(".npy"), _soft(t)[None]),
    "npy, channels last": lambda path, t: np.save(path.with_suffix(".npy"), np.moveaxis(_soft(t.T), 0, -1)),
    "npy labels of SimpleITK": lambda path, t: np.save(path.with_suffix(".npy"), t.T),
    "npy labels of nibabel": lambda path, t: np.save(path.with_suffix(".npy"), t.astype(np.float32)[None]),
    "one-hot npy": lambda path, t: np.save(
        path.with_suffix(".npy"), np.moveaxis(np.eye(3, dtype=np.uint8)[t.T], -1, 0)
    ),
    "NIfTI one-hot": lambda path, t: _nifti(path.with_suffix(".nii"), np.eye(3, dtype=np.uint8)[t]),
    "NIfTI probabilities": lambda path, t: _nifti(path.with_suffix(".nii"), np.eye(3, dtype=np.float32)[t]),
    "TIFF stack": lambda path, t: tifffile.imwrite(path.with_suffix(".tif"), t.T, photometric="minisblack"),
}


@pytest.mark.parametrize("shape", [CUBE, BOX], ids=["cube", "box"])
@pytest.mark.parametrize("writer", WRITERS)
def test_axes_of_volumes(tmp_path: Path, writer: str, shape: tuple[int, ...]) -> None:
    (tmp_path / "guess").mkdir()
    for index in range(2):
        truth = _truth(shape, index)
        _nifti(tmp_path / "truth" / f"case_{index}.nii.gz", truth)
        WRITERS[writer](tmp_path / "guess" / f"case_{index}", truth)
    assert _miou(tmp_path) == 1


def test_volumes_that_tell_nothing_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "guess").mkdir()
    truth, guess = _truth(CUBE, 0), _truth(CUBE, 1)  # a prediction without any skill
    _nifti(tmp_path / "truth" / "a.nii.gz", truth)
    np.save(tmp_path / "guess" / "a.npy", guess)
    with pytest.raises(ParameterError) as caught:
        _miou(tmp_path)
    assert "--axes zyx" in str(caught.value)
    same, turned = (_miou(tmp_path, axes=axes) for axes in ("xyz", "zyx"))
    np.save(tmp_path / "guess" / "a.npy", guess.T)
    assert (same, turned) == (_miou(tmp_path, axes="zyx"), _miou(tmp_path, axes="xyz"))
    assert same != turned
    # A volume beside it whose shape tells settles it.
    _nifti(tmp_path / "truth" / "b.nii.gz", _truth(BOX))
    np.save(tmp_path / "guess" / "b.npy", _truth(BOX).T)
    assert 0 < _miou(tmp_path) < 1


def test_label_arrays_beside_nifti_predictions(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    for name, shape in (("a", CUBE), ("b", BOX)):
        _nifti(tmp_path / "guess" / f"{name}.nii.gz", _truth(shape))
        np.save(tmp_path / "truth" / f"{name}.npy", _truth(shape).T)
    assert _miou(tmp_path) == 1


def test_planes_of_nnunet(tmp_path: Path) -> None:
    (tmp_path / "guess").mkdir()
    for index, shape in enumerate(((5, 7), (6, 6))):
        save_png(tmp_path / "truth" / f"{index}.png", _truth(shape))
        np.savez(tmp_path / "guess" / f"{index}.npz", probabilities=_soft(_truth(shape))[:, None])
    assert _miou(tmp_path) == 1


@pytest.mark.parametrize("shape", [CUBE, BOX], ids=["cube", "box"])
def test_the_folder_of_nnunet_as_it_stands(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Labels give the figures (here after postprocessing), probabilities the calibration; the pickle is never opened."""
    for index in range(2):
        truth = _truth(shape, index)
        labels = truth.copy()
        labels[0, 0] = 0
        _nifti(tmp_path / "truth" / f"case_{index}.nii.gz", truth)
        _nifti(tmp_path / "guess" / f"case_{index}.nii.gz", labels)
        np.savez(tmp_path / "guess" / f"case_{index}.npz", probabilities=_soft(truth.T))
        (tmp_path / "guess" / f"case_{index}.pkl").write_bytes(b"no pickle")
    plain = _miou(tmp_path)
    assert 0.5 < plain < 1
    assert _miou(tmp_path, measures=("calibration",)) == plain
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options(classes="3", measures=("calibration",)))
    tally, _ = count_files(job, tmp_path / "again", progress=False, workers=1)
    report = Outcome(tally).first
    # Every pixel is right, with probability 0.93 of 0.99 in all.
    assert report.calibration.ece == pytest.approx(1 - 0.93 / 0.99, abs=1e-5)


@pytest.mark.parametrize("shape", [CUBE, BOX])
def test_arrays_that_run_against_images_and_stacks(tmp_path: Path, shape: tuple[int, ...]) -> None:
    truth = _truth(shape)
    (tmp_path / "truth").mkdir()
    (tmp_path / "guess").mkdir()
    tifffile.imwrite(tmp_path / "truth" / "a.tif", truth, photometric="minisblack")
    np.save(tmp_path / "guess" / "a.npy", _soft(truth.T))
    for options in ({}, {"upsample": "linear"}) if shape == BOX else ({},):
        with pytest.raises(SegcritError, match="--axes xyz"):
            _miou(tmp_path, **options)
    assert _miou(tmp_path, axes="xyz") == 1.0


@pytest.mark.parametrize(("order", "advice"), [((1, 0, 2), "(1, 0, 2)"), ((2, 0, 1), "(1, 2, 0)")])
def test_axes_in_another_order_than_those_two(tmp_path: Path, order: tuple[int, ...], advice: str) -> None:
    truth = _truth(CUBE)
    _nifti(tmp_path / "truth" / "a.nii.gz", truth)
    (tmp_path / "guess").mkdir()
    np.save(tmp_path / "guess" / "a.npy", truth.transpose(order))
    with pytest.raises(ParameterError) as caught:
        _miou(tmp_path)
    assert caught.value.code == "other-axes"
    assert f"numpy.transpose(array, {advice})" in caught.value.advice
    np.save(tmp_path / "guess" / "a.npy", np.load(tmp_path / "guess" / "a.npy").transpose(np.argsort(order)))
    assert _miou(tmp_path) == 1.0
