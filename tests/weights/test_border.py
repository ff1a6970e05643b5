"""border_weight_map against distances computed pixel by pixel."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.labels.weights.border import _codes, border_weight_map


def _by_hand(instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0, spacing: Any = 1.0) -> np.ndarray:
    """All pairs of pixels: the distance of a pixel to an instance is that to its nearest pixel."""
    result = np.ones(instances.shape)
    numbers = [number for number in np.unique(instances) if number != 0]
    if len(numbers) < 2:
        return result
    for position in np.ndindex(*instances.shape):
        distances = []
        for number in numbers:
            offsets = (np.argwhere(instances == number) - np.array(position)) * np.asarray(spacing)
            distances.append(np.sqrt((offsets**2).sum(axis=1)).min())
        nearest, second = sorted(distances)[:2]
        result[position] += w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))
    return result


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_against_all_pairs_of_pixels(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(6, 7), (1, 9), (3, 4, 3)]))
    values = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 7, 900])
    instances = data.draw(hnp.arrays(np.uint16, shape, elements=values))
    sigma = data.draw(st.sampled_from([1.0, 5.0]))
    spacing = data.draw(st.sampled_from([1.0, (0.5, 2.0, 1.5)[: len(shape)]]))
    result = border_weight_map(instances, w0=3.0, sigma=sigma, spacing=spacing)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, _by_hand(instances, 3.0, sigma, spacing), rtol=1e-6)


def test_hundreds_of_instances() -> None:
    rng = np.random.default_rng(0)
    instances = np.zeros((20, 27), dtype=np.int32)
    # Every instance is one or more scattered pixels, so that nearest and second nearest are anywhere.
    positions = rng.permutation(20 * 27)[:380]
    instances.reshape(-1)[positions] = rng.integers(1, 300, 380)
    np.testing.assert_allclose(border_weight_map(instances), _by_hand(instances), rtol=1e-6)


@pytest.mark.parametrize("number", [2, 3, 6, 7, 70, 252, 253])
def test_no_code_contains_another(number: int) -> None:
    codes = _codes(number)
    assert len(codes) == number
    assert all((one & ~other).any() for one, other in permutations(codes[:40], 2))
    assert len({tuple(code) for code in codes}) == number
    assert len({int(code.sum()) for code in codes}) == 1


def test_fewer_than_two_instances_give_class_weights_only() -> None:
    empty = np.zeros((3, 4), dtype=np.uint8)
    assert (border_weight_map(empty) == 1).all()
    one = empty.copy()
    one[1, 1] = 5
    expected = np.full((3, 4), 0.5, dtype=np.float32)
    expected[1, 1] = 2
    assert np.array_equal(border_weight_map(one, class_weights=(0.5, 2.0)), expected)
    assert border_weight_map(np.zeros((0, 4), dtype=np.uint8)).shape == (0, 4)


def test_class_weights_are_added() -> None:
    instances = np.array([[1, 0, 2, 2]])
    plain = border_weight_map(instances)
    weighted = border_weight_map(instances, class_weights=torch.tensor([0.25, 3.0]))
    np.testing.assert_allclose(weighted - plain, [[2.0, -0.75, 2.0, 2.0]], rtol=1e-6)


def test_background_only() -> None:
    instances = np.array([[1, 0, 2, 2]])
    everywhere = border_weight_map(instances)
    assert border_weight_map(instances, background_only=True).tolist() == [[1.0, everywhere[0, 1], 1.0, 1.0]]


def test_a_tensor_gives_a_tensor() -> None:
    instances = torch.tensor([[1, 0, 2], [1, 0, 2]], dtype=torch.int16)
    result = border_weight_map(instances)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), border_weight_map(instances.numpy()))
    assert instances.tolist() == [[1, 0, 2], [1, 0, 2]]


def test_anisotropic_spacing_scales_with_sigma() -> None:
    instances = np.zeros((4, 6, 5), dtype=np.int64)
    instances[0, 1, 1], instances[2, 4, 3], instances[3, 0, 0] = 4, 9, 2
    one = border_weight_map(instances, sigma=2.0, spacing=(1.0, 0.5, 0.25))
    two = border_weight_map(instances, sigma=4.0, spacing=(2.0, 1.0, 0.5))
    np.testing.assert_allclose(one, two, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"instances": np.zeros(4, int)}, ShapeError),
        ({"instances": np.zeros((1, 1, 2, 2), int)}, ShapeError),
        ({"instances": np.array([[-1, 0]])}, LabelError),
        ({"instances": np.array([[0.5, 0]])}, LabelError),
        ({"sigma": 0}, ParameterError),
        ({"sigma": float("nan")}, ParameterError),
        ({"w0": -1}, ParameterError),
        ({"spacing": 0}, ParameterError),
        ({"spacing": (1, 1, 1)}, ParameterError),
        ({"class_weights": (1, 2, 3)}, ParameterError),
        ({"class_weights": (1, -2)}, ParameterError),
    ],
    ids=str,
)
def test_refusals(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        border_weight_map(**{"instances": np.array([[1, 0, 2]]), **arguments})


def test_real_nuclei(real_data: Path) -> None:
    from scipy import ndimage

    with Image.open(real_data / "nuclei_dsb2018" / "instances" / "f952cc65376009cf.png") as image:
        instances = np.asarray(image)
    distances = [ndimage.distance_transform_edt(instances != number) for number in np.unique(instances)[1:]]
    assert len(distances) == 151
    nearest = np.sort(np.stack(distances), axis=0)[:2].sum(axis=0)
    np.testing.assert_allclose(border_weight_map(instances), 1 + 10 * np.exp(-(nearest**2) / 50), rtol=1e-6)
