"""Which engine computes a sweep: the only place where that is decided.

Order: the engine that ``use_backend`` forces, the one that the caller names, the fastest that can run here. Each engine
states in a table (``CAPABILITIES``) what it can do; ``parts`` gives it that and nothing else, and the rest of the sweep to
the reference engine.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

from segcrit.core.errors import BackendError, ParameterError
from segcrit.core.names import nearest
from segcrit.engines import reference, triton
from segcrit.engines.cpu import native
from segcrit.engines.request import Request, Sweep

__all__ = [
    "Backend",
    "Part",
    "asked_for",
    "backends",
    "check_name",
    "keeps_normalizers",
    "parts",
    "pick",
    "use_backend",
]

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
    """Whether the forward pass of a softmax keeps the normalizers for the backward pass.

    It keeps them for the engine that is asked for, whichever engine runs in the end, so that nothing is lost.

    Args:
        requested: what ``asked_for`` says.
        logits: (N, C, ...).
        upsample: whether they are interpolated.
    """
    on_gpu = logits.device.type == "cuda" or requested == "triton"
    engine = _module("triton") if on_gpu else native
    recomputes: bool = engine.CAPABILITIES.recomputes(logits.shape[1], upsample)
    return not recomputes


@dataclass(frozen=True)
class Part:
    """What one engine computes of a sweep.

    Attributes:
        engine: the module, with ``forward(sweep, request)`` and ``backward(sweep, request, normalizers, gradients)``.
        request: what it delivers.
        losses: positions of its pixel losses in the whole request.
        operands: names of the operands of the whole sweep.
        is_whole: it computes the whole sweep.
    """

    engine: ModuleType
    request: Request
    losses: tuple[int, ...]
    operands: tuple[str, ...]
    is_whole: bool

    def of(self, sweep: Sweep) -> Sweep:
        """The tensors of a sweep that this part needs."""
        if self.is_whole:
            return sweep
        given = dict(zip(self.operands, sweep.operands, strict=True))
        operands = tuple(given[name] for name in self.request.operands)
        return replace(sweep, coefficients=sweep.coefficients[list(self.losses)], operands=operands)


def parts(sweep: Sweep, request: Request, *, normalizers: Tensor | None = None) -> tuple[Part, ...]:
    """The engines that compute a sweep, the one that was asked for first.

    A sweep, a pixel loss or a class sum that is not in the table of that engine is computed by the reference engine; the
    rest of the sweep stays where it is.

    Args:
        sweep: the tensors.
        request: what is to be delivered.
        normalizers: in the backward pass, those that the forward pass has kept.

    Raises:
        BackendError: no engine computes it.
    """
    engine = pick(request.backend, sweep.logits.device)
    if not _takes(engine, sweep, request, normalizers):
        engine = reference
    # The same for every sweep of a request.
    known: dict[str, tuple[Part, ...]] = request.__dict__.setdefault("_parts", {})
    if engine.__name__ not in known:
        known[engine.__name__] = _split(engine, request)
    return known[engine.__name__]


def _split(engine: ModuleType, request: Request) -> tuple[Part, ...]:
    everything = tuple(range(len(request.pixel)))
    table = engine.CAPABILITIES
    losses = tuple(place for place in everything if table.has_item(request.pixel[place], request))
    fields = tuple(name for name in request.fields if table.has_field(name))
    useful = losses or set(fields) - {"T", "V"} or request.errors != "none" or request.confusion
    if engine is reference or not useful:
        _require(request)
        return (Part(reference, request, everything, request.operands, True),)
    if len(losses) == len(everything) and len(fields) == len(request.fields):
        return (Part(engine, request, everything, request.operands, True),)
    others = tuple(place for place in everything if place not in losses)
    left = tuple(name for name in request.fields if name not in fields)
    own = replace(request, pixel=tuple(request.pixel[place] for place in losses), fields=fields)
    rest = replace(
        request, pixel=tuple(request.pixel[place] for place in others), fields=left,
        errors="none", bins=0, bins_per_image=False, confusion=False, save=False,
    )  # fmt: skip
    _require(rest)
    return (
        Part(engine, own, losses, request.operands, False),
        Part(reference, rest, others, request.operands, False),
    )


def _takes(engine: ModuleType, sweep: Sweep, request: Request, normalizers: Tensor | None) -> bool:
    if engine is reference:
        return True
    table = engine.CAPABILITIES
    # None are kept where another engine has computed the forward pass.
    missing = normalizers is not None and not request.sigmoid and normalizers.numel() == 0
    if missing and not table.recomputes(sweep.logits.shape[1], request.upsample):
        return False
    taken: bool = table.has_sweep(sweep, request)
    return taken


def _require(request: Request) -> None:
    """Raise for what even the reference engine does not know."""
    table = reference.CAPABILITIES
    unknown = [item.key for item in request.pixel if not table.has_item(item, request)]
    unknown += [name for name in request.fields if not table.has_field(name)]
    unknown += [] if request.errors in table.errors else [request.errors]
    if unknown:
        raise BackendError(
            "formulas, sums and errors that an engine computes",
            ", ".join(map(repr, unknown)),
            "Register the formula, or add the sum to the engines and to their tables of capabilities.",
        )


def pick(requested: str, device: torch.device) -> ModuleType:
    """The engine that is asked for, or the fastest one on a device."""
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
