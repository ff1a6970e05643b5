"""Weight of positives for binary and multilabel targets."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.constraints import one_of
from segcrit.core.errors import ParameterError, ShapeError
from segcrit.labels.label_maps import check_classes
from segcrit.labels.mask import is_label
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies
from segcrit.labels.weights.streams import LabelSource, Picker, iterate_images

__all__ = ["pos_weight"]


def pos_weight(
    labels: ClassFrequencies | LabelSource,
    *,
    task: Task = "binary",
    ignore_index: int | None = DEFAULT_IGNORE_INDEX,
    target: Picker = None,
    batched: bool | None = None,
    progress: bool = False,
) -> Tensor:
    """Negatives divided by positives, a channel: ``pos_weight`` of binary cross-entropy.

    With it, positives and negatives of a channel have the same total weight.

    Args:
        labels: counts from :func:`class_frequencies`, or labels 0 and 1 in any form that function takes. For
            ``"multilabel"``, one array has shape (N, C, *S), and each item of an iterable (C, *S), or with
            ``batched=True``, and from a DataLoader, (N, C, *S).
        task: ``"binary"``: one channel. ``"multilabel"``: C channels; counts of a multiclass data set then
            give one weight a class, the class against the rest.
        ignore_index: the label of pixels (in multilabel targets: elements) that do not count; None if all
            count.
        target: as in :func:`class_frequencies`.
        batched: as in :func:`class_frequencies`.
        progress: show a progress bar while reading.

    Returns:
        (1,) or (C,) float32. A channel in which positives or negatives do not occur gets 1, with a warning.

    Raises:
        LabelError: a label other than 0, 1 and ``ignore_index``.
        ParameterError: counts of other than two classes for ``"binary"``, or ``task="multiclass"``.
        ShapeError: items of different numbers of channels.

    Example:
        >>> import torch
        >>> pos_weight(torch.tensor([[[0, 0, 0, 1], [0, 0, 0, 1]]]))
        tensor([3.])
        >>> pos_weight(ClassFrequencies.from_counts([50, 40, 10]), task="multilabel")
        tensor([1.0000, 1.5000, 9.0000])
    """
    one_of("task", task, ("binary", "multilabel"))
    if isinstance(labels, ClassFrequencies):
        positives = labels.counts
        if task == "binary":
            if len(positives) != 2:
                raise ParameterError(
                    "counts of two classes for task 'binary'",
                    f"{len(positives)} classes",
                    "Pass task='multilabel' for one channel a class.",
                )
            positives = positives[1:]
        negatives = labels.total - positives
    elif task == "binary":
        counted = class_frequencies(labels, 2, ignore_index, target=target, batched=batched, progress=progress).counts
        negatives, positives = counted[:1], counted[1:]
    else:
        negatives, positives = _count_channels(labels, ignore_index, target, batched, progress)
    empty = (positives == 0) | (negatives == 0)
    if bool(empty.any()):
        channels = ", ".join(str(channel) for channel in empty.nonzero()[:10, 0].tolist())
        warnings.warn(
            f"channel {channels} has no positives or no negatives: its pos_weight is set to 1. Check the labels, "
            "or whether they are those of the training images.",
            UserWarning,
            stacklevel=2,
        )
    return torch.where(empty, 1.0, negatives.double() / positives.clamp(min=1)).float()


def _count_channels(
    labels: LabelSource, ignore_index: int | None, target: Picker, batched: bool | None, progress: bool
) -> tuple[Tensor, Tensor]:
    """Negatives and positives of each channel."""
    positives = valid = torch.zeros(0, dtype=torch.int64)
    for name, image in iterate_images(labels, target=target, batched=batched, progress=progress, channels=True):
        if image.dim() == 0:
            raise ShapeError("multilabel targets of shape (N, C, *S)", "shape (N,)", "Add the channels.")
        check_classes(image, 2, ignore_index, name)
        if not len(valid):
            positives, valid = positives.new_zeros(len(image)), valid.new_zeros(len(image))
        if len(image) != len(valid):
            raise ShapeError(
                f"{len(valid)} channels in every item",
                f"{len(image)} in {name}",
                "Put the channel dimension first, after the batch dimension if there is one.",
            )
        rows = image.reshape(len(image), -1)
        ignored = torch.zeros_like(rows, dtype=torch.bool)
        if ignore_index is not None:
            ignored = is_label(rows, ignore_index)
        positives += ((rows == 1) & ~ignored).sum(1)
        valid += (~ignored).sum(1)
    if not len(valid):
        raise ParameterError("at least one label map", "none", "Check the iterable; it may be exhausted.")
    return valid - positives, positives
