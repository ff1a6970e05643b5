"""Gradients without calculus: central differences of a function of the logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .scene import Array, Scene


def central_difference(function: Callable[[Scene], float | Array], scene: Scene, *, step: float = 1e-5) -> Array:
    """d function / d logits, one logit at a time, for a function of the scene that gives one number."""
    gradient = np.zeros(scene.logits.shape)
    for place in np.ndindex(*scene.logits.shape):
        up, down = scene.logits.copy(), scene.logits.copy()
        up[place] += step
        down[place] -= step
        rise = float(function(scene.with_logits(up))) - float(function(scene.with_logits(down)))
        gradient[place] = rise / (2 * step)
    return gradient
