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
from segcrit.engines.formulas import FIELDS, PixelFormula
from segcrit.engines.request import PixelRequest, Request
from segcrit.labels.mask import View
from segcrit.losses.expression.syntax import Expression
from segcrit.losses.formulas.ranking import RankingFormula
from segcrit.losses.formulas.reducers import Reducer, reducer_of
from segcrit.losses.formulas.region import ClassSums, RegionFormula
from segcrit.losses.table import COMMON, Loss, list_losses, lookup

__all__ = ["Group", "Plan", "PlannedTerm", "make_plan"]

# What a row that leaves out a parameter of its family has in its place.
_DEFAULTS = {parameter.name: parameter.default for family in COMMON.values() for parameter in family}


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

    def setting(self, name: str) -> Any:
        """A parameter that the family shares; its default where the row leaves it out."""
        return self.values[name] if name in self.values else _DEFAULTS[name]

    @property
    def per_image(self) -> bool:
        """Whether the term averages over images."""
        return bool(self.setting("per_image"))

    @property
    def reducer(self) -> Reducer | None:
        """Which pixels of a pixel loss count, where not all do."""
        return reducer_of(self.values) if self.loss.family == "pixel" else None

    @property
    def view(self) -> View:
        """How the term looks at the target."""
        return View(self.setting("unlabelled") == "background", bool(self.values.get("foreground_only", False)))


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
        places: positions in the request of what reducers look at: ``"log"``, the map of u (−log p), ``"counted"``, of u, and
            by the index of a term with class weights the map of u w.
        template: what the sweep delivers.
        text: the same as text.
        plain: no view and no logit transform: its confusion counts are those of the network.
        rows: names of the class sums that it delivers.
        operands: names of the maps beside the target.
    """

    pixel: tuple[PlannedTerm, ...]
    custom: tuple[PlannedTerm, ...]
    region: tuple[PlannedTerm, ...]
    ranking: tuple[PlannedTerm, ...]
    exact: tuple[PlannedTerm, ...]
    bias_of: int | None
    places: Mapping[str | int, int]
    template: Request = field(repr=False)
    text: str = field(repr=False)
    plain: bool
    rows: tuple[str, ...]
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything about an expression that does not depend on the call; ``needs`` names the maps beside the target."""

    expression: Expression
    task: Task
    terms: tuple[PlannedTerm, ...]
    groups: tuple[Group, ...]
    needs: tuple[str, ...]

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
    if values.get("keep") is not None and values.get("ohem") is not None:
        raise ParameterError(
            "one rule for the pixels that count",
            f"keep={values['keep']:g} and ohem={values['ohem']:g}",
            "Give keep=, the share of the pixels with the largest values, or ohem=, the threshold of the probability.",
        )
    if loss.family == "region" and values.get("absent") == "penalize" and values.get("smooth") == 0:
        raise ParameterError(
            "smooth greater than 0 with absent='penalize'",
            "smooth=0",
            "At smooth=0 the loss of an absent class is a constant without gradient; use for example smooth=1.",
        )


