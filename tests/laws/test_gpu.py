"""On a GPU: the numbers of the CPU, tensors that stay where they are, and labels that are not looked at for ever."""

from __future__ import annotations

import pytest
import torch

import segcrit
from segcrit.core.errors import DeviceError, LabelError

from .cases import CASES, criterion
from .problems import mask_of, positive_weights, problem

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(autouse=True)
def engine():
    """By device, instead of one engine of the processor after the other."""
    with segcrit.use_backend("auto"):
        yield "auto"


TABLE = [(case, task) for case in CASES for task in case.tasks]


@pytest.mark.parametrize(("case", "task"), TABLE, ids=lambda x: x if isinstance(x, str) else x.expression)
def test_gpu_equals_cpu(case, task):
    p = problem(task, seed=150, shape=(17, 19))
    p = p.ignoring(mask_of(p, 40))
    weight = positive_weights(p, zeros=True)
    module = criterion(case.expression, task=task)
    results = []
    for device in ("cpu", "cuda"):
        z = p.logits.to(device).requires_grad_()
        loss = module.to(device)(z, p.target.to(device), weight.to(device))
        assert loss.device.type == device
        results.append((loss.detach().cpu(), torch.autograd.grad(loss, z)[0].cpu()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-13)


def test_weights_move_with_the_module_to_the_gpu():
    p = problem(seed=151)
    module = segcrit.Criterion("ce + dice", class_weight=[1.0, 2.0, 3.0, 4.0], statistics=True).cuda()
    assert all(buffer.is_cuda for buffer in module.buffers())
    module(p.logits.cuda(), p.target.cuda())
    assert module.last_confusion.is_cuda


def test_tensors_of_two_devices_are_refused():
    p = problem(seed=152)
    with pytest.raises(DeviceError, match="cuda"):
        segcrit.Criterion("ce")(p.logits.cuda(), p.target)


def test_a_bad_label_is_an_error_in_the_first_calls_and_nan_later():
    p = problem(seed=153)
    bad = p.target.clone()
    bad[0, 0, 0] = 9
    module = segcrit.Criterion("ce + dice")
    with pytest.raises(LabelError, match="label 9"):
        module(p.logits.cuda(), bad.cuda())
    for _ in range(5):
        module(p.logits.cuda(), p.target.cuda())
    assert torch.isnan(module(p.logits.cuda(), bad.cuda()))
    always = segcrit.Criterion("ce", validate="always")
    for _ in range(5):
        always(p.logits.cuda(), p.target.cuda())
    with pytest.raises(LabelError, match="label 9"):
        always(p.logits.cuda(), bad.cuda())
