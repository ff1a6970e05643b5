"""A measurement from beginning to end: what fits, memory, time; and what is left of it after Ctrl-C."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from segcrit.apps.bench.contenders import Contender, Work, contender_versions, contenders, why_no_compiler
from segcrit.apps.bench.measure import Step, Turns
from segcrit.apps.bench.memory import Entry, MemoryMeter, base_bytes, estimate, largest_bytes
from segcrit.apps.bench.memory_process import WARM_UP, describe
from segcrit.apps.bench.precision import LovaszOracle
from segcrit.apps.bench.problems import Problem, Tensors
from segcrit.apps.bench.records import Memory, Panel, Result, Row
from segcrit.apps.bench.table import MARGIN
from segcrit.core.machine import free_memory, machine_facts
from segcrit.core.numbers import memory
from segcrit.core.progress import StageReporter
from segcrit.engines import backends

__all__ = ["Options", "PanelPlan", "measure", "new_result", "plan_panel"]

_COPY: Final = "copy"
_READS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"sum": torch.sum, "amax": torch.amax}


@dataclass(frozen=True)
class PanelPlan:
    """What is measured in the same turns.

    Attributes:
        key: name that targets refer to.
        problem: what the copy and the read are of.
        entries: contenders, each with what it computes.
    """

    key: str
    problem: Problem
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Options:
    """How it is measured.

    Attributes:
        seconds: share of the time for each contender.
        memory: whether memory is measured.
        modules: modules to import where memory is measured, because they define losses.
        show_fit: told what is known of a panel's memory before anything large is timed.
        show: told the panel at its end, or as far as it came.
    """

    seconds: float
    memory: bool = True
    modules: tuple[str, ...] = ()
    show_fit: Callable[[Panel], None] = lambda panel: None
    show: Callable[[Panel], None] = lambda panel: None


def plan_panel(
    problem: Problem,
    kinds: Sequence[str],
    *,
    key: str = "",
    libraries: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> PanelPlan:
    """Every contender of these kinds, on one problem.

    Args:
        problem: what is computed on.
        kinds: loss expressions and words of ``EVALUATION``.
        key: name of the panel; the problem's title if empty.
        libraries: only these.
        without: names of libraries that stay out.
    """
    rows = [contender for kind in kinds for contender in contenders(kind, problem.task)]
    chosen = [row for row in rows if (libraries is None or row.library in libraries) and row.library not in without]
    return PanelPlan(key or problem.title, problem, tuple(Entry(row, problem) for row in chosen))


def new_result(options: Options, commit: str | None = None) -> Result:
    """A result without panels: the machine, the versions, the settings."""
    return Result(
        date=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        commit=commit,
        machine=machine_facts(),
        versions=contender_versions(),
        engines={engine.name: engine.reason for engine in backends() if engine.available},
        settings={"seconds": options.seconds, "memory": options.memory},
    )


def measure(plans: Sequence[PanelPlan], options: Options, progress: StageReporter, result: Result) -> Result:
    """Measure the panels one after the other; Ctrl-C ends it with what there is, marked as interrupted."""
    with MemoryMeter(options.modules) as meter:
        for number, plan in enumerate(plans, start=1):
            place = f"[{number}/{len(plans)}] " if len(plans) > 1 else ""
            run = _PanelRun(plan, options, meter, progress, place + plan.problem.title)
            try:
                run.run()
            except KeyboardInterrupt:
                result = replace(result, interrupted=True)
            finally:
                progress.end_stage()
            options.show(run.panel())
            result = result.with_panel(run.panel())
            if result.interrupted:
                break
    return result


class _PanelRun:
    """The state of one panel; :meth:`panel` is what is known so far, at any moment."""

    def __init__(
        self, plan: PanelPlan, options: Options, meter: MemoryMeter, progress: StageReporter, title: str
    ) -> None:
        self._plan = plan
        self._options = options
        self._meter = meter
        self._progress = progress
        self._title = title
        self._free = free_memory()
        self._rows = [_new_row(entry) for entry in plan.entries]
        self._turns = Turns({}, seconds=options.seconds)
        self._oracle: LovaszOracle | None = None

    def run(self) -> None:
        """Sort out, measure memory, measure time."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peers and compilers remark is not about the user's code
            self._run()

    def _run(self) -> None:
        # Before anything else is imported or tried: the first bar is the sign that the command works.
        self._progress.stage(f"{self._title}: who can run here", len(self._rows))
        with suppress(Exception):  # where the compiler's cache cannot be written; its rows tell the reason
            torch.compiler.reset()  # what was compiled for another shape would be compiled again for any shape
        self._sort_out()
        if not self._fits_at_all():
            self._options.show_fit(self.panel())
            return
        self._estimate_where_it_may_not_fit()
        if self._options.memory:
            self._measure_memory()
        self._options.show_fit(self.panel())
        self._measure_time()

    def panel(self) -> Panel:
        """The panel as far as it is measured."""
        timings = self._turns.timings()
        rows = tuple(
            row if str(index) not in timings else replace(row, time=timings[str(index)])
            for index, row in enumerate(self._rows)
        )
        reads = {name: timings[f"read {name}"] for name in _READS if f"read {name}" in timings}
        return Panel(self._plan.key, self._plan.problem, self._free, timings.get(_COPY), reads, rows)

    def _open(self) -> list[int]:
        """Rows that nothing speaks against so far."""
        return [index for index, row in enumerate(self._rows) if not row.not_run]

    def _set(self, index: int, **changes: Any) -> None:
        self._rows[index] = replace(self._rows[index], **changes)

    def _sort_out(self) -> None:
        """Try every contender on a small problem: what is not installed or cannot run here says so."""
        no_compiler = why_no_compiler()
        for index, entry in enumerate(self._plan.entries):
            self._progress.at(entry.contender.library)
            if entry.contender.is_compiled:
                if no_compiler:
                    self._set(index, not_run=no_compiler)
            else:
                small = entry.problem.smaller(WARM_UP)
                try:
                    entry.contender.build(small).step(small.make())
                except Exception as error:
                    # A peer that is missing or cannot run here is a row that says so, not the end of the run.
                    self._set(index, not_run=describe(error))
            self._progress.advance()

    def _base(self) -> int:
        problems = {entry.problem for entry in self._plan.entries} | {self._plan.problem}
        return sum(base_bytes(problem) for problem in problems)

    def _room(self) -> int | None:
        """Bytes for the losses, beside logits, copy and target."""
        return None if self._free is None else int(self._free * MARGIN) - self._base()

    def _fits_at_all(self) -> bool:
        room = self._room()
        if room is None or room > 0:
            return True
        needed, free = memory(self._base()), memory(self._free)
        reason = f"logits, their copy and the labels alone need {needed}, {free} are free"
        self._estimate(self._open())
        for index in self._open():
            self._set(index, not_run=reason)
        return False

    def _estimate_where_it_may_not_fit(self) -> None:
        room = self._room()
        if room is None:
            return
        risky = [index for index in self._open() if largest_bytes(self._plan.entries[index].problem) > room]
        self._estimate(risky)
        for index in risky:
            needed = self._rows[index].estimated
            if needed is not None and needed > room:
                self._set(index, not_run=f"would need about {memory(needed)}, {memory(room)} are left for it")

    def _estimate(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        self._progress.stage(f"{self._title}: estimating memory from small sizes", 2 * len(rows))
        entries = [self._plan.entries[index] for index in rows]
        found = estimate(self._meter, entries, self._progress.advance)
        for index, needed in zip(rows, found, strict=True):
            self._set(index, estimated=needed)

    def _measure_memory(self) -> None:
        rows = self._open()
        self._progress.stage(f"{self._title}: memory", len(rows))
        entries = [self._plan.entries[index] for index in rows]
        found = self._meter.measure(entries, self._progress.advance)
        for index, answer in zip(rows, found, strict=True):
            if isinstance(answer, Memory):
                self._set(index, memory=answer)
            else:
                self._set(index, not_run=answer)

    def _measure_time(self) -> None:
        made = {self._plan.problem: self._plan.problem.make()}
        works: dict[str, tuple[Work, Tensors]] = {}
        rows = self._open()
        self._progress.stage(f"{self._title}: compiling", len(rows))
        for index in rows:
            contender, problem = self._plan.entries[index].contender, self._plan.entries[index].problem
            if contender.is_compiled:
                self._progress.at(contender.kind)
            if problem not in made:
                made[problem] = problem.make()
            tensors = made[problem]
            try:
                work = contender.build(problem)
                if contender.is_compiled:
                    work.step(tensors)
                works[str(index)] = (work, tensors)
            except Exception as error:
                self._set(index, not_run=describe(error))
            self._progress.advance()
        steps = _machine_steps(made[self._plan.problem])
        steps |= {name: _step(work, tensors) for name, (work, tensors) in works.items()}
        self._progress.stage(f"{self._title}: time", len(steps))

        def finished(name: str, result: object) -> None:
            self._progress.update(self._turns.completed())
            if name in works and self._rows[int(name)].value is None:
                self._keep_value(int(name), *works[name], result)

        def failed(name: str, error: Exception) -> None:
            self._set(int(name), not_run=describe(error))

        self._turns = Turns(steps, seconds=self._options.seconds, finished=finished, failed=failed)
        self._turns.run()

    def _keep_value(self, index: int, work: Work, tensors: Tensors, result: object) -> None:
        value = work.value(result)
        self._set(index, value=value)
        row = self._rows[index]
        # A loss that is something else by definition has no error to speak of.
        if row.kind != "lovasz" or row.note or row.problem.task != "multiclass" or not LovaszOracle.suits(tensors):
            return
        if self._oracle is None:
            self._oracle = LovaszOracle(tensors)
        gradient = tensors.logits.grad
        if gradient is not None:
            error, cosine = self._oracle.compare(value, gradient)
            self._set(index, value_error=error, gradient_cosine=cosine)


def _new_row(entry: Entry) -> Row:
    contender: Contender = entry.contender
    return Row(contender.kind, contender.library, contender.name, entry.problem, note=contender.note)


def _machine_steps(tensors: Tensors) -> dict[str, Step]:
    """A copy of the logits, and the reads, with buffers that have been touched."""
    source = tensors.logits.detach()
    copy = torch.zeros_like(source)
    steps: dict[str, Step] = {_COPY: lambda: copy.copy_(source)}
    for name, read in _READS.items():
        steps[f"read {name}"] = lambda read=read: read(source)  # type: ignore[misc]
    return steps


def _step(work: Work, tensors: Tensors) -> Step:
    return lambda: work.step(tensors)
