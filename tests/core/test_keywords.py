"""A parameter that does not exist: the error of every public callable names the one that was meant."""

from __future__ import annotations

import inspect
import timeit
import warnings

import pytest
import torch

import segcrit
from segcrit import functional
from segcrit.core.errors import DtypeError, ParameterError, UnknownParameterError
from segcrit.losses import gate
from segcrit.losses.keywords import checked_keywords, parameter_hint

ROWS = [row for row in segcrit.list_losses() if row.module is not None]
NAMES = [row.name for row in ROWS]
LOGITS, TARGET = torch.zeros(1, 2, 3), torch.zeros(1, 3).long()


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_loss_names_the_parameter_that_was_meant(row):
    function, module = getattr(functional, row.function), getattr(segcrit, row.module)
    for call in (lambda **k: function(LOGITS, TARGET, **k), module):
        for word, meant in (("weight", "class_weight"), ("ignore_label", "ignore_index"), ("reductoin", "reduction")):
            if meant == "class_weight" and meant not in row.parameters:
                continue
            with pytest.raises(UnknownParameterError, match=f"got {word!r}. Did you mean {meant!r}\\?") as caught:
                call(**{word: 1})
            # What Python itself would raise, and what segcrit raises for wrong values.
            assert isinstance(caught.value, TypeError)
            assert isinstance(caught.value, ParameterError)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("weight", "Did you mean 'class_weight'?"),
        ("smooth", "write it in the expression, as in 'dice(smooth=...)'"),
        ("alpha", "write it in the expression, as in 'focal(alpha=...)'"),
        ("label_smooth", "Criterion takes: expression, task, num_classes"),
        ("ignore_label", "Did you mean 'ignore_index'?"),
        ("n_classes", "Did you mean 'num_classes'?"),
        ("statistic", "Did you mean 'statistics'?"),
        ("from_logits", "losses take logits"),
    ],
)
def test_criterion(keyword, words):
    with pytest.raises(UnknownParameterError, match="expected a parameter of Criterion, got") as caught:
        segcrit.Criterion("ce", **{keyword: 1})
    assert words in str(caught.value)


def test_words_of_other_libraries_lead_to_what_exists():
    assert parameter_hint("eps", ["smooth", "label_smoothing"]) == "Did you mean 'smooth'?"
    assert parameter_hint("eps", ["label_smoothing"]) == "Did you mean 'label_smoothing'?"
    assert parameter_hint("label_smooth", ["label_smoothing", "smooth"]) == "Did you mean 'label_smoothing'?"
    assert parameter_hint("classes", ["classes"]) == "Did you mean 'classes'?"
    assert parameter_hint("zzz", ["smooth"]) == ""
    for call, words in (
        (lambda: segcrit.DiceLoss(include_background=False), "classes=[1, 2, ...]"),
        (lambda: segcrit.DiceLoss(batch=True), "Did you mean 'per_image'?"),
        (lambda: segcrit.DiceLoss(squared_pred=True), "Did you mean 'squared'?"),
        (lambda: segcrit.CrossEntropyLoss(label_smooth=0.1), "Did you mean 'label_smoothing'?"),
    ):
        with pytest.raises(UnknownParameterError) as caught:
            call()
        assert words in str(caught.value)


def test_parameters_without_a_name():
    with pytest.raises(UnknownParameterError, match=r"parameters of DiceLoss by their names, got 1 without a name"):
        segcrit.DiceLoss(1.0)
    with pytest.raises(UnknownParameterError, match=r"of dice by their names after logits and target, got 2 without"):
        functional.dice(LOGITS, TARGET, 1.0, None)


def test_other_type_errors_pass_through():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'target'"):
        functional.dice(LOGITS)
    with pytest.raises(DtypeError, match="logits as a"):
        functional.dice([1.0], TARGET)

    @checked_keywords
    def inside(x, *, y=1):
        return x + y

    with pytest.raises(TypeError, match="can only concatenate list") as caught:
        inside([], y=None)
    assert not isinstance(caught.value, UnknownParameterError)


def test_signature_and_documentation_stay():
    assert list(inspect.signature(functional.dice).parameters)[:3] == ["logits", "target", "smooth"]
    assert inspect.signature(segcrit.Criterion).parameters["ignore_index"].default == -100
    assert functional.dice.__module__ == "segcrit.functional"
    assert ">>> " in functional.dice.__doc__
    assert functional.dice.__globals__ is vars(functional)


def test_it_costs_next_to_nothing():
    def plain(x, *, a=0, b=1):
        return x

    checked = checked_keywords(plain)
    cost = min(timeit.repeat(lambda: checked(1, a=2, b=3), number=2000, repeat=7)) / 2000
    call = min(timeit.repeat(lambda: functional.dice(LOGITS, TARGET), number=20, repeat=5)) / 20
    assert cost < 0.05 * call


def test_warnings_point_at_the_line_of_the_caller(monkeypatch):
    for call in (
        lambda: segcrit.Criterion("focal(alpha=0.3)"),
        lambda: segcrit.FocalLoss(alpha=0.3)(LOGITS, TARGET),
        lambda: functional.focal(LOGITS, TARGET, alpha=0.3),
        lambda: functional.dice(LOGITS.softmax(1) + torch.tensor([[[0.1], [-0.1]]]) * torch.arange(3), TARGET),
    ):
        monkeypatch.setattr(gate, "_warned_probabilities", False)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [item.filename for item in caught] == [__file__], [item.filename for item in caught]
