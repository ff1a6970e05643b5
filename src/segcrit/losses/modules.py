"""The losses as modules: thin shells around ``segcrit.functional``, with the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from segcrit import functional
from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.constraints import one_of
from segcrit.functional import Weights
from segcrit.losses.buffers import ClassBuffers
from segcrit.losses.expression.syntax import Expression, Term
from segcrit.losses.formulas.ranking import DEFAULT_BINS
from segcrit.losses.gate import check_ignore_index, check_task, check_upsample
from segcrit.losses.keywords import checked_keywords
from segcrit.losses.plan import make_plan
from segcrit.losses.table import list_losses

__all__ = [
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "PartialCrossEntropyLoss",
    "TverskyLoss",
]


class FunctionalLoss(ClassBuffers):
    """A function of ``segcrit.functional`` with its parameters.

    Parameters that hold a number for each class become non-persistent buffers: they move with the module and stay out of
    checkpoints.
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, **parameters: Any) -> None:
        super().__init__()
        name = self.function.__name__
        row = next(loss for loss in list_losses() if loss.function == name)
        _check_settings(row.name, parameters)
        self._names = tuple(parameters)
        self._changed: list[str] = []
        for word, value in parameters.items():
            constraint = row.parameters.get(word)
            if constraint is not None and word != "reduction":
                value = constraint.check(value)
            if isinstance(value, Tensor):
                self.keep(word, value)
            else:
                setattr(self, word, value)
            if constraint is not None and value is not constraint.default and value != constraint.default:
                self._changed.append(word)

    def forward(self, logits: Tensor, target: Tensor, pixel_weight: Tensor | None = None) -> Tensor:
        """The loss; see the class for its meaning and ``segcrit.Criterion`` for the shapes."""
        keywords = {word: self.kept(word) if word in self._given else getattr(self, word) for word in self._names}
        return type(self).function(logits, target, pixel_weight=pixel_weight, **keywords)

    def extra_repr(self) -> str:
        """The parameters that differ from their defaults."""
        shown = ((name, getattr(self, name)) for name in self._changed)
        return ", ".join(f"{n}={v.tolist() if isinstance(v, Tensor) else v!r}" for n, v in shown)


