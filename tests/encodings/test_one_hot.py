"""one_hot and from_one_hot: shapes, types, the round trip, and every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segcrit.core.errors import DtypeError, LabelError, ParameterError, ShapeError
from segcrit.labels.one_hot import from_one_hot, one_hot

INTEGER_TYPES = [
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[torch.Tensor, int, int | None]:
    """Labels of 0 to 3 spatial dimensions, with or without ignored pixels."""
    num_classes = draw(st.integers(1, 7))
    ignore_index = draw(st.sampled_from([None, -100, 255, num_classes, 0]))
    values = list(range(num_classes)) + ([] if ignore_index is None else [ignore_index])
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    array = draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(values)))
    return torch.from_numpy(array), num_classes, ignore_index


@settings(deadline=None, max_examples=200)
@given(labelled())
def test_round_trip(case: tuple[torch.Tensor, int, int | None]) -> None:
    labels, num_classes, ignore_index = case
    encoding = one_hot(labels, num_classes, ignore_index)
    assert encoding.shape == (labels.shape[0], num_classes, *labels.shape[1:])
    assert encoding.dtype == torch.bool
    assert torch.equal(from_one_hot(encoding, ignore_index), labels)


@settings(deadline=None)
@given(labelled())
def test_each_value_is_its_definition(case: tuple[torch.Tensor, int, int | None]) -> None:
    labels, num_classes, ignore_index = case
    encoding = one_hot(labels, num_classes, ignore_index)
    for position in np.ndindex(*labels.shape):
        for label in range(num_classes):
            truth = int(labels[position]) == label and label != ignore_index
            assert bool(encoding[(position[0], label, *position[1:])]) == truth


@pytest.mark.parametrize("dtype", INTEGER_TYPES, ids=str)
def test_every_integer_type(dtype: torch.dtype) -> None:
    labels = torch.tensor([[0, 1, 2], [2, 2, 0]])
    assert torch.equal(one_hot(labels.to(dtype), 3), one_hot(labels, 3))


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", ">u4", "<i8", ">f8", "f4", "u8"])
def test_every_numpy_type(dtype: str) -> None:
    labels = np.array([[0, 1, 2], [2, 2, 0]])
    assert torch.equal(one_hot(labels.astype(dtype), 3), one_hot(torch.from_numpy(labels), 3))


def test_booleans_are_classes_0_and_1() -> None:
    assert one_hot(torch.tensor([[True, False]]), 2).tolist() == [[[False, True], [True, False]]]


def test_views_of_other_layouts() -> None:
    labels = np.arange(24).reshape(2, 3, 4) % 5
    flipped = labels[:, ::-1, ::2]
    expected = one_hot(torch.from_numpy(flipped.copy()), 5)
    assert torch.equal(one_hot(flipped, 5), expected)
    read_only = flipped.copy()
    read_only.flags.writeable = False
    assert torch.equal(one_hot(read_only, 5), expected)
    transposed = torch.from_numpy(labels).transpose(1, 2)
    assert torch.equal(one_hot(transposed, 5), one_hot(transposed.contiguous(), 5))
    encoding = one_hot(transposed, 5)
    assert torch.equal(from_one_hot(encoding.to(memory_format=torch.channels_last)), transposed)


def test_a_label_of_another_type_does_not_wrap_to_the_ignore_index() -> None:
    # As uint8, -100 is 156: that label must stay an error, and the ignored label must not match it.
    labels = torch.tensor([[156]], dtype=torch.uint8)
    with pytest.raises(LabelError, match="label 156 in 1 pixel "):
        one_hot(labels, 3, ignore_index=-100)
    assert one_hot(labels, 200, ignore_index=-100)[0, 156].item()


def test_more_classes_than_the_label_type_can_count() -> None:
    labels = torch.tensor([[0, 255]], dtype=torch.uint8)
    encoding = one_hot(labels, 300)
    assert encoding.shape == (1, 300, 2)
    assert encoding.nonzero().tolist() == [[0, 0, 0], [0, 255, 1]]
    assert torch.equal(from_one_hot(encoding), labels.long())
    full = torch.ones(1, 256, 1, dtype=torch.uint8)  # 256 ones would wrap to 0 in 8 bits
    with pytest.raises(LabelError, match="several classes"):
        from_one_hot(full, ignore_index=255)


def test_memory_is_one_byte_a_pixel_and_class() -> None:
    encoding = one_hot(torch.zeros(1, 8, 8, dtype=torch.uint8), 20)
    assert encoding.untyped_storage().nbytes() == 20 * 64


def test_a_one_hot_of_other_types_is_read() -> None:
    encoding = one_hot(torch.tensor([[0, 1, 2]]), 3)
    for dtype in (torch.uint8, torch.int64, torch.float32, torch.float16):
        assert from_one_hot(encoding.to(dtype)).tolist() == [[0, 1, 2]]
    assert from_one_hot(encoding.numpy()).tolist() == [[0, 1, 2]]


def test_the_input_is_not_written_to() -> None:
    labels = torch.tensor([[0, 255, 1]])
    encoding = one_hot(labels, 2, ignore_index=255)
    kept = encoding.clone()
    from_one_hot(encoding, ignore_index=255)
    assert labels.tolist() == [[0, 255, 1]]
    assert torch.equal(encoding, kept)


@pytest.mark.parametrize(
    ("labels", "num_classes", "ignore_index", "message"),
    [
        ([[0, 255, 255]], 3, None, "label 255 in 2 pixels .of 3.. Pass ignore_index=255"),
        (
            [[0, -100]],
            3,
            255,
            "or the ignore_index 255, got label -100 in 1 pixel .of 2.. Pass ignore_index=-100",
        ),
        (
            [[0, 3]],
            3,
            None,
            "labels from 0 to 2, got label 3 in 1 pixel .* Pass num_classes=4 if it is a class",
        ),
        ([[-1, 3]], 3, None, "label -1 in 1 pixel, label 3 in 1 pixel"),
        ([[0, 255]], 2, None, r"pass \(mask > 127\) instead"),
        ([list(range(20))], 3, None, "12 further unknown labels"),
    ],
)
def test_unknown_labels_are_named(
    labels: list[list[int]], num_classes: int, ignore_index: int | None, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        one_hot(torch.tensor(labels), num_classes, ignore_index)


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), 1e30])
def test_fractions_are_refused(value: float) -> None:
    with pytest.raises(LabelError):
        one_hot(torch.tensor([[0.0, value]]), 3)


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([[0, 1]], DtypeError),
        (torch.tensor([[1 + 1j]]), DtypeError),
        (np.array([["a"]]), DtypeError),
        (torch.tensor(1), ShapeError),
    ],
)
def test_other_objects_are_refused(labels: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        one_hot(labels, 3)


@pytest.mark.parametrize("num_classes", [0, -1, 2.0, True])
def test_bad_number_of_classes(num_classes: Any) -> None:
    with pytest.raises(ParameterError, match="num_classes"):
        one_hot(torch.tensor([[0]]), num_classes)


@pytest.mark.parametrize(
    ("encoding", "ignore_index", "error", "message"),
    [
        ([[[1, 0], [0, 0]]], None, LabelError, "1 of 2 pixels without a class"),
        ([[[1, 1], [0, 1]]], 255, LabelError, "1 of 2 pixels with several classes"),
        ([[[1, 2], [0, 0]]], 255, LabelError, "zeros and ones, got 2"),
        ([[[1, -1], [0, 1]]], 255, LabelError, "zeros and ones, got -1"),
        ([1, 0], None, ShapeError, "of shape .N, C"),
        ([[[1]]], 2**70, ParameterError, "int64"),
    ],
)
def test_what_is_no_one_hot(
    encoding: list[Any], ignore_index: int | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_one_hot(torch.tensor(encoding), ignore_index)
