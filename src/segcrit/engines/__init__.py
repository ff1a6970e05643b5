"""Which engine computes a sweep: the only place where that is decided.

Order: the engine that ``use_backend`` forces, the one that the caller names, the fastest that can run here.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from segcrit.core.errors import BackendError, ParameterError
from segcrit.core.names import nearest
from segcrit.engines import reference, triton
from segcrit.engines.cpu import native

__all__ = ["Backend", "asked_for", "backends", "check_name", "keeps_normalizers", "pick", "use_backend"]

_forced: ContextVar[str | None] = ContextVar("segcrit_backend", default=None)


@dataclass(frozen=True)
class Backend:
    """An engine and whether it can run here.

    Attributes:
        name: word for ``backend=`` and ``use_backend``.
        available: whether it can run on this machine.
        devices: device types it computes on; ``("any",)`` for all.
        reason: why it can or cannot run.
    """

    name: str
    available: bool
    devices: tuple[str, ...]
    reason: str


_NAMES = ("reference", "triton", "cpu")
# Closer in meaning than in letters.
_DEVICE_NAMES = dict.fromkeys(("gpu", "cuda"), "The engine for CUDA devices is called 'triton'.")


def _module(name: str) -> ModuleType:
    if name == "triton":
        # Imported when the first tensor arrives for it.
        from segcrit.engines.triton import engine

        return engine
    return native if name == "cpu" else reference


def backends() -> tuple[Backend, ...]:
    """Engines that segcrit knows, with whether each can run here and why.

    Returns:
        One ``Backend`` an engine. A sweep that an engine does not take is computed by the reference engine.

    Example:
        >>> import segcrit
        >>> [backend.name for backend in segcrit.backends()]
        ['reference', 'triton', 'cpu']
        >>> segcrit.backends()[0].available
        True
    """
    return tuple(_backend(name) for name in _NAMES)


def _backend(name: str) -> Backend:
    if name == "triton":
        devices = ("cuda", "cpu") if triton.is_interpreted() else ("cuda",)
        available, reason = triton.describe()
        return Backend(name, available, devices, reason)
    if name == "cpu":
        available, reason = native.describe()
        return Backend(name, available, ("cpu",), reason)
    return Backend(name, True, ("any",), "PyTorch operations tile by tile; runs wherever PyTorch does")


# What is fastest on a device, where it can run.
_FASTEST = {"cpu": "cpu", "cuda": "triton"}


def check_name(name: str) -> str:
    """Return ``name`` if it is ``"auto"`` or an engine that can run here, or raise."""
    if name == "auto":
        return name
    if not isinstance(name, str) or name not in _NAMES:
        known = ("auto", *_NAMES)
        raise ParameterError(
            f"backend to be one of {', '.join(map(repr, known))}",
            f"backend={name!r}",
            _DEVICE_NAMES.get(str(name).lower())
            or nearest(str(name), known)
            or "segcrit.backends() lists the engines and whether they can run here.",
        )
    backend = _backend(name)
    if not backend.available:
        raise BackendError(
            "an engine that can run here where one is asked for by name",
            f"{name!r}, which cannot: {backend.reason}",
            "Use 'auto', which chooses by device.",
        )
    return name


class use_backend:
    """Force one engine for everything that follows in this thread or task; in a ``with`` statement, for its block.

    It beats ``backend=``. The backward pass of a loss that was computed under it uses the same engine, wherever it runs.

    Args:
        name: an engine of ``segcrit.backends()``; or ``"auto"``, which forces none: ``backend=`` and the device decide.

    Raises:
        ParameterError: the name is unknown.
        BackendError: the engine cannot run here.

    Example:
        >>> import segcrit, torch
        >>> with segcrit.use_backend("reference"):
        ...     round(float(segcrit.functional.cross_entropy(torch.zeros(1, 2, 4), torch.zeros(1, 4).long())), 4)
        0.6931
    """

    def __init__(self, name: str) -> None:
        self._before = _forced.get()
        self._name = None if check_name(name) == "auto" else name
        _forced.set(self._name)  # the call alone works too

    def __enter__(self) -> None:
        # Again: the block of an object that was made before, or that served another block, is to have this engine too.
        _forced.set(self._name)

    def __exit__(self, *_: object) -> None:
        _forced.set(self._before)


def asked_for(requested: str) -> str:
    """The engine that a call asks for, which its backward pass asks for too.

    That pass may run after the ``with`` block, and on a GPU it runs in a thread of autograd's own, where the block is not
    known. A trace is for all blocks: its operators look when they run.
    """
    if torch.compiler.is_compiling():
        return requested
    forced = _forced.get()
    return requested if forced is None else forced


def keeps_normalizers(requested: str, logits: Tensor, upsample: bool) -> bool:
    """Whether the forward pass of a softmax keeps the normalizers for the backward pass: the only place that decides it.

    The Triton engine always reads them, the native engine where it does not compute them again, the reference engine never.
    So nothing is lost where another engine runs in the end than the one that was asked for.

    Args:
        requested: what ``asked_for`` says.
        logits: (N, C, ...).
        upsample: whether they are interpolated.
    """
    if logits.device.type == "cuda" or requested == "triton":
        return True
    return not native.computes_again(logits.shape[1], upsample)


def pick(requested: str, device: torch.device) -> ModuleType:
    """The engine module for a call: with ``forward(sweep, request)`` and ``backward(sweep, request, ...)``."""
    forced = _forced.get()
    name = requested if forced is None else forced
    if name == "auto":
        fastest = _FASTEST.get(device.type, "reference")
        return _module(fastest if _backend(fastest).available else "reference")
    backend = _backend(name)
    if not backend.available or not ("any" in backend.devices or device.type in backend.devices):
        raise BackendError(
            f"logits on a device of the engine {name!r}",
            f"logits on {device}",
            "Use backend='auto', which chooses by device.",
        )
    return _module(name)
