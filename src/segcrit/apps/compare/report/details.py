"""The folded part of the report: every setting and number behind it, as tables of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segcrit.apps.compare.records import METRICS, DataInfo, LossResult, Results, RunInfo
from segcrit.apps.compare.verdict.ranking import seeds_with_figures
from segcrit.apps.compare.verdict.records import Verdict
from segcrit.apps.compare.verdict.summary import shown_figures
from segcrit.core.numbers import (
    MISSING,
    counted,
    duration,
    lengths,
    memory,
    number,
    p_value,
    percent,
    signed,
)
from segcrit.core.quantities import worded

__all__ = ["Confusion", "Details", "Table", "details"]

# A table of more classes than this is no longer read; results.json holds it.
_MOST_CONFUSION_CLASSES = 25
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Confusion:
    """Shares of each true class, the seeds of a loss added up."""

    loss: LossResult
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Details:
    """Everything that is folded away."""

    settings: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...]
    expressions: Table
    words: Table
    rates: Table
    versions: tuple[tuple[str, str], ...]
    pairs: Table
    trainings: Table
    confusions: tuple[Confusion, ...]
    confusions_left_out: bool


def details(results: Results, verdict: Verdict) -> Details:
    """Collect the tables."""
    few = len(results.data.classes) <= _MOST_CONFUSION_CLASSES
    return Details(
        settings=_filled(_settings(results.run), results.data.spatial_dims),
        data=_filled(_data(results.data), results.data.spatial_dims),
        expressions=_expressions(results),
        words=_words(results.data),
        rates=_rates(results),
        versions=_filled(_versions(results.run), results.data.spatial_dims),
        pairs=_pairs(verdict),
        trainings=_trainings(results),
        confusions=tuple(_confusions(results)) if few else (),
        confusions_left_out=not few,
    )


def _without_folders(command: str) -> str:
    """The command without the folders of the machine: a report is passed on, and where files lie is private.

    Example:
        >>> _without_folders("segcrit compare '/home/ann/my data' --out ../runs/x --import C:\\\\u\\\\ann\\\\a.py")
        "segcrit compare '…/my data' --out ../runs/x --import …/a.py"
    """
    quoted = r"""(["'])(?:/|~/|[A-Za-z]:[\\/])(?:(?!\1).)*?([^/\\"']+)[/\\]?\1"""
    plain = r"""(?<![^\s=])(?:/|~/|[A-Za-z]:[\\/])(?:[^\s"'/\\]+[/\\])*([^\s"'/\\]+)[/\\]?"""
    return re.sub(plain, r"…/\1", re.sub(quoted, r"\1…/\2\1", command))


# Entries that are the user's own words.
_AS_WRITTEN = frozenset({"Command", "Network", "Named as", "Name", "Folder", "Origin"})


def _filled(entries: Sequence[tuple[str, str]], spatial_dims: int) -> tuple[tuple[str, str], ...]:
    return tuple(
        (worded(name, spatial_dims), text if name in _AS_WRITTEN else worded(text, spatial_dims))
        for name, text in entries
        if text
    )


def _settings(run: RunInfo) -> list[tuple[str, str]]:
    return [
        ("Command", _without_folders(run.command)),
        ("Network", f"{run.network.description} ({run.network.parameters:,} parameters)"),
        ("Named as", run.network.spec),
        ("Seeds", ", ".join(map(str, run.seeds))),
        ("Steps of each training", f"{run.steps:,}"),
        ("Passes over the training images", f"{run.epochs:,}" if run.epochs else ""),
        ("Batch size", str(run.batch_size)),
        ("Crop", lengths(run.crop) if run.crop else "whole images"),
        ("Optimizer", run.optimizer),
        ("Learning rate", run.learning_rate_schedule),
        ("Augmentation", ", ".join(run.augmentation) or "none"),
        ("Best checkpoint by", f"validation {METRICS[run.metric]}"),
        ("Prediction of test images", run.inference),
        ("Precision", run.precision),
        ("Whole run took", duration(run.elapsed_seconds)),
    ]


def _data(data: DataInfo) -> list[tuple[str, str]]:
    splits = [f"{count} {_SPLITS.get(split, split)}" for split, count in data.images.items()]
    ignored = [
        f"{percent(share)} of the {_SPLITS.get(split, split)} pixels" for split, share in data.ignored_share.items()
    ]
    channels = f"{counted(data.channels, 'channel')}, {data.spatial_dims} spatial dimensions"
    groups = len(set(data.groups.values()))
    return [
        ("Name", data.name),
        ("Folder", data.root_name),
        ("Origin", data.description),
        ("Images", ", ".join(splits)),
        ("Kind", channels),
        ("Background", _background(data)),
        ("Ignore label", "" if data.ignore_index is None else str(data.ignore_index)),
        ("Ignored", ", ".join(ignored)),
        ("Groups of test images", f"{groups} (splits and intervals never divide one)" if groups else ""),
        ("Labels for training", f"{data.train_labels} (judged by the full masks)" if data.train_labels else ""),
        ("Normalisation", data.normalisation),
        ("Notes", " ".join(data.notes)),
    ]


def _background(data: DataInfo) -> str:
    if data.task == "multilabel":
        return ""
    if data.background is None:
        return "none: every class counts in per-image Dice"
    name = data.classes[data.background].name
    return f"{name} (left out of foreground IoU and per-image Dice)"


def _versions(run: RunInfo) -> list[tuple[str, str]]:
    machine = run.machine
    cores = counted(machine.cores, "core")
    return [
        ("segcrit", run.segcrit_version),
        *run.versions.items(),
        ("System", machine.system),
        ("Processor", f"{machine.cpu} ({cores})" if machine.cpu else cores),
        ("Memory", "" if math.isnan(machine.memory_bytes) else memory(machine.memory_bytes)),
        ("Accelerators", ", ".join(machine.gpus) or "none"),
        ("Processes", str(machine.processes) if machine.processes > 1 else ""),
        ("Threads", str(machine.threads) if machine.threads else ""),
        ("Started", run.created.replace("T", " ").replace("Z", " UTC")),
    ]


def _expressions(results: Results) -> Table:
    rows = []
    for loss in results.losses:
        rows.append((loss.name, loss.given, loss.canonical, loss.resolved or "as given"))
    return Table(("Shown as", "Given", "Read as", "With its numbers"), tuple(rows))


def _words(data: DataInfo) -> Table:
    """The computed weights: one row a class, one column a word; a single number stands in the head."""
    single = [word for word in data.words if len(word.values) != len(data.classes)]
    per_class = [word for word in data.words if len(word.values) == len(data.classes)]
    rows = [
        (entry.name, *(number(word.values[entry.index], 4) for word in per_class))
        for entry in (data.classes if per_class else ())
    ]
    rows += [
        (word.word, ", ".join(number(value, 4) for value in word.values), *[""] * (len(per_class) - 1))
        for word in single
    ]
    explained = [worded(word.explanation, data.spatial_dims) for word in per_class]
    head = ("Class", *(f"{w.word} ({why})" if why else w.word for w, why in zip(per_class, explained, strict=True)))
    return Table(head if per_class else ("Word", "Value"), tuple(rows))


def _rates(results: Results) -> Table:
    rows = []
    for loss in results.losses:
        for seed in loss.seeds:
            rate = seed.learning_rate
            tried = ", ".join(f"{trial.value:g} → {number(trial.validation)}" for trial in rate.trials)
            rows.append(
                (loss.name, str(seed.seed), f"{rate.value:g}", "searched" if rate.tuned else "given", tried or MISSING)
            )
    return Table(("Loss", "Seed", "Learning rate", "How", "Tried → validation figure"), tuple(rows))


def _pairs(verdict: Verdict) -> Table:
    rows = tuple(
        (
            pair.first,
            pair.second,
            signed(pair.difference),
            f"{signed(pair.low)} to {signed(pair.high)}" if pair.low == pair.low else MISSING,
            p_value(pair.p_value),
            "yes" if pair.distinguishable else "no",
        )
        for pair in verdict.pairs
    )
    return Table(("First", "Second", "First − second", "95 % interval", "p, corrected", "Told apart"), rows)


def _trainings(results: Results) -> Table:
    rows = []
    names = shown_figures(results)
    for loss in results.losses:
        for seed in loss.seeds:
            figures = [number(getattr(seed.figures, name)) if seed.figures is not None else MISSING for name in names]
            best = f"{seed.best_step:,}" if seed.best_step >= 0 else MISSING
            rows.append(
                (loss.name, str(seed.seed), seed.status, *figures, best, number(seed.best_validation),
                 duration(seed.training_seconds), memory(seed.cost.peak_memory_bytes), seed.message or MISSING)
            )  # fmt: skip
    head = ("Loss", "Seed", "Status", *names.values(), "Best step", "Its validation figure",
            "Training time by the clock", "Peak memory", "Message")  # fmt: skip
    return Table(head, tuple(rows))


def _confusions(results: Results) -> list[Confusion]:
    found = []
    for loss in results.losses:
        tables = [seed.confusion for seed, _ in seeds_with_figures(loss) if seed.confusion is not None]
        if not tables:
            continue
        total = np.stack(tables).astype(np.float64).sum(axis=0)
        shares = [
            tuple(float(value) / float(row_sum) if row_sum else float("nan") for value in row)
            for row, row_sum in zip(total, total.sum(axis=1), strict=True)
        ]
        found.append(Confusion(loss, tuple(shares)))
    return found
