"""torch.compile without a graph break: the same value and gradient as eagerly."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

import segcrit
from segcrit.engines import operators

from .cases import CASES, criterion
from .problems import fractions, mask_of, positive_weights, problem

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# Sorting the whole batch decides by the numbers which pixels count: it is for tests and stays eager.
JOBS = [(case.expression, task) for case in CASES for task in case.tasks[:1] if not case.parameters.get("exact")]
JOBS += [
    ("ce + 0.5*dice(smooth=1) + 2*focal + lovasz", "multiclass"),
    ("bce(pos_weight=2) + jaccard(per_image=True) + lovasz", "multilabel"),
    ("ce(unlabelled='background') + dice(classes=[1, 2], absent='penalize', smooth=1)", "multiclass"),
]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def both(module: nn.Module, compiled: nn.Module, *arguments: object) -> None:
    logits, *rest = arguments
    results = []
    for call in (module, compiled):
        z = logits.clone().requires_grad_()
        loss = call(z, *rest)
        results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("text", "task"), JOBS, ids=lambda x: x)
def test_whole_graph(text, task):
    p = problem(task, seed=140, dtype=torch.float32)
    p = p.ignoring(mask_of(p, 5))
    weight = positive_weights(p, zeros=True).float()
    module = criterion(text, task=task)
    both(module, torch.compile(module, fullgraph=True, backend="aot_eager"), p.logits, p.target, weight)


def test_whole_graph_with_class_weights_statistics_and_soft_targets():
    p = problem(seed=141, dtype=torch.float32)
    module = segcrit.Criterion("ce + dice", class_weight=[1.0, 2.0, 3.0, 4.0], statistics=True)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    both(module, compiled, p.logits, p.target)
    both(module, compiled, p.logits, fractions("multiclass", p.logits).float())
    assert int(module.last_confusion.sum()) == p.target.numel()


def test_whole_graph_with_deep_supervision_and_upsampling():
    p = problem(seed=142, shape=(8, 8), dtype=torch.float32)
    module = segcrit.Criterion("ce + dice", upsample="linear")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    small = p.logits[:, :, ::2, ::2].contiguous()
    both(module, compiled, small, p.target)
    eager = module([p.logits, small], p.target)
    torch.testing.assert_close(
        torch.compile(module, fullgraph=True, backend="aot_eager")([p.logits, small], p.target), eager
    )


def test_whole_graph_of_a_network_with_its_loss():
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Conv2d(3, 4, 3, padding=1)
            self.loss = segcrit.Criterion("ce + dice")

        def forward(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return self.loss(self.net(images), target)

    p = problem(seed=143)
    images = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    module = Training()
    module(images, p.target).backward()
    wanted = module.net.weight.grad.clone()
    module.zero_grad()
    torch.compile(module, fullgraph=True, backend="aot_eager")(images, p.target).backward()
    torch.testing.assert_close(module.net.weight.grad, wanted)


def test_a_bad_label_is_still_an_error():
    p = problem(seed=144, dtype=torch.float32)
    compiled = torch.compile(segcrit.Criterion("ce"), fullgraph=True, backend="aot_eager")
    target = p.target.clone()
    target[0, 0, 0] = 9
    with pytest.raises(ValueError, match="label 9"):
        compiled(p.logits, target)


def test_inductor():
    if shutil.which("gcc") is None and shutil.which("g++") is None and shutil.which("clang") is None:
        pytest.skip("inductor needs a C++ compiler, and none is installed")
    p = problem(seed=145, shape=(16, 16), dtype=torch.float32)
    p = p.ignoring(mask_of(p, 9))
    module = segcrit.Criterion("ce + 0.5*dice(smooth=1) + lovasz")
    both(module, torch.compile(module, fullgraph=True), p.logits, p.target)


@pytest.mark.parametrize("upsample", [False, True])
def test_the_operators_keep_torchs_rules(upsample):
    """Schema, fake tensors and autograd registration, checked by PyTorch's own test of custom operators."""
    from segcrit.engines.request import Call, Request

    p = problem(seed=146, dtype=torch.float32)
    request = Request(task="multiclass", fields=("I", "P", "T", "V"), errors="probability", bins=64, confusion=True)
    text = request.encode() + Call(confusion=True, upsample=upsample, save=True).encode()
    logits = (p.logits[:, :, ::2, ::2] if upsample else p.logits).clone().requires_grad_()
    coefficients = torch.ones(0, 2, 4)
    torch.library.opcheck(operators._sweep, (logits, p.target, None, coefficients, None, [], text))


@pytest.mark.parametrize("save", [True, False])
def test_two_classes_keep_torchs_rules(save):
    """Their pixels have a kernel of their own, which keeps no normalizers: what is delivered is the same at every call."""
    from segcrit.engines.request import Call, PixelRequest, Request

    generator = torch.Generator().manual_seed(147)
    logits = torch.randn(2, 2, 64, 64, generator=generator).requires_grad_()
    target = torch.randint(2, (2, 64, 64), generator=generator)
    request = Request(task="multiclass", pixel=(PixelRequest("cross_entropy"),), fields=("T", "V"))
    text = request.encode() + Call(save=save).encode()
    torch.library.opcheck(operators._sweep, (logits, target, None, torch.ones(1, 2, 2), None, [], text))
