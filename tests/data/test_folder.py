"""Folders: what belongs together, splits, groups, training labels, and errors that name the files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from segcrit.data.problems import FolderError
from tests.data.making import blocks, photo, write_folder, write_json, write_png

CLASSES = {"classes": ["a", "b"], "ignore_index": 255}


def _folder(root: Path, count: int = 20, **options: Any) -> Path:
    return write_folder(root, {f"case{index:02d}": blocks([0, 1]) for index in range(count)}, **options)


def test_a_plain_folder(tmp_path: Path) -> None:
    data = load_folder(_folder(tmp_path, classes=CLASSES))
    assert (data.name, data.channels, data.spatial_dims, data.num_classes) == (tmp_path.name, 3, 2, 2)
    assert sorted(data.ids) == [f"case{index:02d}" for index in range(20)]
    sample = data.read(data.splits["train"][0])
    assert sample.image.shape == (3, 12, 16)
    assert (sample.image.dtype, sample.label.dtype, sample.weight) == (np.float32, np.uint8, None)
    with Image.open(tmp_path / "images" / f"{sample.id}.png") as image:
        np.testing.assert_array_equal(sample.image, np.asarray(image).transpose(2, 0, 1))


def test_data_travels_to_workers(tmp_path: Path) -> None:
    data = load_folder(_folder(tmp_path, classes=CLASSES))
    copy = pickle.loads(pickle.dumps(data))
    assert copy.splits == data.splits
    np.testing.assert_array_equal(copy.read("case03").image, data.read("case03").image)


def test_the_split_is_always_the_same_and_disjoint(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    first, second, other = load_folder(root), load_folder(root), load_folder(root, seed=1)
    assert first.splits == second.splits
    assert first.splits != other.splits
    assert {split: len(names) for split, names in first.splits.items()} == {"train": 14, "val": 3, "test": 3}
    assert len(set(first.ids)) == 20


def test_split_files(tmp_path: Path) -> None:
    root = _folder(tmp_path, 6, classes=CLASSES)
    splits = root / "splits"
    splits.mkdir()
    (splits / "train.txt").write_bytes(
        "\ufeffcase00\r\nimages/case01.png\r\n\r\n# a comment\r\ncase02.png\r\n".encode()
    )
    (splits / "val.txt").write_text("case03\n")
    (splits / "test.txt").write_text("case04 masks/case04.png\n")
    data = load_folder(root)
    assert data.splits == {"train": ("case00", "case01", "case02"), "val": ("case03",), "test": ("case04",)}
    assert "1 images are in no split file" in " ".join(data.notes)


@pytest.mark.parametrize(
    ("splits", "sizes", "note"),
    [
        ({"train": range(12), "val": range(12, 20)}, (12, 4, 4), "no test.txt"),
        ({"train": range(10), "test": range(10, 20)}, (8, 2, 10), "no val.txt"),
        ({"train": range(12)}, (12, 4, 4), "no val.txt and test.txt"),
        ({"val": range(4), "test": range(4, 8)}, (12, 4, 4), "no splits/train.txt"),
    ],
)
def test_missing_split_files_are_completed(
    tmp_path: Path, splits: dict[str, range], sizes: tuple[int, int, int], note: str
) -> None:
    named = {split: [f"case{index:02d}" for index in members] for split, members in splits.items()}
    data = load_folder(_folder(tmp_path, classes=CLASSES, splits=named))
    assert tuple(len(data.splits[split]) for split in ("train", "val", "test")) == pytest.approx(sizes, abs=1)
    assert note in " ".join(data.notes)
    assert len(set(data.ids)) == len(data.ids) == 20


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["case00", "nobody"], "val": ["case01"], "test": ["case02"]}, r"1 name without an image: nobody"),
        ({"train": ["case00", "case01"], "val": ["case01"], "test": ["case02"]}, r"1 image in train and val: case01"),
        ({"train": [], "val": ["case01"], "test": ["case02"]}, "an empty file"),
        ({"train": [f"case{i:02d}" for i in range(20)]}, "lists every image"),
    ],
)
def test_wrong_split_files(tmp_path: Path, splits: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_folder(_folder(tmp_path, classes=CLASSES, splits=splits))


def test_too_few_images_to_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 3 images"):
        load_folder(_folder(tmp_path, 2))


# --- groups ---------------------------------------------------------------------------------------------------------


def _patients(root: Path) -> Path:
    return write_folder(
        root, {f"p{patient}_s{s}": blocks([0, 1]) for patient in range(8) for s in range(3)}, classes=CLASSES
    )


@pytest.mark.parametrize("expression", [r"p\d+", r"^(p\d+)_s\d+$"])
def test_groups_stay_on_one_side(tmp_path: Path, expression: str) -> None:
    data = load_folder(_patients(tmp_path), group_by=expression)
    assert data.groups is not None
    assert data.groups["p3_s1"] == "p3"
    places = [{data.groups[name] for name in data.splits[split]} for split in ("train", "val", "test")]
    assert sum(len(place) for place in places) == len(set().union(*places)) == 8
    assert all(places)


def test_groups_file(tmp_path: Path) -> None:
    root = _patients(tmp_path)
    rows = "".join(f"p{patient}_s{s}.png;scene{patient % 4}\n" for patient in range(8) for s in range(3))
    (root / "groups.csv").write_text("image;group\n" + rows)
    data = load_folder(root)
    assert data.groups is not None
    assert data.groups["p5_s0"] == "scene1"
    assert "4 groups" in " ".join(data.notes)


def test_wrong_groups(tmp_path: Path) -> None:
    root = _patients(tmp_path)
    with pytest.raises(DataError, match=r"24 names that it does not match: p0_s0"):
        load_folder(root, group_by="scene")
    with pytest.raises(ValueError, match="regular expression"):
        load_folder(root, group_by="(")
    (root / "groups.csv").write_text("image,group\np0_s0,a\n")
    with pytest.raises(DataError, match="23 images without one"):
        load_folder(root)


# --- what does not fit together ----------------------------------------------------------------------------------------


def _no_mask(root: Path) -> None:
    (root / "masks" / "case03.png").unlink()


def _no_image(root: Path) -> None:
    (root / "images" / "case03.png").unlink()


def _other_size(root: Path) -> None:
    write_png(root / "images" / "case03.png", photo((10, 16)))


def _damaged(root: Path) -> None:
    (root / "images" / "case03.png").write_bytes(b"nothing")


def _jpeg_mask(root: Path) -> None:
    (root / "masks" / "case03.png").unlink()
    Image.fromarray(blocks([0, 1])).save(root / "masks" / "case03.jpg")


def _twice(root: Path) -> None:
    Image.fromarray(photo()).save(root / "images" / "case03.jpg")


def _five_bands(root: Path) -> None:
    (root / "images" / "case03.png").unlink()
    np.save(root / "images" / "case03.npy", np.zeros((5, 12, 16)))


def _rotated(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    write_png(root / "images" / "case03.png", photo(), exif=exif)


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (_no_mask, "image-without-mask", "1 image without a mask: case03"),
        (_no_image, "mask-without-image", "1 mask without an image: case03"),
        (_other_size, "sizes-differ", r"case03\.png of the size of its mask, 12×16, got 10×16"),
        (_damaged, "unreadable", r"case03\.png, which is damaged"),
        (_jpeg_mask, "jpeg-masks", r"case03\.jpg"),
        (_twice, "same-name", "1 name twice"),
        (_five_bands, "channels-differ", "1 images with 5"),
        (_rotated, "exif-rotation", "EXIF orientation"),
    ],
)
def test_every_mismatch_is_named(tmp_path: Path, spoil: Callable[[Path], None], code: str, message: str) -> None:
    root = _folder(tmp_path, classes=CLASSES)
    spoil(root)
    with pytest.raises(FolderError, match=message) as caught:
        load_folder(root)
    assert code in {problem.code for problem in caught.value.problems}
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    root = _folder(tmp_path, classes=CLASSES)
    _no_mask(root)
    write_png(root / "images" / "case05.png", photo((10, 16)))
    with pytest.raises(FolderError, match="further problems") as caught:
        load_folder(root)
    assert {problem.code for problem in caught.value.problems} == {"image-without-mask", "sizes-differ"}


def test_many_names_are_counted(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    for file in list((root / "masks").iterdir())[:9]:
        file.unlink()
    with pytest.raises(DataError, match=r"9 images without a mask: .* and 5 more"):
        load_folder(root)


def test_a_truncated_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    root = _folder(tmp_path, classes=CLASSES)
    file = root / "images" / "case03.png"
    file.write_bytes(file.read_bytes()[:300])
    data = load_folder(root)  # the header is whole
    with pytest.raises(DataError, match=r"case03\.png, which is damaged or cut off"):
        data.read("case03")


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_folder(tmp_path / "none")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"a folder images/ in .*, got the folders labels/"):
        load_folder(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="an empty folder"):
        load_folder(tmp_path)
    (tmp_path / "images" / "a.psd").write_bytes(b"8BPS")
    with pytest.raises(DataError, match=r"Convert files of \.psd"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="Give the folder"):
        load_folder(write_json(tmp_path / "file.json", {}) or tmp_path / "file.json")


def test_only_near_names_are_suggested(tmp_path: Path) -> None:
    for name in ("home", "opt", "nuclei"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="which does not exist") as caught:
        load_folder(tmp_path / "nope")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(DataError, match="Did you mean nuclei"):
        load_folder(tmp_path / "Nucleii")


def test_unknown_id_names_near_ones(tmp_path: Path) -> None:
    data = load_folder(_folder(tmp_path, classes=CLASSES))
    with pytest.raises(DataError, match="case0"):
        data.read("case0l")


# --- what is understood -------------------------------------------------------------------------------------------------


def test_grey_among_colour(tmp_path: Path) -> None:
    root = _folder(tmp_path, classes=CLASSES)
    write_png(root / "images" / "case03.png", photo(channels=1))
    data = load_folder(root)
    assert data.channels == 3
    assert "1 grey images among 19" in " ".join(data.notes)
    image = data.read("case03").image
    np.testing.assert_array_equal(image[0], image[2])


def test_alpha_and_rotation_are_noted(tmp_path: Path) -> None:
    root = _folder(tmp_path, classes=CLASSES)
    write_png(root / "images" / "case03.png", photo(channels=4))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = photo((16, 12))
    write_png(root / "images" / "case04.png", pixels, exif=exif)
    data = load_folder(root)
    notes = " ".join(data.notes)
    assert "1 images have an alpha channel" in notes
    assert "1 images carry an EXIF rotation" in notes
    np.testing.assert_array_equal(data.read("case04").image, np.rot90(pixels, -1).transpose(2, 0, 1))


def test_endings_of_mask_names(tmp_path: Path) -> None:
    root = _folder(tmp_path, 6)
    for file in list((root / "masks").iterdir()):
        file.rename(file.with_name(file.stem + "_mask.png"))
    data = load_folder(root)
    assert "case00" in data.cases
    assert "'_mask'" in " ".join(data.notes)


def test_weights(tmp_path: Path) -> None:
    root = _folder(tmp_path, 6, classes=CLASSES)
    (root / "weights").mkdir()
    np.save(root / "weights" / "case02.npy", np.full((12, 16), 2.5))
    data = load_folder(root)
    weight = data.read("case02").weight
    assert weight is not None
    assert weight.dtype == np.float32
    assert float(weight[0, 0]) == 2.5
    assert data.read("case01").weight is None
    np.save(root / "weights" / "case02.npy", np.full((5, 5), 2.5))
    with pytest.raises(DataError, match="weights of the size of the masks"):
        load_folder(root)


def test_volumes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(6):
        size = (5 + index, 6, 1 if index == 3 else 7)
        labels = random.integers(0, 3, size=size).astype(np.uint8)
        for folder, volume in (("images", random.normal(size=size).astype(np.float32)), ("masks", labels)):
            path = tmp_path / folder / f"v{index}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)  # type: ignore[no-untyped-call]
    data = load_folder(tmp_path)
    assert (data.spatial_dims, data.channels, data.num_classes) == (3, 1, 3)
    sample = data.read("v3")
    assert sample.image.shape == (1, 8, 6, 1)
    assert sample.label.shape == (8, 6, 1)


# --- training labels ------------------------------------------------------------------------------------------------


def _scribbled(root: Path, unlabelled: int = 255, classes: Any = None) -> Path:
    named = {"train": [f"case{i:02d}" for i in range(12)], "val": ["case12"], "test": ["case13"]}
    _folder(
        root, 14, classes={"classes": ["a", "b"], "ignore_index": None} if classes is None else classes, splits=named
    )
    for index in range(12):
        scribble = np.full((12, 16), unlabelled, dtype=np.uint8)
        scribble[3, 2:5], scribble[3, 12:15] = 0, 1
        write_png(root / "scribbles" / f"case{index:02d}.png", scribble)
    return root


def test_training_labels(tmp_path: Path) -> None:
    data = load_folder(_scribbled(tmp_path), train_labels="scribbles")
    assert data.ignore_index == 255  # nothing is ignored in the masks, but pixels are unlabelled
    weak, full = data.read("case00", "train").label, data.read("case00").label
    assert np.unique(weak).tolist() == [0, 1, 255]
    np.testing.assert_array_equal(full, blocks([0, 1]))
    assert "cover 3.12% of its pixels" in " ".join(data.notes)
    with pytest.raises(DataError, match="a training label"):
        data.read("case13", "train")


def test_training_labels_by_path_are_the_same(tmp_path: Path) -> None:
    root = _scribbled(tmp_path / "data")
    (root / "scribbles").rename(tmp_path / "elsewhere")
    data = load_folder(root, train_labels=str(tmp_path / "elsewhere"))
    assert np.unique(data.read("case00", "train").label).tolist() == [0, 1, 255]


def test_masks_may_not_hold_what_only_scribbles_do(tmp_path: Path) -> None:
    root = _scribbled(tmp_path)
    write_png(root / "masks" / "case13.png", blocks([0, 255]))
    data = load_folder(root, train_labels="scribbles")
    with pytest.raises(DataError, match=r"255 \(96 pixels\)"):
        data.read("case13")


def test_training_labels_that_are_wrong(tmp_path: Path) -> None:
    root = _scribbled(tmp_path, unlabelled=2)
    with pytest.raises(DataError, match='"ignore_index": 2'):
        load_folder(root, train_labels="scribbles")
    with pytest.raises(DataError, match="Folders there: masks, scribbles"):
        load_folder(root, train_labels="points")
    (root / "scribbles" / "case05.png").unlink()
    with pytest.raises(DataError, match="1 image without one: case05"):
        load_folder(root, train_labels="scribbles")


# --- the memory of counts -----------------------------------------------------------------------------------------------


def test_changed_masks_are_counted_again(tmp_path: Path) -> None:
    """What is remembered of a file holds only as long as the file is the same."""
    import os

    root = _folder(tmp_path, 60)
    old = 1_000_000_000
    for file in (root / "masks").iterdir():
        os.utime(file, (old, old))
    assert load_folder(root).num_classes == 2
    assert list((Path(os.environ["SEGCRIT_CACHE"]) / "index").iterdir())
    write_png(root / "masks" / "case07.png", blocks([0, 1, 2]))
    assert load_folder(root).num_classes == 3


def test_a_damaged_memory_is_no_harm(tmp_path: Path) -> None:
    import os

    root = _folder(tmp_path, 60)
    for file in [*(root / "masks").iterdir(), *(root / "images").iterdir()]:
        os.utime(file, (1_000_000_000, 1_000_000_000))
    first = load_folder(root)
    for file in (Path(os.environ["SEGCRIT_CACHE"]) / "index").iterdir():
        file.write_text("{broken")
    assert load_folder(root).splits == first.splits


@pytest.mark.parametrize(("shape", "code"), [((6, 5, 6), "axes-unknown"), ((4, 5, 6), "sizes-differ")])
def test_array_masks_in_the_order_of_simpleitk_beside_nifti_images(
    tmp_path: Path, shape: tuple[int, ...], code: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for index in range(6):
        volume = np.random.default_rng(index).integers(0, 2, shape).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "images" / f"{index}.nii.gz")
        np.save(tmp_path / "masks" / f"{index}.npy", volume.T)
    try:
        problems = load_folder(tmp_path).problems
    except FolderError as error:
        problems = error.problems
    assert [problem.code for problem in problems] == [code]
    assert "SimpleITK" in problems[0].advice
