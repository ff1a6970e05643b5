"""One loss of the table on one batch: what the functions and the modules are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.constraints import one_of
from segcrit.core.dtypes import compute_dtype
from segcrit.core.errors import UnknownParameterError
from segcrit.engines import check_name
from segcrit.losses import gate
from segcrit.losses.averages import number_or_nan
from segcrit.losses.buffers import ClassBuffers
from segcrit.losses.criterion import _warn_about
from segcrit.losses.derived import Derived
from segcrit.losses.expression.syntax import Expression, Term
from segcrit.losses.keywords import parameter_hint
from segcrit.losses.plan import Plan, make_plan
from segcrit.losses.table import list_losses, lookup
from segcrit.losses.terms import measure, per_class, term_values

__all__ = ["FunctionalLoss", "Matrix", "Weights", "WeightsOrNumber", "evaluate"]

# One number for each class; or one for all; or a row for each label.
Weights = Tensor | Sequence[float] | None
WeightsOrNumber = Tensor | Sequence[float] | float | None
Matrix = Tensor | Sequence[float] | Sequence[Sequence[float]] | None


def evaluate(
    name: str,
    logits: Tensor,
    target: Tensor,
    *,
    pixel_weight: Tensor | None = None,
    maps: Mapping[str, Tensor] | None = None,
    task: Task = "multiclass",
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    reduction: str = "mean",
    upsample: str | None = None,
    align_corners: bool = False,
    validate: str = "auto",
    backend: str = "auto",
    **parameters: Any,
) -> Tensor:
    """One loss of the table on one batch, with any of its parameters as keywords."""
    one_of("reduction", reduction, ("mean", "sum", "none"))
    one_of("validate", validate, ("auto", "always", "never"))
    gate.check_upsample(upsample)
    plan = _plan(name, gate.check_task(task), "sum" if reduction == "none" else reduction, parameters)
    batch = gate.as_batch(
        logits,
        target,
        pixel_weight,
        task=plan.task,
        num_classes=None,
        ignore_index=gate.check_ignore_index(ignore_index),
        upsample=upsample is not None,
        align_corners=align_corners,
    )
    if plan.needs:
        batch = Derived().add_to(batch, plan.needs, target, maps)
    check = validate == "always" or (validate == "auto" and logits.device.type == "cpu")
    if task == "multiclass" and validate != "never" and not torch.compiler.is_compiling():
        gate.warn_if_probabilities(batch.logits)
    group, term = plan.groups[0], plan.terms[0]

    def lookup(index: int, parameter: str) -> Any:
        return plan.terms[index].values.get(parameter)

    by_pixel = reduction == "none" and term.loss.family == "pixel"
    measured = measure(plan, group, batch, lookup, check=check, backend=check_name(backend), maps=by_pixel)
    dtype = compute_dtype(batch.logits.dtype)
    if by_pixel:
        value = measured.maps[0]
    elif reduction == "none":
        value = per_class(term, group, measured)
    else:
        value = term_values(plan, group, measured, measured.additive, lookup)[0]
    return number_or_nan(value.to(dtype))


def _plan(name: str, task: Task, reduction: str, parameters: Mapping[str, Any]) -> Plan:
    row = lookup(name)
    known = row.parameters if row is not None else {}
    for word in parameters:
        if word not in known:
            raise UnknownParameterError(
                f"parameters of {name}: {', '.join(known)}",
                f"{word}=",
                parameter_hint(word, known) or "Leave it out.",
            )
    given = MappingProxyType({**parameters, "reduction": reduction})
    plan = make_plan(Expression((Term(1.0, name, given),)), task, {})
    _warn_about(plan)
    return plan


class FunctionalLoss(ClassBuffers):
    """A function of ``segcrit.functional`` with its parameters.

    Parameters that hold a number for each class become non-persistent buffers: they move with the module and stay out of
    checkpoints.

    Args:
        given: the names and values of ``__init__`` of a module, its ``locals()``.
    """

    loss: ClassVar[str]

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        parameters = {word: value for word, value in given.items() if word not in ("self", "__class__")}
        row = next(loss for loss in list_losses() if loss.name == self.loss)
        _check_settings(row.name, parameters)
        self._names = tuple(parameters)
        self._changed: list[str] = []
        for word, value in parameters.items():
            constraint = row.parameters.get(word)
            if constraint is not None and word != "reduction":
                value = constraint.check(value)
            if isinstance(value, Tensor):
                self.keep(word, value)
            else:
                setattr(self, word, value)
            if constraint is not None and value is not constraint.default and value != constraint.default:
                self._changed.append(word)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        maps: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The loss; see the class for its meaning and ``segcrit.Criterion`` for the shapes."""
        keywords: dict[str, Any] = {
            word: self.kept(word) if word in self._given else getattr(self, word) for word in self._names
        }
        if maps is not None:
            keywords["maps"] = maps
        return evaluate(self.loss, logits, target, pixel_weight=pixel_weight, **keywords)

    def extra_repr(self) -> str:
        """The parameters that differ from their defaults."""
        shown = ((name, getattr(self, name)) for name in self._changed)
        return ", ".join(f"{n}={v.tolist() if isinstance(v, Tensor) else v!r}" for n, v in shown)


def _check_settings(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse at construction what the function would refuse at each call."""
    settings = {"task", "ignore_index", "upsample", "align_corners"}
    own = {word: value for word, value in parameters.items() if word not in settings}
    if one_of("reduction", own["reduction"], ("mean", "sum", "none")) == "none":
        own["reduction"] = "sum"
    gate.check_ignore_index(parameters["ignore_index"])
    gate.check_upsample(parameters["upsample"])
    make_plan(Expression((Term(1.0, name, own),)), gate.check_task(parameters["task"]), {})
