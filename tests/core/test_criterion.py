"""What a Criterion remembers, shows and survives."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn

import segcrit
from segcrit.core.errors import ParameterError, SegcritError
from tests.laws.cases import CASES, criterion
from tests.laws.problems import Problem, fractions, mask_of, positive_weights, problem

TABLE = [(case, task) for case in CASES for task in case.tasks]


@pytest.mark.parametrize(("case", "task"), TABLE, ids=lambda x: x if isinstance(x, str) else x.expression)
def test_terms_of_the_last_call_sum_to_the_loss(case, task):
    p = problem(task, seed=70)
    module = criterion(f"{case.expression} + 0.5*{case.expression} + 2*dice(smooth=1)", task=task)
    assert module.last_terms == {}
    z = p.logits.clone().requires_grad_()
    loss = module(z, p.target)
    assert len(module.last_terms) == 3
    assert not any(value.requires_grad for value in module.last_terms.values())
    torch.testing.assert_close(sum(module.last_terms.values()), loss.detach(), rtol=1e-12, atol=1e-15)


def test_repeated_terms_are_numbered():
    p = problem(seed=71)
    module = segcrit.Criterion("ce + ce + 0.5*dice(smooth=1) + ce")
    module(p.logits, p.target)
    assert list(module.last_terms) == ["ce", "ce#2", "0.5*dice(smooth=1)", "ce#3"]


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
def test_pixel_map_sums_to_the_pixel_part(task):
    p = problem(task, seed=72)
    p = p.ignoring(mask_of(p, 6))
    weight = positive_weights(p, zeros=True)
    first = "ce(label_smoothing=0.1)" if task == "multiclass" else "bce(pos_weight=2)"
    pixel_part = f"{first} + 0.5*focal + 0.1*focal(gamma=1, reduction='sum')"
    module = criterion(f"{pixel_part} + dice + 3*lovasz", task=task)
    plain = criterion(pixel_part, task=task)
    values = module.pixel_map(p.logits, p.target, weight)
    assert values.shape == (2, 5, 6)
    assert values.dtype == torch.float64
    assert not values.requires_grad
    torch.testing.assert_close(values.sum(), plain(p.logits, p.target, weight), rtol=1e-10, atol=0)
    hidden = (p.target == -100).reshape(2, -1, 5, 6)[:, 0]
    assert (values[hidden] == 0).all()
    assert (values[weight == 0] == 0).all()


def test_pixel_map_of_one_pixel_is_its_share():
    p = problem(seed=73)
    unreduced = segcrit.functional.cross_entropy(p.logits, p.target, reduction="none")
    values = segcrit.Criterion("ce").pixel_map(p.logits, p.target)
    torch.testing.assert_close(values, unreduced / unreduced.numel())


def test_pixel_map_where_nothing_counts_is_zero():
    p = problem(seed=74)
    hidden = p.ignoring(torch.ones_like(p.target, dtype=torch.bool))
    assert (segcrit.Criterion("ce + dice").pixel_map(p.logits, hidden.target) == 0).all()


@pytest.mark.parametrize("text", ["ce", "ce + dice", "lovasz", "ce(logit_scale=2)", "ce(unlabelled='background')"])
def test_confusion_is_a_direct_count_with_truth_in_rows(text):
    p = problem(seed=75, shape=(9, 9))
    p = p.ignoring(mask_of(p, 20))
    weight = positive_weights(p, zeros=True)
    module = criterion(text, statistics=True)
    assert module.last_confusion is None
    module(p.logits, p.target, weight)
    wanted = torch.zeros(4, 4, dtype=torch.int64)
    guess = p.logits.argmax(1)
    for true, found, u in zip(p.target.flatten(), guess.flatten(), weight.flatten(), strict=True):
        if true != -100 and u > 0:
            wanted[true, found] += 1
    assert module.last_confusion.dtype == torch.int64
    assert torch.equal(module.last_confusion, wanted)


def test_confusion_of_sigmoid_tasks():
    p = problem("binary", seed=76)
    p = p.ignoring(mask_of(p, 7))
    module = segcrit.Criterion("bce + dice", task="binary", statistics=True)
    module(p.logits, p.target)
    guess = (p.logits[:, 0] > 0).long()
    wanted = torch.tensor([[((p.target == t) & (guess == g)).sum() for g in (0, 1)] for t in (0, 1)])
    assert torch.equal(module.last_confusion, wanted)
    p = problem("multilabel", seed=76)
    module = segcrit.Criterion("dice", task="multilabel", statistics=True)
    module(p.logits, p.target)
    assert module.last_confusion.shape == (4, 2, 2)
    guess = (p.logits > 0).long()
    assert int(module.last_confusion[2, 1, 0]) == int(((p.target[:, 2] == 1) & (guess[:, 2] == 0)).sum())


def test_statistics_change_neither_loss_nor_gradient():
    p = problem(seed=77)
    results = []
    for statistics in (False, True):
        z = p.logits.clone().requires_grad_()
        loss = segcrit.Criterion("ce + dice", statistics=statistics)(z, p.target)
        results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_deep_supervision_halves_from_level_to_level_and_drops_the_last():
    """nnU-Net's weights: 1, ½, ¼, ..., the last level 0, normalised to sum 1; logits are interpolated, labels never."""
    p = problem(classes=3, shape=(8, 12), seed=78)
    g = torch.Generator().manual_seed(1)
    coarse = [torch.randn(2, 3, 8 // k, 12 // k, generator=g, dtype=torch.float64) for k in (2, 4, 8)]
    levels = [p.logits.clone(), *coarse]
    leaves = [level.clone().requires_grad_() for level in levels]
    module = segcrit.Criterion("ce + dice")
    loss = module(leaves, p.target)
    total = 0.0
    for level, weight in zip(levels[:3], (4 / 7, 2 / 7, 1 / 7), strict=True):
        full = torch.nn.functional.interpolate(level, size=(8, 12), mode="bilinear", align_corners=False)
        total += weight * float(segcrit.Criterion("ce + dice")(full, p.target))
    assert float(loss.detach()) == pytest.approx(total, rel=1e-10)
    loss.backward()
    assert all(leaf.grad is not None for leaf in leaves)
    assert (leaves[3].grad == 0).all()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves[:3])


def test_deep_supervision_with_given_weights_one_level_and_statistics():
    p = problem(classes=3, shape=(8, 8), seed=79)
    small = p.logits[:, :, ::2, ::2].contiguous()
    one = segcrit.Criterion("ce")([p.logits], p.target)
    torch.testing.assert_close(one, segcrit.Criterion("ce")(p.logits, p.target))
    module = segcrit.Criterion("ce", level_weights=[1.0, 3.0], statistics=True)
    loss = module([p.logits, small], p.target)
    full = torch.nn.functional.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False)
    ce = torch.nn.functional.cross_entropy
    torch.testing.assert_close(loss, ce(p.logits, p.target) + 3 * ce(full, p.target))
    torch.testing.assert_close(sum(module.last_terms.values()), loss)
    plain = segcrit.Criterion("ce", statistics=True)
    plain(p.logits, p.target)
    assert torch.equal(module.last_confusion, plain.last_confusion)
    with pytest.raises(ParameterError, match="2 numbers"):
        module([p.logits] * 3, p.target)
    for bad in ([], [0, 0], [-1, 1], "ab", [float("nan")]):
        with pytest.raises(ParameterError):
            segcrit.Criterion("ce", level_weights=bad)


