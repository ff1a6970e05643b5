"""Data sets as they are downloaded or exported: found by the names of their folders, with their splits and classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcrit.cli import main
from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from segcrit.data.problems import FolderError
from tests.data.making import blocks, photo, write_json, write_png

SIZE = (8, 8)


def _pair(image: Path, mask: Path, values: Sequence[int]) -> None:
    write_png(image, photo(SIZE))
    write_png(mask, blocks(values, SIZE))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _cityscapes(root: Path, kinds: Iterable[str] = ("labelIds", "color", "instanceIds")) -> None:
    for split, city, count in (("train", "aachen", 3), ("val", "lindau", 2), ("test", "berlin", 1)):
        for index in range(count):
            name = f"{city}_{index:06}_000019"
            write_png(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", photo(SIZE))
            for kind in kinds:
                values = [0, 1, 255] if kind == "labelTrainIds" else [7, 8, 26, 3] if split != "test" else [0, 3]
                write_png(root / "gtFine" / split / city / f"{name}_gtFine_{kind}.png", blocks(values, SIZE))
            _text(root / "gtFine" / split / city / f"{name}_gtFine_polygons.json", "{}")


def _voc(root: Path) -> None:
    names = [f"2007_{index:06}" for index in range(9)]
    for name in names:
        write_png(root / "JPEGImages" / f"{name}.jpg", photo(SIZE))
        _text(root / "Annotations" / f"{name}.xml", "")
    for name in names[:6]:
        write_png(root / "SegmentationClass" / f"{name}.png", blocks([0, 5, 255], SIZE))
    for split, members in (("train", names[:4]), ("val", names[4:6]), ("trainval", names[:6])):
        _text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(members))


def _ade(root: Path) -> None:
    for split, word, count in (("training", "train", 4), ("validation", "val", 2)):
        for index in range(count):
            name = f"ADE_{word}_{index:08}"
            _pair(root / "images" / split / f"{name}.jpg", root / "annotations" / split / f"{name}.png", [0, 1, 150])
    rows = [f"{value}\t0.1\t1\t1\t0\tthing {value}, other" for value in range(1, 151)]
    _text(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n" + "\n".join(rows))


def _carvana(root: Path) -> None:
    for index in range(6):
        _pair(root / "train" / f"car_{index:02}.jpg", root / "train_masks" / f"car_{index:02}_mask.png", [0, 255])
    write_png(root / "test" / "other_01.jpg", photo(SIZE))


def _loveda(root: Path) -> None:
    number = 0
    for split, count in (("Train", 2), ("Val", 1)):
        for area in ("Urban", "Rural"):
            for _ in range(count):
                folder = root / split / area
                _pair(folder / "images_png" / f"{number}.png", folder / "masks_png" / f"{number}.png", [0, 1, 7])
                number += 1
    write_png(root / "Test" / "Urban" / "images_png" / "90.png", photo(SIZE))


def _coco(root: Path) -> None:
    for split, count in (("train2017", 4), ("val2017", 2)):
        for index in range(count):
            name = f"{index + 10 * len(split):012}"
            _pair(root / split / f"{name}.jpg", root / "stuffthingmaps" / split / f"{name}.png", [0, 1, 181, 255])


def _coco_in_folders(root: Path) -> None:
    for split, count in (("train2017", 4), ("val2017", 2)):
        for index in range(count):
            name = f"{index + 10 * len(split):012}"
            _pair(root / "images" / split / f"{name}.jpg", root / "annotations" / split / f"{name}.png", [0, 1, 2])


def _cvat(root: Path) -> None:
    colors = np.array([[0, 0, 0], [255, 53, 94], [51, 221, 255]], dtype=np.uint8)
    for index in range(6):
        write_png(root / "JPEGImages" / f"frame_{index:06}.png", photo(SIZE))
        write_png(root / "SegmentationClass" / f"frame_{index:06}.png", colors[blocks([0, 1, 2], SIZE)])
    _text(
        root / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nrust:255,53,94::\ntank:51,221,255::\n",
    )
    _text(root / "ImageSets" / "Segmentation" / "default.txt", "frame_000000\n")


def _supervisely(root: Path) -> None:
    for part in ("one", "two"):
        for index in range(3):
            write_png(root / part / "img" / f"{index}.jpg", photo(SIZE))
            mask = np.repeat(blocks([0, 1, 2], SIZE)[..., None], 3, axis=2)
            write_png(root / part / "masks_machine" / f"{index}.png", mask)
            write_png(root / part / "masks_human" / f"{index}.png", photo(SIZE))
            write_json(root / part / "ann" / f"{index}.jpg.json", {})
    write_json(
        root / "meta.json", {"classes": [{"title": "chip", "color": "#F6FF00"}, {"title": "hole", "color": "#00FF06"}]}
    )
    write_json(root / "obj_class_to_machine_color.json", {"chip": [1, 1, 1], "hole": [2, 2, 2]})


def _nnunet(root: Path) -> None:
    for part, count in (("Tr", 6), ("Ts", 2)):
        for index in range(count):
            name = f"case{part}_{index:03}"
            _pair(root / f"images{part}" / f"{name}_0000.png", root / f"labels{part}" / f"{name}.png", [0, 1])
    described = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "cyst": 1}}
    write_json(root / "dataset.json", described | {"file_ending": ".png"})


def _split_folders(root: Path) -> None:
    for split in ("train", "valid", "test"):
        for index in range(3):
            _pair(root / split / "images" / f"{index}.png", root / split / "labels" / f"{index}.png", [0, 1, 2])


# layout: (how it is made, images in train, val and test, classes, names of the first ones, an id)
LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[int, int, int], int, tuple[str, ...], str]] = {
    "Cityscapes": (_cityscapes, (3, 1, 1), 19, ("road", "sidewalk"), "aachen/aachen_000000_000019"),
    "VOC": (_voc, (4, 1, 1), 21, ("background", "aeroplane"), "2007_000000"),
    "ADE20K": (_ade, (4, 1, 1), 150, ("thing 1", "thing 2"), "ADE_train_00000000"),
    "Carvana": (_carvana, (4, 1, 1), 2, ("background", "foreground"), "car_00"),
    "LoveDA": (_loveda, (4, 1, 1), 7, ("background", "building", "road"), "Urban/0"),
    "COCO-Stuff": (_coco, (4, 1, 1), 182, ("class 0", "class 1"), "000000000090"),
    "COCO-Stuff in folders": (_coco_in_folders, (4, 1, 1), 3, ("class 0",), "000000000090"),
    "CVAT": (_cvat, (4, 1, 1), 3, ("background", "rust", "tank"), "frame_000000"),
    "Supervisely": (_supervisely, (4, 1, 1), 3, ("background", "chip", "hole"), "one/0"),
    "nnU-Net": (_nnunet, (5, 1, 2), 2, ("background", "cyst"), "caseTs_000"),
    "split folders": (_split_folders, (3, 3, 3), 3, ("class 0",), "train/0"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_works_as_it_is(tmp_path: Path, layout: str) -> None:
    make, sizes, classes, names, one = LAYOUTS[layout]
    make(tmp_path)
    data = load_folder(tmp_path)
    assert tuple(len(data.splits[split]) for split in ("train", "val", "test")) == sizes
    assert (data.num_classes, data.class_names[: len(names)]) == (classes, names)
    assert one in data.cases
    for name in data.ids:
        label = data.read(name).label
        kept = label[label != data.ignore_index]
        assert kept.size
        assert kept.max() < classes


def test_the_guide_lists_these_layouts() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/odd-folders.md").read_text(encoding="utf-8")
    table = guide.split("| layout |")[1].split("\n\n")[0]
    assert {line.split("|")[1].strip() for line in table.splitlines()[2:]} == {"segcrit", *LAYOUTS}


def test_values_of_downloaded_labels(tmp_path: Path) -> None:
    _cityscapes(tmp_path / "cityscapes")
    _loveda(tmp_path / "loveda")
    for folder, labels in (("cityscapes", [0, 1, 13, 255]), ("loveda", [0, 6, 255])):
        data = load_folder(tmp_path / folder)
        assert np.unique(data.read(data.splits["train"][0]).label).tolist() == labels


def test_of_two_numberings_that_for_training_is_taken_and_told(tmp_path: Path) -> None:
    _cityscapes(tmp_path, ("labelIds", "labelTrainIds", "color"))
    data = load_folder(tmp_path)
    assert np.unique(data.read(data.splits["train"][0]).label).tolist() == [0, 1, 255]
    assert any("labelTrainIds" in note for note in data.notes)
    chosen = load_folder(tmp_path, pair="(.+)_leftImg8bit|(.+)_gtFine_labelIds")
    assert np.unique(chosen.read(chosen.splits["train"][0]).label).tolist() == [0, 1, 13, 255]
    # A map is for one of them: which one is asked.
    words = [
        "evaluate",
        str(tmp_path / "gtFine" / "val"),
        str(tmp_path / "gtFine" / "val"),
        "--map",
        "7:0,8:1,*:ignore",
    ]
    assert (
        main([*words, "--map-predictions", "same", "--pair", "(.+)_gtFine_labelIds", "--out", str(tmp_path / "o")]) == 0
    )


def test_a_folder_around_the_data_set(tmp_path: Path) -> None:
    _voc(tmp_path / "VOCdevkit" / "VOC2012")
    assert len(load_folder(tmp_path / "VOCdevkit").splits["train"]) == 4


def test_shapes_of_supervisely_are_no_masks(tmp_path: Path) -> None:
    _supervisely(tmp_path)
    for part in ("one", "two"):
        for folder in ("masks_machine", "masks_human"):
            for file in (tmp_path / part / folder).iterdir():
                file.unlink()
            (tmp_path / part / folder).rmdir()
    with pytest.raises(FolderError, match="masks_machine"):
        load_folder(tmp_path)


def test_folders_inside_are_read(tmp_path: Path) -> None:
    for index in range(6):
        folder = "more/deep" if index % 2 else ""
        _pair(tmp_path / "images" / folder / f"{index}.png", tmp_path / "masks" / folder / f"{index}.png", [0, 1])
    data = load_folder(tmp_path)
    assert sorted(data.ids) == ["0", "2", "4", "more/deep/1", "more/deep/3", "more/deep/5"]
    assert any("more/deep" in note for note in data.notes)


def test_the_field_of_view_of_drive_is_no_label(tmp_path: Path) -> None:
    """images, 1st_manual and mask (the field of view); the test images may have no labels."""
    for split, first in (("training", 21), ("test", 1)):
        for number in range(first, first + 4):
            write_png(tmp_path / split / "images" / f"{number:02}_{split}.png", photo(SIZE))
            write_png(tmp_path / split / "mask" / f"{number:02}_{split}_mask.png", blocks([0, 255, 255, 255], SIZE))
            if split == "training":
                write_png(tmp_path / split / "1st_manual" / f"{number:02}_manual1.png", blocks([0, 255], SIZE))
    data = load_folder(tmp_path)
    assert sorted(data.ids) == ["21", "22", "23", "24"]
    seen = load_folder(tmp_path, valid="mask").read("21").label
    assert np.unique(seen[:, :2]).tolist() == [255]
    assert np.unique(seen[:, 2:]).tolist() == [0, 1]


def test_folders_of_other_pictures_beside_the_files_are_left_out(tmp_path: Path) -> None:
    for index in range(6):
        _pair(tmp_path / "images" / f"{index}.png", tmp_path / "masks" / f"{index}.png", [0, 1])
        _pair(tmp_path / "images" / "thumbs" / f"{index}.png", tmp_path / "masks" / "shown" / f"{index}.png", [3, 4])
    data = load_folder(tmp_path)
    assert sorted(data.cases) == [str(index) for index in range(6)]
    assert any("thumbs/" in note and "left out" in note for note in data.notes)


@pytest.mark.parametrize("listed", [True, False])
def test_images_without_masks_beside_lists_of_the_others(tmp_path: Path, listed: bool) -> None:
    for index in range(8):
        write_png(tmp_path / "images" / f"{index}.png", photo(SIZE))
        if index < 6:
            write_png(tmp_path / "masks" / f"{index}.png", blocks([0, 1], SIZE))
    last = "5" if listed else "5\n7"
    for split, names in (("train", "0\n1\n2"), ("val", "3\n4"), ("test", last)):
        _text(tmp_path / "splits" / f"{split}.txt", names)
    if listed:
        data = load_folder(tmp_path)
        assert sorted(data.cases) == [str(index) for index in range(6)]
        assert any("2 images without a mask" in note for note in data.notes)
    else:
        with pytest.raises(FolderError) as caught:
            load_folder(tmp_path)
        (problem,) = caught.value.problems
        assert (problem.code, problem.files) == ("image-without-mask", ("7",))


def test_folders_of_another_name_are_not_left_out_silently(tmp_path: Path) -> None:
    """images/val beside masks/evaluation: not a folder without masks, but one whose masks are called otherwise."""
    for split, other in (("train", "train"), ("val", "evaluation")):
        for index in range(4):
            name = f"{split}{index}.png"
            mask = name if split == "train" else f"e{index}.png"
            _pair(tmp_path / "images" / split / name, tmp_path / "masks" / other / mask, [0, 1])
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert {problem.code for problem in caught.value.problems} == {"image-without-mask", "mask-without-image"}  # type: ignore[attr-defined]


def test_evaluation_knows_the_classes_of_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _cvat(tmp_path)
    for file in (tmp_path / "SegmentationClass").iterdir():
        with Image.open(file) as image:
            write_png(tmp_path / "pred" / file.name, blocks([0, 1, 2], image.size[::-1]))
    out = tmp_path / "out"
    assert main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "SegmentationClass"), "--out", str(out)]) == 0
    content = json.loads((out / "results.json").read_text())
    assert "tank" in json.dumps(content)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("training/image_2", "training/semantic"), ("Original", "Ground Truth"), ("input", "target"), ("img", "seg")],
)
def test_folders_of_further_names(tmp_path: Path, images: str, masks: str) -> None:
    for index in range(6):
        write_png(tmp_path / images / f"{index}_10.png", photo(seed=index))
        write_png(tmp_path / masks / f"{index}_10.png", blocks([0, 1, 2]))
    assert len(load_folder(tmp_path).ids) == 6
