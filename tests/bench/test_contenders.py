"""Everyone who is measured computes what the table says: the same value and gradient, or a documented difference."""

from __future__ import annotations

import warnings

import pytest
import torch

from segcrit.apps.bench import eager
from segcrit.apps.bench.contenders import (
    COMPILED,
    EAGER,
    EVALUATION,
    OURS,
    REFERENCE,
    Contender,
    contenders,
    find,
    kinds,
)
from segcrit.apps.bench.precision import LovaszOracle
from segcrit.apps.bench.problems import Problem
from segcrit.core.errors import ExpressionError, ParameterError
from tests.oracles import ranking

PROBLEMS = {
    "multiclass": Problem((2, 4, 48, 32)),
    "binary": Problem((2, 1, 48, 32), "binary"),
    "multilabel": Problem((2, 3, 48, 32), "multilabel"),
}
INSTALLED = {"torch", "segcrit", "segcrit reference"}
ROWS = [(task, row) for task in PROBLEMS for kind in kinds(task) for row in contenders(kind, task)]
COMPILABLE = [(task, row) for task, row in ROWS if row.is_compiled]
OTHERS = [(task, row) for task, row in ROWS if not row.is_compiled]


def names(pairs: list[tuple[str, Contender]]) -> list[str]:
    return [f"{task}, {row.kind}, {row.library}: {row.name}" for task, row in pairs]


def computed(contender: Contender, problem: Problem) -> tuple[float, torch.Tensor | None]:
    """Value and gradient; skips where the library is not installed."""
    tensors = problem.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks of other libraries
        try:
            work = contender.build(problem)
        except ModuleNotFoundError:
            assert contender.library not in INSTALLED
            pytest.skip(f"{contender.library} is not installed")
        return work.value(work.step(tensors)), tensors.logits.grad


def ours(kind: str, problem: Problem) -> tuple[float, torch.Tensor | None]:
    (row,) = (row for row in contenders(kind, problem.task) if row.library == OURS)
    return computed(row, problem)


@pytest.mark.parametrize(("task", "row"), OTHERS, ids=names(OTHERS))
def test_values_agree_or_a_note_says_why_not(task: str, row: Contender) -> None:
    problem = PROBLEMS[task]
    value, gradient = computed(row, problem)
    wanted, wanted_gradient = ours(row.kind, problem)
    if row.note:
        assert abs(value - wanted) > 1e-3, "the note is no longer true"
        return
    assert value == pytest.approx(wanted, rel=2e-4)
    assert (gradient is None) == (row.kind in EVALUATION)
    if gradient is not None and wanted_gradient is not None:
        cosine = torch.nn.functional.cosine_similarity(gradient.flatten(), wanted_gradient.flatten(), dim=0)
        assert float(cosine) > 0.9999


def test_the_documented_differences_are_what_they_say() -> None:
    problem = PROBLEMS["multiclass"]
    for row in contenders("focal", "multiclass"):
        if row.library in ("monai", "kornia"):
            value, _ = computed(row, problem)
            assert value * problem.classes == pytest.approx(ours("focal", problem)[0], rel=1e-4)
    one_image = Problem((1, 4, 48, 32))
    for row in contenders("lovasz", "multiclass"):
        if row.library == "kornia":  # differs only in averaging over images and absent classes
            assert computed(row, one_image)[0] == pytest.approx(ours("lovasz", one_image)[0], rel=1e-3)


@pytest.mark.parametrize("name", ["lovasz_as_published", "lovasz_in_one_sort"])
def test_lovasz_against_the_slow_oracle(name: str) -> None:
    tensors = Problem((2, 4, 6, 5), dtype="float64").make()
    logits, labels = tensors.logits.detach(), torch.randint(3, tensors.target.shape)  # class 3 is absent
    value = float(getattr(eager, name)(logits, labels))
    probability = logits.softmax(1).movedim(1, -1).reshape(-1, 4)
    flat = labels.flatten()
    losses = []
    for index in range(3):
        positive = (flat == index).tolist()
        errors = [1 - p if y else p for p, y in zip(probability[:, index].tolist(), positive, strict=True)]
        losses.append(ranking.lovasz_extension(errors, positive, [1.0] * len(errors)))
    assert value == pytest.approx(sum(losses) / 3, rel=1e-12)


