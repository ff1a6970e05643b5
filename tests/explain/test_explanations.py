"""The steps of every loss: worked numbers, agreement with the library and with torch, what is shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import segcrit
from segcrit.apps.explain import build
from segcrit.apps.explain.build import explain_numbers
from segcrit.apps.explain.steps import ClassTable, Explanation, PixelTable, RankTable, Step
from segcrit.core.errors import LabelError, ParameterError, SegcritError, ShapeError
from segcrit.losses.expression.syntax import parse

MULTICLASS = (
    "ce", "ce(label_smoothing=0.1)", "ce(class_weight=[1, 2, 0.5])", 'ce(reduction="sum")', "ce(logit_scale=2)",
    "ce(logit_bias=[0.1, -1, 2])", "ce(logit_bias=[[0, 1, 2], [1, 0, 1], [3, 1, 0]])", "focal", "focal(gamma=0)",
    "focal(gamma=0.5, alpha=[1, 2, 3])", "focal(gamma=5)", "dice", "dice(smooth=1)", "dice(squared=True)", "dice(log=True)",
    'dice(per_image=True, smooth=1, absent="penalize")', "dice(classes=[1, 2], class_weight=[5, 1, 3])", "jaccard",
    "jaccard(squared=True, smooth=1)", "jaccard(log=True)", "jaccard(per_image=True)", "tversky(alpha=0.3, beta=0.7)",
    "tversky(alpha=0, beta=2, log=True)", "lovasz", "lovasz(per_image=True)", 'lovasz(absent="penalize")',
    "lovasz(class_weight=[1, 2, 3])", "partial_ce", "partial_ce(foreground_only=True)", 'ce(unlabelled="background")',
    'dice(unlabelled="background")', "ce + dice", "2*ce + 0.5*dice(smooth=1) + lovasz", 'dice(reduction="sum")',
)  # fmt: skip
SIGMOID = (
    "bce", "bce(pos_weight=3)", "bce(label_smoothing=0.2)", "focal", "focal(alpha=0.25)", "dice", "jaccard(log=True)",
    "tversky(alpha=0.2, beta=0.8)", "lovasz", "lovasz_hinge", 'lovasz_hinge(absent="skip")', "partial_ce",
    "partial_ce(foreground_only=True)", 'bce(unlabelled="background")', "bce + dice", "bce + 0.5*lovasz",
)  # fmt: skip


@pytest.mark.parametrize(
    ("probabilities", "labels", "value"),
    [
        ("0.3 0.6 0.1", "1", 0.5108),
        ("0.1 0.1 0.8", "2", 0.2231),
        ("0.5025 0.4975 / 0.4256 0.5744 / 0.5050 0.4950 / 0.1652 0.8348", "0 0 0 0", 1.0066),
    ],
)
def test_worked_numbers(probabilities: str, labels: str, value: float) -> None:
    explanation = explain_numbers("ce", probabilities=probabilities, labels=labels)
    assert f"{explanation.value:.4f}" == f"{value:.4f}"
    assert explanation.agrees
    assert [check.name for check in explanation.checks] == ['segcrit.Criterion("ce")', "torch.nn.CrossEntropyLoss"]


def test_the_worked_example() -> None:
    explanation = explain_numbers()
    assert explanation.layout.shape == (1, 2, 2)
    assert f"{explanation.value:.4f}" == "1.0066"
    titles = [step.title for step in (*explanation.opening, *explanation.terms[0].steps)]
    assert titles == ["The numbers", "Softmax", "Logarithm", "Pick the true class", "Mean", "Gradient"]
    picked = _columns(explanation.terms[0].steps[1])["ℓ"]
    assert np.exp(-picked).round(4).tolist() == [0.5025, 0.4256, 0.5050, 0.1652]


def _columns(step: Step) -> dict[str, np.ndarray]:
    return {
        column.name: column.values for block in step.blocks if isinstance(block, PixelTable) for column in block.columns
    }


def _step(explanation: Explanation, title: str) -> Step:
    return next(step for term in explanation.terms for step in term.steps if title in step.title)


def _table(step: Step) -> dict[str, tuple[float, ...]]:
    (block,) = (block for block in step.blocks if isinstance(block, ClassTable))
    return dict(block.columns)


def _random(seed: int, task: str, ignored: float = 0.2) -> tuple[list[object], list[object]]:
    """Two images of 2×3 pixels with some ignored ones."""
    generator = np.random.default_rng(seed)
    channels = {"multiclass": 3, "multilabel": 3, "binary": 1}[task]
    logits = generator.normal(size=(2, channels, 2, 3)).round(3) * 2
    shape = (2, 3, 2, 3) if task == "multilabel" else (2, 2, 3)
    labels = generator.integers(0, 3 if task == "multiclass" else 2, shape)
    labels[generator.random(shape) < ignored] = -100
    return logits.tolist(), labels.tolist()


@pytest.mark.filterwarnings("ignore:partial_ce:UserWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("loss", MULTICLASS)
def test_steps_agree_with_the_library(loss: str, seed: int) -> None:
    logits, labels = _random(seed, "multiclass")
    explanation = explain_numbers(loss, logits=logits, labels=labels)
    assert explanation.agrees, explanation.checks
    assert all(term.spelled_out for term in explanation.terms)
    assert explanation.checks[0].gradient_difference is not None


@pytest.mark.filterwarnings("ignore:partial_ce:UserWarning")
@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("loss", SIGMOID)
def test_steps_agree_with_the_library_in_sigmoid_tasks(loss: str, task: str) -> None:
    logits, labels = _random(5, task)
    explanation = explain_numbers(loss, logits=logits, labels=labels, task=task)  # type: ignore[arg-type]
    assert explanation.agrees, explanation.checks


@pytest.mark.parametrize(
    "loss", ["ce", "focal", "dice", "dice(squared=True)", "jaccard", "tversky(alpha=0.3, beta=0.7)"]
)
def test_steps_agree_on_soft_targets(loss: str) -> None:
    logits, _ = _random(1, "multiclass")
    soft = np.moveaxis(np.random.default_rng(2).dirichlet(np.ones(3), size=(2, 2, 3)), -1, 1)
    assert explain_numbers(loss, logits=logits, labels=soft.tolist(), task="multiclass").agrees


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20)), min_size=1, max_size=6),
    st.data(),
    st.sampled_from(["ce", "focal", "dice", "jaccard", "lovasz"]),
)
@settings(max_examples=60, deadline=None)
def test_any_numbers_agree(rows: list[tuple[float, ...]], data: st.DataObject, loss: str) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    text = " / ".join(" ".join(map(repr, row)) for row in rows)
    explanation = explain_numbers(loss, logits=text, labels=" ".join(map(str, labels)))
    assert explanation.agrees, explanation.checks
    assert np.abs(explanation.gradient.sum(1)).max() < 1e-12  # what one class wins the others lose


@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 3.0, 0.5]}, {"label_smoothing": 0.1}, {"reduction": "sum"}])
def test_cross_entropy_is_torchs(options: dict[str, object]) -> None:
    logits, labels = _random(3, "multiclass")
    inside = ", ".join(
        f"{ {'weight': 'class_weight'}.get(name, name) }={value!r}".replace("'", '"') for name, value in options.items()
    )
    explanation = explain_numbers(f"ce({inside})", logits=logits, labels=labels)
    keywords = {k: torch.tensor(v, dtype=torch.float64) if k == "weight" else v for k, v in options.items()}
    tensor = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    expected = nn.CrossEntropyLoss(**keywords)(tensor, torch.tensor(labels))  # type: ignore[arg-type]
    expected.backward()
    assert explanation.value == pytest.approx(expected.item(), abs=1e-12)
    rows = torch.movedim(tensor.grad, 1, -1).reshape(-1, 3).numpy()
    assert np.allclose(explanation.gradient, rows, rtol=0, atol=1e-12)
    assert explanation.checks[1].name == "torch.nn.CrossEntropyLoss"


def test_dice_names_coefficient_and_loss_apart() -> None:
    explanation = explain_numbers("dice", probabilities="0.8 0.2 / 0.4 0.6", labels="0 1")
    sums = _table(_step(explanation, "Sums"))
    assert np.allclose(sums["I (overlap)"], [0.8, 0.6])
    assert np.allclose(sums["P = Σp"], [1.2, 0.8])
    assert sums["T = Σt"] == (1.0, 1.0)
    coefficient = _table(_step(explanation, "Dice coefficient"))["coefficient"]
    assert np.allclose(coefficient, [1.6 / 2.2, 1.2 / 1.8])
    losses = _table(_step(explanation, "Dice loss"))["loss"]
    assert np.allclose(losses, 1 - np.array(coefficient))
    assert explanation.value == pytest.approx(np.mean(losses))


def test_jaccard_shows_intersection_and_union() -> None:
    explanation = explain_numbers("jaccard", probabilities="0.8 0.2 / 0.4 0.6", labels="0 1")
    columns = _columns(_step(explanation, "Intersection and union"))
    assert np.allclose(columns["intersection₀"], [0.8, 0.0])
    assert np.allclose(columns["union₀"], [1.0, 0.4])
    assert np.allclose(columns["union₁"], [0.2, 1.0])
    (sums,) = (block for block in _step(explanation, "Sums").blocks if isinstance(block, ClassTable))
    hit, missed, wrong = (np.array(lengths) for _, lengths in sums.bars)
    assert np.allclose(hit + missed + wrong, dict(sums.columns)["union P+T−I"])


def test_an_absent_class_is_shown_as_skipped() -> None:
    explanation = explain_numbers("dice", probabilities="0.5 0.3 0.2 / 0.2 0.6 0.2", labels="0 1")
    (table,) = (block for block in _step(explanation, "Dice loss").blocks if isinstance(block, ClassTable))
    assert table.skipped == {2}
    assert "skipped" in _step(explanation, "Mean").caption


def test_lovasz_sorts_the_errors() -> None:
    explanation = explain_numbers(
        "lovasz", probabilities="0.5 0.3 0.2 / 0.1 0.65 0.25 / 0.2 0.2 0.6 / 0.34 0.31 0.35", labels="0 1 2 0"
    )
    tables = [block for block in _step(explanation, "Sort").blocks if isinstance(block, RankTable)]
    assert len(tables) == 3
    for table in tables:
        errors = [rank.error for rank in table.ranks]
        assert errors == sorted(errors, reverse=True)
        assert sum(rank.increment for rank in table.ranks) == pytest.approx(1.0)
        assert table.value == pytest.approx(sum(rank.error * rank.increment for rank in table.ranks))
    first = tables[0].ranks
    assert [rank.pixel for rank in first] == ["3", "0", "2", "1"]
    assert [rank.increment for rank in first] == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert explanation.value == pytest.approx(np.mean([table.value for table in tables]))


def test_partial_ce_shows_what_is_dropped() -> None:
    explanation = explain_numbers("partial_ce", probabilities="0.9 0.1 / 0.2 0.8 / 0.5 0.5", labels="0 1 ?")
    step = explanation.terms[0].steps[0]
    (block,) = step.blocks
    assert isinstance(block, PixelTable)
    assert block.columns[0].dropped is not None
    assert block.columns[0].dropped.tolist() == [False, False, True]
    assert block.columns[0].text(2) == "(0.6931)"
    assert "2 of 3 pixels count" in step.caption
    assert explanation.value == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)
    assert (explanation.gradient[2] == 0).all()


def test_equal_errors_are_not_called_wrong() -> None:
    explanation = explain_numbers("lovasz", probabilities="0.5 0.5 / 0.5 0.5", labels="0 1")
    assert explanation.agrees
    assert "some errors are equal" in explanation.checks[0].remark


def test_a_loss_of_the_user_is_explained_by_its_result() -> None:
    @segcrit.region_loss
    def overlap_only_for_explain(s, *, floor=0.0):  # type: ignore[no-untyped-def]
        return 1 - (s.I + floor) / (s.T + floor)

    explanation = explain_numbers("overlap_only_for_explain + ce")
    assert not explanation.terms[0].spelled_out
    assert explanation.terms[1].spelled_out
    assert explanation.agrees


@pytest.mark.parametrize(
    "loss", ["ce(keep=0.5)", "focal(ohem=0.5, min_kept=1)", "poly1", "boundary + generalised_dice"]
)
def test_losses_without_steps_of_their_own_are_explained_by_their_result(loss: str) -> None:
    assert explain_numbers(loss).agrees


def test_a_wrong_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = build.library_result

    def off(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        result = honest(*arguments, **options)  # type: ignore[arg-type]
        return dataclasses.replace(result, gradient=result.gradient * 1.001)

    monkeypatch.setattr(build, "library_result", off)
    assert not explain_numbers("ce").agrees


def test_nothing_valid_is_zero() -> None:
    for loss in ("ce", "dice", "lovasz", "focal"):
        explanation = explain_numbers(loss, logits="1 2 / 3 4", labels="? ?")
        assert explanation.value == 0
        assert not explanation.gradient.any()
        assert explanation.agrees


@pytest.mark.parametrize(
    ("loss", "options", "error", "words"),
    [
        ("ce", {"logits": "1 2"}, ParameterError, "Add --labels"),
        ("ce", {"labels": "1"}, ParameterError, "Add --logits or --probs"),
        ("ce", {"logits": "1 2", "probabilities": "0.5 0.5", "labels": "1"}, ParameterError, "got both"),
        ("ce", {"logits": "1 2", "labels": "5"}, LabelError, "label 5"),
        ("ce", {"logits": "1 2", "labels": "255"}, LabelError, "ignore_index=255"),
        ("ce(class_weight=[1, 2, 3])", {"logits": "1 2", "labels": "1"}, SegcritError, "class_weight"),
        ('ce(class_weight="median")', {"logits": "1 2", "labels": "1"}, ParameterError, "training split"),
        ("bce", {"logits": "1 2 / 3 4", "labels": "1 0", "task": "multiclass"}, SegcritError, "bce"),
        ("lovasz", {"logits": "1 2", "labels": "0.5 0.5", "task": "multiclass"}, SegcritError, "fractional|soft"),
        ("nope", {}, SegcritError, "name of a loss"),
        ("ce", {"logits": "1 2", "labels": "1", "class_names": ["a"]}, ShapeError, "class names"),
    ],
)
def test_bad_input(loss: str, options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        explain_numbers(loss, **options)  # type: ignore[arg-type]


def test_problem_is_read_from_tensors_too() -> None:
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[[0, 1], [2, 0]]])
    explanation = explain_numbers("ce + dice", logits=logits, labels=labels)  # type: ignore[arg-type]
    expected = segcrit.Criterion("ce + dice")(logits, labels)
    assert explanation.value == pytest.approx(float(expected), abs=1e-12)


def test_data_of_an_explanation_is_json() -> None:
    import json

    text = json.dumps(explain_numbers("ce + lovasz").to_dict(), allow_nan=False)
    assert json.loads(text)["loss"] == str(parse("ce + lovasz"))
