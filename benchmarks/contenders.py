"""What is measured: segcrit's expressions, torch eager and compiled, and the installed peers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Logits and labels of one shape, from a fixed seed: blobs of a class, no ignored pixel.

    Some of the peers cannot ignore pixels at all, and what is measured has to be the same work for everyone.
    """

    logits: Tensor
    target: Tensor

    @staticmethod
    def make(shape: tuple[int, ...]) -> Problem:
        generator = torch.Generator().manual_seed(0)
        images, classes, *size = shape
        coarse = torch.randint(classes, (images, *(max(1, n // 16) for n in size)), generator=generator)
        target = F.interpolate(coarse[:, None].float(), size=size)[:, 0].long()
        logits = torch.randn(shape, generator=generator)
        logits.scatter_add_(1, target[:, None], torch.full_like(target[:, None], 2.0, dtype=torch.float32))
        return Problem(logits.requires_grad_(), target)


@dataclass(frozen=True)
class Contender:
    """One row of the table: ``make()`` builds the loss, and fails where something is not installed."""

    name: str
    group: str  # rows of one group compute the same kind of loss and are compared with each other
    library: str
    make: Callable[[], Loss]


def _eager_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice as in most projects: softmax, one-hot, sums, mean over the classes that are present."""
    one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    probability = logits.softmax(1)
    dims = (0, *range(2, logits.ndim))
    truth = one_hot.sum(dims)
    dice = 2 * (probability * one_hot).sum(dims) / (probability.sum(dims) + truth)
    return 1 - dice[truth > 0].mean()


def _eager_dice_static(logits: Tensor, target: Tensor) -> Tensor:
    """The same without indexing by a mask, which a compiler cannot trace."""
    one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    probability = logits.softmax(1)
    dims = (0, *range(2, logits.ndim))
    truth = one_hot.sum(dims)
    dice = 2 * (probability * one_hot).sum(dims) / (probability.sum(dims) + truth)
    present = truth > 0
    return 1 - torch.where(present, dice, 0.0).sum() / present.sum()


def _eager_focal(logits: Tensor, target: Tensor) -> Tensor:
    log_probability = logits.log_softmax(1).gather(1, target[:, None])
    return (-((1 - log_probability.exp()) ** 2) * log_probability).mean()


def _sum(*losses: Loss) -> Loss:
    def total(logits: Tensor, target: Tensor) -> Tensor:
        return torch.stack([loss(logits, target) for loss in losses]).sum()

    return total


def _segcrit(expression: str, backend: str = "auto") -> Callable[[], Loss]:
    def make() -> Loss:
        import segcrit

        return segcrit.Criterion(expression, backend=backend)

    return make


def _compiled(loss: Loss) -> Callable[[], Loss]:
    return lambda: torch.compile(loss)


def _peer(module: str, name: str, *, channel: bool = False, **options: object) -> Callable[[], Loss]:
    """A loss class of another library; ``channel``: it wants labels of shape (N, 1, *S)."""

    def make() -> Loss:
        loss = getattr(importlib.import_module(module), name)(**options)
        return (lambda logits, target: loss(logits, target[:, None])) if channel else loss

    return make


MONAI = {"softmax": True, "to_onehot_y": True, "channel": True}

CONTENDERS = (
    Contender("F.cross_entropy", "ce", "torch", lambda: F.cross_entropy),
    Contender("F.cross_entropy, compiled", "ce", "torch.compile", _compiled(F.cross_entropy)),
    Contender("ce", "ce", "segcrit reference", _segcrit("ce", "reference")),
    Contender("ce", "ce", "segcrit", _segcrit("ce")),
    Contender("softmax, one-hot, sums", "dice", "torch", lambda: _eager_dice),
    Contender("DiceLoss", "dice", "monai", _peer("monai.losses", "DiceLoss", **MONAI)),
    Contender("DiceLoss (macro)", "dice", "kornia", _peer("kornia.losses", "DiceLoss", average="macro")),
    Contender("DiceLoss", "dice", "smp", _peer("segmentation_models_pytorch.losses", "DiceLoss", mode="multiclass")),
    Contender("dice", "dice", "segcrit", _segcrit("dice")),
    Contender("cross_entropy + Dice", "ce + dice", "torch", lambda: _sum(F.cross_entropy, _eager_dice)),
    Contender(
        "cross_entropy + Dice, compiled",
        "ce + dice",
        "torch.compile",
        _compiled(_sum(F.cross_entropy, _eager_dice_static)),
    ),
    Contender("DiceCELoss", "ce + dice", "monai", _peer("monai.losses", "DiceCELoss", **MONAI)),
    Contender("ce + dice", "ce + dice", "segcrit reference", _segcrit("ce + dice", "reference")),
    Contender("ce + dice", "ce + dice", "segcrit", _segcrit("ce + dice")),
    Contender("log-softmax, gather, power", "focal", "torch", lambda: _eager_focal),
    Contender(
        "FocalLoss (softmax)",
        "focal",
        "monai",
        _peer("monai.losses", "FocalLoss", use_softmax=True, to_onehot_y=True, channel=True),
    ),
    Contender("FocalLoss", "focal", "kornia", _peer("kornia.losses", "FocalLoss", alpha=None, reduction="mean")),
    Contender("focal", "focal", "segcrit", _segcrit("focal")),
    Contender("LovaszSoftmaxLoss", "lovasz", "kornia", _peer("kornia.losses", "LovaszSoftmaxLoss")),
    Contender(
        "LovaszLoss",
        "lovasz",
        "smp",
        _peer("segmentation_models_pytorch.losses", "LovaszLoss", mode="multiclass"),
    ),
    Contender("lovasz", "lovasz", "segcrit reference", _segcrit("lovasz", "reference")),
    Contender("lovasz", "lovasz", "segcrit", _segcrit("lovasz")),
    Contender("ce + lovasz", "ce + lovasz", "segcrit", _segcrit("ce + lovasz")),
)
