"""What frameworks hand over: subclasses of Tensor, modules built without memory, outputs and targets of several levels."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segcrit
from segcrit.core import errors
from tests.laws.cases import CASES, criterion

Z = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 4, (2, 6, 6), generator=torch.Generator().manual_seed(1))


class TensorImage(Tensor):
    """As fastai's and torchvision's: operations with tensors of another such class fail."""


class TensorMask(Tensor):
    pass


def meta_tensor(values: Tensor) -> Tensor:
    data = pytest.importorskip("monai.data")
    made: Tensor = data.MetaTensor(values)
    return made


MAKERS: dict[str, Callable[[Tensor], Tensor]] = {
    "image": lambda values: values.as_subclass(TensorImage),
    "mask": lambda values: values.as_subclass(TensorMask),
    "MetaTensor": meta_tensor,
}
# Each takes logits and labels.
USES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "Criterion": lambda z, y: segcrit.Criterion("ce + dice + lovasz")(z, y),
    "custom": lambda z, y: segcrit.Criterion("dice(exact=True)".replace("dice", "lovasz"))(z, y),
    "functional": lambda z, y: segcrit.functional.focal(z, y, reduction="none"),
    "module": lambda z, y: segcrit.DiceLoss(class_weight=[1.0, 2, 3, 4])(z, y),
    "pixel_map": lambda z, y: segcrit.Criterion("ce").pixel_map(z, y),
    "weights": lambda z, y: segcrit.Criterion("ce")(z, y, (y > 1).float() + 1),
    "levels": lambda z, y: segcrit.Criterion("ce")([z, z[..., ::2, ::2]], y),
    "Evaluator": lambda z, y: torch.tensor(segcrit.Evaluator(4).update(z, y, [0, 1]).compute().miou),
    "labels": lambda z, y: torch.tensor(segcrit.Evaluator(4).update(z.argmax(1), y, [0, 1]).compute().miou),
    "one_hot": lambda z, y: segcrit.one_hot(y, 4),
    "from_one_hot": lambda z, y: segcrit.from_one_hot(nn.functional.one_hot(y, 4).movedim(-1, 1)),
    "frequencies": lambda z, y: segcrit.class_frequencies(y, num_classes=4).counts,
    "pos_weight": lambda z, y: segcrit.pos_weight((y > 1).long()),
    "class_weights": lambda z, y: segcrit.class_weights(y.flatten().bincount(), "inverse"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", MAKERS)
def test_subclasses_are_taken_as_tensors(kind: str, use: str) -> None:
    wanted = USES[use](Z, Y)
    labels = MAKERS["mask" if kind == "image" else kind](Y)
    got = USES[use](MAKERS[kind](Z), labels)
    torch.testing.assert_close(got, wanted)
    assert type(got) is Tensor


def test_the_gradient_reaches_a_subclass() -> None:
    leaf = Z.clone().requires_grad_()
    segcrit.Criterion("ce")(leaf.as_subclass(TensorImage), Y.as_subclass(TensorMask)).backward()
    other = Z.clone().requires_grad_()
    segcrit.Criterion("ce")(other, Y).backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, other.grad)


class Network(nn.Module):
    def __init__(self, loss: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)
        self.loss = loss()


WEIGHTED: dict[str, Callable[[], nn.Module]] = {
    "keyword": lambda: segcrit.Criterion("ce", class_weight=[1.0, 2, 3, 4]),
    "expression": lambda: segcrit.Criterion("ce(class_weight=[1, 2, 3, 4])"),
    "array": lambda: segcrit.Criterion("ce", class_weight=np.array([1.0, 2, 3, 4])),
    "bias": lambda: segcrit.Criterion("dice(logit_bias=[1, 2, 3, 4])"),
    "module": lambda: segcrit.CrossEntropyLoss(class_weight=[1.0, 2, 3, 4]),
    "focal": lambda: segcrit.FocalLoss(alpha=[1.0, 2, 3, 4]),
}


@pytest.mark.parametrize("loss", WEIGHTED)
def test_weights_survive_construction_without_memory(loss: str) -> None:
    wanted = Network(WEIGHTED[loss])
    with torch.device("meta"):
        model = Network(WEIGHTED[loss])
    model.to_empty(device="cpu")
    model.load_state_dict(wanted.state_dict())
    torch.testing.assert_close(model.loss(Z, Y), wanted.loss(Z, Y))
    # Buffers that were moved there afterwards, as accelerate's init_empty_weights does.
    moved = Network(WEIGHTED[loss]).to("meta")
    torch.testing.assert_close(moved.loss(Z, Y), wanted.loss(Z, Y))
    moved.to_empty(device="cpu")
    torch.testing.assert_close(moved.loss(Z, Y), wanted.loss(Z, Y))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.expression)
def test_every_loss_is_built_without_memory(case: Any) -> None:
    for task in case.tasks:
        with torch.device("meta"):
            made = criterion(case.expression, task=task)
        z, y = (Z, Y) if task == "multiclass" else (Z[:, :1], Y[:, None] % 2)
        if task == "multilabel":
            z, y = Z, torch.stack([Y % 2] * 4, 1)
        torch.testing.assert_close(made(z, y), criterion(case.expression, task=task)(z, y))


def test_weights_without_numbers_are_refused() -> None:
    with torch.device("meta"):
        weight = torch.tensor([1.0, 2, 3, 4])
    for make in (lambda: segcrit.Criterion("ce", class_weight=weight), lambda: segcrit.DiceLoss(class_weight=weight)):
        with pytest.raises(errors.ParameterError) as caught:
            make()
        assert caught.value.code == "meta-tensor"


def test_weights_of_a_module_in_half_precision_are_those_given() -> None:
    loss = segcrit.Criterion("ce", class_weight=[1.0, 2, 3, 4])
    wanted = loss(Z, Y)
    torch.testing.assert_close(loss.half().float()(Z, Y), wanted)


LEVELS = [Z, Z[..., ::2, ::2], Z[..., ::3, ::3]]


def test_a_list_of_targets_belongs_to_the_list_of_outputs() -> None:
    loss = segcrit.Criterion("ce + dice", level_weights=[0.5, 0.3, 0.2])
    targets = [Y, Y[:, ::2, ::2], Y[:, ::3, ::3]]
    one = segcrit.Criterion("ce + dice")
    wanted = sum(w * one(z, y) for w, z, y in zip([0.5, 0.3, 0.2], LEVELS, targets, strict=True))
    torch.testing.assert_close(loss(LEVELS, targets), wanted)
    torch.testing.assert_close(loss(tuple(LEVELS), [y[:, None].float() for y in targets]), wanted)
    weights = [torch.ones_like(y, dtype=torch.float32) for y in targets]
    torch.testing.assert_close(loss(LEVELS, targets, weights), wanted)
    with pytest.raises(errors.ShapeError) as caught:
        loss(LEVELS, targets[:2])
    assert caught.value.code == "levels"


@pytest.mark.parametrize("target", [Y, Y[:, None], Y[:, None].float(), segcrit.one_hot(Y, 4), [Y, Y, Y]])
def test_stacked_outputs_are_the_list_of_them(target: Any) -> None:
    levels = [Z, Z + 1.0, 2 * Z]
    loss = segcrit.Criterion("ce + dice", num_classes=4)
    wanted = loss(levels, target)
    torch.testing.assert_close(loss(torch.stack(levels, 1), target), wanted)
    torch.testing.assert_close(loss(torch.stack(levels, 1), target, torch.ones(2, 6, 6)), wanted)


def test_stacked_volumes_and_binary_outputs() -> None:
    z, y = torch.randn(1, 3, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    loss = segcrit.Criterion("ce")
    torch.testing.assert_close(loss(torch.stack([z, z + z], 1), y), loss([z, z + z], y))
    # One volume stays one volume.
    torch.testing.assert_close(loss(z, y), nn.functional.cross_entropy(z, y))
    binary = segcrit.Criterion("bce", task="binary")
    z, y = torch.randn(2, 1, 5, 5), torch.randint(0, 2, (2, 1, 5, 5))
    torch.testing.assert_close(binary(torch.stack([z, z + z], 1), y), binary([z, z + z], y))


Output = collections.namedtuple("Output", ["loss", "prediction"])


class ModelOutput(dict[str, Any]):
    """As Hugging Face's: a dictionary whose entries are attributes too."""

    @property
    def logits(self) -> Any:
        return self["logits"]