@pytest.mark.parametrize("shape", [(12,), (8, 6), (4, 6, 4)], ids=str)
@pytest.mark.parametrize("align_corners", [False, True])
def test_upsample_interpolates_the_logits(shape, align_corners):
    p = problem(classes=3, shape=shape, seed=80)
    small = torch.randn(2, 3, *(s // 2 for s in shape), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape)]
    a, b = small.clone().requires_grad_(), small.clone().requires_grad_()
    loss = segcrit.Criterion("ce + dice", upsample="linear", align_corners=align_corners)(a, p.target)
    full = torch.nn.functional.interpolate(b, size=shape, mode=mode, align_corners=align_corners)
    wanted = segcrit.Criterion("ce + dice")(full, p.target)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(torch.autograd.grad(loss, a), torch.autograd.grad(wanted, b))
    got = segcrit.functional.dice(small, p.target, upsample="linear", align_corners=align_corners)
    torch.testing.assert_close(got, segcrit.functional.dice(full.detach(), p.target))


ARGUMENTS = {
    "ce + 0.5*dice(smooth=1)": {},
    "bce(pos_weight=3) + lovasz": {"task": "binary", "ignore_index": 255},
    "ce(class_weight=[1, 2, 3, 4]) + dice": {"class_weight": [4.0, 3.0, 2.0, 1.0], "num_classes": 4},
    "focal(alpha=[1, 2, 3, 4])": {"statistics": True, "validate": "never", "level_weights": [1.0, 0.5]},
    "dice(classes=[1, 2], absent='penalize', smooth=1e-05)": {"upsample": "linear", "align_corners": True},
    "ce(logit_bias=[0.5, 0.1, 0, 1])": {"process_group": "world", "backend": "reference"},
}


@pytest.mark.parametrize("text", list(ARGUMENTS))
def test_repr_is_the_call_that_makes_it(text):
    module = segcrit.Criterion(text, **ARGUMENTS[text])
    again = eval(repr(module), {"Criterion": segcrit.Criterion})
    assert repr(again) == repr(module)
    assert again.expression == module.expression
    p = problem(module.task, seed=81)
    module.process_group = again.process_group = None
    torch.testing.assert_close(again(p.logits, p.target), module(p.logits, p.target))


@pytest.mark.parametrize("text", list(ARGUMENTS))
def test_copies_pickles_and_saves(text):
    module = segcrit.Criterion(text, **ARGUMENTS[text])
    p = problem(module.task, seed=82)
    wanted = segcrit.Criterion(text, **{**ARGUMENTS[text], "process_group": None})(p.logits, p.target)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for again in (
        copy.deepcopy(module),
        copy.copy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert repr(again) == repr(module)
        again.process_group = None
        torch.testing.assert_close(again(p.logits, p.target), wanted)


def test_a_copy_after_a_call_works_too():
    p = problem(seed=83)
    module = segcrit.Criterion("ce", statistics=True)
    z = p.logits.clone().requires_grad_()
    module(z, p.target)
    again = copy.deepcopy(module)
    torch.testing.assert_close(again(z, p.target), module(z, p.target))


def test_weights_stay_out_of_checkpoints_and_a_checkpoint_survives_a_change_of_loss():
    class Model(nn.Module):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.net = nn.Conv2d(1, 4, 1)
            self.loss = segcrit.Criterion(text, class_weight=[1.0, 2.0, 3.0, 4.0])

    model = Model("ce + focal(alpha=[1, 2, 3, 4])")
    assert model.loss.state_dict() == {}
    assert set(model.state_dict()) == {"net.weight", "net.bias"}
    Model("dice").load_state_dict(model.state_dict())
    assert list(model.loss.parameters()) == []


def test_weights_move_with_the_module():
    module = segcrit.Criterion("ce + dice", class_weight=[1.0, 2.0, 3.0, 4.0])
    buffers = list(module.buffers())
    assert buffers
    assert all(b.device.type == "meta" for b in module.to("meta").buffers())
    module = segcrit.Criterion("ce", class_weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    p = problem(seed=84)
    wanted = module(p.logits, p.target)
    for moved in (module.to(torch.float64), module.double(), module.to("cpu"), module.half()):
        torch.testing.assert_close(moved(p.logits, p.target), wanted)
    assert module(p.logits.float(), p.target).dtype == torch.float32
    assert module(p.logits.to(torch.bfloat16), p.target).dtype == torch.float32
    assert module(p.logits, p.target).dtype == torch.float64


def test_a_callers_weight_tensor_is_copied():
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    module = segcrit.Criterion("ce", class_weight=weight)
    p = problem(seed=85)
    wanted = module(p.logits, p.target)
    weight.fill_(0)
    torch.testing.assert_close(module(p.logits, p.target), wanted)
    torch.testing.assert_close(copy.deepcopy(module)(p.logits, p.target), wanted)


def test_own_weights_of_a_term_come_before_those_of_the_criterion():
    p = problem(seed=86)
    module = segcrit.Criterion("ce(class_weight=[1, 2, 3, 4]) + dice", class_weight=[4.0, 3.0, 2.0, 1.0])
    wanted = segcrit.functional.cross_entropy(p.logits, p.target, class_weight=[1.0, 2.0, 3.0, 4.0])
    wanted = wanted + segcrit.functional.dice(p.logits, p.target, class_weight=[4.0, 3.0, 2.0, 1.0])
    torch.testing.assert_close(module(p.logits, p.target), wanted)


def test_autocast_keeps_the_arithmetic_wide():
    p = problem(seed=87, dtype=torch.float32)
    module = segcrit.Criterion("ce + dice")
    wanted = module(p.logits, p.target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(module(p.logits, p.target), wanted)


def test_second_derivatives_are_refused_and_not_wrong():
    p = problem(seed=88)
    z = p.logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(segcrit.Criterion("ce + dice")(z, p.target), z, create_graph=True)
    with pytest.raises((SegcritError, RuntimeError), match="derivative"):
        gradient.pow(2).sum().backward()


def test_soft_targets_in_a_mixture_and_a_refusal_in_lovasz():
    p = problem(seed=89)
    soft = fractions("multiclass", p.logits)
    module = segcrit.Criterion("ce + dice + focal")
    assert torch.isfinite(module(p.logits, soft))
    with pytest.raises(SegcritError, match="Lovász"):
        segcrit.Criterion("ce + lovasz")(p.logits, soft)
    # A one-hot target that happens to be stored as floats is hard.
    hot = torch.stack([(p.target == c).double() for c in range(4)], 1)
    torch.testing.assert_close(
        segcrit.Criterion("ce + lovasz")(p.logits, hot), segcrit.Criterion("ce + lovasz")(p.logits, p.target)
    )


def test_no_gradient_is_needed():
    p = problem(seed=90)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not segcrit.Criterion("ce + lovasz + dice")(p.logits, p.target).requires_grad
    with torch.inference_mode():
        segcrit.Criterion("ce + lovasz + dice")(p.logits, p.target)
    assert isinstance(p, Problem)


def test_weights_move_to_a_device_without_float64() -> None:
    """Apple's MPS raises TypeError for float64 tensors; a criterion with class weights moves there all the same."""
    criterion = segcrit.Criterion("ce(class_weight=[1, 2, 3]) + dice")

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor.clone()

    moved = criterion._apply(move)
    assert all(buffer.dtype == torch.float32 for buffer in moved.buffers())
    assert len(list(moved.buffers())) > 0
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 4, 4))
    assert torch.allclose(moved(logits, target), segcrit.Criterion("ce(class_weight=[1, 2, 3]) + dice")(logits, target))


def test_the_loss_may_be_changed_in_place_without_changing_last_terms():
    module = segcrit.Criterion("ce")
    logits, target = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True), torch.randint(0, 3, (1, 4, 4))
    loss = module(logits, target)
    before = float(module.last_terms["ce"])
    loss /= 4
    assert float(module.last_terms["ce"]) == before


@pytest.mark.parametrize("text", ["ce", "ce + dice", "lovasz"])
@pytest.mark.parametrize("classes", [2, 5])
def test_transforms_of_torch_func(text, classes):
    module = segcrit.Criterion(text)
    logits, target = torch.randn(2, classes, 8, 8, requires_grad=True), torch.randint(0, classes, (2, 8, 8))
    (expected,) = torch.autograd.grad(module(logits, target), logits)
    torch.testing.assert_close(torch.func.grad(lambda z: module(z, target))(logits.detach()), expected)
    value, backward = torch.func.vjp(lambda z: module(z, target), logits.detach())
    torch.testing.assert_close(backward(torch.ones_like(value))[0], expected)


def test_sorting_without_positives_steps_once():
    """The largest error alone, however small the weights of the first pixels are."""
    logits, target = torch.tensor([[[3.0, 2.0, 1.0, 0.0]]]), torch.zeros(1, 4).long()
    for first in (1e-20, 1e-300, 0.0, 1.0):
        weight = torch.tensor([[first, 1.0, 1.0, 1.0]], dtype=torch.float64).float()
        exact = segcrit.Criterion("lovasz(exact=True)", task="binary")(logits, target, weight)
        # 1 + z of the first pixel that counts: float32 has no 1e-300.
        assert float(exact) == (4.0 if float(weight[0, 0]) > 0 else 3.0)
