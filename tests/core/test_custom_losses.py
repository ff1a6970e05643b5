"""A user's formula of a few lines is a loss like any other: masks, weights, images, expressions, gradients, sums."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import segcrit
from segcrit.core.errors import ExpressionError, ParameterError
from segcrit.losses import table
from tests.laws import checks
from tests.laws.cases import criterion
from tests.laws.problems import fractions, mask_of, positive_weights, problem
from tests.laws.subject import Subject


def users_dice(s, *, smooth=0.0):
    """1 − (2 I + s) / (P + T + s), as a user writes it."""
    return 1 - (2 * s.M + smooth) / (s.P + s.T + smooth)


def users_squared_dice(s):
    """With every second-order field."""
    return 1 - 2 * s.I / (s.Q + s.U)


def users_generalised_dice(s, *, smooth=1e-6):
    """Sudre et al. 2017: classes weighted by 1/T², then pooled."""
    w = 1 / (s.T + 1) ** 2
    return 1 - (2 * (w * s.M).sum(-1) + smooth) / ((w * (s.P + s.T)).sum(-1) + smooth)


def users_ce(logp, label):
    """−log p."""
    return -logp


def users_generalised_ce(logp, label, *, q=0.7):
    """(1 − p^q) / q."""
    return (1 - torch.exp(q * logp)) / q


def users_weighted_ce(logp, label, *, rare=2.0):
    """Looks at the label: class 2 counts ``rare`` times."""
    return -logp * torch.where(label == 2, rare, 1.0)


FORMULAS = {
    users_dice: segcrit.region_loss,
    users_squared_dice: segcrit.region_loss,
    users_generalised_dice: segcrit.region_loss(pooled=True),
    users_ce: segcrit.pixel_loss,
    users_generalised_ce: segcrit.pixel_loss,
    users_weighted_ce: segcrit.pixel_loss,
}


@pytest.fixture(scope="module", autouse=True)
def users():
    """The formulas as losses, by name; the table is as before when these tests are over."""
    rows, names = dict(table._TABLE), dict(table._NAMES)
    yield SimpleNamespace(**{formula.__name__: decorate(formula) for formula, decorate in FORMULAS.items()})
    for live, saved in ((table._TABLE, rows), (table._NAMES, names)):
        live.clear()
        live.update(saved)


def subject(text: str, task: str, family: str, **facts: object) -> Subject:
    def call(
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        class_weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        module = criterion(text, task=task, class_weight=class_weight, ignore_index=ignore_index)
        return module(logits, target, pixel_weight)

    return Subject(text, task, call, family, "per_image=True" in text, dict(facts))


SUBJECTS = [
    subject(text, task, family, **facts)
    for text, family, facts in (
        ("users_dice", "region", {"metric": "dice", "proper": True}),
        ("users_dice(smooth=1, per_image=True)", "region", {"smooth": 1}),
        ("users_squared_dice", "region", {"metric": "dice"}),
        ("users_ce", "pixel", {"proper": True}),
        ("users_generalised_ce(q=0.5)", "pixel", {}),
    )
    for task in ("multiclass", "multilabel", "binary")
]


@pytest.mark.parametrize("name", list(checks.ALL))
@pytest.mark.parametrize("loss", SUBJECTS, ids=str)
def test_a_users_loss_obeys_every_law(loss: Subject, name: str):
    checks.ALL[name](loss)


PAIRS = [
    ("users_dice(smooth=2)", "dice(smooth=2)"),
    ("users_dice(per_image=True, smooth=1, absent='penalize')", "dice(per_image=True, smooth=1, absent='penalize')"),
    ("users_dice(classes=[1, 2])", "dice(classes=[1, 2])"),
    ("users_dice(class_weight=[1, 2, 3, 4])", "dice(class_weight=[1, 2, 3, 4])"),
    ("users_squared_dice", "dice(squared=True)"),
    ("users_ce(class_weight=[1, 2, 3, 4])", "ce(class_weight=[1, 2, 3, 4])"),
    ("users_ce(reduction='sum')", "ce(reduction='sum')"),
    ("users_ce(unlabelled='background')", "ce(unlabelled='background')"),
    ("users_ce(logit_scale=2, logit_bias=[0, 1, 2, 3])", "ce(logit_scale=2, logit_bias=[0, 1, 2, 3])"),
    ("users_weighted_ce(rare=3, reduction='sum')", "ce(class_weight=[1, 1, 3, 1], reduction='sum')"),
    ("0.5*users_dice + users_ce", "0.5*dice + ce"),
]


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_users_copy_of_a_built_in_loss_is_that_loss(ours: str, theirs: str, soft: bool):
    p = problem(seed=100)
    p = p.ignoring(mask_of(p, 6))
    target = p.target
    if soft:
        target = fractions("multiclass", p.logits)
        target[:, :, 1, 1] = 0
    weight = positive_weights(p, zeros=True)
    results = []
    for text in (ours, theirs):
        z = p.logits.clone().requires_grad_()
        loss = segcrit.Criterion(text)(z, target, weight)
        results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-13)


def test_generalised_cross_entropy_by_hand(users):
    logits = torch.log(torch.tensor([[0.3, 0.6, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64))
    value = users.users_generalised_ce(logits, torch.tensor([1, 2]), q=0.5)
    assert float(value) == pytest.approx(((1 - 0.6**0.5) / 0.5 + (1 - 0.8**0.5) / 0.5) / 2, rel=1e-12)


def test_pooled_formula(users):
    p = problem(seed=101)
    p = p.ignoring(mask_of(p, 6))
    z = p.logits.clone().requires_grad_()
    loss = segcrit.Criterion("users_generalised_dice")(z, p.target)
    (gradient,) = torch.autograd.grad(loss, z)
    kept = p.target != -100
    prob = torch.softmax(z, 1).movedim(1, -1)[kept]
    true = torch.nn.functional.one_hot(p.target[kept], 4).double()
    w = 1 / (true.sum(0) + 1) ** 2
    wanted = 1 - (2 * (w * (prob * true).sum(0)).sum() + 1e-6) / ((w * (prob + true).sum(0)).sum() + 1e-6)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, z)[0])
    images = [float(users.users_generalised_dice(p.logits[n : n + 1], p.target[n : n + 1])) for n in range(2)]
    assert float(users.users_generalised_dice(p.logits, p.target, per_image=True)) == pytest.approx(sum(images) / 2)


def test_unreduced_and_two_pass_use(users):
    p = problem(seed=102)
    p = p.ignoring(mask_of(p, 6))
    torch.testing.assert_close(
        users.users_ce(p.logits, p.target, reduction="none"),
        segcrit.functional.cross_entropy(p.logits, p.target, reduction="none"),
    )
    torch.testing.assert_close(
        users.users_dice(p.logits, p.target, reduction="none", per_image=True),
        segcrit.functional.dice(p.logits, p.target, reduction="none", per_image=True),
    )
    module = segcrit.Criterion("users_dice + users_generalised_ce")
    wanted = module(p.logits, p.target)
    total = module.sums(p.logits[:1], p.target[:1]) + module.sums(p.logits[1:], p.target[1:])
    torch.testing.assert_close(module(p.logits[1:], p.target[1:], sums=total), wanted)
    pixel = segcrit.Criterion("users_generalised_ce")
    torch.testing.assert_close(pixel.pixel_map(p.logits, p.target).sum(), pixel(p.logits, p.target))


def test_a_users_loss_stands_in_the_table_and_travels():
    rows = {row.name: row for row in segcrit.list_losses()}
    assert rows["users_dice"].family == "region"
    assert rows["users_dice"].formula.startswith("1 − (2 I + s)")
    assert rows["users_generalised_ce"].parameters["q"].default == 0.7
    module = pickle.loads(pickle.dumps(segcrit.Criterion("users_dice + users_ce")))
    p = problem(seed=103)
    torch.testing.assert_close(module(p.logits, p.target), segcrit.Criterion("dice + ce")(p.logits, p.target))
    with pytest.raises(ExpressionError, match="Did you mean 'users_dice'"):
        segcrit.Criterion("users_dise")
    with pytest.raises(ExpressionError, match="'smoth'"):
        segcrit.Criterion("users_dice(smoth=1)")


def test_mistakes_in_formulas_are_named():
    with pytest.raises(ParameterError, match="taken"):

        @segcrit.region_loss
        def dice(s):
            return s.I

    with pytest.raises(ParameterError, match="shape"):

        @segcrit.region_loss
        def users_wrong_shape(s):
            return s.I.sum()

    with pytest.raises(ParameterError, match="default"):

        @segcrit.region_loss
        def users_without_default(s, *, smooth):
            return s.I

    with pytest.raises(ParameterError, match="def instead of lambda"):
        segcrit.pixel_loss(lambda logp, label: -logp)

    @segcrit.pixel_loss
    def users_averaged(logp, label):
        return -logp.mean()

    p = problem(seed=104)
    with pytest.raises(ParameterError, match="one value for each pixel"):
        users_averaged(p.logits, p.target)


def test_a_refused_formula_leaves_the_table_as_it_was():
    before = [row.name for row in segcrit.list_losses()]
    with pytest.raises(ParameterError):

        @segcrit.region_loss
        def users_refused(s):
            return s.I.sum()

    assert [row.name for row in segcrit.list_losses()] == before
    with pytest.raises(ExpressionError):
        segcrit.Criterion("users_refused")


def test_a_formula_may_be_defined_again():
    @segcrit.region_loss
    def users_changing(s):
        return s.T * 0 + 1.0

    p = problem(seed=105)
    assert float(users_changing(p.logits, p.target)) == 1

    @segcrit.region_loss
    def users_changing(s):
        return s.T * 0 + 2.0

    assert float(segcrit.Criterion("users_changing")(p.logits, p.target)) == 2


def test_a_formula_for_one_number_of_classes_is_refused() -> None:
    weights = torch.rand(5)

    def weighted(s: Any) -> Any:
        return weights * (1 - 2 * s.I / (s.P + s.T))

    with pytest.raises(ParameterError) as caught:
        segcrit.region_loss(weighted)
    assert caught.value.code == "formula"
