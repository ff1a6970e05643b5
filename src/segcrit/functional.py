"""The losses as functions: the same meanings as in ``Criterion``, one call, no state.

All take logits (N, C, *S) and a target as described in ``Criterion``. ``reduction="none"`` returns unreduced values: u·w·ℓ
of each pixel, (N, *S) (in sigmoid tasks of each element, (N, C, *S)), 0 where ignored, for pixel losses; the loss of each
class, (C,) or (N, C) with ``per_image``, NaN where a class is skipped, for region and ranking losses; with
``classes=`` only the entries of those classes, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.dtypes import compute_dtype
from segcrit.core.errors import UnknownParameterError
from segcrit.engines import check_name
from segcrit.losses import gate
from segcrit.losses.averages import number_or_nan
from segcrit.losses.criterion import _warn_about
from segcrit.losses.expression.syntax import Expression, Term
from segcrit.losses.formulas.ranking import DEFAULT_BINS
from segcrit.losses.keywords import checked_keywords, parameter_hint
from segcrit.losses.plan import Plan, make_plan
from segcrit.losses.table import lookup
from segcrit.losses.terms import measure, per_class, term_values

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "dice",
    "focal",
    "jaccard",
    "lovasz_hinge",
    "lovasz_softmax",
    "partial_cross_entropy",
    "tversky",
]

Weights = Tensor | Sequence[float] | None


def evaluate(
    name: str,
    logits: Tensor,
    target: Tensor,
    *,
    pixel_weight: Tensor | None = None,
    task: Task = "multiclass",
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
    validate: str = "auto",
    backend: str = "auto",
    **parameters: Any,
) -> Tensor:
    """One loss of the table on one batch, with any of its parameters as keywords."""
    gate.one_of("reduction", reduction, ("mean", "sum", "none"))
    gate.one_of("validate", validate, ("auto", "always", "never"))
    gate.check_upsample(upsample)
    plan = _plan(name, gate.check_task(task), "sum" if reduction == "none" else reduction, parameters)
    batch = gate.as_batch(
        logits,
        target,
        pixel_weight,
        task=plan.task,
        num_classes=None,
        ignore_index=gate.check_ignore_index(ignore_index),
        upsample=upsample is not None,
        align_corners=align_corners,
    )
    check = validate == "always" or (validate == "auto" and logits.device.type == "cpu")
    if task == "multiclass" and validate != "never" and not torch.compiler.is_compiling():
        gate.warn_if_probabilities(batch.logits)
    group, term = plan.groups[0], plan.terms[0]

    def lookup(index: int, parameter: str) -> Any:
        return plan.terms[index].values.get(parameter)

    maps = reduction == "none" and term.loss.family == "pixel"
    measured = measure(plan, group, batch, lookup, check=check, backend=check_name(backend), maps=maps)
    dtype = compute_dtype(batch.logits.dtype)
    if maps:
        return measured.maps[0].to(dtype)
    if reduction == "none":
        return per_class(term, measured).to(dtype)
    return number_or_nan(term_values(plan, group, measured, measured.additive, lookup)[0].to(dtype))


def _plan(name: str, task: Task, reduction: str, parameters: Mapping[str, Any]) -> Plan:
    row = lookup(name)
    known = row.parameters if row is not None else {}
    for word in parameters:
        if word not in known:
            raise UnknownParameterError(
                f"parameters of {name}: {', '.join(known)}",
                f"{word}=",
                parameter_hint(word, known) or "Leave it out.",
            )
    given = MappingProxyType({**parameters, "reduction": reduction})
    plan = make_plan(Expression((Term(1.0, name, given),)), task, {})
    _warn_about(plan)
    return plan


@checked_keywords
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Weights = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Cross-entropy: ℓ_i = −Σ_c w_c t̃_ic log p_ic, mean = Σ u ℓ / Σ u Σ_c w_c t_ic over valid pixels.

    With index targets equal to ``torch.nn.functional.cross_entropy`` in every option; with probability targets and class
    weights torch divides by the number of pixels instead.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        label_smoothing: share ε of the target spread over the classes: t̃ = (1 − ε) t + ε/C (C = 2 in sigmoid tasks).
        class_weight: one weight ≥ 0 for each class.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(cross_entropy(torch.log(torch.tensor([[0.3, 0.6, 0.1]])), torch.tensor([1]))), 4)
        0.5108
    """
    return evaluate(
        "ce",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    pos_weight: Tensor | Sequence[float] | float | None = None,
    label_smoothing: float = 0.0,
    class_weight: Weights = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "binary",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Binary cross-entropy: −[π t̃ log σ(z) + (1 − t̃) log(1 − σ(z))], mean over valid pixels and channels.

    Equal to ``torch.nn.functional.binary_cross_entropy_with_logits`` where nothing is ignored. A class weight w divides by
    Σ u w instead of the number of elements.

    Args:
        logits: (N, C, *S), before the sigmoid.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        pos_weight: weight of positives, a number or one for each channel.
        label_smoothing: share ε of the target spread over the classes: t̃ = (1 − ε) t + ε/C (C = 2 in sigmoid tasks).
        class_weight: one weight ≥ 0 for each class.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(binary_cross_entropy(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """
    return evaluate(
        "bce",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        pos_weight=pos_weight,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def focal(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: Tensor | Sequence[float] | float | None = None,
    label_smoothing: float = 0.0,
    class_weight: Weights = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Focal loss: −α (1 − p_t)^γ log p_t, mean as for cross-entropy; α never enters the denominator.

    Lin et al. 2017, γ = 2; no α by default.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        gamma: focusing exponent γ ≥ 0.
        alpha: in sigmoid tasks a number α for positives and 1 − α for negatives; in multiclass one number for each class.
        label_smoothing: share ε of the target spread over the classes: t̃ = (1 − ε) t + ε/C (C = 2 in sigmoid tasks).
        class_weight: one weight ≥ 0 for each class.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(focal(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.1733
    """
    return evaluate(
        "focal",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        gamma=gamma,
        alpha=alpha,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def partial_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    foreground_only: bool = False,
    label_smoothing: float = 0.0,
    class_weight: Weights = None,
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Partial cross-entropy: mean of −log p_t over the annotated pixels (label ≠ ignore_index, non-zero one-hot rows).

    Tang et al. 2018; the original is the sum (``reduction="sum"``).

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        foreground_only: also leave out pixels labelled as background (class 0).
        label_smoothing: share ε of the target spread over the classes: t̃ = (1 − ε) t + ε/C (C = 2 in sigmoid tasks).
        class_weight: one weight ≥ 0 for each class.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(partial_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, -100, -100, 1]]))), 4)
        0.6931
    """
    return evaluate(
        "partial_ce",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        foreground_only=foreground_only,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def dice(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 0.0,
    squared: bool = False,
    log: bool = False,
    class_weight: Weights = None,
    per_image: bool = False,
    absent: str = "skip",
    classes: Sequence[int] | None = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Dice loss: 1 − (2 I + s)/(P + T + s) for each class, mean over classes.

    Soft targets use I = Σ u min(p, t), which is minimal at p = t. ``squared``: Σp² + Σt² in the denominator (V-Net).

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        smooth: s ≥ 0, added to numerator and denominator.
        squared: squares in the denominator, V-Net's form.
        log: −log of the coefficient instead of 1 − coefficient.
        class_weight: one weight ≥ 0 for each class.
        per_image: sums for each image and a mean over images instead of sums over the batch.
        absent: ``"skip"`` leaves classes without a pixel in the target out of the mean, ``"penalize"`` counts them.
        classes: indices of the classes that count, None for all.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(dice(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate(
        "dice",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        smooth=smooth,
        squared=squared,
        log=log,
        class_weight=class_weight,
        per_image=per_image,
        absent=absent,
        classes=classes,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def jaccard(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 0.0,
    squared: bool = False,
    log: bool = False,
    class_weight: Weights = None,
    per_image: bool = False,
    absent: str = "skip",
    classes: Sequence[int] | None = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Jaccard (IoU) loss: 1 − (I + s)/(P + T − I + s) for each class, mean over classes.

    Soft targets use I = Σ u min(p, t), which is minimal at p = t (Wang et al. 2023).

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        smooth: s ≥ 0, added to numerator and denominator.
        squared: squares in the denominator, V-Net's form.
        log: −log of the coefficient instead of 1 − coefficient.
        class_weight: one weight ≥ 0 for each class.
        per_image: sums for each image and a mean over images instead of sums over the batch.
        absent: ``"skip"`` leaves classes without a pixel in the target out of the mean, ``"penalize"`` counts them.
        classes: indices of the classes that count, None for all.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(jaccard(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6667
    """
    return evaluate(
        "jaccard",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        smooth=smooth,
        squared=squared,
        log=log,
        class_weight=class_weight,
        per_image=per_image,
        absent=absent,
        classes=classes,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def tversky(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 0.0,
    log: bool = False,
    class_weight: Weights = None,
    per_image: bool = False,
    absent: str = "skip",
    classes: Sequence[int] | None = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Tversky loss: 1 − (I + s)/(I + α FP + β FN + s) with FP = P − I and FN = T − I, mean over classes.

    Salehi et al. 2017: α weighs false positives, β false negatives.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        alpha: weight of false positives.
        beta: weight of false negatives.
        smooth: s ≥ 0, added to numerator and denominator.
        log: −log of the coefficient instead of 1 − coefficient.
        class_weight: one weight ≥ 0 for each class.
        per_image: sums for each image and a mean over images instead of sums over the batch.
        absent: ``"skip"`` leaves classes without a pixel in the target out of the mean, ``"penalize"`` counts them.
        classes: indices of the classes that count, None for all.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(tversky(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate(
        "tversky",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        alpha=alpha,
        beta=beta,
        smooth=smooth,
        log=log,
        class_weight=class_weight,
        per_image=per_image,
        absent=absent,
        classes=classes,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    bins: int = DEFAULT_BINS,
    exact: bool = False,
    class_weight: Weights = None,
    per_image: bool = False,
    absent: str = "skip",
    classes: Sequence[int] | None = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "multiclass",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Lovász-softmax loss: the Lovász extension of the Jaccard loss at the errors |t − p|, mean over classes.

    In sigmoid tasks (``task="binary"`` or ``"multilabel"``) it is the Lovász hinge of margins, see ``lovasz_hinge``.

    From histograms of the errors, within 1/bins of sorting (typically 1e-5); ``exact=True`` sorts. Berman et al. 2018.

    Args:
        logits: (N, C, *S), before the softmax.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        bins: number K of histogram bins.
        exact: sort instead of counting in bins.
        class_weight: one weight ≥ 0 for each class.
        per_image: sums for each image and a mean over images instead of sums over the batch.
        absent: ``"skip"`` leaves classes without a pixel in the target out of the mean, ``"penalize"`` counts them.
        classes: indices of the classes that count, None for all.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(lovasz_softmax(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """
    return evaluate(
        "lovasz",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        bins=bins,
        exact=exact,
        class_weight=class_weight,
        per_image=per_image,
        absent=absent,
        classes=classes,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )


@checked_keywords
def lovasz_hinge(
    logits: Tensor,
    target: Tensor,
    *,
    bins: int = DEFAULT_BINS,
    exact: bool = False,
    class_weight: Weights = None,
    per_image: bool = False,
    absent: str = "penalize",
    classes: Sequence[int] | None = None,
    unlabelled: str = "ignore",
    logit_scale: float = 1.0,
    logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    task: Task = "binary",
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Lovász hinge loss: the Lovász extension of the Jaccard loss at the errors max(0, 1 − z (2t − 1)), mean over channels.

    From histograms: within (8/bins)(1 + loss) of sorting for errors below 255; ``exact=True`` sorts. Berman et al. 2018.

    Args:
        logits: (N, C, *S), before the sigmoid.
        target: labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S).
        bins: number K of histogram bins.
        exact: sort instead of counting in bins.
        class_weight: one weight ≥ 0 for each class.
        per_image: sums for each image and a mean over images instead of sums over the batch.
        absent: ``"skip"`` leaves classes without a pixel in the target out of the mean, ``"penalize"`` counts them.
        classes: indices of the classes that count, None for all.
        unlabelled: ``"background"`` reads ignored pixels as class 0.
        logit_scale: factor s > 0 of the logit transform z′ = s z + b.
        logit_bias: b of the logit transform: one number for each class, or in multiclass a row for each label.
        pixel_weight: (N, *S), finite, ≥ 0.
        ignore_index: label that does not count.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        upsample: ``"linear"`` interpolates the logits to the size of the target.
        align_corners: as in ``torch.nn.functional.interpolate``.

    Returns:
        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.

    Raises:
        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: with what was expected, what came, what to do.

    Example:
        >>> round(float(lovasz_hinge(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.0
    """
    return evaluate(
        "lovasz_hinge",
        logits,
        target,
        pixel_weight=pixel_weight,
        ignore_index=ignore_index,
        task=task,
        reduction=reduction,
        upsample=upsample,
        align_corners=align_corners,
        bins=bins,
        exact=exact,
        class_weight=class_weight,
        per_image=per_image,
        absent=absent,
        classes=classes,
        unlabelled=unlabelled,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
    )
