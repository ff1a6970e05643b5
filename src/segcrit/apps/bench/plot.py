"""A measurement as a picture: horizontal bars on a logarithmic scale, time on the left, memory on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segcrit.apps.bench.contenders import EVALUATION
from segcrit.apps.bench.records import Panel, Result, Row
from segcrit.core.atomic import atomic_path
from segcrit.core.errors import ParameterError
from segcrit.core.numbers import counted, duration, memory
from segcrit.core.optional import require

__all__ = ["check_picture", "draw"]

_COLOURS: Final = {
    "torch": "#8c8c8c",
    "torch.compile": "#5d6d7e",
    "monai": "#b07aa1",
    "kornia": "#59a14f",
    "smp": "#9c755f",
    "torchmetrics": "#edc948",
    "segcrit reference": "#9ecae1",
    "segcrit": "#1f5fa8",
}
_FORMATS: Final = (".png", ".svg", ".pdf")
_BAR: Final = 0.26  # inches
_MIB: Final = float(1 << 20)


@dataclass(frozen=True)
class _Group:
    """Bars that are compared with each other."""

    title: str
    panel: Panel
    rows: tuple[Row, ...]


def check_picture(path: str | Path) -> None:
    """Find out before a long measurement whether its picture can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ParameterError: the suffix is unknown.
    """
    if Path(path).suffix.lower() not in _FORMATS:
        raise ParameterError(f"a picture with one of the suffixes {', '.join(_FORMATS)}", str(path), "Rename it.")
    require("matplotlib", extra="bench")


def draw(result: Result, path: str | Path, *, chosen: Sequence[tuple[str, str]] | None = None) -> None:
    """Draw the measured rows.

    Args:
        result: the measurement.
        path: the file; its suffix decides the format.
        chosen: (panel, kind) of the groups, in their order; every group if None.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ParameterError: the suffix is unknown, or nothing was measured.
    """
    check_picture(path)
    groups = _groups(result, chosen)
    if not groups:
        raise ParameterError("a measurement with at least one time", "none", "Measure something first.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with_memory = any(row.extra is not None for group in groups for row in group.rows)
    lines = sum(len(group.rows) + 1.4 for group in groups)
    figure = Figure(figsize=(10.5, 0.9 + _BAR * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if with_memory else 1, sharey=True, squeeze=False)[0]
    places = _label(axes[0], groups)
    times = [[_milliseconds(row) for row in group.rows] for group in groups]
    _bars(axes[0], groups, places, times, [_machine_limit(group) for group in groups])
    axes[0].set_title("time, forward and backward; evaluation: one count", fontsize=9, loc="left")
    axes[0].set_xlabel("milliseconds; dotted: a copy of the logits, for evaluation a read", fontsize=8)
    if with_memory:
        sizes = [[None if row.extra is None else row.extra / _MIB for row in group.rows] for group in groups]
        _bars(axes[1], groups, places, sizes, [group.panel.problem.logits_bytes / _MIB for group in groups])
        axes[1].set_title("peak memory beyond the logits, gradient included", fontsize=9, loc="left")
        axes[1].set_xlabel("MiB; dotted: size of the logits", fontsize=8)
    threads = counted(result.machine["threads"], "thread")
    figure.suptitle(
        f"{result.machine['processor']}, {threads}, torch {result.versions['torch']}, {result.date[:10]}",
        fontsize=8,
        color="#555555",
        x=0.995,
        horizontalalignment="right",
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _milliseconds(row: Row) -> float | None:
    return None if row.time is None else row.time.median


def _machine_limit(group: _Group) -> float | None:
    """What the machine needs to touch the logits at all."""
    timing = group.panel.read if group.rows[0].kind in EVALUATION else group.panel.copy
    return None if timing is None else timing.median


def _groups(result: Result, chosen: Sequence[tuple[str, str]] | None) -> list[_Group]:
    if chosen is None:
        chosen = [(panel.key, kind) for panel in result.panels for kind in dict.fromkeys(r.kind for r in panel.rows)]
    groups = []
    for key, kind in chosen:
        panel = result.panel(key)
        rows = () if panel is None else tuple(r for r in panel.rows if r.kind == kind and r.time is not None)
        if panel is not None and rows:
            groups.append(_Group(f"{kind}   {panel.problem.title}", panel, rows))
    return groups


def _label(axes: Any, groups: Sequence[_Group]) -> list[list[float]]:
    """Write names beside the bars, and give the bars' heights."""
    places: list[list[float]] = []
    ticks: list[tuple[float, str]] = []
    at = 0.0
    for group in groups:
        axes.text(
            0.0, at, group.title, transform=axes.get_yaxis_transform(), fontsize=9, fontweight="bold",
            verticalalignment="center", horizontalalignment="left",
        )  # fmt: skip
        places.append([at + 1 + index for index in range(len(group.rows))])
        ticks += [(place, _name(group, row)) for place, row in zip(places[-1], group.rows, strict=True)]
        at += len(group.rows) + 1.4
    axes.set_yticks([place for place, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.set_ylim(at - 0.4, -0.8)
    return places


def _name(group: _Group, row: Row) -> str:
    if row.problem == group.panel.problem:
        return row.label
    return f"{row.label}, {'channels last' if row.problem.channels_last else row.problem.dtype}"


def _bars(
    axes: Any,
    groups: Sequence[_Group],
    places: Sequence[Sequence[float]],
    values: Sequence[Sequence[float | None]],
    marks: Sequence[float | None],
) -> None:
    known = [value for part in values for value in part if value] + [mark for mark in marks if mark]
    axes.set_xscale("log")
    axes.set_xlim(min(known) / 2, max(known) * 4)
    is_time = axes.get_subplotspec().colspan.start == 0
    for group, heights, numbers, mark in zip(groups, places, values, marks, strict=True):
        for row, height, number in zip(group.rows, heights, numbers, strict=True):
            if not number:
                continue
            axes.barh(height, number, height=0.8, color=_COLOURS.get(row.library, "#8c8c8c"))
            weight = "bold" if row.library == "segcrit" else "normal"
            text = duration(number / 1e3) if is_time else memory(number * _MIB)
            axes.text(number, height, f" {text}", fontsize=8, verticalalignment="center", fontweight=weight)
        if mark:
            axes.plot([mark, mark], [heights[0] - 0.5, heights[-1] + 0.5], linestyle=":", color="black", linewidth=1)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