def _check_settings(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse at construction what the function would refuse at each call."""
    settings = {"task", "ignore_index", "upsample", "align_corners"}
    own = {word: value for word, value in parameters.items() if word not in settings}
    if one_of("reduction", own["reduction"], ("mean", "sum", "none")) == "none":
        own["reduction"] = "sum"
    check_ignore_index(parameters["ignore_index"])
    check_upsample(parameters["upsample"])
    make_plan(Expression((Term(1.0, name, own),)), check_task(parameters["task"]), {})


class CrossEntropyLoss(FunctionalLoss):
    """Cross-entropy: ℓ_i = −Σ_c w_c t̃_ic log p_ic, mean = Σ u ℓ / Σ u Σ_c w_c t_ic over valid pixels.

    The parameters are those of ``segcrit.functional.cross_entropy``.

    Example:
        >>> import torch
        >>> loss = CrossEntropyLoss()
        >>> round(float(loss(torch.log(torch.tensor([[0.3, 0.6, 0.1]])), torch.tensor([1]))), 4)
        0.5108
    """

    function = staticmethod(functional.cross_entropy)

    @checked_keywords
    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Weights = None,
        unlabelled: str = "ignore",
        logit_scale: float = 1.0,
        logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            unlabelled=unlabelled,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class BinaryCrossEntropyLoss(FunctionalLoss):
    """Binary cross-entropy: −[π t̃ log σ(z) + (1 − t̃) log(1 − σ(z))], mean over valid pixels and channels.

    The parameters are those of ``segcrit.functional.binary_cross_entropy``.

    Example:
        >>> import torch
        >>> loss = BinaryCrossEntropyLoss()
        >>> round(float(loss(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """

    function = staticmethod(functional.binary_cross_entropy)

    @checked_keywords
    def __init__(
        self,
        *,
        pos_weight: Tensor | Sequence[float] | float | None = None,
        label_smoothing: float = 0.0,
        class_weight: Weights = None,
        unlabelled: str = "ignore",
        logit_scale: float = 1.0,
        logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "binary",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            pos_weight=pos_weight,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            unlabelled=unlabelled,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class FocalLoss(FunctionalLoss):
    """Focal loss: −α (1 − p_t)^γ log p_t, mean as for cross-entropy; α never enters the denominator.

    The parameters are those of ``segcrit.functional.focal``.

    Example:
        >>> import torch
        >>> loss = FocalLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.1733
    """

    function = staticmethod(functional.focal)

    @checked_keywords
    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: Tensor | Sequence[float] | float | None = None,
        label_smoothing: float = 0.0,
        class_weight: Weights = None,
        unlabelled: str = "ignore",
        logit_scale: float = 1.0,
        logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            gamma=gamma,
            alpha=alpha,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            unlabelled=unlabelled,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class PartialCrossEntropyLoss(FunctionalLoss):
    """Partial cross-entropy: mean of −log p_t over the annotated pixels (label ≠ ignore_index, non-zero one-hot rows).

    The parameters are those of ``segcrit.functional.partial_cross_entropy``.

    Example:
        >>> import torch
        >>> loss = PartialCrossEntropyLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, -100, -100, 1]]))), 4)
        0.6931
    """

    function = staticmethod(functional.partial_cross_entropy)

    @checked_keywords
    def __init__(
        self,
        *,
        foreground_only: bool = False,
        label_smoothing: float = 0.0,
        class_weight: Weights = None,
        logit_scale: float = 1.0,
        logit_bias: Tensor | Sequence[float] | Sequence[Sequence[float]] | None = None,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            foreground_only=foreground_only,
            label_smoothing=label_smoothing,
            class_weight=class_weight,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class DiceLoss(FunctionalLoss):
    """Dice loss: 1 − (2 I + s)/(P + T + s) for each class, mean over classes.

    The parameters are those of ``segcrit.functional.dice``.

    Example:
        >>> import torch
        >>> loss = DiceLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    function = staticmethod(functional.dice)

    @checked_keywords
    def __init__(
        self,
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
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
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
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class JaccardLoss(FunctionalLoss):
    """Jaccard (IoU) loss: 1 − (I + s)/(P + T − I + s) for each class, mean over classes.

    The parameters are those of ``segcrit.functional.jaccard``.

    Example:
        >>> import torch
        >>> loss = JaccardLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6667
    """

    function = staticmethod(functional.jaccard)

    @checked_keywords
    def __init__(
        self,
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
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
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
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class TverskyLoss(FunctionalLoss):
    """Tversky loss: 1 − (I + s)/(I + α FP + β FN + s) with FP = P − I and FN = T − I, mean over classes.

    The parameters are those of ``segcrit.functional.tversky``.

    Example:
        >>> import torch
        >>> loss = TverskyLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    function = staticmethod(functional.tversky)

    @checked_keywords
    def __init__(
        self,
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
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
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
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszSoftmaxLoss(FunctionalLoss):
    """Lovász-softmax loss: the Lovász extension of the Jaccard loss at the errors |t − p|, mean over classes.

    The parameters are those of ``segcrit.functional.lovasz_softmax``.

    Example:
        >>> import torch
        >>> loss = LovaszSoftmaxLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    function = staticmethod(functional.lovasz_softmax)

    @checked_keywords
    def __init__(
        self,
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
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            bins=bins,
            exact=exact,
            class_weight=class_weight,
            per_image=per_image,
            absent=absent,
            classes=classes,
            unlabelled=unlabelled,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszHingeLoss(FunctionalLoss):
    """Lovász hinge loss: the Lovász extension of the Jaccard loss at the errors max(0, 1 − z (2t − 1)), mean over channels.

    The parameters are those of ``segcrit.functional.lovasz_hinge``.

    Example:
        >>> import torch
        >>> loss = LovaszHingeLoss()
        >>> round(float(loss(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.0
    """

    function = staticmethod(functional.lovasz_hinge)

    @checked_keywords
    def __init__(
        self,
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
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "binary",
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            bins=bins,
            exact=exact,
            class_weight=class_weight,
            per_image=per_image,
            absent=absent,
            classes=classes,
            unlabelled=unlabelled,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            ignore_index=ignore_index,
            task=task,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
        )
