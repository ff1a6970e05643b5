"""From sums to losses: the sums of each group, joined over micro-batches or ranks, become the value of each term."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segcrit.core.dtypes import compute_dtype, table_dtype
from segcrit.core.errors import ParameterError
from segcrit.engines import asked_for, keeps_normalizers
from segcrit.engines.formulas import PixelFormula
from segcrit.engines.operators import sweep
from segcrit.engines.reference import select, transform_logits
from segcrit.engines.request import Call, Sweep, Swept
from segcrit.labels.mask import View, read_labels, refuse_fractions
from segcrit.losses import averages
from segcrit.losses.formulas.quotient import quotient
from segcrit.losses.formulas.ranking import histogram_loss
from segcrit.losses.formulas.region import ClassSums, RegionFormula
from segcrit.losses.gate import Batch
from segcrit.losses.plan import Group, Plan, PlannedTerm, own_keywords
from segcrit.losses.whole_batch import exact_classes, flat_logits, read_whole

__all__ = ["Measured", "mean_denominator", "measure", "per_class", "term_values"]

Lookup = Callable[[int, str], Any]


@dataclass(frozen=True)
class Measured:
    """What one sweep brought.

    Attributes:
        additive: sums that add up over batches, differentiable; see ``Sums``.
        direct: terms that sort the pixels of the whole batch and do not add up: term index -> loss for each class.
        sorted_images: terms that sort the pixels of each image: term index -> (N, C).
        swept: what the engine delivered.
        maps: u w ℓ of each pixel term, in the order ``pixel`` then ``custom``, where asked for; 0 where a reducer drops it.
        kept: pixel terms with a reducer: term index -> sum of the values that it keeps, and of what they are divided by.
    """

    additive: Mapping[str, Tensor]
    direct: Mapping[int, Tensor]
    sorted_images: Mapping[int, Tensor]
    swept: Swept
    maps: tuple[Tensor, ...]
    kept: Mapping[int, tuple[Tensor, Tensor]]

    @property
    def confusion(self) -> Tensor:
        """Counts where asked for."""
        return self.swept.confusion


def _as_vector(value: Any, classes: int, device: torch.device, dtype: torch.dtype, name: str) -> Tensor:
    """A parameter as a tensor with one number for each class."""
    if not isinstance(value, Tensor):
        return torch.full((classes,), float(value), device=device, dtype=dtype)
    if value.ndim >= 1 and value.shape[-1] != classes:
        raise ParameterError(
            f"{name} with one number for each of the {classes} classes",
            f"{value.shape[-1]} numbers",
            f"Give {classes} numbers, or correct the number of classes.",
        )
    return value.to(device=device, dtype=dtype)


def class_weight_of(term: PlannedTerm, lookup: Lookup, like: Tensor, classes: int) -> Tensor | None:
    """The class weights of a term, (C,), or None."""
    value = lookup(term.index, "class_weight")
    return None if value is None else _as_vector(value, classes, like.device, like.dtype, "class_weight")


def _coefficients(group: Group, batch: Batch, lookup: Lookup, sigmoid: bool) -> Tensor:
    """(J, 2, C): class weight times the loss's own coefficients, for positives and negatives."""
    classes = batch.logits.shape[1]
    device = batch.logits.device
    # Not yet in the arithmetic's type: a weight of 1e-45 would lose its digits there.
    dtype = table_dtype(device) if device.type == "cpu" else compute_dtype(batch.logits.dtype)
    rows = []
    weighted = {place: term for term, place in group.places.items() if isinstance(term, int)}
    for term in group.pixel:
        formula: PixelFormula = term.loss.compute
        names = [name for name, parameter in term.loss.parameters.items() if parameter.is_tensor]
        given = {**term.values, **{name: lookup(term.index, name) for name in names}}
        label = next((name for name in ("alpha", "pos_weight") if name in given), "class_weight")
        positive, negative = formula.coefficients(given, sigmoid)
        if not isinstance(positive, Tensor) and not isinstance(negative, Tensor) and positive == negative:
            # One number for all, mostly 1: on a GPU each step less is time that a small loss takes.
            pair = torch.full((2, classes), float(positive), device=device, dtype=dtype)
        else:
            pair = torch.stack([_as_vector(value, classes, device, dtype, label) for value in (positive, negative)])
        weight = given.get("class_weight")
        if weight is not None:
            pair = pair * _as_vector(weight, classes, device, dtype, "class_weight")
        rows.append(pair)
    for place in range(len(rows), len(group.template.pixel)):
        # What reducers look at, and the log-probabilities of users' formulas.
        weight = lookup(weighted[place], "class_weight") if place in weighted else 1.0
        rows.append(_as_vector(weight, classes, device, dtype, "class_weight").expand(2, -1))
    if len(rows) == 1:
        return rows[0][None]
    return torch.stack(rows) if rows else torch.ones(0, 2, classes, device=device, dtype=dtype)


