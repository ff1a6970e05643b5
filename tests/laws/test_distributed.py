"""Processes with different shares of a batch return the loss of the whole batch, and DDP's average its gradient."""

from __future__ import annotations

import copy
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import segcrit
from segcrit.core.errors import LabelError, ParameterError

from .cases import CASES, criterion
from .problems import Problem, mask_of, positive_weights, problem

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="no gloo in this PyTorch"),
]

JOBS = [(case.expression, task) for case in CASES for task in case.tasks if case.is_additive]
JOBS += [
    ("ce + 0.5*dice(smooth=1) + 2*focal + lovasz", "multiclass"),
    ("bce(pos_weight=2) + jaccard(per_image=True) + lovasz", "multilabel"),
    ("ce(unlabelled='background') + partial_ce + lovasz(per_image=True)", "multiclass"),
]
# Images of each rank. In the second world the last rank has none at all, and the third only ignored pixels.
SHARES = {2: [3, 2], 4: [2, 1, 1, 0]}


def whole(task: str, world: int) -> tuple[Problem, torch.Tensor]:
    """The joined batch: ranks differ in valid pixels, and the last images (a whole rank) have none."""
    p = problem(task, images=sum(SHARES[world]), seed=130)
    hidden = mask_of(p, 3)
    hidden[1, :2] = True
    hidden[3:] = True
    return p.ignoring(hidden), positive_weights(p, zeros=True)


def share(world: int, rank: int) -> slice:
    start = sum(SHARES[world][:rank])
    return slice(start, start + SHARES[world][rank])


def model_and_data() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 1)).double()
    return model, torch.randn(5, 3, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def worker(rank: int, world: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=120),
    )
    results: dict[Any, Any] = {}
    part = share(world, rank)
    for text, task in JOBS:
        p, weight = whole(task, world)
        module = criterion(text, task=task, process_group="world")
        z = p.logits[part].clone().requires_grad_()
        loss = module(z, p.target[part], weight[part])
        (gradient,) = torch.autograd.grad(loss, z)
        results[text, task] = (loss.detach(), gradient, sum(module.last_terms.values()))
    p, weight = whole("multiclass", world)
    # Validation on one rank alone, without gradients, must not wait for the others.
    if rank == 0:
        with torch.no_grad():
            results["alone"] = segcrit.Criterion("ce + lovasz", process_group="world")(p.logits[part], p.target[part])
    try:
        segcrit.Criterion("lovasz(exact=True)", process_group="world")(
            p.logits[part].clone().requires_grad_(), p.target[part]
        )
        results["exact"] = "accepted"
    except ParameterError as error:
        results["exact"] = str(error)
    # A label that is no class, on one rank.
    try:
        wrong = p.target[part].clone().fill_(77 if rank == 0 else 0)
        segcrit.Criterion("ce + dice", process_group="world")(p.logits[part].clone().requires_grad_(), wrong)
    except LabelError as error:
        results["wrong label"] = error.code
    # Two passes over micro-batches of one image on every rank, with the ranks joined as well.
    module = segcrit.Criterion("ce + dice + lovasz", process_group="world")
    z = p.logits[part].clone().requires_grad_()
    images = [slice(k, k + 1) for k in range(z.shape[0])]
    most = max(SHARES[world])
    # Every rank makes as many calls, empty ones included: collectives must match.
    images += [slice(0, 0)] * (most - len(images))
    total = sum(module.sums(z[k], p.target[part][k], weight[part][k]) for k in images)
    for k in images:
        loss = module(z[k], p.target[part][k], weight[part][k], sums=total)
        loss.backward()
    results["micro"] = (loss.detach(), z.grad)
    # Two groups of their own.
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])] if world == 4 else [dist.new_group([0, 1])]
    module = segcrit.Criterion("ce + dice", process_group=pairs[rank // 2])
    z = p.logits[part].clone().requires_grad_()
    loss = module(z, p.target[part], weight[part])
    results["pair"] = (loss.detach(), torch.autograd.grad(loss, z)[0])
    try:
        copy.deepcopy(module)
        results["copied group"] = "copied"
    except ParameterError as error:
        results["copied group"] = str(error)
    if world == 2:
        model, images_in = model_and_data()
        parallel = DistributedDataParallel(model)
        module = segcrit.Criterion("ce + dice + lovasz + focal(gamma=1)", process_group="world")
        loss = module(
            [parallel(images_in[part]), *[parallel.module(images_in[part])[:, :, ::2, ::2]] * 2], p.target[part]
        )
        loss.backward()
        results["ddp"] = (loss.detach(), [q.grad for q in model.parameters()])
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 4], ids=["2 processes", "4 processes"])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    world = request.param
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(world, str(folder)), nprocs=world)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]