OUTPUTS: dict[str, tuple[Any, str]] = {
    "torchvision": ({"out": Z, "aux": Z}, "output['out']"),
    "aux first": ({"aux": Z, "out": Z}, "output['out']"),
    "other name": ({"seg": Z}, "output['seg']"),
    "attribute": (ModelOutput(loss=Z.sum(), logits=Z), "output.logits"),
    "tuple": ((Z.sum(), Z), "output[1]"),
    "named tuple": (Output(Z.sum(), Z), "output.prediction"),
    "nested": ({"a": {"out": Z}}, "output['a']['out']"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_models_are_explained(name: str) -> None:
    output, place = OUTPUTS[name]
    uses: list[Callable[[], Any]] = [
        lambda: segcrit.Criterion("ce")(output, Y),
        lambda: segcrit.Evaluator(4).update(output, Y),
    ]
    if not isinstance(output, tuple):
        uses += [lambda: segcrit.DiceLoss()(output, Y), lambda: segcrit.one_hot(output, 4)]
    for use in uses:
        with pytest.raises(errors.DtypeError) as caught:
            use()
        assert caught.value.code == "model-output"
        assert place in caught.value.advice


MISSING: dict[str, tuple[str, Tensor, Tensor, str]] = {
    "batch": ("multiclass", Z[0], Y[0], "logits.unsqueeze(0) and target.unsqueeze(0)"),
    "batch of the target": ("multiclass", Z[:1], Y[0], "target.unsqueeze(0)"),
    "batch of the logits": ("multiclass", Z[0], Y[:1], "logits.unsqueeze(0)"),
    "channel": ("binary", Z[:, 0], Y % 2, "logits.unsqueeze(1)"),
    "batch of binary": ("binary", Z[0, :1], Y[0] % 2, "logits.unsqueeze(0) and target.unsqueeze(0)"),
    "both": ("binary", Z[0, 0], Y[0] % 2, "logits.unsqueeze(0).unsqueeze(0) and target.unsqueeze(0)"),
    "volume": ("multiclass", torch.randn(3, 4, 5, 6), torch.zeros(4, 5, 6).long(), "target.unsqueeze(0)"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_axis_is_named(name: str) -> None:
    task, logits, target, advice = MISSING[name]
    expression = "bce" if task == "binary" else "ce"
    with pytest.raises(errors.ShapeError) as caught:
        segcrit.Criterion(expression, task=task)(logits, target)
    assert caught.value.code == "missing-axis"
    assert advice in caught.value.advice
    evaluator = segcrit.Evaluator(1 if task == "binary" else (3 if name == "volume" else 4), task=task)
    with pytest.raises(errors.ShapeError) as caught:
        evaluator.update(logits, target)
    assert caught.value.code == "missing-axis"
    assert advice.replace("logits", "prediction") in caught.value.advice


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_wide_unsigned_labels(dtype: torch.dtype) -> None:
    y = Y.numpy().astype(str(dtype).removeprefix("torch."))
    for target in (torch.from_numpy(y), torch.from_numpy(y[:, None])):
        torch.testing.assert_close(segcrit.Criterion("ce + dice")(Z, target), segcrit.Criterion("ce + dice")(Z, Y))
    assert (
        segcrit.Evaluator(4).update(Z, y, [0, 1]).compute().miou
        == segcrit.Evaluator(4).update(Z, Y, [0, 1]).compute().miou
    )
    y[0, 0, 0] = np.iinfo(y.dtype).max
    uses: list[Callable[[], Any]] = [
        lambda: segcrit.Criterion("ce", ignore_index=-1)(Z, torch.from_numpy(y)),
        lambda: segcrit.Evaluator(4, ignore_index=-1).update(Z, y),
        lambda: segcrit.Evaluator(4, ignore_index=-1).update(y, Y),
        lambda: segcrit.one_hot(torch.from_numpy(y), 4, ignore_index=-1),
        lambda: segcrit.class_frequencies(y, num_classes=4, ignore_index=-1),
    ]
    for use in uses:
        with pytest.raises(errors.LabelError):
            use()
