"""nnU-Net raw folders: channels in files of their own, labels by name, an ignore label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from tests.data.making import blocks, photo, write_json, write_png


def _folder(root: Path, channels: int = 2, **content: Any) -> Path:
    for index in range(6):
        for channel in range(channels):
            (root / "imagesTr").mkdir(parents=True, exist_ok=True)
            values = np.full((12, 16), 100 * channel + index, dtype=np.float32)
            tifffile.imwrite(root / "imagesTr" / f"case_{index:03d}_{channel:04d}.tif", values)
        write_png(root / "labelsTr" / f"case_{index:03d}.png", blocks([0, 1, 2, 3]))
    described = {
        "channel_names": {str(channel): "CT" for channel in range(channels)},
        "labels": {"background": 0, "organ": 1, "tumour": 2, "ignore": 3},
        "file_ending": ".tif",
        "name": "Dataset042",
        "licence": "CC0",
    }
    write_json(root / "dataset.json", described | content)
    return root


def test_channels_and_labels(tmp_path: Path) -> None:
    data = load_folder(_folder(tmp_path))
    assert (data.name, data.channels, data.num_classes, data.ignore_index) == ("Dataset042", 2, 3, 3)
    assert data.class_names == ("background", "organ", "tumour")
    assert data.description == "CC0"
    sample = data.read("case_004")
    assert sample.image[:, 0, 0].tolist() == [4.0, 104.0]
    np.testing.assert_array_equal(sample.label, blocks([0, 1, 2, 3]))


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    (root / "imagesTr" / "case_002_0001.tif").unlink()
    with pytest.raises(DataError, match="1 cases without all of them: case_002"):
        load_folder(root)


def test_one_file_with_all_channels(tmp_path: Path) -> None:
    root = _folder(tmp_path, channels=1, channel_names={"0": "R", "1": "G", "2": "B"})
    for index in range(6):
        (root / "imagesTr" / f"case_{index:03d}_0000.tif").unlink()
        write_png(root / "imagesTr" / f"case_{index:03d}_0000.png", photo())
    assert load_folder(root).channels == 3


def test_listed_files_and_old_labels(tmp_path: Path) -> None:
    root = _folder(tmp_path, labels={"0": "background", "1": "organ", "2": "tumour", "3": "vessel"})
    listed = {
        f"x{index}": {"images": [f"imagesTr/case_{index:03d}_0000.tif"], "label": f"labelsTr/case_{index:03d}.png"}
        for index in range(5)
    }
    _folder(root, labels={"0": "background", "1": "organ", "2": "tumour", "3": "vessel"}, dataset=listed)
    data = load_folder(root)
    assert sorted(data.ids) == ["x0", "x1", "x2", "x3", "x4"]
    assert data.class_names[3] == "vessel"
    assert data.channels == 1


def test_regions_are_read_by_their_numbers(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3]}
    data = load_folder(_folder(tmp_path, labels=labels))
    assert data.class_names == ("background", "label 1", "label 2", "label 3")
    assert "overlap" in " ".join(data.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [({"labels": {}}, '"labels"'), ({"labels": {"a": 0, "b": "x"}}, "numbers"), ({"dataset": {"x": {}}}, "case 'x'")],
)
def test_wrong_descriptions(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_folder(_folder(tmp_path, **content))


def test_test_images_that_have_labels_are_the_test_split(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    for index in (7, 8, 9):
        for channel in range(2):
            (root / "imagesTs").mkdir(exist_ok=True)
            tifffile.imwrite(root / "imagesTs" / f"case_{index:03d}_{channel:04d}.tif", np.ones((12, 16), np.float32))
        if index < 9:
            write_png(root / "labelsTs" / f"case_{index:03d}.png", blocks([0, 1, 2, 3]))
    data = load_folder(root)
    assert data.splits["test"] == ("case_007", "case_008")
    assert len(data.splits["train"]) + len(data.splits["val"]) == 6
    for name in ("case_007", "case_008"):
        (root / "labelsTs" / f"{name}.png").unlink()
    assert not set(load_folder(root).ids) & {"case_007", "case_008"}  # an empty labelsTs is none
    write_png(root / "labelsTs" / "case_001.png", blocks([0, 1, 2, 3]))
    (root / "imagesTs" / "case_001_0000.tif").write_bytes((root / "imagesTr" / "case_001_0000.tif").read_bytes())
    (root / "imagesTs" / "case_001_0001.tif").write_bytes((root / "imagesTr" / "case_001_0001.tif").read_bytes())
    with pytest.raises(DataError, match="case_001 in both"):
        load_folder(root)
