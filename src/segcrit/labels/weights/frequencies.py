"""How often each class occurs in a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX
from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.labels.label_maps import check_num_classes, unknown_labels_error
from segcrit.labels.mask import is_labelled
from segcrit.labels.weights.streams import LabelSource, Picker, iterate_images

__all__ = ["ClassFrequencies", "class_frequencies"]

# Labels up to here are counted in one pass with a table of this size, ignored and unknown ones included.
_TABLE = 1 << 16


@dataclass(frozen=True, eq=False)
class ClassFrequencies:
    """Counts of labels, from :func:`class_frequencies`; two of them add up.

    Attributes:
        counts: (C,) int64, pixels of each class.
        image_pixels: (C,) int64, labelled pixels of the images that contain the class: the denominator of
            Eigen and Fergus's class frequency.
        images: (C,) int64, number of images that contain the class.
        num_images: number of images.
        ignored: number of pixels with the ignore label.

    Example:
        >>> import torch
        >>> first = class_frequencies(torch.tensor([[[0, 0], [0, 1]]]), num_classes=2)
        >>> second = class_frequencies(torch.tensor([[[0, 0], [0, -100]]]), num_classes=2)
        >>> both = first + second
        >>> both.counts.tolist(), both.image_pixels.tolist(), both.images.tolist(), both.ignored
        ([6, 1], [7, 4], [2, 1], 1)
    """

    counts: Tensor
    image_pixels: Tensor
    images: Tensor
    num_images: int
    ignored: int = 0

    @classmethod
    def from_counts(cls, counts: Tensor | npt.NDArray[Any] | Sequence[int]) -> ClassFrequencies:
        """From known numbers of pixels a class; they are taken to come from one large image.

        Raises:
            ParameterError: the counts are not whole numbers of at least 0.

        Example:
            >>> ClassFrequencies.from_counts([900, 100]).shares.tolist()
            [0.9, 0.1]
        """
        values = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts, dtype=np.float64)
        if values.ndim != 1 or not values.size:
            raise ShapeError("counts of shape (C,)", f"shape {values.shape}", "Pass one number a class.")
        if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
            raise ParameterError(
                "counts that are whole numbers of at least 0", str(values.tolist()), "Pass numbers of pixels."
            )
        pixels = torch.from_numpy(values.astype(np.int64))
        return cls(pixels, pixels.sum().expand_as(pixels).clone(), (pixels > 0).long(), 1)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Number of labelled pixels."""
        return int(self.counts.sum())

    @property
    def shares(self) -> Tensor:
        """(C,) float64, the share of each class in the labelled pixels; NaN if there are none."""
        return self.counts.double() / self.counts.sum()

    def __add__(self, other: ClassFrequencies) -> ClassFrequencies:
        if self.num_classes != other.num_classes:
            raise ParameterError(
                f"frequencies of {self.num_classes} classes",
                f"{other.num_classes} classes",
                "Add counts of the same classes only.",
            )
        return ClassFrequencies(
            self.counts + other.counts,
            self.image_pixels + other.image_pixels,
            self.images + other.images,
            self.num_images + other.num_images,
            self.ignored + other.ignored,
        )

    def __str__(self) -> str:
        lines = [f"{self.total} labelled and {self.ignored} ignored pixels in {self.num_images} images"]
        for label, (count, share) in enumerate(zip(self.counts.tolist(), self.shares.tolist(), strict=True)):
            lines.append(f"class {label:>3}: {count:>14} pixels, {share:8.3%}, in {self.images[label]} images")
        return "\n".join(lines)


def class_frequencies(
    labels: LabelSource,
    num_classes: int,
    ignore_index: int | None = DEFAULT_IGNORE_INDEX,
    *,
    target: Picker = None,
    batched: bool | None = None,
    progress: bool = False,
) -> ClassFrequencies:
    """Count the pixels of each class, over one tensor or a whole data set.

    Label maps are read one after the other, so that a data set of any size is counted in the memory of one
    batch.

    Args:
        labels: one of

            - a tensor or array of class indices, (N, *S) with two or more spatial dimensions; with fewer
              dimensions it is one image;
            - an iterable of label maps, each one image (*S), of the same or of different sizes;
            - a ``DataLoader``, ``Dataset`` or other iterable of samples: tuples ``(image, label, …)``,
              mappings with a key such as ``"label"`` or ``"mask"``, objects with such an attribute. Batches
              of a DataLoader have the batch dimension first.
        num_classes: number of classes C.
        ignore_index: the label of pixels that do not count, -100 by default as in
            ``torch.nn.CrossEntropyLoss``; None if every pixel counts.
        target: where a sample keeps its labels, if not in a usual place: a position, a key, or a function of
            the sample.
        batched: whether each array has a batch dimension first, if not as above. It matters to
            ``image_pixels`` and ``images`` only, never to ``counts``.
        progress: show a progress bar while reading.

    Returns:
        The counts, int64 on the CPU.

    Raises:
        LabelError: a label is neither a class nor ``ignore_index``; the message names it, its number of
            pixels, and the item it is in. Also for values that are not whole numbers, such as logits.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 0], [1, 255]], [[0, 0], [0, 2]]])
        >>> frequencies = class_frequencies(labels, num_classes=3, ignore_index=255)
        >>> frequencies.counts.tolist(), frequencies.image_pixels.tolist()
        ([5, 1, 1], [7, 3, 4])
    """
    check_num_classes(num_classes)
    counts = torch.zeros(num_classes, dtype=torch.int64)
    image_pixels, images = torch.zeros_like(counts), torch.zeros_like(counts)
    num_images = ignored = 0
    for name, image in iterate_images(labels, target=target, batched=batched, progress=progress):
        own, own_ignored = _count(name, image, num_classes, ignore_index)
        present = own > 0
        counts += own
        image_pixels += present * own.sum()
        images += present
        num_images += 1
        ignored += own_ignored
    return ClassFrequencies(counts, image_pixels, images, num_images, ignored)


def _count(name: str, labels: Tensor, num_classes: int, ignore_index: int | None) -> tuple[Tensor, int]:
    """Pixels of each class, and ignored pixels, of one image."""
    flat = labels.reshape(-1)
    ignored = 0
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= _TABLE):
        if ignore_index is not None:
            kept = flat[is_labelled(flat, ignore_index)]
            ignored = flat.numel() - kept.numel()
            flat = kept
        if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= _TABLE):
            raise _unknown(name, flat, labels.numel(), num_classes, ignore_index)
    histogram = torch.bincount(flat, minlength=num_classes)
    if ignore_index is not None and 0 <= ignore_index < len(histogram):
        ignored += int(histogram[ignore_index])
        histogram[ignore_index] = 0
    if int(histogram[num_classes:].sum()):
        raise _unknown(name, flat, labels.numel(), num_classes, ignore_index)
    return histogram[:num_classes], ignored


def _unknown(name: str, labels: Tensor, pixels: int, num_classes: int, ignore_index: int | None) -> LabelError:
    values, counts = torch.unique(labels, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    classes = {*range(num_classes), ignore_index}
    unknown = {value: count for value, count in found.items() if value not in classes}
    return unknown_labels_error(unknown, pixels, num_classes, ignore_index, name)