def _check_shared(terms: list[PlannedTerm], shared: Mapping[str, Any]) -> None:
    """A class weight for every term is refused where a term cannot take one."""
    for term in terms if shared.get("class_weight") is not None else ():
        if "class_weight" not in term.values:
            others = [other.text for other in terms if "class_weight" in other.values]
            raise ParameterError(
                "terms that take the class_weight that is given for all of them",
                f"{term.text!r}, which has no class weights",
                f"Give it in the terms that take it, {', '.join(others)}." if others else "Leave class_weight out.",
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
    _check_shared(terms, shared)
    groups = _group(tuple(terms), task)
    needs = tuple(dict.fromkeys(name for group in groups for name in group.operands))
    return Plan(expression, task, tuple(terms), groups, needs)


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
    if first.view != term.view or first.setting("logit_scale") != term.setting("logit_scale"):
        return False
    if not _same_bias(first.setting("logit_bias"), term.setting("logit_bias")):
        return False
    if _is_custom(first) != _is_custom(term):
        return False
    counted = _histogram(term)
    return counted is None or all(_histogram(other) in (None, counted) for other in bucket)


class _Recorder(ClassSums):
    """Class sums that remember which fields a formula reads."""

    def __init__(self, table: Tensor, names: tuple[str, ...]) -> None:
        super().__init__(table, names)
        self.read: set[str] = set()
        rows = self._rows
        recorder = self

        class Recorded(dict[str, Tensor]):
            def __getitem__(self, name: str) -> Tensor:
                recorder.read.add(name)
                return rows[name]

        self._rows = Recorded(rows)

    @property
    def table(self) -> Tensor:
        """A formula that takes the table itself may read any of its rows."""
        self.read.update(self._names)
        return self._table


def fields_of(formula: RegionFormula, keywords: Mapping[str, Any], name: str) -> set[str]:
    """The sums that a region formula reads, found by running it on small numbers; checks its result's shape."""
    names = FIELDS if formula.fields is None else formula.fields
    small = {"I": 1.0, "V": 4.0}
    table = torch.stack(
        [torch.full((2, 3), small.get(field, 2.0), dtype=torch.float64, device="cpu") for field in names]
    )
    recorder = _Recorder(table, names)
    try:
        result = formula.function(recorder, **keywords)
    except (KeyError, AttributeError) as error:
        raise ParameterError(
            f"the formula {name!r} to read the sums {', '.join(names)}",
            str(error),
            "Add the sum to the fields that its row declares." if formula.fields else "Use one of these sums.",
        ) from error
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
    read = recorder.read
    # D of hard labels is P + T − 2 I, and U is T.
    if "D" in read:
        read |= {"I", "P", "T"}
    if "U" in read:
        read |= {"T"}
    return read


def own_keywords(term: PlannedTerm) -> dict[str, Any]:
    """The parameters of the formula itself, without those of its family."""
    shared = {parameter.name for parameter in COMMON[term.loss.family]}
    return {name: value for name, value in term.values.items() if name not in shared}


def _field_order(name: str) -> tuple[int, str]:
    return (FIELDS.index(name), "") if name in FIELDS else (len(FIELDS), name)


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
    places: dict[str | int, int] = {"log": 0} if custom else {}
    reduced = [term for term in (*pixel, *custom) if term.reducer is not None]
    for term in reduced:
        wanted: list[tuple[str | int, str]] = [("counted", "counted")]
        if term.values.get("ohem") is not None:
            wanted.append(("log", "cross_entropy"))
        if term.values.get("class_weight") is not None:
            wanted.append((term.index, "counted"))
        for name, key in wanted:
            if name not in places:
                places[name] = len(requests)
                requests.append(PixelRequest(key))
    template = Request(
        task=task,
        view=first.view,
        logit_scale=first.setting("logit_scale"),
        pixel=tuple(requests),
        fields=tuple(sorted(fields, key=_field_order)),
        per_image=any(term.per_image for term in bucket),
        errors="none" if histogram is None else histogram[0],
        bins=0 if histogram is None else histogram[1],
        bins_per_image=False if histogram is None else histogram[2],
        maps=bool(custom or reduced),
    )
    biased = first.setting("logit_bias") is not None
    plain = first.view == View() and template.logit_scale == 1.0 and not biased
    bias_of = first.index if biased else None
    return Group(
        pixel, custom, region, ranking, exact, bias_of, places,
        template, template.encode(), plain, template.rows, template.operands,
    )  # fmt: skip


def _pixel_request(term: PlannedTerm) -> PixelRequest:
    formula: PixelFormula = term.loss.compute
    scalars = tuple((name, float(term.values[name])) for name in formula.scalars)
    return PixelRequest(formula.key, scalars, term.setting("label_smoothing"))


def confusion_group(task: Task) -> Group:
    """A sweep that only counts the confusion matrix, for plans in which no group looks at the plain logits."""
    template = Request(task=task, confusion=True)
    return Group((), (), (), (), (), None, {}, template, template.encode(), True, template.rows, ())
