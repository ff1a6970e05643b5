"""Labels to one-hot tensors and back."""

from __future__ import annotations

import torch
from torch import Tensor

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.labels.label_maps import Labels, as_label_tensor, check_classes

__all__ = ["from_one_hot", "one_hot"]


def one_hot(labels: Labels, num_classes: int, ignore_index: int | None = None) -> Tensor:
    """Class indices as a one-hot tensor, the class dimension second.

    ``one_hot[n, c, i] = (labels[n, i] == c)``. An ignored pixel gives a row of zeros, which every segcrit
    loss and metric reads as "ignored" again.

    Unlike ``torch.nn.functional.one_hot`` the result is boolean: one byte a pixel and class instead of eight
    (150 classes on 16 images of 512 × 512: 0.6 GiB instead of 4.7), any integer type is taken, and no
    permutation of dimensions is needed. Multiply it with probabilities as it is, or convert it with
    ``.float()``.

    Args:
        labels: class indices of shape (N, *S), with any number of spatial dimensions, none included; a tensor
            or NumPy array of any integer type, bool, or floats that are whole numbers. The first dimension is
            always the batch: pass ``labels[None]`` for one image, and ``labels[:, 0]`` for (N, 1, *S).
        num_classes: number of classes C; labels are 0 … C-1.
        ignore_index: the label of pixels that are not labelled; None (default) if there is none. It may also
            be one of the classes, whose channel then stays empty.

    Returns:
        A new boolean tensor of shape (N, C, *S) on the device of ``labels``.

    Raises:
        LabelError: a label is neither a class nor ``ignore_index``; the message names it and its number of
            pixels.
        ShapeError: ``labels`` has no batch dimension.

    Example:
        >>> import torch
        >>> one_hot(torch.tensor([[0, 2, 255]]), num_classes=3, ignore_index=255).int()
        tensor([[[1, 0, 0],
                 [0, 0, 0],
                 [0, 1, 0]]], dtype=torch.int32)
    """
    tensor = as_label_tensor(labels)
    if tensor.dim() == 0:
        raise ShapeError("labels of shape (N, *S)", "a single number", "Pass labels[None].")
    check_classes(tensor, num_classes, ignore_index)
    # Comparing with every class writes the result once and needs no other memory; scatter would first
    # need the labels as int64.
    fits = num_classes - 1 <= torch.iinfo(tensor.dtype).max
    classes = torch.arange(num_classes, dtype=tensor.dtype if fits else torch.int64, device=tensor.device)
    shape = (tensor.shape[0], num_classes, *tensor.shape[1:])
    encoding = torch.empty(shape, dtype=torch.bool, device=tensor.device)
    torch.eq(tensor.unsqueeze(1), classes.view(-1, *(1,) * (tensor.dim() - 1)), out=encoding)
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        encoding[:, ignore_index] = False
    return encoding


def from_one_hot(encoding: Labels, ignore_index: int | None = None) -> Tensor:
    """Class indices from a one-hot tensor: the inverse of :func:`one_hot`.

    ``from_one_hot(one_hot(labels, C, ignore_index), ignore_index)`` gives ``labels`` back, for every labels.

    Args:
        encoding: zeros and ones of shape (N, C, *S); a tensor or array of any integer type, bool, or floats
            that are whole numbers.
        ignore_index: the label given to pixels whose row is all zeros; None (default) makes such a row an
            error.

    Returns:
        A new int64 tensor of shape (N, *S) on the device of ``encoding``.

    Raises:
        LabelError: a value is neither 0 nor 1, a pixel has several ones (a multilabel target has no single
            class), or a pixel has none and ``ignore_index`` is None.
        ShapeError: ``encoding`` has fewer than two dimensions, or no class.

    Example:
        >>> import torch
        >>> from_one_hot(torch.tensor([[[1, 0, 0], [0, 1, 0]]]), ignore_index=255)
        tensor([[  0,   1, 255]])
    """
    tensor = as_label_tensor(encoding, "one-hot values")
    if tensor.dim() < 2 or tensor.shape[1] == 0:
        raise ShapeError(
            "a one-hot encoding of shape (N, C, *S) with C of at least 1",
            f"shape {tuple(tensor.shape)}",
            "Put the batch dimension first and the class dimension second.",
        )
    if ignore_index is not None and not -(2**63) <= ignore_index < 2**63:
        raise ParameterError("an ignore_index that an int64 can hold", str(ignore_index), "Pass 255 or -100.")
    if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) > 1):
        odd = tensor[(tensor < 0) | (tensor > 1)]
        raise LabelError(
            "a one-hot encoding of zeros and ones",
            f"{odd[0].item()} and {odd.numel() - 1} more such values",
            "Labels go to one_hot; an 8-bit mask of 0 and 255 is compared first (mask > 127).",
        )
    # C itself must fit: a row of C ones would otherwise count as 0 in a uint8.
    ones = tensor.sum(1, dtype=torch.uint8 if tensor.shape[1] <= 255 else torch.int32)
    several = int((ones > 1).sum())
    if several:
        raise LabelError(
            "exactly one class a pixel",
            f"{several} of {ones.numel()} pixels with several classes",
            "Keep a multilabel target as it is (task='multilabel'), or decide which class wins.",
        )
    empty = ones == 0
    if ignore_index is None and bool(empty.any()):
        raise LabelError(
            "exactly one class a pixel",
            f"{int(empty.sum())} of {ones.numel()} pixels without a class",
            "Pass the label that these pixels shall get, for example ignore_index=255.",
        )
    labels = tensor.argmax(1)
    return labels if ignore_index is None else labels.masked_fill_(empty, ignore_index)
