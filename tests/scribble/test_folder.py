"""write_weak_labels and ``segcrit scribble``: formats, palettes, refusals, atomicity, the picture."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

import segcrit.data.weak.folder as folder_module
from segcrit.cli import main
from segcrit.cli import scribble as command
from segcrit.core.errors import DataError, ParameterError, SegcritError
from segcrit.data.folders.folder import load_folder
from segcrit.data.problems import FolderError
from segcrit.data.weak.folder import write_weak_labels
from segcrit.data.weak.weak import WeakLabelOptions
from tests.data.making import blocks, write_folder

COLORS = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]


def _labels(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 3, (3, 4)), np.ones((14, 13))).astype(np.uint8)


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: three classes with colours, index masks with a palette, images."""
    root = tmp_path / "data"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(6):
        image = Image.fromarray(_labels(number))
        image.putpalette(np.array(COLORS, dtype=np.uint8).reshape(-1).tolist())
        image.save(root / "masks" / f"case{number}.png")
        photo = np.random.default_rng(number).integers(0, 256, (42, 52, 3), dtype=np.uint8)
        Image.fromarray(photo).save(root / "images" / f"case{number}.jpg")
    classes = [
        {"index": index, "name": name, "color": COLORS[index]} for index, name in enumerate(["sky", "road", "sea"])
    ]
    (root / "classes.json").write_text(json.dumps({"ignore_index": None, "classes": classes}))
    return root


def test_names_format_and_palette_are_kept(data: Path) -> None:
    result = write_weak_labels(data / "masks", data / "scribbles", seed=1)
    assert result.files == 6
    assert result.ignore_value == 255
    for file in (data / "masks").iterdir():
        with Image.open(file) as full, Image.open(data / "scribbles" / file.name) as weak:
            assert weak.mode == "P"
            assert weak.getpalette()[:9] == full.getpalette()[:9]
            labels, kept = np.asarray(full), np.asarray(weak)
            assert ((kept == labels) | (kept == 255)).all()
            assert (kept == 255).any()
            # Class 0 is black; were unlabelled black too, a viewer would show a full mask of background.
            assert tuple(weak.getpalette()[765:]) not in COLORS


def test_the_folder_serves_as_training_labels(data: Path) -> None:
    write_weak_labels(data / "masks", data / "scribbles", seed=1)
    loaded = load_folder(data, train_labels="scribbles")
    name = loaded.splits["train"][0]
    weak, full = loaded.read(name, "train").label, loaded.read(name).label
    assert loaded.ignore_index == 255
    assert ((weak == full) | (weak == 255)).all()
    assert set(np.unique(weak)) > {255}


def test_names_with_an_ending_still_match_beside_the_picture(data: Path) -> None:
    for file in list((data / "masks").iterdir()):
        file.rename(file.with_name(f"{file.stem}_mask.png"))
    write_weak_labels(data / "masks", data / "scribbles")
    assert load_folder(data, train_labels="scribbles").has_train_labels


def test_coverage_is_what_the_files_hold(data: Path) -> None:
    result = write_weak_labels(data / "masks", data / "scribbles", seed=1)
    full = [_pixels(file) for file in sorted((data / "masks").iterdir())]
    weak = [_pixels(data / "scribbles" / f"case{number}.png") for number in range(6)]
    assert result.pixels == sum(array.size for array in full)
    for label, entry in enumerate(result.classes):
        assert entry.name == ["sky", "road", "sea"][label]
        assert entry.pixels == sum(int((array == label).sum()) for array in full)
        assert entry.labelled == sum(int((array == label).sum()) for array in weak)
        assert entry.images == sum(bool((array == label).any()) for array in full)
        assert entry.labelled_images == sum(bool((array == label).any()) for array in weak)
    record = json.loads((data / "scribbles" / "weak_labels.json").read_text())
    assert record["kind"] == "scribbles"
    assert record["seed"] == 1
    assert record["classes"][1]["labelled"] == result.classes[1].labelled


