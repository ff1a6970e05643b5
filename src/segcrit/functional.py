"""The losses as functions: the meanings of ``Criterion``, one call, no state.

Written from the table of losses by ``tools/write_losses.py``: change the row of a loss, not this file.

All take logits (N, C, *S) and a target as described in ``Criterion``. ``reduction="none"`` returns unreduced values: u·w·ℓ
of each pixel, (N, *S) (in sigmoid tasks of each element, (N, C, *S)), 0 where it does not count, for pixel losses; the
loss of each class, (C,) or (N, C) with ``per_image``, NaN where a class is skipped, for region and ranking losses; with
``classes=`` only the entries of those classes, in their order.
"""

# fmt: off

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.losses.keywords import checked_keywords
from segcrit.losses.one_loss import Matrix, Weights, WeightsOrNumber, evaluate

__all__ = [
    "binary_cross_entropy",
    "boundary",
    "cross_entropy",
    "dice",
    "focal",
    "generalised_dice",
    "jaccard",
    "lovasz_hinge",
    "lovasz_softmax",
    "partial_cross_entropy",
    "poly1",
    "tversky",
]


@checked_keywords
def cross_entropy(
    logits: Tensor, target: Tensor, *,
    label_smoothing: float = 0.0, class_weight: Weights = None, keep: float | None = None, ohem: float | None = None,
    min_kept: int = 100000, unlabelled: str = "ignore", logit_scale: float = 1.0, logit_bias: Matrix = None,
    pixel_weight: Tensor | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass",
    reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Cross-entropy: ℓ_i = −Σ_c w_c t̃_ic log p_ic;  mean = Σ_i u_i ℓ_i / Σ_i u_i Σ_c w_c t_ic.

    Reference: torch.nn.CrossEntropyLoss.

    With index targets equal to ``torch.nn.functional.cross_entropy`` in every option; with probability targets and
    class weights torch divides by the number of pixels instead.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        keep: share of the valid pixels that counts, those with the largest values; at least one pixel.
        ohem: only the pixels whose target has a lower probability count (online hard example mining).
        min_kept: with ohem: so many pixels count at least, the least probable ones.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """
    return evaluate("ce", **locals())


@checked_keywords
def binary_cross_entropy(
    logits: Tensor, target: Tensor, *,
    pos_weight: WeightsOrNumber = None, label_smoothing: float = 0.0, class_weight: Weights = None,
    keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "binary", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Binary cross-entropy: ℓ_ic = −[π_c t̃ log σ(z) + (1 − t̃) log(1 − σ(z))];  mean over valid pixels and channels.

    Reference: torch.nn.BCEWithLogitsLoss.

    Equal to ``torch.nn.functional.binary_cross_entropy_with_logits`` where nothing is ignored. A class weight w divides
    by Σ u w instead of the number of elements.

    Args:
        logits: (N, C, *S), before the sigmoid.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        pos_weight: weight of the positive pixels, one number or one for each channel.
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        keep: share of the valid pixels that counts, those with the largest values; at least one pixel.
        ohem: only the pixels whose target has a lower probability count (online hard example mining).
        min_kept: with ohem: so many pixels count at least, the least probable ones.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(binary_cross_entropy(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """
    return evaluate("bce", **locals())


@checked_keywords
def focal(
    logits: Tensor, target: Tensor, *,
    gamma: float = 2.0, alpha: WeightsOrNumber = None, label_smoothing: float = 0.0, class_weight: Weights = None,
    keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Focal loss: ℓ_i = −α (1 − p_t)^γ log p_t;  mean as for cross-entropy, α not in the denominator.

    Reference: Lin et al. 2017, Focal Loss for Dense Object Detection (γ = 2).

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        gamma: focusing exponent γ; 0 gives cross-entropy.
        alpha: weight: in sigmoid tasks α for positives and 1 − α for negatives, in multiclass one number for each
            class.
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        keep: share of the valid pixels that counts, those with the largest values; at least one pixel.
        ohem: only the pixels whose target has a lower probability count (online hard example mining).
        min_kept: with ohem: so many pixels count at least, the least probable ones.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(focal(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.1733
    """
    return evaluate("focal", **locals())


@checked_keywords
def poly1(
    logits: Tensor, target: Tensor, *,
    epsilon: float = 1.0, label_smoothing: float = 0.0, class_weight: Weights = None, keep: float | None = None,
    ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore", logit_scale: float = 1.0,
    logit_bias: Matrix = None, pixel_weight: Tensor | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Poly-1 cross-entropy: ℓ_i = −log p_t + ε (1 − p_t);  mean as for cross-entropy.

    Reference: Leng et al. 2022, PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions (ε = 1).

    Soft targets are linear in t, as in the paper's code.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        epsilon: weight of the first-order term 1 − p added to cross-entropy.
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        keep: share of the valid pixels that counts, those with the largest values; at least one pixel.
        ohem: only the pixels whose target has a lower probability count (online hard example mining).
        min_kept: with ohem: so many pixels count at least, the least probable ones.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(poly1(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.1931
    """
    return evaluate("poly1", **locals())


@checked_keywords
def partial_cross_entropy(
    logits: Tensor, target: Tensor, *,
    foreground_only: bool = False, label_smoothing: float = 0.0, class_weight: Weights = None,
    keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, logit_scale: float = 1.0,
    logit_bias: Matrix = None, pixel_weight: Tensor | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Partial cross-entropy: mean of −log p_t over the annotated pixels (label ≠ ignore_index).

    Reference: Tang et al. 2018, On Regularized Losses for Weakly-supervised CNN Segmentation.

    The original is the sum (``reduction="sum"``).

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        foreground_only: also leave out the pixels labelled as background (class 0).
        label_smoothing: share of the target that is spread evenly over the classes.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        keep: share of the valid pixels that counts, those with the largest values; at least one pixel.
        ohem: only the pixels whose target has a lower probability count (online hard example mining).
        min_kept: with ohem: so many pixels count at least, the least probable ones.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(partial_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """
    return evaluate("partial_ce", **locals())


@checked_keywords
def dice(
    logits: Tensor, target: Tensor, *,
    smooth: float = 0.0, squared: bool = False, log: bool = False, class_weight: Weights = None,
    per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Dice loss.

    1 − (2 I + s)/(P + T + s) for each class, mean over the classes present; squared: Q + U in the denominator.

    Reference: Milletari et al. 2016, V-Net (squared); Sudre et al. 2017.

    Soft targets use I = Σ u min(p, t), which is minimal at p = t.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        smooth: added to numerator and denominator.
        squared: squares in the denominator (V-Net's form): Σp² and Σt² instead of Σp and Σt.
        log: −log(coefficient) instead of 1 − coefficient.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        absent: classes without a pixel in the target: left out of the mean, or counted.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(dice(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate("dice", **locals())


@checked_keywords
def jaccard(
    logits: Tensor, target: Tensor, *,
    smooth: float = 0.0, squared: bool = False, log: bool = False, class_weight: Weights = None,
    per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Jaccard loss.

    1 − (I + s)/(P + T − I + s) for each class, mean over the classes present; squared: Q + U for P + T.

    Reference: Rahman and Wang 2016; Wang et al. 2023, Jaccard Metric Losses (soft targets).

    Soft targets use I = Σ u min(p, t), which is minimal at p = t.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        smooth: added to numerator and denominator.
        squared: squares in the denominator (V-Net's form): Σp² and Σt² instead of Σp and Σt.
        log: −log(coefficient) instead of 1 − coefficient.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        absent: classes without a pixel in the target: left out of the mean, or counted.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(jaccard(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6667
    """
    return evaluate("jaccard", **locals())


@checked_keywords
def tversky(
    logits: Tensor, target: Tensor, *,
    alpha: float = 0.5, beta: float = 0.5, smooth: float = 0.0, log: bool = False, class_weight: Weights = None,
    per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Tversky loss.

    1 − (I + s)/(I + α FP + β FN + s), FP = P − I, FN = T − I, for each class, mean over the classes present.

    Reference: Salehi et al. 2017, Tversky loss function (α weighs false positives, β false negatives).

    α weighs false positives, β false negatives.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: added to numerator and denominator.
        log: −log(coefficient) instead of 1 − coefficient.
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        absent: classes without a pixel in the target: left out of the mean, or counted.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(tversky(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate("tversky", **locals())


@checked_keywords
def generalised_dice(
    logits: Tensor, target: Tensor, *,
    per_image: bool = False, classes: Sequence[int] | None = None, unlabelled: str = "ignore", logit_scale: float = 1.0,
    logit_bias: Matrix = None, pixel_weight: Tensor | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Generalised Dice loss: 1 − 2 Σ_c w_c I_c / Σ_c w_c (P_c + T_c) with w_c = 1/T_c², 0 for classes without a pixel.

    Reference: Sudre et al. 2017, Generalised Dice overlap as a deep learning loss function.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(generalised_dice(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate("generalised_dice", **locals())


@checked_keywords
def boundary(
    logits: Tensor, target: Tensor, *,
    class_weight: Weights = None, per_image: bool = False, classes: Sequence[int] | None = None,
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    maps: Mapping[str, Tensor] | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass",
    reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Boundary loss.

    Σ u p φ / Σ u for each class, φ its signed distance map (negative inside), mean over the classes present.

    Reference: Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation.

    A term beside a loss of regions or pixels. The distances come from ``maps=``, or are derived from the target.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        classes: classes that count, for example [1, 2]; None for all.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        maps: made by ``segcrit.derive``; default: derived from the target.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(boundary(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.25
    """
    return evaluate("boundary", **locals())


@checked_keywords
def lovasz_softmax(
    logits: Tensor, target: Tensor, *,
    bins: int = 4096, exact: bool = False, class_weight: Weights = None, per_image: bool = False, absent: str = "skip",
    classes: Sequence[int] | None = None, unlabelled: str = "ignore", logit_scale: float = 1.0,
    logit_bias: Matrix = None, pixel_weight: Tensor | None = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Lovász-softmax loss.

    ∫₀^∞ (F(t) + B(t))/(G + B(t)) dt for each class, with F, B the positives and negatives of error ≥ t and error |t −
    p|.

    Reference: Berman et al. 2018, The Lovász-Softmax loss (classes='present').

    From histograms of the errors, within 1/bins of sorting (typically 1e-5); ``exact=True`` sorts. In sigmoid tasks it
    is the Lovász hinge of margins, see ``lovasz_hinge``.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        bins: number of histogram bins: more are more precise and slower.
        exact: sort the errors instead of counting them in bins (slow, more memory).
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        absent: classes without a pixel in the target: left out of the mean, or counted.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(lovasz_softmax(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate("lovasz", **locals())


@checked_keywords
def lovasz_hinge(
    logits: Tensor, target: Tensor, *,
    bins: int = 4096, exact: bool = False, class_weight: Weights = None, per_image: bool = False,
    absent: str = "penalize", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
    logit_scale: float = 1.0, logit_bias: Matrix = None, pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "binary", reduction: str = "mean",
    upsample: str | None = None, align_corners: bool = False,
) -> Tensor:
    """Lovász hinge loss.

    ∫₀^∞ (F(t) + B(t))/(G + B(t)) dt for each class, with F, B the positives and negatives of error ≥ t and error max(0,
    1 − z (2t − 1)).

    Reference: Yu and Blaschko 2015; Berman et al. 2018 (binary).

    From histograms: within (8/bins)(1 + loss) of sorting for errors below 255; ``exact=True`` sorts.

    Args:
        logits: (N, C, *S), before the sigmoid.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        bins: number of histogram bins: more are more precise and slower.
        exact: sort the errors instead of counting them in bins (slow, more memory).
        class_weight: one weight for each class; pixel losses weigh the label, the others take the weighted mean over
            classes.
        per_image: sums for each image and a mean over images, instead of sums over the batch.
        absent: classes without a pixel in the target: left out of the mean, or counted.
        classes: classes that count, for example [1, 2]; None for all.
        unlabelled: 'background' reads ignored pixels as class 0 instead of leaving them out.
        logit_scale: factor on the logits before the softmax or sigmoid.
        logit_bias: added to the logits before the softmax or sigmoid: one number for each class, or a row for each
            label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.

    Example:
        >>> import torch
        >>> round(float(lovasz_hinge(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.0
    """
    return evaluate("lovasz_hinge", **locals())
