"""Images, masks and weights in every format, and the traps that real files hold."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from segcrit.core.errors import DataError
from segcrit.data.coding.class_info import ClassInfo
from segcrit.data.files.formats import load, oriented, probe
from segcrit.data.reading import read_image, read_mask, read_stored_mask, read_weight
from tests.data.making import blocks, photo, write_png

COLORS = [
    ClassInfo(0, "sky", (128, 128, 128)),
    ClassInfo(1, "road", (128, 64, 128)),
    ClassInfo(2, "tree", (128, 128, 0)),
]


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _nifti(path: Path, array: Any) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0])), path)  # type: ignore[no-untyped-call]


# --- images ---------------------------------------------------------------------------------------------------------


def test_colour_and_grey_png(tmp_path: Path) -> None:
    colour, grey = photo(), photo(channels=1)
    write_png(tmp_path / "c.png", colour)
    write_png(tmp_path / "g.png", grey)
    found = read_image(tmp_path / "c.png")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, colour.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "g.png")[0], grey)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path: Path, mode: str) -> None:
    rgba = np.dstack([photo(), np.full((12, 16), 7, dtype=np.uint8)])
    image = Image.fromarray(rgba).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.asarray(image)[..., :-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", spatial_shape=(12, 16)), expected)


def test_palette_image_becomes_colours(tmp_path: Path) -> None:
    indices = blocks([0, 1, 2])
    write_png(tmp_path / "p.png", indices, palette=[10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = read_image(tmp_path / "p.png", spatial_shape=(12, 16))
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert found[:, 0, -1].tolist() == [70, 80, 90]


def test_sixteen_bit_png_keeps_its_values(tmp_path: Path) -> None:
    values = (np.arange(192, dtype=np.uint16) * 300).reshape(12, 16)
    write_png(tmp_path / "deep.png", values)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[0], values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("planar", [True, False])
def test_tiff_of_any_bands(tmp_path: Path, dtype: Any, planar: bool) -> None:
    bands = np.random.default_rng(0).integers(0, 100, size=(5, 12, 16)).astype(dtype)
    stored = bands if planar else np.moveaxis(bands, 0, -1)
    tifffile.imwrite(
        tmp_path / "b.tif", stored, planarconfig="separate" if planar else "contig", photometric="minisblack"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif", spatial_shape=(12, 16)), bands)


def _without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = importlib.import_module("tifffile._imagecodecs")
    monkeypatch.setattr(tifffile.tifffile, "imagecodecs", fallback)
    # Decoders that were chosen before are kept there.
    for kept in (tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS):
        monkeypatch.setattr(kept, "_codecs", {})


@pytest.mark.parametrize("installed", [True, False])
def test_tiff_compressions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if not installed:
        _without_imagecodecs(monkeypatch)
    grey = photo(channels=1)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        file = tmp_path / f"{compression}.tif"
        Image.fromarray(grey).save(file, compression=compression)
        np.testing.assert_array_equal(read_image(file)[0], grey)


def test_many_bands_with_lzw_need_imagecodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bands = np.random.default_rng(0).integers(0, 2**16, size=(7, 12, 16), dtype=np.uint16)
    file = tmp_path / "bands.tif"
    tifffile.imwrite(file, bands, compression="lzw", predictor=True, planarconfig="separate", photometric="minisblack")
    np.testing.assert_array_equal(read_image(file, spatial_shape=(12, 16)), bands)
    _without_imagecodecs(monkeypatch)
    with pytest.raises(DataError, match="pip install imagecodecs"):
        read_image(file, spatial_shape=(12, 16))


@pytest.mark.parametrize("installed", [True, False])
def test_tiff_stack_with_lzw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if not installed:
        _without_imagecodecs(monkeypatch)
    pages = np.random.default_rng(0).integers(0, 256, size=(5, 12, 16), dtype=np.uint8)
    images = [Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "s.tif", save_all=True, append_images=images[1:], compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "s.tif", spatial_shape=(12, 16)), pages)
    np.testing.assert_array_equal(read_image(tmp_path / "s.tif", spatial_shape=(5, 12, 16))[0], pages)


def test_fourth_band_is_alpha_only_if_the_file_says_so(tmp_path: Path) -> None:
    bands = photo(channels=4)
    tifffile.imwrite(tmp_path / "nir.tif", bands, photometric="rgb", extrasamples=["unspecified"])
    tifffile.imwrite(tmp_path / "alpha.tif", bands, photometric="rgb", extrasamples=["unassalpha"])
    assert read_image(tmp_path / "nir.tif").shape == (4, 12, 16)
    assert read_image(tmp_path / "alpha.tif").shape == (3, 12, 16)


def test_float_tiff_tells_its_nodata(tmp_path: Path) -> None:
    values = np.ones((12, 16), dtype=np.float32)
    values[0, 0] = -99999
    tifffile.imwrite(tmp_path / "dem.tif", values, extratags=[(42113, "s", 0, "-99999", True)])
    assert probe(tmp_path / "dem.tif").nodata == -99999
    assert read_image(tmp_path / "dem.tif")[0, 0, 0] == -99999  # raw intensities: normalisation deals with it


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((12, 16), (12, 16), (1, 12, 16)),
        ((5, 12, 16), (12, 16), (5, 12, 16)),
        ((12, 16, 5), (12, 16), (5, 12, 16)),
        ((1, 12, 16), (12, 16), (1, 12, 16)),
        ((12, 16, 1), (12, 16), (1, 12, 16)),
        ((6, 12, 16), (6, 12, 16), (1, 6, 12, 16)),
        ((2, 6, 12, 16), (6, 12, 16), (2, 6, 12, 16)),
        ((6, 12, 16, 2), (6, 12, 16), (2, 6, 12, 16)),
        ((3, 3, 3), (3, 3), (3, 3, 3)),
    ],
)
def test_npy_layout_follows_the_mask(
    tmp_path: Path, shape: tuple[int, ...], size: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    np.save(tmp_path / "x.npy", values)
    found = read_image(tmp_path / "x.npy", spatial_shape=size)
    assert found.shape == expected
    first = values[..., 0] if shape[-1] in (2, 5) and shape[:-1] == size else values.reshape(expected)[0]
    np.testing.assert_array_equal(found[0], first.reshape(size))


def test_npy_layout_without_a_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "last.npy", np.zeros((20, 30, 3)))
    np.save(tmp_path / "first.npy", np.zeros((3, 20, 30)))
    np.save(tmp_path / "volume.npy", np.zeros((20, 30, 25)))
    assert read_image(tmp_path / "last.npy").shape == (3, 20, 30)
    assert read_image(tmp_path / "first.npy").shape == (3, 20, 30)
    assert read_image(tmp_path / "volume.npy").shape == (1, 20, 30, 25)


def test_nifti_scaling_and_spacing(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    for name in ("v.nii", "v.nii.gz"):
        _nifti(tmp_path / name, volume)
        np.testing.assert_array_equal(read_image(tmp_path / name)[0], volume)
        assert probe(tmp_path / name).spacing == (1.0, 2.0, 3.0)
    _nifti(tmp_path / "channels.nii", np.stack([volume, 2 * volume], axis=-1))
    found = read_image(tmp_path / "channels.nii", spatial_shape=(5, 6, 7))
    np.testing.assert_array_equal(found[1], 2 * volume)


# --- the EXIF rotation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_pillow(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    pixels = photo((8, 24))
    write_png(tmp_path / "x.png", pixels, exif=_exif(orientation))
    with Image.open(tmp_path / "x.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(oriented(pixels, orientation), upright)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), upright.transpose(2, 0, 1))


def test_rotation_is_applied_only_where_the_mask_fits(tmp_path: Path) -> None:
    pixels = photo((8, 24))
    write_png(tmp_path / "x.png", pixels, exif=_exif(6))
    turned = read_image(tmp_path / "x.png", spatial_shape=(24, 8))
    np.testing.assert_array_equal(turned, np.rot90(pixels, -1).transpose(2, 0, 1))
    stored = read_image(tmp_path / "x.png", spatial_shape=(8, 24))
    np.testing.assert_array_equal(stored, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("orientation", "size"), [(3, (8, 24)), (6, (10, 10)), (2, (8, 24))])
def test_rotation_that_fits_both_ways_is_an_error(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    write_png(tmp_path / "x.png", photo(size), exif=_exif(orientation))
    with pytest.raises(DataError, match=r"x\.png.*EXIF orientation.*with and without"):
        read_image(tmp_path / "x.png", spatial_shape=size)


def test_rotation_that_fits_neither_way(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", photo((8, 24)), exif=_exif(6))
    with pytest.raises(DataError, match="30×30"):
        read_image(tmp_path / "x.png", spatial_shape=(30, 30))


# --- masks ----------------------------------------------------------------------------------------------------------


def test_index_masks_of_every_format(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2, 255])
    write_png(tmp_path / "l.png", labels)
    write_png(tmp_path / "p.png", labels, palette=[value % 256 for value in range(768)])
    np.save(tmp_path / "n.npy", labels)
    np.save(tmp_path / "f.npy", labels.astype(np.float32))
    tifffile.imwrite(tmp_path / "t.tif", labels)
    for name in ("l.png", "p.png", "n.npy", "f.npy", "t.tif"):
        found = read_mask(tmp_path / name)
        assert found.dtype.kind in "ui"
        np.testing.assert_array_equal(found, labels)


def test_sixteen_bit_ids(tmp_path: Path) -> None:
    labels = blocks([0, 300, 40000], dtype=np.uint16)
    write_png(tmp_path / "m.png", labels)
    tifffile.imwrite(tmp_path / "m.tif", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), labels)


def test_one_bit_mask(tmp_path: Path) -> None:
    labels = blocks([0, 1])
    write_png(tmp_path / "m.png", labels.astype(bool))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)


def test_nifti_mask_stored_as_float(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, size=(4, 5, 6)).astype(np.float32)
    _nifti(tmp_path / "m.nii.gz", labels)
    found = read_mask(tmp_path / "m.nii.gz")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, labels)


def test_colour_mask_through_classes(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2])
    colors = np.array([entry.color for entry in COLORS], dtype=np.uint8)[labels]
    write_png(tmp_path / "c.png", colors)
    write_png(tmp_path / "a.png", np.dstack([colors, np.full((12, 16), 255, np.uint8)]))
    np.testing.assert_array_equal(read_mask(tmp_path / "c.png", COLORS), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", COLORS), labels)
    with pytest.raises(DataError, match="colours"):
        read_mask(tmp_path / "c.png")


def test_unknown_colour_is_named(tmp_path: Path) -> None:
    colors = np.array([entry.color for entry in COLORS], dtype=np.uint8)[blocks([0, 1, 2])]
    colors[3, 4] = (1, 2, 3)
    write_png(tmp_path / "c.png", colors)
    with pytest.raises(DataError, match=r"c\.png.*\(1, 2, 3\) in 1 pixels"):
        read_mask(tmp_path / "c.png", COLORS)


def test_grey_mask_saved_as_colour(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2])
    write_png(tmp_path / "g.png", np.dstack([labels] * 3))
    np.testing.assert_array_equal(read_mask(tmp_path / "g.png"), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "g.png", COLORS), labels)


def test_palette_mask_that_an_editor_reordered(tmp_path: Path) -> None:
    palette = [channel for entry in (COLORS[2], COLORS[0], COLORS[1]) for channel in entry.color]
    write_png(tmp_path / "p.png", blocks([0, 1, 2]), palette=palette)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png", COLORS), blocks([2, 0, 1]))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("ending", "quality"), [("jpg", 60), ("jpg", 95), ("webp", 80)])
def test_blurred_masks_of_two_classes_are_read_with_a_threshold(
    tmp_path: Path, ending: str, quality: int, mode: str
) -> None:
    rows, columns = np.mgrid[:150, :200]
    labels = (rows - 60) ** 2 + (columns - 90) ** 2 < 2000
    file = tmp_path / f"m.{ending}"
    Image.fromarray(labels * np.uint8(255)).convert(mode).save(file, quality=quality)
    mask = read_stored_mask(file)
    np.testing.assert_array_equal(mask.array, labels * 255)
    assert mask.thresholded


@pytest.mark.parametrize("values", [[0, 128, 255], [0, 1, 255], [0, 7, 255], [0, 100]])
def test_blurred_masks_of_more_classes_are_refused(tmp_path: Path, values: list[int]) -> None:
    Image.fromarray(blocks(values, (64, 64))).save(tmp_path / "m.jpg", quality=95)
    with pytest.raises(DataError, match="threshold") as caught:
        read_stored_mask(tmp_path / "m.jpg")
    assert caught.value.code == "lossy"


@pytest.mark.parametrize("name", ["m.jpg", "m.jpeg", "hidden.png"])
def test_jpeg_masks_are_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(blocks([0, 1])).save(tmp_path / name, format="JPEG")
    with pytest.raises(DataError, match="PNG"):
        read_mask(tmp_path / name)


def test_fractions_and_nan_are_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "half.npy", np.array([[0.0, 0.5]]))
    np.save(tmp_path / "nan.npy", np.array([[0.0, np.nan]]))
    with pytest.raises(DataError, match=r"0\.5"):
        read_mask(tmp_path / "half.npy")
    with pytest.raises(DataError, match="NaN"):
        read_mask(tmp_path / "nan.npy")


def test_unknown_value_is_named_with_its_pixels(tmp_path: Path) -> None:
    labels = blocks([0, 1, 2]).copy()
    labels[0, :5] = 9
    write_png(tmp_path / "m.png", labels)
    with pytest.raises(DataError, match=r"0-2, 255 in .*m\.png, got 9 \(5 pixels\)"):
        read_mask(tmp_path / "m.png", COLORS)


# --- weights and damage ---------------------------------------------------------------------------------------------


def test_weights(tmp_path: Path) -> None:
    weight = np.linspace(0, 3, 192).reshape(12, 16)
    np.save(tmp_path / "w.npy", weight)
    np.testing.assert_allclose(read_weight(tmp_path / "w.npy", (12, 16)), weight, rtol=1e-6)
    for bad, message in ((-1.0, "at least 0"), (np.nan, "NaN"), (np.inf, "NaN or infinite")):
        np.save(tmp_path / "bad.npy", np.full((12, 16), bad))
        with pytest.raises(DataError, match=message):
            read_weight(tmp_path / "bad.npy", (12, 16))
    with pytest.raises(DataError, match="12×16"):
        read_weight(tmp_path / "w.npy", (16, 12))


def _write_all(folder: Path) -> list[Path]:
    values = photo((64, 64))
    write_png(folder / "a.png", values)
    Image.fromarray(values).save(folder / "b.jpg")
    tifffile.imwrite(folder / "c.tif", values, compression="zlib")
    tifffile.imwrite(folder / "d.tif", values)
    np.save(folder / "e.npy", values)
    _nifti(folder / "f.nii", values[..., 0].astype(np.float32)[..., None])
    _nifti(folder / "g.nii.gz", values[..., 0].astype(np.float32)[..., None])
    return sorted(folder.iterdir())


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6, 0.95])
def test_truncated_files_name_the_file(tmp_path: Path, kept: float) -> None:
    for path in _write_all(tmp_path):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(DataError, match=path.name):
            read_image(path)


def test_garbage_names_the_file(tmp_path: Path) -> None:
    for path in _write_all(tmp_path):
        path.write_bytes(b"this is no image" * 40)
        with pytest.raises(DataError, match=path.name):
            read_image(path)
        with pytest.raises(DataError, match=path.name):
            probe(path)


def test_missing_file_folder_and_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in (("none.png", "no such file"), ("folder.png", "folder"), ("notes.txt", "Convert it")):
        with pytest.raises(DataError, match=message):
            load(tmp_path / name)


def test_pickled_npy_is_not_executed(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil\.npy"):
        read_image(tmp_path / "evil.npy")


def test_images_above_pillows_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "large.png", photo((40, 50)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "large.png").shape == (3, 40, 50)
    assert Image.MAX_IMAGE_PIXELS == 100  # the user's own limit is back


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.tif", "d.tif", "e.npy", "f.nii", "g.nii.gz"])
def test_header_agrees_with_the_array(tmp_path: Path, name: str) -> None:
    _write_all(tmp_path)
    assert probe(tmp_path / name).shape == load(tmp_path / name).array.shape
