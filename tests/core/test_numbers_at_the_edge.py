"""Numbers at the edge of their type: a loss is finite where float64 is and float32 holds it, else NaN with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import segcrit
from segcrit.engines import reference
from tests.laws.cases import criterion

Z = torch.randn(2, 3, 17, 16, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (2, 17, 16), generator=torch.Generator().manual_seed(1))
U = torch.rand(2, 17, 16, generator=torch.Generator().manual_seed(2)) + 0.5


@dataclass(frozen=True)
class Edge:
    """A batch with an extreme number in it."""

    logits: Callable[[Tensor], Tensor] = lambda z: z
    weight: Callable[[Tensor], Tensor] | None = None
    settings: dict[str, Any] = field(default_factory=dict)


EDGES = {
    "logits of 1e38": Edge(lambda z: z.sign() * 1e38),
    "logits of 3e38": Edge(lambda z: z.sign() * 3e38),
    "one logit of 1e38": Edge(lambda z: torch.where(z == z.max(), 1e38, z)),
    "one NaN": Edge(lambda z: torch.where(z == z.max(), float("nan"), z)),
    "pixel weights of 1e38": Edge(weight=lambda u: u * 1e38),
    "pixel weights of 1e-40": Edge(weight=lambda u: u * 1e-40),
    "one pixel weight of 1e38": Edge(weight=lambda u: torch.where(u == u.max(), 1e38, u)),
    "class weights of 1e-45": Edge(settings={"class_weight": [1e-45] * 3}),
    "a class weight of 1e-45": Edge(settings={"class_weight": [1.0, 1e-45, 2.0]}),
    "class weights of 1e38": Edge(settings={"class_weight": [1e38, 2e38, 3e38]}),
    "class weights of 1e300": Edge(settings={"class_weight": [1e300, 2e300, 3e300]}),
}
LOSSES = ["ce", "ce(label_smoothing=0.1)", "focal", "dice", "jaccard(per_image=True)", "tversky", "lovasz", "ce + dice"]
SIGMOID = ["bce", "focal", "dice", "jaccard", "tversky", "lovasz_hinge"]


def check(expression: str, edge: Edge, z: Tensor, y: Tensor, **settings: Any) -> None:
    """The loss in the dtype of z beside the one in float64."""
    loss = criterion(expression, **settings, **edge.settings)
    weight = None if edge.weight is None else edge.weight(U)
    found = []
    for dtype in (z.dtype, torch.float64):
        leaf = edge.logits(z).to(dtype, copy=True).requires_grad_()
        value = loss(leaf, y, None if weight is None else weight.to(torch.float64))
        value.backward()
        found.append((float(value.detach()), torch.as_tensor(leaf.grad).double()))
    (value, gradient), (wide, wide_gradient) = found
    if abs(wide) <= torch.finfo(torch.float32).max:
        assert value == pytest.approx(wide, rel=2e-3, abs=1e-6)
        assert gradient.isfinite().all()
        torch.testing.assert_close(
            gradient, wide_gradient, rtol=2e-2, atol=1e-4 * float(wide_gradient.abs().max()) + 1e-8
        )
    else:
        assert value != value
        assert gradient.isnan().any()


@pytest.mark.parametrize("expression", LOSSES)
@pytest.mark.parametrize("name", EDGES)
def test_softmax(name: str, expression: str) -> None:
    check(expression, EDGES[name], Z, Y)


@pytest.mark.parametrize("expression", SIGMOID)
@pytest.mark.parametrize("name", [name for name in EDGES if "class" not in name])
def test_sigmoid(name: str, expression: str) -> None:
    check(expression, EDGES[name], Z[:, :1], Y % 2, task="binary")


@pytest.mark.parametrize("name", ["logits of 1e38", "pixel weights of 1e38", "class weights of 1e-45"])
def test_two_classes_soft_targets_and_upsampling(name: str) -> None:
    two = Edge(EDGES[name].logits, EDGES[name].weight, {"class_weight": [1e-45] * 2} if "class" in name else {})
    check("ce + dice", two, Z[:, :2].contiguous(), Y % 2)
    if name != "logits of 1e38":  # their gradient is at the edge of its own
        check("ce + dice", EDGES[name], Z, torch.softmax(Z.flip(1), 1))
    check("ce + dice", EDGES[name], Z[:, :, ::4, ::4].contiguous(), Y, upsample="linear")


def test_large_upsampled_logits_stay_on_their_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Edge(lambda z: (z * 100).round() * 1e4)
    for expression in ("ce", "ce + dice", "lovasz"):
        with monkeypatch.context() as patch, segcrit.use_backend("cpu"):
            patch.setattr(reference, "backward", lambda *_: pytest.fail("left to the reference engine"))
            check(expression, logits, Z[:, :, ::4, ::4].contiguous(), Y, upsample="linear")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    for name in ("pixel weights of 1e38", "class weights of 1e-45", "one NaN"):
        check("ce + dice", EDGES[name], Z.to(dtype), Y)
    check("ce + dice", Edge(lambda z: z.sign() * torch.finfo(dtype).max), Z.to(dtype), Y)


@pytest.mark.parametrize("expression", ["dice", "jaccard", "tversky", "dice(classes=[1])", "bce + dice"])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_nan_at_an_absent_class_reaches_value_and_gradient(task: str, expression: str) -> None:
    if task == "binary" and "classes" in expression:
        return
    z = (Z[:, :1] if task == "binary" else Z).clone()
    z[0, 0, 3, 3] = float("nan")
    z.requires_grad_()
    value = criterion(expression, task=task)(z, torch.zeros(z.shape, dtype=torch.int64))
    value.backward()
    assert value.isnan()
    assert torch.as_tensor(z.grad).isnan().any()


def test_a_sum_beyond_the_type_is_nan() -> None:
    for call in (
        lambda z: segcrit.functional.cross_entropy(z, Y, pixel_weight=U * 1e38, reduction="sum"),
        lambda z: segcrit.Criterion("1e38*ce(reduction='sum')")(z, Y),
    ):
        leaf = Z.clone().requires_grad_()
        value = call(leaf)
        value.backward()
        assert value.isnan()
        assert torch.as_tensor(leaf.grad).isnan().any()


def test_an_infinite_value_of_one_pixel_is_nan_with_its_gradient() -> None:
    leaf = torch.tensor([[[0.0, 0.0], [-torch.inf, 1.0]]], requires_grad=True)
    values = segcrit.functional.cross_entropy(leaf, torch.tensor([[1, 1]]), reduction="none")
    values.sum().backward()
    assert values.isnan().tolist() == [[True, False]]
    assert torch.as_tensor(leaf.grad)[0].isnan().any(0).tolist() == [True, False]


def test_a_pooled_loss_of_nothing_is_nan_without_reduction() -> None:
    leaf = torch.zeros(2, 1, 4, requires_grad=True)
    target = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]])
    values = segcrit.functional.generalised_dice(leaf, target, task="binary", per_image=True, reduction="none")
    values[1].backward()
    assert values.isnan().tolist() == [True, False]
    assert torch.as_tensor(leaf.grad).isfinite().all()


@pytest.mark.parametrize("expression", ["ce(keep=0.5)", "ce(ohem=0.7, min_kept=20)"])
def test_what_a_reducer_keeps_is_finite_or_nan_with_its_gradient(expression: str) -> None:
    for weight in (1e-45, 1e-35, 1.0, 1e38, 1e300):
        leaf = Z.clone().requires_grad_()
        value = criterion(expression, class_weight=[weight] * 3)(leaf, Y)
        value.backward()
        gradient = torch.as_tensor(leaf.grad)
        assert bool(value.isfinite()) == bool(gradient.isfinite().all())
        assert not gradient.isinf().any()
        if 1e-37 < weight < 1e30:
            torch.testing.assert_close(value, criterion(expression)(Z, Y), rtol=1e-5, atol=0.0)
