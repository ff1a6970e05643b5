"""What a measurement shows while it works: a bar for each stage in a terminal, elsewhere a line for each."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Progress"]


class Progress:
    """One bar on stderr, where that is a terminal and ``rich`` is installed; otherwise a line where a stage begins.

    It redraws itself only when it is told something, outside of the clock: a thread that redraws would take a core from
    what is measured.

    Args:
        show: False shows nothing; True a bar; None a bar in a terminal and lines elsewhere.
    """

    def __init__(self, show: bool | None = None) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._lines = False
        if show is False:
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar
        except ImportError:
            self._lines = True
            return
        if show is None and not sys.stderr.isatty():
            self._lines = True
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )

    def stage(self, title: str, total: int) -> None:
        """Something new begins, of so many units."""
        if self._lines:
            print(f"{title} ({total})", file=sys.stderr, flush=True)
        self.prepare(title, total)

    def prepare(self, title: str, total: int = 1) -> None:
        """Something begins that only somebody in front of a terminal wants to know."""
        if self._bar is None:
            return
        self.end_stage()
        self._bar.start()
        self._task = self._bar.add_task(title, total=total)
        self._bar.refresh()

    def at(self, what: str) -> None:
        """What the stage is at: a unit may take long, the first of a library for its import."""
        if self._task is not None:
            task = self._bar.tasks[-1]
            title = task.fields.setdefault("title", task.description)
            self._bar.update(self._task, description=f"{title}: {what}")
            self._bar.refresh()

    def advance(self) -> None:
        """One unit of the stage is done."""
        if self._task is not None:
            self._bar.advance(self._task)
            self._bar.refresh()

    def update(self, completed: float) -> None:
        """So much of the stage is done; drawn when a whole unit is."""
        if self._task is None:
            return
        before = self._bar.tasks[-1].completed
        if int(completed) > int(before):
            self._bar.update(self._task, completed=int(completed))
            self._bar.refresh()

    def end_stage(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if self._bar is not None:
            self._bar.stop()
