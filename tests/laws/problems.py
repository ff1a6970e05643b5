"""Small seeded problems: logits, target and weights for every task and target form."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORE = -100


@dataclass(frozen=True)
class Problem:
    """One call: logits (N, C, *S), a hard target, and the task they belong to."""

    logits: Tensor
    target: Tensor
    task: str

    @property
    def images(self) -> int:
        return self.logits.shape[0]

    @property
    def classes(self) -> int:
        return self.logits.shape[1]

    def with_logits(self, logits: Tensor) -> Problem:
        return replace(self, logits=logits)

    def with_target(self, target: Tensor) -> Problem:
        return replace(self, target=target)

    def ignoring(self, mask: Tensor) -> Problem:
        """The same with the pixels of mask (N, *S) ignored."""
        if self.task == "multilabel":
            mask = mask[:, None].expand_as(self.target)
        return self.with_target(torch.where(mask, IGNORE, self.target))


def problem(
    task: str = "multiclass",
    *,
    images: int = 2,
    classes: int = 4,
    shape: tuple[int, ...] = (5, 6),
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    scale: float = 1.5,
) -> Problem:
    """Random logits that lean towards a random truth in which, where there is room, every image has every class."""
    generator = torch.Generator().manual_seed(seed)
    if task == "binary":
        classes = 1
    logits = scale * torch.randn(images, classes, *shape, generator=generator, dtype=torch.float64)
    if task == "multilabel":
        target = torch.randint(0, 2, (images, classes, *shape), generator=generator)
        lean = 2.0 * target - 1
    else:
        kinds = 2 if task == "binary" else classes
        size = torch.Size(shape).numel()
        rows = []
        for _ in range(images):
            row = torch.randint(0, kinds, (size,), generator=generator)
            if size >= kinds:
                row[torch.randperm(size, generator=generator)[:kinds]] = torch.arange(kinds)
            rows.append(row.reshape(shape))
        target = torch.stack(rows) if images else torch.zeros(0, *shape, dtype=torch.int64)
        if task == "binary":
            lean = 2.0 * target[:, None] - 1
        else:
            lean = torch.stack([(target == c).double() for c in range(classes)], 1)
    return Problem((logits + 0.7 * lean).to(dtype), target, task)


def one_hot(target: Tensor, classes: int) -> Tensor:
    """(N, *S) labels as (N, C, *S) zeros and ones; a label outside 0..C-1 gives a row of zeros."""
    return torch.stack([(target == c).long() for c in range(classes)], 1)


def fractions(task: str, logits: Tensor, *, seed: int = 1) -> Tensor:
    """A soft target of the shape of the logits; rows sum to 1 in multiclass."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    return torch.softmax(2 * draw, 1) if task == "multiclass" else torch.sigmoid(2 * draw)


def mask_of(p: Problem, per_image: int, *, seed: int = 2) -> Tensor:
    """A mask (N, *S) with the same number of True in each image, sparing one pixel of every class in each image."""
    generator = torch.Generator().manual_seed(seed)
    flat = p.target.reshape(p.images, -1) if p.task != "multilabel" else None
    size = p.logits[0, 0].numel()
    mask = torch.zeros(p.images, size, dtype=torch.bool)
    for n in range(p.images):
        spared: set[int] = set()
        if flat is not None:
            for label in flat[n].unique().tolist():
                spared.add(int((flat[n] == label).nonzero()[0]))
        order = [int(k) for k in torch.randperm(size, generator=generator) if int(k) not in spared]
        mask[n, order[:per_image]] = True
    return mask.reshape(p.images, *p.logits.shape[2:])


def positive_weights(p: Problem, *, seed: int = 3, zeros: bool = False) -> Tensor:
    """Pixel weights (N, *S) between 0.25 and 2.25, some of them 0 if asked."""
    generator = torch.Generator().manual_seed(seed)
    w = 0.25 + 2 * torch.rand(p.images, *p.logits.shape[2:], generator=generator, dtype=torch.float64)
    if zeros:
        w[torch.rand(w.shape, generator=generator, dtype=torch.float64) < 0.25] = 0
    return w
