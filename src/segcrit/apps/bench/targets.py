"""What segcrit sets out to reach, as data, and whether a measurement reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from segcrit.apps.bench import suite
from segcrit.apps.bench.contenders import COMPILED, EAGER, OURS
from segcrit.apps.bench.records import Panel, Result, Row, Verdict

__all__ = ["TARGETS", "Quantity", "Target", "judge"]

_MIXTURE: Final = "ce + dice"
_TABLES: Final = 1 << 20  # bytes left for tables and buffers of threads, where a target allows "tables"


@dataclass(frozen=True)
class Quantity:
    """A number of one panel.

    Attributes:
        panel: name of the panel.
        what: ``"time"`` or ``"memory"`` of a row, ``"copy"`` or ``"read"`` (times of the panel), ``"logits"`` or ``"full
            logits"`` (bytes), ``"gradient and 2 floats"`` (bytes: the gradient, 2 float32 a pixel, a little for tables),
            ``"value error"`` or ``"gradient cosine"`` of a row.
        kind: of the row; empty: every kind, and the worst of them counts.
        library: of the row.
        name: of the row, where a library has several; empty: the fastest of them.
        dtype: of the row's logits.
    """

    panel: str
    what: str
    kind: str = ""
    library: str = OURS
    name: str = ""
    dtype: str = "float32"


@dataclass(frozen=True)
class Target:
    """A ratio of two quantities, or one quantity, and the bound it has to keep.

    Attributes:
        name: the target in words.
        top: numerator.
        bottom: denominator; None: the numerator alone.
        bound: what it is compared with.
        at_least: whether the ratio has to reach the bound, or to stay within it.
        caches: it is asked for only where the logits take this many times the last-level cache.
    """

    name: str
    top: Quantity
    bottom: Quantity | None
    bound: float
    at_least: bool
    caches: float = 0.0

    @property
    def demand(self) -> str:
        """The bound in signs."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def _faster(name: str, panel: str, kind: str, library: str, bound: float, *, other: str = "") -> Target:
    """segcrit takes at most 1/bound of the other's time."""
    slow = Quantity(panel, "time", kind, library, other)
    return Target(name, slow, Quantity(panel, "time", kind), bound, at_least=True)


def _within(name: str, top: Quantity, bottom: Quantity | None, bound: float, *, caches: float = 0.0) -> Target:
    return Target(name, top, bottom, bound, at_least=False, caches=caches)


def _copies(kind: str) -> Target:
    top, bottom = Quantity(suite.MANY, "time", kind), Quantity(suite.MANY, "copy")
    return _within(f"{kind}, 150 classes, in copies of the logits", top, bottom, 4, caches=2.0)


# Panels of losses, forward and backward, on logits of full resolution.
_LOSSES: Final = (suite.FIRST, suite.MANY, suite.FEW, suite.BINARY)
_LOVASZ: Final = "LovaszSoftmax as published"

TARGETS: Final = (
    _faster("ce, 21 classes, against eager", suite.FIRST, "ce", EAGER, 8),
    _faster("ce, 150 classes, against eager", suite.MANY, "ce", EAGER, 8),
    _faster("ce, 21 classes, against compiled", suite.FIRST, "ce", COMPILED, 4),
    _faster("ce, 150 classes, against compiled", suite.MANY, "ce", COMPILED, 4),
    _faster("ce, 2 classes, against eager", suite.FEW, "ce", EAGER, 3),
    _faster("bce with pos_weight, against eager", suite.BINARY, "bce(pos_weight=3)", EAGER, 3),
    _faster("ce + dice, 21 classes, against eager", suite.FIRST, _MIXTURE, EAGER, 20),
    _faster("ce + dice, 150 classes, against eager", suite.MANY, _MIXTURE, EAGER, 20),
    _faster("ce + dice, 21 classes, against compiled", suite.FIRST, _MIXTURE, COMPILED, 8),
    _faster("ce + dice, 150 classes, against compiled", suite.MANY, _MIXTURE, COMPILED, 6),
    _faster("ce + dice, 21 classes, against MONAI", suite.FIRST, _MIXTURE, "monai", 10),
    _faster("ce + dice, 150 classes, against MONAI", suite.MANY, _MIXTURE, "monai", 10),
    _copies("ce"),
    _copies(_MIXTURE),
    _copies("focal"),
    _faster("lovasz, 21 classes, against the published sort", suite.FIRST, "lovasz", EAGER, 100, other=_LOVASZ),
    _faster("lovasz, 150 classes, against the published sort", suite.MANY, "lovasz", EAGER, 200, other=_LOVASZ),
    _within("lovasz, 21 classes, error of the value", Quantity(suite.FIRST, "value error", "lovasz"), None, 1e-4),
    _within("lovasz, 150 classes, error of the value", Quantity(suite.MANY, "value error", "lovasz"), None, 1e-4),
    Target(
        "lovasz, 21 classes, cosine of the gradient",
        Quantity(suite.FIRST, "gradient cosine", "lovasz"),
        None,
        0.9999,
        at_least=True,
    ),
    Target(
        "lovasz, 150 classes, cosine of the gradient",
        Quantity(suite.MANY, "gradient cosine", "lovasz"),
        None,
        0.9999,
        at_least=True,
    ),
    _faster("focal, 21 classes, against eager", suite.FIRST, "focal", EAGER, 20),
    _faster("focal, 21 classes, against MONAI", suite.FIRST, "focal", "monai", 20),
    _faster("focal, 21 classes, against kornia", suite.FIRST, "focal", "kornia", 20),
    _within(
        "memory of every loss, 21 classes, × logits",
        Quantity(suite.FIRST, "memory"),
        Quantity(suite.FIRST, "logits"),
        1.15,
    ),
    _within(
        "memory of every loss, 150 classes, × logits",
        Quantity(suite.MANY, "memory"),
        Quantity(suite.MANY, "logits"),
        1.15,
    ),
    _within(
        "memory of every loss, 2 classes, × (gradient + 2 floats a pixel + tables)",
        Quantity(suite.FEW, "memory"),
        Quantity(suite.FEW, "gradient and 2 floats"),
        1.0,
    ),
    _within(
        "memory of every loss, binary, × (gradient + 2 floats a pixel + tables)",
        Quantity(suite.BINARY, "memory"),
        Quantity(suite.BINARY, "gradient and 2 floats"),
        1.0,
    ),
    _within(
        "memory of ce upsampled 4 times, × full-size logits",
        Quantity(suite.UPSAMPLED, "memory", "ce"),
        Quantity(suite.UPSAMPLED, "full logits"),
        0.15,
    ),
    _faster("ce upsampled 4 times, against interpolate + cross_entropy", suite.UPSAMPLED, "ce", EAGER, 5),
    _within(
        "logits to counts, in reads of the logits",
        Quantity(suite.LOGITS, "time", "evaluate logits"),
        Quantity(suite.LOGITS, "read"),
        2,
    ),
    _faster("logits to counts, against torchmetrics", suite.LOGITS, "evaluate logits", "torchmetrics", 20),
    _faster("labels to counts, against torchmetrics", suite.LABELS, "evaluate labels", "torchmetrics", 10),
    _within(
        "ce + dice, bfloat16 logits, × time of float32",
        Quantity(suite.VARIANTS, "time", _MIXTURE, dtype="bfloat16"),
        Quantity(suite.VARIANTS, "time", _MIXTURE),
        1.0,
    ),
)


