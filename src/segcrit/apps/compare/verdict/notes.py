"""What a reader must know beside the headline: what was resolvable, seeds, images, baseline, failures."""

from __future__ import annotations

from segcrit.apps.compare.records import METRICS, Figures, MetricName, Results
from segcrit.apps.compare.verdict.ranking import LEVEL, SMALLEST_SAMPLE, Ranking, seeds_with_figures, smallest_p_value
from segcrit.core.numbers import counted, listed, number

__all__ = ["figure", "notes"]

# Percentile intervals from fewer images than this cover noticeably less than they promise.
_FEW_IMAGES = 20


def notes(results: Results, ranking: Ranking) -> list[str]:
    """The sentences, most important first."""
    found = [
        _resolution(results, ranking),
        _seeds(results, ranking),
        _few_images(results, ranking),
        _out_of_reach(results, ranking),
        _baseline(results, ranking),
        *_failures(results),
        _learning_rates(results, ranking),
    ]
    return [text for text in found if text]


def _resolution(results: Results, ranking: Ranking) -> str:
    if not ranking.pairs or ranking.resolution != ranking.resolution:
        return ""
    pairs = len(ranking.pairs)
    together = f", corrected for all {pairs} pairs of losses" if pairs > 1 else ""
    if ranking.resolution == 0:
        return ""
    return (
        f"The smallest difference in {METRICS[results.run.metric]} that this run could have resolved is "
        f"about {number(ranking.resolution)}: a true difference of that size is found with 80 % "
        f"probability{together}."
    )


def _seeds(results: Results, ranking: Ranking) -> str:
    if not ranking.standings:
        return ""
    tested = [len(standing.seed_values) for standing in ranking.standings]
    if max(tested) < 2:
        if len(ranking.standings) < 2:
            return ""
        more = _option(results, "--seeds 3", "seeds=3")
        return (
            "One seed was trained for each loss, so the noise between seeds is unknown: a difference on the "
            f"same images may not repeat with another seed. {more} shows it."
        )
    spread = max(max(s.seed_values) - min(s.seed_values) for s in ranking.standings)
    text = (
        f"The seeds of one loss lie up to {number(spread)} {METRICS[results.run.metric]} apart; the "
        "intervals contain this noise as well as that of the test images."
    )
    if min(tested) < max(tested):
        short = [s.loss for s in ranking.standings if len(s.seed_values) < max(tested)]
        text += f" Fewer seeds could be tested for {listed([f'`{name}`' for name in short])}."
    elif max(tested) == 2:
        text += " Two seeds give only a rough idea of it."
    return text


def _few_images(results: Results, ranking: Ranking) -> str:
    if not SMALLEST_SAMPLE <= ranking.units < _FEW_IMAGES:
        return ""
    unit = counted(ranking.units, "group") + " of test images" if results.data.groups else ""
    return (
        f"The intervals come from {unit or counted(ranking.units, 'test image')} only and are rough: they "
        "tend to be too narrow."
    )


def _out_of_reach(results: Results, ranking: Ranking) -> str:
    """A permutation test of few images has a smallest p-value, which the correction for many pairs multiplies."""
    if max((len(s.seed_values) for s in ranking.standings), default=0) > 1 or ranking.units < SMALLEST_SAMPLE:
        return ""
    smallest = smallest_p_value(len(ranking.pairs), ranking.units)
    if smallest <= 1 - LEVEL:
        return ""
    unit = "group" if results.data.groups else "test image"
    return (
        f"With {counted(ranking.units, unit)} and {counted(len(ranking.pairs), 'pair')} of losses not even a loss that "
        f"wins on every {unit} can be told apart: its p would be {number(smallest)}, and 0.05 is needed. More "
        "test images or fewer losses help."
    )


def figure(figures: Figures, metric: MetricName) -> float:
    """The value of the run's metric."""
    return {
        "miou": figures.miou,
        "foreground_iou": figures.foreground_iou,
        "image_dice": figures.image_dice,
    }[metric]


def _baseline(results: Results, ranking: Ranking) -> str:
    if results.baseline is None:
        return ""
    metric = results.run.metric
    value = figure(results.baseline.figures, metric)
    name = results.data.classes[results.baseline.class_index].name
    text = (
        f"Always predicting “{name}”, the most frequent class of the training data, would score "
        f"{number(value)} {METRICS[metric]}"
    )
    if not ranking.standings:
        return text + "."
    if not ranking.standings[0].value > value and len(ranking.standings) > 1:
        return ""  # the headline says it
    # A loss whose interval reaches down to the baseline has not been shown to have learnt anything.
    below = [s.loss for s in ranking.standings if not s.value > value]
    near = [s.loss for s in ranking.standings if s.value > value and s.low <= value]
    if below:
        return f"{text}: {listed([f'`{name}`' for name in below])} did not get above that."
    if near:
        return f"{text}: {listed([f'`{name}`' for name in near])} cannot be told from that."
    every = "the loss is" if len(ranking.standings) == 1 else "every tested loss is"
    return f"{text}; {every} above that."


def _failures(results: Results) -> list[str]:
    found = []
    for loss in results.losses:
        diverged = [seed for seed in loss.seeds if seed.status == "diverged"]
        if diverged:
            message = diverged[0].message.rstrip(".") or "its loss became not finite"
            # "The loss became NaN" goes on after a colon; "NaN loss" keeps its capitals.
            message = message[0].lower() + message[1:] if message[1:2].islower() else message
            ranked = "" if seeds_with_figures(loss) else " and is not ranked"
            some = "all" if len(diverged) == len(loss.seeds) else f"{len(diverged)} of"
            which = f" with {some} {len(loss.seeds)} seeds" if len(loss.seeds) > 1 else ""
            found.append(f"`{loss.name}` diverged{which}{ranked}: {message}.")
    untested = [
        loss.name
        for loss in results.losses
        if not seeds_with_figures(loss) and not any(seed.status == "diverged" for seed in loss.seeds)
    ]
    if untested:
        found.append(f"Not tested yet: {listed([f'`{name}`' for name in untested])}.")
    if results.run.status == "interrupted":
        found.append(f"The run was interrupted; {_option(results, '--resume', 'resume=True')} continues it.")
    return found


def _learning_rates(results: Results, ranking: Ranking) -> str:
    if len(ranking.standings) < 2:
        return ""
    rates = [seed.learning_rate for loss in results.losses for seed in loss.seeds]
    if all(rate.tuned for rate in rates):
        return (
            "Each loss was trained with the learning rate that a short search found best for it on the validation "
            f"images: {_rates(results)}."
        )
    if len({rate.value for rate in rates}) != 1:
        return f"The losses were trained with different learning rates: {_rates(results)}."
    return (
        f"All losses were trained with the learning rate {rates[0].value:g}. Losses differ in scale, so "
        f"another rate may suit some of them better; {_option(results, '--tune-lr', 'tune_learning_rate=True')} gives "
        "each its own."
    )


def _rates(results: Results) -> str:
    """The learning rates of each loss, several where its seeds differ."""
    parts = []
    for loss in results.losses:
        values = list(dict.fromkeys(f"{seed.learning_rate.value:g}" for seed in loss.seeds))
        if values:
            parts.append(f"`{loss.name}` {' or '.join(values)}")
    return listed(parts)


def _option(results: Results, command: str, python: str) -> str:
    """The option as the user would write it, on the command line or in Python."""
    return f"`{python if results.run.command.startswith('segcrit.compare(') else command}`"
