"""What the report shows in its ranking, class, cost and curve sections, as plain values for the templates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from segcrit.apps.compare.records import Cost, Figures, LossResult, Results
from segcrit.apps.compare.verdict.records import PairComparison, Verdict
from segcrit.apps.compare.verdict.summary import mean_cost, mean_figures, step_seconds
from segcrit.core.numbers import number
from segcrit.reports.charts import Tick, nice_ticks, tick_text

__all__ = [
    "ChangeCell",
    "ClassRow",
    "CostBar",
    "Forest",
    "ForestRow",
    "LossRow",
    "ScoreCell",
    "class_rows",
    "cost_bars",
    "forest",
    "loss_rows",
    "ranked_losses",
]


@dataclass(frozen=True)
class LossRow:
    """One row of the table of losses. ``loss`` is None for the majority class."""

    loss: LossResult | None
    name: str
    figures: Figures | None
    low: float
    high: float
    in_top: bool
    behind: tuple[float, float, float] | None  # difference to the best loss, and its interval
    undecided: str  # why the loss is not told from the best one, "" where it is
    state: str  # "" for a tested loss, otherwise what became of it


@dataclass(frozen=True)
class ForestRow:
    """One loss in the picture of intervals; positions in percent of the track."""

    loss: LossResult
    value: float
    low: float
    high: float
    at: float
    start: float
    width: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Forest:
    """The picture of values and intervals, best first."""

    rows: tuple[ForestRow, ...]
    ticks: tuple[Tick, ...]
    baseline: float | None  # position, None if it lies outside


@dataclass(frozen=True)
class ChangeCell:
    """A change of IoU: strength of its colour in [0, 1], and whether its own interval leaves out zero."""

    value: float
    low: float
    high: float
    strength: float
    sure: bool


@dataclass(frozen=True)
class ScoreCell:
    """Precision and recall of a class under one loss."""

    precision: float
    recall: float


@dataclass(frozen=True)
class ClassRow:
    """One class, with a cell a loss."""

    index: int
    name: str
    color: str
    share: float
    width: float  # of the bar of its share, in percent of the longest
    reference: float  # IoU under the reference loss
    changes: tuple[ChangeCell | None, ...]  # one a tested loss other than the reference
    scores: tuple[ScoreCell, ...]  # one a tested loss
    ious: tuple[float, ...]  # one a tested loss


@dataclass(frozen=True)
class CostBar:
    """The parts of a training step, in percent of the slowest loss's step."""

    loss: LossResult
    cost: Cost
    forward: float
    backward: float
    rest: float


def ranked_losses(results: Results, verdict: Verdict) -> list[LossResult]:
    """The losses that were tested, in the user's order."""
    ranked = {standing.loss for standing in verdict.standings}
    return [loss for loss in results.losses if loss.name in ranked]


def loss_rows(results: Results, verdict: Verdict) -> list[LossRow]:
    """The table of losses: best first, then those without figures, then the baseline."""
    by_name = {loss.name: loss for loss in results.losses}
    against_best = {pair.second: pair for pair in verdict.pairs if pair.first == verdict.best}
    rows = []
    for standing in verdict.standings:
        loss, pair = by_name[standing.loss], against_best.get(standing.loss)
        behind = None if pair is None else (-pair.difference, -pair.high, -pair.low)
        figures, in_top = mean_figures(loss), loss.name in verdict.top
        rows.append(
            LossRow(
                loss,
                loss.name,
                figures,
                standing.low,
                standing.high,
                in_top,
                behind,
                _undecided(pair),
                _partial_state(loss),
            )
        )
    for loss in results.losses:
        if loss.name not in {standing.loss for standing in verdict.standings}:
            state = "diverged" if any(seed.status == "diverged" for seed in loss.seeds) else "not tested"
            rows.append(LossRow(loss, loss.name, None, math.nan, math.nan, False, None, "", state))
    if results.baseline is not None:
        name = results.data.classes[results.baseline.class_index].name
        rows.append(
            LossRow(None, f"always “{name}”", results.baseline.figures, math.nan, math.nan, False, None, "", "baseline")
        )
    return rows


def _undecided(pair: PairComparison | None) -> str:
    if pair is None or pair.distinguishable:
        return ""
    return f"not told apart, p = {number(pair.p_value)}" if pair.unconfirmed else "not told apart"


