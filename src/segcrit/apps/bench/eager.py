"""The losses on PyTorch's own operations, as projects write and copy them.

Each is a function of logits (N, C, *S) and a target: int64 labels (N, *S) in multiclass functions, 0 and 1 in
(N, C, *S) in sigmoid functions. They use what everyone uses (softmax, one-hot, sort), so that they show what a loss
costs that nobody has written a kernel for. Mean over the classes that are present, no ignored pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Loss",
    "binary_cross_entropy",
    "binary_dice",
    "dice",
    "focal",
    "jaccard",
    "lovasz_as_published",
    "lovasz_hinge_as_published",
    "lovasz_in_one_sort",
    "total",
    "tversky",
]

Loss = Callable[[Tensor, Tensor], Tensor]


def total(*losses: Loss) -> Loss:
    """The sum of losses."""

    def add(logits: Tensor, target: Tensor) -> Tensor:
        value = losses[0](logits, target)
        for loss in losses[1:]:
            value = value + loss(logits, target)
        return value

    return add


# --- region losses ---------------------------------------------------------------------------------------------------


def _class_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Intersection, probability and pixels of each class."""
    images, classes = logits.shape[:2]
    probability = logits.log_softmax(1).exp().reshape(images, classes, -1)
    one_hot = F.one_hot(labels.reshape(images, -1), classes).permute(0, 2, 1).to(probability.dtype)
    dims = (0, 2)
    return (probability * one_hot).sum(dims), probability.sum(dims), one_hot.sum(dims)


def _over_present(loss: Tensor, pixels: Tensor) -> Tensor:
    # A multiplication instead of an index by a mask, whose size a compiler could not know.
    present = (pixels > 0).to(loss.dtype)
    return (loss * present).sum() / present.sum()


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice over the batch."""
    inner, probability, pixels = _class_sums(logits, labels)
    return _over_present(1 - 2 * inner / (probability + pixels), pixels)


def jaccard(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Jaccard over the batch."""
    inner, probability, pixels = _class_sums(logits, labels)
    return _over_present(1 - inner / (probability + pixels - inner), pixels)


def tversky(logits: Tensor, labels: Tensor) -> Tensor:
    """Tversky with 0.3 on false positives and 0.7 on false negatives."""
    inner, probability, pixels = _class_sums(logits, labels)
    return _over_present(1 - inner / (inner + 0.3 * (probability - inner) + 0.7 * (pixels - inner)), pixels)


def binary_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice of a channel after a sigmoid, over the batch; mean over the channels."""
    probability = torch.sigmoid(logits)
    dims = (0, *range(2, logits.ndim))
    inner = (probability * mask).sum(dims)
    return (1 - 2 * inner / (probability.sum(dims) + mask.sum(dims))).mean()


# --- pixel losses ----------------------------------------------------------------------------------------------------


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss, gamma 2, without alpha: log-softmax, gather, power."""
    log_probability = logits.log_softmax(1).gather(1, labels[:, None])
    return (-((1 - log_probability.exp()) ** 2) * log_probability).mean()


def binary_cross_entropy(pos_weight: float | None = None) -> Loss:
    """Binary cross-entropy with logits, positives weighted."""

    def loss(logits: Tensor, mask: Tensor) -> Tensor:
        weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, mask, pos_weight=weight)

    return loss


# --- ranking losses --------------------------------------------------------------------------------------------------


def _increments_by_differences(truth: Tensor) -> Tensor:
    """Gradient of the Lovász extension of the Jaccard loss, by running sums and their differences (Berman et al. 2018)."""
    positives = truth.sum()
    jaccard_loss = 1 - (positives - truth.cumsum(0)) / (positives + (1 - truth).cumsum(0))
    return torch.cat([jaccard_loss[:1], jaccard_loss[1:] - jaccard_loss[:-1]])


def lovasz_as_published(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász-softmax in the steps of its authors' code: a sort for each class that is present."""
    classes = logits.shape[1]
    probability = logits.softmax(1).movedim(1, -1).reshape(-1, classes)
    flat = labels.reshape(-1)
    losses = []
    for index in range(classes):
        truth = (flat == index).to(probability.dtype)
        if truth.sum() == 0:
            continue
        errors, order = torch.sort((truth - probability[:, index]).abs(), 0, descending=True)
        losses.append(torch.dot(errors, _increments_by_differences(truth[order])))
    return torch.stack(losses).mean()


def lovasz_in_one_sort(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász-softmax with all classes in one sort and increments in closed form, which no rounding of sums disturbs."""
    classes = logits.shape[1]
    probability = logits.softmax(1).transpose(0, 1).reshape(classes, -1)
    truth = labels.reshape(1, -1) == torch.arange(classes, device=labels.device)[:, None]
    errors, order = torch.where(truth, 1 - probability, probability).sort(1, descending=True)
    with torch.no_grad():
        positive = truth.gather(1, order)
        below = positive.sum(1, keepdim=True)
        found = positive.cumsum(1, dtype=torch.int32)
        # Negatives that come before; for a negative itself, found counts the positives that come before.
        wrong = torch.arange(errors.shape[1], dtype=torch.int32, device=labels.device) - found + positive
        union = (below + wrong).clamp_min(1).to(errors.dtype)  # an absent class would divide 0 by 0
        weight = torch.where(positive, 1 / union, (below - found).to(errors.dtype) / (union * (union + 1)))
    return _over_present((errors * weight).sum(1), below[:, 0])


def lovasz_hinge_as_published(logits: Tensor, mask: Tensor) -> Tensor:
    """Lovász hinge in the steps of its authors' code, over the batch; mean over the channels."""
    losses = []
    for channel in range(logits.shape[1]):
        truth, scores = mask[:, channel].reshape(-1), logits[:, channel].reshape(-1)
        errors, order = torch.sort(1 - scores * (2 * truth - 1), 0, descending=True)
        losses.append(torch.dot(F.relu(errors), _increments_by_differences(truth[order])))
    return torch.stack(losses).mean()
