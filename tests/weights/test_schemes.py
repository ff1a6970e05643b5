"""class_weights: each scheme against its formula, extremes, absent classes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.core.errors import ParameterError, ShapeError
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies
from segcrit.labels.weights.schemes import SCHEMES, class_weights

COUNTS = [900, 90, 10]


def test_inverse_averages_to_one_over_the_pixels() -> None:
    weights = class_weights(COUNTS, "inverse")
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights, [1000 / 2700, 1000 / 270, 1000 / 30], rtol=1e-6)
    np.testing.assert_allclose(float((weights * torch.tensor(COUNTS)).sum()), 1000, rtol=1e-6)
    np.testing.assert_allclose(class_weights(COUNTS, "sqrt_inverse"), weights.sqrt(), rtol=1e-6)


def test_log_is_that_of_enet() -> None:
    expected = [1 / np.log(1.02 + share) for share in (0.9, 0.09, 0.01)]
    np.testing.assert_allclose(class_weights(COUNTS, "log"), expected, rtol=1e-6)


def test_median_uses_the_images_that_contain_the_class() -> None:
    # Image 1: 6 of class 0, 2 of class 1. Image 2: 3 of class 0, 1 of class 2 (and 4 ignored).
    labels = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 2, 255, 255, 255, 255]])
    frequencies = class_frequencies(labels, 3, 255, batched=True)
    share = [Fraction(9, 12), Fraction(2, 8), Fraction(1, 4)]
    expected = [float(sorted(share)[1] / part) for part in share]
    np.testing.assert_allclose(class_weights(frequencies, "median"), expected, rtol=1e-6)
    bare = class_weights(frequencies.counts, "median")
    np.testing.assert_allclose(bare, [2 / 9, 1.0, 2.0], rtol=1e-6)


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999])
def test_effective_number(beta: float) -> None:
    counts = [500, 40, 3]
    terms = [Fraction(beta).limit_denominator(1000) ** power for power in counts]
    raw = [float((1 - Fraction(beta).limit_denominator(1000)) / (1 - term)) for term in terms]
    expected = np.array(raw) * 3 / sum(raw)
    np.testing.assert_allclose(class_weights(counts, "effective", beta=beta), expected, rtol=1e-6)


def test_effective_number_without_prototypes_is_uniform() -> None:
    assert class_weights(COUNTS, "effective", beta=0.0).tolist() == [1.0, 1.0, 1.0]


def test_effective_number_fits_counts_of_pixels() -> None:
    counts = np.array([4_000_000_000, 100_000_000, 1_000_000])
    weights = class_weights(counts, "effective").double().numpy()
    scaled = -np.expm1(counts * np.log1p(-1 / counts.mean()))
    np.testing.assert_allclose(weights * scaled, (weights * scaled)[0], rtol=1e-6)
    np.testing.assert_allclose(weights.sum(), 3, rtol=1e-6)
    with pytest.warns(UserWarning, match="saturates at 10000 samples"):
        np.testing.assert_allclose(class_weights(counts, "effective", beta=0.9999), 1.0, rtol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=20), st.sampled_from(SCHEMES))
def test_laws_of_every_scheme(counts: list[int], scheme: Any) -> None:
    weights = class_weights(counts, scheme)
    assert weights.shape == (len(counts),)
    assert bool(torch.isfinite(weights).all())
    assert bool((weights > 0).all())
    # A rarer class never weighs less, classes of one size weigh the same, and order does not matter.
    order = np.argsort(counts, kind="stable")
    sorted_weights = weights.numpy()[order]
    assert (np.diff(sorted_weights) <= 1e-6 * sorted_weights[1:]).all()
    np.testing.assert_allclose(class_weights(counts[::-1], scheme), weights.flip(0), rtol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_class_without_pixels_weighs_one_and_is_named(scheme: Any) -> None:
    with pytest.warns(UserWarning, match="no pixel of class 1, 3: its weight is set to 1"):
        weights = class_weights([900, 0, 100, 0], scheme)
    assert weights[1] == weights[3] == 1
    if scheme == "median":
        np.testing.assert_allclose(weights[[0, 2]], [500 / 900, 5.0], rtol=1e-6)
    if scheme == "effective":
        np.testing.assert_allclose(float(weights.sum()), 4, rtol=1e-6)


def test_every_form_of_counts() -> None:
    expected = class_weights(COUNTS, "inverse")
    for counts in (
        torch.tensor(COUNTS),
        torch.tensor(COUNTS, dtype=torch.float64),
        np.array(COUNTS),
        tuple(COUNTS),
        ClassFrequencies.from_counts(COUNTS),
        [0.9, 0.09, 0.01],
    ):
        torch.testing.assert_close(class_weights(counts, "inverse"), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2], "inverze"), ParameterError, "inverse"),
        (([1, 2], None), ParameterError, "scheme"),
        (([0, 0], "inverse"), ParameterError, "at least one pixel"),
        (([1, -1], "inverse"), ParameterError, "at least 0"),
        (([1, float("nan")], "inverse"), ParameterError, "at least 0"),
        (([[1, 2]], "inverse"), ShapeError, "class_frequencies"),
        (([], "inverse"), ShapeError, "shape"),
        (([0.9, 0.1], "effective"), ParameterError, "not shares"),
    ],
)
def test_refusals(arguments: tuple[Any, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        class_weights(*arguments)


@pytest.mark.parametrize(("scheme", "beta"), [("inverse", 0.9), ("effective", 1.0), ("effective", -0.1)])
def test_beta_belongs_to_effective(scheme: Any, beta: float) -> None:
    with pytest.raises(ParameterError, match="beta"):
        class_weights(COUNTS, scheme, beta=beta)
