"""Properties of the native engine alone: threads, repetition, bad input, and what it leaves to the reference engine."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import segcrit
from segcrit.core.errors import LabelError, ParameterError
from segcrit.engines.cpu import native

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

TEXT = "ce + dice + lovasz + focal"


def scene(classes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(3, classes, 41, 53, generator=random)
    return logits, torch.randint(classes, (3, 41, 53), generator=random)


def run(
    logits: torch.Tensor, target: torch.Tensor, text: str = TEXT
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    criterion = segcrit.Criterion(text, backend="cpu", statistics=True)
    leaf = logits.clone().requires_grad_()
    value = criterion(leaf, target)
    value.backward()
    assert leaf.grad is not None
    assert criterion.last_confusion is not None
    return value.detach(), leaf.grad, criterion.last_confusion


def test_the_engine_is_chosen_on_the_cpu() -> None:
    from segcrit.engines import pick

    assert pick("auto", torch.device("cpu")) is native
    assert pick("reference", torch.device("cpu")) is not native


def test_repetition_is_bitwise_equal_and_threads_change_only_rounding() -> None:
    logits, target = scene()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = run(logits, target)
        again = run(logits, target)
        torch.set_num_threads(3)
        three = run(logits, target)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    torch.testing.assert_close(one[0], three[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(one[1], three[1], rtol=1e-5, atol=1e-9)
    assert torch.equal(one[2], three[2])


@pytest.mark.parametrize("bad", [-1, 7, 2**40])
def test_a_label_out_of_range_is_named(bad: int) -> None:
    logits, target = scene()
    target[1, 5, 6] = bad
    with pytest.raises(LabelError, match=str(bad)):
        segcrit.Criterion(TEXT, backend="cpu")(logits, target)


def test_unlooked_a_label_out_of_range_makes_the_loss_nan() -> None:
    logits, target = scene()
    target[1, 5, 6] = 99
    assert segcrit.Criterion(TEXT, backend="cpu", validate="never")(logits, target).isnan()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_bad_weight_is_refused(bad: float) -> None:
    logits, target = scene()
    weight = torch.ones(3, 41, 53)
    weight[0, 0, 0] = bad
    with pytest.raises(ParameterError, match="pixel_weight"):
        segcrit.Criterion(TEXT, backend="cpu")(logits, target, weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_odd_logits_do_what_torch_does(value: float) -> None:
    logits, target = scene()
    logits[0, 2, 3, 4] = value
    target[0, 3, 4] = 0
    wanted = torch.nn.functional.cross_entropy(logits, target)
    found = segcrit.Criterion("ce", backend="cpu")(logits, target)
    torch.testing.assert_close(found, wanted, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_odd_logits_of_ignored_pixels_reach_nothing(value: float) -> None:
    logits, target = scene()
    target[2, 7:20] = -100
    clean = run(logits, target)
    logits[2, :, 7:20] = value
    dirty = run(logits, target)
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])


def test_an_empty_batch_is_zero() -> None:
    logits = torch.randn(0, 4, 8, 8, requires_grad=True)
    loss = segcrit.Criterion(TEXT, backend="cpu")(logits, torch.zeros(0, 8, 8, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_overlapping_logits_are_read_right() -> None:
    row = torch.randn(1, 4, 1, 50)
    logits = row.expand(2, 4, 40, 50)
    target = torch.randint(4, (2, 40, 50), generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(segcrit.Criterion("ce", backend="cpu")(logits, target), wanted)


def test_what_the_kernels_do_not_take_is_still_computed() -> None:
    logits, target = scene(4)
    soft = torch.nn.functional.one_hot(target, 4).movedim(-1, 1).float()
    criterion = segcrit.Criterion("ce + dice", backend="cpu")
    torch.testing.assert_close(criterion(logits, soft), criterion(logits, target))
    biased = segcrit.Criterion("ce(logit_bias=[0, 1, 2, 3])", backend="cpu")
    shifted = logits + torch.arange(4.0)[None, :, None, None]
    torch.testing.assert_close(biased(logits, target), segcrit.Criterion("ce")(shifted, target))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent() -> None:
    # Only the kernels run in the child: PyTorch's own parallel loops do wait there.
    code = """
import os, signal, time, torch
from segcrit.engines.cpu import native
from segcrit.engines.request import Gradients, Request, Sweep
torch.set_num_threads(2)
request = Request("multiclass", fields=("I", "P", "T", "V"), check=True, save=True)
logits, target = torch.randn(2, 3, 64, 64), torch.randint(3, (2, 64, 64))
sweep = Sweep(logits, target, None, torch.ones(0, 2, 3), None)
def run():
    result = native.forward(sweep, request)
    gradients = Gradients(torch.zeros(0), torch.ones_like(result.tables), torch.zeros(0), None)
    return result.tables, native.backward(sweep, request, result.normalizers, gradients)
run()
child = os.fork()
if child == 0:
    run()
    os._exit(0)
deadline = time.monotonic() + 20
ended, status = 0, 1
while not ended and time.monotonic() < deadline:
    time.sleep(0.05)
    ended, status = os.waitpid(child, os.WNOHANG)
if not ended:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
assert ended, "the child waits"
assert status == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak memory this way")
def test_threads_do_not_multiply_large_histograms() -> None:
    # Every thread has histograms of its own: 64 classes of 32768 bins are 64 MiB each, 512 MiB for eight threads.
    code = """
import resource, torch, segcrit
torch.set_num_threads(8)
random = torch.Generator().manual_seed(0)
logits = torch.randn(1, 64, 64, 64, generator=random)
target = torch.randint(64, (1, 64, 64), generator=random)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with torch.no_grad():
    segcrit.Criterion("lovasz(bins=16)", backend="cpu")(logits, target)
    segcrit.Criterion("lovasz(bins=32768)", backend="reference")(logits, target)
    before = peak()
    segcrit.Criterion("lovasz(bins=32768)", backend="cpu")(logits, target)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 200, f"{done.stdout} MiB more than the reference engine"
