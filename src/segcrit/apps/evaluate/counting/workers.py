"""Counting many images: workers, a bounded number of images under way, and parts written down from time to time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool as WorkerLost
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Final

import torch

from segcrit.apps.evaluate.counting.one_image import Plan, count_pair
from segcrit.apps.evaluate.counting.stamps import stamp_of
from segcrit.apps.evaluate.counting.store import Row
from segcrit.apps.evaluate.reading.matching import Pair
from segcrit.core.machine import usable_cores

__all__ = ["Timer", "WorkerLost", "default_workers", "rows_of", "uninterrupted"]

# A process needs seconds to start.
_WORTH_PROCESSES: Final = 64
_CHUNK: Final = 4
# What the first process answers by writing down what was counted.
_ANSWERED: Final = (signal.SIGINT, signal.SIGTERM)


def default_workers() -> int:
    """Processors that this process may use, at most 16."""
    return min(16, usable_cores())


def _count(pair: Pair, plan: Plan) -> Row:
    # Before the files are read: one that is replaced meanwhile is counted again.
    stamp = stamp_of(pair, needs_probabilities=plan.needs_probabilities)
    return replace(count_pair(pair, plan), stamp=stamp)


def rows_of(pairs: Sequence[Pair], plan: Plan, workers: int) -> Iterator[Row]:
    """Count the pairs, in any order of completion; memory does not grow with their number."""
    if workers <= 1 or len(pairs) <= 1:
        # A single image may use all processors; between many images the threads of one would wait.
        with _one_thread_each() if len(pairs) > 1 else nullcontext():
            for pair in pairs:
                yield _count(pair, plan)
        return
    heavy = any(measure.holds_lock for measure in plan.settings.measures)
    if heavy and len(pairs) >= _WORTH_PROCESSES:
        yield from _in_processes(pairs, plan, workers)
        return
    with _one_thread_each(), ThreadPoolExecutor(workers) as executor:
        yield from _bounded(executor, [pairs[start : start + 1] for start in range(len(pairs))], plan, workers)


def _in_processes(pairs: Sequence[Pair], plan: Plan, workers: int) -> Iterator[Row]:
    # Not forked: torch's threads and locks do not survive it.
    context = multiprocessing.get_context("spawn")
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as executor:
        try:
            yield from _bounded(executor, chunks, plan, workers)
        except WorkerLost:
            # The executor ends the others by a signal that they ignore, and would wait for them for ever.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that end the work are answered after the block: half a write would lose what was counted."""
    came: list[int] = []
    try:
        before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in _ANSWERED}
    except ValueError:  # only the main thread may, and only it is interrupted
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals that end the work wait; a process that starts meanwhile, and its imports, inherit that."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    # Ctrl-C of a terminal and the signal of a scheduler reach every process; only the first one is to answer them.
    for number in _ANSWERED:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)
    torch.set_num_threads(1)
    # A worker holds both ends of its queue, and would wait for a parent that was killed until the machine is switched off.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _count_some(pairs: Sequence[Pair], plan: Plan) -> list[Row]:
    return [_count(pair, plan) for pair in pairs]


def _bounded(executor: Executor, chunks: Sequence[Sequence[Pair]], plan: Plan, workers: int) -> Iterator[Row]:
    waiting: deque[Future[list[Row]]] = deque()
    rest = iter(chunks)
    try:
        for chunk in rest:
            with _held_back():
                waiting.append(executor.submit(_count_some, chunk, plan))
            if len(waiting) >= 3 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Timer:
    """Says when so many seconds have passed."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._last = clock()

    def due(self) -> bool:
        """Whether the time has come; then it starts anew."""
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
