"""A formula that an engine does not know is never computed as another one, and common parameters are honoured or refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import segcrit
from segcrit import engines
from segcrit.core.errors import BackendError, ParameterError
from segcrit.engines import reference
from segcrit.engines.cpu import native
from segcrit.engines.formulas import PixelFormula
from segcrit.engines.request import Call, Request, Sweep
from segcrit.engines.triton import engine as triton
from segcrit.losses import table
from segcrit.losses.formulas.ranking import RankingFormula
from segcrit.losses.formulas.region import RegionFormula
from tests.laws.problems import mask_of, problem


@pytest.fixture(autouse=True)
def saved_table() -> Iterator[None]:
    """The table of losses is as before when a test is over."""
    saved = [(live, dict(live)) for live in (table._TABLE, table._NAMES)]
    yield
    for live, before in saved:
        live.clear()
        live.update(before)


def _register(compute: object, signature: object, name: str, family: str, **options: object) -> None:
    table.register(
        compute, signature, name=name, family=family, title=name, tasks=("multiclass", "multilabel", "binary"),
        formula="", reference="", use_when="", avoid_when="", **options,
    )  # type: ignore[arg-type]  # fmt: skip


def _signature(*, gamma: float = 0.5) -> None:
    """A parameter that has the name of another formula's."""


def _value(log_p: Tensor, *, gamma: float) -> Tensor:
    return gamma * (1 - torch.exp(log_p)) ** 2 - log_p


def _slope(log_p: Tensor, *, gamma: float) -> Tensor:
    p = torch.exp(log_p)
    return -2 * gamma * (1 - p) * p - 1


@pytest.fixture
def made_up() -> None:
    """A pixel formula as a row beside the others."""
    _register(PixelFormula("made_up", _value, _slope, ("gamma",)), _signature, "made_up", "pixel")


def _made_up_by_hand(logits: Tensor, target: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits.double(), 1).gather(1, target.clamp_min(0)[:, None])[:, 0][target >= 0]
    return (0.5 * (1 - log_p.exp()) ** 2 - log_p).mean()


@pytest.mark.parametrize("text", ["made_up", "ce + made_up + dice", "made_up + lovasz + focal"])
def test_an_unknown_pixel_formula_is_computed_as_itself(made_up: None, text: str) -> None:
    p = problem(seed=200, dtype=torch.float32)
    p = p.ignoring(mask_of(p, 6))
    z = p.logits.clone().requires_grad_()
    module = segcrit.Criterion(text)
    loss = module(z, p.target)
    torch.testing.assert_close(module.last_terms["made_up"].double(), _made_up_by_hand(p.logits, p.target))
    exact = p.logits.double().requires_grad_()
    others = " + ".join(term for term in text.split(" + ") if term != "made_up")
    wanted = _made_up_by_hand(exact, p.target) + (segcrit.Criterion(others)(exact, p.target) if others else 0.0)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(wanted, exact)[0], rtol=1e-4, atol=1e-6)
    share = segcrit.Criterion("made_up").pixel_map(p.logits, p.target)
    torch.testing.assert_close(share.sum(), module.last_terms["made_up"].float())


@pytest.mark.parametrize("module", [native, triton], ids=["native", "triton"])
def test_an_engine_gets_what_its_table_has(made_up: None, module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "pick", lambda *_: module)
    plan = segcrit.Criterion("ce + made_up + focal(gamma=1) + dice + lovasz")._plan.groups[0].template.at(Call())
    sweep = Sweep(torch.zeros(1, 3, 4), torch.zeros(1, 4).long(), None, torch.ones(3, 2, 3), None)
    own, rest = engines.parts(sweep, plan)
    assert (own.engine, own.losses, own.request.errors) == (module, (0, 2), "probability")
    assert [item.key for item in rest.request.pixel] == ["made_up"]
    assert (rest.engine, rest.request.fields, rest.request.errors) == (reference, (), "none")


