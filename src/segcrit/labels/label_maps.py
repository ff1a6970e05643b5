"""Label maps from the outside: brought to one integer type, and checked against the classes.

The encodings and the weights read user labels through these functions only, so that a label that is not a
class is reported in the same words everywhere.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrit.core.errors import DtypeError, LabelError, ParameterError
from segcrit.core.numbers import counted
from segcrit.core.tensors import as_plain, not_a_tensor, signed
from segcrit.labels.mask import is_label

__all__ = ["Labels", "as_label_tensor", "check_classes", "unknown_labels_error"]

Labels: TypeAlias = Tensor | npt.NDArray[Any]

# Values that people and data sets commonly use for "no label here": torch's default, and the void of 8-bit
# masks.
_USUAL_IGNORE_VALUES = (-100, 255)
_NAMED_IN_MESSAGES = 5


def as_label_tensor(labels: Labels, name: str = "labels") -> Tensor:
    """Return ``labels`` as a tensor of a signed or 8-bit integer type, without a copy where none is needed.

    Args:
        labels: a tensor or NumPy array (or anything that converts to one, such as a PIL image) of any integer
            or boolean type, or of a floating type that holds whole numbers (MONAI and nnU-Net deliver those).
        name: what the messages call it.

    Returns:
        A tensor on the same device: bool becomes uint8; uint16, uint32 and uint64, for which torch lacks most
        operations, become int32, int64 and int64; whole floats become int64; other types stay.

    Raises:
        DtypeError: not an array, or complex numbers or text.
        LabelError: floating values that are not whole numbers.

    Example:
        >>> as_label_tensor(torch.tensor([True, False]))
        tensor([1, 0], dtype=torch.uint8)
    """
    tensor = as_plain(name, labels).detach() if isinstance(labels, Tensor) else _from_array(labels, name)
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8)
    if tensor.is_complex():
        raise DtypeError(f"{name} of an integer type", "complex numbers", "Pass class indices.")
    if tensor.is_floating_point():
        whole = tensor.to(torch.int64)
        # NaN and infinity convert to some integer, which never compares equal to them.
        if not torch.equal(whole.to(tensor.dtype), tensor):
            odd = tensor[whole.to(tensor.dtype) != tensor]
            raise LabelError(
                f"{name} that are whole numbers",
                f"{odd[0].item():g} and {odd.numel() - 1} more such values in a tensor of {tensor.dtype}",
                "Pass class indices; for probabilities or logits take argmax over the class dimension first.",
            )
        return whole
    return signed(tensor)


def _from_array(labels: Any, name: str) -> Tensor:
    if not (hasattr(labels, "__array__") or hasattr(labels, "__array_interface__")):
        raise not_a_tensor(name, labels)
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        raise DtypeError(f"{name} of an integer type", f"an array of {array.dtype}", "Pass class indices.")
    # torch takes native byte order and non-negative strides only, and warns about read-only memory.
    array = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def check_num_classes(num_classes: int) -> None:
    """Refuse a number of classes that is not a positive integer."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise ParameterError("num_classes as an integer of at least 1", repr(num_classes), "Count the classes.")


def check_classes(labels: Tensor, num_classes: int, ignore_index: int | None, name: str = "labels") -> None:
    """Raise a LabelError unless every label is in ``0 … num_classes - 1`` or is ``ignore_index``.

    Args:
        labels: integers, as :func:`as_label_tensor` returns them; any shape.
        num_classes: number of classes.
        ignore_index: the label that means "not labelled", or None.
        name: what the message calls the labels.
    """
    check_num_classes(num_classes)
    if labels.numel() == 0:
        return
    lowest, highest = (int(value) for value in labels.aminmax())
    if lowest >= 0 and highest < num_classes:
        return
    # Compared as int64 scalars: a bound that the labels' own type cannot hold would wrap around.
    wrong = labels < 0
    if highest >= num_classes:
        wrong |= labels >= num_classes
    if ignore_index is not None:
        wrong &= ~is_label(labels, ignore_index)
    if not bool(wrong.any()):
        return
    values, counts = torch.unique(labels[wrong], return_counts=True)
    unknown = dict(zip(values.tolist(), counts.tolist(), strict=True))
    raise unknown_labels_error(unknown, labels.numel(), num_classes, ignore_index, name)


def unknown_labels_error(
    unknown: dict[int, int], pixels: int, num_classes: int, ignore_index: int | None, name: str = "labels"
) -> LabelError:
    """The error for labels that are not classes.

    Args:
        unknown: each unknown label with its number of pixels.
        pixels: number of pixels looked at.
        num_classes: number of classes.
        ignore_index: the label that means "not labelled", or None.
        name: what the message calls the labels.
    """
    expected = f"{name} from 0 to {num_classes - 1}"
    if ignore_index is not None:
        expected += f" or the ignore_index {ignore_index}"
    by_count = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    named = [f"label {value} in {counted(count, 'pixel')}" for value, count in by_count[:_NAMED_IN_MESSAGES]]
    if len(by_count) > _NAMED_IN_MESSAGES:
        named.append(f"{len(by_count) - _NAMED_IN_MESSAGES} further unknown labels")
    got = f"{', '.join(named)} (of {pixels})"
    return LabelError(expected, got, _advice(set(unknown), num_classes))


def _advice(unknown: set[int], num_classes: int) -> str:
    for value in _USUAL_IGNORE_VALUES:
        if value not in unknown:
            continue
        advice = f"Pass ignore_index={value} if it marks pixels without a label."
        if value == 255 and num_classes == 2:
            advice += " If 255 is the foreground of a black and white mask, pass (mask > 127) instead."
        return advice
    highest = max(unknown)
    if min(unknown) >= num_classes and highest <= 2 * num_classes:
        return (
            f"Pass num_classes={highest + 1} if it is a class, or ignore_index={highest} "
            "if it marks pixels without a label."
        )
    return "Map the labels to 0, 1, … without gaps, or pass the label without meaning as ignore_index."
