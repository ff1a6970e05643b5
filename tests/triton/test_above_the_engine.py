"""What PyTorch does with the sums may not wait for the device either, and gives the same in a fixed order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import segcrit
from segcrit import engines
from segcrit.engines.triton import engine
from segcrit.engines.triton.availability import is_installed, is_interpreted
from segcrit.losses.averages import pick_classes
from segcrit.losses.formulas.ranking import bin_weights, doubling_sum
from tests.laws.cases import CASES

# On the CPU reducers select by a number, and distances are made there.
EAGER = ("exact", "keep", "ohem")
TABLE = [
    (case.expression, task)
    for case in CASES
    for task in case.tasks
    if case.loss != "boundary" and not any(case.parameters.get(name) for name in EAGER)
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("expression", "task"), TABLE, ids=lambda x: x)
def test_no_loss_looks_at_a_number(expression: str, task: str) -> None:
    criterion = segcrit.Criterion(expression, task=task, validate="never", statistics=True)
    classes = 1 if task == "binary" else 4
    with FakeTensorMode(allow_non_fake_inputs=True):
        # Tensors without numbers: an item(), or a branch on a value, raises.
        logits = torch.zeros(2, classes, 5, 6, requires_grad=True)
        target = torch.zeros((2, 5, 6) if task == "multiclass" else (2, classes, 5, 6), dtype=torch.int64)
        criterion(logits, target).backward()
        assert logits.grad is not None


def test_nobody_looks_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    criterion = segcrit.Criterion("ce")
    assert criterion._looks(torch.device("cuda")), "tensors of a trace, without a GPU"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert criterion._looks(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert not criterion._looks(torch.device("cuda"))
    assert criterion._looks(torch.device("cpu"))


class _Started(TorchDispatchMode):
    """Counts the operations that a device would start a kernel for, and copies from another device."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.copied = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if isinstance(result, torch.Tensor) and result.numel() and not func.is_view and "empty" not in name:
            # A derivative of one row alone is zeros, and a copy.
            self.count += 2 if name == "select_backward" else 1
            self.copied += any(isinstance(item, torch.Tensor) and item.device != result.device for item in args)
        return result


@pytest.mark.skipif(not is_installed() or is_interpreted(), reason="needs Triton, as it is on a GPU")
@pytest.mark.parametrize(
    ("expression", "task", "most"),
    [
        ("ce", "multiclass", 24),
        ("ce + dice", "multiclass", 97),
        ("lovasz", "multiclass", 90),
        ("bce + dice", "binary", 98),
    ],
)
def test_few_steps_beside_the_kernels(expression: str, task: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a GPU about two microseconds, even in a graph, where the kernels take a few hundred."""
    from triton.runtime.jit import JITFunction

    monkeypatch.setattr(JITFunction, "__getitem__", lambda kernel, grid: lambda *arguments, **options: None)
    monkeypatch.setattr(engines, "pick", lambda *_: engine)
    criterion = segcrit.Criterion(expression, task=task, validate="never")
    monkeypatch.setattr(criterion, "backend", "triton")
    logits = torch.empty(2, 1 if task == "binary" else 4, 16, 16, device="meta", requires_grad=True)
    target = torch.empty((2, 16, 16), dtype=torch.int64, device="meta")
    with _Started() as started:
        criterion(logits, target).backward()
    assert logits.grad is not None
    assert started.count <= most
    assert started.copied == 0


@pytest.mark.skipif(not is_installed() or is_interpreted(), reason="needs Triton, as it is on a GPU")
@pytest.mark.parametrize(("expression", "task"), [("ce + dice", "multiclass"), ("bce + lovasz", "binary")])
def test_calls_that_look_at_labels_need_no_other_kernel(
    expression: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a graph that is captured after them would have to compile, which it cannot."""
    from triton.runtime.jit import JITFunction

    started: list[Any] = []

    def record(kernel: Any, grid: Any) -> Any:
        return lambda *arguments, **options: started[-1].append((kernel, options))

    monkeypatch.setattr(JITFunction, "__getitem__", record)
    monkeypatch.setattr(engines, "pick", lambda *_: engine)
    for validate in ("always", "never"):
        started.append([])
        criterion = segcrit.Criterion(expression, task=task, validate=validate)
        monkeypatch.setattr(criterion, "backend", "triton")
        criterion(torch.zeros(2, 1 if task == "binary" else 4, 5, 6), torch.zeros((2, 5, 6), dtype=torch.int64))
    assert len(started[0]) >= 1
    assert started[0] == started[1]


@pytest.mark.parametrize("bins", [16, 17, 64, 1000])
def test_the_sum_by_doubling_is_the_cumulative_sum(bins: int) -> None:
    counts = torch.randint(0, 9, (3, 2, bins), dtype=torch.float64)
    assert torch.equal(doubling_sum(counts), counts.cumsum(-1))


def test_weights_of_bins_do_not_depend_on_how_they_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = torch.randint(0, 5, (3, 2, 64), dtype=torch.float64)
    wanted = bin_weights(counts)
    monkeypatch.setattr("segcrit.losses.formulas.ranking._running_sum", doubling_sum)
    assert torch.equal(bin_weights(counts), wanted)


@pytest.mark.parametrize("classes", [(0,), (3,), (1, 2, 3), (2, 0), (0, 2, 3), (3, 2, 1)])
def test_columns_of_classes(classes: tuple[int, ...]) -> None:
    values = torch.rand(3, 4)
    assert torch.equal(pick_classes(values, classes), values[:, list(classes)])
    elsewhere = values.to("meta")
    # Another device is asked for nothing but views and a stack.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        found = pick_classes(elsewhere, classes)
    assert found.shape == (3, len(classes))
    assert not {"aten::index", "aten::_to_copy", "aten::lift_fresh"} & {event.key for event in profiler.key_averages()}
