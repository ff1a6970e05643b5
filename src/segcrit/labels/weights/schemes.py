"""From class counts to class weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.core.constraints import one_of
from segcrit.core.errors import ParameterError, ShapeError
from segcrit.labels.weights.frequencies import ClassFrequencies

__all__ = ["SCHEMES", "Scheme", "class_weights"]

Scheme = Literal["inverse", "sqrt_inverse", "median", "effective", "log"]
SCHEMES: Final[tuple[Scheme, ...]] = ("inverse", "sqrt_inverse", "median", "effective", "log")
"""The words that :func:`class_weights` knows."""

_Floats = npt.NDArray[np.float64]
# ENet's constant: it bounds the weights to [1.4, 50].
_ENET = 1.02
# Weights closer together than this, of classes whose counts differ twofold, do not weight anything.
_FLAT = 0.01


def class_weights(
    counts: ClassFrequencies | Tensor | npt.NDArray[Any] | Sequence[float],
    scheme: Scheme,
    *,
    beta: float | None = None,
) -> Tensor:
    r"""Weights that raise rare classes, for ``class_weight`` of a loss.

    With n_c the pixels of class c, n their sum, C the number of classes and p_c = n_c / n:

    - ``"inverse"``: n / (C n_c). The weights average to 1 over the pixels; every class gets the same say.
    - ``"sqrt_inverse"``: its square root, for when the inverse overdoes it.
    - ``"median"``: median frequency balancing, median(f) / f_c, where f_c = n_c divided by the labelled
      pixels of the images that contain the class, and the median is over the classes that occur (Eigen and
      Fergus, ICCV 2015; SegNet). Bare counts say nothing about images: every class is then taken to occur in
      all of them.
    - ``"effective"``: (1 - β) / (1 - β^n_c), scaled to sum to C (Cui et al., "Class-Balanced Loss Based on
      Effective Number of Samples", CVPR 2019).
    - ``"log"``: 1 / ln(1.02 + p_c), between 1.4 and 50 (Paszke et al., "ENet", 2016).

    A class without a pixel has no frequency to balance: its weight is 1, with a warning. It takes no part in
    the median and in the scaling of ``"effective"``.

    Args:
        counts: what :func:`class_frequencies` returns, or the pixels of each class, shape (C,).
        scheme: one of the words above.
        beta: β of ``"effective"``, in [0, 1). β = 1 - 1/N says that N pixels of a class hold all there is to
            learn about it. The paper's values, 0.9 to 0.9999, suit counts of images; on counts of pixels they
            give all classes the same weight (with a warning). By default N is the mean number of pixels a
            class: classes below the mean are weighted nearly by their inverse frequency, those above it
            nearly equally.

    Returns:
        (C,) float32, all positive.

    Raises:
        ParameterError: an unknown scheme, a negative count, or no pixel at all.
        ShapeError: the counts have another shape than (C,).

    Example:
        >>> class_weights([900, 90, 10], "inverse")
        tensor([ 0.3704,  3.7037, 33.3333])
        >>> class_weights([900, 90, 10], "median")
        tensor([0.1000, 1.0000, 9.0000])
    """
    one_of("scheme", scheme, SCHEMES)
    if beta is not None and (scheme != "effective" or not 0 <= beta < 1):
        raise ParameterError(
            "beta in [0, 1), with scheme 'effective' only", f"beta={beta} with {scheme!r}", "Correct beta."
        )
    pixels, image_pixels = _numbers(counts)
    present = pixels > 0
    if not present.any():
        raise ParameterError(
            "counts of at least one pixel",
            "no pixel of any class",
            "Check ignore_index, and that the labels are those of the training images.",
        )
    own, total = pixels[present], pixels.sum()
    match scheme:
        case "inverse":
            weights = total / (len(pixels) * own)
        case "sqrt_inverse":
            weights = np.sqrt(total / (len(pixels) * own))
        case "median":
            frequency = own / image_pixels[present]
            weights = np.median(frequency) / frequency
        case "effective":
            weights = _effective(own, beta)
        case "log":
            weights = 1 / np.log(_ENET + own / total)
    result = np.ones_like(pixels)
    result[present] = weights
    if not present.all():
        _warn_absent(np.flatnonzero(~present).tolist())
    return torch.from_numpy(result).float()


def _numbers(counts: ClassFrequencies | Tensor | npt.NDArray[Any] | Sequence[float]) -> tuple[_Floats, _Floats]:
    """Pixels of each class, and of the images with that class, as checked float64."""
    if isinstance(counts, ClassFrequencies):
        return counts.counts.double().numpy(), counts.image_pixels.double().numpy()
    values = np.asarray(counts.detach().cpu() if isinstance(counts, Tensor) else counts, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ShapeError(
            "counts of shape (C,)", f"shape {values.shape}", "Count the labels with class_frequencies first."
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ParameterError("counts of at least 0", str(values.tolist()), "Pass numbers of pixels.")
    return values, np.full_like(values, values.sum())


def _effective(counts: _Floats, beta: float | None) -> _Floats:
    if beta == 0:
        return np.ones_like(counts)
    if counts.sum() < len(counts):
        raise ParameterError(
            "numbers of pixels for scheme 'effective'", str(counts.tolist()), "Pass counts, not shares."
        )
    log_beta = np.log1p(-1 / max(counts.mean(), 2.0)) if beta is None else np.log(beta)
    # 1 - β^n as -expm1(n ln β): with β near 1 and n small, β^n itself rounds to 1. The factor 1 - β cancels.
    weights = 1 / -np.expm1(counts * log_beta)
    weights *= len(counts) / weights.sum()
    if counts.max() >= 2 * counts.min() and weights.max() < (1 + _FLAT) * weights.min():
        warnings.warn(
            f"beta={beta} gives classes of {counts.min():.0f} to {counts.max():.0f} pixels the same weight, because "
            f"it saturates at {1 / -np.expm1(log_beta):.0f} samples. Leave beta out to fit it to the counts.",
            UserWarning,
            stacklevel=3,
        )
    return np.asarray(weights, dtype=np.float64)


def _warn_absent(labels: list[int]) -> None:
    named = ", ".join(map(str, labels[:10])) + (" …" if len(labels) > 10 else "")
    warnings.warn(
        f"no pixel of class {named}: its weight is set to 1. Check num_classes, or whether the class is in the "
        "training images at all.",
        UserWarning,
        stacklevel=3,
    )
