"""Who takes part: for each kind of loss torch eager and compiled, the peers, and segcrit's engines."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from segcrit.apps.bench import counting, eager
from segcrit.apps.bench.eager import Loss
from segcrit.apps.bench.problems import Problem, Tensors, interpolate
from segcrit.core.constants import VERSION, Task
from segcrit.core.errors import ParameterError
from segcrit.core.machine import versions
from segcrit.losses.criterion import Criterion
from segcrit.losses.expression.syntax import parse

__all__ = [
    "COMPILED",
    "EAGER",
    "EVALUATION",
    "OURS",
    "REFERENCE",
    "Contender",
    "Work",
    "contender_versions",
    "contenders",
    "find",
    "kinds",
    "why_no_compiler",
]

EAGER: Final = "torch"
COMPILED: Final = "torch.compile"
OURS: Final = "segcrit"
REFERENCE: Final = "segcrit reference"
EVALUATION: Final = ("evaluate logits", "evaluate labels")
_PACKAGES: Final = ("torch", "numpy", "monai", "kornia", "torchmetrics", "segmentation-models-pytorch")


@dataclass(frozen=True)
class Work:
    """What is measured: ``step`` is timed, ``value`` turns its result into a number afterwards."""

    step: Callable[[Tensors], object]
    value: Callable[[Any], float]


@dataclass(frozen=True)
class Contender:
    """One way to compute something.

    Attributes:
        kind: what is computed: a loss expression, or ``"evaluate logits"`` or ``"evaluate labels"``.
        library: who computes it.
        name: what it is called there.
        build: makes the work; raises ModuleNotFoundError where the library is not installed.
        note: how its value differs by definition; empty where it is the same quantity.
    """

    kind: str
    library: str
    name: str
    build: Callable[[Problem], Work]
    note: str = ""

    @property
    def is_compiled(self) -> bool:
        return self.library == COMPILED

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others of its task."""
        return self.kind, self.library, self.name


@dataclass(frozen=True)
class _Baseline:
    """A loss of someone else."""

    library: str
    name: str
    make: Callable[[], Loss]
    note: str = ""
    compiles: bool = False  # whether it is also measured through torch.compile


def _torch(name: str, loss: Loss, *, compiles: bool = True) -> _Baseline:
    return _Baseline(EAGER, name, lambda: loss, compiles=compiles)


def _peer(
    module: str, name: str, note: str = "", *, form: Callable[[Tensor], Tensor] | None = None, **options: Any
) -> _Baseline:
    """A loss class of another library; ``form`` gives the target the dimensions that it wants."""

    def make() -> Loss:
        found: Loss = getattr(importlib.import_module(module), name)(**options)
        return found if form is None else (lambda logits, target: found(logits, form(target)))

    return _Baseline({"monai.losses": "monai", "kornia.losses": "kornia"}.get(module, "smp"), name, make, note)


def _monai(name: str, note: str = "", **options: Any) -> _Baseline:
    return _peer("monai.losses", name, note, form=lambda labels: labels[:, None], to_onehot_y=True, **options)


def _monai_sigmoid(name: str, **options: Any) -> _Baseline:
    return _peer("monai.losses", name, **options)


def _kornia(name: str, note: str = "", **options: Any) -> _Baseline:
    return _peer("kornia.losses", name, note, **options)


def _smp(name: str, note: str = "", **options: Any) -> _Baseline:
    return _peer("segmentation_models_pytorch.losses", name, note, **options)


_PER_IMAGE = "averages over images"
_DIVIDES = "divides by the number of classes too"
_KORNIA_LOVASZ = "averages over images and absent classes"
_KORNIA_HINGE = "averages over images"
_SMP_MEAN = "absent classes count 0 in the mean"

_MULTICLASS: Final[dict[str, tuple[_Baseline, ...]]] = {
    "ce": (_torch("F.cross_entropy", F.cross_entropy),),
    "dice": (
        _torch("softmax, one-hot, sums", eager.dice),
        _monai("DiceLoss", softmax=True, batch=True),
        _kornia("DiceLoss", _PER_IMAGE, average="macro"),
        _smp("DiceLoss", _SMP_MEAN, mode="multiclass"),
    ),
    "ce + dice": (
        _torch("F.cross_entropy + Dice", eager.total(F.cross_entropy, eager.dice)),
        _monai("DiceCELoss", softmax=True, batch=True),
    ),
    "focal": (
        _torch("log-softmax, gather, power", eager.focal),
        _monai("FocalLoss", _DIVIDES, use_softmax=True),
        _kornia("FocalLoss", _DIVIDES, alpha=None, reduction="mean"),
        _smp("FocalLoss", "a sigmoid for each class", mode="multiclass"),
    ),
    "jaccard": (
        _torch("softmax, one-hot, sums", eager.jaccard),
        _monai("DiceLoss", softmax=True, batch=True, jaccard=True),
        _smp("JaccardLoss", _SMP_MEAN, mode="multiclass"),
    ),
    "tversky(alpha=0.3, beta=0.7)": (
        _torch("softmax, one-hot, sums", eager.tversky),
        _monai("TverskyLoss", softmax=True, batch=True, alpha=0.3, beta=0.7),
        _smp("TverskyLoss", _SMP_MEAN, mode="multiclass", alpha=0.3, beta=0.7),
    ),
    "lovasz": (
        _torch("LovaszSoftmax as published", eager.lovasz_as_published, compiles=False),
        _torch("all classes in one sort", eager.lovasz_in_one_sort),
        _kornia("LovaszSoftmaxLoss", _KORNIA_LOVASZ),
        _smp("LovaszLoss", mode="multiclass", per_image=False),
    ),
    "ce + lovasz": (
        _torch(
            "F.cross_entropy + LovaszSoftmax as published",
            eager.total(F.cross_entropy, eager.lovasz_as_published),
            compiles=False,
        ),
    ),
}

