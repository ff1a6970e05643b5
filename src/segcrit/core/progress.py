"""What a long comparison shows while it works: bars in a terminal, lines in a log file, or nothing."""

from __future__ import annotations

import sys
from typing import Any, Protocol

__all__ = ["LineReporter", "Reporter", "RichReporter", "SilentReporter", "duration", "make_reporter"]


class Reporter(Protocol):
    """Is told what happens."""

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


class SilentReporter:
    """Shows nothing."""

    def begin(self, trainings: int) -> None:
        """See :class:`Reporter`."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """See :class:`Reporter`."""

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        """See :class:`Reporter`."""

    def trial(self, name: str, steps: int, metric: str) -> None:
        """See :class:`Reporter`."""

    def stage(self, what: str) -> None:
        """See :class:`Reporter`."""

    def step(self, step: int) -> None:
        """See :class:`Reporter`."""

    def validated(self, step: int, value: float) -> None:
        """See :class:`Reporter`."""

    def finished(self, text: str) -> None:
        """See :class:`Reporter`."""

    def message(self, text: str) -> None:
        """See :class:`Reporter`."""

    def close(self) -> None:
        """See :class:`Reporter`."""


class LineReporter(SilentReporter):
    """One line for each training and each quarter of it, for log files."""

    def __init__(self) -> None:
        self._trainings = self._number = self._quarter = self._steps = 0
        self._name = self._metric = ""
        self._value = float("nan")

    def begin(self, trainings: int) -> None:
        """See :class:`Reporter`."""
        self._trainings = trainings

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        """See :class:`Reporter`."""
        self._number += 1
        self._name, self._steps, self._metric = name, steps, metric
        self._quarter, self._value = 4 * first_step // steps, float("nan")
        again = f", from step {first_step}" if first_step else ""
        self.message(f"[{self._number}/{self._trainings}] {name}: {steps} steps{again}")

    def trial(self, name: str, steps: int, metric: str) -> None:
        """See :class:`Reporter`."""
        self._steps, self._quarter, self._metric = steps, 0, metric
        self.message(f"    {name}, {steps} steps")

    def validated(self, step: int, value: float) -> None:
        """See :class:`Reporter`."""
        self._value = value
        if 4 * step // self._steps > self._quarter:
            self._quarter = 4 * step // self._steps
            self.message(f"    step {step} of {self._steps}: validation {self._metric} {value:.3f}")

    def finished(self, text: str) -> None:
        """See :class:`Reporter`."""
        self.message(f"    {text}")

    def message(self, text: str) -> None:
        """See :class:`Reporter`."""
        print(text, file=sys.stderr, flush=True)


class RichReporter(SilentReporter):
    """Two bars: all trainings, and the steps of the present one with its validation figure; a third while reading."""

    def __init__(self, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._bars: dict[str, Any] = {}
        self._name = ""
        self._metric = ""
        self._best = float("nan")

    def begin(self, trainings: int) -> None:
        """See :class:`Reporter`."""
        self._show("all", "all trainings", trainings)

    def preparing(self, what: str, done: int, total: int) -> None:
        """See :class:`Reporter`."""
        if self._name_of("reading") != what:
            self._show("reading", what, total)
        self._progress.update(self._bars["reading"], completed=done, total=total)

    def training(self, name: str, steps: int, first_step: int, metric: str) -> None:
        """See :class:`Reporter`."""
        self._name, self._metric, self._best = name, metric, float("nan")
        self._show("one", _escape(name), steps)
        self._progress.update(self._bars["one"], completed=first_step)

    def trial(self, name: str, steps: int, metric: str) -> None:
        """See :class:`Reporter`."""
        self.training(name, steps, 0, metric)

    def stage(self, what: str) -> None:
        """See :class:`Reporter`."""
        self._drop("reading")
        if "one" in self._bars:
            self._progress.update(self._bars["one"], note=what)
        else:
            self._show("reading", what, None)

    def step(self, step: int) -> None:
        """See :class:`Reporter`."""
        self._drop("reading")
        if "one" in self._bars:
            note = f"best {self._metric} {self._best:.3f}" if self._best == self._best else ""
            self._progress.update(self._bars["one"], completed=step, note=note)

    def validated(self, step: int, value: float) -> None:
        """See :class:`Reporter`."""
        if not value <= self._best:
            self._best = value
        self.step(step)

    def finished(self, text: str) -> None:
        """See :class:`Reporter`."""
        self._drop("reading")
        self._drop("one")
        if "all" in self._bars:
            self._progress.advance(self._bars["all"])
        self._progress.console.print(f"  [bold]{_escape(self._name)}[/bold]: {_escape(text)}", highlight=False)

    def message(self, text: str) -> None:
        """See :class:`Reporter`."""
        self._progress.console.print(_escape(text), highlight=False)

    def close(self) -> None:
        """See :class:`Reporter`."""
        for bar in list(self._bars):
            self._drop(bar)
        self._progress.stop()

    def _show(self, bar: str, name: str, total: int | None) -> None:
        self._progress.start()
        self._drop(bar)
        self._bars[bar] = self._progress.add_task(name, total=total, note="")

    def _drop(self, bar: str) -> None:
        if bar in self._bars:
            self._progress.remove_task(self._bars.pop(bar))

    def _name_of(self, bar: str) -> str:
        shown = [task for task in self._progress.tasks if task.id == self._bars.get(bar)]
        return shown[0].description if shown else ""


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def duration(seconds: float) -> str:
    """A length of time for people.

    Example:
        >>> duration(8.4), duration(75), duration(8000)
        ('8 s', '1 min 15 s', '2 h 13 min')
    """
    if seconds != seconds:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def make_reporter(show: bool | None) -> Reporter:
    """Bars where stderr is a terminal, lines otherwise; nothing with ``show=False``."""
    if show is False:
        return SilentReporter()
    if sys.stderr.isatty():
        try:
            from rich.console import Console
        except ImportError:
            return LineReporter()
        return RichReporter(Console(stderr=True))
    return LineReporter()
