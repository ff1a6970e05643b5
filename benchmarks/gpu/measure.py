"""Time by CUDA events, peak memory by PyTorch's allocator, bandwidth by a copy."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from cases import Case

from segcrit.apps.bench.contenders import COMPILED, OURS, REFERENCE, Contender, Work, contenders
from segcrit.apps.bench.problems import Problem, Tensors
from segcrit.losses.criterion import Criterion

WARM_UPS, RUNS, MOST_SECONDS = 3, 20, 1.5
OURS_COMPILED = "segcrit compiled"
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One contender on one case.

    Attributes:
        kind: the loss.
        library, name: who computes it.
        milliseconds: median of forward and backward as they are called.
        replayed: the same as a CUDA graph, without the time that Python takes to start kernels; segcrit only, plain and
            through torch.compile, which makes few kernels of the many small ones between the two large ones.
        peak_mib: memory beyond logits and labels, gradient included.
        value: the loss.
        note: how its value differs by definition, or why there is none.
    """

    kind: str
    library: str
    name: str
    milliseconds: float | None = None
    replayed: float | None = None
    peak_mib: float | None = None
    value: float | None = None
    note: str = ""


def elapsed(step: Callable[[], object], runs: int = RUNS) -> float:
    """Median milliseconds between two events around a step."""
    times: list[float] = []
    while len(times) < runs and (len(times) < 3 or sum(times) < MOST_SECONDS * 1e3):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def copy_bandwidth() -> float:
    """Bytes a second of a copy of 1 GiB: read and written."""
    source = torch.ones(1 << 28, device="cuda")
    target = torch.empty_like(source)
    for _ in range(WARM_UPS):
        target.copy_(source)
    return 2 * source.numel() * source.element_size() / (elapsed(lambda: target.copy_(source)) / 1e3)


def replayed(step: Callable[[], object]) -> float:
    """Milliseconds of a step that was captured in a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return elapsed(graph.replay)


def run_case(case: Case, show: Callable[[str], None]) -> dict[str, Any]:
    """All contenders of a case."""
    made = case.problem.make()
    logits = made.logits.detach().cuda().requires_grad_()
    tensors = Tensors(logits, made.target.cuda())
    rows = []
    for kind in case.losses:
        for contender in (*contenders(kind, case.problem.task), compiled(kind)):
            row = _run(contender, case, tensors)
            show(_line(row))
            rows.append(asdict(row))
    del tensors, logits, made
    return {
        "name": case.name,
        "shape": list(case.problem.shape),
        "dtype": case.problem.dtype,
        "task": case.problem.task,
        "upsample": case.problem.upsample,
        "compulsory_bytes": case.compulsory_bytes,
        "logits_bytes": case.problem.logits_bytes,
        "full_bytes": case.problem.full_bytes,
        "rows": rows,
    }


def compiled(kind: str) -> Contender:
    """segcrit through torch.compile."""

    def build(problem: Problem) -> Work:
        upsample = "linear" if problem.upsample != 1 else None
        loss = torch.compile(Criterion(kind, task=problem.task, upsample=upsample), fullgraph=True, dynamic=False)

        def step(tensors: Tensors) -> torch.Tensor:
            tensors.logits.grad = None
            value = loss(tensors.logits, tensors.target)
            value.backward()
            return value.detach()

        return Work(step, float)

    return Contender(kind, OURS_COMPILED, kind, build)


def _run(contender: Contender, case: Case, tensors: Tensors) -> Row:
    names = contender.kind, contender.library, contender.name
    if contender.library == REFERENCE and case.problem.full_bytes > 2**30:
        return Row(*names, note="left out: minutes")
    tensors.logits.grad = None
    gc.collect()
    torch.cuda.empty_cache()
    if contender.library in (COMPILED, OURS_COMPILED):
        # After some shapes of one function torch.compile gives up, and runs it eagerly from then on.
        torch.compiler.reset()
    try:
        work = contender.build(case.problem)
        for _ in range(WARM_UPS):
            result = work.step(tensors)
        tensors.logits.grad = None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work.step(tensors)
        torch.cuda.synchronize()
        peak = (torch.cuda.max_memory_allocated() - before) / MIB
        milliseconds, value = elapsed(lambda: work.step(tensors)), work.value(result)
    except torch.cuda.OutOfMemoryError:
        return Row(*names, note="out of memory")
    except ModuleNotFoundError as error:
        return Row(*names, note=f"{error.name} is not installed")
    except Exception as error:
        return Row(*names, note=_of(error))
    graph, note = None, contender.note
    if contender.library in (OURS, OURS_COMPILED):
        try:
            graph = replayed(lambda: work.step(tensors))
        except Exception as error:  # what was measured before stays
            note = f"not as a graph: {_of(error)}"
    return Row(*names, milliseconds, graph, peak, value, note)


def _of(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _line(row: Row) -> str:
    if row.milliseconds is None:
        return f"  {row.kind:30} {row.library:18} {row.name:34} {row.note}"
    graph = f"{row.replayed:9.3f} ms as a graph" if row.replayed is not None else row.note
    return f"  {row.kind:30} {row.library:18} {row.name:34} {row.milliseconds:9.3f} ms {row.peak_mib:9.0f} MiB {graph}"