def test_a_key_belongs_to_one_formula() -> None:
    with pytest.raises(ParameterError, match="'focal'"):
        _register(PixelFormula("focal", _value, _slope, ("gamma",)), _signature, "impostor", "pixel")
    assert table.lookup("impostor") is None


def test_an_unknown_sum_is_refused_by_name() -> None:
    def skewed(s: object) -> Tensor:
        return s.S / s.P

    _register(RegionFormula(skewed), skewed, "skewed", "region")
    with pytest.raises(ParameterError, match="'S'"):
        segcrit.Criterion("skewed")
    _register(RegionFormula(lambda s: s.I / s.P, fields=("P",)), skewed, "undeclared", "region")
    with pytest.raises(ParameterError, match="'I'"):
        segcrit.Criterion("undeclared")


def test_unknown_errors_are_refused() -> None:
    with pytest.raises(ParameterError, match="'squared'"):
        RankingFormula("squared")  # type: ignore[arg-type]


def test_a_request_that_no_engine_knows_is_refused() -> None:
    sweep = Sweep(torch.zeros(1, 3, 4), torch.zeros(1, 4).long(), None, torch.ones(0, 2, 3), None)
    for options in ({"fields": ("I", "Z")}, {"errors": "Z", "bins": 8}):
        with pytest.raises(BackendError, match="'Z'"):
            engines.parts(sweep, Request(task="multiclass", **options))


def test_rows_without_the_parameters_of_their_family() -> None:
    def bare(s: object) -> Tensor:
        return 1 - 2 * s.M / (s.P + s.T)

    without = ("absent", "reduction", "classes", "class_weight", "unlabelled", "logit_scale", "logit_bias")
    _register(RegionFormula(bare), bare, "bare", "region", without=without)
    p = problem(seed=202)
    for per_image in (False, True):
        found = segcrit.Criterion(f"bare(per_image={per_image})")(p.logits, p.target)
        torch.testing.assert_close(found, segcrit.Criterion(f"dice(per_image={per_image})")(p.logits, p.target))


def test_pooled_formulas_honour_common_parameters_or_refuse_them() -> None:
    @segcrit.region_loss(pooled=True)
    def all_together(s):
        return 1 - 2 * s.M.sum(-1) / (s.P + s.T).sum(-1)

    p = problem(seed=203)
    by_image = [float(all_together(p.logits[n : n + 1], p.target[n : n + 1], classes=[1, 2])) for n in range(2)]
    for reduction, wanted in (("mean", sum(by_image) / 2), ("sum", sum(by_image))):
        text = f"all_together(classes=[1, 2], per_image=True, reduction='{reduction}')"
        assert float(segcrit.Criterion(text)(p.logits, p.target)) == pytest.approx(wanted)
    for name, value in (("class_weight", [1, 2, 3, 4]), ("absent", "penalize")):
        with pytest.raises((ParameterError, TypeError, ValueError), match=name):
            all_together(p.logits, p.target, **{name: value})
    with pytest.raises(ParameterError, match="all_together"):
        segcrit.Criterion("ce + all_together", class_weight=[1.0, 2.0, 3.0, 4.0])


def test_a_map_of_values_of_both_signs_sums_to_the_loss() -> None:
    """Their sum may be 0 although no value is."""

    @segcrit.pixel_loss
    def centred(logp, label):
        return torch.where(label == 0, 1.0, -1.0) + 0 * logp

    values = segcrit.Criterion("centred").pixel_map(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]]))
    assert values.tolist() == [[0.25, -0.25, -0.25, 0.25]]


@pytest.mark.parametrize("text", ["dice", "lovasz + jaccard"])
def test_a_pixel_has_no_share_of_a_loss_of_sums(text: str) -> None:
    p = problem(seed=204)
    with pytest.raises(ParameterError, match="pixel loss"):
        segcrit.Criterion(text).pixel_map(p.logits, p.target)
