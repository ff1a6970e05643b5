"""Sums add up: micro-batches, tiles and shards give the loss and the gradient of the whole."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import segcrit
from segcrit.core.errors import ParameterError

from .cases import CASES, criterion
from .problems import IGNORE, Problem, mask_of, positive_weights, problem

ADDITIVE = [(case, task) for case in CASES for task in case.tasks if case.is_additive]


def whole_and_parts(task: str) -> tuple[Problem, torch.Tensor, list[slice]]:
    """Five images in parts of 2, 1, 1 and 1, of which one has nothing valid and the others differ in valid pixels."""
    p = problem(task, images=5, seed=60)
    hidden = mask_of(p, 4)
    hidden[3] = True
    hidden[4, :3] = True
    return p.ignoring(hidden), positive_weights(p, zeros=True), [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5)]


@pytest.mark.parametrize(("case", "task"), ADDITIVE, ids=lambda x: x if isinstance(x, str) else x.expression)
def test_two_passes_over_parts_give_the_whole(case, task):
    p, weight, parts = whole_and_parts(task)
    module = criterion(case.expression, task=task)
    z = p.logits.clone().requires_grad_()
    wanted = module(z, p.target, weight)
    (wanted_gradient,) = torch.autograd.grad(wanted, z)
    total = sum(module.sums(p.logits[part], p.target[part], weight[part]) for part in parts)
    assert isinstance(total, segcrit.Sums)
    gradients = []
    for part in parts:
        z = p.logits[part].clone().requires_grad_()
        loss = module(z, p.target[part], weight[part], sums=total)
        torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-14)
        gradients.append(torch.autograd.grad(loss, z)[0])
    torch.testing.assert_close(torch.cat(gradients), wanted_gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("text", ["ce", "ce + dice(smooth=1) + 0.5*lovasz", "focal + jaccard(log=True)"])
def test_tiles_of_one_image_give_the_image(text):
    p = problem(images=1, shape=(12, 10), seed=61)
    p = p.ignoring(mask_of(p, 17))
    module = segcrit.Criterion(text)
    z = p.logits.clone().requires_grad_()
    wanted = module(z, p.target)
    (wanted_gradient,) = torch.autograd.grad(wanted, z)
    rows = [slice(0, 5), slice(5, 6), slice(6, 12)]
    total = sum(module.sums(p.logits[:, :, r], p.target[:, r]) for r in rows)
    gradients = []
    for r in rows:
        z = p.logits[:, :, r].clone().requires_grad_()
        loss = module(z, p.target[:, r], sums=total)
        torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-14)
        gradients.append(torch.autograd.grad(loss, z)[0])
    torch.testing.assert_close(torch.cat(gradients, 2), wanted_gradient, rtol=1e-9, atol=1e-14)


def test_sums_of_one_batch_change_nothing():
    p = problem(seed=62)
    module = segcrit.Criterion("ce + lovasz + dice(per_image=True)")
    wanted = module(p.logits, p.target)
    torch.testing.assert_close(module(p.logits, p.target, sums=module.sums(p.logits, p.target)), wanted)


def test_sums_merge_in_any_order_and_travel():
    p, weight, parts = whole_and_parts("multiclass")
    module = segcrit.Criterion("ce + dice")
    sums = [module.sums(p.logits[part], p.target[part], weight[part]) for part in parts]
    forth = sums[0] + sums[1] + sums[2] + sums[3]
    back = sums[3].merge(sums[2]).merge(sums[1]).merge(sums[0])
    again = copy.deepcopy(pickle.loads(pickle.dumps(forth))).to("cpu")
    a = module(p.logits[:2], p.target[:2], weight[:2], sums=forth)
    for other in (back, again):
        torch.testing.assert_close(module(p.logits[:2], p.target[:2], weight[:2], sums=other), a)
    assert not any(value.requires_grad for value in forth.tensors.values())
    assert "ce + dice" in repr(forth)


def test_sums_of_another_criterion_are_refused():
    p = problem(seed=63)
    ours, others = segcrit.Criterion("ce + dice"), segcrit.Criterion("ce + jaccard")
    with pytest.raises(ParameterError, match="ce \\+ jaccard"):
        ours(p.logits, p.target, sums=others.sums(p.logits, p.target))
    with pytest.raises(ParameterError, match="same criterion"):
        ours.sums(p.logits, p.target) + others.sums(p.logits, p.target)
    with pytest.raises(ParameterError):
        ours(p.logits, p.target, sums={"ce": 1.0})  # type: ignore[arg-type]
    wider = problem(classes=6, seed=63)
    with pytest.raises(ParameterError, match="classes"):
        ours(wider.logits, wider.target, sums=ours.sums(p.logits, p.target))


def test_sorting_the_whole_batch_has_no_sums():
    p = problem(seed=64)
    module = segcrit.Criterion("lovasz(exact=True)")
    with pytest.raises(ParameterError, match=r"exact=True.*histograms"):
        module.sums(p.logits, p.target)


def test_sums_with_class_weights_of_the_criterion():
    p, weight, parts = whole_and_parts("multiclass")
    module = segcrit.Criterion("ce + dice", class_weight=[1.0, 0.0, 2.0, 5.0])
    wanted = module(p.logits, p.target, weight)
    total = sum(module.sums(p.logits[part], p.target[part], weight[part]) for part in parts)
    got = module(p.logits[parts[1]], p.target[parts[1]], weight[parts[1]], sums=total)
    torch.testing.assert_close(got, wanted)


def test_evaluating_a_part_without_gradient_gives_the_whole_value():
    p, weight, parts = whole_and_parts("multiclass")
    module = segcrit.Criterion("ce + lovasz")
    total = sum(module.sums(p.logits[part], p.target[part], weight[part]) for part in parts)
    with torch.no_grad():
        got = module(p.logits[parts[0]], p.target[parts[0]], weight[parts[0]], sums=total)
    torch.testing.assert_close(got, module(p.logits, p.target, weight))
    assert IGNORE in p.target