def _bias(group: Group, batch: Batch, lookup: Lookup) -> Tensor | None:
    if group.bias_of is None:
        return None
    value = lookup(group.bias_of, "logit_bias")
    classes = batch.logits.shape[1]
    rows = _as_vector(value, classes, batch.logits.device, compute_dtype(batch.logits.dtype), "logit_bias")
    if rows.ndim == 1:
        return rows[None]
    if rows.shape[0] != classes or batch.task != "multiclass":
        raise ParameterError(
            f"logit_bias of shape ({classes},), or ({classes}, {classes}) with a row for each label in multiclass tasks",
            f"shape {tuple(rows.shape)} in a {batch.task} task",
            "Give one row for each label and one column for each class.",
        )
    return rows


def measure(
    plan: Plan,
    group: Group,
    batch: Batch,
    lookup: Lookup,
    *,
    check: bool,
    backend: str,
    maps: bool = False,
    confusion: bool = False,
) -> Measured:
    """Run one sweep and reduce what it brought to additive sums.

    Args:
        plan: the plan.
        group: the terms that share the sweep.
        batch: the checked input.
        lookup: (term index, parameter name) -> current tensor, so that module buffers can move between devices.
        check: look at the values of the target.
        backend: engine asked for.
        maps: also deliver the pixel terms unreduced.
        confusion: also count the confusion matrix.
    """
    sigmoid = batch.task != "multiclass"
    if group.exact and batch.kind == "soft" and check:
        refuse_fractions(read_whole(batch, View()).target)
    backend = asked_for(backend)
    has_gradient = torch.is_grad_enabled() and batch.logits.requires_grad
    call = Call(
        kind=batch.kind,
        ignore_index=batch.ignore_index,
        confusion=confusion,
        maps=maps,
        check=check,
        upsample=batch.upsample,
        align_corners=batch.align_corners,
        save=has_gradient and keeps_normalizers(backend, batch.logits, batch.upsample),
        backend=backend,
    )
    bias = _bias(group, batch, lookup)
    coefficients = _coefficients(group, batch, lookup, sigmoid)
    operands = tuple(batch.maps[name] for name in group.operands)
    tensors = Sweep(batch.logits, batch.target, batch.pixel_weight, coefficients, bias, operands)
    swept = sweep(tensors, group.template, group.text, call)
    maps_of_pixels = swept.maps
    if group.custom and batch.pixel_weight is not None:
        # The formula needs log p itself, not u log p; pixels of weight 0 stay out because they may hold anything.
        counted = (batch.pixel_weight > 0).to(torch.uint8)
        maps_of_pixels = sweep(replace(tensors, pixel_weight=counted), group.template, group.text, call).maps
    pixel_maps: tuple[Tensor, ...] = swept.maps.unbind(0)[: len(group.pixel)] if maps or group.places else ()
    additive: dict[str, Tensor] = {}
    if group.pixel:
        additive["pixel"] = swept.pixel[: len(group.pixel)]
    if group.custom:
        pixel_maps = tuple(_custom_map(term, group, batch, lookup, -maps_of_pixels[0]) for term in group.custom)
        additive["pixel"] = torch.stack([item.sum(dtype=table_dtype(item.device)) for item in pixel_maps])
    pixel_maps, kept = _keep(group, swept, maps_of_pixels, pixel_maps)
    tables = swept.tables
    additive["tables"] = tables[:, 0] if tables.shape[1] == 1 else tables.sum(1)
    if group.ranking and not group.template.bins_per_image:
        additive["counts"] = swept.counts[0]
        additive["moments"] = swept.moments[0]
    direct: dict[int, Tensor] = {}
    images: list[Tensor] = []
    exact = exact_classes(group, batch, bias) if group.exact else {}
    for term in (*group.region, *group.ranking, *group.exact):
        if term.per_image:
            sums = ClassSums(tables, group.rows)
            losses = exact[term.index] if term.index in exact else _class_losses(term, sums, swept)
            images.append(_image_sums(term, losses, tables.detach(), group, lookup))
        elif term.index in exact:
            direct[term.index] = exact[term.index]
    if images:
        additive["images"] = torch.stack(images)
    sorted_images = {term.index: exact[term.index] for term in group.exact if term.per_image}
    return Measured(additive, direct, sorted_images, swept, pixel_maps, kept)