def test_a_file_depends_on_seed_and_name_only(data: Path) -> None:
    write_weak_labels(data / "masks", data / "a", seed=5)
    write_weak_labels(data / "masks", data / "b", seed=6)
    for number in range(3):
        (data / "masks" / f"case{number}.png").unlink()
    write_weak_labels(data / "masks", data / "c", seed=5)
    same, other, again = ((data / name / "case4.png").read_bytes() for name in "abc")
    assert same == again
    assert same != other


class TestFormats:
    def _run(self, tmp_path: Path, labels: np.ndarray, save: Any, name: str, **options: Any) -> Path:
        (tmp_path / "masks").mkdir()
        save(tmp_path / "masks" / name, labels)
        write_weak_labels(tmp_path / "masks", tmp_path / "out", **options)
        return tmp_path / "out" / name

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int16, np.float32])
    def test_npy(self, tmp_path: Path, dtype: type) -> None:
        weak = np.load(self._run(tmp_path, _labels().astype(dtype), np.save, "a.npy"))
        assert set(np.unique(weak).tolist()) == {0, 1, 2, 255}

    def test_a_type_that_cannot_hold_the_value_is_widened(self, tmp_path: Path) -> None:
        weak = np.load(self._run(tmp_path, _labels().astype(np.int8), np.save, "a.npy"))
        assert weak.dtype == np.int16
        assert set(np.unique(weak).tolist()) == {0, 1, 2, 255}

    def test_npy_takes_negative_values(self, tmp_path: Path) -> None:
        weak = np.load(self._run(tmp_path, _labels().astype(np.int64), np.save, "a.npy", ignore_value=-100))
        assert set(np.unique(weak).tolist()) == {-100, 0, 1, 2}

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_nifti(self, tmp_path: Path, name: str) -> None:
        volume = np.stack([_labels(seed) for seed in range(5)], axis=-1)
        affine = np.diag([0.5, 0.7, 3.0, 1.0])
        affine[:3, 3] = (4, -5, 6)

        def save(path: Path, array: np.ndarray) -> None:
            nibabel.save(nibabel.Nifti1Image(array, affine), path)

        weak = nibabel.load(self._run(tmp_path, volume, save, name, options=WeakLabelOptions(slice_step=2)))
        values = np.asarray(weak.dataobj)
        assert np.array_equal(weak.affine, nibabel.load(tmp_path / "masks" / name).affine)
        assert weak.get_data_dtype() == np.uint8
        assert ((values == volume) | (values == 255)).all()
        assert [bool((values[..., index] != 255).any()) for index in range(5)] == [True, False, True, False, True]

    def test_a_nifti_of_floats_becomes_integers(self, tmp_path: Path) -> None:
        volume = np.stack([_labels(seed) for seed in range(3)], axis=-1).astype(np.float32)

        def save(path: Path, array: np.ndarray) -> None:
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)

        weak = nibabel.load(self._run(tmp_path, volume, save, "a.nii.gz"))
        assert weak.get_data_dtype() == np.uint8
        assert set(np.unique(np.asarray(weak.dataobj)).tolist()) == {0, 1, 2, 255}

    def test_tiff_keeps_its_place_on_earth(self, tmp_path: Path) -> None:
        scale = (33550, "d", 3, (10.0, 10.0, 0.0), True)

        def save(path: Path, array: np.ndarray) -> None:
            tifffile.imwrite(path, array.astype(np.uint16), extratags=[scale])

        file = self._run(tmp_path, _labels(), save, "a.tif")
        with tifffile.TiffFile(file) as tiff:
            assert tiff.pages[0].tags[33550].value == (10.0, 10.0, 0.0)
            weak = tiff.asarray()
        assert weak.dtype == np.uint16
        assert set(np.unique(weak).tolist()) == {0, 1, 2, 255}

    def test_palette_tiff(self, tmp_path: Path) -> None:
        colormap = np.zeros((3, 256), dtype=np.uint16)
        colormap[0, 1] = colormap[2, 2] = 65535

        def save(path: Path, array: np.ndarray) -> None:
            tifffile.imwrite(path, array, photometric="palette", colormap=colormap)

        file = self._run(tmp_path, _labels(), save, "a.tif")
        with tifffile.TiffFile(file) as tiff:
            kept = tiff.pages[0].colormap
            assert np.array_equal(kept[:, :3], colormap[:, :3])
            assert kept[:, 255].any()
            assert set(np.unique(tiff.asarray()).tolist()) == {0, 1, 2, 255}

    def test_sixteen_bit_png(self, tmp_path: Path) -> None:
        def save(path: Path, array: np.ndarray) -> None:
            Image.fromarray(array.astype(np.uint16) * 3).save(path)

        with Image.open(self._run(tmp_path, _labels(), save, "a.png")) as image:
            assert image.mode == "I;16"
            assert set(np.unique(np.asarray(image)).tolist()) == {0, 3, 6, 255}

    def test_bmp_becomes_png(self, tmp_path: Path) -> None:
        def save(path: Path, array: np.ndarray) -> None:
            Image.fromarray(array).save(path)

        self._run(tmp_path, _labels(), save, "a.bmp")
        assert (tmp_path / "out" / "a.png").is_file()

    def test_colour_masks_become_palette_images(self, data: Path) -> None:
        for file in (data / "masks").iterdir():
            with Image.open(file) as image:
                colored = image.convert("RGB")
            colored.save(file)
        result = write_weak_labels(data / "masks", data / "scribbles")
        assert any("6 colour masks became palette images" in note for note in result.notes)
        with Image.open(data / "scribbles" / "case0.png") as weak, Image.open(data / "masks" / "case0.png") as full:
            indices, colors = np.asarray(weak), np.asarray(weak.convert("RGB"))
            kept = indices != 255
            assert kept.any()
            assert np.array_equal(colors[kept], np.asarray(full)[kept])
        loaded = load_folder(data, train_labels="scribbles")
        name = loaded.splits["train"][0]
        weak_label, label = loaded.read(name, "train").label, loaded.read(name).label
        assert ((weak_label == label) | (weak_label == 255)).all()


