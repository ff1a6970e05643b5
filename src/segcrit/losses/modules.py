"""The losses as modules, with the parameters of the functions.

Written from the table of losses by ``tools/write_losses.py``: change the row of a loss, not this file.
"""

# fmt: off

from __future__ import annotations

from collections.abc import Sequence

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.losses.keywords import checked_keywords
from segcrit.losses.one_loss import FunctionalLoss, Matrix, Weights, WeightsOrNumber

__all__ = [
    "BinaryCrossEntropyLoss",
    "BoundaryLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GeneralisedDiceLoss",
    "JaccardLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "PartialCrossEntropyLoss",
    "Poly1Loss",
    "TverskyLoss",
]


class CrossEntropyLoss(FunctionalLoss):
    """Cross-entropy: ℓ_i = −Σ_c w_c t̃_ic log p_ic;  mean = Σ_i u_i ℓ_i / Σ_i u_i Σ_c w_c t_ic.

    Reference: torch.nn.CrossEntropyLoss.

    With index targets equal to ``torch.nn.functional.cross_entropy`` in every option; with probability targets and
    class weights torch divides by the number of pixels instead.

    The parameters are those of ``segcrit.functional.cross_entropy``.

    Example:
        >>> import torch
        >>> loss = CrossEntropyLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """

    loss = "ce"

    @checked_keywords
    def __init__(
        self, *,
        label_smoothing: float = 0.0, class_weight: Weights = None, keep: float | None = None,
        ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore", logit_scale: float = 1.0,
        logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass",
        reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class BinaryCrossEntropyLoss(FunctionalLoss):
    """Binary cross-entropy: ℓ_ic = −[π_c t̃ log σ(z) + (1 − t̃) log(1 − σ(z))];  mean over valid pixels and channels.

    Reference: torch.nn.BCEWithLogitsLoss.

    Equal to ``torch.nn.functional.binary_cross_entropy_with_logits`` where nothing is ignored. A class weight w divides
    by Σ u w instead of the number of elements.

    The parameters are those of ``segcrit.functional.binary_cross_entropy``.

    Example:
        >>> import torch
        >>> loss = BinaryCrossEntropyLoss()
        >>> round(float(loss(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """

    loss = "bce"

    @checked_keywords
    def __init__(
        self, *,
        pos_weight: WeightsOrNumber = None, label_smoothing: float = 0.0, class_weight: Weights = None,
        keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "binary", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class FocalLoss(FunctionalLoss):
    """Focal loss: ℓ_i = −α (1 − p_t)^γ log p_t;  mean as for cross-entropy, α not in the denominator.

    Reference: Lin et al. 2017, Focal Loss for Dense Object Detection (γ = 2).

    The parameters are those of ``segcrit.functional.focal``.

    Example:
        >>> import torch
        >>> loss = FocalLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.1733
    """

    loss = "focal"

    @checked_keywords
    def __init__(
        self, *,
        gamma: float = 2.0, alpha: WeightsOrNumber = None, label_smoothing: float = 0.0, class_weight: Weights = None,
        keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class Poly1Loss(FunctionalLoss):
    """Poly-1 cross-entropy: ℓ_i = −log p_t + ε (1 − p_t);  mean as for cross-entropy.

    Reference: Leng et al. 2022, PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions (ε = 1).

    Soft targets are linear in t, as in the paper's code.

    The parameters are those of ``segcrit.functional.poly1``.

    Example:
        >>> import torch
        >>> loss = Poly1Loss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.1931
    """

    loss = "poly1"

    @checked_keywords
    def __init__(
        self, *,
        epsilon: float = 1.0, label_smoothing: float = 0.0, class_weight: Weights = None, keep: float | None = None,
        ohem: float | None = None, min_kept: int = 100000, unlabelled: str = "ignore", logit_scale: float = 1.0,
        logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass",
        reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class PartialCrossEntropyLoss(FunctionalLoss):
    """Partial cross-entropy: mean of −log p_t over the annotated pixels (label ≠ ignore_index).

    Reference: Tang et al. 2018, On Regularized Losses for Weakly-supervised CNN Segmentation.

    The original is the sum (``reduction="sum"``).

    The parameters are those of ``segcrit.functional.partial_cross_entropy``.

    Example:
        >>> import torch
        >>> loss = PartialCrossEntropyLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6931
    """

    loss = "partial_ce"

    @checked_keywords
    def __init__(
        self, *,
        foreground_only: bool = False, label_smoothing: float = 0.0, class_weight: Weights = None,
        keep: float | None = None, ohem: float | None = None, min_kept: int = 100000, logit_scale: float = 1.0,
        logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX, task: Task = "multiclass",
        reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class DiceLoss(FunctionalLoss):
    """Dice loss.

    1 − (2 I + s)/(P + T + s) for each class, mean over the classes present; squared: Q + U in the denominator.

    Reference: Milletari et al. 2016, V-Net (squared); Sudre et al. 2017.

    Soft targets use I = Σ u min(p, t), which is minimal at p = t.

    The parameters are those of ``segcrit.functional.dice``.

    Example:
        >>> import torch
        >>> loss = DiceLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    loss = "dice"

    @checked_keywords
    def __init__(
        self, *,
        smooth: float = 0.0, squared: bool = False, log: bool = False, class_weight: Weights = None,
        per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class JaccardLoss(FunctionalLoss):
    """Jaccard loss.

    1 − (I + s)/(P + T − I + s) for each class, mean over the classes present; squared: Q + U for P + T.

    Reference: Rahman and Wang 2016; Wang et al. 2023, Jaccard Metric Losses (soft targets).

    Soft targets use I = Σ u min(p, t), which is minimal at p = t.

    The parameters are those of ``segcrit.functional.jaccard``.

    Example:
        >>> import torch
        >>> loss = JaccardLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.6667
    """

    loss = "jaccard"

    @checked_keywords
    def __init__(
        self, *,
        smooth: float = 0.0, squared: bool = False, log: bool = False, class_weight: Weights = None,
        per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class TverskyLoss(FunctionalLoss):
    """Tversky loss.

    1 − (I + s)/(I + α FP + β FN + s), FP = P − I, FN = T − I, for each class, mean over the classes present.

    Reference: Salehi et al. 2017, Tversky loss function (α weighs false positives, β false negatives).

    α weighs false positives, β false negatives.

    The parameters are those of ``segcrit.functional.tversky``.

    Example:
        >>> import torch
        >>> loss = TverskyLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    loss = "tversky"

    @checked_keywords
    def __init__(
        self, *,
        alpha: float = 0.5, beta: float = 0.5, smooth: float = 0.0, log: bool = False, class_weight: Weights = None,
        per_image: bool = False, absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class GeneralisedDiceLoss(FunctionalLoss):
    """Generalised Dice loss: 1 − 2 Σ_c w_c I_c / Σ_c w_c (P_c + T_c) with w_c = 1/T_c², 0 for classes without a pixel.

    Reference: Sudre et al. 2017, Generalised Dice overlap as a deep learning loss function.

    The parameters are those of ``segcrit.functional.generalised_dice``.

    Example:
        >>> import torch
        >>> loss = GeneralisedDiceLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    loss = "generalised_dice"

    @checked_keywords
    def __init__(
        self, *,
        per_image: bool = False, classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class BoundaryLoss(FunctionalLoss):
    """Boundary loss.

    Σ u p φ / Σ u for each class, φ its signed distance map (negative inside), mean over the classes present.

    Reference: Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation.

    A term beside a loss of regions or pixels. The distances come from ``maps=``, or are derived from the target.

    The parameters are those of ``segcrit.functional.boundary``.

    Example:
        >>> import torch
        >>> loss = BoundaryLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.25
    """

    loss = "boundary"

    @checked_keywords
    def __init__(
        self, *,
        class_weight: Weights = None, per_image: bool = False, classes: Sequence[int] | None = None,
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class LovaszSoftmaxLoss(FunctionalLoss):
    """Lovász-softmax loss.

    ∫₀^∞ (F(t) + B(t))/(G + B(t)) dt for each class, with F, B the positives and negatives of error ≥ t and error |t −
    p|.

    Reference: Berman et al. 2018, The Lovász-Softmax loss (classes='present').

    From histograms of the errors, within 1/bins of sorting (typically 1e-5); ``exact=True`` sorts. In sigmoid tasks it
    is the Lovász hinge of margins, see ``lovasz_hinge``.

    The parameters are those of ``segcrit.functional.lovasz_softmax``.

    Example:
        >>> import torch
        >>> loss = LovaszSoftmaxLoss()
        >>> round(float(loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        0.5
    """

    loss = "lovasz"

    @checked_keywords
    def __init__(
        self, *,
        bins: int = 4096, exact: bool = False, class_weight: Weights = None, per_image: bool = False,
        absent: str = "skip", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "multiclass", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())


class LovaszHingeLoss(FunctionalLoss):
    """Lovász hinge loss.

    ∫₀^∞ (F(t) + B(t))/(G + B(t)) dt for each class, with F, B the positives and negatives of error ≥ t and error max(0,
    1 − z (2t − 1)).

    Reference: Yu and Blaschko 2015; Berman et al. 2018 (binary).

    From histograms: within (8/bins)(1 + loss) of sorting for errors below 255; ``exact=True`` sorts.

    The parameters are those of ``segcrit.functional.lovasz_hinge``.

    Example:
        >>> import torch
        >>> loss = LovaszHingeLoss()
        >>> round(float(loss(torch.zeros(1, 1, 4), torch.tensor([[0, 1, 1, 0]]))), 4)
        1.0
    """

    loss = "lovasz_hinge"

    @checked_keywords
    def __init__(
        self, *,
        bins: int = 4096, exact: bool = False, class_weight: Weights = None, per_image: bool = False,
        absent: str = "penalize", classes: Sequence[int] | None = None, unlabelled: str = "ignore",
        logit_scale: float = 1.0, logit_bias: Matrix = None, ignore_index: int = DEFAULT_IGNORE_INDEX,
        task: Task = "binary", reduction: str = "mean", upsample: str | None = None, align_corners: bool = False,
    ) -> None:
        super().__init__(locals())
