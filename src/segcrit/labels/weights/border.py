"""U-Net's weight map, which makes a network learn the gaps between touching objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.labels.distances import distances_to
from segcrit.labels.label_maps import as_label_tensor

__all__ = ["border_weight_map"]

_Map = TypeVar("_Map", Tensor, npt.NDArray[Any])
_Floats = npt.NDArray[np.float64]


def border_weight_map(
    instances: _Map,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_weights: Sequence[float] | Tensor | npt.NDArray[Any] | None = None,
    *,
    spacing: float | Sequence[float] = 1.0,
    background_only: bool = False,
) -> _Map:
    r"""Pixel weights of the U-Net paper from an instance map.

    w(x) = w_c(x) + w0 · exp(-(d1(x) + d2(x))² / (2σ²)), with d1 and d2 the Euclidean distances from x to the
    nearest and to the second nearest instance; inside an instance d1 = 0. Where there are fewer than two
    instances the second term is 0. (Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, equation 2.)

    The result is exact. It takes about 2 + log2(n) distance transforms of the whole map for n instances, not
    n.

    Args:
        instances: shape (H, W) or (D, H, W), any integer type: 0 is background, every other value one
            instance (which may have several parts). A tensor or a NumPy array.
        w0: height of the second term; 10, the paper's.
        sigma: its width, in pixels, or in the unit of ``spacing``; 5, the paper's "about 5 pixels".
        class_weights: w_c as two numbers, for background and instances, such as ``class_weights(counts,
            "inverse")`` of the two-class problem; None (default) is 1 for both.
        spacing: size of a pixel, one number or one a dimension.
        background_only: add the second term to background pixels only, as several implementations do. By
            default it is added everywhere, as the equation says, so that it also shows instances that touch
            without a gap.

    Returns:
        float32 weights of the shape of ``instances``; a tensor for a tensor (on its device), an array for an
        array. Pass them as ``pixel_weight``.

    Raises:
        ShapeError: ``instances`` is not two- or three-dimensional.
        LabelError: a negative instance number.
        ParameterError: a parameter is out of range.

    Example:
        >>> import numpy as np
        >>> print(border_weight_map(np.array([[1, 1, 0, 2, 2, 0, 0, 0]])).round(2))
        [[ 9.35 10.23 10.23 10.23  9.35  7.07  4.75  2.98]]
    """
    _check_parameters(w0, sigma)
    tensor = as_label_tensor(instances, "instances")
    if tensor.dim() not in (2, 3):
        raise ShapeError(
            "an instance map of shape (H, W) or (D, H, W)",
            f"shape {tuple(tensor.shape)}",
            "Make the map of one image at a time.",
        )
    labels = tensor.cpu().numpy()
    if labels.size and labels.min() < 0:
        raise LabelError(
            "instance numbers of at least 0",
            f"{int(labels.min())}",
            "Set pixels that belong to no instance to 0; leave pixels out of a loss with pixel_weight 0.",
        )
    sampling = _sampling(spacing, labels.ndim)
    background, foreground = _class_weights(class_weights)
    inside = labels > 0
    weights = np.where(inside, foreground, background)
    distance = _two_nearest(labels, inside, sampling)
    if distance is not None:
        border = w0 * np.exp(-(distance**2) / (2 * sigma**2))
        weights += np.where(inside, 0.0, border) if background_only else border
    result = weights.astype(np.float32)
    return torch.from_numpy(result).to(tensor.device) if isinstance(instances, Tensor) else result


def _two_nearest(labels: npt.NDArray[Any], inside: npt.NDArray[np.bool_], sampling: tuple[float, ...]) -> Any:
    """d1 + d2 of each pixel, or None if there are fewer than two instances.

    d1 and the instance it belongs to come from one transform. d2 is the distance to the pixels of all *other*
    instances, a different set for every nearest instance. Few sets are enough: give every instance another
    subset of m symbols, all of m // 2 symbols, and let S_k be the pixels of the instances that have symbol k.
    No subset contains another one, so for instances i ≠ j some S_k holds j and not i. Hence d2 at a pixel
    with nearest instance i is the smallest distance to those S_k that i is not part of: none of them contains
    i, together they contain all others. (m symbols serve n ≤ C(m, m // 2) instances, the most possible by
    Sperner's theorem: 10 for 252.)
    """
    numbers, compact = np.unique(labels[inside], return_inverse=True)
    if len(numbers) < 2:
        return None
    to_nearest, nearest_pixel = distances_to(inside, sampling, return_indices=True)
    instance = np.zeros(labels.shape, dtype=np.int32)
    instance[inside] = compact.reshape(-1)
    nearest = instance[tuple(nearest_pixel)]
    codes = _codes(len(numbers))
    to_second = np.full(labels.shape, np.inf)
    for code in codes.T:
        if not code.any():
            continue
        to_set = distances_to(inside & code[instance], sampling)
        np.minimum(to_second, to_set, out=to_second, where=~code[nearest])
    return to_nearest + to_second


def _codes(number: int) -> npt.NDArray[np.bool_]:
    """``number`` rows of which none contains another one, with as few columns as possible."""
    symbols = next(m for m in range(2, 64) if math.comb(m, m // 2) >= number)
    codes = np.zeros((number, symbols), dtype=bool)
    for row, chosen in enumerate(islice(combinations(range(symbols), symbols // 2), number)):
        codes[row, list(chosen)] = True
    return codes


def _check_parameters(w0: float, sigma: float) -> None:
    if not (math.isfinite(w0) and w0 >= 0):
        raise ParameterError("w0 of at least 0", str(w0), "The paper uses 10.")
    if not (math.isfinite(sigma) and sigma > 0):
        raise ParameterError("sigma above 0", str(sigma), "The paper uses 5 pixels.")


def _sampling(spacing: float | Sequence[float], dimensions: int) -> tuple[float, ...]:
    values = tuple(float(value) for value in np.broadcast_to(spacing, np.shape(spacing) or (dimensions,)))
    if len(values) != dimensions or not all(math.isfinite(value) and value > 0 for value in values):
        raise ParameterError(
            f"spacing as one number above 0, or {dimensions} of them", repr(spacing), "Pass the size of a pixel."
        )
    return values


def _class_weights(given: Sequence[float] | Tensor | npt.NDArray[Any] | None) -> tuple[float, float]:
    if given is None:
        return 1.0, 1.0
    values = [float(value) for value in given]
    if len(values) != 2 or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ParameterError(
            "class_weights as two numbers of at least 0, for background and instances",
            str(values),
            "Weights of more classes are given to the loss itself, as class_weight.",
        )
    return values[0], values[1]
