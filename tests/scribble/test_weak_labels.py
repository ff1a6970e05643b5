"""Strokes, dots and parts: never outside their class, repeatable, and as many as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.data.weak.strokes import brush, stamp, stroke
from segcrit.data.weak.weak import KINDS, WeakLabelOptions, weak_labels

EIGHT = np.ones((3, 3))


def _scene(size: int = 120) -> np.ndarray:
    """A disc (1), a ring around it (2), a thin bar (3), specks (4), a void corner (255), background (0)."""
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - 50, columns - 50)
    labels = np.zeros((size, size), dtype=np.uint8)
    labels[distance < 35] = 2
    labels[distance < 25] = 1
    labels[100:103, 10:80] = 3
    labels[5, 5] = labels[5, 9] = 4
    labels[110:, 110:] = 255
    return labels


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_kept_pixel_keeps_its_label(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(12, 9), (1, 7), (30, 30), (4, 9, 5)]))
    labels = data.draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    if data.draw(st.booleans()):  # larger components
        labels = np.kron(labels, np.ones((3,) * labels.ndim, dtype=np.uint8))
    options = WeakLabelOptions(
        kind=data.draw(st.sampled_from(KINDS)),
        width=data.draw(st.integers(1, 6)),
        length=data.draw(st.sampled_from([0.1, 1.0, 5.0])),
        min_size=data.draw(st.integers(1, 10)),
        points=data.draw(st.integers(1, 4)),
        per=data.draw(st.sampled_from(["component", "class"])),
        unit=data.draw(st.sampled_from(["component", "block"])),
        block=data.draw(st.integers(1, 7)),
        share=data.draw(st.sampled_from([0.0, 0.4, 1.0])),
        axis=data.draw(st.sampled_from([-1, 0, 1])),
        slice_step=data.draw(st.integers(1, 3)),
    )
    before = labels.copy()
    weak = weak_labels(labels, options, seed=data.draw(st.integers(0, 3)))
    assert weak.dtype == labels.dtype
    assert weak.shape == labels.shape
    assert ((weak == labels) | (weak == 255)).all()
    assert np.array_equal(labels, before)


def test_every_component_gets_one_connected_stroke() -> None:
    labels = _scene()
    weak = weak_labels(labels, seed=4)
    for label in (0, 1, 2, 3):
        parts, number = ndimage.label(labels == label, EIGHT)
        for part in range(1, number + 1):
            _, strokes = ndimage.label((weak == label) & (parts == part), EIGHT)
            assert strokes == 1
    assert not (weak == 4).any()  # specks are left out
    assert (weak_labels(labels, WeakLabelOptions(min_size=1)) == 4).sum() == 2


def test_strokes_are_thin_long_and_off_the_edge() -> None:
    labels = _scene()
    weak = weak_labels(labels, WeakLabelOptions(width=3), seed=1)
    ring = labels == 2
    drawn = weak == 2
    assert 0.1 < drawn.sum() / ring.sum() < 0.5
    # 3 wide: no pixel of a stroke is further than 2 from the outside of the stroke, crossings aside.
    assert ndimage.distance_transform_edt(drawn).max() < 4
    # Once along the ring: it is seen from its centre in at least half of all directions.
    rows, columns = np.nonzero(drawn)
    directions = np.degrees(np.arctan2(rows - 50, columns - 50)).astype(int) // 10
    assert len(set(directions.tolist())) >= 18
    # Mostly along the middle of the ring: the mean distance to its edge is larger than that of a random
    # pixel.
    room = ndimage.distance_transform_edt(ring)
    assert room[drawn].mean() > 1.15 * room[ring].mean()


def test_length_is_a_multiple() -> None:
    region = np.ones((60, 200), dtype=bool)
    sizes = [
        np.mean([stroke(region, np.random.default_rng(s), width=1, length=length).sum() for s in range(8)])
        for length in (0.25, 0.5, 1.0)
    ]
    assert sizes[0] < 0.7 * sizes[1] < 0.6 * sizes[2]
    # The length of the strip, less what its ends take off the mean thickness.
    assert 200 <= sizes[2] <= 260


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2)])
def test_tiny_regions_get_a_stroke(shape: tuple[int, int]) -> None:
    region = np.ones(shape, dtype=bool)
    assert stroke(region, np.random.default_rng(0), width=3, length=1).any()


def test_a_one_pixel_contour_is_followed() -> None:
    rows, columns = np.mgrid[:41, :41]
    contour = np.abs(np.hypot(rows - 20, columns - 20) - 15) < 0.6
    for seed in range(10):
        drawn = stroke(contour, np.random.default_rng(seed), width=3, length=1)
        assert drawn.sum() > 0.4 * contour.sum()
        assert not (drawn & ~contour).any()


def test_brush_is_round() -> None:
    assert [len(brush(width)) for width in (1, 2, 3, 5, 7)] == [1, 1, 5, 13, 29]
    dot = stamp(np.ones((9, 9), dtype=bool), np.array([[4, 4]]), 5)
    assert np.array_equal(dot, dot.T)
    assert np.array_equal(dot, dot[::-1])
    assert stamp(np.ones((3, 3), dtype=bool), np.array([[0, 0]]), 3).sum() == 3  # cut off at the frame


class TestSeeds:
    def test_same_seed_and_name_same_labels(self) -> None:
        labels = _scene()
        for kind in KINDS:
            options = WeakLabelOptions(kind=kind)
            first = weak_labels(labels, options, seed=3, name="a")
            assert np.array_equal(first, weak_labels(labels, options, seed=3, name="a"))

    def test_another_seed_or_name_other_labels(self) -> None:
        labels = _scene()
        first = weak_labels(labels, seed=3, name="a")
        assert not np.array_equal(first, weak_labels(labels, seed=4, name="a"))
        assert not np.array_equal(first, weak_labels(labels, seed=3, name="b"))
        assert not np.array_equal(weak_labels(labels, seed=1, name="1/a"), weak_labels(labels, seed=11, name="a"))


class TestPoints:
    def test_single_pixels(self) -> None:
        labels = _scene()
        options = WeakLabelOptions(kind="points", points=4, width=1)
        weak = weak_labels(labels, options)
        for label in (1, 2, 3):
            assert (weak == label).sum() == 4

    def test_per_class(self) -> None:
        labels = np.zeros((20, 60), dtype=np.uint8)
        for start in (2, 22, 42):
            labels[5:15, start : start + 10] = 1
        for per, count in (("component", 6), ("class", 2)):
            options = WeakLabelOptions(kind="points", points=2, width=1, per=per)  # type: ignore[arg-type]
            assert (weak_labels(labels, options) == 1).sum() == count

    def test_more_points_than_pixels(self) -> None:
        labels = np.zeros((4, 4), dtype=np.uint8)
        options = WeakLabelOptions(kind="points", points=100, width=1, min_size=1)
        assert (weak_labels(labels, options) == 0).all()

    def test_dots_prefer_the_inside(self) -> None:
        labels = _scene()
        room = ndimage.distance_transform_edt(labels == 1)
        chosen = [
            room[weak_labels(labels, WeakLabelOptions(kind="points", width=1), seed=seed) == 1].mean()
            for seed in range(60)
        ]
        assert np.mean(chosen) > 1.2 * room[labels == 1].mean()


class TestPartial:
    def test_components_are_kept_whole(self) -> None:
        labels = np.zeros((50, 50), dtype=np.uint8)
        for row in range(0, 50, 5):
            for column in range(0, 50, 5):
                labels[row : row + 3, column : column + 3] = 1
        weak = weak_labels(labels, WeakLabelOptions(kind="partial", share=0.37), seed=2)
        _, number = ndimage.label(weak == 1, EIGHT)
        assert number in (37, 38)
        assert (weak == 1).sum() == 9 * number

    def test_share_is_right_on_average(self) -> None:
        labels = np.zeros((8, 8), dtype=np.uint8)
        options = WeakLabelOptions(kind="partial", share=0.3)
        kept = [(weak_labels(labels, options, seed=seed) == 0).all() for seed in range(400)]
        # Binomial: 0.3 with a standard deviation of 0.023.
        assert np.mean(kept) == pytest.approx(0.3, abs=0.07)

    def test_blocks(self) -> None:
        labels = np.zeros((64, 70), dtype=np.uint8)
        labels[:, 60:] = 255
        options = WeakLabelOptions(kind="partial", share=0.5, unit="block", block=16)
        weak = weak_labels(labels, options, seed=1)
        counts = [
            int((weak[row : row + 16, column : column + 16] == 0).sum())
            for row in range(0, 64, 16)
            for column in range(0, 70, 16)
        ]
        assert set(counts) <= {0, 256, 192}  # a block is kept but for void pixels, or not at all
        assert (weak[:, 60:] == 255).all()

    def test_everything_and_nothing(self) -> None:
        labels = _scene()
        for unit in ("component", "block"):
            full = WeakLabelOptions(kind="partial", share=1.0, unit=unit)  # type: ignore[arg-type]
            assert np.array_equal(weak_labels(labels, full), labels)
            none = WeakLabelOptions(kind="partial", share=0.0, unit=unit)  # type: ignore[arg-type]
            assert (weak_labels(labels, none) == 255).all()


class TestVolumes:
    def test_slices_of_any_axis(self) -> None:
        volume = np.stack([_scene(60)] * 7)
        for axis in (0, 1, 2, -1, -3):
            turned = np.moveaxis(volume, 0, axis)
            options = WeakLabelOptions(axis=axis, slice_step=3)
            weak = np.moveaxis(weak_labels(turned, options), axis, 0)
            labelled = [bool((one != 255).any()) for one in weak]
            assert labelled == [True, False, False, True, False, False, True]

    def test_parts_are_three_dimensional(self) -> None:
        volume = np.zeros((6, 6, 6), dtype=np.uint8)
        volume[1:5, 1:5, 1:5] = 1
        options = WeakLabelOptions(kind="partial", share=0.5)
        sizes = {int((weak_labels(volume, options, seed=seed) == 1).sum()) for seed in range(20)}
        assert sizes == {0, 64}


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "scribble"},
        {"width": 0},
        {"width": 2.5},
        {"min_size": 0},
        {"points": 0},
        {"length": 0},
        {"length": float("nan")},
        {"share": 1.5},
        {"share": float("nan")},
        {"per": "image"},
        {"unit": "pixel"},
        {"block": True},
        {"axis": 3},
        {"slice_step": 0},
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        WeakLabelOptions(**options)


def test_bad_labels() -> None:
    with pytest.raises(ShapeError):
        weak_labels(np.zeros(5, dtype=np.uint8))
    with pytest.raises(LabelError, match="hold 255"):
        weak_labels(np.zeros((5, 5), dtype=np.int8))
    with pytest.raises(LabelError, match="hold -1"):
        weak_labels(np.zeros((5, 5), dtype=np.uint8), ignore_index=-1)
    with pytest.raises(LabelError):
        weak_labels(np.zeros((5, 5)))
