"""What one sweep over the pixels takes, what it must deliver, and what it delivers: the language of plan and engines.

A traced request travels through ``torch.library`` operators as text, so that ``torch.compile`` sees a constant.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from segcrit.core.constants import Task
from segcrit.core.dtypes import compute_dtype, table_dtype
from segcrit.engines.formulas import FIELDS, operand_of
from segcrit.labels.mask import TargetKind, View

__all__ = [
    "Call",
    "Gradients",
    "PixelRequest",
    "Request",
    "Shapes",
    "Sweep",
    "Swept",
    "gradient_like",
    "spatial_size",
]


@dataclass(frozen=True)
class Sweep:
    """The tensors of one sweep.

    Attributes:
        logits: (N, C, *S), any float dtype and strides; or (N, C, *low) where they are upsampled.
        target: labels (N, *S), or (N, C, *S).
        pixel_weight: (N, *S) or None.
        coefficients: (J, 2, C): for each pixel loss the coefficient of positives and of negatives.
        logit_bias: (1 or C, C) or None: b[label, class] of the logit transform.
        operands: further maps (N, C, *S) beside the target, in the order of ``Request.operands``.
    """

    logits: Tensor
    target: Tensor
    pixel_weight: Tensor | None
    coefficients: Tensor
    logit_bias: Tensor | None
    operands: tuple[Tensor, ...] = ()


class Swept(NamedTuple):
    """What a forward pass delivers. What was not asked for has no elements or is zero.

    Attributes:
        pixel: sums of the pixel losses, (J,).
        tables: class sums, (rows, N or 1, C), in the order of ``Request.rows``.
        counts, moments: histograms of errors: weights and weighted sums of the errors, (N or 1, C, 2, K).
        confusion: confusion counts.
        maps: pixel losses of each pixel, (J, N, *S), or (J, N, C, *S) in sigmoid tasks.
        normalizers: of a softmax, (2, N, *S): largest logit and Σ exp(z − largest).
    """

    pixel: Tensor
    tables: Tensor
    counts: Tensor
    moments: Tensor
    confusion: Tensor
    maps: Tensor
    normalizers: Tensor


class Gradients(NamedTuple):
    """dL/d of what a forward pass has delivered, in the same shapes; ``maps`` is None where nobody asked for them."""

    pixel: Tensor
    tables: Tensor
    moments: Tensor
    maps: Tensor | None


class Call(NamedTuple):
    """What only the call knows of a request; see ``Request``."""

    kind: TargetKind = "index"
    ignore_index: int = -100
    confusion: bool = False
    maps: bool = False
    check: bool = True
    upsample: bool = False
    align_corners: bool = False
    save: bool = False
    backend: str = "auto"

    def encode(self) -> str:
        """The call as text: plain formatting, so that tracing sees a constant."""
        return (
            f"|kind={self.kind},ignore_index={self.ignore_index},confusion={int(self.confusion)},maps={int(self.maps)}"
            f",check={int(self.check)},upsample={int(self.upsample)},align_corners={int(self.align_corners)}"
            f",save={int(self.save)},backend={self.backend}"
        )

    @staticmethod
    def decode(text: str) -> Call:
        """The call of a text made by ``encode``, without its first character."""
        words = dict(item.split("=") for item in text.split(","))
        kind, backend, ignore_index = words.pop("kind"), words.pop("backend"), int(words.pop("ignore_index"))
        flags = {name: word == "1" for name, word in words.items()}
        return Call(kind=kind, backend=backend, ignore_index=ignore_index, **flags)  # type: ignore[arg-type]


@dataclass(frozen=True)
class PixelRequest:
    """One pixel loss of a sweep.

    Attributes:
        key: name of the closed-form pair in ``formulas.pixel``.
        scalars: its parameters.
        label_smoothing: share of the target spread over the classes.
    """

    key: str
    scalars: tuple[tuple[str, float], ...] = ()
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Request:
    """One sweep over the pixels.

    Attributes:
        task: multiclass, multilabel or binary.
        kind: form of the target.
        ignore_index: label that does not count.
        view: how the terms look at the target.
        logit_scale: factor s of the logit transform z′ = s z + b[label, class]; b travels as a tensor.
        pixel: the pixel losses, their coefficients travel as a tensor (J, 2, C).
        fields: names of the class sums that are needed: of ``FIELDS``, or sums weighted by an operand, ``P_distance``.
        per_image: class sums for each image instead of the batch.
        errors: which errors the histograms count.
        bins: K.
        bins_per_image: histograms for each image.
        confusion: count the confusion matrix.
        maps: also deliver the pixel losses unreduced.
        check: look at the values of the target and raise for those not allowed (costs a synchronisation on a GPU).
        upsample: the logits have a lower resolution than the target and are interpolated linearly to it.
        align_corners: how, as in ``torch.nn.functional.interpolate``.
        derives_sums: U and D are asked for and follow from other sums, as they do on hard labels.
        save: also deliver what the backward pass of a softmax needs, the normalizers; see ``engines.keeps_normalizers``.
        backend: engine asked for, ``"auto"`` to choose.
    """

    task: Task
    kind: TargetKind = "index"
    ignore_index: int = -100
    view: View = field(default_factory=View)
    logit_scale: float = 1.0
    pixel: tuple[PixelRequest, ...] = ()
    fields: tuple[str, ...] = ()
    per_image: bool = False
    errors: str = "none"
    bins: int = 0
    bins_per_image: bool = False
    confusion: bool = False
    maps: bool = False
    check: bool = True
    upsample: bool = False
    align_corners: bool = False
    derives_sums: bool = False
    save: bool = False
    backend: str = "auto"

    @property
    def sigmoid(self) -> bool:
        """Whether probabilities come from a sigmoid."""
        return self.task != "multiclass"

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows of the tables."""
        return (*FIELDS, *(name for name in self.fields if operand_of(name)))

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of the further maps that the fields need."""
        return tuple(dict.fromkeys(operand_of(name) for name in self.fields if operand_of(name)))

    def at(self, call: Call) -> Request:
        """The request of one call."""
        known = self.__dict__.setdefault("_known", {})
        if call not in known:
            settings = call._asdict()
            for name in ("confusion", "maps"):
                settings[name] = settings[name] or getattr(self, name)
            if call.kind != "soft":
                settings["derives_sums"] = "U" in self.fields or "D" in self.fields
                settings["fields"] = tuple(name for name in self.fields if name not in ("U", "D"))
            known[call] = replace(self, **settings)
        found: Request = known[call]
        return found

    def encode(self) -> str:
        """The request as text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    @lru_cache(maxsize=512)
    def decode(text: str) -> Request:
        """The request of a text made by ``encode``, at the call whose text follows."""
        head, _, tail = text.rpartition("|")
        raw = json.loads(head)
        raw["view"] = View(**raw["view"])
        raw["fields"] = tuple(raw["fields"])
        raw["pixel"] = tuple(
            PixelRequest(item["key"], tuple((name, value) for name, value in item["scalars"]), item["label_smoothing"])
            for item in raw["pixel"]
        )
        return Request(**raw).at(Call.decode(tail))


