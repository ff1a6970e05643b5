"""Keeps the chatter of the training engine away from the user's terminal; warnings of other code pass."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

__all__ = ["quiet", "with_interrupts"]

_LOGGERS: Final = ("lightning.pytorch", "lightning.fabric", "lightning", "lightning.pytorch.utilities.rank_zero")
# What Lightning says about choices that are made on purpose here (few workers on a small machine, no sanity check)
# and what its own use of torch and of TensorBoard causes.
_MODULES: Final = (
    r"lightning\..*",
    r"lightning_utilities\..*",
    r"torch\.optim\.lr_scheduler",
    r"torch\.utils\.data\..*",
    r"torch\.jit\..*",
    r"tensorboard\..*",
    r"monai\..*",
)
_MESSAGES: Final = (
    r".*lr_scheduler\.step\(\).*optimizer\.step\(\).*",
    r".*treespec.*",
    r".*isinstance\(treespec, LeafSpec\).*",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Raise the level of Lightning's loggers and ignore its warnings; everything is put back afterwards."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in _MODULES:
                warnings.filterwarnings("ignore", module=module)
            for message in _MESSAGES:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def with_interrupts(trainer: Any) -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt again: Lightning turns it into SystemExit and ignores the signal from then on."""
    try:
        handler = signal.getsignal(signal.SIGINT)
    except ValueError:
        handler = None
    try:
        yield
    except SystemExit:
        if getattr(trainer, "interrupted", False):
            raise KeyboardInterrupt from None
        raise
    finally:
        # Only the main thread may set handlers.
        if handler is not None:
            with suppress(ValueError):
                signal.signal(signal.SIGINT, handler)
