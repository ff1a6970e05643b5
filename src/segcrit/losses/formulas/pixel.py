"""Pixel losses: each is a pair (v, v′) of functions of the log-probability of a class.

The loss of a pixel is Σ_c w_c t̃_c v(log p_c), with t̃ the smoothed target and w the class coefficient; in sigmoid tasks
the element of a channel is a t̃ v(log σ(z)) + b (1 − t̃) v(log σ(−z)). The derivative is with respect to log p, so that the
chain rule through the softmax, dz_k = s_k v′_k − p_k Σ_c s_c v′_c with s = w t̃, is the same for every pixel loss and
stands once, in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from segcrit.core.constraints import Boolean, Number, PerClass
from segcrit.engines.formulas import PixelFormula
from segcrit.losses.table import register

__all__ = ["cross_entropy", "focal"]


def cross_entropy(log_probability: Tensor) -> Tensor:
    """v = −log p."""
    return -log_probability


def cross_entropy_derivative(log_probability: Tensor) -> Tensor:
    """v′ = −1."""
    return torch.full_like(log_probability, -1.0)


def focal(log_probability: Tensor, *, gamma: float) -> Tensor:
    """v = −(1 − p)^γ log p, with 1 − p = −expm1(log p), exact for p near 1."""
    error = -torch.expm1(log_probability)
    return -(error**gamma) * log_probability


def focal_derivative(log_probability: Tensor, *, gamma: float) -> Tensor:
    """v′ = (1 − p)^γ (γ p log p / (1 − p) − 1).

    log p / (1 − p) → −1 as p → 1, so the ratio is finite for every γ ≥ 0 although (1 − p)^(γ−1) alone is not for γ < 1;
    p log p → 0 as p → 0.
    """
    error = -torch.expm1(log_probability)
    probability = torch.exp(log_probability)
    ratio = torch.where(error > 0, log_probability / error, -1.0)
    return error**gamma * (torch.where(probability > 0, gamma * probability * ratio, 0.0) - 1.0)


def _positive_weight(parameters: Mapping[str, Any], sigmoid: bool) -> tuple[Any, Any]:
    weight = parameters["pos_weight"]
    return (1.0 if weight is None else weight), 1.0


def _alpha(parameters: Mapping[str, Any], sigmoid: bool) -> tuple[Any, Any]:
    alpha = parameters["alpha"]
    if alpha is None:
        return 1.0, 1.0
    return (alpha, 1.0 - alpha) if sigmoid else (alpha, 1.0)


def poly1(log_probability: Tensor, *, epsilon: float) -> Tensor:
    """v = −log p + ε (1 − p)."""
    return -log_probability - epsilon * torch.expm1(log_probability)


def poly1_derivative(log_probability: Tensor, *, epsilon: float) -> Tensor:
    """v′ = −1 − ε p."""
    return -1.0 - epsilon * torch.exp(log_probability)


def _ce_signature() -> None:
    """Cross-entropy has only the parameters of its family."""


def _bce_signature(
    *,
    pos_weight: Annotated[
        Any,
        PerClass(low=0.0, scalar=True, words=("auto",)),
        "weight of the positive pixels, one number or one for each channel",
    ] = None,
) -> None:
    """Parameters of binary cross-entropy."""


def _focal_signature(
    *,
    gamma: Annotated[float, Number(0.0), "focusing exponent γ; 0 gives cross-entropy"] = 2.0,
    alpha: Annotated[
        Any,
        PerClass(low=0.0, scalar=True),
        "weight: in sigmoid tasks α for positives and 1 − α for negatives, in multiclass one number for each class",
    ] = None,
) -> None:
    """Parameters of focal loss; γ = 2 is the paper's default."""


def _poly1_signature(
    *,
    epsilon: Annotated[float, Number(-1.0), "weight of the first-order term 1 − p added to cross-entropy"] = 1.0,
) -> None:
    """Parameters of Poly-1; the paper's default."""


def _partial_signature(
    *,
    foreground_only: Annotated[bool, Boolean(), "also leave out the pixels labelled as background (class 0)"] = False,
) -> None:
    """Parameters of partial cross-entropy."""


