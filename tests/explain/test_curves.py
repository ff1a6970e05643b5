"""Curves are what the formulas say."""

from __future__ import annotations

import numpy as np
import pytest

from segcrit.apps.explain import curves
from segcrit.apps.explain.curves import FALSE_ALARM, OBJECT, PIXELS, pixel_curve, region_curve
from segcrit.core.errors import ParameterError, SegcritError
from segcrit.losses.expression.syntax import parse

P = np.array([0.01, 0.1, 0.5, 0.9, 0.99])


@pytest.mark.parametrize("loss", ["ce", "bce", "focal(gamma=0)", "partial_ce"])
def test_cross_entropy_is_minus_log_p(loss: str) -> None:
    cost, slope = pixel_curve(parse(loss), P)
    assert np.allclose(cost, -np.log(P), rtol=1e-12)
    assert np.allclose(slope, P - 1, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal(gamma: float) -> None:
    cost, slope = pixel_curve(parse(f"focal(gamma={gamma})"), P)
    assert np.allclose(cost, -((1 - P) ** gamma) * np.log(P), rtol=1e-10)
    # d/dz with dp/dz = p (1 − p)
    by_p = gamma * (1 - P) ** (gamma - 1) * np.log(P) - (1 - P) ** gamma / P
    assert np.allclose(slope, by_p * P * (1 - P), rtol=1e-10)


def test_dice_on_the_small_object() -> None:
    values, pulls = region_curve(parse("dice"), P)
    background = PIXELS - OBJECT
    front = 2 * OBJECT * P / (OBJECT * P + background * FALSE_ALARM + OBJECT)
    inside = background * (1 - FALSE_ALARM)
    back = 2 * inside / (inside + OBJECT * (1 - P) + background)
    assert np.allclose(values, 1 - (front + back) / 2, rtol=1e-12)
    step = 1e-6
    z = np.log(P) - np.log1p(-P)
    up, _ = region_curve(parse("dice"), 1 / (1 + np.exp(-(z + step))))
    down, _ = region_curve(parse("dice"), 1 / (1 + np.exp(-(z - step))))
    assert np.allclose(pulls, -(up - down) / (2 * step), rtol=1e-4)


def test_default_panels() -> None:
    panels = {panel.title: panel for panel in curves()}
    assert list(panels) == [
        "Cost of a pixel",
        "Pull on the logit of a pixel",
        "Focal loss for several γ",
        "Pull of focal loss for several γ",
        "A small object: the loss",
        "A small object: the pull on it",
        "Losses against the margin",
    ]
    assert [curve.name for curve in panels["Focal loss for several γ"].curves] == [
        "γ = 0", "γ = 0.5", "γ = 1", "γ = 2", "γ = 5",
    ]  # fmt: skip
    hinge = panels["Losses against the margin"].curves[0]
    assert np.allclose(hinge.y, np.maximum(0, 1 - hinge.x), atol=1e-12)
    assert all(np.isfinite(curve.y).all() for panel in panels.values() for curve in panel.curves)


def test_panels_follow_the_losses() -> None:
    assert [panel.title for panel in curves(["ce", "bce"])][:2] == ["Cost of a pixel", "Pull on the logit of a pixel"]
    titles = [panel.title for panel in curves(["ce + dice"])]
    assert titles == ["A small object: the loss", "A small object: the pull on it"]
    # Tversky of 1/2 and 1/2 is Dice: one line with both names, where the second would hide the first.
    both = curves(["dice", "tversky", "focal"])[-1]
    assert [curve.name for curve in both.curves] == ["dice = tversky", "focal"]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ParameterError, match="two classes may not fit"):
        curves(["ce(class_weight=[1, 2, 3])"])
    with pytest.raises(ParameterError, match="one task"):
        curves(["ce + bce"])
    with pytest.raises(SegcritError, match="name of a loss"):
        curves(["nope"])
