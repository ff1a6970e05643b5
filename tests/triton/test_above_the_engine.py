"""What PyTorch does with the sums may not wait for the device either, and gives the same in a fixed order."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses import FakeTensorMode

import segcrit
from segcrit._reduce import pick_classes
from segcrit.formulas.ranking import bin_weights, doubling_sum
from tests.laws.cases import CASES

TABLE = [(case.expression, task) for case in CASES for task in case.tasks if not case.parameters.get("exact")]


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


@pytest.mark.parametrize("bins", [16, 17, 64, 1000])
def test_the_sum_by_doubling_is_the_cumulative_sum(bins: int) -> None:
    counts = torch.randint(0, 9, (3, 2, bins), dtype=torch.float64)
    assert torch.equal(doubling_sum(counts), counts.cumsum(-1))


def test_weights_of_bins_do_not_depend_on_how_they_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = torch.randint(0, 5, (3, 2, 64), dtype=torch.float64)
    wanted = bin_weights(counts)
    monkeypatch.setattr("segcrit.formulas.ranking._running_sum", doubling_sum)
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