_CROSS_ENTROPY = PixelFormula("cross_entropy", cross_entropy, cross_entropy_derivative)
_BINARY = PixelFormula("cross_entropy", cross_entropy, cross_entropy_derivative, coefficients=_positive_weight)
_POLY1 = PixelFormula("poly1", poly1, poly1_derivative, scalars=("epsilon",))
_FOCAL = PixelFormula("focal", focal, focal_derivative, scalars=("gamma",), coefficients=_alpha)

register(
    _CROSS_ENTROPY,
    _ce_signature,
    name="ce",
    family="pixel",
    title="Cross-entropy",
    tasks=("multiclass",),
    formula="ℓ_i = −Σ_c w_c t̃_ic log p_ic;  mean = Σ_i u_i ℓ_i / Σ_i u_i Σ_c w_c t_ic",
    reference="torch.nn.CrossEntropyLoss",
    use_when="always a sound start: calibrated probabilities, stable gradients, every pixel counts the same",
    avoid_when="the classes you care about cover few pixels and the metric is IoU: add dice, jaccard or lovasz",
    notes="With index targets equal to ``torch.nn.functional.cross_entropy`` in every option; with probability "
    "targets and class weights torch divides by the number of pixels instead.",
    function="cross_entropy",
    module="CrossEntropyLoss",
    aliases=("cross_entropy",),
)
register(
    _BINARY,
    _bce_signature,
    name="bce",
    family="pixel",
    title="Binary cross-entropy",
    tasks=("binary", "multilabel"),
    formula="ℓ_ic = −[π_c t̃ log σ(z) + (1 − t̃) log(1 − σ(z))];  mean over valid pixels and channels",
    reference="torch.nn.BCEWithLogitsLoss",
    use_when="one foreground class, or channels that may overlap",
    avoid_when="classes exclude each other: ce compares them directly",
    notes="Equal to ``torch.nn.functional.binary_cross_entropy_with_logits`` where nothing is ignored. A class "
    "weight w divides by Σ u w instead of the number of elements.",
    function="binary_cross_entropy",
    module="BinaryCrossEntropyLoss",
    aliases=("binary_cross_entropy",),
)
register(
    _FOCAL,
    _focal_signature,
    name="focal",
    family="pixel",
    title="Focal loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="ℓ_i = −α (1 − p_t)^γ log p_t;  mean as for cross-entropy, α not in the denominator",
    reference="Lin et al. 2017, Focal Loss for Dense Object Detection (γ = 2)",
    use_when="most pixels are easy and the few hard ones should drive training",
    avoid_when="labels are noisy (the hard pixels are the wrong ones) or you need calibrated probabilities",
    function="focal",
    module="FocalLoss",
)
register(
    _POLY1,
    _poly1_signature,
    name="poly1",
    family="pixel",
    title="Poly-1 cross-entropy",
    tasks=("multiclass", "multilabel", "binary"),
    formula="ℓ_i = −log p_t + ε (1 − p_t);  mean as for cross-entropy",
    reference="Leng et al. 2022, PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions (ε = 1)",
    use_when="cross-entropy with one number to tune: ε > 0 pulls longer at pixels that are nearly right",
    avoid_when="probabilities must be calibrated, or there is no budget to tune ε",
    notes="Soft targets are linear in t, as in the paper's code.",
    function="poly1",
    module="Poly1Loss",
)
register(
    _CROSS_ENTROPY,
    _partial_signature,
    name="partial_ce",
    family="pixel",
    title="Partial cross-entropy",
    tasks=("multiclass", "multilabel", "binary"),
    formula="mean of −log p_t over the annotated pixels (label ≠ ignore_index)",
    reference="Tang et al. 2018, On Regularized Losses for Weakly-supervised CNN Segmentation",
    use_when="only some pixels are labelled: scribbles, points, partly drawn masks",
    avoid_when="every pixel is labelled: it is then cross-entropy",
    notes='The original is the sum (``reduction="sum"``).',
    function="partial_cross_entropy",
    module="PartialCrossEntropyLoss",
    aliases=("partial_cross_entropy",),
    without=("unlabelled",),
)