@pytest.mark.parametrize(("text", "task"), JOBS, ids=lambda x: x)
def test_joined_batch(ranks, text, task):
    world = len(ranks)
    p, weight = whole(task, world)
    z = p.logits.clone().requires_grad_()
    wanted = criterion(text, task=task)(z, p.target, weight)
    (wanted_gradient,) = torch.autograd.grad(wanted, z)
    for found in ranks:
        loss, _, terms = found[text, task]
        torch.testing.assert_close(loss, wanted.detach(), rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(terms, loss)
    # DDP divides the sum of the ranks' gradients by their number.
    gradient = torch.cat([found[text, task][1] for found in ranks]) / world
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-9, atol=1e-14)


def test_micro_batches_on_every_rank(ranks):
    p, weight = whole("multiclass", len(ranks))
    z = p.logits.clone().requires_grad_()
    wanted = segcrit.Criterion("ce + dice + lovasz")(z, p.target, weight)
    wanted.backward()
    for found in ranks:
        torch.testing.assert_close(found["micro"][0], wanted.detach(), rtol=1e-10, atol=1e-14)
    gradients = [torch.zeros_like(p.logits[:0]) if found["micro"][1] is None else found["micro"][1] for found in ranks]
    torch.testing.assert_close(torch.cat(gradients) / len(ranks), z.grad, rtol=1e-9, atol=1e-14)


def test_a_group_of_some_ranks_joins_those(ranks):
    world = len(ranks)
    p, weight = whole("multiclass", world)
    for first in range(0, world, 2):
        both = slice(share(world, first).start, share(world, first + 1).stop)
        z = p.logits[both].clone().requires_grad_()
        wanted = segcrit.Criterion("ce + dice")(z, p.target[both], weight[both])
        (wanted_gradient,) = torch.autograd.grad(wanted, z)
        gradient = torch.cat([ranks[first]["pair"][1], ranks[first + 1]["pair"][1]]) / 2
        torch.testing.assert_close(ranks[first]["pair"][0], wanted.detach())
        torch.testing.assert_close(gradient, wanted_gradient)


def test_validation_alone_does_not_wait_and_sorting_is_refused(ranks):
    world = len(ranks)
    p, _ = whole("multiclass", world)
    part = share(world, 0)
    wanted = segcrit.Criterion("ce + lovasz")(p.logits[part], p.target[part])
    torch.testing.assert_close(ranks[0]["alone"], wanted)
    assert all("exact=True" in found["exact"] for found in ranks)
    assert all("process group" in found["copied group"] for found in ranks)


def test_a_wrong_label_on_one_rank_is_an_error_on_all(ranks: list[dict[Any, Any]]) -> None:
    others = ["other-rank"] * (len(ranks) - 1)
    assert [results.get("wrong label") for results in ranks] == ["label-out-of-range", *others]


def test_ddp_of_a_model_with_deep_supervision(ranks):
    if len(ranks) != 2:
        pytest.skip("once is enough")
    p, _ = whole("multiclass", 2)
    model, images = model_and_data()
    full = model(images)
    loss = segcrit.Criterion("ce + dice + lovasz + focal(gamma=1)")([full, *[full[:, :, ::2, ::2]] * 2], p.target)
    loss.backward()
    wanted = [q.grad for q in model.parameters()]
    for found in ranks:
        torch.testing.assert_close(found["ddp"][0], loss.detach())
        torch.testing.assert_close(found["ddp"][1], wanted)


def test_without_a_process_group_nothing_is_reduced():
    p = problem(seed=131)
    module = segcrit.Criterion("ce + dice", process_group="world")
    z = p.logits.clone().requires_grad_()
    torch.testing.assert_close(module(z, p.target), segcrit.Criterion("ce + dice")(z, p.target))