class TestVoid:
    def test_void_pixels_stay_unlabelled(self, tmp_path: Path) -> None:
        (tmp_path / "masks").mkdir()
        labels = _labels()
        labels[:, :26] = 255
        np.save(tmp_path / "masks" / "a.npy", labels)
        options = WeakLabelOptions(kind="partial", share=1.0)
        result = write_weak_labels(tmp_path / "masks", tmp_path / "out", options)
        assert np.array_equal(np.load(tmp_path / "out" / "a.npy"), labels)
        assert sum(entry.pixels for entry in result.classes) == int((labels != 255).sum())

    def test_the_void_value_of_the_masks_is_used(self, data: Path) -> None:
        content = json.loads((data / "classes.json").read_text())
        (data / "classes.json").write_text(json.dumps({**content, "ignore_index": 99}))
        assert write_weak_labels(data / "masks", data / "out").ignore_value == 99
        assert 99 in _pixels(data / "out" / "case0.png")

    def test_a_class_is_refused(self, tmp_path: Path, data: Path) -> None:
        with pytest.raises(ParameterError, match="got 1, which is the class 'road'"):
            write_weak_labels(data / "masks", data / "out", ignore_value=1)
        assert not (data / "out").exists()
        (tmp_path / "binary").mkdir()
        np.save(tmp_path / "binary" / "a.npy", np.where(_labels() > 0, 255, 0).astype(np.uint8))
        with pytest.raises(ParameterError, match="got 255, which is the class 'foreground'"):
            write_weak_labels(tmp_path / "binary", tmp_path / "out")
        write_weak_labels(tmp_path / "binary", tmp_path / "out", ignore_value=254)
        assert set(np.unique(np.load(tmp_path / "out" / "a.npy")).tolist()) == {0, 254, 255}


