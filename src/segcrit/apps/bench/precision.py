"""How exact a Lovász-softmax is: against a float64 sort on the same logits."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from segcrit.apps.bench.problems import Tensors

__all__ = ["LovaszOracle"]

_MOST_LOGITS: Final = 1 << 26  # beyond it the two float64 tensors would take more than a gigabyte


class LovaszOracle:
    """Value and gradient of Lovász-softmax over the batch, mean over present classes, in float64.

    A sort for each class; the increments in closed form: with F positives and B negatives before an error, and G
    positives in all, 1/(G + B) for a positive and (G − F)/((G + B)(G + B + 1)) for a negative.
    """

    def __init__(self, tensors: Tensors) -> None:
        logits = tensors.logits.detach()
        images, classes = logits.shape[:2]
        probability = logits.double().softmax(1).reshape(images, classes, -1)
        labels = tensors.target.reshape(images, -1)
        gradient = torch.zeros_like(probability)
        values = []
        for index in range(classes):
            truth = labels == index
            if not bool(truth.any()):
                continue
            value, part = _of_class(probability[:, index].reshape(-1), truth.reshape(-1))
            values.append(value)
            gradient[:, index] = part.reshape(images, -1)
        gradient /= len(values)
        # Through the softmax: dz = p (g − Σ p g).
        gradient -= (probability * gradient).sum(1, keepdim=True)
        self.value = float(torch.stack(values).mean())
        self.gradient = gradient.mul_(probability).reshape(logits.shape)

    @staticmethod
    def suits(tensors: Tensors) -> bool:
        """Whether it is for these logits, and affordable."""
        return tensors.logits.numel() <= _MOST_LOGITS and tensors.logits.shape[2:] == tensors.target.shape[1:]

    def compare(self, value: float, gradient: Tensor) -> tuple[float, float]:
        """Relative error of a value, and cosine of the angle between gradients."""
        mine, theirs = self.gradient.reshape(-1), gradient.reshape(-1).double()
        cosine = torch.dot(mine, theirs) / (mine.norm() * theirs.norm())
        return abs(value - self.value) / abs(self.value), float(cosine)


def _of_class(probability: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of one class and its derivative by the probabilities."""
    errors, order = torch.where(truth, 1 - probability, probability).sort(descending=True)
    positive = truth[order]
    found = positive.cumsum(0)
    total = found[-1]
    wrong = torch.arange(len(errors)) - found + positive  # negatives before; positives before a negative are "found"
    union = (total + wrong).double()
    weight = torch.where(positive, 1 / union, (total - found) / (union * (union + 1)))
    derivative = torch.empty_like(probability)
    derivative[order] = torch.where(positive, -weight, weight)
    return torch.dot(errors, weight), derivative
