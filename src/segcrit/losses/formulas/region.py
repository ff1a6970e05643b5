"""Region losses: pure functions of a few sums for each class, differentiated there by autograd.

With u the pixel weight, p the probability and t the target of a class, over the valid pixels:
I = Σ u p t, P = Σ u p, Q = Σ u p², T = Σ u t, U = Σ u t², V = Σ u, D = Σ u |p − t| and M = Σ u min(p, t) = (P + T − D)/2.
On hard labels M = I. On soft targets the linear forms use M, which makes them minimal at p = t (Wang et al. 2023,
"Jaccard Metric Losses"; with I = Σ u p t the minimum would lie at a hard prediction).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from segcrit.core.constraints import Boolean, Number
from segcrit.engines.formulas import FIELDS
from segcrit.losses.formulas.quotient import quotient
from segcrit.losses.table import register

__all__ = ["ClassSums", "RegionFormula", "dice", "jaccard", "tversky"]

# Floor inside the logarithm of the log forms: −log of a class without any overlap stays finite (value of
# segmentation_models_pytorch and pytorch-toolbelt).
_LOG_FLOOR = 1e-7


class ClassSums:
    """The sums of a region formula by name, each of shape (..., C).

    Beside the fields below, a sum that an operand weighs has the name of both: ``s.P_distance`` is Σ u p φ.

    Args:
        table: the sums stacked, (rows, ..., C).
        names: of the rows.

    Example:
        >>> s = ClassSums(torch.tensor([1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 3.0]).reshape(7, 1))
        >>> float(s.I), float(s.T), float(s.M)
        (1.0, 3.0, 1.0)
    """

    def __init__(self, table: Tensor, names: tuple[str, ...] = FIELDS) -> None:
        self.num_classes = table.shape[-1]
        self._table, self._names = table, names
        # Together: the derivative of one row alone is a table of zeros, that of all of them one table.
        self._rows = dict(zip(names, table.unbind(0), strict=True))

    def __getattr__(self, name: str) -> Tensor:
        # Sums with an operand; while the object is made there are none.
        rows = self.__dict__.get("_rows", {})
        if name not in rows:
            raise AttributeError(f"{name!r} is none of the sums {', '.join(rows)}")
        row: Tensor = rows[name]
        return row

    @property
    def table(self) -> Tensor:
        """The sums stacked, (rows, ..., C); those of ``FIELDS`` come first."""
        return self._table

    def map(self, change: Callable[[Tensor], Tensor]) -> ClassSums:
        """Every row changed, all at once."""
        return ClassSums(change(self._table), self._names)

    @property
    def I(self) -> Tensor:  # noqa: E743 - the field's name of the intersection
        """Σ u p t."""
        return self._rows["I"]

    @property
    def P(self) -> Tensor:
        """Σ u p."""
        return self._rows["P"]

    @property
    def Q(self) -> Tensor:
        """Σ u p²."""
        return self._rows["Q"]

    @property
    def T(self) -> Tensor:
        """Σ u t."""
        return self._rows["T"]

    @property
    def U(self) -> Tensor:
        """Σ u t²."""
        return self._rows["U"]

    @property
    def V(self) -> Tensor:
        """Σ u."""
        return self._rows["V"]

    @property
    def D(self) -> Tensor:
        """Σ u |p − t|."""
        return self._rows["D"]

    @property
    def M(self) -> Tensor:
        """Σ u min(p, t) = (P + T − D)/2: the intersection that is right for soft targets too."""
        return (self.P + self.T - self.D) / 2


@dataclass(frozen=True)
class RegionFormula:
    """A region loss.

    Attributes:
        function: ClassSums and keyword parameters -> loss for each class (..., C), or (...) with ``pooled``.
        pooled: the formula combines the classes itself.
        fields: the sums that it may read, by name; None for those that it is seen to read.
        skips_absent: a pooled formula that leaves out classes without a pixel: where there is no other, nothing counts.
    """

    function: Callable[..., Tensor]
    pooled: bool = False
    fields: tuple[str, ...] | None = None
    skips_absent: bool = False


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


def generalised_dice(s: ClassSums) -> Tensor:
    """1 − 2 Σ_c w_c I_c / Σ_c w_c (P_c + T_c) with w = 1/T², 0 for absent classes."""
    weight = torch.where(s.T > 0, s.T, float("inf")) ** -2
    return 1.0 - quotient(2 * (weight * s.M).sum(-1), (weight * (s.P + s.T)).sum(-1))


def boundary(s: ClassSums) -> Tensor:
    """Σ u p φ / Σ u with φ the signed distance to the border of the class."""
    return quotient(s.P_distance, s.V)


register(
    RegionFormula(dice, fields=("I", "P", "Q", "T", "U", "D")),
    dice,
    name="dice",
    family="region",
    title="Dice loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (2 I + s)/(P + T + s) for each class, mean over the classes present; squared: Q + U in the denominator",
    reference="Milletari et al. 2016, V-Net (squared); Sudre et al. 2017",
    use_when="small or rare regions must count as much as large ones and the metric is Dice or IoU",
    avoid_when="used alone on few, noisy pixels: gradients are weak where p is near 0 or 1; pair it with ce",
    notes="Soft targets use I = Σ u min(p, t), which is minimal at p = t.",
    function="dice",
    module="DiceLoss",
)
register(
    RegionFormula(jaccard, fields=("I", "P", "Q", "T", "U", "D")),
    jaccard,
    name="jaccard",
    family="region",
    title="Jaccard loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (I + s)/(P + T − I + s) for each class, mean over the classes present; squared: Q + U for P + T",
    reference="Rahman and Wang 2016; Wang et al. 2023, Jaccard Metric Losses (soft targets)",
    use_when="the metric is IoU and regions are small",
    avoid_when="used alone from scratch: it starts slowly; pair it with ce",
    notes="Soft targets use I = Σ u min(p, t), which is minimal at p = t.",
    function="jaccard",
    module="JaccardLoss",
    aliases=("iou",),
)
register(
    RegionFormula(tversky, fields=("P", "T", "D")),
    tversky,
    name="tversky",
    family="region",
    title="Tversky loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − (I + s)/(I + α FP + β FN + s), FP = P − I, FN = T − I, for each class, mean over the classes present",
    reference="Salehi et al. 2017, Tversky loss function (α weighs false positives, β false negatives)",
    use_when="missing a region costs more than a false alarm (β > α), or the other way round",
    avoid_when="both errors cost the same: it is then dice",
    notes="α weighs false positives, β false negatives.",
    function="tversky",
    module="TverskyLoss",
)
register(
    RegionFormula(generalised_dice, pooled=True, fields=("P", "T", "D"), skips_absent=True),
    generalised_dice,
    name="generalised_dice",
    family="region",
    title="Generalised Dice loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="1 − 2 Σ_c w_c I_c / Σ_c w_c (P_c + T_c) with w_c = 1/T_c², 0 for classes without a pixel",
    reference="Sudre et al. 2017, Generalised Dice overlap as a deep learning loss function",
    use_when="classes differ in size by orders of magnitude and one pooled score shall balance them",
    avoid_when="a class has only a few pixels in many batches: its weight 1/T² then drowns all others",
    function="generalised_dice",
    module="GeneralisedDiceLoss",
    aliases=("generalized_dice",),
    without=("class_weight", "absent"),
)
register(
    RegionFormula(boundary, fields=("P_distance", "V")),
    boundary,
    name="boundary",
    family="region",
    title="Boundary loss",
    tasks=("multiclass", "multilabel", "binary"),
    formula="Σ u p φ / Σ u for each class, φ its signed distance map (negative inside), mean over the classes present",
    reference="Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation",
    use_when="the border counts and regions are small: beside dice or ce, with a weight that rises during training",
    avoid_when="used alone: it has no scale of its own and an empty prediction is nearly as good",
    notes="A term beside a loss of regions or pixels. The distances come from ``maps=``, or are derived from the "
    "target.",
    function="boundary",
    module="BoundaryLoss",
    without=("absent", "unlabelled"),
)
