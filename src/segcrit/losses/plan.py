"""The plan: decided once from an expression, which terms share a sweep over the pixels and what each sweep delivers.

Terms share a sweep when they look at the target and at the logits in the same way (same view, same logit transform) and, for
ranking losses, count the same errors in the same bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constants import Task
from segcrit.core.constraints import describe_value
from segcrit.core.errors import ParameterError
from segcrit.engines.request import PixelRequest, Request
from segcrit.labels.mask import View
from segcrit.losses.expression.syntax import Expression
from segcrit.losses.formulas.pixel import PixelFormula
from segcrit.losses.formulas.ranking import RankingFormula
from segcrit.losses.formulas.region import FIELDS, ClassSums, RegionFormula
from segcrit.losses.table import Loss, list_losses, lookup

__all__ = ["Group", "Plan", "PlannedTerm", "make_plan"]


@dataclass(frozen=True)
class PlannedTerm:
    """One term, ready to be computed.

    Attributes:
        index: position in the expression.
        text: the term as written, with ``#2`` and so on when it repeats.
        weight: factor λ.
        loss: row of the table, after the choice by task (lovasz is the hinge in sigmoid tasks).
        values: all parameters with their canonical values; tensors are looked up at the call.
    """

    index: int
    text: str
    weight: float
    loss: Loss
    values: Mapping[str, Any]

    def scalars(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The named parameters as keyword arguments."""
        return {name: self.values[name] for name in names}

    @property
    def per_image(self) -> bool:
        """Whether the term averages over images."""
        return bool(self.values.get("per_image", False))

    @property
    def view(self) -> View:
        """How the term looks at the target."""
        return View(self.values.get("unlabelled") == "background", bool(self.values.get("foreground_only", False)))


@dataclass(frozen=True)
class Group:
    """Terms that share one sweep.

    Attributes:
        pixel: closed-form pixel terms, in the order of the request.
        custom: pixel terms of user formulas, computed from the map of log-probabilities.
        region: region terms.
        ranking: ranking terms on histograms.
        exact: ranking terms that sort.
        bias_of: index of the term whose logit_bias the group uses, or None.
        request: what the sweep delivers, as text.
        plain: no view and no logit transform: its confusion counts are those of the network.
        template: the request itself.
    """

    pixel: tuple[PlannedTerm, ...]
    custom: tuple[PlannedTerm, ...]
    region: tuple[PlannedTerm, ...]
    ranking: tuple[PlannedTerm, ...]
    exact: tuple[PlannedTerm, ...]
    bias_of: int | None
    request: str
    plain: bool
    template: Request = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """Everything about an expression that does not depend on the call."""

    expression: Expression
    task: Task
    terms: tuple[PlannedTerm, ...]
    groups: tuple[Group, ...]

    @property
    def has_ranking(self) -> bool:
        """Whether a term needs hard labels."""
        return any(group.ranking or group.exact for group in self.groups)


def _resolve(loss: Loss, task: Task) -> Loss:
    if task in loss.tasks:
        return loss
    twin = lookup(loss.sigmoid_twin) if loss.sigmoid_twin is not None else None
    if twin is not None and task in twin.tasks:
        return twin
    others = {"ce": "bce", "bce": "ce", "lovasz_hinge": "lovasz"}
    right = others.get(loss.name)
    offers = [row.name for row in list_losses() if row.family == loss.family and task in row.tasks]
    advice = f"Use {right!r} here" if right in offers else f"Use one of: {', '.join(offers)}"
    raise ParameterError(
        f"a loss for task={task!r}",
        f"{loss.name!r}, which is for {' and '.join(map(repr, loss.tasks))}",
        f"{advice}, or give the task: {' or '.join(f'task={name!r}' for name in loss.tasks)}.",
    )


