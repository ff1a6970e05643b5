"""What one sweep over the pixels must deliver: the language between the plan and the engines.

A request travels through ``torch.library`` operators as a string, so that ``torch.compile`` sees a constant.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Literal

import torch

from segcrit.core.constants import Task
from segcrit.core.dtypes import compute_dtype, table_dtype
from segcrit.labels.mask import TargetKind, View
from segcrit.losses.formulas.region import FIELDS

__all__ = ["PixelRequest", "Request", "Shapes", "call_suffix", "gradient_like", "spatial_size"]

Errors = Literal["none", "probability", "margin"]


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
        fields: names of the class sums that are needed, a subset of I, P, Q, T, U, V, D.
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
    errors: Errors = "none"
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

    def encode(self) -> str:
        """The request as text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    @lru_cache(maxsize=512)
    def decode(text: str) -> Request:
        """The request of a text made by ``encode``, followed by that of ``call_suffix``."""
        head, _, tail = text.rpartition("|")
        raw = json.loads(head)
        raw["view"] = View(**raw["view"])
        raw["fields"] = tuple(raw["fields"])
        raw["pixel"] = tuple(
            PixelRequest(item["key"], tuple((name, value) for name, value in item["scalars"]), item["label_smoothing"])
            for item in raw["pixel"]
        )
        kind, ignore_index, flags, backend = tail.split(",")
        confusion, maps, check, upsample, align_corners, save = (flag == "1" for flag in flags)
        raw.update(kind=kind, ignore_index=int(ignore_index), check=check, backend=backend)
        raw.update(upsample=upsample, align_corners=align_corners, save=save)
        raw["confusion"] = raw["confusion"] or confusion
        raw["maps"] = raw["maps"] or maps
        if kind != "soft":
            raw["derives_sums"] = "U" in raw["fields"] or "D" in raw["fields"]
            raw["fields"] = tuple(name for name in raw["fields"] if name not in ("U", "D"))
        return Request(**raw)


def call_suffix(
    kind: TargetKind,
    ignore_index: int,
    *,
    confusion: bool,
    maps: bool,
    check: bool,
    upsample: bool,
    align_corners: bool,
    save: bool,
    backend: str,
) -> str:
    """What only the call knows, as the end of a request's text (plain formatting, so that tracing sees a constant)."""
    flags = f"{int(confusion)}{int(maps)}{int(check)}{int(upsample)}{int(align_corners)}{int(save)}"
    return f"|{kind},{ignore_index},{flags},{backend}"


def spatial_size(logits: torch.Tensor, target: torch.Tensor) -> tuple[int, ...]:
    """Spatial size of a target (N, *S) or (N, C, *S) beside logits (N, C, *low)."""
    dimensions = logits.ndim - 2
    return tuple(target.shape[target.ndim - dimensions :])


@dataclass(frozen=True)
class Shapes:
    """Shapes and dtypes of what a sweep returns, computed once for every engine and for tracing."""

    pixel: tuple[int, ...]
    tables: tuple[int, ...]
    histogram: tuple[int, ...]
    confusion: tuple[int, ...]
    maps: tuple[int, ...]
    normalizers: tuple[int, ...]
    compute: torch.dtype
    table: torch.dtype

    @staticmethod
    def of(logits: torch.Tensor, target: torch.Tensor, request: Request) -> Shapes:
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
            tables=(len(FIELDS), rows, classes),
            histogram=(histogram_rows, classes, 2, request.bins) if request.errors != "none" else (0,),
            confusion=confusion,
            maps=(losses, *elements) if request.maps else (0,),
            normalizers=(2, images, *size) if request.save and not request.sigmoid else (0,),
            compute=compute_dtype(logits.dtype),
            table=table_dtype(logits.device),
        )


def gradient_like(logits: torch.Tensor) -> torch.Tensor:
    """Uninitialised gradient of the logits: same layout for NCHW and channels-last, contiguous for any other strides."""
    if logits.is_contiguous():
        # One channel is contiguous in every format; the strides of this one say that its rows lie one after another.
        return torch.empty_like(logits, memory_format=torch.contiguous_format)
    if logits.ndim == 4 and logits.is_contiguous(memory_format=torch.channels_last):
        return torch.empty_like(logits, memory_format=torch.channels_last)
    if logits.ndim == 5 and logits.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.empty_like(logits, memory_format=torch.channels_last_3d)
    return torch.empty_like(logits, memory_format=torch.contiguous_format)