def spatial_size(logits: Tensor, target: Tensor) -> tuple[int, ...]:
    """Spatial size of a target (N, *S) or (N, C, *S) beside logits (N, C, *low)."""
    dimensions = logits.ndim - 2
    return tuple(target.shape[target.ndim - dimensions :])


@dataclass(frozen=True)
class Shapes:
    """Shapes and dtypes of what a sweep delivers, computed once for every engine and for tracing."""

    pixel: tuple[int, ...]
    tables: tuple[int, ...]
    histogram: tuple[int, ...]
    confusion: tuple[int, ...]
    maps: tuple[int, ...]
    normalizers: tuple[int, ...]
    compute: torch.dtype
    table: torch.dtype

    @staticmethod
    def of(logits: Tensor, target: Tensor, request: Request) -> Shapes:
        """Shapes for logits (N, C, *S), or (N, C, *low) that are interpolated to the target's size."""
        images, classes = logits.shape[:2]
        losses = len(request.pixel)
        rows = images if request.per_image else 1
        histogram_rows = images if request.bins_per_image else 1
        confusion: tuple[int, ...] = (0,)
        if request.confusion:
            confusion = {
                "multiclass": (classes, classes),
                "binary": (2, 2),
                "multilabel": (classes, 2, 2),
            }[request.task]
        size = spatial_size(logits, target)
        elements = (images, classes, *size) if request.sigmoid else (images, *size)
        return Shapes(
            pixel=(losses,),
            tables=(len(request.rows), rows, classes),
            histogram=(histogram_rows, classes, 2, request.bins) if request.errors != "none" else (0,),
            confusion=confusion,
            maps=(losses, *elements) if request.maps else (0,),
            normalizers=(2, images, *size) if request.save and not request.sigmoid else (0,),
            compute=compute_dtype(logits.dtype),
            table=table_dtype(logits.device),
        )


def gradient_like(logits: Tensor) -> Tensor:
    """Uninitialised gradient of the logits: same layout for NCHW and channels-last, contiguous for any other strides."""
    if logits.is_contiguous():
        # One channel is contiguous in every format; the strides of this one say that its rows lie one after another.
        return torch.empty_like(logits, memory_format=torch.contiguous_format)
    if logits.ndim == 4 and logits.is_contiguous(memory_format=torch.channels_last):
        return torch.empty_like(logits, memory_format=torch.channels_last)
    if logits.ndim == 5 and logits.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.empty_like(logits, memory_format=torch.channels_last_3d)
    return torch.empty_like(logits, memory_format=torch.contiguous_format)
