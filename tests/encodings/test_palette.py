"""Palette: colours both ways, palette images, well-known sets, and what is said about unknown colours."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segcrit.core.errors import DataError, DtypeError, LabelError, ParameterError, ShapeError
from segcrit.labels.palette import Palette

THREE = Palette([(0, 0, 0), (255, 0, 0), (0, 0, 255)], names=["background", "road", "river"])


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 40).flatmap(
        lambda classes: st.tuples(
            st.just(classes),
            st.sampled_from([255, -100, None, classes]),
            hnp.arrays(np.int64, (5, 3), elements=st.integers(0, classes)),
        )
    )
)
def test_round_trip(case: tuple[int, int | None, np.ndarray]) -> None:
    num_classes, ignore_index, labels = case
    labels = np.where(labels == num_classes, 0 if ignore_index is None else ignore_index, labels)
    palette = Palette.default(num_classes, ignore_index=ignore_index)
    colors = palette.encode(labels)
    assert colors.shape == (5, 3, 3)
    assert colors.dtype == np.uint8
    assert np.array_equal(palette.decode(colors), labels)
    image = palette.to_image(labels)
    assert np.array_equal(palette.labels_from_image(image), labels)
    assert np.array_equal(np.asarray(image.convert("RGB")), colors)


def test_encode_is_its_definition() -> None:
    labels = torch.tensor([[0, 1], [2, 255]])
    for dtype in (torch.uint8, torch.int64, torch.int32, torch.uint16):
        colors = THREE.encode(labels.to(dtype))
        assert colors.tolist() == [[[0, 0, 0], [255, 0, 0]], [[0, 0, 255], list(THREE.ignore_color)]]


def test_any_shape_is_encoded() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (2, 3, 4, 5))
    assert np.array_equal(THREE.decode(THREE.encode(labels)), labels)
    assert THREE.encode(np.array(1)).tolist() == [255, 0, 0]


def test_decoded_labels_have_the_smallest_usual_type() -> None:
    assert THREE.decode(THREE.encode(np.array([0, 255]))).dtype == np.uint8
    signed = Palette(THREE.colors, ignore_index=-100)
    assert signed.decode(signed.encode(np.array([0, -100]))).tolist() == [0, -100]


def test_encode_refuses_labels_that_are_no_classes() -> None:
    with pytest.raises(LabelError, match="label 3 in 2 pixels"):
        THREE.encode(np.array([[3, 3, 0]]))
    with pytest.raises(LabelError, match="Pass ignore_index=255"):
        Palette(THREE.colors, ignore_index=None).encode(np.array([[255]]))


def test_the_ignore_colour_is_one_that_no_class_has() -> None:
    assert Palette([(1, 1, 1)]).ignore_color == (0, 0, 0)
    assert THREE.ignore_color == (224, 224, 192)
    assert Palette([(0, 0, 0), (224, 224, 192)]).ignore_color == (255, 255, 255)
    assert Palette([(0, 0, 0)], ignore_color="#010203").ignore_color == (1, 2, 3)


def test_items() -> None:
    assert len(THREE) == THREE.num_classes == 3
    assert list(THREE) == [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    assert THREE[2] == (0, 0, 255)
    assert THREE[255] == THREE.ignore_color
    assert THREE.hex_colors == ("#000000", "#ff0000", "#0000ff")
    with pytest.raises(LabelError):
        THREE[3]


def test_it_is_a_value() -> None:
    same = Palette(np.array(THREE.colors), names=THREE.names)
    assert same == THREE
    assert hash(same) == hash(THREE)
    assert pickle.loads(pickle.dumps(THREE)) == THREE
    assert same != Palette(THREE.colors)
    with pytest.raises(AttributeError):
        THREE.colors = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    "arguments",
    [
        {"colors": []},
        {"colors": [(0, 0)]},
        {"colors": [(0, 0, 0, 0)]},
        {"colors": [(0, 0, 256)]},
        {"colors": [(0, 0, -1)]},
        {"colors": [(0.5, 0, 0)]},
        {"colors": ["red"]},
        {"colors": ["#12345"]},
        {"colors": [7]},
        {"colors": [(0, 0, 0)], "names": ["a", "b"]},
        {"colors": [(0, 0, 0)], "ignore_index": 0},
    ],
    ids=str,
)
def test_bad_palettes(arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Palette(**arguments)


class TestUnknownColors:
    def test_few_are_named_with_pixels_and_nearest_class(self) -> None:
        colors = THREE.encode(np.array([[0, 1, 2, 2, 2]]))
        colors[0, 3:] = (10, 0, 250)
        colors[0, 0] = (250, 10, 0)
        with pytest.raises(LabelError) as caught:
            THREE.decode(colors)
        message = str(caught.value)
        assert "3 of 5 pixels in other colours" in message
        assert message.index("(10, 0, 250) in 2 pixels (nearest: class 2 'river', 11 away)") < message.index(
            "(250, 10, 0) in 1 pixels (nearest: class 1 'road', 11 away)"
        )
        assert "Add the colours to the palette" in message

    def test_a_mask_that_was_a_jpeg_is_recognised_and_can_be_rescued(self, tmp_path: Path) -> None:
        palette = Palette.named("cityscapes")
        labels = np.repeat(np.repeat(np.random.default_rng(1).integers(0, 19, (6, 6)), 32, 0), 32, 1)
        Image.fromarray(palette.encode(labels)).save(tmp_path / "mask.jpg", quality=90)
        damaged = np.asarray(Image.open(tmp_path / "mask.jpg"))
        with pytest.raises(LabelError, match=r"saved as JPEG.*tolerance=32"):
            palette.decode(damaged)
        rescued = palette.decode(damaged, tolerance=500)
        assert (rescued == labels).mean() > 0.9

    def test_interpolation_is_recognised(self) -> None:
        labels = np.repeat(np.repeat(np.random.default_rng(1).integers(0, 3, (6, 6)), 2, 0), 2, 1)
        image = Image.fromarray(THREE.encode(labels)).resize((50, 50), Image.Resampling.BILINEAR)
        with pytest.raises(LabelError, match=r"further colours\. So many colours come from resizing"):
            THREE.decode(np.asarray(image))

    def test_tolerance_is_a_distance(self) -> None:
        colors = np.array([[[255, 3, 4]]], dtype=np.uint8)
        assert THREE.decode(colors, tolerance=5).tolist() == [[1]]
        with pytest.raises(LabelError):
            THREE.decode(colors, tolerance=4.99)
        with pytest.raises(ParameterError):
            THREE.decode(colors, tolerance=float("nan"))

    def test_the_ignore_colour_is_unknown_where_nothing_is_ignored(self) -> None:
        with pytest.raises(LabelError, match="in other colours"):
            Palette(THREE.colors, ignore_index=None).decode(THREE.encode(np.array([[255]])))


@pytest.mark.parametrize(
    ("colors", "error"),
    [
        (np.zeros((3, 5, 6), np.uint8), ShapeError),
        (np.zeros((5, 6), np.uint8), ShapeError),
        (np.zeros((4, 4, 3), np.int64), DtypeError),
        (np.zeros((4, 4, 4), np.uint8), DataError),
    ],
)
def test_decode_refuses_what_is_no_colour_mask(colors: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        THREE.decode(colors)


def test_opaque_alpha_is_dropped() -> None:
    colors = np.dstack([THREE.encode(np.array([[0, 1, 2]])), np.full((1, 3), 255, np.uint8)])
    assert THREE.decode(colors).tolist() == [[0, 1, 2]]


def test_classes_of_one_colour_cannot_be_decoded() -> None:
    twins = Palette([(9, 9, 9), (9, 9, 9)])
    assert twins.encode(np.array([[0, 1]])).tolist() == [[[9, 9, 9], [9, 9, 9]]]
    with pytest.raises(ParameterError, match="entries 0 and 1"):
        twins.decode(twins.encode(np.array([[0, 1]])))


class TestImages:
    def test_indices_are_the_labels_and_colours_show(self, tmp_path: Path) -> None:
        labels = np.array([[0, 1, 2, 255]], dtype=np.uint8)
        THREE.to_image(labels).save(tmp_path / "mask.png")
        with Image.open(tmp_path / "mask.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), labels)
            assert np.array_equal(np.asarray(image.convert("RGB")), THREE.encode(labels))
            assert Palette.from_image(image) == Palette(THREE.colors)

    def test_a_negative_ignore_index_is_stored_as_the_last_entry(self) -> None:
        palette = Palette(THREE.colors, ignore_index=-100)
        image = palette.to_image(np.array([[0, -100]]))
        assert np.asarray(image).tolist() == [[0, 255]]
        assert palette.labels_from_image(image).tolist() == [[0, -100]]

    def test_entries_that_an_editor_reordered_are_read_by_colour(self) -> None:
        image = THREE.to_image(np.array([[0, 1], [2, 2]]))
        shuffled = image.remap_palette([2, 0, 1])
        assert np.asarray(shuffled).tolist() == [[1, 2], [0, 0]]
        assert THREE.labels_from_image(shuffled).tolist() == [[0, 1], [2, 2]]

    def test_an_entry_that_nobody_set_does_not_turn_ignored_pixels_into_background(self) -> None:
        # Entry 255 is black as class 0 is; read by colour, the unlabelled pixels would become background.
        image = Image.fromarray(np.array([[1, 255], [2, 255]], dtype=np.uint8))
        image.putpalette([*THREE.png_palette()[:9], *[0] * 759])
        assert THREE.labels_from_image(image).tolist() == [[1, 255], [2, 255]]

    def test_a_foreign_palette_is_read_by_index(self) -> None:
        image = Palette.named("voc").to_image(np.array([[0, 1], [2, 255]]))
        assert THREE.labels_from_image(image).tolist() == [[0, 1], [2, 255]]

    def test_grey_and_colour_images(self) -> None:
        labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
        assert np.array_equal(THREE.labels_from_image(Image.fromarray(labels)), labels)
        assert np.array_equal(THREE.labels_from_image(Image.fromarray(THREE.encode(labels))), labels)
        with pytest.raises(LabelError, match="label 7"):
            THREE.labels_from_image(Image.fromarray(np.full((2, 2), 7, np.uint8)))

    def test_limits(self) -> None:
        full = Palette.default(256)
        labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        assert np.array_equal(np.asarray(full.to_image(labels)), labels)
        with pytest.raises(ParameterError, match="256"):
            Palette(full.colors, ignore_index=-100).to_image(labels)
        with pytest.raises(ShapeError):
            THREE.to_image(np.zeros((2, 2, 2), np.uint8))
        with pytest.raises(DataError, match="mode 'L'"):
            Palette.from_image(Image.fromarray(labels))


class TestFromClasses:
    def test_pairs_names_mappings_and_objects(self) -> None:
        @dataclass
        class Info:
            index: int
            name: str
            color: tuple[int, int, int]

        expected = Palette([(1, 2, 3), (4, 5, 6)], names=["a", "b"])
        assert Palette.from_classes([("a", (1, 2, 3)), ("b", "#040506")]) == expected
        assert Palette.from_classes([Info(1, "b", (4, 5, 6)), Info(0, "a", (1, 2, 3))]) == expected
        mappings = [{"index": 0, "name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [4, 5, 6]}]
        assert Palette.from_classes(mappings) == expected

    def test_missing_colours_are_filled_without_repeats(self) -> None:
        palette = Palette.from_classes(["a", ("b", (0, 114, 178)), "c"])
        assert palette.names == ("a", "b", "c")
        assert palette.colors == ((230, 159, 0), (0, 114, 178), (0, 158, 115))

    def test_the_ignored_class_is_not_counted(self) -> None:
        palette = Palette.from_classes(
            [
                {"index": 255, "name": "void", "color": [7, 7, 7]},
                {"index": 0, "name": "a", "color": [1, 2, 3]},
            ]
        )
        assert (palette.num_classes, palette.ignore_color) == (1, (7, 7, 7))

    @pytest.mark.parametrize("indices", [[0, 2], [1, 2], [0, 0], [-1, 0]])
    def test_gaps_are_refused(self, indices: list[int]) -> None:
        with pytest.raises(ParameterError, match="without gaps"):
            Palette.from_classes([{"index": index, "name": str(index)} for index in indices])

    @pytest.mark.parametrize("item", [3, ("a",), {"name": "a", "index": "0"}, ("a", (1, 2))])
    def test_unreadable_classes_are_refused(self, item: object) -> None:
        with pytest.raises(ParameterError):
            Palette.from_classes([item])


class TestFromJson:
    def test_reads_what_the_folder_layout_says(self, tmp_path: Path) -> None:
        file = tmp_path / "classes.json"
        classes = [
            {"index": 0, "name": "a", "color": [1, 2, 3]},
            {"index": 1, "name": "b", "color": [4, 5, 6]},
        ]
        file.write_text(json.dumps({"num_classes": 2, "ignore_index": None, "classes": classes}))
        assert Palette.from_json(file) == Palette([(1, 2, 3), (4, 5, 6)], names="ab", ignore_index=None)
        file.write_text(json.dumps({"classes": classes}))
        assert Palette.from_json(file).ignore_index == 255

    @pytest.mark.parametrize(
        "text",
        [
            *("{", "[]", "{}", '{"classes": []}', '{"classes": [3]}', '{"classes": [{"index": 4}]}'),
            *('{"classes": ["a"], "ignore_index": "x"}', '{"classes": ["a", "b"], "ignore_index": 0}'),
        ],
    )
    def test_bad_files(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "classes.json"
        file.write_text(text)
        with pytest.raises(DataError, match=r"classes\.json"):
            Palette.from_json(file)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no file"):
            Palette.from_json(tmp_path / "classes.json")

    def test_real_data(self, real_data: Path) -> None:
        palette = Palette.from_json(real_data / "camvid" / "classes.json")
        assert palette.colors == Palette.named("camvid").colors
        assert palette.names == Palette.named("camvid").names
        for mask in sorted((real_data / "camvid" / "masks").iterdir())[::100]:
            with Image.open(mask) as image:
                labels = np.asarray(image)
                assert np.array_equal(palette.labels_from_image(image), labels)
                assert Palette.from_image(image, 11).colors == palette.colors
                assert np.array_equal(palette.decode(np.asarray(image.convert("RGB"))), labels)


class TestWellKnown:
    def test_voc_follows_its_bit_rule(self) -> None:
        voc = Palette.named("voc")
        # Values published with the development kit.
        assert voc[0] == (0, 0, 0)
        assert voc[voc.names.index("person")] == (192, 128, 128)
        assert voc[voc.names.index("tv_monitor")] == (0, 64, 128)
        assert voc.ignore_color == (224, 224, 192)
        assert len(set(voc.colors)) == 21

    def test_unknown_name(self) -> None:
        with pytest.raises(ParameterError, match="'camvid', 'cityscapes', 'voc'"):
            Palette.named("pascal")

    def test_default_colours_do_not_depend_on_the_number_of_classes(self) -> None:
        full = Palette.default(256)
        for number in (1, 2, 7, 8, 19, 150):
            assert Palette.default(number).colors == full.colors[:number]
        assert len(set(full.colors)) == 256
        assert not set(full.colors) & {(0, 0, 0), (255, 255, 255), (128, 128, 128)}
        assert full.ignore_index is None
        assert Palette.default(255).ignore_index == 255
        # Pinned, because colours of published reports must not change.
        assert full.hex_colors[:9] == (
            *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442"),
            *("#0000ff", "#496dff"),
        )
        with pytest.raises(ParameterError):
            Palette.default(257)
        with pytest.raises(ParameterError):
            Palette.default(0)

    def test_default_colours_stay_apart_for_colour_blind_readers(self) -> None:
        # CIELAB distance 2.3 is just noticeable (Mahy et al. 1994); side by side in a legend five times that
        # is clear.
        from segcrit.labels.colors import _appearance

        for view in _appearance(np.array(Palette.default(20).colors)):
            distance = np.linalg.norm(view[:, None] - view[None], axis=-1) + 1e3 * np.eye(20)
            assert distance.min() > 5 * 2.3

    def test_lab_of_known_colours(self) -> None:
        from segcrit.labels.colors import _appearance

        lab = _appearance(np.array([(255, 255, 255), (255, 0, 0), (0, 0, 0)]))[0]
        np.testing.assert_allclose(lab, [[100, 0, 0], [53.24, 80.09, 67.20], [0, 0, 0]], atol=0.02)
