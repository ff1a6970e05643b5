"""Dense float64 losses in plain PyTorch, for gradients by autograd and for sizes at which the loops are too slow.

Everything is stored (softmax, one-hot, masks), nothing is shared with the package. The loops of this folder check it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Numbers = Sequence[float] | Tensor | None


class Dense:
    """One call as dense tensors: log-probabilities, truth, which elements count and the weights, all (N, C, M)."""

    def __init__(
        self,
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        task: str = "multiclass",
        ignore_index: int = -100,
        unlabelled: str | None = None,
        use_mask: bool = True,
    ) -> None:
        images, classes = logits.shape[:2]
        self.task, self.shape = task, logits.shape
        size = logits[0, 0].numel() if images else 0
        per_class = target.ndim == logits.ndim and target.shape[1] == classes and (classes > 1 or task != "multiclass")
        if task == "binary":
            per_class = target.ndim == logits.ndim
        t = target.reshape(images, classes if per_class else 1, size).double()
        if task == "multiclass" and not per_class:
            counted = t != ignore_index
            truth = torch.cat([(t == c).double() for c in range(classes)], 1)
            counted = counted.expand_as(truth)
        elif task == "multiclass":
            counted = (t != 0).any(1, keepdim=True).expand_as(t)
            truth = t
        else:
            counted = t != ignore_index
            truth = torch.where(counted, t, 0.0)
        if unlabelled == "background":
            background = torch.zeros_like(truth)
            if task == "multiclass":
                background[:, 0] = 1
            truth = torch.where(counted, truth, background)
            counted = torch.ones_like(counted)
        u = torch.ones(images, 1, size, dtype=torch.float64)
        if pixel_weight is not None:
            u = pixel_weight.reshape(images, 1, size).double()
        counted = counted & (u > 0)
        if not use_mask:
            counted = torch.ones_like(counted)
        self.truth, self.counted = truth, counted
        self.weight = torch.where(counted, u.expand_as(truth), 0.0)
        z = logits.reshape(images, classes, size).double()
        z = torch.where(counted, z, 0.0) if use_mask else z
        self.logits = z
        if task == "multiclass":
            self.log_p = torch.log_softmax(z, 1)
            p = self.log_p.exp()
            self.log_q = torch.log1p(-p.clamp(max=1 - 1e-15))
        else:
            self.log_p, self.log_q = F.logsigmoid(z), F.logsigmoid(-z)
        self.p = self.log_p.exp()

    @property
    def classes(self) -> int:
        return self.shape[1]

    def class_weights(self, class_weight: Numbers) -> Tensor:
        if class_weight is None:
            return torch.ones(self.classes, dtype=torch.float64)
        return torch.as_tensor(class_weight, dtype=torch.float64)


def _pixel_reduce(d: Dense, values: Tensor, class_weight: Numbers, reduction: str) -> Tensor:
    """values (N, C, M): the loss of every element, without any weight u."""
    weighted = torch.where(d.counted, values, 0.0) * d.weight
    if reduction == "none":
        shape = d.shape if d.task != "multiclass" else (d.shape[0], *d.shape[2:])
        return (weighted.sum(1) if d.task == "multiclass" else weighted).reshape(shape)
    total = weighted.sum()
    if reduction == "sum":
        return total
    share = d.truth if d.task == "multiclass" else torch.ones_like(d.truth)
    below = (d.weight * d.class_weights(class_weight)[None, :, None] * share).sum()
    return total / below if below > 0 else total * 0


def _smoothed(d: Dense, label_smoothing: float) -> Tensor:
    outcomes = d.classes if d.task == "multiclass" else 2
    return (1 - label_smoothing) * d.truth + label_smoothing / outcomes


def ce(d: Dense, *, label_smoothing: float = 0.0, class_weight: Numbers = None, reduction: str = "mean") -> Tensor:
    w = d.class_weights(class_weight)[None, :, None]
    t = _smoothed(d, label_smoothing)
    values = torch.where(t > 0, -w * t * torch.where(t > 0, d.log_p, 0.0), 0.0)
    return _pixel_reduce(d, values, class_weight, reduction)


def bce(
    d: Dense,
    *,
    pos_weight: Numbers = None,
    label_smoothing: float = 0.0,
    class_weight: Numbers = None,
    reduction: str = "mean",
) -> Tensor:
    t = _smoothed(d, label_smoothing)
    lift = d.class_weights(pos_weight)[None, :, None]
    w = d.class_weights(class_weight)[None, :, None]
    values = -w * (lift * t * d.log_p + (1 - t) * d.log_q)
    return _pixel_reduce(d, values, class_weight, reduction)


def focal(
    d: Dense,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    label_smoothing: float = 0.0,
    class_weight: Numbers = None,
    reduction: str = "mean",
) -> Tensor:
    t = _smoothed(d, label_smoothing)
    w = d.class_weights(class_weight)[None, :, None]

    def modulated(log_p: Tensor) -> Tensor:
        # At p = 1 the modulator is 0^γ; the limit of its derivative is 0 for every γ once multiplied by log p.
        rest = (-torch.expm1(log_p)).clamp(min=1e-300)
        return -(rest**gamma) * log_p if gamma else -log_p

    if d.task == "multiclass":
        scale = 1.0 if alpha is None else torch.as_tensor(alpha, dtype=torch.float64).reshape(1, -1, 1)
        values = w * scale * t * modulated(torch.where(t > 0, d.log_p, -1.0))
    else:
        share = 0.0 if alpha is None else torch.as_tensor(alpha, dtype=torch.float64).reshape(1, -1, 1)
        on, off = (1.0, 1.0) if alpha is None else (share, 1 - share)
        values = w * (on * t * modulated(d.log_p) + off * (1 - t) * modulated(d.log_q))
    return _pixel_reduce(d, values, class_weight, reduction)


def poly1(d: Dense, *, epsilon: float = 1.0, reduction: str = "mean") -> Tensor:
    values = d.truth * (epsilon * (1 - d.p) - torch.where(d.truth > 0, d.log_p, 0.0))
    if d.task != "multiclass":
        values = values + (1 - d.truth) * (epsilon * d.p - d.log_q)
    return _pixel_reduce(d, values, None, reduction)


def partial_ce(d: Dense, *, foreground_only: bool = False, **options: Any) -> Tensor:
    if foreground_only:
        keep = (d.truth[:, :1] <= 0).expand_as(d.truth) if d.task == "multiclass" else d.truth > 0
        d.counted = d.counted & keep
        d.weight = torch.where(d.counted, d.weight, 0.0)
    return ce(d, **options) if d.task == "multiclass" else bce(d, **options)


def _average(
    d: Dense,
    per_class: Tensor,
    present: Tensor,
    *,
    classes: Sequence[int] | None,
    class_weight: Numbers,
    reduction: str,
) -> Tensor:
    """per_class, present: (groups, C). Σ w l / Σ w over present classes, then over groups that have any."""
    chosen = torch.zeros(d.classes, dtype=torch.bool)
    chosen[list(range(d.classes)) if classes is None else list(classes)] = True
    kept = present & chosen
    if reduction == "none":
        return torch.where(kept, per_class, torch.nan)
    w = d.class_weights(class_weight) * kept
    values = torch.where(kept, per_class, 0.0)
    if reduction == "sum":
        return (w * values).sum()
    below = w.sum(1)
    live = below > 0
    means = (w * values).sum(1) / torch.where(live, below, 1.0)
    return (means * live).sum() / live.sum().clamp(min=1) + 0 * d.p.sum()


def region(
    d: Dense,
    *,
    alpha: float,
    beta: float,
    scale: float,
    smooth: float = 0.0,
    squared: bool = False,
    log: bool = False,
    classes: Sequence[int] | None = None,
    class_weight: Numbers = None,
    absent: str = "skip",
    per_image: bool = False,
    reduction: str = "mean",
) -> Tensor:
    u, t, p = d.weight, d.truth, d.p
    axes = (2,) if per_image else (0, 2)

    def summed(x: Tensor) -> Tensor:
        s = torch.where(d.counted, u * x, 0.0).sum(axes)
        return s if per_image else s[None]

    inter = summed(p * t if squared else torch.minimum(p, t))
    predicted, true = summed(p * p if squared else p), summed(t * t if squared else t)
    below = scale * (inter + alpha * (predicted - inter) + beta * (true - inter)) + smooth
    score = (scale * inter + smooth) / torch.where(below > 0, below, 1.0)
    present = summed(t) > 0
    if absent == "penalize":
        seen = d.counted.any(2) if per_image else d.counted.any(2).any(0)[None]
        present = present | seen
    values = -torch.log(torch.where(score > 0, score, 1.0)) if log else 1 - score
    out = _average(d, values, present, classes=classes, class_weight=class_weight, reduction=reduction)
    return out[0] if reduction == "none" and not per_image else out


def dice(d: Dense, **options: Any) -> Tensor:
    return region(d, alpha=0.5, beta=0.5, scale=2.0, **options)


def jaccard(d: Dense, **options: Any) -> Tensor:
    return region(d, alpha=1.0, beta=1.0, scale=1.0, **options)


def tversky(d: Dense, *, alpha: float = 0.5, beta: float = 0.5, **options: Any) -> Tensor:
    return region(d, alpha=alpha, beta=beta, scale=1.0, **options)


def _ranking(
    d: Dense,
    errors: Tensor,
    *,
    classes: Sequence[int] | None = None,
    class_weight: Numbers = None,
    absent: str = "skip",
    per_image: bool = False,
    reduction: str = "mean",
) -> Tensor:
    groups = [slice(n, n + 1) for n in range(d.shape[0])] if per_image else [slice(None)]
    rows, presence = [], []
    for g in groups:
        row, here = [], []
        for c in range(d.classes):
            keep = d.counted[g, c].reshape(-1)
            e = errors[g, c].reshape(-1)[keep]
            y = d.truth[g, c].reshape(-1)[keep]
            u = d.weight[g, c].reshape(-1)[keep]
            order = torch.argsort(e.detach(), descending=True, stable=True)
            e, y, u = e[order], y[order], u[order]
            front, back = torch.cumsum(u * y, 0), torch.cumsum(u * (1 - y), 0)
            total = (u * y).sum()
            gap = e - torch.cat([e[1:], e.new_zeros(1)]) if e.numel() else e
            row.append((gap * (front + back) / (total + back).clamp(min=1e-300)).sum())
            here.append((e.numel() > 0) and bool(total > 0 or absent == "penalize"))
        rows.append(torch.stack(row))
        presence.append(here)
    per_class = torch.stack(rows) if rows else d.p.new_zeros(0, d.classes)
    present = torch.tensor(presence, dtype=torch.bool).reshape(len(rows), d.classes)
    out = _average(d, per_class, present, classes=classes, class_weight=class_weight, reduction=reduction)
    return out[0] if reduction == "none" and not per_image else out


def lovasz_softmax(d: Dense, **options: Any) -> Tensor:
    return _ranking(d, (d.truth - d.p).abs(), **options)


def lovasz_hinge(d: Dense, *, absent: str = "penalize", **options: Any) -> Tensor:
    return _ranking(d, F.relu(1 - (2 * d.truth - 1) * d.logits), absent=absent, **options)


def lovasz(d: Dense, **options: Any) -> Tensor:
    return lovasz_softmax(d, **options) if d.task == "multiclass" else lovasz_hinge(d, **options)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": ce,
    "bce": bce,
    "focal": focal,
    "poly1": poly1,
    "partial_ce": partial_ce,
    "dice": dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "lovasz": lovasz,
}


def loss(
    name: str,
    logits: Tensor,
    target: Tensor,
    pixel_weight: Tensor | None = None,
    *,
    task: str = "multiclass",
    ignore_index: int = -100,
    unlabelled: str | None = None,
    **options: Any,
) -> Tensor:
    """The loss called ``name`` of the table, in float64."""
    scene = Dense(logits, target, pixel_weight, task=task, ignore_index=ignore_index, unlabelled=unlabelled)
    return LOSSES[name](scene, **options)
