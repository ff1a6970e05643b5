"""Random small cases for the native engine: every loss, target form, layout, view, logit transform and upsampling."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# None of the ranking losses here: their cases are kept away from the edges of bins, see edges.py.
MULTICLASS = (
    "ce",
    "ce + dice",
    "ce(label_smoothing=0.1, class_weight={weights}) + dice",
    "ce(logit_bias={row})",
    "ce(logit_bias={square}) + dice(logit_bias={square})",
    "ce(logit_scale=2) + partial_ce(foreground_only=True)",
    'ce(unlabelled="background") + jaccard',
    "dice(squared=True) + ce",
    "dice(squared=True, smooth=1, absent='penalize', per_image=True)",
    "dice(classes=[0, 1], class_weight={weights})",
    "focal",
    "focal(gamma=0.5)",
    "focal(gamma=3.3) + tversky(alpha=0.3, beta=0.7)",
    "focal(label_smoothing=0.2, gamma=1) + ce(label_smoothing=0.05)",
    "focal(alpha={weights}) + jaccard(squared=True, logit_scale=0.7)",
    "jaccard(per_image=True)",
    "partial_ce",
)
SIGMOID = (
    "bce",
    "bce(pos_weight=3) + dice",
    "bce(label_smoothing=0.1, class_weight={weights})",
    "bce(logit_bias={row}, logit_scale=0.5)",
    'bce(unlabelled="background") + tversky(alpha=0.2, beta=0.8)',
    "dice(per_image=True) + focal(gamma=1.5)",
    "focal(alpha=0.25)",
    "focal(label_smoothing=0.1, gamma=0.7) + dice(squared=True)",
    "jaccard(squared=True) + bce",
)
# Mostly with few bins: tables of 4096 take longer than a small case.
RANKING = (
    "lovasz",
    "lovasz(bins=64)",
    "lovasz(bins=64) + {pixel} + dice",
    "lovasz(bins=512, per_image=True)",
    "lovasz(absent='penalize', bins=512) + {pixel}",
    "lovasz(classes=[0], bins=64) + jaccard(per_image=True)",
)


@dataclass
class Case:
    """One random case, drawn from a seed."""

    seed: int
    text: str
    task: str
    logits: Tensor
    target: Tensor
    weight: Tensor | None
    size: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    # Whether the confusion matrix is counted too: the kernels then need the largest logit of each pixel.
    counted: bool = True

    @property
    def is_upsampled(self) -> bool:
        return tuple(self.logits.shape[2:]) != self.size

    def __str__(self) -> str:
        target = f"{self.target.dtype} {tuple(self.target.shape)}"
        return (
            f"seed {self.seed}: {self.text!r}, {self.task}, logits {self.logits.dtype} {tuple(self.logits.shape)} with "
            f"strides {self.logits.stride()}, target {target}, weight {self.weight is not None}, "
            f"{self.options}, counted {self.counted}"
        )


class _Draw:
    """Choices by Python's generator, numbers by torch's, both from one seed."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.numbers = torch.Generator().manual_seed(seed)

    def pick(self, *choices: Any) -> Any:
        return self.choice.choice(choices)

    def chance(self, share: float) -> bool:
        return self.choice.random() < share

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.numbers)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.numbers)

    def labels(self, count: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(count, shape, generator=self.numbers)


def draw(seed: int) -> Case:
    """A case that depends on the seed alone."""
    d = _Draw(seed)
    task = d.pick("multiclass", "multiclass", "multilabel", "binary")
    classes = {"multiclass": d.pick(2, 3, 5, 19, 40), "multilabel": d.pick(1, 2, 5), "binary": 1}[task]
    size = _size(d)
    images = d.choice.randint(1, 70) if not size else d.pick(1, 1, 2, 3)
    text = _text(d, task, classes)
    low = _low(d, size) if size and d.chance(0.4) else size
    logits = (d.normal(images, classes, *low) * d.pick(0.1, 1, 3, 10, 30)).to(d.pick(*DTYPES))
    shape = (images, *size)
    ignore_index = d.pick(-100, -1, 1, 255)
    options = {"ignore_index": ignore_index}
    if low != size:
        options |= {"upsample": "linear", "align_corners": d.chance(0.5)}
    target = (_labels if task == "multiclass" else _elements)(d, classes, shape, ignore_index, "lovasz" in text)
    weight = None
    if d.chance(0.4):
        weight = d.uniform(*shape)
        weight[weight < 0.15] = 0.0
        weight = _layout(d, weight)
    return Case(seed, text, task, _layout(d, logits), _layout(d, target), weight, size, options, d.chance(0.4))


def _size(d: _Draw) -> tuple[int, ...]:
    dimensions = d.pick(0, 1, 2, 2, 2, 3)
    largest = {0: 1, 1: 700, 2: 36, 3: 11}[dimensions]
    return tuple(d.choice.randint(1, largest) for _ in range(dimensions))


def _low(d: _Draw, size: tuple[int, ...]) -> tuple[int, ...]:
    """A resolution of the logits: usually lower, sometimes higher, by whole or fractional factors, one for each axis."""
    factor = d.pick(2, 3, 4, 8, 1.5, 2.7, 0.5, 0.6)
    if d.chance(0.5):
        return tuple(max(1, round(length / factor)) for length in size)
    return tuple(max(1, round(length / (factor * d.choice.uniform(0.5, 2)))) for length in size)


def _text(d: _Draw, task: str, classes: int) -> str:
    texts = (MULTICLASS if task == "multiclass" else SIGMOID) if d.chance(0.7) else RANKING
    text = d.pick(*texts)
    if classes > 5:
        # Reading a square of many numbers takes longer than the case.
        text = text.replace("{square}", "{row}")
    numbers = [round(d.choice.uniform(0, 2), 2) for _ in range(classes)]
    side = range(classes if "{square}" in text else 0)
    return text.format_map(
        {
            "pixel": "ce" if task == "multiclass" else "bce",
            # A class without weight beside one that has some.
            "weights": [0.0, *numbers[1:]] if classes > 1 and d.chance(0.5) else [0.5, *numbers[1:]],
            "row": numbers,
            "square": [[round(d.choice.uniform(-1, 1), 2) for _ in side] for _ in side],
        }
    ).replace("classes=[0, 1]", "classes=[0]" if classes == 1 else "classes=[0, 1]")


def _labels(d: _Draw, classes: int, shape: tuple[int, ...], ignored: int, ranking: bool) -> Tensor:
    """Labels, one-hot or soft rows; some pixels ignored; long runs of one label as often as noise."""
    labels = d.labels(classes, shape) if d.chance(0.5) else d.labels(classes, shape[:1]).view(-1, *[1] * len(shape[1:]))
    labels = labels.expand(shape).clone()
    lost = d.uniform(*shape) < d.pick(0.0, 0.0, 0.2, 1.0 if d.chance(0.1) else 0.5)
    form = d.pick("labels", "labels", "labels", "column", "one-hot", "soft")
    if form in ("labels", "column"):
        dtype = d.pick(torch.int64, torch.uint8, torch.int16, torch.int32, torch.int8, torch.float32, torch.float64)
        fits = dtype.is_floating_point or torch.iinfo(dtype).min <= ignored <= torch.iinfo(dtype).max
        if fits:
            labels[lost] = ignored
        labels = labels.to(dtype)
        return labels[:, None] if form == "column" and classes != 1 else labels
    hot = torch.nn.functional.one_hot(labels, classes).movedim(-1, 1)
    if form == "soft" and not ranking:
        scores = 3 * hot + d.normal(*hot.shape)
        if 0 <= ignored < classes:
            # A mixture with the ignored class is refused.
            scores[:, ignored] = -torch.inf
        hot = torch.softmax(scores, 1)
        hot = hot.to(d.pick(torch.float32, torch.float64, torch.bfloat16, torch.float16))
    else:
        hot = hot.to(d.pick(torch.int64, torch.bool, torch.uint8, torch.float32))
    return torch.where(lost[:, None], torch.zeros((), dtype=hot.dtype), hot)


def _elements(d: _Draw, classes: int, shape: tuple[int, ...], ignored: int, ranking: bool) -> Tensor:
    """0 and 1 for each channel, or fractions; some elements ignored where the dtype holds the ignore label."""
    shape = (shape[0], classes, *shape[1:])
    dtype = d.pick(torch.int64, torch.uint8, torch.int16, torch.int32, torch.bool, torch.float32, torch.float16)
    if dtype.is_floating_point:
        values = d.uniform(*shape) if not ranking and d.chance(0.7) else d.labels(2, shape).float()
    else:
        values = d.labels(2, shape)
    values = values.to(dtype)
    fits = dtype.is_floating_point or (
        dtype != torch.bool and torch.iinfo(dtype).min <= ignored <= torch.iinfo(dtype).max
    )
    if fits and d.chance(0.6):
        values[d.uniform(*shape) < 0.2] = ignored
    return values


def _layout(d: _Draw, tensor: Tensor) -> Tensor:
    """The same numbers in another place: contiguous, channels last, inside a larger tensor, transposed, unaligned."""
    kind = d.pick("contiguous", "contiguous", "channels last", "cropped", "transposed", "stepped", "unaligned")
    if kind == "channels last" and tensor.ndim >= 3:
        return tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    if kind == "cropped":
        larger = tensor.new_zeros([length + 2 for length in tensor.shape])
        inside = larger[tuple(slice(1, -1) for _ in tensor.shape)]
        return inside.copy_(tensor)
    if kind == "transposed" and tensor.ndim >= 2:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if kind == "stepped":
        return tensor.repeat_interleave(2, -1)[..., ::2]
    if kind == "unaligned":
        return torch.cat((tensor.new_zeros(1), tensor.reshape(-1)))[1:].view(tensor.shape)
    return tensor