def _keep(
    group: Group, swept: Swept, of_logs: Tensor, maps: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], dict[int, tuple[Tensor, Tensor]]]:
    """The maps after the reducers, and the sums of what they keep.

    Args:
        group: the terms.
        swept: what the engine delivered.
        of_logs: the maps that hold the log-probabilities, without pixel weights for users' formulas.
        maps: u w ℓ of each pixel term.
    """
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    result = list(maps)
    for position, term in enumerate((*group.pixel, *group.custom) if "counted" in group.places else ()):
        reducer = term.reducer
        if reducer is None:
            continue
        counted = swept.maps[group.places["counted"]].detach()
        # A weight that is NaN marks a bad label, which must reach the loss.
        valid = counted != 0
        logs = of_logs[group.places["log"]].detach() if "log" in group.places else torch.zeros_like(counted)
        if not group.custom:
            logs = torch.where(valid, logs / counted, 0.0)
        share = reducer(maps[position].detach(), -logs, valid)
        weight = swept.maps[group.places[term.index]].detach() if term.index in group.places else counted
        result[position] = select(share, maps[position])
        dtype = table_dtype(share.device)
        of_kept = select(share, weight).sum(dtype=dtype)
        # Below the normal numbers the maps have lost their digits, and cannot hold the gradient, which is the reciprocal.
        lost = (of_kept > 0) & (of_kept < torch.finfo(share.dtype).tiny)
        kept[term.index] = result[position].sum(dtype=dtype), torch.where(lost, float("nan"), of_kept)
    return tuple(result), kept


def _class_losses(term: PlannedTerm, sums: ClassSums, swept: Swept) -> Tensor:
    """The loss of a region or ranking term for each class, (rows, C), or (rows,) of a pooled formula."""
    if term.loss.family == "ranking":
        return histogram_loss(swept.counts, swept.moments)
    formula: RegionFormula = term.loss.compute
    classes = term.setting("classes")
    if formula.pooled and classes is not None:
        sums = sums.map(lambda table: averages.pick_classes(table, classes))
    if not formula.pooled and term.setting("absent") == "skip":
        # The formula sees harmless numbers instead of an absent class's zeros, whose 0/0 would poison the gradient.
        present = sums.T > 0
        sums = sums.map(lambda table: torch.where(present, table, 1.0))
    return formula.function(sums, **own_keywords(term))


def _counted(term: PlannedTerm, fixed: ClassSums) -> Tensor:
    """Which classes enter the mean: those with a pixel in the target, or, penalised, all where anything is valid."""
    if term.setting("absent") == "penalize":
        return (fixed.V > 0).expand_as(fixed.T)
    return fixed.T > 0


