"""The ruler: turns, medians, peaks of memory, estimates."""

from __future__ import annotations

import itertools
import signal
import time

import pytest
import torch

from segcrit.apps.bench import memory
from segcrit.apps.bench.contenders import Contender, Work, contenders
from segcrit.apps.bench.measure import LEAST_RUNS, MOST_RUNS, Turns, allocated_peak
from segcrit.apps.bench.memory import Entry, MemoryMeter, base_bytes, estimate, largest_bytes
from segcrit.apps.bench.problems import Problem
from segcrit.apps.bench.records import Memory


def test_turns_are_taken_in_proportion_and_the_slow_get_three() -> None:
    order: list[str] = []

    def step(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            time.sleep(seconds)

        return run

    turns = Turns({"slow": step("slow", 0.05), "fast": step("fast", 0.002)}, seconds=0.04)
    turns.run()
    found = turns.timings()
    assert found["slow"].runs == LEAST_RUNS
    assert LEAST_RUNS < found["fast"].runs <= 0.04 / 0.002 + 1
    assert found["slow"].median >= 50
    assert 2 <= found["fast"].low <= found["fast"].median <= found["fast"].high
    # The fast one was measured before, between and after the runs of the slow one.
    places = [index for index, name in enumerate(order) if name == "slow"]
    assert all(b - a > 1 for a, b in itertools.pairwise(places))
    assert order[-1] == "fast"


def test_no_more_runs_than_enough() -> None:
    turns = Turns({"nothing": lambda: None}, seconds=60)
    turns.run()
    assert turns.timings()["nothing"].runs == MOST_RUNS
    assert turns.completed() == 1


def test_a_step_that_fails_leaves_the_others_alone() -> None:
    failures = []

    def fail() -> None:
        raise RuntimeError("no")

    turns = Turns(
        {"bad": fail, "good": lambda: None}, seconds=1e-4, failed=lambda name, e: failures.append((name, str(e)))
    )
    turns.run()
    assert failures == [("bad", "no")]
    assert list(turns.timings()) == ["good"]


def test_an_interruption_leaves_what_was_measured() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    turns = Turns({"first": lambda: None, "stop": stop}, seconds=1)
    with pytest.raises(KeyboardInterrupt):
        turns.run()
    assert turns.timings()["first"].runs == 1


def test_allocated_peak_counts_what_is_held_at_once() -> None:
    size = 4 << 20

    def step() -> None:
        a = torch.empty(size, dtype=torch.uint8)
        b = torch.empty(size, dtype=torch.uint8)
        del a, b
        torch.empty(size, dtype=torch.uint8)

    assert allocated_peak(step) == pytest.approx(2 * size, rel=0.01)


def _entries(shape: tuple[int, ...], *libraries: str) -> list[Entry]:
    problem = Problem(shape)
    return [Entry(row, problem) for row in contenders("ce + dice", "multiclass") if row.library in libraries]


def test_memory_in_another_process_and_its_estimate() -> None:
    """Eager ce + dice holds several tensors of the size of the logits, ours the gradient and little else."""
    entries = _entries((2, 16, 256, 256), "torch", "segcrit")
    missing = Entry(Contender("ce", "nobody", "ce", lambda problem: Work(print, float)), entries[0].problem)
    advanced = []
    with MemoryMeter() as meter:
        failed, *measured = meter.measure([missing, *entries], lambda: advanced.append(1))
        guessed = estimate(meter, entries)
    assert len(advanced) == 3
    assert isinstance(failed, str)
    assert "nobody" in failed
    size = entries[0].problem.logits_bytes
    for answer, guess, low, high in zip(measured, guessed, (3.5, 0.99), (8, 1.6), strict=True):
        assert isinstance(answer, Memory), answer
        assert answer.peak is not None
        assert guess is not None
        assert low * size < answer.peak < high * size
        assert guess == pytest.approx(answer.peak, rel=0.25)
        assert answer.peak < largest_bytes(entries[0].problem)


def test_a_process_that_dies_takes_one_contender_only(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryMeter._start
    started = []

    def start():
        process = real()
        started.append(process)
        if len(started) == 1:
            process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(MemoryMeter, "_start", staticmethod(start))
    entries = _entries((1, 3, 8, 8), "torch", "segcrit")
    with MemoryMeter() as meter:
        first, second = meter.measure(entries)
    assert first == "the process that measured it was ended by signal 9, as when memory runs out"
    assert isinstance(second, Memory)


def test_the_line_of_the_estimate() -> None:
    assert memory.line_through([(10, 1000), (20, 1500)], 100) == 500 + 50 * 100
    assert memory.line_through([(10, 1000), (20, 900)], 100) == 1000  # noise never makes it fall
    assert memory.line_through([(10, 100), (20, 300)], 100) == 2000  # nor start below nothing


def test_the_base_holds_logits_copy_and_target() -> None:
    problem = Problem((2, 3, 8, 8))
    assert base_bytes(problem) >= 2 * problem.logits_bytes + problem.target_bytes
