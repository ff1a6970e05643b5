"""The verdict in plain words: which loss leads, which are tied, or that this run cannot tell.

No sentence says more than the run can carry: "leads" needs a corrected interval that leaves out zero against
every other loss; with one seed it is "on these test images"; what could not be resolved is said with its
size. Losses and options stand in backticks, so that every reader of the text can set them apart.
"""

from __future__ import annotations

from typing import Final, Literal

from segcrit.apps.compare.records import METRICS, Results
from segcrit.apps.compare.verdict.class_changes import class_changes
from segcrit.apps.compare.verdict.notes import figure, notes
from segcrit.apps.compare.verdict.ranking import SMALLEST_SAMPLE, Ranking, rank, seeds_with_figures
from segcrit.apps.compare.verdict.records import PairComparison, Standing, Verdict
from segcrit.core.numbers import counted, listed, number
from segcrit.core.quantities import worded

__all__ = ["PRACTICALLY_EQUAL", "caveats", "judge", "reference_loss"]

# Losses within one point of each other, interval included, are equal for every practical purpose.
PRACTICALLY_EQUAL: Final = 0.01

# A sentence that lists more losses than this with their intervals is no longer read.
_MOST_NAMED: Final = 5

# The report is made right after results.json is written: its verdict need not be computed twice.
_latest: tuple[Results, Verdict] | None = None

Kind = Literal["leader", "tie", "unclear", "single", "nothing"]


def judge(results: Results) -> Verdict:
    """Say what this run can say about its losses.

    Args:
        results: a comparison, finished or not.

    Returns:
        The verdict; the same results always give the same one.
    """
    global _latest
    if _latest is not None and _latest[0] is results:
        return _latest[1]
    verdict = _judge(results)
    _latest = results, verdict
    return verdict


def _judge(results: Results) -> Verdict:
    ranking = rank(results)
    reference = reference_loss(results)
    top = _top(ranking)
    kind, headline, sentences = _decide(results, ranking, top)
    if (nothing_learnt := _below_baseline(results, ranking)) and kind != "single":
        kind, headline, sentences = "unclear", nothing_learnt, [headline, *sentences]
    seeds = [len(tested) for loss in results.losses if (tested := seeds_with_figures(loss))]
    dims = results.data.spatial_dims
    return Verdict(
        kind=kind,
        headline=worded(headline, dims),
        sentences=tuple(worded(sentence, dims) for sentence in (*sentences, *notes(results, ranking))),
        best=top[0] if top else "",
        top=tuple(top),
        standings=ranking.standings,
        pairs=ranking.pairs,
        reference=reference,
        changes=class_changes(results, reference),
        resolution=ranking.resolution,
        images=ranking.images,
        groups=ranking.units if results.data.groups else 0,
        seeds=min(seeds, default=0),
        method=worded(_method(results, ranking, min(seeds, default=0)), dims),
    )


def caveats(verdict: Verdict) -> list[str]:
    """What must never be left out where only the headline is shown: a lead too small to matter, one seed."""
    found = []
    beside = [pair for pair in verdict.pairs if pair.first == verdict.best]
    if verdict.kind == "leader":
        found += _small_lead(beside[0])
    if verdict.seeds == 1 and beside and verdict.kind != "nothing":
        found.append("One seed: the difference may not repeat with another one.")
    return found


def reference_loss(results: Results) -> str:
    """The loss that class changes are counted from: plain ``ce`` where it was tested, else the first one."""
    tested = [loss for loss in results.losses if seeds_with_figures(loss)]
    plain = [loss.name for loss in tested if loss.canonical == "ce" or loss.name == "ce"]
    return next(iter([*plain, *(loss.name for loss in tested)]), "")


def _top(ranking: Ranking) -> list[str]:
    """The best loss and all that cannot be told from it."""
    names = [standing.loss for standing in ranking.standings]
    behind = {pair.second for pair in _pairs_of_best(ranking) if pair.distinguishable}
    return [name for name in names if name not in behind]


def _pairs_of_best(ranking: Ranking) -> list[PairComparison]:
    """The pairs (best, other), in the order of the standings: pairs are made in that order."""
    return [pair for pair in ranking.pairs if pair.first == ranking.standings[0].loss]


def _decide(results: Results, ranking: Ranking, top: list[str]) -> tuple[Kind, str, list[str]]:
    metric = METRICS[results.run.metric]
    if not ranking.standings:
        return "nothing", _nothing(results), []
    best = ranking.standings[0]
    if len(ranking.standings) == 1:
        interval = f" (95 % interval {_range(best.low, best.high)})" if best.low == best.low else ""
        only = "Only one loss was compared" if len(results.losses) == 1 else "Only one loss was tested"
        return "single", f"{only}: `{best.loss}` reaches {metric} {number(best.value)}{interval}.", []
    pairs = _pairs_of_best(ranking)
    if ranking.units < SMALLEST_SAMPLE:
        few = counted(ranking.units, "test group" if results.data.groups else "test image")
        are = "is" if ranking.units == 1 else "are"
        return (
            "unclear",
            f"Cannot tell: {few} {are} too few to compare losses.",
            [_too_few(metric, best, pairs[0])],
        )
    if len(top) == 1:
        place = "leads on these test images" if _fewest_seeds(ranking) < 2 else "leads"
        return (
            "leader",
            f"`{best.loss}` {place}: {metric} {number(best.value)}, {_ahead(pairs[0])}.",
            [*_small_lead(pairs[0]), *_others_behind(pairs[1:])],
        )
    among = [pair for pair in pairs if pair.second in top]
    behind = [pair for pair in pairs if pair.second not in top]
    equal = all(max(abs(pair.low), abs(pair.high)) <= PRACTICALLY_EQUAL for pair in among)
    if behind or equal:
        last = max(among, key=lambda pair: abs(pair.difference))
        amount = "difference" if len(among) == 1 else "largest difference"
        names = listed([f"`{name}`" for name in top])
        text = f"{names} are tied: {amount} {number(last.difference)} {metric}, {_interval(last)}."
        return "tie", text, [*_others_behind(behind), *_unconfirmed(among, last)]
    text = (
        f"Cannot tell: `{best.loss}` has the highest {metric}, {number(best.value)}, but its lead of "
        f"{number(pairs[0].difference)} over `{pairs[0].second}` may be chance ({_interval(pairs[0])})."
    )
    return "unclear", text, [*_unclear_rest(pairs[1:]), *_unconfirmed(pairs, pairs[0], pairs[-1])]


