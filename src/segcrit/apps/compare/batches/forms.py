"""What loaders deliver and networks put out, read into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from segcrit.core.errors import DataError, ShapeError

__all__ = ["Batch", "main_logits", "read_batch", "read_output", "resize_logits"]

# Names that MONAI, Hugging Face, smp's examples and Lightning's use for the parts of a batch, in order.
_IMAGE_KEYS: Final = ("image", "images", "pixel_values", "img", "input", "inputs", "x")
_TARGET_KEYS: Final = ("label", "labels", "mask", "masks", "target", "targets", "seg", "segmentation", "y")
_WEIGHT_KEYS: Final = ("pixel_weight", "weight", "weights")
_ID_KEYS: Final = ("id", "ids", "name", "names", "filename")


@dataclass(frozen=True)
class Batch:
    """Images (N, channels, *S) with their targets, and what else came along."""

    image: Tensor
    target: Tensor
    weight: Tensor | None = None
    ids: tuple[str, ...] | None = None


def read_batch(batch: Any) -> Batch:
    """Read ``(image, target)``, ``(image, target, pixel_weight)`` or a dictionary with the usual names.

    Raises:
        DataError: there is no image or no target in it.

    Example:
        >>> read_batch((torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4))).image.shape
        torch.Size([2, 3, 4, 4])
    """
    if isinstance(batch, Batch):
        return batch
    if isinstance(batch, Mapping):
        image, target = _first(batch, _IMAGE_KEYS), _first(batch, _TARGET_KEYS)
        weight, ids = _first(batch, _WEIGHT_KEYS), _first(batch, _ID_KEYS)
        got = f"a dictionary with {', '.join(map(str, batch))}"
    elif isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        parts = (*batch, None, None)[:3] if len(batch) in (2, 3) else (None, None, None)
        image, target, weight = parts
        ids = None
        got = f"a {type(batch).__name__} of {len(batch)} parts"
    else:
        image = target = weight = ids = None
        got = f"a {type(batch).__name__}"
    if not isinstance(image, Tensor) or not isinstance(target, Tensor):
        raise DataError(
            "batches (image, target), (image, target, pixel_weight) or a dictionary with 'image' and 'label'",
            got,
            "Let the loader yield one of these.",
        )
    if image.shape[:1] != target.shape[:1]:
        raise ShapeError(
            "as many targets as images in a batch",
            f"images {tuple(image.shape)} and targets {tuple(target.shape)}",
            "Correct the loader.",
        )
    names = None
    if isinstance(ids, (list, tuple)) and len(ids) == len(image):
        names = tuple(str(name) for name in ids)
    # MONAI delivers tensors of a subclass; everything behind this line works on plain ones.
    return Batch(_plain(image), _plain(target), _plain(weight) if isinstance(weight, Tensor) else None, names)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor) if type(tensor) is not Tensor else tensor


def _first(batch: Mapping[Any, Any], names: Sequence[str]) -> Any:
    return next((batch[name] for name in names if name in batch), None)


def read_output(output: Any, spatial_dims: int) -> Tensor | list[Tensor]:
    """The logits in what a network returned: one tensor, or a list where it is deeply supervised.

    Understood are a tensor, a list or tuple of tensors (full resolution first), a tensor (N, heads, C, *S) as
    MONAI's DynUNet gives, and objects or dictionaries with ``logits`` (Hugging Face) or ``out`` (torchvision).

    Raises:
        ShapeError: nothing of that kind.
    """
    for name in ("logits", "out"):
        if isinstance(output, Mapping) and name in output:
            return read_output(output[name], spatial_dims)
        if not isinstance(output, (Tensor, list, tuple)) and isinstance(getattr(output, name, None), Tensor):
            return read_output(getattr(output, name), spatial_dims)
    if isinstance(output, Tensor):
        output = _plain(output)
        if output.ndim == spatial_dims + 3:
            return list(output.unbind(1))
        if output.ndim == spatial_dims + 2:
            logits: Tensor = output
            return logits
    if isinstance(output, (list, tuple)) and output and all(isinstance(item, Tensor) for item in output):
        levels = [_plain(item) for item in output if item.ndim == spatial_dims + 2]
        if len(levels) == len(output):
            return levels[0] if len(levels) == 1 else levels
    got = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ShapeError(
        f"logits of {spatial_dims + 2} dimensions (N, C, *S) from the network",
        got,
        "Return a tensor, a list of tensors, or an object with .logits.",
    )


def main_logits(logits: Tensor | list[Tensor]) -> Tensor:
    """The logits that count in evaluation: of the deeply supervised levels, the largest."""
    if isinstance(logits, Tensor):
        return logits
    return max(logits, key=lambda level: level[0, 0].numel())


def resize_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate logits (bi- or trilinearly) to the size of the image; unchanged where it fits already."""
    if logits.shape[2:] == torch.Size(size):
        return logits
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[logits.ndim - 2]
    return functional.interpolate(logits, size=tuple(size), mode=mode, align_corners=False)
