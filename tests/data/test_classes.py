"""Classes from classes.json, and inferred from masks; what cannot be told is an error that says how to tell it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcrit.core.errors import DataError, SegcritError
from segcrit.data.coding.classes import build_table, read_classes_file
from segcrit.data.coding.mask_coding import LabelCoding, value_ranges
from segcrit.data.folders.folder import load_folder
from segcrit.data.problems import FolderError
from tests.data.making import blocks, photo, write_folder, write_json, write_png


def _masks(*values: list[int], count: int = 6) -> dict[str, Any]:
    return {f"m{index:02d}": blocks(values[index % len(values)]) for index in range(count)}


def _named(*names: str) -> dict[str, Any]:
    return {"classes": [{"index": index, "name": name} for index, name in enumerate(names)]}


# --- inferred -------------------------------------------------------------------------------------------------------


def test_small_ids_are_classes(tmp_path: Path) -> None:
    data = load_folder(write_folder(tmp_path, _masks([0, 1, 2])))
    assert data.class_names == ("class 0", "class 1", "class 2")
    assert data.ignore_index is None
    assert "no classes.json" in " ".join(data.notes)


def test_255_beside_small_ids_is_ignored(tmp_path: Path) -> None:
    data = load_folder(write_folder(tmp_path, _masks([0, 1, 2, 255])))
    assert (data.num_classes, data.ignore_index) == (3, 255)
    assert set(np.unique(data.read(data.ids[0]).label)) == {0, 1, 2, 255}


def test_0_and_255_are_two_classes(tmp_path: Path) -> None:
    data = load_folder(write_folder(tmp_path, _masks([0, 255])))
    assert data.class_names == ("background", "foreground")
    assert set(np.unique(data.read(data.ids[0]).label)) == {0, 1}
    assert "0 and 255 only" in " ".join(data.notes)


def test_0_1_and_255_are_two_classes_and_ignored(tmp_path: Path) -> None:
    data = load_folder(write_folder(tmp_path, _masks([0, 1, 255])))
    assert (data.num_classes, data.ignore_index) == (2, 255)


def test_gaps_are_closed_and_told(tmp_path: Path) -> None:
    data = load_folder(write_folder(tmp_path, _masks([0, 3, 7])))
    assert data.class_names == ("class 0", "class 3", "class 7")
    np.testing.assert_array_equal(data.read_label(data.ids[0]), blocks([0, 1, 2]))
    assert "gaps" in " ".join(data.notes)


def test_one_negative_value_is_ignored(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 1]))
    for file in (root / "masks").iterdir():
        np.save(file.with_suffix(".npy"), blocks([0, 1, -1], dtype=np.int16))
        file.unlink()
    data = load_folder(root)
    label = data.read_label(data.ids[0])
    assert data.num_classes == 2
    assert data.ignore_index == -1
    np.testing.assert_array_equal(label, blocks([0, 1, -1], dtype=np.int64))


@pytest.mark.parametrize(
    "values", [[0, 128, 255], [0, 85, 170, 255], [0, 128, 255, 3, 254]], ids=["trimap", "four greys", "stray values"]
)
def test_grey_levels_are_named(tmp_path: Path, values: list[int]) -> None:
    root = write_folder(tmp_path, _masks(values))
    with pytest.raises(DataError, match=r"grey levels|smooth edges") as caught:
        load_folder(root)
    message = str(caught.value)
    assert "128" in message or "85" in message
    assert '"value"' in message  # how to tell the classes


def test_grey_levels_can_be_told(tmp_path: Path) -> None:
    """The remedy that the error names works."""
    masks = {name: mask.copy() for name, mask in _masks([0, 128, 255]).items()}
    masks["m00"][0, :3] = 3
    root = write_folder(tmp_path, masks)
    listed = [{"index": index, "name": f"grey {value}", "value": value} for index, value in enumerate((0, 128, 255))]
    write_json(root / "classes.json", {"classes": listed, "unknown": "nearest"})
    data = load_folder(root)
    np.testing.assert_array_equal(data.read_label("m01"), blocks([0, 1, 2]))
    np.testing.assert_array_equal(data.read_label("m00"), blocks([0, 1, 2]))  # 3 is nearest to 0
    write_json(root / "classes.json", {"classes": listed, "unknown": "ignore"})
    data = load_folder(root)
    assert data.read_label("m00")[0, :3].tolist() == [data.ignore_index] * 3
    write_json(root / "classes.json", {"classes": listed})
    with pytest.raises(DataError, match=r"3 \(3 pixels\)"):
        load_folder(root)


def test_grey_edges_of_binary_masks_are_named(tmp_path: Path) -> None:
    small = Image.fromarray(blocks([0, 255], (8, 8)))
    smooth = np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC))
    assert len(np.unique(smooth)) > 8
    root = write_folder(tmp_path, {f"m{index}": smooth for index in range(4)})
    with pytest.raises(DataError, match="smooth edges or JPEG"):
        load_folder(root)


def test_masks_that_say_1_and_masks_that_say_255(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 1], [0, 255]))
    with pytest.raises(DataError, match=r"3 masks of 0 and 1 and 3 masks of 0 and 255") as caught:
        load_folder(root)
    assert '"values": [1, 255]' in str(caught.value)
    listed = [{"index": 0, "name": "background"}, {"index": 1, "name": "foreground", "values": [1, 255]}]
    write_json(root / "classes.json", {"classes": listed})
    data = load_folder(root)
    for name in data.ids:
        np.testing.assert_array_equal(data.read_label(name), blocks([0, 1]))


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("classes", [None, {"classes": ["a", "b", "c"]}, {"num_classes": 3}])
def test_two_codings_in_one_folder(tmp_path: Path, classes: Any, colour: bool) -> None:
    masks = _masks([0, 1, 2], [0, 128, 255])
    if colour:
        masks = {name: np.stack([mask] * 3, axis=-1) for name, mask in masks.items()}
    root = write_folder(tmp_path, masks, classes=classes)
    with pytest.raises(FolderError) as caught:
        load_folder(root)
    assert caught.value.problems[0].code == "mixed-coding"
    advised = re.search(r"in classes.json: (\{.*\}); if", str(caught.value))
    assert advised is not None
    write_json(root / "classes.json", json.loads(advised[1].replace('"..."', '"a"', 1)))
    data = load_folder(root)
    for name in data.ids:
        np.testing.assert_array_equal(data.read_label(name), blocks([0, 1, 2]))


def test_undeclared_ignored_values_are_a_warning(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 1, 255]))
    assert [(entry.code, entry.severity) for entry in load_folder(root).problems] == [("ignored-undeclared", "warning")]
    write_json(root / "classes.json", {"num_classes": 2})
    assert [entry.code for entry in load_folder(root).problems] == ["ignored-undeclared"]
    write_json(root / "classes.json", {"num_classes": 2, "ignore_index": 255})
    assert not load_folder(root).problems


def test_a_foreground_that_nobody_sees_is_an_error(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 255]), classes={"classes": ["a", "b"]})
    with pytest.raises(FolderError) as caught:
        load_folder(root)
    assert caught.value.problems[0].code == "masks-0-255"


@pytest.mark.parametrize(
    ("values", "classes"),
    [([0, 128, 255], [0, 128, 255]), ([0, 85, 170, 255], [0, 85, 170, 255]), ([0, 250, 255], [0, 250, 255])],
)
def test_advice_merges_no_value_with_a_real_share(tmp_path: Path, values: list[int], classes: list[int]) -> None:
    masks = _masks(values)
    masks["m00"] = masks["m00"].copy()
    masks["m00"][0, 0] = 60  # a stray value
    with pytest.raises(DataError) as caught:
        load_folder(write_folder(tmp_path, masks))
    assert [int(value) for value in re.findall(r'"value": (\d+)', str(caught.value))] == classes


def test_the_share_that_takes_the_nearest_class_is_told(tmp_path: Path) -> None:
    listed = [{"index": index, "name": str(value), "value": value} for index, value in enumerate((0, 255))]
    root = write_folder(tmp_path, _masks([0, 128, 255]), classes={"classes": listed, "unknown": "nearest"})
    (problem,) = load_folder(root).problems
    assert (problem.code, problem.severity) == ("values-moved", "warning")
    assert "128 (31.25%)" in problem.message
    masks = {name: np.where(mask == 128, 255, mask).astype(np.uint8) for name, mask in _masks([0, 128, 255]).items()}
    masks["m00"][0, 0] = 60
    root = write_folder(tmp_path, masks)
    (problem,) = load_folder(root).problems
    assert (problem.code, problem.severity) == ("values-moved", "note")


def test_palette_and_grey_masks_in_one_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 1, 2]))
    palette = [0, 0, 0, 255, 0, 0, 0, 255, 0] + [9] * (253 * 3)
    for name in ("m00", "m01"):
        write_png(root / "masks" / f"{name}.png", blocks([0, 1, 2]), palette=palette)
    data = load_folder(root)
    assert "palette (2)" in " ".join(data.notes)
    assert data.classes[1].color == (255, 0, 0)
    for name in data.ids:
        np.testing.assert_array_equal(data.read_label(name), blocks([0, 1, 2]))


def test_numbered_objects_are_no_classes(tmp_path: Path) -> None:
    masks = {f"m{n}": np.arange(n * 8).reshape(n, 8).astype(np.uint8) for n in range(4, 10)}
    with pytest.raises(DataError, match="numbered objects"):
        load_folder(write_folder(tmp_path, masks))


def test_colour_masks_need_classes(tmp_path: Path) -> None:
    colors = np.array([[128, 64, 128], [0, 0, 142]], dtype=np.uint8)[blocks([0, 1])]
    root = write_folder(tmp_path, {f"m{index}": colors for index in range(4)})
    with pytest.raises(DataError, match=r"4 colour masks with 2 colours .*\(128, 64, 128\)"):
        load_folder(root)
    listed = [{"index": 0, "name": "road", "color": [128, 64, 128]}, {"index": 1, "name": "car", "color": "#00008e"}]
    write_json(root / "classes.json", {"classes": listed})
    data = load_folder(root)
    np.testing.assert_array_equal(data.read_label("m0"), blocks([0, 1]))


def test_one_value_everywhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the value 0 everywhere"):
        load_folder(write_folder(tmp_path, _masks([0])))


@pytest.mark.parametrize(
    ("name", "text", "names", "stored"),
    [
        ("names.txt", "\ufeffbackground\n\n# a remark\n天空\n", ("background", "天空"), [0, 1]),
        ("labels.txt", "__ignore__\n_background_\ncat\n", ("_background_", "cat"), [0, 1]),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:1,2,3::\nsea:4,5,6::\n", ("sky", "sea"), [0, 1]),
        ("objectInfo.txt", "Idx\tRatio\tName\n1\t0.2\twall, brick\n2\t0.1\tfloor\n", ("wall", "floor"), [1, 2]),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,3\nsea,4,5,6\n", ("sky", "sea"), [0, 1]),
        ("coco.txt", "7: person\n9: car\n", ("person", "car"), [7, 9]),
    ],
)
def test_text_files_of_class_names(
    tmp_path: Path, name: str, text: str, names: tuple[str, ...], stored: list[int]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = build_table(read_classes_file(tmp_path / name), tmp_path / name)
    assert tuple(entry.name for entry in table.classes) == names
    assert list(table.coding.classes) == stored
    if ":1,2,3" in text or "r,g,b" in text:
        assert [entry.color for entry in table.classes] == [(1, 2, 3), (4, 5, 6)]


# --- classes.json ---------------------------------------------------------------------------------------------------


def test_classes_with_gaps_are_renumbered(tmp_path: Path) -> None:
    listed = [{"index": 7, "name": "seven"}, {"index": 0, "name": "zero"}, {"index": 3, "name": "three"}]
    root = write_folder(tmp_path, _masks([0, 3, 7, 255]), classes={"num_classes": 3, "classes": listed})
    data = load_folder(root)
    assert data.class_names == ("zero", "three", "seven")
    np.testing.assert_array_equal(data.read_label("m00"), blocks([0, 1, 2, 255]))


def test_void_right_after_the_last_class(tmp_path: Path) -> None:
    classes = _named("a", "b", "c")
    root = write_folder(tmp_path, _masks([0, 1, 2, 3]), classes=classes)
    with pytest.raises(DataError, match=r"3 \(48 pixels\)"):
        load_folder(root)  # a split is made, for which the labels are counted
    write_json(root / "classes.json", classes | {"ignore_index": 3})
    data = load_folder(root)
    assert (data.num_classes, data.ignore_index) == (3, 3)
    np.testing.assert_array_equal(data.read_label("m00"), blocks([0, 1, 2, 3]))


def test_void_listed_as_a_class(tmp_path: Path) -> None:
    listed = [*_named("a", "b")["classes"], {"index": 255, "name": "void", "color": [0, 0, 0]}]
    root = write_folder(tmp_path, _masks([0, 1, 255]), classes={"classes": listed, "ignore_index": 255})
    data = load_folder(root)
    assert data.class_names == ("a", "b")
    assert data.ignore_index == 255


def test_ignored_colour(tmp_path: Path) -> None:
    listed: list[dict[str, Any]] = [
        {"index": 0, "name": "a", "color": [10, 0, 0]},
        {"index": 1, "name": "b", "color": [0, 10, 0]},
        {"index": 255, "name": "void", "color": [9, 9, 9]},
    ]
    colors = np.array([[10, 0, 0], [0, 10, 0], [9, 9, 9]], dtype=np.uint8)[blocks([0, 1, 2])]
    root = write_folder(
        tmp_path, {f"m{index}": colors for index in range(4)}, classes={"classes": listed, "ignore_index": 255}
    )
    np.testing.assert_array_equal(load_folder(root).read_label("m0"), blocks([0, 1, 255]))


def test_ignored_value_that_is_a_label_after_renumbering(tmp_path: Path) -> None:
    listed = [{"index": index, "name": str(index)} for index in (0, 5, 9)]
    root = write_folder(tmp_path, _masks([0, 5, 9, 2]), classes={"classes": listed, "ignore_index": 2})
    data = load_folder(root)
    assert data.ignore_index == 255
    np.testing.assert_array_equal(data.read_label("m00"), blocks([0, 1, 2, 255]))


def test_more_classes_than_names(tmp_path: Path) -> None:
    root = write_folder(tmp_path, _masks([0, 1]), classes=_named("a", "b") | {"num_classes": 4})
    data = load_folder(root)
    assert data.class_names == ("a", "b", "class 2", "class 3")


def test_class_numbers_alone(tmp_path: Path) -> None:
    assert load_folder(write_folder(tmp_path, _masks([0, 1]), classes={"num_classes": 2})).num_classes == 2


def test_300_classes_get_wide_labels(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {f"m{i}": blocks([0, 255, 299], dtype=np.uint16) for i in range(4)})
    write_json(root / "classes.json", {"num_classes": 300, "ignore_index": None})
    data = load_folder(root)
    assert data.read_label("m0").dtype == np.int64
    assert data.read_label("m0").max() == 299
    write_json(root / "classes.json", {"num_classes": 300})
    assert load_folder(root).ignore_index is None  # 255 is assumed to be void only where it is no class


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "readable classes.json"),
        ("[1]", "an object"),
        ("{}", "a list 'classes'"),
        ('{"num_classes": 0}', "positive integer"),
        ('{"num_classes": 2, "classes": ["a", "b", "c"]}', r"2 classes .* 3 \(indices 0-2\)"),
        ('{"classes": ["only"]}', "at least two classes"),
        ('{"classes": [{"index": 0, "name": "a"}, {"index": 0, "name": "b"}]}', "index 0 twice"),
        ('{"classes": ["a", "b"], "ignore_index": "void"}', "integer or null"),
        ('{"classes": ["a", "b"], "unknown": "guess"}', '"error", "ignore" or "nearest"'),
        ('{"classes": [{"index": 0, "value": 1}, {"index": 1}]}', "one meaning for the value 1"),
        ('{"classes": [{"index": 0, "color": [0, 0, 300]}, {"index": 1}]}', "colour"),
    ],
)
def test_wrong_classes_files(tmp_path: Path, content: str, message: str) -> None:
    root = write_folder(tmp_path, _masks([0, 1]))
    (root / "classes.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_folder(root)


# --- the coding itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_decoding_is_a_lookup(dtype: Any) -> None:
    coding = LabelCoding({0: 0, 5: 1, 100: 2}, ignored=(7,), ignore_index=255)
    stored = np.random.default_rng(0).choice([0, 5, 7, 100], size=(9, 11)).astype(dtype)
    expected = np.vectorize({0: 0, 5: 1, 7: 255, 100: 2}.__getitem__)(stored)
    np.testing.assert_array_equal(coding.decode_values(stored), expected)


def test_large_and_negative_values_are_searched() -> None:
    coding = LabelCoding({-3: 0, 10**9: 1})
    assert coding.decode_values(np.array([[10**9, -3]])).tolist() == [[1, 0]]
    with pytest.raises(DataError, match=r"4 \(1 pixels\)"):
        coding.decode_values(np.array([[10**9, 4]]))


def test_decoding_leaves_its_input_alone() -> None:
    stored = np.array([[0, 255]], dtype=np.uint8)
    LabelCoding({0: 0, 255: 1}).decode_values(stored)
    assert stored.tolist() == [[0, 255]]


def test_ranges() -> None:
    assert value_ranges([3, 1, 2, 9, 2]) == "1-3, 9"
    assert photo().shape == (12, 16, 3)


# --- the background -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said", "expected"),
    [
        (["background", "cell"], {}, 0),
        (["Background ", "cell"], {}, 0),
        (["water", "forest"], {}, None),
        (["class 0", "cell"], {}, 0),
        (["water", "ship"], {"background": 0}, 0),
        (["other", "road"], {"background": None}, None),
    ],
)
def test_class_0_is_the_background_by_its_name_or_as_said(
    tmp_path: Path, names: list[str], said: dict[str, Any], expected: int | None
) -> None:
    write_json(write_folder(tmp_path, _masks([0, 1])) / "classes.json", _named(*names) | said)
    assert load_folder(tmp_path).background == expected


def test_another_class_as_background_is_refused(tmp_path: Path) -> None:
    write_json(write_folder(tmp_path, _masks([0, 1])) / "classes.json", _named("cell", "rest") | {"background": 1})
    with pytest.raises(DataError, match=r'0 or null as "background".*got 1'):
        load_folder(tmp_path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("unknown", ["error", "ignore", "nearest"])
def test_bytes_are_decoded_as_wider_integers_are(order: str, unknown: str) -> None:
    coding = LabelCoding({0: 0, 7: 1, 200: 2}, (255,), 255, unknown=unknown)
    values = [0, 7, 200, 255] if unknown == "error" else list(range(256))
    stored = np.asarray(np.random.default_rng(0).choice(values, (40, 50)), dtype=np.uint8, order=order)
    labels = coding.decode_values(stored)
    assert labels.tolist() == coding.decode_values(stored.astype(np.int32)).tolist()
    assert labels.flags.writeable
    assert labels.shape == stored.shape


@pytest.mark.parametrize("content", [{"num_classes": 10_001}, {"classes": [f"c{index}" for index in range(10_001)]}])
def test_more_classes_than_can_be_counted(tmp_path: Path, content: dict[str, Any]) -> None:
    root = write_folder(tmp_path, _masks([0, 1]), classes=content)
    with pytest.raises(SegcritError, match="10,000"):
        load_folder(root)
