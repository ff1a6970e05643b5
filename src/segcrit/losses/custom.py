"""``region_loss`` and ``pixel_loss``: a user's formula of a few lines becomes a first-class loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor

from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.losses.formulas.region import RegionFormula
from segcrit.losses.plan import fields_of
from segcrit.losses.table import Family, Loss, own_parameters, register

__all__ = ["CustomLoss", "pixel_loss", "region_loss"]


@dataclass(frozen=True)
class CustomLoss:
    """A user's loss: callable like the functions of ``segcrit.functional``, and usable by its name in expressions.

    Attributes:
        loss: its row in the table of losses.
        formula: the formula as written.
    """

    loss: Loss
    formula: Callable[..., Tensor]

    @property
    def name(self) -> str:
        """Name in expressions."""
        return self.loss.name

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        pixel_weight: Tensor | None = None,
        reduction: str = "mean",
        **keywords: Any,
    ) -> Tensor:
        """The loss of a batch; keywords are the formula's parameters, those of its family, ``task`` and ``ignore_index``."""
        from segcrit.losses.one_loss import evaluate

        return evaluate(self.loss.name, logits, target, pixel_weight=pixel_weight, reduction=reduction, **keywords)


def _register(formula: Callable[..., Tensor], compute: Any, family: Family, without: tuple[str, ...]) -> CustomLoss:
    name = formula.__name__
    if not name.isidentifier():
        raise ParameterError("a formula with a name", repr(name), "Define it with def instead of lambda.")
    text = (formula.__doc__ or "").strip().split("\n")[0]
    tasks: tuple[Task, ...] = ("multiclass", "multilabel", "binary")
    row = register(
        compute,
        formula,
        name=name,
        family=family,
        title=name,
        tasks=tasks,
        formula=text or f"{name}(...)",
        reference=f"{formula.__module__}.{formula.__qualname__}",
        use_when="a formula of your own",
        avoid_when="a built-in loss says the same",
        without=without,
    )
    return CustomLoss(row, formula)


@overload
def region_loss(formula: Callable[..., Tensor], /) -> CustomLoss: ...


@overload
def region_loss(
    *, pooled: bool = False, fields: tuple[str, ...] | None = None
) -> Callable[[Callable[..., Tensor]], CustomLoss]: ...


def region_loss(
    formula: Callable[..., Tensor] | None = None, /, *, pooled: bool = False, fields: tuple[str, ...] | None = None
) -> CustomLoss | Callable[[Callable[..., Tensor]], CustomLoss]:
    """Make a loss from a formula on the sums of each class.

    The formula receives ``s`` with the fields I = Σ u p t, P = Σ u p, Q = Σ u p², T = Σ u t, U = Σ u t², V = Σ u,
    D = Σ u |p − t| and M = Σ u min(p, t), each of shape (..., C), and returns a loss for each class, (..., C). It gets the
    fast engines, ignore mask, weights, per_image, process groups and expressions for nothing.

    Args:
        formula: ``def name(s, *, parameter=default)``; keyword-only parameters become parameters of the loss.
        pooled: the formula combines the classes itself and returns (...). Such a loss takes ``classes``, ``per_image`` and
            ``reduction`` (over images), and neither ``class_weight`` nor ``absent``: T = 0 is a class without a pixel.
        fields: the sums that it may read; default: those above that it is seen to read. Sums with a further map have to be
            named: ``("P_distance", "V")`` gives it ``s.P_distance`` = Σ u p φ with φ the signed distances, see ``derive``.

    Returns:
        A ``CustomLoss``.

    Raises:
        ParameterError: the formula returns the wrong shape, or its name is taken by a built-in loss.

    Example:
        >>> import torch, segcrit
        >>> @segcrit.region_loss
        ... def soft_f2(s, *, smooth=0.0):
        ...     "1 − F2 of the soft counts."
        ...     return 1 - (5 * s.M + smooth) / (4 * s.T + s.P + smooth)
        >>> logits, target = torch.zeros(1, 2, 4), torch.tensor([[0, 0, 1, 1]])
        >>> round(float(soft_f2(logits, target)), 4)
        0.5
        >>> round(float(segcrit.Criterion("ce + soft_f2(smooth=1)")(logits, target)), 4)
        1.1477
    """

    def decorate(function: Callable[..., Tensor]) -> CustomLoss:
        compute = RegionFormula(function, pooled, fields)
        # Tried before it enters the table: a refused formula leaves nothing behind.
        defaults = {name: parameter.default for name, parameter in own_parameters(function).items()}
        fields_of(compute, defaults, function.__name__)
        # A pooled formula weighs the classes itself, and says itself what a class without a pixel is worth.
        return _register(function, compute, "region", ("class_weight", "absent") if pooled else ())

    return decorate if formula is None else decorate(formula)


def pixel_loss(formula: Callable[..., Tensor]) -> CustomLoss:
    """Make a loss from a formula on the log-probability of each pixel's label.

    Args:
        formula: ``def name(logp, label, *, parameter=default)``: receives the log-probability of the label (in sigmoid
            tasks of the element's value 0 or 1) and the label as int64, of equal shape, and returns unreduced values of that
            shape, differentiable in ``logp``. Ignored pixels arrive as logp = 0 and do not count.

    Returns:
        A ``CustomLoss``. Memory: one float for each pixel beside the gradient, and what autograd keeps of the formula;
        soft targets need the log-probability of every class.

    Raises:
        ParameterError: the name is taken by a built-in loss.

    Example:
        >>> import torch, segcrit
        >>> @segcrit.pixel_loss
        ... def generalised_ce(logp, label, *, q=0.7):
        ...     "(1 − p^q)/q, Zhang and Sabuncu 2018."
        ...     return (1 - torch.exp(q * logp)) / q
        >>> round(float(generalised_ce(torch.zeros(1, 2, 4), torch.tensor([[0, 0, 1, 1]]))), 4)
        0.5492
    """
    return _register(formula, formula, "pixel", ("label_smoothing",))
