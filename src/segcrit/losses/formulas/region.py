"""Region losses: pure functions of a few sums for each class, differentiated there by autograd.

With u the pixel weight, p the probability and t the target of a class, over the valid pixels:
I = Σ u p t, P = Σ u p, Q = Σ u p², T = Σ u t, U = Σ u t², V = Σ u, D = Σ u |p − t| and M = Σ u min(p, t) = (P + T − D)/2.
On hard labels M = I. On soft targets the linear forms use M, which makes them minimal at p = t (Wang et al. 2023,
"Jaccard Metric Losses"; with I = Σ u p t the minimum would lie at a hard prediction).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor

from segcrit.core.constraints import Boolean, Number
from segcrit.losses.formulas.quotient import quotient
from segcrit.losses.table import register

__all__ = ["FIELDS", "ClassSums", "RegionFormula", "dice", "jaccard", "tversky"]

FIELDS = ("I", "P", "Q", "T", "U", "V", "D")

# Floor inside the logarithm of the log forms: −log of a class without any overlap stays finite (value of
# segmentation_models_pytorch and pytorch-toolbelt).
_LOG_FLOOR = 1e-7


@dataclass(frozen=True)
class ClassSums:
    """The sums of a region formula, each of shape (..., C).

    Attributes:
        table: the seven sums stacked, shape (7, ..., C), in the order of ``FIELDS``.

    Example:
        >>> s = ClassSums(torch.tensor([1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 3.0]).reshape(7, 1))
        >>> float(s.I), float(s.T), float(s.M)
        (1.0, 3.0, 1.0)
    """

    table: Tensor
    _rows: tuple[Tensor, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Together: the derivative of one row alone is a table of zeros, that of all of them one table.
        object.__setattr__(self, "_rows", self.table.unbind(0))

    @property
    def I(self) -> Tensor:  # noqa: E743 - the field's name of the intersection
        """Σ u p t."""
        return self._rows[0]

    @property
    def P(self) -> Tensor:
        """Σ u p."""
        return self._rows[1]

    @property
    def Q(self) -> Tensor:
        """Σ u p²."""
        return self._rows[2]

    @property
    def T(self) -> Tensor:
        """Σ u t."""
        return self._rows[3]

    @property
    def U(self) -> Tensor:
        """Σ u t²."""
        return self._rows[4]

    @property
    def V(self) -> Tensor:
        """Σ u."""
        return self._rows[5]

    @property
    def D(self) -> Tensor:
        """Σ u |p − t|."""
        return self._rows[6]

    @property
    def M(self) -> Tensor:
        """Σ u min(p, t) = (P + T − D)/2: the intersection that is right for soft targets too."""
        return (self.P + self.T - self.D) / 2

    @property
    def num_classes(self) -> int:
        """C."""
        return self.table.shape[-1]


@dataclass(frozen=True)
class RegionFormula:
    """A region loss.

    Attributes:
        function: ClassSums and keyword parameters -> loss for each class (..., C), or (...) with ``pooled``.
        pooled: the formula combines the classes itself.
    """

    function: Callable[..., Tensor]
    pooled: bool = False


def loss_of(score: Tensor, log: bool) -> Tensor:
    """1 − score, or −log(score)."""
    return -torch.log(score.clamp_min(_LOG_FLOOR)) if log else 1.0 - score


Smooth = Annotated[float, Number(0.0), "added to numerator and denominator"]
Squared = Annotated[bool, Boolean(), "squares in the denominator (V-Net's form): Σp² and Σt² instead of Σp and Σt"]
Log = Annotated[bool, Boolean(), "−log(coefficient) instead of 1 − coefficient"]


def dice(s: ClassSums, *, smooth: Smooth = 0.0, squared: Squared = False, log: Log = False) -> Tensor:
    """1 − (2 I + s)/(P + T + s)."""
    if squared:
        return loss_of(quotient(2 * s.I + smooth, s.Q + s.U + smooth), log)
    return loss_of(quotient(2 * s.M + smooth, s.P + s.T + smooth), log)


def jaccard(s: ClassSums, *, smooth: Smooth = 0.0, squared: Squared = False, log: Log = False) -> Tensor:
    """1 − (I + s)/(P + T − I + s)."""
    if squared:
        return loss_of(quotient(s.I + smooth, s.Q + s.U - s.I + smooth), log)
    return loss_of(quotient(s.M + smooth, s.P + s.T - s.M + smooth), log)


def tversky(
    s: ClassSums,
    *,
    alpha: Annotated[float, Number(0.0), "weight of false positives"] = 0.5,
    beta: Annotated[float, Number(0.0), "weight of false negatives"] = 0.5,
    smooth: Smooth = 0.0,
    log: Log = False,
) -> Tensor:
    """1 − (I + s)/(I + α FP + β FN + s) with FP = P − I and FN = T − I."""
    overlap = s.M
    denominator = overlap + alpha * (s.P - overlap) + beta * (s.T - overlap) + smooth
    return loss_of(quotient(overlap + smooth, denominator), log)


register(
    RegionFormula(dice),
    dice,
    name="dice",
    family="region",
    title="Dice loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (2 I + s)/(P + T + s) for each class, mean over the classes present; squared: Q + U in the denominator",
    reference="Milletari et al. 2016, V-Net (squared); Sudre et al. 2017",
    use_when="small or rare regions must count as much as large ones and the metric is Dice or IoU",
    avoid_when="used alone on few, noisy pixels: gradients are weak where p is near 0 or 1; pair it with ce",
    function="dice",
    module="DiceLoss",
)
register(
    RegionFormula(jaccard),
    jaccard,
    name="jaccard",
    family="region",
    title="Jaccard loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (I + s)/(P + T − I + s) for each class, mean over the classes present; squared: Q + U for P + T",
    reference="Rahman and Wang 2016; Wang et al. 2023, Jaccard Metric Losses (soft targets)",
    use_when="the metric is IoU and regions are small",
    avoid_when="used alone from scratch: it starts slowly; pair it with ce",
    function="jaccard",
    module="JaccardLoss",
    aliases=("iou",),
)
register(
    RegionFormula(tversky),
    tversky,
    name="tversky",
    family="region",
    title="Tversky loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (I + s)/(I + α FP + β FN + s), FP = P − I, FN = T − I, for each class, mean over the classes present",
    reference="Salehi et al. 2017, Tversky loss function (α weighs false positives, β false negatives)",
    use_when="missing a region costs more than a false alarm (β > α), or the other way round",
    avoid_when="both errors cost the same: it is then dice",
    function="tversky",
    module="TverskyLoss",
)