def _term_values(loss: Loss, task: Task, given: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in loss.parameters.items():
        value = given.get(name)
        if name not in given:
            value = shared.get(name, parameter.default) if shared.get(name) is not None else parameter.default
        if isinstance(value, str) and value in getattr(parameter.constraint, "words", ()):
            raise ParameterError(
                f"numbers for {name}",
                f"the word {value!r}",
                "Words are computed from the training split by segcrit compare; elsewhere compute them with "
                f"segcrit.{'pos_weight' if name == 'pos_weight' else 'class_weights'}(...) and pass them as {name}=.",
            )
        values[name] = parameter.check(value)
    _check_combination(loss, task, values)
    return values


# Parameters that may be given once for all terms, and a loss that declares them.
_SHARED: Mapping[str, str] = {"class_weight": "ce", "pos_weight": "bce"}


def _check_combination(loss: Loss, task: Task, values: Mapping[str, Any]) -> None:
    alpha = values.get("alpha") if loss.name == "focal" and task != "multiclass" else None
    if alpha is not None and float(alpha.max() if isinstance(alpha, Tensor) else alpha) > 1.0:
        raise ParameterError(
            f"alpha between 0 and 1 for focal with task={task!r}",
            f"alpha={describe_value(alpha)}",
            "Positives weigh alpha and negatives 1 - alpha, which must not be negative; class_weight scales a channel.",
        )
    if loss.family == "region" and values["absent"] == "penalize" and values.get("smooth") == 0:
        raise ParameterError(
            "smooth greater than 0 with absent='penalize'",
            "smooth=0",
            "At smooth=0 the loss of an absent class is a constant without gradient; use for example smooth=1.",
        )


def make_plan(expression: Expression, task: Task, shared: Mapping[str, Any]) -> Plan:
    """Resolve, check and group the terms.

    Args:
        expression: parsed expression.
        task: multiclass, multilabel or binary.
        shared: values for parameters that terms leave out (class_weight, pos_weight).
    """
    for name, owner in _SHARED.items():
        row = lookup(owner)
        # A value that no term of this expression takes must be legal all the same.
        if row is not None and shared.get(name) is not None:
            row.parameters[name].check(shared[name])
    terms: list[PlannedTerm] = []
    seen: dict[str, int] = {}
    for index, term in enumerate(expression.terms):
        row = lookup(term.name)
        if row is None:
            raise ParameterError(
                "losses that are defined in this process",
                f"{term.name!r}",
                "Import the module that defines it with region_loss or pixel_loss first.",
            )
        loss = _resolve(row, task)
        values = _term_values(loss, task, term.parameters, shared)
        seen[term.text] = seen.get(term.text, 0) + 1
        text = term.text if seen[term.text] == 1 else f"{term.text}#{seen[term.text]}"
        terms.append(PlannedTerm(index, text, term.weight, loss, MappingProxyType(values)))
    return Plan(expression, task, tuple(terms), _group(tuple(terms), task))


def _same_bias(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return (
        isinstance(first, Tensor)
        and isinstance(second, Tensor)
        and first.shape == second.shape
        and bool(torch.equal(first.cpu(), second.cpu()))
    )


def _group(terms: tuple[PlannedTerm, ...], task: Task) -> tuple[Group, ...]:
    buckets: list[list[PlannedTerm]] = []
    for term in terms:
        for bucket in buckets:
            if _can_share(bucket, term):
                bucket.append(term)
                break
        else:
            buckets.append([term])
    return tuple(_make_group(bucket, task) for bucket in buckets)


def _is_custom(term: PlannedTerm) -> bool:
    return term.loss.family == "pixel" and not isinstance(term.loss.compute, PixelFormula)


def _histogram(term: PlannedTerm) -> tuple[str, int, bool] | None:
    if term.loss.family != "ranking" or term.values["exact"]:
        return None
    formula: RankingFormula = term.loss.compute
    return formula.errors, term.values["bins"], term.per_image


def _can_share(bucket: list[PlannedTerm], term: PlannedTerm) -> bool:
    first = bucket[0]
    if first.view != term.view or first.values["logit_scale"] != term.values["logit_scale"]:
        return False
    if not _same_bias(first.values["logit_bias"], term.values["logit_bias"]):
        return False
    if _is_custom(first) != _is_custom(term):
        return False
    counted = _histogram(term)
    return counted is None or all(_histogram(other) in (None, counted) for other in bucket)


class _Recorder(ClassSums):
    """Class sums that remember which fields a formula reads."""

    def __init__(self, table: Tensor) -> None:
        read: set[str] = set()
        object.__setattr__(self, "read", read)
        super().__init__(table)
        read.clear()

    def __getattribute__(self, name: str) -> Any:
        table = object.__getattribute__(self, "table") if name in (*FIELDS, "table", "num_classes") else None
        if table is None:
            return object.__getattribute__(self, name)
        if name == "num_classes":
            return table.shape[-1]
        # A formula that takes the table itself may read any of its rows.
        object.__getattribute__(self, "read").update(FIELDS if name == "table" else (name,))
        return table if name == "table" else table[FIELDS.index(name)]


def fields_of(formula: RegionFormula, keywords: Mapping[str, Any], name: str) -> set[str]:
    """The sums that a region formula reads, found by running it on small numbers; checks its result's shape."""
    table = torch.full((len(FIELDS), 2, 3), 2.0, dtype=torch.float64, device="cpu")
    table[0], table[5], table[6] = 1.0, 4.0, 2.0
    recorder = _Recorder(table)
    try:
        result = formula.function(recorder, **keywords)
    except RuntimeError as error:
        raise ParameterError(
            f"the formula {name!r} to work on sums of any number of classes",
            f"for 3 classes: {error}",
            "Numbers for each class go into class_weight=; the formula itself works elementwise on the fields of s.",
            code="formula",
        ) from error
    wanted = (2,) if formula.pooled else (2, 3)
    if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
        raise ParameterError(
            f"the formula {name!r} to return a tensor of shape {'(...)' if formula.pooled else '(..., C)'}",
            describe_value(result) if not isinstance(result, Tensor) else f"shape {tuple(result.shape)} for {wanted}",
            "Work elementwise on the fields of s; use pooled=True for a formula that combines the classes itself.",
        )
    read: set[str] = object.__getattribute__(recorder, "read")
    # D of hard labels is P + T − 2 I, and U is T.
    if "D" in read:
        read |= {"I", "P", "T"}
    if "U" in read:
        read |= {"T"}
    return read


def own_keywords(term: PlannedTerm) -> dict[str, Any]:
    """The parameters of the formula itself, without those of its family."""
    from segcrit.losses.table import COMMON

    shared = {parameter.name for parameter in COMMON[term.loss.family]}
    return {name: value for name, value in term.values.items() if name not in shared}


def _make_group(bucket: list[PlannedTerm], task: Task) -> Group:
    custom = tuple(term for term in bucket if _is_custom(term))
    pixel = tuple(term for term in bucket if term.loss.family == "pixel" and not _is_custom(term))
    region = tuple(term for term in bucket if term.loss.family == "region")
    ranking = tuple(term for term in bucket if _histogram(term) is not None)
    exact = tuple(term for term in bucket if term.loss.family == "ranking" and _histogram(term) is None)
    fields = {"T", "V"}
    for term in region:
        formula: RegionFormula = term.loss.compute
        fields |= fields_of(formula, own_keywords(term), term.loss.name)
    histogram = _histogram(ranking[0]) if ranking else None
    first = bucket[0]
    requests = [_pixel_request(term) for term in pixel]
    if custom:
        requests = [PixelRequest("cross_entropy")]
    template = Request(
        task=task,
        view=first.view,
        logit_scale=first.values["logit_scale"],
        pixel=tuple(requests),
        fields=tuple(name for name in FIELDS if name in fields),
        per_image=any(term.per_image for term in bucket),
        errors="none" if histogram is None else histogram[0],  # type: ignore[arg-type]
        bins=0 if histogram is None else histogram[1],
        bins_per_image=False if histogram is None else histogram[2],
        maps=bool(custom),
    )
    biased = first.values["logit_bias"] is not None
    plain = first.view == View() and first.values["logit_scale"] == 1.0 and not biased
    return Group(
        pixel, custom, region, ranking, exact, first.index if biased else None, template.encode(), plain, template
    )  # fmt: skip


def _pixel_request(term: PlannedTerm) -> PixelRequest:
    formula: PixelFormula = term.loss.compute
    scalars = tuple((name, float(term.values[name])) for name in formula.scalars)
    return PixelRequest(formula.key, scalars, term.values["label_smoothing"])


def confusion_group(task: Task) -> Group:
    """A sweep that only counts the confusion matrix, for plans in which no group looks at the plain logits."""
    template = Request(task=task, confusion=True)
    return Group((), (), (), (), (), None, template.encode(), True, template)
