"""Real data sets, where they are at hand: what is known of each comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segcrit.data.audit.auditing import audit
from segcrit.data.folders.folder import load_folder
from segcrit.data.normalise import normalisation


def test_camvid(real_data: Path) -> None:
    root = real_data / "camvid"
    data = load_folder(root, progress=False)
    assert {split: len(names) for split, names in data.splits.items()} == {"train": 367, "val": 101, "test": 233}
    report = audit(data, progress=False)
    assert not report.problems
    stated = json.loads((root / "classes.json").read_text())["pixel_fraction"]
    assert report.ignored_share == pytest.approx(stated["void"], abs=1e-5)
    for row in report.classes:
        assert row.share * (1 - report.ignored_share) == pytest.approx(stated[row.name], abs=1e-5)
    # Median frequency weights published for these 367 images (SegNet): pole 4.7, bicyclist 7.3 to 10 by the source.
    assert report.classes[2].weights["median"] == pytest.approx(4.8, abs=0.2)
    found = {entry.expression: entry.evidence for entry in report.recommendations}
    assert "pole" in found["ce + tversky(alpha=0.3, beta=0.7)"]
    assert 'ce(class_weight="median")' in found


def test_nuclei(real_data: Path) -> None:
    report = audit(load_folder(real_data / "nuclei_dsb2018", progress=False), progress=False)
    assert not report.has_errors
    assert report.classes[2].shape.width == pytest.approx(1.0, abs=0.05)  # a contour of one pixel
    assert {entry.expression for entry in report.recommendations} >= {"focal", "ce + tversky(alpha=0.3, beta=0.7)"}


def test_instance_maps_are_refused_as_masks(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "nuclei_dsb2018"
    names = sorted(path.stem for path in (source / "instances").iterdir())[:40]
    for own, other in (("images", "images"), ("masks", "instances")):
        (tmp_path / own).mkdir()
        for name in names:
            (tmp_path / own / f"{name}.png").symlink_to(source / other / f"{name}.png")
    with pytest.raises(ValueError, match="numbered objects"):
        load_folder(tmp_path)


def test_heart_scribbles(real_data: Path) -> None:
    data = load_folder(real_data / "acdc_scribble", train_labels="scribbles", group_by=r"patient\d+", progress=False)
    assert data.groups is not None
    assert len(set(data.groups.values())) == 50
    report = audit(data, progress=False)
    assert report.labelled_share == pytest.approx(0.0101, abs=0.0002)
    assert not report.has_errors
    name = data.splits["train"][0]
    weak, full = data.read(name, "train").label, data.read(name).label
    drawn = weak != 255
    assert 0 < drawn.mean() < 0.1
    assert (weak[drawn] == full[drawn]).mean() > 0.98


def test_hippocampus(real_data: Path) -> None:
    data = load_folder(real_data / "hippocampus3d", progress=False)
    assert (data.spatial_dims, data.channels) == (3, 1)
    found = normalisation(data, progress=False)
    assert found.scheme == "image"
    for name in data.splits["val"][:10]:
        sample = data.read(name)
        image = found.apply(sample.image)
        assert image.shape[1:] == sample.label.shape
        assert abs(float(image.mean())) < 1e-3
        assert float(image.std()) == pytest.approx(1, abs=1e-3)
    report = audit(data, progress=False)
    assert "intensity-ranges" in {problem.code for problem in report.problems}
    assert not report.has_errors
    assert np.isfinite([row.shape.width for row in report.classes]).all()
