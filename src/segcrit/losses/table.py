"""The table of losses: one row a loss, filled by the decorated formulas, read by everything else.

Parser, modules, functions, command line, documentation, tests and benchmarks all read this table. A default value is
written once: in the signature of the formula, or in ``COMMON`` for the parameters that a whole family shares.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from segcrit.core.constants import Task
from segcrit.core.constraints import Boolean, ClassList, Constraint, Number, OneOf, PerClass, WholeNumber
from segcrit.core.errors import ParameterError
from segcrit.core.names import near_names, nearest
from segcrit.engines.formulas import PixelFormula, add_formula, pixel_formulas

__all__ = ["COMMON", "Family", "Loss", "Parameter", "list_losses", "lookup", "nearest", "nearest_loss", "register"]

Family = Literal["pixel", "region", "ranking"]
_FAMILIES: Final[tuple[Family, ...]] = ("pixel", "region", "ranking")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a loss.

    Attributes:
        name: keyword in expressions, functions and modules.
        default: value when it is left out.
        constraint: what is allowed; None for parameters of user formulas without an annotation.
        meaning: one sentence for help texts.
    """

    name: str
    default: Any
    constraint: Constraint | None
    meaning: str = ""

    def check(self, value: Any) -> Any:
        """Return the canonical value or raise ParameterError."""
        return value if self.constraint is None else self.constraint.check(self.name, value)

    @property
    def is_tensor(self) -> bool:
        """Whether values are kept as a tensor (a number for each class) that moves with the module."""
        return isinstance(self.constraint, PerClass)


@dataclass(frozen=True)
class Loss:
    """A row of the table of losses.

    Attributes:
        name: name in expressions, ``"dice"``.
        family: ``"pixel"`` (a value at each pixel, averaged), ``"region"`` (a function of sums over pixels for each
            class) or ``"ranking"`` (depends on the order of the errors).
        title: name in prose, ``"Dice loss"``.
        tasks: tasks it is defined for.
        parameters: its own parameters and those of its family, in order.
        formula: the formula as text.
        reference: paper or library that defines it.
        use_when: when to choose it.
        avoid_when: when not to.
        function: name in ``segcrit.functional``, None for a user's formula.
        module: name of the ``nn.Module`` class, None for a user's formula.
        aliases: other names understood in expressions.
        sigmoid_twin: name of the row that stands for this one in sigmoid tasks, if any.
        notes: what else there is to know, for the docstrings.
        compute: the formula itself.
    """

    name: str
    family: Family
    title: str
    tasks: tuple[Task, ...]
    parameters: Mapping[str, Parameter]
    formula: str
    reference: str
    use_when: str
    avoid_when: str
    function: str | None
    module: str | None
    aliases: tuple[str, ...]
    sigmoid_twin: str | None
    notes: str
    compute: Any = field(repr=False)

    @property
    def summary(self) -> str:
        """One line: title and when to use it."""
        return f"{self.title}: {self.use_when}"


_CLASS_WEIGHT = Parameter(
    "class_weight",
    None,
    PerClass(words=("inverse", "median", "effective", "sqrt_inverse", "log")),
    "one weight for each class; pixel losses weigh the label, the others take the weighted mean over classes",
)
_REDUCTION = Parameter("reduction", "mean", OneOf(("mean", "sum")), "mean (by the weight of what counts) or plain sum")
_UNLABELLED = Parameter(
    "unlabelled",
    "ignore",
    OneOf(("ignore", "background")),
    "'background' reads ignored pixels as class 0 instead of leaving them out",
)
_SCALE = Parameter(
    "logit_scale", 1.0, Number(0.0, exclusive=True), "factor on the logits before the softmax or sigmoid"
)
_BIAS = Parameter(
    "logit_bias",
    None,
    PerClass(low=float("-inf"), matrix=True),
    "added to the logits before the softmax or sigmoid: one number for each class, or a row for each label",
)
_ABSENT = Parameter(
    "absent",
    "skip",
    OneOf(("skip", "penalize")),
    "classes without a pixel in the target: left out of the mean, or counted",
)
_PER_IMAGE = Parameter(
    "per_image",
    False,
    Boolean(),
    "sums for each image and a mean over images, instead of sums over the batch",
)
_KEEP = Parameter(
    "keep",
    None,
    Number(0.0, 1.0, optional=True),
    "share of the valid pixels that counts, those with the largest values; at least one pixel",
)
_OHEM = Parameter(
    "ohem",
    None,
    Number(0.0, 1.0, optional=True),
    "only the pixels whose target has a lower probability count (online hard example mining)",
)
_MIN_KEPT = Parameter(
    "min_kept", 100_000, WholeNumber(0, 2**40), "with ohem: so many pixels count at least, the least probable ones"
)
_CLASSES = Parameter("classes", None, ClassList(), "classes that count, for example [1, 2]; None for all")

COMMON: Final[Mapping[Family, tuple[Parameter, ...]]] = MappingProxyType(
    {
        "pixel": (
            Parameter(
                "label_smoothing",
                0.0,
                Number(0.0, 1.0),
                "share of the target that is spread evenly over the classes",
            ),
            _CLASS_WEIGHT,
            _KEEP,
            _OHEM,
            _MIN_KEPT,
            _REDUCTION,
            _UNLABELLED,
            _SCALE,
            _BIAS,
        ),
        "region": (_CLASS_WEIGHT, _PER_IMAGE, _ABSENT, _CLASSES, _REDUCTION, _UNLABELLED, _SCALE, _BIAS),
        "ranking": (_CLASS_WEIGHT, _PER_IMAGE, _ABSENT, _CLASSES, _REDUCTION, _UNLABELLED, _SCALE, _BIAS),
    }
)