def judge(result: Result, targets: Sequence[Target] = TARGETS) -> tuple[Verdict, ...]:
    """Compare a measurement with the targets."""
    return tuple(_judge(result, target) for target in targets)


def _judge(result: Result, target: Target) -> Verdict:
    panel = result.panel(target.top.panel)
    cache = result.machine.get("last_level_cache_bytes")
    if panel is not None and target.caches and cache and panel.problem.logits_bytes <= target.caches * cache:
        detail = f"the logits take less than {target.caches:g} times the last-level cache"
        return Verdict(target.name, target.demand, None, "does not apply", detail)
    top, top_name = _value(result, target.top, largest=not target.at_least)
    bottom, bottom_name = (1.0, "") if target.bottom is None else _value(result, target.bottom, largest=False)
    if top is None or not bottom:
        missing = top_name if top is None else bottom_name
        return Verdict(target.name, target.demand, None, "not measured", missing)
    ratio = top / bottom
    met = ratio >= target.bound if target.at_least else ratio <= target.bound
    detail = f"{top_name} / {bottom_name}" if bottom_name else top_name
    reachable = None if met else _reachable(target, panel, top)
    return Verdict(target.name, target.demand, ratio, "met" if met else "not met", detail, reachable)


def _reachable(target: Target, panel: Panel | None, top: float) -> float | None:
    """The ratio that memory alone would allow, where that is less than what is asked for.

    Any loss reads the logits forward, and reads them and writes the gradient backward: a read and a copy, of this run.
    """
    if panel is None or panel.copy is None or panel.read is None or target.bottom is None:
        return None
    if not target.at_least or target.bottom.what != "time" or panel.key not in _LOSSES:
        return None
    ratio = top / (panel.copy.median + panel.read.median)
    return ratio if ratio < target.bound else None


def _value(result: Result, quantity: Quantity, *, largest: bool) -> tuple[float | None, str]:
    """The number, and how it is called; None and what is missing."""
    panel = result.panel(quantity.panel)
    if panel is None:
        return None, f"no panel {quantity.panel!r}"
    of_panel = _of_panel(panel, quantity.what)
    if of_panel is not None:
        return of_panel
    # Several rows: the worst of segcrit's, the best of the others'.
    rows = [row for row in panel.rows if _is_meant(row, panel, quantity)]
    values = [(value, row) for row in rows if (value := _of_row(row, quantity.what)) is not None]
    if not values:
        reasons = sorted({row.not_run for row in rows if row.not_run})
        label = f"{quantity.what} of {quantity.library} {quantity.kind}".rstrip()
        return None, f"{label}: {', '.join(reasons) or 'no such row'}"
    value, row = max(values, key=lambda item: item[0]) if largest else min(values, key=lambda item: item[0])
    return value, f"{row.library} {row.name}: {quantity.what}"


def _of_panel(panel: Panel, what: str) -> tuple[float | None, str] | None:
    problem = panel.problem
    gradient_and_floats = problem.logits_bytes + 8 * problem.pixels + _TABLES
    sizes = {
        "logits": problem.logits_bytes,
        "full logits": problem.full_bytes,
        "gradient and 2 floats": gradient_and_floats,
    }
    if what in sizes:
        return float(sizes[what]), what
    if what in ("copy", "read"):
        timing = panel.copy if what == "copy" else panel.read
        return (None if timing is None else timing.median), what
    return None


def _is_meant(row: Row, panel: Panel, quantity: Quantity) -> bool:
    return (
        row.library == quantity.library
        and quantity.kind in ("", row.kind)
        and quantity.name in ("", row.name)
        and row.problem.dtype == quantity.dtype
        and row.problem.channels_last == panel.problem.channels_last
    )


def _of_row(row: Row, what: str) -> float | None:
    if what == "time":
        return None if row.time is None else row.time.median
    if what == "memory":
        return None if row.extra is None else float(row.extra)
    return row.value_error if what == "value error" else row.gradient_cosine
