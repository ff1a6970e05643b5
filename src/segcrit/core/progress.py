"""What long work shows on stderr while it runs: bars in a terminal with ``rich``, lines in a log file, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["LineReporter", "Reporter", "RichReporter", "StageReporter", "make_reporter", "progress_bar"]

# Fewer units are done before a bar could be read.
_BAR_FROM = 150


def _open_bars(show: bool | None, *, redraws_itself: bool = True) -> Any:
    """Bars on stderr that vanish at the end; None where they are not wanted, or cannot be shown.

    Args:
        show: None shows bars in a terminal only.
        redraws_itself: in a thread, many times a second; otherwise only when the caller says ``refresh``.
    """
    if show is False or (show is None and not sys.stderr.isatty()):
        return None
    try:
        from rich import progress as rich
        from rich.console import Console
    except ImportError:
        return None
    return rich.Progress(
        rich.TextColumn("[bold]{task.description}"),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(compact=True),
        rich.TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=redraws_itself,
    )


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


@contextmanager
def progress_bar(title: str, total: int, show: bool | None = None) -> Iterator[Callable[[], None]]:
    """One bar; gives the function that moves it one step.

    Args:
        title: what is being done.
        total: number of steps.
        show: None shows it in a terminal, if the job is not over in a moment.
    """
    bars = _open_bars(False if show is None and total < _BAR_FROM else show)
    if bars is None:
        yield lambda: None
        return
    with bars:
        task = bars.add_task(_escape(title), total=total, note="")
        yield lambda: bars.advance(task)


class StageReporter:
    """A bar for one stage of a measurement after the other; a line for each stage where there is no bar.

    It redraws itself only when it is told something, outside of the clock: a thread that redraws would take a core from
    what is measured.

    Args:
        show: False shows nothing; True a bar; None a bar in a terminal and lines elsewhere.
    """

    def __init__(self, show: bool | None = None) -> None:
        self._bars = _open_bars(show, redraws_itself=False)
        self._lines = self._bars is None and show is not False
        self._task: Any = None

    def stage(self, title: str, total: int) -> None:
        """Something new begins, of so many units."""
        if self._lines:
            print(f"{title} ({total})", file=sys.stderr, flush=True)
        self.prepare(title, total)

    def prepare(self, title: str, total: int = 1) -> None:
        """Something begins that only somebody in front of a terminal wants to know."""
        if self._bars is None:
            return
        self.end_stage()
        self._bars.start()
        self._task = self._bars.add_task(_escape(title), total=total, note="")
        self._bars.refresh()

    def at(self, what: str) -> None:
        """What the stage is at: a unit may take long, the first of a library for its import."""
        self._update(note=_escape(what))

    def advance(self) -> None:
        """One unit of the stage is done."""
        self._update(advance=1)

    def update(self, completed: float) -> None:
        """So much of the stage is done; drawn when a whole unit is."""
        if self._task is not None and int(completed) > int(self._bars.tasks[-1].completed):
            self._update(completed=int(completed))

    def end_stage(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        if self._bars is not None:
            self._bars.stop()

    def _update(self, **changes: Any) -> None:
        if self._task is not None:
            self._bars.update(self._task, **changes)
            self._bars.refresh()


class Reporter:
    """Is told what a comparison does; this one shows nothing."""

    def begin(self, trainings: int) -> None:
        """A number of trainings lies ahead."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Something before the first step: reading images, counting labels."""

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        """A training begins (again)."""

    def trial(self, name: str, steps: int, metric: str) -> None:
        """A short training of the search for a learning rate begins."""

    def stage(self, what: str) -> None:
        """The training is at something else than a step."""

    def step(self, step: int) -> None:
        """A step is done."""

    def validated(self, step: int, value: float) -> None:
        """A validation is done."""

    def finished(self, text: str) -> None:
        """The training is done."""

    def message(self, text: str) -> None:
        """A line that stays."""

    def close(self) -> None:
        """Nothing more comes."""


class LineReporter(Reporter):
    """One line for each training and each quarter of it, for log files."""

    def __init__(self) -> None:
        self._trainings = self._number = self._quarter = self._steps = 0
        self._metric = ""

    def begin(self, trainings: int) -> None:
        self._trainings = trainings

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        self._number += 1
        self._steps, self._metric, self._quarter = steps, metric, 4 * first_step // steps
        again = f", from step {first_step}" if first_step else ""
        self.message(f"[{self._number}/{self._trainings}] {name}: {steps} steps{again}")

    def trial(self, name: str, steps: int, metric: str) -> None:
        self._steps, self._quarter, self._metric = steps, 0, metric
        self.message(f"    {name}, {steps} steps")

    def validated(self, step: int, value: float) -> None:
        if 4 * step // self._steps > self._quarter:
            self._quarter = 4 * step // self._steps
            self.message(f"    step {step} of {self._steps}: validation {self._metric} {value:.3f}")

    def finished(self, text: str) -> None:
        self.message(f"    {text}")

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class RichReporter(Reporter):
    """Two bars: all trainings, and the steps of the present one with its validation figure; a third while reading."""

    def __init__(self, bars: Any) -> None:
        self._progress = bars
        self._bars: dict[str, Any] = {}
        self._name = self._metric = self._reading = ""
        self._best = float("nan")

    def begin(self, trainings: int) -> None:
        self._show("all", "all trainings", trainings)

    def preparing(self, what: str, done: int, total: int) -> None:
        if "reading" not in self._bars or self._reading != what:
            self._reading = what
            self._show("reading", what, total)
        self._progress.update(self._bars["reading"], completed=done, total=total)

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        self._name, self._metric, self._best = name, metric, float("nan")
        self._show("one", name, steps)
        self._progress.update(self._bars["one"], completed=first_step)

    def trial(self, name: str, steps: int, metric: str) -> None:
        self.training(name, steps, 0, metric)

    def stage(self, what: str) -> None:
        self._drop("reading")
        if "one" in self._bars:
            self._progress.update(self._bars["one"], note=what)
        else:
            self._show("reading", what, None)

    def step(self, step: int) -> None:
        self._drop("reading")
        if "one" in self._bars:
            note = f"best {self._metric} {self._best:.3f}" if self._best == self._best else ""
            self._progress.update(self._bars["one"], completed=step, note=note)

    def validated(self, step: int, value: float) -> None:
        if not value <= self._best:
            self._best = value
        self.step(step)

    def finished(self, text: str) -> None:
        self._drop("reading")
        self._drop("one")
        if "all" in self._bars:
            self._progress.advance(self._bars["all"])
        self._progress.console.print(f"  [bold]{_escape(self._name)}[/bold]: {_escape(text)}", highlight=False)

    def message(self, text: str) -> None:
        self._progress.console.print(_escape(text), highlight=False)

    def close(self) -> None:
        for bar in list(self._bars):
            self._drop(bar)
        self._progress.stop()

    def _show(self, bar: str, name: str, total: int | None) -> None:
        self._progress.start()
        self._drop(bar)
        self._bars[bar] = self._progress.add_task(_escape(name), total=total, note="")

    def _drop(self, bar: str) -> None:
        if bar in self._bars:
            self._progress.remove_task(self._bars.pop(bar))


def make_reporter(show: bool | None) -> Reporter:
    """The reporter of a comparison: bars where stderr is a terminal, lines otherwise; nothing with ``show=False``."""
    if show is False:
        return Reporter()
    bars = _open_bars(None)
    return LineReporter() if bars is None else RichReporter(bars)