_TABLE: dict[str, Loss] = {}
_NAMES: dict[str, str] = {}


def own_parameters(formula: Callable[..., Any]) -> dict[str, Parameter]:
    """Read the keyword-only parameters of a formula: default from the signature, constraint from the annotation."""
    hints = typing.get_type_hints(formula, include_extras=True)
    parameters: dict[str, Parameter] = {}
    for name, parameter in inspect.signature(formula).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise ParameterError(
                f"a default for each parameter of the formula {formula.__name__!r}",
                f"the parameter {name!r} without one",
                f"Write it as '{name}=VALUE' in the signature.",
            )
        constraint, meaning = _read_annotation(hints.get(name), parameter.default)
        default = parameter.default
        parameters[name] = Parameter(name, default, constraint, meaning)
    return parameters


def _read_annotation(hint: Any, default: Any) -> tuple[Constraint | None, str]:
    # Python 3.10 wraps the hint of a parameter whose default is None in Optional, and would hide what it carries.
    for choice in typing.get_args(hint) if typing.get_origin(hint) is typing.Union else ():
        if hasattr(choice, "__metadata__"):
            hint = choice
    constraint: Constraint | None = None
    meaning = ""
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Constraint):
            constraint = extra
        elif isinstance(extra, str):
            meaning = extra
    if constraint is None and isinstance(default, bool):
        constraint = Boolean()
    elif constraint is None and isinstance(default, (int, float)):
        constraint = Number()
    return constraint, meaning


def register(
    compute: Any,
    formula_function: Callable[..., Any],
    *,
    name: str,
    family: Family,
    title: str,
    tasks: tuple[Task, ...],
    formula: str,
    reference: str,
    use_when: str,
    avoid_when: str,
    function: str | None = None,
    module: str | None = None,
    aliases: tuple[str, ...] = (),
    sigmoid_twin: str | None = None,
    notes: str = "",
    defaults: Mapping[str, Any] = MappingProxyType({}),
    without: tuple[str, ...] = (),
) -> Loss:
    """Add a row to the table; ``defaults`` and ``without`` adapt the parameters shared by the family."""
    parameters = own_parameters(formula_function)
    for shared in COMMON[family]:
        if shared.name in without or shared.name in parameters:
            continue
        default = defaults.get(shared.name, shared.default)
        parameters[shared.name] = Parameter(shared.name, default, shared.constraint, shared.meaning)
    row = Loss(
        name=name,
        family=family,
        title=title,
        tasks=tasks,
        parameters=MappingProxyType(parameters),
        formula=formula,
        reference=reference,
        use_when=use_when,
        avoid_when=avoid_when,
        function=function,
        module=module,
        aliases=aliases,
        sigmoid_twin=sigmoid_twin,
        notes=notes,
        compute=compute,
    )
    for word in (name, *aliases):
        owner = _NAMES.get(word)
        if owner is not None and (owner != name or _TABLE[owner].module is not None):
            raise ParameterError(
                "a name that is not taken by another loss",
                f"{word!r}, which is {_TABLE[owner].title}",
                "Choose another name for the formula.",
            )
    _check_key(name, compute)
    for word in (name, *aliases):
        _NAMES[word] = name
    if isinstance(compute, PixelFormula):
        add_formula(compute)
    _TABLE[name] = row
    return row


def _check_key(name: str, compute: Any) -> None:
    if not isinstance(compute, PixelFormula):
        return
    known = pixel_formulas().get(compute.key)
    # A loss that is defined again may change the formula of its own key.
    is_own = name in _TABLE and getattr(_TABLE[name].compute, "key", None) == compute.key
    shared = any(row.name != name and getattr(row.compute, "key", None) == compute.key for row in _TABLE.values())
    if known is not None and not compute.is_same_pair(known) and (shared or not is_own):
        raise ParameterError(
            "a capability key of its own for each formula",
            f"the key {compute.key!r}, which another formula has",
            "Give the formula another key: engines compute what they know under it.",
        )


def list_losses() -> list[Loss]:
    """The table of losses: name, family, parameters, defaults, formula, reference, when to use each and when not.

    Returns:
        One ``Loss`` a row, built-in losses first, then those made with ``region_loss`` and ``pixel_loss``.

    Example:
        >>> import segcrit
        >>> [loss.name for loss in segcrit.list_losses()][:3]
        ['ce', 'bce', 'focal']
        >>> segcrit.list_losses()[2].parameters["gamma"].default
        2.0
    """
    return sorted(_TABLE.values(), key=lambda loss: (loss.module is None, _FAMILIES.index(loss.family)))


def nearest_loss(word: str) -> str:
    """The hint for an unknown loss: the name that lists of losses show, also where an alias is what was nearly written.

    Example:
        >>> nearest_loss("dcie"), nearest_loss("crossentropy")
        ("Did you mean 'dice'?", "Did you mean 'ce'?")
    """
    close = near_names(word, _NAMES)
    return f"Did you mean {_NAMES[close[0]]!r}?" if close else ""


def lookup(name: str) -> Loss | None:
    """The row of a name or alias, or None."""
    owner = _NAMES.get(name)
    return None if owner is None else _TABLE[owner]
