"""Logits of a whole image: in one piece, or in overlapping windows where it is large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from segcrit.apps.compare.batches.forms import main_logits, read_output, resize_logits

__all__ = ["Predictor", "describe_inference", "make_predictor"]

# Images up to this many pixels or voxels (1448 x 1448, 128 x 128 x 128) are predicted in one piece.
_WHOLE_LIMIT: Final = 2**21
# Most encoders halve the size four or five times; a network that is known to halve it less often says so.
_MULTIPLE: Final = 32
_OVERLAP: Final = 0.25
_WINDOWS_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Predictor:
    """Predicts logits (N, C, *S) for images (N, channels, *S) of any size.

    Attributes:
        mode: ``"whole"``, ``"sliding"`` or ``"auto"``: by size.
        window: size of the sliding window.
        padded: whether sizes are filled up to a multiple (images of the user's own loaders are left alone).
        multiple: of what.
    """

    mode: str
    window: tuple[int, ...]
    padded: bool
    multiple: int = _MULTIPLE

    def __call__(self, network: Callable[[Tensor], Any], image: Tensor) -> Tensor:
        """Logits of the image's size."""
        size = image.shape[2:]

        def predict(part: Tensor) -> Tensor:
            return resize_logits(main_logits(read_output(network(part), part.ndim - 2)), part.shape[2:])

        if self.mode == "whole" or (self.mode == "auto" and size.numel() <= _WHOLE_LIMIT):
            if not self.padded:
                return predict(image)
            filled = _fill(image, [-(-length // self.multiple) * self.multiple for length in size])
            inside = (slice(None), slice(None), *(slice(0, length) for length in size))
            return predict(filled)[inside]
        from monai.inferers.utils import sliding_window_inference

        logits = sliding_window_inference(
            image, self.window, _WINDOWS_AT_ONCE, predict, overlap=_OVERLAP, mode="gaussian"
        )
        return logits if isinstance(logits, Tensor) else torch.as_tensor(logits)


def _fill(image: Tensor, size: list[int]) -> Tensor:
    """Append zeros (the mean intensity) behind each axis."""
    missing = [new - old for new, old in zip(size, image.shape[2:], strict=True)]
    if not any(missing):
        return image
    return functional.pad(image, [value for length in reversed(missing) for value in (0, length)])


def make_predictor(
    mode: str,
    window: tuple[int, ...],
    crop: tuple[int, ...],
    spatial_dims: int,
    fixed_size: bool,
    own_loaders: bool,
    multiple: int = _MULTIPLE,
) -> Predictor:
    """The predictor for these settings.

    Args:
        mode: ``"auto"``, ``"whole"`` or ``"sliding"``.
        window: chosen by the user, () for the default: 512 along each axis in 2-D, 128 in 3-D.
        crop: size of the training crops.
        spatial_dims: 2 or 3.
        fixed_size: the network takes nothing but crops of the training size.
        own_loaders: images come from the user's loaders as the network wants them.
        multiple: what the network wants the sizes of its input to be multiples of.
    """
    if fixed_size and crop:
        return Predictor("sliding", crop, True)
    size = window or (512 if spatial_dims == 2 else 128,) * spatial_dims
    return Predictor("whole" if own_loaders and mode == "auto" else mode, size, not own_loaders, multiple)


def describe_inference(predictor: Predictor) -> str:
    """In plain words, for the report."""
    sliding = f"sliding window {' × '.join(map(str, predictor.window))}, overlap {_OVERLAP:g}"
    if predictor.mode == "whole":
        return "whole images"
    if predictor.mode == "sliding":
        return sliding
    return f"whole images; {sliding} for images over {_WHOLE_LIMIT / 1e6:.1f} million pixels"
