"""Which of several models are told apart: the order, the ties, and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from segcrit.apps.evaluate.results import Outcome
from segcrit.core.numbers import listed, number
from segcrit.core.quantities import worded
from segcrit.metrics.named import figures_of
from segcrit.metrics.statistics import PairedComparison
from segcrit.metrics.summary import figure_label

__all__ = ["PRACTICALLY_EQUAL", "best_models", "digits_of", "label_of", "ranking", "ties", "verdict"]

# A share of one point: with many images a smaller difference can be certain, and hardly matters all the same.
PRACTICALLY_EQUAL: Final = 0.01
_MOST_DIGITS: Final = 6
# A sentence that lists more models than this with their differences is no longer read.
_MOST_NAMED: Final = 5


def label_of(outcome: Outcome, name: str) -> str:
    """How people call a figure."""
    report = outcome.first
    label = figure_label(report, name) if name in ("miou", "mean_dice") else figures_of(report.per_image)[name].label
    return worded(label, outcome.tally.spatial_dims)


def ranking(outcome: Outcome, name: str) -> list[str]:
    """The models whose figure exists, best first."""
    better = figures_of(outcome.first.per_image)[name].better
    values = {model: report.figures[name] for model, report in outcome.reports.items()}
    known = [model for model, value in values.items() if not math.isnan(value)]
    return sorted(known, key=lambda model: values[model], reverse=better == "higher")


def _pairs(outcome: Outcome, name: str) -> dict[frozenset[str], PairedComparison]:
    return {frozenset((pair.a, pair.b)): pair for pair in outcome.comparisons.get(name, [])}


def best_models(outcome: Outcome, name: str) -> tuple[str, ...]:
    """The best model and every one that is not told apart from it; empty where nothing was compared."""
    order, pairs = ranking(outcome, name), _pairs(outcome, name)
    if not pairs or len(order) < 2:
        return ()
    return tuple(model for model in order if model == order[0] or not pairs[frozenset((order[0], model))].significant)


def ties(outcome: Outcome, name: str) -> list[tuple[str, ...]]:
    """Groups of models, best first, of which no two are told apart; a model may be in two of them."""
    order, pairs = ranking(outcome, name), _pairs(outcome, name)
    groups: list[tuple[str, ...]] = []
    end = 0
    for first in range(len(order)) if pairs else ():
        last = first + 1
        while last < len(order) and not any(
            pairs[frozenset((model, order[last]))].significant for model in order[first:last]
        ):
            last += 1
        if last > end:  # else it is part of the group before
            groups.append(tuple(order[first:last]))
            end = last
    return groups


def digits_of(values: Sequence[float], least: int) -> int:
    """Digits after the point that show figures as different as they are, at most six.

    Example:
        >>> digits_of([0.7123, 0.7119, 0.5], 3), digits_of([0.5, 0.5], 3), digits_of([0.1, 0.1 + 1e-9], 3)
        (4, 3, 3)
    """
    known = sorted({value for value in values if not math.isnan(value)})
    for digits in range(least, _MOST_DIGITS + 1):
        if len({f"{value:.{digits}f}" for value in known}) == len(known):
            return digits
    return least


def verdict(outcome: Outcome) -> list[str]:
    """What may be said about the headline figure of several models: one sentence, and what must be known beside it."""
    name = outcome.headline
    order, pairs = ranking(outcome, name), _pairs(outcome, name)
    if len(order) < 2 or not pairs:
        return []
    values = {model: outcome.reports[model].figures[name] for model in order}
    digits = digits_of(list(values.values()), 3)
    label = label_of(outcome, name)
    unit = "images" if outcome.groups is None else "groups of images"
    top = best_models(outcome, name)
    first, best = order[0], f"{values[order[0]]:.{digits}f}"
    of_first = {model: _gap(pairs[frozenset((first, model))], first) for model in order[1:]}
    behind = [model for model in order if model not in top]
    if len(top) == 1:
        gap, low, high = of_first[order[1]]
        sentences = [
            f"{first} leads: {label} {best}, {gap:.{digits}f} ahead of {order[1]} ({_interval(low, high, digits)})."
        ]
        if high <= PRACTICALLY_EQUAL:
            sentences.append(f"This lead is below {PRACTICALLY_EQUAL:g} and hardly matters in practice.")
        behind = behind[1:]
    else:
        last = max(top[1:], key=lambda model: of_first[model][0])
        gap, low, high = of_first[last]
        amount = "the difference is" if len(top) == 2 else "the largest difference is"
        few = "So few" if outcome.caution else "These"
        text = f"{few} {unit} do not tell {listed(top)} apart: {amount} {gap:.{digits}f} {label}"
        if outcome.caution:
            text = text.replace("do not tell", "cannot tell")
        sentences = [f"{text} ({_interval(low, high, digits)})."]
        if any(_contradicted(pairs[frozenset((first, model))]) for model in top[1:]):
            sentences.append("An interval that leaves out 0 is not enough: the test of the same images must agree.")
    if behind:
        sentences.append(_behind(behind, of_first, digits, first))
    groups = [group for group in ties(outcome, name) if len(group) > 1]
    if len(order) > 2 and groups and groups != [top]:
        sentences.append(f"Not told apart from each other: {'; '.join(listed(group) for group in groups)}.")
    return sentences


def _gap(pair: PairedComparison, first: str) -> tuple[float, float, float]:
    """How far the first model is ahead, with its interval: positive whichever way the figure counts."""
    own = pair if pair.a == first else pair.reversed()
    if own.difference >= 0:
        return own.difference, own.low, own.high
    return -own.difference, -own.high, -own.low


def _contradicted(pair: PairedComparison) -> bool:
    """The interval alone would tell the two apart, the permutation test does not."""
    return not pair.significant and (pair.low > 0 or pair.high < 0)


def _behind(models: Sequence[str], gaps: Mapping[str, tuple[float, float, float]], digits: int, best: str) -> str:
    def one(model: str) -> str:
        gap, low, high = gaps[model]
        return f"{model} by {number(gap, digits)} ({number(low, digits)} to {number(high, digits)})"

    if len(models) > _MOST_NAMED:
        return f"{len(models)} others are behind {best}, from {one(models[0])} to {one(models[-1])}."
    return f"Behind {best}: {listed([one(model) for model in models])}."


def _interval(low: float, high: float, digits: int) -> str:
    return f"95 % interval {low:.{digits}f} to {high:.{digits}f}".replace("-", "−")
