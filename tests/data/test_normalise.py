"""Normalisation: exact figures, per image where scales differ, missing values become the mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from segcrit.data.intensity import figures_of
from segcrit.data.model import SegmentationData
from segcrit.data.normalise import Normalisation, normalisation
from tests.data.making import blocks, photo, write_folder, write_png


def _data(root: Path, images: list[Any], train: list[int] | None = None) -> SegmentationData:
    """A folder whose images are these arrays; .tif for what PNG cannot hold."""
    names = [f"i{index}" for index in range(len(images))]
    write_folder(root, {name: blocks([0, 1], image.shape[:2]) for name, image in zip(names, images, strict=True)})
    for name, image in zip(names, images, strict=True):
        if image.dtype == np.uint8:
            write_png(root / "images" / f"{name}.png", image)
        else:
            (root / "images" / f"{name}.png").unlink()
            tifffile.imwrite(root / "images" / f"{name}.tif", image)
    (root / "splits").mkdir()
    chosen = train if train is not None else list(range(len(images) - 2))
    rest = [name for index, name in enumerate(names) if index not in chosen]
    (root / "splits" / "train.txt").write_text("\n".join(names[index] for index in chosen))
    (root / "splits" / "val.txt").write_text(rest[0])
    (root / "splits" / "test.txt").write_text(rest[1])
    return load_folder(root)


def test_bytes_take_exact_figures_of_the_training_split(tmp_path: Path) -> None:
    images = [photo((8 + index, 10), index) for index in range(5)]
    images += [np.zeros((8, 8, 3), np.uint8)] * 2  # val and test must not enter
    found = normalisation(_data(tmp_path, images))
    pixels = np.concatenate([image.reshape(-1, 3) for image in images[:5]]).astype(np.float64)
    assert found.scheme == "dataset"
    assert found.lower is None
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-12)
    everything = np.concatenate(
        [found.apply(image.transpose(2, 0, 1).astype(np.float32)).reshape(3, -1) for image in images[:5]], axis=1
    )
    np.testing.assert_allclose(everything.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(everything.std(axis=1), 1, rtol=1e-6)


def test_histogram_figures_equal_direct_ones() -> None:
    plane = photo((40, 50), channels=1)[None].astype(np.float32)
    fast, slow = figures_of(plane, "uint8").channels[0], figures_of(plane, "float32").channels[0]
    for field in ("pixels", "minimum", "maximum", "mean", "std"):
        assert getattr(fast, field) == pytest.approx(getattr(slow, field), rel=1e-12)
    for field in ("low", "high", "clipped_mean", "clipped_std"):
        assert getattr(fast, field) == pytest.approx(getattr(slow, field), abs=1.0)


def test_ranges_that_differ_by_10_000_are_normalised_by_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shape = random.normal(size=(24, 24)).astype(np.float32)
    images = [(shape + 5) * scale for scale in (1.0, 10.0, 100.0, 1e4, 1.0, 1.0)]
    data = _data(tmp_path, images)
    found = normalisation(data)
    assert found.scheme == "image"
    results = [found.apply(data.read(f"i{index}").image) for index in range(6)]
    for result in results:
        assert result.mean() == pytest.approx(0, abs=1e-5)
        assert result.std() == pytest.approx(1, rel=1e-4)
        np.testing.assert_allclose(result, results[0], atol=1e-4)  # the scale is gone
    assert "by itself" in found.describe()


def test_similar_ranges_keep_one_scale_and_are_clipped(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.normal(100, 20, size=(40, 40)).astype(np.float32) for _ in range(6)]
    images[0][0, 0] = 1e6  # one hot pixel
    found = normalisation(_data(tmp_path, images))
    assert found.scheme == "dataset"
    assert found.upper is not None
    assert 130 < found.upper[0] < 180
    assert found.mean[0] == pytest.approx(100, abs=2)
    assert found.std[0] == pytest.approx(20, abs=3)
    assert found.apply(images[0][None]).max() < 5


@pytest.mark.parametrize("nodata", [-99999.0, -9999.0, float(np.finfo(np.float32).min)])
def test_undeclared_nodata_is_left_out(tmp_path: Path, nodata: float) -> None:
    random = np.random.default_rng(0)
    images = [random.normal(100, 20, size=(40, 40)).astype(np.float32) for _ in range(6)]
    for image in images:
        image[:10] = nodata
    data = _data(tmp_path, images)
    found = normalisation(data)
    assert found.nodata == (nodata,)
    assert found.mean[0] == pytest.approx(100, abs=2)
    result = found.apply(data.read("i0").image)
    assert np.isfinite(result).all()
    assert (result[0, :10] == 0).all()
    assert result[0, 10:].std() == pytest.approx(1, abs=0.1)


def test_an_ordinary_value_is_not_taken_for_nodata() -> None:
    values = np.linspace(-40000, 40000, 1000, dtype=np.float32)
    values[10] = -32768
    assert figures_of(values.reshape(1, 20, 50), "int16").nodata == ()


def test_declared_nodata_and_nan(tmp_path: Path) -> None:
    image = np.full((1, 4, 5), 10.0, dtype=np.float32)
    image[0, 0] = [np.nan, np.inf, -np.inf, 7.0, 12.0]
    found = Normalisation("dataset", (10.0,), (2.0,), nodata=(7.0,))
    assert found.apply(image)[0, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    by_image = Normalisation("image", (0.0,), (1.0,), nodata=(7.0,))
    assert np.isfinite(by_image.apply(image)).all()
    assert (by_image.apply(np.full((1, 3, 3), np.nan, dtype=np.float32)) == 0).all()


def test_constant_images_and_large_offsets() -> None:
    flat = np.full((1, 5, 5), 42.0, dtype=np.float32)
    assert (Normalisation("image", (0.0,), (1.0,)).apply(flat) == 0).all()
    assert (Normalisation("dataset", (42.0,), (0.0,)).apply(flat) == 0).all()
    values = (1e6 + np.arange(16, dtype=np.float32)).reshape(1, 4, 4)
    result = Normalisation("dataset", (1e6 + 7.5,), (4.6,)).apply(values)
    np.testing.assert_allclose(result.ravel(), (np.arange(16) - 7.5) / 4.6, rtol=1e-6)


def test_input_is_untouched() -> None:
    image = photo((6, 7)).transpose(2, 0, 1).astype(np.float32)
    copy = image.copy()
    for scheme in ("dataset", "image"):
        Normalisation(scheme, (1.0,) * 3, (2.0,) * 3, (5.0,) * 3, (99.0,) * 3, (7.0,)).apply(image)  # type: ignore[arg-type]
    np.testing.assert_array_equal(image, copy)


def test_round_trip_through_json(tmp_path: Path) -> None:
    found = normalisation(_data(tmp_path, [photo(seed=index) for index in range(6)]))
    assert Normalisation.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    for broken in ({"scheme": "magic"}, found.to_dict() | {"std": [*found.std, 1.0]}):
        with pytest.raises(DataError) as caught:
            Normalisation.from_dict(broken)
        assert caught.value.code == "damaged-file"


def test_other_channels_are_refused() -> None:
    with pytest.raises(DataError, match="3 channels"):
        Normalisation("dataset", (0.0,) * 3, (1.0,) * 3).apply(np.zeros((1, 4, 4), dtype=np.float32))


def test_unreadable_image_and_unknown_scheme(tmp_path: Path) -> None:
    data = _data(tmp_path, [photo((40, 40), seed=index) for index in range(6)])
    with pytest.raises(ValueError, match="scheme"):
        normalisation(data, scheme="best")  # type: ignore[arg-type]
    file = tmp_path / "images" / "i1.png"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=r"i1\.png"):
        normalisation(data)
