"""What the tests of this room share: a made-up measurement, and no warnings of other libraries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segcrit.apps.bench import suite
from segcrit.apps.bench.problems import Problem
from segcrit.apps.bench.records import Memory, Panel, Result, Row, Timing


def timing(median: float) -> Timing:
    return Timing(median, median * 0.9, median * 1.2, 7)


def row(kind: str, library: str, median: float | None, problem: Problem, *, extra: int | None = None, **more) -> Row:
    return Row(
        kind,
        library,
        more.pop("name", kind),
        problem,
        value=0.5,
        time=None if median is None else timing(median),
        memory=None if extra is None else Memory(extra, None),
        **more,
    )


@pytest.fixture
def result() -> Result:
    """Two panels: 80 ms eager, 30 compiled, 4 ours, copy 2; evaluation 100 against 3, read 1.5."""
    first, judged = Problem((2, 21, 512, 512)), Problem((4, 21, 512, 512))
    size = first.logits_bytes
    losses = (
        row("ce", "torch", 80.0, first, extra=3 * size, name="F.cross_entropy"),
        row("ce", "torch.compile", 30.0, first, extra=2 * size, name="F.cross_entropy"),
        row("ce", "smp", None, first, name="CE", not_run="not installed"),
        row("ce", "segcrit", 4.0, first, extra=size),
        row(
            "lovasz", "torch", 1600.0, first, name="LovaszSoftmax as published", value_error=1e-3, gradient_cosine=0.99
        ),
        row("lovasz", "segcrit", 20.0, first, extra=2 * size, value_error=1e-6, gradient_cosine=0.99999),
        replace(row("ce", "segcrit", 3.0, replace(first, dtype="bfloat16"))),
    )
    counts = (
        row("evaluate logits", "torchmetrics", 100.0, judged, name="MulticlassJaccardIndex"),
        row("evaluate logits", "segcrit", 4.0, judged, name="Evaluator"),
    )
    return Result(
        date="2026-01-02T03:04:05+00:00",
        commit="abc",
        machine={
            "processor": "Some Processor",
            "cores": 2,
            "threads": 2,
            "vector_instructions": "AVX2",
            "last_level_cache_bytes": 1 << 20,
            "memory_bytes": 8 << 30,
            "system": "Linux",
        },
        versions={"python": "3.11", "segcrit": "0.1.0", "torch": "2.13.0"},
        engines={"reference": "PyTorch", "cpu": "C++ kernels"},
        settings={"seconds": 1.0},
        panels=(
            Panel(suite.FIRST, first, 1 << 33, timing(2.0), {"sum": timing(1.5), "amax": timing(1.7)}, losses),
            Panel(suite.LOGITS, judged, 1 << 33, timing(4.0), {"sum": timing(1.5)}, counts),
        ),
    )
