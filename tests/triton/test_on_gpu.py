"""On a real GPU: the same numbers, the same bits, no waiting, graphs, compilation, mixed precision, large tensors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import segcrit
from segcrit.engines import reference
from segcrit.engines.triton.availability import describe, is_interpreted
from tests.laws.cases import CASES
from tests.laws.problems import mask_of, positive_weights, problem

from .agreement import assert_agree
from .fuzz import check

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(is_interpreted() or not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not describe()[0], reason=describe()[1]),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

# Losses of the histograms are compared away from the edges of bins, in the random cases.
TABLE = [
    (case.expression, task)
    for case in CASES
    for task in case.tasks
    if not case.parameters.get("exact") and not case.facts.get("histogram")
]
MIXTURES = [
    ("ce + dice", "multiclass"),
    ("ce(label_smoothing=0.1, class_weight=[1, 2, 3, 4]) + dice(classes=[1, 2])", "multiclass"),
    ("focal + lovasz", "multiclass"),
    ("bce(pos_weight=3) + dice + lovasz", "multilabel"),
]


@pytest.mark.parametrize(("expression", "task"), TABLE, ids=lambda x: x)
def test_every_loss(expression: str, task: str) -> None:
    p = problem(task, shape=(17, 19), seed=180, dtype=torch.float32)
    p = p.ignoring(mask_of(p, 40))
    weight = positive_weights(p, zeros=True).float()
    assert_agree(expression, p.logits.cuda(), p.target.cuda(), weight.cuda(), task=task)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_lovasz_on_many_pixels(task: str) -> None:
    p = problem(task, shape=(127, 131), seed=186, dtype=torch.float32)
    results = []
    for backend, device in (("reference", "cpu"), ("triton", "cuda")):
        z = p.logits.to(device).requires_grad_()
        value = segcrit.Criterion("lovasz", task=task, backend=backend)(z, p.target.to(device))
        results.append((value.detach().cpu(), torch.autograd.grad(value, z)[0].cpu()))
    (wanted, slope), (found, gradient) = results
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    # An error near the edge of a bin may be counted in either; the slopes of two neighbouring bins differ by their counts.
    assert float((gradient - slope).norm() / slope.norm()) < 1e-3


@pytest.mark.parametrize("block", range(10))
def test_random_cases(block: int) -> None:
    wrong = [message for seed in range(100 * block, 100 * block + 100) if (message := check(seed, cuda=True))]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("expression", "task"), MIXTURES, ids=lambda x: x)
def test_the_same_bits_under_deterministic_algorithms(expression: str, task: str, deterministic: None) -> None:
    p = problem(task, images=3, shape=(127, 131), seed=181, dtype=torch.float32)
    weight = positive_weights(p).float().cuda()
    criterion = segcrit.Criterion(expression, task=task)
    criterion.cuda()
    results = []
    for _ in range(4):
        z = p.logits.cuda().requires_grad_()
        value = criterion(z, p.target.cuda(), weight)
        results.append((value.detach(), torch.autograd.grad(value, z)[0]))
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])


@pytest.mark.parametrize("upsample", [None, "linear"])
@pytest.mark.parametrize(("expression", "task"), MIXTURES, ids=lambda x: x)
def test_nothing_waits_and_a_graph_can_be_captured(expression: str, task: str, upsample: str | None) -> None:
    p = problem(task, shape=(16, 16), seed=182, dtype=torch.float32)
    wide = problem(task, shape=(32, 32) if upsample else (16, 16), seed=183, dtype=torch.float32)
    criterion = segcrit.Criterion(expression, task=task, upsample=upsample, statistics=True).cuda()
    z, target = p.logits.cuda().requires_grad_(), wide.target.cuda()

    def step() -> torch.Tensor:
        z.grad = None
        value = criterion(z, target)
        value.backward()
        return value.detach()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    z.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        z.mul_(-0.5)
    graph.replay()
    assert z.grad is not None
    value, gradient = captured.clone(), z.grad.clone()
    assert torch.equal(step(), value)
    assert torch.equal(z.grad, gradient)


@pytest.mark.slow
@pytest.mark.parametrize(("expression", "task"), MIXTURES, ids=lambda x: x)
def test_whole_graph_under_compile(expression: str, task: str) -> None:
    torch._dynamo.reset()
    p = problem(task, shape=(33, 47), seed=184, dtype=torch.float32)
    criterion = segcrit.Criterion(expression, task=task).cuda()
    results = []
    for call in (criterion, torch.compile(criterion, fullgraph=True)):
        z = p.logits.cuda().requires_grad_()
        value = call(z, p.target.cuda())
        results.append((value.detach(), torch.autograd.grad(value, z)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_and_a_gradient_scaler(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 5, 3, padding=1).cuda()
    images, target = torch.rand(2, 3, 31, 29, device="cuda"), torch.randint(5, (2, 31, 29), device="cuda")
    criterion = segcrit.Criterion("ce + dice + lovasz")
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype):
            logits = network(images)
            value = criterion(logits, target)
        assert logits.dtype == dtype
        assert value.dtype == torch.float32
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        values.append(float(value.detach()))
    assert values[-1] < values[0]


def test_more_logits_than_a_32_bit_index_reaches() -> None:
    shape = (9, 150, 1280, 1280)
    if torch.cuda.mem_get_info()[0] < 3 * 2 * 9 * 150 * 1280**2:
        pytest.skip("needs 14 GB of free memory on the GPU")
    logits = torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_().requires_grad_()
    target = torch.randint(150, (9, 1280, 1280), device="cuda", dtype=torch.uint8)
    target[:-1] = 255
    criterion = segcrit.Criterion("ce + dice", ignore_index=255)
    value = criterion(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    alone = logits.detach()[-1:].clone().requires_grad_()
    wanted = criterion(alone, target[-1:])
    (slope,) = torch.autograd.grad(wanted, alone)
    torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
    assert torch.equal(gradient[-1:], slope)
    assert not gradient[:-1].any()


@pytest.mark.parametrize("form", ["one-hot", "soft"])
def test_a_volume_whose_target_no_32_bit_index_reaches(form: str) -> None:
    shape = (1, 33, 512, 512, 256)
    if torch.cuda.mem_get_info()[0] < 4 * 2 * 33 * 512 * 512 * 256:
        pytest.skip("needs 18 GB of free memory on the GPU")
    logits = torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_().requires_grad_()
    labels = torch.randint(33, (1, *shape[2:]), device="cuda", dtype=torch.int64)
    target = torch.zeros(shape, device="cuda", dtype=torch.uint8 if form == "one-hot" else torch.bfloat16)
    target.scatter_(1, labels[:, None], 1)
    criterion = segcrit.Criterion("ce + dice")
    results = []
    for given in (labels, target):
        value = criterion(logits, given)
        (gradient,) = torch.autograd.grad(value, logits)
        results.append((value.detach(), float(gradient.float().norm())))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_backward_pass_is_the_kernels(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "backward", lambda *_: pytest.fail("the reference engine was asked"))
    logits = torch.randn(2, classes, 9, 9, device="cuda", requires_grad=True)
    segcrit.Criterion("ce + dice")(logits, torch.randint(classes, (2, 9, 9), device="cuda")).backward()
    assert logits.grad is not None


def test_the_backward_pass_keeps_to_the_engine_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    backward = reference.backward
    monkeypatch.setattr(reference, "backward", lambda *given: asked.append("reference") or backward(*given))
    logits = torch.randn(2, 3, 9, 9, device="cuda", requires_grad=True)
    with segcrit.use_backend("reference"):
        # In a thread of autograd's own.
        segcrit.Criterion("ce")(logits, torch.randint(3, (2, 9, 9), device="cuda")).backward()
    assert asked == ["reference"]


def test_interpolated_logits_need_little_memory() -> None:
    logits = torch.randn(16, 150, 128, 128, device="cuda", requires_grad=True)
    target = torch.randint(150, (16, 512, 512), device="cuda")
    criterion = segcrit.Criterion("ce + dice", upsample="linear", validate="never")
    criterion(logits, target).backward()
    logits.grad = None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    criterion(logits, target).backward()
    assert torch.cuda.max_memory_allocated() - before <= 200 << 20


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_tensors_of_another_than_the_current_device() -> None:
    p = problem(seed=185, dtype=torch.float32)
    found = assert_agree("ce + dice", p.logits.to("cuda:1"), p.target.to("cuda:1"))
    assert found.gradient.device == torch.device("cuda", 1)
    assert torch.cuda.current_device() == 0