_SIGMOID: Final[dict[str, tuple[_Baseline, ...]]] = {
    "bce": (_torch("F.binary_cross_entropy_with_logits", eager.binary_cross_entropy()),),
    "bce(pos_weight=3)": (_torch("F.binary_cross_entropy_with_logits(pos_weight)", eager.binary_cross_entropy(3.0)),),
    "dice": (
        _torch("sigmoid, sums", eager.binary_dice),
        _monai_sigmoid("DiceLoss", sigmoid=True, batch=True),
    ),
    "bce + dice": (
        _torch(
            "F.binary_cross_entropy_with_logits + Dice", eager.total(eager.binary_cross_entropy(), eager.binary_dice)
        ),
        _monai_sigmoid("DiceCELoss", sigmoid=True, batch=True),
    ),
    "lovasz": (
        _torch("Lovász hinge as published", eager.lovasz_hinge_as_published, compiles=False),
        _kornia("LovaszHingeLoss", _KORNIA_HINGE, form=lambda mask: mask[:, 0]),
        _smp("LovaszLoss", mode="binary", per_image=False),
    ),
}

# Losses of peers that take one channel only, or become a softmax loss with several.
_ONE_CHANNEL: Final = {("kornia", "LovaszHingeLoss"), ("smp", "LovaszLoss"), ("monai", "DiceCELoss")}


def kinds(task: Task) -> tuple[str, ...]:
    """What is measured for a task where nothing else is asked for."""
    losses = _MULTICLASS if task == "multiclass" else _SIGMOID
    return (*losses, *(EVALUATION if task in counting.TASKS else ()))


def contenders(kind: str, task: Task) -> tuple[Contender, ...]:
    """Everyone who computes a kind: the baselines, where the kind has any, then segcrit.

    Args:
        kind: a loss expression, or a word of ``EVALUATION``.
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.

    Raises:
        ExpressionError, ParameterError: the expression cannot be read or is not for the task.

    Example:
        >>> [row.library for row in contenders("ce", "multiclass")]
        ['torch', 'torch.compile', 'segcrit reference', 'segcrit']
    """
    if kind in EVALUATION:
        if task not in counting.TASKS:
            raise ParameterError(f"a task of {', '.join(counting.TASKS)} for {kind!r}", repr(task), "Leave it out.")
        return tuple(
            Contender(kind, library, name, _counted(build), note)
            for library, name, build, note in counting.counters(kind == EVALUATION[0], task)
        )
    kind = str(parse(kind))
    Criterion(kind, task=task)  # says now what is wrong with it
    table = _MULTICLASS if task == "multiclass" else _SIGMOID
    rows: list[Contender] = []
    for baseline in table.get(kind, ()):
        if task == "multilabel" and (baseline.library, baseline.name) in _ONE_CHANNEL:
            continue
        eager_row = Contender(kind, baseline.library, baseline.name, _built(baseline.make), baseline.note)
        rows.append(eager_row)
        if baseline.compiles:
            rows.append(replace(eager_row, library=COMPILED, build=_built(baseline.make, compiled=True)))
    rows.append(Contender(kind, REFERENCE, kind, _segcrit(kind, "reference")))
    rows.append(Contender(kind, OURS, kind, _segcrit(kind, "auto")))
    return tuple(rows)


def find(task: Task, key: tuple[str, str, str]) -> Contender:
    """The contender of that key."""
    for contender in contenders(key[0], task):
        if contender.key == key:
            return contender
    raise ParameterError("a contender of the benchmark", repr(key), "Measure again with this version of segcrit.")


def _built(make: Callable[[], Loss], *, compiled: bool = False) -> Callable[[Problem], Work]:
    def build(problem: Problem) -> Work:
        loss = make()
        if problem.upsample != 1:
            loss = _interpolated(loss, problem)
        if compiled:
            # Shapes are fixed while a network trains; without this, the second shape would be compiled for any shape.
            loss = torch.compile(loss, dynamic=False)
        return _trained(loss)

    return build


def _segcrit(expression: str, backend: str) -> Callable[[Problem], Work]:
    def build(problem: Problem) -> Work:
        upsample = "linear" if problem.upsample != 1 else None
        return _trained(Criterion(expression, task=problem.task, backend=backend, upsample=upsample))

    return build


def _interpolated(loss: Loss, problem: Problem) -> Loss:
    size = problem.target_size
    return lambda logits, target: loss(interpolate(logits, size), target)


def _trained(loss: Loss) -> Work:
    """Forward and backward."""

    def step(tensors: Tensors) -> Tensor:
        tensors.logits.grad = None
        value = loss(tensors.logits, tensors.target)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    return Work(step, lambda result: float(result))


def _counted(build: Callable[[Problem], counting.Counter]) -> Callable[[Problem], Work]:
    def make(problem: Problem) -> Work:
        counter = build(problem)
        return Work(counter.step, counter.value)

    return make


def contender_versions() -> dict[str, str]:
    """Versions of Python, of segcrit and of every other package that takes part and is installed."""
    return {"segcrit": VERSION, **versions(_PACKAGES)}


def why_no_compiler() -> str:
    """Why ``torch.compile`` cannot make kernels here, in a few words; empty where it can."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler
    except ImportError:
        return ""  # another torch; compiling will tell
    try:
        get_cpp_compiler()
    except Exception:
        return "torch.compile found no C++ compiler (g++ or clang++)"
    return ""