class TestRefusals:
    def test_no_masks(self, tmp_path: Path, data: Path) -> None:
        with pytest.raises(DataError, match="no such folder"):
            write_weak_labels(tmp_path / "missing", tmp_path / "out")
        with pytest.raises(DataError, match="a file"):
            write_weak_labels(data / "classes.json", tmp_path / "out")
        with pytest.raises(DataError, match=r"Give .*data/masks\."):
            write_weak_labels(data, tmp_path / "out")
        for option in ("classes_file", "images"):
            with pytest.raises(DataError, match="missing"):
                write_weak_labels(data / "masks", tmp_path / "out", **{option: tmp_path / "missing"})

    @pytest.mark.parametrize("place", ["masks", "masks/inside", ""])
    def test_the_masks_are_never_written_over(self, data: Path, place: str) -> None:
        before = {file: file.read_bytes() for file in (data / "masks").iterdir()}
        with pytest.raises(DataError, match="a folder of its own"):
            write_weak_labels(data / "masks", data / place, overwrite=True)
        assert {file: file.read_bytes() for file in (data / "masks").iterdir()} == before

    def test_a_folder_in_use(self, data: Path) -> None:
        write_weak_labels(data / "masks", data / "out", seed=1)
        (data / "out" / "mine.txt").write_text("kept")
        before = (data / "out" / "case0.png").read_bytes()
        with pytest.raises(DataError, match="--overwrite"):
            write_weak_labels(data / "masks", data / "out", seed=2)
        assert (data / "out" / "case0.png").read_bytes() == before
        write_weak_labels(data / "masks", data / "out", seed=2, overwrite=True)
        assert (data / "out" / "case0.png").read_bytes() != before
        assert (data / "out" / "mine.txt").read_text() == "kept"
        (data / "file").write_text("")
        with pytest.raises(DataError, match="the file"):
            write_weak_labels(data / "masks", data / "file")

    def test_an_empty_folder_is_used(self, data: Path) -> None:
        (data / "out").mkdir()
        write_weak_labels(data / "masks", data / "out")
        assert (data / "out" / "preview.png").is_file()
        assert (data / "out").stat().st_mode & 0o777 == (data / "masks").stat().st_mode & 0o777

    def test_nothing_half_written_stays(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (data / "masks" / "case5.png").write_bytes(b"damaged")
        with pytest.raises(SegcritError, match="case5"):
            write_weak_labels(data / "masks", data / "out")
        assert sorted(entry.name for entry in data.iterdir()) == ["classes.json", "images", "masks"]
        (data / "masks" / "case5.png").unlink()

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(folder_module, "draw_preview", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_weak_labels(data / "masks", data / "out")
        assert sorted(entry.name for entry in data.iterdir()) == ["classes.json", "images", "masks"]

    def test_a_png_cannot_hold_negative_values(self, data: Path) -> None:
        with pytest.raises(DataError, match="--ignore-index"):
            write_weak_labels(data / "masks", data / "out", ignore_value=-100)
        assert not (data / "out").exists()


class TestPreview:
    def test_columns(self, data: Path) -> None:
        with_images = write_weak_labels(data / "masks", data / "a").preview
        (data / "images").rename(data / "photos")
        without = write_weak_labels(data / "masks", data / "b").preview
        elsewhere = write_weak_labels(data / "masks", data / "c", images=data / "photos").preview
        wide, narrow, again = (_pixels(file) for file in (with_images, without, elsewhere))
        assert np.array_equal(wide, again)
        assert narrow.shape[1] < 0.75 * wide.shape[1]
        shown = set(map(tuple, np.unique(wide.reshape(-1, 3), axis=0).tolist()))
        assert set(COLORS) <= shown

    def test_panels_show_what_they_should(self, data: Path) -> None:
        (data / "images").rename(data / "photos")
        for number in range(1, 6):
            (data / "masks" / f"case{number}.png").unlink()
        picture = _pixels(write_weak_labels(data / "masks", data / "out").preview)
        labels, weak = (
            _pixels(data / "masks" / "case0.png"),
            _pixels(data / "out" / "case0.png"),
        )
        left, top, width, gap = 12, 40, 400, 12
        height = round(42 * width / 52)
        expected = np.array([*COLORS, *[(232, 232, 232)] * 253], dtype=np.uint8)
        for column, values in enumerate((labels, weak)):
            x = left + column * (width + gap)
            panel = picture[top : top + height, x : x + width]
            resized = Image.fromarray(expected[values]).resize((width, height), Image.Resampling.NEAREST)
            assert np.array_equal(panel, np.asarray(resized))

    def test_a_mask_of_that_name_is_not_lost(self, data: Path) -> None:
        (data / "masks" / "case0.png").rename(data / "masks" / "preview.png")
        result = write_weak_labels(data / "masks", data / "out", images=data / "images")
        assert result.preview.name == "preview_of_weak_labels.png"
        assert _pixels(data / "out" / "preview.png").shape == (42, 52)

    def test_volumes_large_images_and_missing_photos(self, tmp_path: Path) -> None:
        for name in ("masks", "images"):
            (tmp_path / name).mkdir()
        np.save(tmp_path / "masks" / "a.npy", np.stack([_labels(seed) for seed in range(4)]))
        np.save(tmp_path / "images" / "a.npy", np.random.default_rng(0).normal(1e4, 50, (4, 42, 52)))
        np.save(tmp_path / "masks" / "b.npy", np.stack([np.kron(_labels(), np.ones((18, 18), np.uint8))] * 3))
        result = write_weak_labels(tmp_path / "masks", tmp_path / "out", WeakLabelOptions(axis=0))
        with Image.open(result.preview) as picture:
            assert picture.width <= 3 * 640 + 60

    def test_a_class_that_lost_all_labels_is_named(self, data: Path) -> None:
        result = write_weak_labels(data / "masks", data / "out", WeakLabelOptions(min_size=10**6))
        assert any("No pixel of sky, road, sea is labelled" in note for note in result.notes)


class TestCommand:
    def test_table_and_next_step(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["scribble", str(data / "masks"), str(data / "scribbles"), "--seed", "3"]) == 0
        out = capsys.readouterr().out
        assert f"6 label maps in {data / 'scribbles'}" in out
        assert all(word in out for word in ("sky", "road", "sea", "preview.png", "--train-labels scribbles"))

    def test_json(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["scribble", str(data / "masks"), str(data / "p"), "--kind", "points", "--json", "--points", "2"]
        assert main(words) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["files"] == 6
        assert [entry["name"] for entry in result["classes"]] == ["sky", "road", "sea"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--kind", "points", "--share", "0.5"], "--share, which is for --kind partial"),
            (["--width", "0"], "width as a whole number"),
            (["--kind", "point"], "Did you mean 'points'?"),
            (["--ignore-index", "2"], "the class 'sea'"),
        ],
    )
    def test_bad_options(self, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
        assert main(["scribble", str(data / "masks"), str(data / "out"), *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (data / "out").exists()

    def test_the_help_tells_the_defaults_of_the_options(self) -> None:
        subparsers = argparse.ArgumentParser().add_subparsers()
        command.add_parser(subparsers)
        helps = {action.dest: action.help or "" for action in subparsers.choices["scribble"]._actions}
        for field in fields(WeakLabelOptions):
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert f"(default: {default}" in helps[field.name], field.name


def test_real_masks(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "acdc_scribble"
    masks = tmp_path / "masks"
    masks.mkdir()
    for file in sorted((source / "masks").iterdir())[:200:20]:
        (masks / file.name).write_bytes(file.read_bytes())
    result = write_weak_labels(masks, tmp_path / "out", classes_file=source / "classes.json")
    share = sum(entry.labelled for entry in result.classes) / result.pixels
    assert 0.01 < share < 0.06
    for file in masks.iterdir():
        full, weak = _pixels(file), _pixels(tmp_path / "out" / file.name)
        assert ((weak == full) | (weak == 255)).all()


def test_two_codings_in_one_folder_are_refused(tmp_path: Path) -> None:
    masks = {f"m{index}": blocks([0, 255 if index % 2 else 1], (24, 32)) for index in range(4)}
    write_folder(tmp_path, masks, classes={"classes": ["a", "b"]})
    with pytest.raises(FolderError) as caught:
        write_weak_labels(tmp_path / "masks", tmp_path / "scribbles")
    assert caught.value.problems[0].code == "mixed-coding"
