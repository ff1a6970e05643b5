"""Bad input: each message says what was expected, what came and what to do, and nothing else happens."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import segcrit
from segcrit.core import errors
from tests.laws.cases import CASES, criterion
from tests.laws.problems import problem

LOGITS = torch.zeros(2, 3, 4, 5)
LABELS = torch.zeros(2, 4, 5, dtype=torch.int64)
ONE = torch.zeros(2, 1, 4, 5)


def ce(**settings: Any) -> segcrit.Criterion:
    return segcrit.Criterion("ce", **settings)


def with_label(value: int, *, dtype: torch.dtype = torch.int64, count: int = 1) -> torch.Tensor:
    labels = LABELS.to(dtype).clone()
    labels.view(-1)[:count] = value
    return labels


def soft_row(*row: float) -> torch.Tensor:
    return torch.tensor(row).reshape(1, -1, 1, 1).expand(2, -1, 4, 5)


# name -> (what is called, exception, built-in it also is, words of the message)
BAD: dict[str, tuple[Callable[[], object], type[Exception], type[Exception], list[str]]] = {
    "logits are a list": (
        lambda: ce()([[0.0]], LABELS),
        errors.DtypeError,
        TypeError,
        ["logits", "torch.Tensor", "as_tensor"],
    ),
    "logits are integers": (
        lambda: ce()(LOGITS.long(), LABELS),
        errors.DtypeError,
        TypeError,
        ["float32", "torch.int64", "float()"],
    ),
    "logits are complex": (
        lambda: ce()(LOGITS.to(torch.complex64), LABELS),
        errors.DtypeError,
        TypeError,
        ["complex64"],
    ),
    "logits of one dimension": (
        lambda: ce()(torch.zeros(3), torch.zeros(3).long()),
        errors.ShapeError,
        ValueError,
        ["(N, C, *S)", "(3,)", "unsqueeze"],
    ),
    "logits of six dimensions": (
        lambda: ce()(torch.zeros(1, 2, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1).long()),
        errors.ShapeError,
        ValueError,
        ["0 to 3 spatial", "(1, 2, 1, 1, 1, 1)"],
    ),
    "one channel in multiclass names binary": (
        lambda: ce()(ONE, LABELS),
        errors.ShapeError,
        ValueError,
        ["at least 2", "(2, 1, 4, 5)", "task='binary'"],
    ),
    "three channels in binary": (
        lambda: segcrit.Criterion("bce", task="binary")(LOGITS, LABELS),
        errors.ShapeError,
        ValueError,
        ["one channel", "(2, 3, 4, 5)", "multiclass", "multilabel"],
    ),
    "another number of classes": (
        lambda: ce(num_classes=4)(LOGITS, LABELS),
        errors.ShapeError,
        ValueError,
        ["num_classes=4", "(2, 3, 4, 5)"],
    ),
    "target is a list": (
        lambda: ce()(LOGITS, [[0]]),
        errors.DtypeError,
        TypeError,
        ["target", "torch.Tensor"],
    ),
    "target of another size": (
        lambda: ce()(LOGITS, torch.zeros(2, 8, 10).long()),
        errors.ShapeError,
        ValueError,
        ["(2, 4, 5)", "(2, 8, 10)", "never the labels"],
    ),
    "target of another batch": (
        lambda: ce()(LOGITS, LABELS[:1]),
        errors.ShapeError,
        ValueError,
        ["(2, 4, 5)", "(1, 4, 5)"],
    ),
    "target with another number of channels": (
        lambda: ce()(LOGITS, torch.zeros(2, 2, 4, 5)),
        errors.ShapeError,
        ValueError,
        ["(2, 3, 4, 5)", "(2, 2, 4, 5)"],
    ),
    "labels without channels in multilabel": (
        lambda: segcrit.Criterion("bce", task="multilabel")(LOGITS, LABELS),
        errors.ShapeError,
        ValueError,
        ["(2, 3, 4, 5)", "(2, 4, 5)", "segcrit.one_hot"],
    ),
    "target is complex": (
        lambda: ce()(LOGITS, LABELS.to(torch.complex64)),
        errors.DtypeError,
        TypeError,
        ["complex64"],
    ),
    "target with a gradient": (
        lambda: ce()(LOGITS, torch.full((2, 3, 4, 5), 1 / 3, requires_grad=True)),
        errors.DtypeError,
        TypeError,
        ["detach()"],
    ),
    "target on another device": (
        lambda: ce()(LOGITS, LABELS.to("meta")),
        errors.DeviceError,
        ValueError,
        ["cpu", "meta", ".to("],
    ),
    "weight on another device": (
        lambda: ce()(LOGITS, LABELS, torch.ones(2, 4, 5, device="meta")),
        errors.DeviceError,
        ValueError,
        ["pixel_weight", "cpu", "meta"],
    ),
    "weight of a wrong shape": (
        lambda: ce()(LOGITS, LABELS, torch.ones(3)),
        errors.ShapeError,
        ValueError,
        ["(2, 4, 5)", "(3,)", "class_weight"],
    ),
    "weight below 0": (
        lambda: ce()(LOGITS, LABELS, torch.full((2, 4, 5), -1.0)),
        errors.SegcritError,
        ValueError,
        ["pixel_weight", "-1"],
    ),
    "weight that is NaN": (
        lambda: ce()(LOGITS, LABELS, torch.full((2, 4, 5), torch.nan)),
        errors.SegcritError,
        ValueError,
        ["pixel_weight", "nan"],
    ),
    "weight that is infinite": (
        lambda: ce()(LOGITS, LABELS, torch.full((2, 4, 5), torch.inf)),
        errors.SegcritError,
        ValueError,
        ["pixel_weight", "inf"],
    ),
    "weight with a gradient": (
        lambda: ce()(LOGITS, LABELS, torch.ones(2, 4, 5, requires_grad=True)),
        errors.DtypeError,
        TypeError,
        ["detach()"],
    ),
    "label 3 of 3 classes": (
        lambda: ce()(LOGITS, with_label(3, count=2)),
        errors.LabelError,
        ValueError,
        ["between 0 and 2", "label 3", "2 pixels", "at least 4"],
    ),
    "label -100 under another ignore_index": (
        lambda: ce(ignore_index=255)(LOGITS, with_label(-100)),
        errors.LabelError,
        ValueError,
        ["label -100", "ignore_index=-100"],
    ),
    "label 255": (
        lambda: ce()(LOGITS, with_label(255, dtype=torch.uint8)),
        errors.LabelError,
        ValueError,
        ["label 255", "ignore_index=255"],
    ),
    "label -5": (
        lambda: ce()(LOGITS, with_label(-5)),
        errors.LabelError,
        ValueError,
        ["label -5", "ignore_index"],
    ),
    "label 1.5": (
        lambda: ce()(LOGITS, torch.full((2, 4, 5), 1.5)),
        errors.LabelError,
        ValueError,
        ["1.5", "whole numbers"],
    ),
    "label NaN": (
        lambda: ce()(LOGITS, torch.full((2, 4, 5), torch.nan)),
        errors.LabelError,
        ValueError,
        ["nan", "whole numbers"],
    ),
    "label 156, which is -100 in eight bits": (
        lambda: segcrit.Criterion("bce", task="binary")(ONE, with_label(156, dtype=torch.uint8)),
        errors.LabelError,
        ValueError,
        ["label 156"],
    ),
    "masks coded 0 and 255 in binary": (
        lambda: segcrit.Criterion("bce", task="binary")(ONE, with_label(128, count=9)),
        errors.LabelError,
        ValueError,
        ["label 128", "mask > 0"],
    ),
    "soft target that does not sum to 1": (
        lambda: ce()(LOGITS, soft_row(0.5, 0.1, 0.1)),
        errors.LabelError,
        ValueError,
        ["sum to 1", "0.5", "0.1"],
    ),
    "soft target below 0": (
        lambda: ce()(LOGITS, soft_row(1.5, -0.5, 0.0)),
        errors.LabelError,
        ValueError,
        ["[0, 1]", "-0.5"],
    ),
    "one-hot with two ones": (
        lambda: ce()(LOGITS, soft_row(1, 1, 0).long()),
        errors.LabelError,
        ValueError,
        ["sum to 1"],
    ),
    "soft target above 1 in multilabel": (
        lambda: segcrit.Criterion("bce", task="multilabel")(LOGITS, soft_row(0.5, 1.5, 0.0)),
        errors.LabelError,
        ValueError,
        ["1.5"],
    ),
    "fractional target for lovasz": (
        lambda: segcrit.Criterion("lovasz")(LOGITS, soft_row(0.5, 0.25, 0.25)),
        errors.SegcritError,
        ValueError,
        ["Lovász", "0.5", "jaccard"],
    ),
    "ce in a sigmoid task names bce": (
        lambda: ce(task="binary"),
        errors.ParameterError,
        ValueError,
        ["task='binary'", "'ce'", "'bce'"],
    ),
    "ce in multilabel names bce": (
        lambda: ce(task="multilabel"),
        errors.ParameterError,
        ValueError,
        ["'bce'"],
    ),
    "bce in multiclass names ce": (
        lambda: segcrit.Criterion("bce"),
        errors.ParameterError,
        ValueError,
        ["task='multiclass'", "'bce'", "Use 'ce'"],
    ),
    "unknown task": (
        lambda: ce(task="multi-class"),
        errors.ParameterError,
        ValueError,
        ["'multi-class'", "Did you mean 'multiclass'?"],
    ),
    "ignore_index is None": (
        lambda: ce(ignore_index=None),
        errors.ParameterError,
        ValueError,
        ["ignore_index", "None", "-100"],
    ),
    "ignore_index is a fraction": (
        lambda: ce(ignore_index=0.5),
        errors.ParameterError,
        ValueError,
        ["ignore_index", "0.5"],
    ),
    "num_classes is 0": (
        lambda: ce(num_classes=0),
        errors.ParameterError,
        ValueError,
        ["num_classes", "0"],
    ),
    "class_weight of a wrong length": (
        lambda: ce(class_weight=[1.0, 2.0])(LOGITS, LABELS),
        errors.ParameterError,
        ValueError,
        ["class_weight", "3 classes", "2 numbers"],
    ),
    "class_weight below 0": (
        lambda: ce(class_weight=[1.0, -2.0, 1.0]),
        errors.ParameterError,
        ValueError,
        ["class_weight", "at least 0"],
    ),
    "class_weight is a word": (
        lambda: segcrit.Criterion('ce(class_weight="median")'),
        errors.ParameterError,
        ValueError,
        ["class_weight", "'median'", "segcrit.class_weights"],
    ),
    "class out of range": (
        lambda: segcrit.Criterion("dice(classes=[3])")(LOGITS, LABELS),
        errors.ParameterError,
        ValueError,
        ["classes", "3"],
    ),
    "penalize without smooth": (
        lambda: segcrit.Criterion("dice(absent='penalize')"),
        errors.ParameterError,
        ValueError,
        ["smooth", "penalize", "constant"],
    ),
    "unknown backend": (
        lambda: ce(backend="tritn"),
        errors.ParameterError,
        ValueError,
        ["backend", "'tritn'"],
    ),
    "unknown validate": (
        lambda: ce(validate="maybe"),
        errors.ParameterError,
        ValueError,
        ["validate", "'maybe'"],
    ),
    "unknown reduction": (
        lambda: segcrit.functional.dice(LOGITS, LABELS, reduction="avg"),
        errors.ParameterError,
        ValueError,
        ["reduction", "'avg'"],
    ),
    "smooth is text": (
        lambda: segcrit.functional.dice(LOGITS, LABELS, smooth="1"),
        errors.ParameterError,
        ValueError,
        ["smooth", "'1'"],
    ),
    "unknown process group": (
        lambda: ce(process_group="wrld"),
        errors.ParameterError,
        ValueError,
        ["process_group", "'wrld'"],
    ),
    "no outputs to supervise": (
        lambda: ce()([], LABELS),
        errors.SegcritError,
        ValueError,
        ["empty"],
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_message_names_expectation_fact_and_advice(name: str):
    call, kind, builtin, words = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert isinstance(error, errors.SegcritError)
    assert isinstance(error, builtin)
    message = str(error)
    for word in words:
        assert word in message, message
    assert message.startswith("expected ")
    assert ", got " in message
    assert error.advice.strip()
    assert error.advice.rstrip().endswith((".", "?", ")"))


def test_a_bad_label_in_a_late_tile_is_found():
    logits = torch.zeros(1, 3, 700, 700)
    labels = torch.zeros(1, 700, 700, dtype=torch.uint8)
    labels[0, -1, -1] = 77
    with pytest.raises(errors.LabelError, match="label 77"):
        segcrit.Criterion("ce + dice")(logits, labels)


def test_ignore_index_that_is_a_class_ignores_that_class():
    target = torch.tensor([[0, 1, 2, 1]])
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.cross_entropy(logits, target, ignore_index=1)
    assert float(ce(ignore_index=1)(logits, target)) == pytest.approx(float(wanted))


def test_probabilities_instead_of_logits_warn_once(monkeypatch: pytest.MonkeyPatch):
    import segcrit.losses.gate as gate

    monkeypatch.setattr(gate, "_warned_probabilities", False)
    p = torch.softmax(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), 1)
    with pytest.warns(UserWarning, match=r"expected logits.*probabilities.*Remove the softmax"):
        ce()(p, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ce()(p, LABELS)


def test_ordinary_logits_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(3):
            logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
            ce()(logits, LABELS)
        ce()(torch.zeros(2, 3, 4, 5), LABELS)
        ce()(torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), LABELS)


def test_one_sided_partial_loss_warns_and_a_mixture_does_not():
    with pytest.warns(UserWarning, match="foreground"):
        segcrit.Criterion("partial_ce(foreground_only=True)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segcrit.Criterion("partial_ce(foreground_only=True) + dice")


def test_a_scalar_alpha_in_multiclass_warns_that_it_is_a_scale():
    with pytest.warns(UserWarning, match="scale"):
        criterion = segcrit.Criterion("focal(alpha=0.25)")
    g = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 3, 9, generator=g), torch.randint(0, 3, (2, 9), generator=g)
    whole = segcrit.Criterion("focal")(logits, target)
    assert float(criterion(logits, target)) == pytest.approx(0.25 * float(whole))


@pytest.mark.parametrize("kind", ["label", "weight"])
@pytest.mark.parametrize(
    ("case", "task"), [(case, task) for case in CASES for task in case.tasks], ids=lambda x: getattr(x, "expression", x)
)
def test_values_that_nobody_looks_at_make_the_loss_nan(case, task, kind):
    """Never an out-of-bounds read, never a class that silently counts as absent."""
    p = problem(task, seed=160)
    target, weight = p.target.clone(), torch.ones(2, 5, 6)
    if kind == "label":
        target.view(-1)[3] = 9
    else:
        weight[0] = torch.nan
    z = p.logits.clone().requires_grad_()
    loss = criterion(case.expression, task=task, validate="never")(z, target, weight)
    assert torch.isnan(loss.detach())
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.isnan(gradient).any()


def test_error_pickles():
    import pickle

    error = errors.LabelError("a", "b", "C.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.LabelError
    assert str(again) == "expected a, got b. C."


def test_an_output_in_a_dictionary_is_named():
    with pytest.raises(TypeError, match=r"Pass the entry that holds the logits: output\['out'\]"):
        segcrit.Criterion("ce")({"out": torch.zeros(1, 3, 2), "aux": None}, torch.zeros(1, 2).long())


def test_a_loss_of_another_task_names_the_task():
    with pytest.raises(ValueError, match=r"Use 'ce' here, or give the task: .*task='binary'"):
        segcrit.Criterion("bce")


def test_every_class_has_a_code_of_its_own_and_a_raise_may_give_another() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    codes = [kind.code for kind in classes]
    assert len(set(codes)) == len(classes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    with pytest.raises(errors.LabelError) as caught:
        ce()(LOGITS, with_label(7))
    assert caught.value.code == "label-out-of-range"
    given = errors.DataError("a", "b", "C.", code="lossy")
    assert given.code == "lossy"
    for copied in (pickle.loads(pickle.dumps(given)), copy.copy(given)):
        assert (type(copied), str(copied), copied.code) == (errors.DataError, "expected a, got b. C.", "lossy")