def _pool(term: PlannedTerm, losses: Tensor, fixed: ClassSums, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean (or sum) over classes: value and whether anything counted, without the class dimension."""
    if losses.ndim == fixed.V.ndim - 1:
        anything = fixed.T if term.loss.compute.skips_absent else fixed.V
        return losses, (averages.pick_classes(anything, term.setting("classes")) > 0).any(-1)
    classes = term.setting("classes")
    counted = averages.pick_classes(_counted(term, fixed), classes)
    losses = averages.pick_classes(losses, classes)
    if weight is not None:
        weight = averages.pick_classes(weight, classes)
    if term.setting("reduction") == "sum":
        return averages.class_sum(losses, counted, weight), counted.any(-1)
    return averages.class_mean(losses, counted, weight)


def _image_sums(term: PlannedTerm, losses: Tensor, tables: Tensor, group: Group, lookup: Lookup) -> Tensor:
    """(sum of the images' losses, number of images that count): additive over batches and ranks."""
    weight = class_weight_of(term, lookup, tables, tables.shape[-1])
    values, counted = _pool(term, losses, ClassSums(tables, group.rows), weight)
    return torch.stack((torch.where(counted, values, 0.0).sum(), counted.to(values.dtype).sum()))


def per_class(term: PlannedTerm, group: Group, measured: Measured) -> Tensor:
    """Losses for each class without reduction: (C,), or (N, C) with per_image; NaN where a class is skipped.

    Of a pooled formula one loss, or one for each image; NaN where nothing counts.
    """
    direct = measured.sorted_images.get(term.index)
    if term.index in measured.direct:
        direct = measured.direct[term.index][None]
    tables = measured.swept.tables
    sums = ClassSums(tables if term.per_image else tables.sum(1, keepdim=True), group.rows)
    losses = direct if direct is not None else _class_losses(term, sums, measured.swept)
    if losses.ndim == 2:
        losses = torch.where(_counted(term, sums), losses, float("nan"))
        losses = averages.pick_classes(losses, term.setting("classes"))
    else:
        losses = torch.where(_pool(term, losses, sums, None)[1], losses, float("nan"))
    return losses if term.per_image else losses[0]


def mean_denominator(term: PlannedTerm, plan: Plan, fixed: ClassSums, lookup: Lookup) -> Tensor | None:
    """What the sum of a pixel term is divided by; None where its reduction is the sum."""
    if term.setting("reduction") == "sum":
        return None
    weight = class_weight_of(term, lookup, fixed.V, fixed.num_classes)
    return averages.pixel_denominator(fixed.T, fixed.V, weight, plan.task != "multiclass")


def term_values(
    plan: Plan, group: Group, measured: Measured, sums: Mapping[str, Tensor], lookup: Lookup
) -> dict[int, Tensor]:
    """The value of each term of a group, from (joined) sums, without its weight λ."""
    tables = sums["tables"]
    # T and V depend on no logit; divisions by them need no derivative.
    fixed = ClassSums(tables.detach(), group.rows)
    values: dict[int, Tensor] = {}
    for position, term in enumerate((*group.pixel, *group.custom)):
        numerator = sums["pixel"][position]
        denominator = mean_denominator(term, plan, fixed, lookup)
        if term.index in measured.kept:
            numerator, of_kept = measured.kept[term.index]
            denominator = None if denominator is None else of_kept
        values[term.index] = numerator if denominator is None else quotient(numerator, denominator)
    row = 0
    for term in (*group.region, *group.ranking, *group.exact):
        if term.per_image:
            total, count = sums["images"][row].unbind(0)
            row += 1
            values[term.index] = total if term.setting("reduction") == "sum" else quotient(total, count)
            continue
        if term.index in measured.direct:
            losses = measured.direct[term.index]
        elif term.loss.family == "ranking":
            losses = histogram_loss(sums["counts"], sums["moments"])
        else:
            losses = _class_losses(term, ClassSums(tables, group.rows), measured.swept)
        weight = class_weight_of(term, lookup, fixed.V, fixed.num_classes)
        value, counted = _pool(term, losses, fixed, weight)
        values[term.index] = torch.where(counted, value, value * 0)
    # Labels that nobody looked at and that are out of range make V = Σ u NaN, logits that are NaN make P NaN. It must reach
    # the value and the gradient: a class whose T is NaN, or that is absent, would otherwise hide it. Elsewhere the factor is
    # exactly 1.
    sound = 1.0 + 0.0 * fixed.table.sum()
    return {index: value * sound for index, value in values.items()}


def _custom_map(term: PlannedTerm, group: Group, batch: Batch, lookup: Lookup, log_probability: Tensor) -> Tensor:
    """u w f(log p, label) of a user's pixel formula.

    Args:
        log_probability: map of log p of the label, 0 where nothing counts: the sweep that made it carries the mask, the
            logit transform and the gradient back to the logits. Unused for soft targets, where the loss is
            Σ_c t_c f(log p_c, c) and needs the log-probability of each class.
    """
    sigmoid = batch.task != "multiclass"
    classes = batch.logits.shape[1]
    shape = (*batch.logits.shape[: 2 if sigmoid else 1], *batch.size)
    class_weight = class_weight_of(term, lookup, log_probability, classes)
    if batch.kind == "soft":
        return _custom_soft_map(term, group, batch, lookup, class_weight).reshape(shape)
    labels, counted = read_labels(
        batch.target,
        kind=batch.kind,
        sigmoid=sigmoid,
        num_classes=classes,
        ignore_index=batch.ignore_index,
        view=group.template.view,
    )
    values = _apply(term, torch.where(counted, log_probability, 0.0), labels)
    factor = torch.ones((), dtype=values.dtype, device=values.device)
    if batch.pixel_weight is not None:
        weight = batch.pixel_weight[:, None] if sigmoid else batch.pixel_weight
        counted = counted & (weight != 0)
        factor = weight.to(values.dtype)
    if class_weight is not None:
        column = class_weight.view(1, -1, *([1] * (values.ndim - 2))) if sigmoid else class_weight[labels]
        factor = factor * column
    return torch.where(counted, factor * values, 0.0)


def _custom_soft_map(
    term: PlannedTerm, group: Group, batch: Batch, lookup: Lookup, class_weight: Tensor | None
) -> Tensor:
    whole = read_whole(batch, group.template.view)
    logits = torch.where(whole.valid, flat_logits(batch), 0.0)
    scores = transform_logits(logits, whole.target, _bias(group, batch, lookup), group.template)
    labels = torch.arange(logits.shape[1], device=logits.device)[None, :, None].expand(logits.shape)
    column = 1.0 if class_weight is None else class_weight[None, :, None]
    if batch.task == "multiclass":
        values = select(column * whole.target, _apply(term, torch.log_softmax(scores, 1), labels)).sum(1, keepdim=True)
    else:
        positive = _apply(term, F.logsigmoid(scores), torch.ones_like(labels))
        negative = _apply(term, F.logsigmoid(-scores), torch.zeros_like(labels))
        values = column * (select(whole.target, positive) + select(1.0 - whole.target, negative))
    return torch.where(whole.valid, whole.weight * values, 0.0)


def _apply(term: PlannedTerm, log_probability: Tensor, labels: Tensor) -> Tensor:
    values = term.loss.compute(log_probability, labels, **own_keywords(term))
    if not isinstance(values, Tensor) or values.shape != log_probability.shape:
        raise ParameterError(
            f"the formula {term.loss.name!r} to return one value for each pixel, shape {tuple(log_probability.shape)}",
            f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__,
            "Work elementwise on logp and label and do not average: segcrit does.",
        )
    return values
