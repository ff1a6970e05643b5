"""Ranking losses: the Lovász extension of the Jaccard loss, from histograms of errors or by sorting.

With G the weight of a class's positives and, for a threshold t, F(t) the positives and B(t) the negatives whose error is at
least t, the set function of the Jaccard loss is Δ(F, B) = (F + B)/(G + B), and its Lovász extension is ∫ Δ(F(t), B(t)) dt
(a Choquet integral). Two histograms of errors a class are therefore enough, O(pixels) instead of O(pixels log pixels).

Inside one bin the order of the errors is not known. A positive in the bin weighs the mean of the increments of Δ when the
positives come first and when the negatives do:
    positive: ½ [1/(G + B₀) + 1/(G + B₀ + b)]            with B₀, F₀ the weights above the bin and b, f those in it
    negative: (G − F₀ − f/2) / [(G + B₀)(G + B₀ + b)]
Both sums telescope to Δ exactly. The value is Σ weight · (sum of the errors in the bin), piecewise linear in the errors, so
that these weights are exactly its gradient. The error against sorting is at most one bin's width; typical errors are far
smaller, because the sums of errors are exact and only the order inside a bin is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from segcrit.core.constraints import Boolean, WholeNumber
from segcrit.core.errors import ParameterError
from segcrit.losses.formulas.quotient import quotient
from segcrit.losses.table import register

__all__ = ["DEFAULT_BINS", "RankingFormula", "bin_weights", "exact_loss", "histogram_loss"]

DEFAULT_BINS = 4096


@dataclass(frozen=True)
class RankingFormula:
    """A ranking loss.

    Attributes:
        errors: ``"probability"``, |t − p| in [0, 1], or ``"margin"``, max(0, 1 − z (2t − 1)), unbounded.
    """

    errors: Literal["probability", "margin"]

    def __post_init__(self) -> None:
        if self.errors not in ("probability", "margin"):
            raise ParameterError(
                "errors 'probability' or 'margin'",
                repr(self.errors),
                "Write a pixel or region formula for other errors.",
            )


def bin_weights(counts: Tensor) -> Tensor:
    """Weight of a unit of error in each bin.

    Args:
        counts: (..., 2, K): weight of negatives (index 0) and positives (1) in each bin, bins by rising error.

    Returns:
        (..., 2, K): weights of the same layout. With G = 0, Δ jumps from 0 to 1 at the largest error: the highest
        non-empty bin shares the weight 1 evenly.
    """
    negatives, positives = counts[..., 0, :], counts[..., 1, :]
    total = positives.sum(-1, keepdim=True)
    everything = negatives.sum(-1, keepdim=True)
    present = (total > 0).to(counts.dtype)
    # B₀ and F₀, what lies above each bin: all but what lies below and in it.
    negatives_above = everything - _running_sum(negatives)
    positives_above = total - _running_sum(positives)
    inverse_before = (torch.where(total > 0, total, 1.0) + negatives_above).reciprocal_()
    inverse_after = (torch.where(total > 0, total, 1.0) + negatives_above + negatives).reciprocal_()
    of_positive = (inverse_before + inverse_after).mul_(present / 2)
    of_negative = (
        (total - positives_above).sub_(positives, alpha=0.5).mul_(inverse_before).mul_(inverse_after).mul_(present)
    )
    # G = 0: the last bin with a negative.
    filled = negatives > 0
    highest = filled.shape[-1] - 1 - filled.flip(-1).to(torch.uint8).argmax(-1, keepdim=True)
    share = torch.where(everything > 0, (1 - present) / negatives.gather(-1, highest).clamp_min(1e-300), 0.0)
    of_negative.scatter_add_(-1, highest, share)
    return torch.stack((of_negative, of_positive), dim=-2)


def _running_sum(values: Tensor) -> Tensor:
    """The cumulative sum along the last dimension."""
    if values.is_cuda and (torch.are_deterministic_algorithms_enabled() or values.numel() == values.shape[-1]):
        # On a GPU PyTorch's own adds a single row in an order that varies, and refuses floats where results must repeat.
        return doubling_sum(values)
    return values.cumsum(-1)


def doubling_sum(values: Tensor) -> Tensor:
    """The cumulative sum in a fixed order: after step k every place holds the sum of 2ᵏ values."""
    reach = 1
    while reach < values.shape[-1]:
        values = values + torch.nn.functional.pad(values[..., :-reach], (reach, 0))
        reach *= 2
    return values


def histogram_loss(counts: Tensor, moments: Tensor) -> Tensor:
    """Lovász extension from histograms: Σ weight · moment over bins, shape (...,).

    Args:
        counts: (..., 2, K), see ``bin_weights``.
        moments: (..., 2, K): weighted sums of the errors in each bin; the loss is differentiated through these.
    """
    return (bin_weights(counts.detach()) * moments).sum((-1, -2))


def exact_loss(errors: Tensor, positive: Tensor, weight: Tensor) -> Tensor:
    """Lovász extension by sorting, for one class.

    Args:
        errors: (M,) errors, differentiable.
        positive: (M,) bool.
        weight: (M,) pixel weights, 0 for pixels that do not count.

    Returns:
        0-d loss. The increments are formed in closed form in float64: differencing a float32 cumulative sum, as is
        common, loses a quarter per cent of the gradient at a million pixels.
    """
    with torch.no_grad():
        order = torch.argsort(errors.detach(), descending=True, stable=True)
        sorted_weight = weight[order].to(torch.float64)
        sorted_positive = positive[order]
        foreground = torch.where(sorted_positive, sorted_weight, 0.0)
        background = torch.where(sorted_positive, 0.0, sorted_weight)
        total = foreground.sum()
        # The sum before each, not the difference to the sum with it: that would lose small weights beside large ones.
        before = total + torch.cat((background.new_zeros(1), background.cumsum(0)))[: len(background)]
        after = before + background
        found = foreground.cumsum(0)
        # Without positives the extension is that of the largest error alone: the first negative that counts has step 1.
        first = (before == 0) & (background > 0)
        negative_step = torch.where(first, 1.0, quotient(background * (total - found), before * after))
        step = torch.where(sorted_positive, quotient(foreground, before), negative_step)
        increments = torch.empty_like(step)
        increments[order] = step
    # Pixels that do not count may hold anything; weights that are NaN make the increments NaN, which must be seen.
    counts = increments != 0
    return torch.where(counts, errors * increments.to(errors.dtype), 0.0).sum(dtype=torch.float64)


def _signature(
    *,
    bins: Annotated[
        int, WholeNumber(16, 65536), "number of histogram bins: more are more precise and slower"
    ] = DEFAULT_BINS,
    exact: Annotated[bool, Boolean(), "sort the errors instead of counting them in bins (slow, more memory)"] = False,
) -> None:
    """Parameters of the Lovász losses."""


_FORMULA = "∫₀^∞ (F(t) + B(t))/(G + B(t)) dt for each class, with F, B the positives and negatives of error ≥ t"

register(
    RankingFormula("probability"),
    _signature,
    name="lovasz",
    family="ranking",
    title="Lovász-softmax loss",
    tasks=("multiclass",),
    formula=_FORMULA + " and error |t − p|",
    reference="Berman et al. 2018, The Lovász-Softmax loss (classes='present')",
    use_when="the metric is mean IoU: it is the tightest convex surrogate of the Jaccard loss; best beside or after ce",
    avoid_when="targets are soft or noisy, or training starts from scratch without ce",
    notes="From histograms of the errors, within 1/bins of sorting (typically 1e-5); ``exact=True`` sorts. In sigmoid tasks "
    "it is the Lovász hinge of margins, see ``lovasz_hinge``.",
    function="lovasz_softmax",
    module="LovaszSoftmaxLoss",
    aliases=("lovasz_softmax",),
    sigmoid_twin="lovasz_hinge",
)
register(
    RankingFormula("margin"),
    _signature,
    name="lovasz_hinge",
    family="ranking",
    title="Lovász hinge loss",
    tasks=("multilabel", "binary"),
    formula=_FORMULA + " and error max(0, 1 − z (2t − 1))",
    reference="Yu and Blaschko 2015; Berman et al. 2018 (binary)",
    use_when="the metric is foreground IoU in a sigmoid task; best beside or after bce",
    avoid_when="targets are soft or noisy, or probabilities must be calibrated",
    notes="From histograms: within (8/bins)(1 + loss) of sorting for errors below 255; ``exact=True`` sorts.",
    function="lovasz_hinge",
    module="LovaszHingeLoss",
    defaults={"absent": "penalize"},
)
