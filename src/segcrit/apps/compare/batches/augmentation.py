"""Flips and quarter turns of an image with its labels, drawn from the generator that is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["augment", "describe_augmentation"]

Array = npt.NDArray[Any]


def augment(
    arrays: tuple[Array, ...], kind: str, spatial_dims: int, generator: np.random.Generator
) -> tuple[Array, ...]:
    """Turn all arrays in the same way; their last ``spatial_dims`` axes are space.

    Args:
        arrays: image (channels, *S), labels (*S) and so on.
        kind: ``"none"``, ``"flip"``: left-right (the last axis) with probability a half, or ``"full"``: every axis
            with probability a half, then a quarter turn in the plane of the last two axes with probability a half
            where these are of equal length (the crop must keep its size).
        spatial_dims: 2 or 3.
        generator: source of the draws.
    """
    if kind == "none":
        return arrays
    axes = range(1, spatial_dims + 1) if kind == "full" else (1,)
    for axis in axes:
        if generator.random() < 0.5:
            arrays = tuple(np.flip(array, -axis) for array in arrays)
    if kind == "full" and generator.random() < 0.5 and arrays[0].shape[-1] == arrays[0].shape[-2]:
        arrays = tuple(np.rot90(array, axes=(-2, -1)) for array in arrays)
    return arrays


def describe_augmentation(kind: str, spatial_dims: int, crop: tuple[int, ...]) -> tuple[str, ...]:
    """One entry a step, in plain words."""
    size = " × ".join(map(str, crop))
    steps = [f"random crops of {size}"] if crop else []
    if kind == "flip":
        steps.append(
            "flips along the last axis, probability 0.5" if spatial_dims == 3 else "left-right flips, probability 0.5"
        )
    elif kind == "full":
        steps.append(f"flips along each of the {spatial_dims} axes, probability 0.5")
        if len(crop) >= 2 and crop[-1] == crop[-2]:
            steps.append("quarter turns, probability 0.5")
    return tuple(steps)
