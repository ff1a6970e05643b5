"""Label maps one image at a time, from whatever people keep them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from segcrit.core.errors import DtypeError, ParameterError, ShapeError
from segcrit.core.optional import require
from segcrit.labels.label_maps import as_label_tensor

__all__ = ["LabelSource", "Picker", "iterate_images"]

LabelSource: TypeAlias = Any
"""A tensor or array, an iterable of such, of samples or of batches, a Dataset, or a DataLoader."""

Picker: TypeAlias = int | str | Callable[[Any], Any] | None

# Names under which samples that are mappings usually keep their labels.
_USUAL_KEYS = ("label", "labels", "mask", "masks", "target", "targets")


def iterate_images(
    source: LabelSource,
    *,
    target: Picker,
    batched: bool | None,
    progress: bool,
    channels: bool = False,
) -> Iterator[tuple[str, Tensor]]:
    """Yield a name for messages and the labels of each image, on the CPU.

    Args:
        source: where the labels are.
        target: how to take the labels out of a sample or batch; None for the usual places.
        batched: whether each array has a batch dimension first; None to decide as documented at
            :func:`segcrit.class_frequencies`.
        progress: show a progress bar.
        channels: whether the labels of one image have a channel dimension (multilabel).
    """
    if _is_array(source):
        tensor = as_label_tensor(source)
        if batched is None:
            batched = channels or tensor.dim() >= 3
        yield from _images("labels", tensor, batched)
        return
    if not isinstance(source, Iterable | Dataset):
        raise DtypeError(
            "labels as a tensor, an array, or an iterable of them",
            f"an object of type {type(source).__name__}",
            "Pass the label maps, or a DataLoader that yields them.",
        )
    if batched is None:
        batched = isinstance(source, DataLoader) and source.batch_sampler is not None
    for number, item in enumerate(_with_progress(_items(source), source, progress)):
        labels = _pick(item, target)
        name = f"labels in item {number}"
        for part in labels if isinstance(labels, list | tuple) else [labels]:
            yield from _images(name, as_label_tensor(part, name), batched and part is labels)


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def _images(name: str, tensor: Tensor, batched: bool) -> Iterator[tuple[str, Tensor]]:
    # Counting is bound by memory, and one result is needed on the CPU; a copy there is all it takes.
    tensor = tensor.cpu()
    if not batched:
        yield name, tensor
        return
    if tensor.dim() == 0:
        raise ShapeError(f"{name} with a batch dimension", "a single number", "Pass batched=False.")
    for image in tensor:
        yield name, image


def _items(source: Any) -> Iterator[Any]:
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        # Iterating over a map-style Dataset runs past its end unless it raises IndexError; its length is
        # certain.
        size = len(source) if isinstance(source, Sized) else 0
        return (source[index] for index in range(size))
    return iter(source)


def _with_progress(items: Iterator[Any], source: Any, progress: bool) -> Iterator[Any]:
    if not progress:
        yield from items
        return
    track = require("rich.progress", extra="data").track
    # On stderr, where it does not end up in the output of a pipeline.
    console = require("rich.console", extra="data").Console(stderr=True)
    # A DataLoader over a stream has __len__ and raises TypeError in it.
    try:
        total = len(source)
    except TypeError:
        total = None
    yield from track(items, description="Counting labels", total=total, console=console)


def _pick(item: Any, target: Picker) -> Any:
    """The labels in a sample or batch."""
    if callable(target):
        return target(item)
    if _is_array(item) and target is None:
        return item
    if isinstance(item, Mapping):
        return _pick_key(item, target)
    if isinstance(item, list | tuple) and not isinstance(target, str):
        # (image, label, …) is what datasets yield; a 1-tuple holds the labels alone.
        position = target if target is not None else min(1, len(item) - 1)
        if -len(item) <= position < len(item) and item:
            return item[position]
        raise ParameterError(f"a target below {len(item)}", str(target), "Count from 0 in the sample.")
    for name in _USUAL_KEYS if target is None else (target,):
        if isinstance(name, str) and hasattr(item, name):
            return getattr(item, name)
    raise DtypeError(
        "samples as arrays, tuples (image, label) or mappings",
        f"a sample of type {type(item).__name__}",
        "Pass target=function, which takes a sample and returns its labels.",
    )


def _pick_key(item: Mapping[Any, Any], target: Picker) -> Any:
    if target is not None:
        if target in item:
            return item[target]
        raise ParameterError(
            f"the key {target!r} in every sample", f"the keys {sorted(map(str, item))}", "Correct target."
        )
    found = [key for key in _USUAL_KEYS if key in item]
    if len(found) != 1:
        raise ParameterError(
            f"samples with one of the keys {', '.join(_USUAL_KEYS)}",
            f"the keys {sorted(map(str, item))}",
            "Name the key of the labels with target='…'.",
        )
    return item[found[0]]
