"""Memory of large gradients: kept for the next step, never shared by two gradients that are alive."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest
import torch

import segcrit
from segcrit.engines.cpu import gradient_memory, native

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is kept on Linux only"),
    pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1]),
]

SHAPE = (1, 8, 512, 512)  # 8 MiB


@pytest.fixture(autouse=True)
def empty_store():
    gc.collect()
    gradient_memory._free.clear()
    yield
    gradient_memory._free.clear()


def _gradient(shape=SHAPE, *, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout).requires_grad_()
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    segcrit.functional.cross_entropy(logits, target).backward()
    return logits, target


def test_the_memory_of_a_gradient_that_is_gone_is_used_again():
    logits, _ = _gradient()
    address = logits.grad.data_ptr()
    logits.grad = None
    again, _ = _gradient(seed=1)
    assert again.grad.data_ptr() == address


def test_gradients_that_are_alive_have_memory_of_their_own():
    kept = [_gradient(seed=seed) for seed in range(3)]
    assert len({logits.grad.data_ptr() for logits, _ in kept}) == 3
    for logits, target in kept:
        expected = torch.autograd.functional.vjp(
            lambda z, t=target: torch.nn.functional.cross_entropy(z, t), logits.detach()
        )[1]
        torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("alias", [lambda gradient: gradient[0, :2], lambda gradient: gradient.detach().numpy()[0, 0]])
def test_a_view_keeps_the_memory(alias):
    logits, _ = _gradient()
    view = alias(logits.grad)
    address, before = logits.grad.data_ptr(), torch.as_tensor(view).clone()
    logits.grad = None
    other, _ = _gradient(seed=1)
    assert other.grad.data_ptr() != address
    assert torch.equal(torch.as_tensor(view), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layout_and_dtype_are_those_of_the_logits(dtype, layout):
    for seed in range(2):  # memory that is new, and memory that was used
        logits, target = _gradient((2, 5, 512, 512), dtype=dtype, layout=layout, seed=seed)
        assert logits.grad.stride() == logits.stride()
        assert logits.grad.dtype == dtype
        with segcrit.use_backend("reference"):
            reference = logits.detach().requires_grad_()
            segcrit.functional.cross_entropy(reference, target).backward()
        torch.testing.assert_close(logits.grad, reference.grad)
        logits.grad = None


def test_only_a_few_blocks_are_kept_and_no_small_one_for_a_large_gradient():
    kept = [_gradient((1, classes, 512, 512)) for classes in range(8, 15)]
    largest = kept[-1][0].grad.data_ptr()
    kept.clear()
    assert len(gradient_memory._free) == gradient_memory._BLOCKS
    logits, _ = _gradient((1, 40, 512, 512))
    assert logits.grad.data_ptr() != largest
    assert len(gradient_memory._free) == gradient_memory._BLOCKS


def test_small_gradients_are_left_to_the_allocator():
    logits, _ = _gradient((1, 2, 64, 64))
    logits.grad = None
    assert not gradient_memory._free


def test_the_memory_can_be_given_back_at_once(monkeypatch):
    monkeypatch.setenv("SEGCRIT_KEEP_GRADIENT_MEMORY", "0")
    logits, _ = _gradient()
    logits.grad = None
    assert not gradient_memory._free


def test_what_the_storage_cannot_do():
    """As the documentation says."""
    logits, _ = _gradient()
    with pytest.raises(RuntimeError, match="not resizable"):
        logits.grad.resize_(1, 9, 512, 512)
    assert logits.grad.clone().resize_(1, 9, 512, 512).shape[1] == 9


def test_threads_do_not_share_memory():
    failures = []

    def steps(seed: int) -> None:
        for step in range(6):
            logits, _ = _gradient(seed=10 * seed + step)
            # Σ over classes of a cross-entropy gradient is 0 at every pixel; what another thread wrote is seen here.
            before = logits.grad.clone()
            if not torch.equal(logits.grad, before) or logits.grad.sum(1).abs().max() > 1e-9:
                failures.append(seed)

    threads = [threading.Thread(target=steps, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


PROGRAM = """
import torch, segcrit

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

logits = torch.randn(1, 64, 512, 512, requires_grad=True)
target = torch.randint(64, (1, 512, 512))
sizes = []
for _ in range(12):
    logits.grad = None
    segcrit.functional.cross_entropy(logits, target).backward()
    sizes.append(resident())
logits.grad = None
del logits
# The end of the interpreter comes while a gradient is alive.
kept = torch.randn(1, 64, 512, 512, requires_grad=True)
segcrit.functional.cross_entropy(kept, target).backward()
print(max(sizes[2:]) - sizes[1])
"""


def test_memory_does_not_grow_and_the_process_ends_well():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 << 20
    assert not done.stderr
