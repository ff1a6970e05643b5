"""Values that rasters declare as missing: ignored in masks, never applied to images, told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.core.errors import DataError, ParameterError
from segcrit.data.folders.folder import load_folder
from segcrit.data.normalise import normalisation
from segcrit.data.reading import read_stored_mask
from tests.data.making import blocks, photo

FLOAT_MINIMUM = "-3.4028234663852886e+38"


def _tif(path: Path, array: Any, nodata: str | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(path, array, extratags=tags, **options)


def _labels(kind: str, hole: float) -> Any:
    labels = blocks([0, 1, 2]).astype(kind)
    labels[:3] = hole
    return labels


def _folder(root: Path, nodata: str | None, kind: str = "uint8", hole: float | None = None) -> Path:
    for index in range(6):
        image = photo(seed=index)
        image[:3], image[3:6] = 0, 255
        _tif(root / "images" / f"{index}.tif", image, photometric="rgb")
        mask = blocks([0, 1, 2]).astype(kind) if hole is None else _labels(kind, hole)
        _tif(root / "masks" / f"{index}.tif", mask, nodata)
    return root


CASES = [
    ("uint8", "255", 255),
    ("uint8", " 99 ", 99),
    ("int8", "127", 127),
    ("int16", "-9999.0", -9999),
    ("uint16", "65535", 65535),
    ("float32", FLOAT_MINIMUM, float(np.finfo(np.float32).min)),
    ("float32", "-3.40282e+38", float(np.finfo(np.float32).min)),
    ("float32", "nan", np.nan),
    ("float64", "-9999", -9999),
]


@pytest.mark.parametrize(("kind", "text", "hole"), CASES)
def test_declared_values_are_ignored_in_masks(tmp_path: Path, kind: str, text: str, hole: float) -> None:
    data = load_folder(_folder(tmp_path, text, kind, hole), progress=False)
    assert data.num_classes == 3
    label = data.read_label("0")
    assert (label[:3] == data.ignore_index).all()
    np.testing.assert_array_equal(label[3:], blocks([0, 1, 2])[3:])
    assert len([note for note in data.notes if "nodata" in note]) == 1


@pytest.mark.parametrize("tile", [4096, 16])
@pytest.mark.parametrize(("kind", "text", "hole"), CASES)
@pytest.mark.parametrize("classes", ["3", None])
def test_and_in_an_evaluation(
    tmp_path: Path, kind: str, text: str, hole: float, classes: str | None, tile: int
) -> None:
    rows = np.tile(blocks([0, 1, 2]), (4, 2))
    truth = rows.astype(kind)
    truth[:5] = hole
    _tif(tmp_path / "truth" / "a.tif", truth, text)
    _tif(tmp_path / "guess" / "a.tif", rows.astype(np.uint8))
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options(classes, tile=tile))
    tally, problems = count_files(job, tmp_path / "out", progress=False, workers=1)
    assert not [problem for problem in problems if problem.severity == "error"], problems
    report = Outcome(tally).first
    assert report.miou == 1.0
    assert int(report.confusion.sum()) == rows.size - 5 * rows.shape[1]


@pytest.mark.parametrize("text", ["0", "255"])
def test_what_masks_declare_never_touches_images(tmp_path: Path, text: str) -> None:
    plain = normalisation(load_folder(_folder(tmp_path / "plain", None), progress=False), progress=False)
    data = load_folder(_folder(tmp_path / "declared", text), progress=False)
    assert data.nodata == ()
    assert normalisation(data, progress=False) == plain


def test_zero_stays_a_class_and_is_asked_about(tmp_path: Path) -> None:
    data = load_folder(_folder(tmp_path, "0"), progress=False)
    assert data.num_classes == 3
    assert any('"ignore_index": 0' in note for note in data.notes)


@pytest.mark.parametrize("text", ["-9999", "65535", "0.5", "nan", FLOAT_MINIMUM])
def test_a_value_that_the_type_cannot_hold(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    root = _folder(tmp_path, text)
    assert main(["inspect", str(root)]) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert " ".join(told.out.split()).count("cannot hold") == 1


def test_a_class_by_number_alone_is_asked(tmp_path: Path) -> None:
    for name in ("truth", "guess"):
        _tif(tmp_path / name / "a.tif", blocks([0, 1, 2]), "2" if name == "truth" else None)

    def miou(**options: Any) -> float:
        job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options(**options))
        return Outcome(count_files(job, tmp_path / "out", progress=False, overwrite=True)[0]).first.miou

    with pytest.raises(ParameterError) as caught:
        miou(classes="3")
    assert caught.value.code == "nodata-is-class"
    assert miou(classes="3", map="0:0,1:1,2:2") == 1.0
    assert miou(classes="3", ignore_index=2) == 1.0


@pytest.mark.parametrize(
    ("kind", "text", "hole"), [("float32", "nan", np.nan), ("uint8", "255", 255), ("logits", "-9999", -9999)]
)
def test_predictions_without_data_stand_only_where_the_truth_does_not_count(
    tmp_path: Path, kind: str, text: str, hole: float
) -> None:
    if kind == "logits":
        guess = np.moveaxis(np.eye(3, dtype=np.float32)[blocks([0, 1, 2])], -1, 0) * 9
        guess[:, :3] = hole
        _tif(tmp_path / "guess" / "a.tif", guess, text, photometric="minisblack", planarconfig="separate")
    else:
        _tif(tmp_path / "guess" / "a.tif", _labels(kind, hole), text)
    job = Job((str(tmp_path / "guess"),), str(tmp_path / "truth"), Options("3"))
    _tif(tmp_path / "truth" / "a.tif", blocks([0, 1, 2]))
    with pytest.raises(DataError, match=r"without data|NaN"):
        count_files(job, tmp_path / "out", progress=False)
    _tif(tmp_path / "truth" / "a.tif", _labels("uint8", 99), "99")
    tally, problems = count_files(job, tmp_path / "out", progress=False)
    assert Outcome(tally).first.miou == 1.0
    assert "ignored-undeclared" not in [problem.code for problem in problems]  # the file declares it
    undeclared = _labels("uint8", 99)
    undeclared[3:4] = 255
    _tif(tmp_path / "truth" / "a.tif", undeclared, "99")
    problems = count_files(job, tmp_path / "out", progress=False, overwrite=True)[1]
    assert "ignored-undeclared" in [problem.code for problem in problems]


def test_the_mask_band_of_a_raster(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2])
    inside = np.ones(labels.shape, dtype=bool)
    inside[:4] = False
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(labels, photometric="minisblack", metadata=None)
        writer.write(inside, subfiletype=4, photometric="mask", metadata=None)
    mask = read_stored_mask(tmp_path / "a.tif")
    assert mask.nodata is not None
    np.testing.assert_array_equal(mask.array == mask.nodata, ~inside)
    np.testing.assert_array_equal(mask.array[4:], labels[4:])
