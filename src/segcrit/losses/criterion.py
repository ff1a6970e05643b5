"""``Criterion``: a loss expression as an ``nn.Module``."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task
from segcrit.core.constraints import describe_value, one_of
from segcrit.core.distributed import check_process_group, resolve_group, world_size
from segcrit.core.dtypes import compute_dtype
from segcrit.core.errors import ExpressionError, ParameterError, SegcritError
from segcrit.core.notice import warn
from segcrit.core.tensors import as_plain
from segcrit.engines import check_name
from segcrit.losses import gate
from segcrit.losses.averages import number_or_nan
from segcrit.losses.buffers import ClassBuffers
from segcrit.losses.derived import Derived
from segcrit.losses.expression.syntax import parse
from segcrit.losses.formulas.quotient import quotient
from segcrit.losses.formulas.region import ClassSums
from segcrit.losses.gate import Batch
from segcrit.losses.keywords import checked_keywords
from segcrit.losses.levels import check_level_weights, default_level_weights, split_levels
from segcrit.losses.plan import Group, Plan, confusion_group, make_plan
from segcrit.losses.sums import Sums, joined, reduced_over_ranks
from segcrit.losses.terms import Measured, mean_denominator, measure, term_values

__all__ = ["Criterion"]

# On a GPU looking at labels costs a synchronisation; mistakes in labels show in the first batches.
_LOOKED_CALLS = 3


@dataclass(frozen=True)
class _Level:
    """One output of a network under deep supervision."""

    weight: float
    batch: Batch
    measured: tuple[Measured, ...]
    sums: tuple[dict[str, Tensor], ...]


class Criterion(ClassBuffers):
    """A weighted sum of losses, written as text, computed in as few passes over the pixels as possible.

    Args:
        expression: terms joined by ``+``, each with an optional weight and parameters: ``"ce + 0.5*dice(smooth=1)"``.
            ``segcrit.list_losses()`` shows the names; a wrong text raises ExpressionError with a caret under the mistake.
        task: ``"multiclass"`` (softmax over C ≥ 2 classes), ``"multilabel"`` (a sigmoid for each channel) or ``"binary"``
            (one channel, a sigmoid, labels 0 and 1).
        num_classes: checked against the logits where given.
        ignore_index: label that does not count. Default −100, as in ``nn.CrossEntropyLoss``. It may be a class: pixels whose
            one-hot or soft target is that class do not count either, and a soft target that mixes it with others is refused.
        class_weight: for every term without its own: one weight ≥ 0 for each class. Pixel losses weigh the label and divide
            by the weights of what counts; region and ranking losses take Σ w l / Σ w over classes.
        pos_weight: for every ``bce`` term without its own: weight of positives, a number or one for each channel.
        upsample: ``"linear"`` interpolates the logits (bi- or trilinearly) to the size of the target, pixels by pixels:
            logits of full resolution never exist. Labels never change.
        align_corners: as in ``torch.nn.functional.interpolate``.
        process_group: None, ``"world"`` or a process group: every rank returns the loss of the joined batch, and the
            gradients that DDP averages are exactly its gradients. Ranks may hold different numbers of valid pixels, or none.
            Collectives run only where gradients are enabled.
        statistics: also count the confusion matrix of each call (``last_confusion``), in the same pass.
        validate: ``"auto"`` looks at the values of labels and weights at every call on the CPU and at the first calls on
            a GPU; ``"always"``; ``"never"``. Unlooked, a label out of range makes the loss NaN.
        backend: ``"auto"`` or the name of an engine of ``segcrit.backends()``.
        level_weights: weights of the outputs when a list of logits comes (deep supervision); default nnU-Net's: halved from
            level to level, the last 0, normalised to sum 1.

    Attributes:
        last_terms: value of each term of the last call, weighted, detached; ``#2`` marks a repeated term.
        last_confusion: with ``statistics=True`` the (C, C) int64 counts of the last call, rows truth, columns prediction
            ((2, 2) in binary, (C, 2, 2) in multilabel tasks).

    Shapes:
        logits (N, C, *S) with 0 to 3 spatial dimensions, float16, bfloat16, float32 or float64, always before softmax or
        sigmoid; or the K outputs of deep supervision, from fine to coarse: a list, or stacked as (N, K, C, *S). Shapes that
        also fit as one output are read as one. Subclasses of Tensor are taken as the tensors that they are. Target: labels
        (N, *S) or (N, 1, *S) of any integer dtype, bool or integral floats; or (N, C, *S): integers and bool are one-hot,
        floats are soft; or a list with a target for each output. pixel_weight (N, *S), finite, ≥ 0.

    Returns:
        A 0-d tensor, float32, or float64 for float64 logits. Where no pixel is valid it is 0 with a zero gradient.

    Raises:
        ExpressionError, ParameterError: at construction.
        ShapeError, DtypeError, DeviceError, LabelError: at the call.

    Example:
        >>> import torch, segcrit
        >>> criterion = segcrit.Criterion("ce + 0.5*dice", ignore_index=255)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> target = torch.zeros(2, 4, 4, dtype=torch.uint8)
        >>> loss = criterion(logits, target)
        >>> loss.backward()
        >>> {name: round(float(value), 4) for name, value in criterion.last_terms.items()}
        {'ce': 1.0986, '0.5*dice': 0.25}
    """

    @checked_keywords
    def __init__(
        self,
        expression: str,
        *,
        task: Task = "multiclass",
        num_classes: int | None = None,
        ignore_index: int = DEFAULT_IGNORE_INDEX,
        class_weight: Tensor | Sequence[float] | None = None,
        pos_weight: Tensor | Sequence[float] | float | None = None,
        upsample: str | None = None,
        align_corners: bool = False,
        process_group: Any = None,
        statistics: bool = False,
        validate: str = "auto",
        backend: str = "auto",
        level_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.task: Task = gate.check_task(task)
        self.num_classes = _check_num_classes(num_classes)
        self.ignore_index = gate.check_ignore_index(ignore_index)
        self.upsample = gate.check_upsample(upsample)
        self.align_corners = bool(align_corners)
        self.process_group = check_process_group(process_group)
        self.statistics = bool(statistics)
        self.validate = one_of("validate", validate, ("auto", "always", "never"))
        self.backend = check_name(backend)
        self.level_weights = check_level_weights(level_weights)
        self._shared = {"class_weight": class_weight, "pos_weight": pos_weight}
        self._plan = make_plan(parse(expression), self.task, self._shared)
        weights = [f"{name}={value}" for name, value in _given(self._plan, self._shared).items()]
        self._signature = "|".join([str(self._plan.expression), self.task, str(self.ignore_index), *weights])
        self._calls = 0
        self._derived = Derived()
        self._register_tensors()
        _warn_about(self._plan)
        self.last_terms: dict[str, Tensor] = {}
        self.last_confusion: Tensor | None = None

    def _register_tensors(self) -> None:
        """Per-class parameters become non-persistent buffers: they move with the module and stay out of checkpoints."""
        for term in self._plan.terms:
            for name, value in term.values.items():
                if isinstance(value, Tensor):
                    self.keep(_buffer(term.index, name), value)

    def _lookup(self, index: int, name: str) -> Any:
        value = self._plan.terms[index].values.get(name)
        return self.kept(_buffer(index, name)) if isinstance(value, Tensor) else value

    @property
    def expression(self) -> str:
        """The expression, printed back."""
        return str(self._plan.expression)

    def forward(
        self,
        logits: Tensor | Sequence[Tensor],
        target: Tensor | Sequence[Tensor],
        pixel_weight: Tensor | Sequence[Tensor] | None = None,
        *,
        sums: Sums | None = None,
        maps: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]] | None = None,
    ) -> Tensor:
        """The loss.

        Args:
            logits: (N, C, *S), or several of them for deep supervision.
            target: labels or one-hot or soft target, see the class; or a list with one for each output.
            pixel_weight: (N, *S) or None; or a list.
            sums: sums over all micro-batches or tiles (made by ``sums``, added up). The value is then the loss of all of
                them together, and the gradient is this part's share of it: added over the parts it is exact.
            maps: the maps that ``needs`` names, made by ``segcrit.derive``; or a list with those of each output's target.
                Default: derived here, once for the same labels.
        """
        given = logits, target, pixel_weight, maps
        group = resolve_group(self.process_group)
        failure: SegcritError | None = None
        try:
            levels = self._measure_levels(*given, statistics=self.statistics)
        except SegcritError as error:
            if group is None:
                raise
            failure = error
            levels = self._unlooked(given, error)
        if group is not None or sums is not None:
            levels = self._join(levels, sums, group, failure)
        terms = self._values(levels)
        weighted = [_scaled(term.weight, terms[term.index]) for term in self._plan.terms]
        total = torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]
        self.last_terms = {term.text: value.detach() for term, value in zip(self._plan.terms, weighted, strict=True)}
        first = levels[0]
        if self.statistics:
            self.last_confusion = first.measured[-1 if self._needs_confusion_group() else self._plain()].confusion
        # A copy: a division of the loss in place does not reach last_terms.
        result = number_or_nan(total.to(compute_dtype(first.batch.logits.dtype), copy=True))
        if isinstance(logits, (list, tuple)):
            # Levels of weight 0 stay in the graph with a zero gradient, so that DDP finds every parameter used.
            for level in logits:
                result = result + as_plain("logits", level).reshape(-1)[:0].sum().to(result.dtype)
        return result

    def _unlooked(self, given: tuple[Any, ...], error: SegcritError) -> list[_Level]:
        """The sums of a batch with a label or weight that is not allowed: this rank joins the others, and then all raise."""
        try:
            return self._measure_levels(*given, statistics=self.statistics, looks=False)
        except SegcritError:
            advice = f"{error.advice} The other ranks of the process group wait for this one until their time limit."
            told = type(error)(error.expected, error.got, advice, code=error.code)
            raise told from None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the maps beside the target that the terms need: ``("distance",)`` for ``boundary``."""
        return self._plan.needs

    def sums(
        self,
        logits: Tensor | Sequence[Tensor],
        target: Tensor | Sequence[Tensor],
        pixel_weight: Tensor | Sequence[Tensor] | None = None,
        *,
        maps: Mapping[str, Tensor] | None = None,
    ) -> Sums:
        """The sums of a batch alone: add those of several with ``+`` and give the total to ``criterion(..., sums=total)``.

        Returns:
            Sums without gradient. Batches may be micro-batches, or tiles of one image (for terms without per_image).

        Raises:
            ParameterError: a term ranks the pixels of the batch (``exact=True``, ``keep=``, ``ohem=``) and has no sums.
        """
        with torch.no_grad():
            levels = self._measure_levels(logits, target, pixel_weight, maps, statistics=False)
        self._require_additive(levels)
        return Sums(self._signature, _flatten(levels))

    def pixel_map(
        self,
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        maps: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """What each pixel adds to the pixel terms of the loss.

        Returns:
            (N, *S), float32 or float64, without gradient: u w ℓ divided by the denominator of the mean, summed over terms
            (and channels in sigmoid tasks); it sums to the pixel part of the loss. Region and ranking terms have no share
            of a pixel and add nothing. 0 where ignored.

        Raises:
            ParameterError: no term is a pixel loss.

        Example:
            >>> import torch, segcrit
            >>> criterion = segcrit.Criterion("ce")
            >>> logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
            >>> torch.allclose(criterion.pixel_map(logits, target).sum(), criterion(logits, target))
            True
        """
        if not any(term.loss.family == "pixel" for term in self._plan.terms):
            raise ParameterError(
                "a pixel loss among the terms, such as ce",
                f"{self.expression!r}, whose terms are functions of sums over pixels: a pixel has no share of them",
                "Add a pixel loss; segcrit explain shows the gradient of region and ranking losses at each pixel.",
            )
        with torch.no_grad():
            batch = self._batch(logits, target, pixel_weight, maps)
            shape = (batch.logits.shape[0], *batch.size)
            result = batch.logits.new_zeros(shape, dtype=compute_dtype(batch.logits.dtype))
            for group in self._plan.groups:
                members = (*group.pixel, *group.custom)
                if not members:
                    continue
                measured = self._measure(group, batch, maps=True)
                sums = ClassSums(measured.additive["tables"], group.rows)
                for term, part in zip(members, measured.maps, strict=True):
                    values = part if self.task == "multiclass" else part.sum(1)
                    denominator = mean_denominator(term, self._plan, sums, self._lookup)
                    if denominator is not None and term.index in measured.kept:
                        denominator = measured.kept[term.index][1]
                    result += term.weight * (values if denominator is None else quotient(values, denominator))
            return result

    def _batch(
        self,
        logits: Any,
        target: Any,
        pixel_weight: Any,
        maps: Any,
        *,
        is_level: bool = False,
    ) -> Batch:
        batch = gate.as_batch(
            logits,
            target,
            pixel_weight,
            task=self.task,
            num_classes=self.num_classes,
            ignore_index=self.ignore_index,
            upsample=self.upsample is not None or is_level,
            align_corners=self.align_corners,
        )
        if not torch.compiler.is_compiling():
            self._calls += 1
            looks = self.validate != "never" and self._looks(batch.logits.device)
            if looks and self.task == "multiclass" and self._calls == 1:
                gate.warn_if_probabilities(batch.logits)
        return self._derived.add_to(batch, self.needs, target, maps) if self.needs else batch

    def _checks(self, device: torch.device) -> bool:
        """Whether the values of this call's labels and weights are looked at."""
        return self.validate == "always" or (self.validate == "auto" and self._looks(device))

    def _measure(
        self, group: Group, batch: Batch, *, maps: bool = False, confusion: bool = False, looks: bool = True
    ) -> Measured:
        return measure(
            self._plan,
            group,
            batch,
            self._lookup,
            check=looks and self._checks(batch.logits.device),
            backend=self.backend,
            maps=maps,
            confusion=confusion,
        )

    def _looks(self, device: torch.device) -> bool:
        """Whether ``validate="auto"`` looks at values: always on the CPU, at the first eager calls elsewhere."""
        if device.type == "cpu":
            return True
        if torch.compiler.is_compiling() or self._calls > _LOOKED_CALLS:
            return False
        # While a graph is captured there are no values.
        capturing = torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]
        return not capturing

    def _plain(self) -> int:
        """Position of the group that looks at the plain logits, or the number of groups."""
        for position, group in enumerate(self._plan.groups):
            if group.plain:
                return position
        return len(self._plan.groups)

    def _needs_confusion_group(self) -> bool:
        return self.statistics and self._plain() == len(self._plan.groups)

    def _measure_levels(
        self, logits: Any, target: Any, pixel_weight: Any, maps: Any, *, statistics: bool, looks: bool = True
    ) -> list[_Level]:
        split = split_levels(
            logits, target, pixel_weight, self.task, self.num_classes, upsample=self.upsample is not None
        )
        if split is None:
            return [self._measure_level(1.0, self._batch(logits, target, pixel_weight, maps), statistics, looks)]
        weights = self.level_weights or default_level_weights(len(split))
        if len(weights) != len(split):
            raise ParameterError(
                f"one weight for each of the {len(split)} outputs",
                f"level_weights with {len(weights)} numbers",
                "Give as many level_weights as the network has outputs, or leave them out.",
            )
        levels = []
        for position, (level, weight) in enumerate(zip(split, weights, strict=True)):
            if weight == 0.0 and position > 0:
                continue
            of_level = maps[position] if isinstance(maps, (list, tuple)) else maps
            batch = self._batch(*level, of_level, is_level=True)
            levels.append(self._measure_level(weight, batch, statistics and position == 0, looks))
        return levels

    def _measure_level(self, weight: float, batch: Batch, statistics: bool, looks: bool) -> _Level:
        plain = self._plain() if statistics else -1
        measured = [
            self._measure(group, batch, confusion=position == plain, looks=looks)
            for position, group in enumerate(self._plan.groups)
        ]
        if statistics and plain == len(self._plan.groups):
            measured.append(self._measure(confusion_group(self.task), batch, looks=looks))
        sums = tuple(dict(item.additive) for item in measured[: len(self._plan.groups)])
        return _Level(weight, batch, tuple(measured), sums)

    def _require_additive(self, levels: list[_Level]) -> None:
        if any(measured.direct for level in levels for measured in level.measured):
            raise ParameterError(
                "terms whose sums add up over batches and ranks",
                "exact=True, which sorts the pixels of one batch",
                "Leave exact out: histograms of errors add up exactly; or use per_image=True.",
            )
        ranking = [term.text for term in self._plan.terms if term.reducer is not None]
        if ranking:
            raise ParameterError(
                "terms whose sums add up over batches and ranks",
                f"{', '.join(ranking)}, which choose among the pixels of one batch",
                "Leave process_group out: each rank then chooses among its own pixels, and DDP averages the gradients.",
            )

    def _join(self, levels: list[_Level], sums: Sums | None, group: Any, failure: SegcritError | None) -> list[_Level]:
        self._require_additive(levels)
        flat = _flatten(levels)
        scale = 1.0
        total: Mapping[str, Tensor] = flat
        if sums is not None:
            if not isinstance(sums, Sums) or sums.signature != self._signature:
                got = repr(sums.signature) if isinstance(sums, Sums) else describe_value(sums)
                raise ParameterError(
                    f"sums made by a criterion {self._signature!r}",
                    got,
                    "Make them with criterion.sums(logits, target) of this criterion and add them up.",
                )
            total = sums.tensors
        if group is not None:
            looks = self._checks(levels[0].batch.logits.device) and not torch.compiler.is_compiling()
            total = reduced_over_ranks(total, group, failure, looks)
            scale = float(world_size(group))
        names = {name: value.shape for name, value in flat.items()}
        if {name: value.shape for name, value in total.items()} != names:
            raise ParameterError(
                "sums of as many outputs and classes as this call has",
                f"sums {sorted(total)}",
                "Make the sums from the same network's outputs.",
            )
        merged = joined(flat, total, scale)
        return [
            _Level(
                level.weight,
                level.batch,
                level.measured,
                tuple(
                    {name: merged[f"{position}.{index}.{name}"] for name in part}
                    for index, part in enumerate(level.sums)
                ),
            )
            for position, level in enumerate(levels)
        ]

    def _values(self, levels: list[_Level]) -> dict[int, Tensor]:
        values: dict[int, Tensor] = {}
        for level in levels:
            for index, group in enumerate(self._plan.groups):
                found = term_values(self._plan, group, level.measured[index], level.sums[index], self._lookup)
                for term, value in found.items():
                    part = _scaled(level.weight, value)
                    values[term] = values[term] + part if term in values else part
        return values

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        parts = [repr(self.expression)]
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={value!r}")
        for name, value in self._shared.items():
            if value is not None:
                shown = value.tolist() if isinstance(value, Tensor) else value
                parts.append(f"{name}={shown!r}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"Criterion({self.extra_repr()})"

    def __getstate__(self) -> dict[str, Any]:
        if self.process_group not in (None, "world"):
            raise ParameterError(
                'process_group None or "world" in a criterion that is pickled or copied',
                "a process group object, which belongs to this process",
                "Build the criterion in each process, or set criterion.process_group = None before.",
            )
        state = self.__dict__.copy()
        state["_plan"] = None
        state["_expression"] = self.expression
        state["last_terms"] = {}
        state["last_confusion"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        expression = state.pop("_expression")
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        try:
            self._plan = make_plan(parse(expression), self.task, self._shared)
        except ExpressionError as error:
            raise ParameterError(
                "losses that are defined in this process",
                f"a pickled criterion {expression!r}, whose losses are not all known here",
                "Import the module that defines them with region_loss or pixel_loss before unpickling.",
            ) from error


_DEFAULTS: Mapping[str, Any] = {
    "task": "multiclass",
    "num_classes": None,
    "ignore_index": DEFAULT_IGNORE_INDEX,
    "upsample": None,
    "align_corners": False,
    "process_group": None,
    "statistics": False,
    "validate": "auto",
    "backend": "auto",
    "level_weights": None,
}


def _given(plan: Plan, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Weights that were given beside the expression, where a term uses them: the sums depend on them."""
    found = {}
    for name, value in shared.items():
        for term in plan.terms:
            if value is not None and name not in plan.expression.terms[term.index].parameters and name in term.values:
                used = term.values[name]
                found[name] = used.tolist() if isinstance(used, Tensor) else used
    return found


def _scaled(weight: float, value: Tensor) -> Tensor:
    # A multiplication by 1 would cost what a small batch's kernel costs, forward and backward.
    return value if weight == 1.0 else weight * value


def _buffer(index: int, name: str) -> str:
    return f"_term{index}_{name}"


def _flatten(levels: list[_Level]) -> dict[str, Tensor]:
    return {
        f"{position}.{index}.{name}": value
        for position, level in enumerate(levels)
        for index, part in enumerate(level.sums)
        for name, value in part.items()
    }


def _check_num_classes(num_classes: Any) -> int | None:
    if num_classes is None:
        return None
    if isinstance(num_classes, bool) or not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise ParameterError(
            "num_classes to be a positive integer or None",
            f"num_classes={describe_value(num_classes)}",
            "Leave it out to accept whatever the logits have.",
        )
    return int(num_classes)


def _warn_about(plan: Plan) -> None:
    """Warn of choices that are legal and probably not meant."""
    names = [term.loss.name for term in plan.terms]
    for term in plan.terms:
        if term.loss.name == "focal" and plan.task == "multiclass" and isinstance(term.values["alpha"], float):
            warn(
                "focal with one number as alpha in a multiclass task only scales the loss. "
                "Give one number for each class, or leave alpha out."
            )
        if term.values.get("foreground_only") and len(names) == 1:
            warn(
                "partial_ce(foreground_only=True) alone is minimised by predicting foreground everywhere. "
                "Add a term that sees background, or leave foreground_only out."
            )