def _below_baseline(results: Results, ranking: Ranking) -> str:
    """To lead among losses that learnt nothing is no recommendation: the headline says so first."""
    if results.baseline is None or not ranking.standings:
        return ""
    floor = figure(results.baseline.figures, results.run.metric)
    if not ranking.standings[0].value <= floor:
        return ""
    name = results.data.classes[results.baseline.class_index].name
    return (
        f"Cannot tell: no loss gets above always predicting “{name}” ({METRICS[results.run.metric]} "
        f"{number(floor)}). Train longer before comparing."
    )


def _too_few(metric: str, best: Standing, pair: PairComparison) -> str:
    return (
        f"The highest {metric} is {number(best.value)}, of `{best.loss}`; `{pair.second}` follows with "
        f"{number(best.value - pair.difference)}. At least {SMALLEST_SAMPLE} are needed for an interval."
    )


def _nothing(results: Results) -> str:
    states = [[seed.status for seed in loss.seeds] for loss in results.losses]
    if states and all(found and set(found) == {"diverged"} for found in states):
        return "No verdict: every loss diverged."
    return "No verdict yet: no loss was tested."


def _fewest_seeds(ranking: Ranking) -> int:
    return min(len(standing.seed_values) for standing in ranking.standings)


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def _interval(pair: PairComparison) -> str:
    text = f"95 % interval {_range(pair.low, pair.high)}"
    if pair.unconfirmed:
        text += f", which a permutation test does not confirm, p = {number(pair.p_value)}"
    return text


def _ahead(pair: PairComparison) -> str:
    return f"{number(pair.difference)} ahead of `{pair.second}` ({_interval(pair)})"


def _small_lead(pair: PairComparison) -> list[str]:
    """Many images make small differences certain, not important."""
    if pair.high > PRACTICALLY_EQUAL:
        return []
    return [f"This lead is below {number(PRACTICALLY_EQUAL)} and hardly matters in practice."]


def _others_behind(pairs: list[PairComparison]) -> list[str]:
    if not pairs:
        return []
    if len(pairs) > _MOST_NAMED:
        near, far = pairs[0], pairs[-1]
        text = (
            f"{len(pairs)} others are behind `{near.first}`, from `{near.second}` by {number(near.difference)} "
            f"({_range(near.low, near.high)}) to `{far.second}` by {number(far.difference)} "
            f"({_range(far.low, far.high)})."
        )
        return [text]
    parts = [f"`{pair.second}` by {number(pair.difference)} ({_range(pair.low, pair.high)})" for pair in pairs]
    return [f"Behind `{pairs[0].first}`: {listed(parts)}."]


def _unclear_rest(pairs: list[PairComparison]) -> list[str]:
    if not pairs:
        return []
    last = pairs[-1]
    text = (
        f"None of the other losses can be told from it either; the lowest, `{last.second}`, is "
        f"{number(last.difference)} below ({_interval(last)})."
    )
    return [text]


def _unconfirmed(pairs: list[PairComparison], *named: PairComparison) -> list[str]:
    """Losses whose interval in the table leaves out zero, and that are not told apart all the same."""
    others = [pair for pair in pairs if pair.unconfirmed and pair not in named]
    if not others:
        return []
    losses = listed([f"`{pair.second}` (p = {number(pair.p_value)})" for pair in others])
    interval = "the interval leaves" if len(others) == 1 else "their intervals leave"
    return [f"Not told apart either, although {interval} out 0: {losses}; a permutation test must agree with p ≤ 0.05."]


def _method(results: Results, ranking: Ranking, seeds: int) -> str:
    if ranking.units < SMALLEST_SAMPLE:
        return f"No intervals: fewer than {SMALLEST_SAMPLE} test images or groups."
    unit = "groups of test images" if results.data.groups else "test images"
    noise = " and noise of the size found between seeds (Student's t, pooled over the losses)"
    together = "; intervals of differences hold together for all pairs"
    test = ", and a permutation test with Holm's correction must agree"
    return (
        f"95 % intervals from {ranking.resamples:,} resamples of the {unit}{noise if seeds > 1 else ''}, the "
        f"same for every loss{together if len(ranking.pairs) > 1 else ''}"
        f"{test if ranking.pairs and seeds == 1 else ''}."
    )
