"""Maps that losses need beside the target and that come from its labels: signed distances."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from segcrit.core.constants import Task
from segcrit.core.constraints import describe_value
from segcrit.core.errors import DeviceError, DtypeError, LabelError, ParameterError, ShapeError
from segcrit.core.tensors import as_plain
from segcrit.labels.distances import signed_distances
from segcrit.labels.mask import View
from segcrit.losses import gate
from segcrit.losses.gate import Batch
from segcrit.losses.whole_batch import read_whole

__all__ = ["Derived", "derive"]

Spacing = float | Sequence[float] | None


def _distance(inside: Tensor, known: Tensor, spacing: Sequence[float]) -> Tensor:
    """Signed distances of each image and class, float32, on the device of the labels."""
    regions, valid = inside.cpu().numpy(), known.expand_as(inside).cpu().numpy()
    found = np.zeros(regions.shape, dtype=np.float32)
    for place in np.ndindex(*regions.shape[:2]):
        found[place] = signed_distances(regions[place], valid[place], spacing)
    return torch.from_numpy(found).to(inside.device)


# As an operator for traces, which see one step: SciPy runs when the graph does.
_traced_distance = torch.library.custom_op(
    "segcrit::signed_distance",
    _distance,
    mutates_args=(),
    schema="(Tensor inside, Tensor known, float[] spacing) -> Tensor",
)


@_traced_distance.register_fake
def _distance_fake(inside: Tensor, known: Tensor, spacing: Sequence[float]) -> Tensor:
    return torch.empty(inside.shape, dtype=torch.float32, device=inside.device)


# Name of a map -> how it comes from the pixels of each class, (N, C, *S), and from those that are labelled; and in traces.
_MAPS: Mapping[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {"distance": (_distance, _traced_distance)}


def _maps_of(names: Sequence[str], batch: Batch, spacing: Spacing) -> dict[str, Tensor]:
    dimensions = len(batch.size)
    given = [1.0 if spacing is None else spacing] if spacing is None or isinstance(spacing, (int, float)) else spacing
    steps = [float(step) for step in given] * (dimensions if len(given) == 1 else 1)
    if len(steps) != dimensions or not all(0 < step < float("inf") for step in steps):
        raise ParameterError(
            f"spacing as one number above 0, or {dimensions} of them", repr(spacing), "Give the size of a pixel."
        )
    # Pixels of weight 0 have labels all the same.
    batch = replace(batch, pixel_weight=None)
    whole = read_whole(batch, View())
    inside = torch.where(whole.valid, whole.target, 0.0)
    tracing = torch.compiler.is_compiling()
    if batch.kind == "soft" and not tracing and bool(((inside != 0) & (inside != 1)).any()):
        raise LabelError(
            "hard labels (0 and 1), from which the maps beside the target are derived",
            "a soft target with fractions",
            f"Give the maps: criterion(logits, target, maps={{{names[0]!r}: ...}}).",
        )
    shape = (*inside.shape[:2], *batch.size)
    regions, known = (inside > 0).reshape(shape), whole.valid.expand_as(inside).reshape(shape)
    return {name: _MAPS[name][tracing](regions, known, steps) for name in names}


def _checked(names: tuple[str, ...], given: Any, batch: Batch) -> dict[str, Tensor]:
    """The maps that the caller gives, those that are needed."""
    if not isinstance(given, Mapping) or any(name not in given for name in names):
        got = f"maps of {sorted(map(str, given))}" if isinstance(given, Mapping) else describe_value(given)
        raise ParameterError(
            f"maps as a dictionary with {', '.join(map(repr, names))}",
            got,
            "Make them with segcrit.derive(criterion, target).",
        )
    shape = (*batch.logits.shape[:2], *batch.size)
    for name in names:
        value = given[name]
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise DtypeError(
                f"maps[{name!r}] as a tensor of floats", describe_value(value), "Convert it with .float()."
            )
        if tuple(value.shape) != shape:
            raise ShapeError(
                f"maps[{name!r}] of shape {shape}, as the logits at the size of the target",
                f"shape {tuple(value.shape)}",
                "Derive it from this target with the same number of classes.",
            )
        if value.device != batch.logits.device:
            raise DeviceError(f"maps[{name!r}] on {batch.logits.device}", str(value.device), "Move it with .to(...).")
    return {name: given[name].detach() for name in names}


# Targets of one call, which deep supervision may give one for each output.
_MOST_TARGETS = 8


class Derived:
    """The maps of the last labels, which serve every call with the same labels."""

    def __init__(self) -> None:
        # Reference to the labels, their version, the maps.
        self._known: list[tuple[weakref.ref[Tensor], int, dict[str, Tensor]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Derived, ()

    def add_to(self, batch: Batch, names: tuple[str, ...], target: Tensor, given: Any) -> Batch:
        """The batch with its maps: those that are given, those of the same labels, or new ones."""
        if given is not None:
            return replace(batch, maps=_checked(names, given, batch))
        if torch.compiler.is_compiling() or target.is_inference():
            return replace(batch, maps=_maps_of(names, batch, None))
        shape = (*batch.logits.shape[:2], *batch.size)
        for reference, version, maps in self._known:
            same = reference() is target and version == target._version
            if same and all(tuple(value.shape) == shape for value in maps.values()):
                return replace(batch, maps=maps)
        maps = _maps_of(names, batch, None)
        self._known = [*self._known[1 - _MOST_TARGETS :], (weakref.ref(target), target._version, maps)]
        return replace(batch, maps=maps)


class _Needs(Protocol):
    """A ``segcrit.Criterion``."""

    task: Task
    num_classes: int | None
    ignore_index: int

    @property
    def needs(self) -> tuple[str, ...]: ...


def derive(criterion: _Needs, target: Tensor, spacing: Spacing = None) -> dict[str, Tensor]:
    """The maps beside the target that a criterion needs, from labels: in a data set, in the workers of a loader, or once.

    Args:
        criterion: a Criterion; ``criterion.needs`` names the maps.
        target: labels (N, *S) or (N, 1, *S), or one-hot (N, C, *S), as the criterion takes them.
        spacing: size of a pixel along each dimension, or one number for all; default 1, distances in pixels.

    Returns:
        Name -> (N, C, *S) float32, for ``criterion(logits, target, maps=...)``. ``"distance"``: the signed distance to the
        border of each class, positive outside, 0 at its border pixels, negative further inside; 0 for classes without a
        pixel. Ignored pixels belong to no class and make no border.

    Raises:
        ParameterError: the number of classes is not known: give ``num_classes`` to the criterion.
        LabelError: the target is soft.

    Example:
        >>> import torch, segcrit
        >>> criterion = segcrit.Criterion("ce + 0.1*boundary", num_classes=2)
        >>> criterion.needs
        ('distance',)
        >>> maps = segcrit.derive(criterion, torch.tensor([[0, 0, 1, 1, 1]]))
        >>> maps["distance"][0, 1].tolist()
        [2.0, 1.0, 0.0, -1.0, -2.0]
    """
    target = as_plain("target", target)
    classes = 1 if criterion.task == "binary" else criterion.num_classes
    if classes is None and criterion.task == "multilabel" and target.ndim > 1:
        classes = target.shape[1]
    if classes is None:
        raise ParameterError(
            "a criterion that knows the number of classes",
            f"{criterion!r}",
            "Give it num_classes=; without logits the labels alone do not tell it.",
        )
    has_classes = (target.ndim > 2 and target.shape[1] in (1, classes)) or criterion.task == "multilabel"
    size = tuple(target.shape[2 if has_classes else 1 :])
    # Only the shape of the logits is looked at.
    logits = torch.zeros((), device=target.device).expand(target.shape[0], classes, *size)
    batch = gate.as_batch(
        logits, target, task=criterion.task, num_classes=classes, ignore_index=criterion.ignore_index
    )  # fmt: skip
    return _maps_of(criterion.needs, batch, spacing) if criterion.needs else {}