def _partial_state(loss: LossResult) -> str:
    failed = sum(seed.status == "diverged" for seed in loss.seeds)
    return f"{failed} of {len(loss.seeds)} seeds diverged" if failed else ""


def forest(results: Results, verdict: Verdict) -> Forest:
    """Values and intervals on one axis, wide enough for all intervals."""
    by_name = {loss.name: loss for loss in results.losses}
    ends = [
        value for s in verdict.standings for value in (s.low, s.high, s.value, *s.seed_values) if not math.isnan(value)
    ]
    ticks = nice_ticks(min(ends, default=0.0), max(ends, default=1.0), 4)
    ticks = [tick for tick in ticks if -1e-9 <= tick <= 1 + 1e-9]
    low, high = ticks[0], ticks[-1]

    def place(value: float) -> float:
        return round(100 * (value - low) / ((high - low) or 1.0), 2)

    rows = []
    for s in verdict.standings:
        start, stop = (s.value, s.value) if math.isnan(s.low) else (s.low, s.high)
        width = place(stop) - place(start)
        several = s.seed_values if len(s.seed_values) > 1 else ()
        seeds = tuple(place(value) for value in several if not math.isnan(value))
        at = 0.0 if math.isnan(s.value) else place(s.value)
        rows.append(ForestRow(by_name[s.loss], s.value, s.low, s.high, at, place(start), width, seeds))
    text = tick_text(ticks)
    baseline = None
    if results.baseline is not None:
        value: float = getattr(results.baseline.figures, results.run.metric)
        baseline = place(value) if low <= value <= high else None
    return Forest(tuple(rows), tuple(Tick(place(tick), text(tick)) for tick in ticks), baseline)


def class_rows(results: Results, verdict: Verdict) -> list[ClassRow]:
    """Classes by their share of the test pixels, the most frequent first."""
    losses = ranked_losses(results, verdict)
    figures = {loss.name: found for loss in losses if (found := mean_figures(loss)) is not None}
    if not figures:
        return []
    count = len(results.data.classes)
    shares = results.data.class_shares.get("test", (math.nan,) * count)
    changes = {change.loss: change for change in verdict.changes}
    sizes = [abs(value) for change in changes.values() for value in change.change if not math.isnan(value)]
    # One extreme class must not wash out all others, and tiny changes must not look like large ones.
    strongest = max(_quantile(sizes, 0.95), 0.02)
    longest = max((share for share in shares if not math.isnan(share)), default=1.0) or 1.0
    rows = []
    for entry in sorted(results.data.classes, key=lambda entry: -_known(shares[entry.index])):
        k = entry.index
        cells: list[ChangeCell | None] = []
        for loss in losses:
            if loss.name == verdict.reference:
                continue
            change = changes.get(loss.name)
            if change is None or math.isnan(change.change[k]):
                cells.append(None)
                continue
            value, low, high = change.change[k], change.low[k], change.high[k]
            strength = min(1.0, abs(value) / strongest)
            cells.append(ChangeCell(value, low, high, strength, low > 0 or high < 0))
        rows.append(
            ClassRow(
                index=k,
                name=entry.name,
                color=entry.color,
                share=shares[k],
                width=100 * _known(shares[k]) / longest,
                reference=figures[verdict.reference].iou[k],
                changes=tuple(cells),
                scores=tuple(
                    ScoreCell(figures[loss.name].precision[k], figures[loss.name].recall[k]) for loss in losses
                ),
                ious=tuple(figures[loss.name].iou[k] for loss in losses),
            )
        )
    return rows


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _quantile(values: Sequence[float], level: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(level * len(ordered)))] if ordered else 0.0


def cost_bars(results: Results) -> list[CostBar]:
    """Step times, the parts of the loss apart, on one scale; what is not the loss is the same for all."""
    steps = step_seconds(results)
    costs = [
        (loss, replace(cost, step_seconds=steps[loss.name]))
        for loss in results.losses
        if (cost := mean_cost(loss)) is not None
    ]
    slowest = max((cost.step_seconds for _, cost in costs), default=1.0)
    bars = []
    for loss, cost in costs:
        forward = 100 * _known(cost.loss_forward_seconds) / slowest
        backward = 100 * _known(cost.loss_backward_seconds) / slowest
        rest = max(0.0, 100 * cost.step_seconds / slowest - forward - backward)
        bars.append(CostBar(loss, cost, round(forward, 2), round(backward, 2), round(rest, 2)))
    return bars