def test_the_float64_oracle_of_precision_agrees_with_autograd() -> None:
    tensors = Problem((2, 4, 6, 5), dtype="float64").make()
    tensors.target.random_(3)
    value = eager.lovasz_as_published(tensors.logits, tensors.target)
    value.backward()
    oracle = LovaszOracle(tensors)
    error, cosine = oracle.compare(float(value.detach()), tensors.logits.grad)
    assert error < 1e-12
    assert cosine == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(oracle.gradient, tensors.logits.grad)
    assert oracle.compare(2 * oracle.value, -oracle.gradient) == pytest.approx((1, -1))


@pytest.mark.parametrize("shape", [(2, 4, 16), (2, 4, 8, 8, 8)], ids=str)
def test_other_numbers_of_dimensions(shape: tuple[int, ...]) -> None:
    problem = Problem(shape)
    for kind in ("ce + dice", "lovasz"):
        wanted = ours(kind, problem)[0]
        for row in contenders(kind, "multiclass"):
            if row.library in (EAGER, REFERENCE):
                assert computed(row, problem)[0] == pytest.approx(wanted, rel=2e-4)


@pytest.mark.parametrize("kind", ["ce", "ce + dice", "evaluate logits"])
def test_upsampling_is_the_same_as_interpolating_first(kind: str) -> None:
    problem = Problem((2, 4, 12, 8), upsample=4)
    wanted = ours(kind, problem)[0]
    for row in contenders(kind, "multiclass"):
        if not row.is_compiled and not row.note:
            assert computed(row, problem)[0] == pytest.approx(wanted, rel=2e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes(dtype: str) -> None:
    problem = Problem((2, 4, 16, 16), dtype=dtype)
    loose = 2e-2 if dtype != "float64" else 1e-6
    for row in contenders("ce + dice", "multiclass"):
        if row.library in (EAGER, OURS):
            value, gradient = computed(row, problem)
            assert value == pytest.approx(ours("ce + dice", Problem((2, 4, 16, 16)))[0], rel=loose)
            assert gradient is not None
            assert gradient.dtype == problem.make().logits.dtype


@pytest.mark.parametrize(("task", "row"), COMPILABLE, ids=names(COMPILABLE))
def test_compiled_contenders_are_traced_whole(task: str, row: Contender, monkeypatch: pytest.MonkeyPatch) -> None:
    """A break in the graph would make torch.compile look slower than it is; no kernels are made here, to be quick."""
    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda loss, dynamic: real(loss, dynamic=dynamic, fullgraph=True, backend="eager")
    )
    torch.compiler.reset()
    problem = PROBLEMS[task]
    value, _ = computed(row, problem)
    assert value == pytest.approx(ours(row.kind, problem)[0], rel=2e-4)


def test_every_default_kind_has_eager_and_ours_and_most_are_compiled() -> None:
    for task in PROBLEMS:
        for kind in kinds(task):
            libraries = {row.library for row in contenders(kind, task)}
            assert {EAGER, REFERENCE, OURS} <= libraries
            if kind not in (*EVALUATION, "ce + lovasz", "lovasz"):
                assert COMPILED in libraries


def test_any_expression_is_measured_and_found_again() -> None:
    rows = contenders("dice(per_image=True)+2*ce", "multiclass")
    assert [row.library for row in rows] == [REFERENCE, OURS]
    assert find("multiclass", rows[1].key).key == rows[1].key
    # Written in another way, it is the same kind and has its peers.
    assert [row.key for row in contenders("ce+dice", "multiclass")] == [
        r.key for r in contenders("ce + dice", "multiclass")
    ]
    with pytest.raises(ParameterError, match="a contender of the benchmark"):
        find("multiclass", ("ce", "nobody", "ce"))


def test_wrong_kinds_are_refused() -> None:
    with pytest.raises(ExpressionError):
        contenders("cee", "multiclass")
    with pytest.raises((ParameterError, ExpressionError)):
        contenders("bce", "multiclass")
    with pytest.raises(ParameterError, match="multilabel"):
        contenders("evaluate logits", "multilabel")
