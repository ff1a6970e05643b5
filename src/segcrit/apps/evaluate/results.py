"""Figures of an evaluation of files: reports of the models, intervals, comparisons, groups; as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from segcrit.apps.evaluate.counting.store import Tally
from segcrit.apps.evaluate.measured import KINDS, Table, image_columns, measured_tables
from segcrit.core import atomic
from segcrit.core.csv_tables import csv_text
from segcrit.core.json_files import encode
from segcrit.core.numbers import counted, listed, number
from segcrit.data.problems import Problem
from segcrit.metrics.measure_table import MeasureTable
from segcrit.metrics.named import get_figure
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Floats
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import Interval, PairedComparison, bootstrap_many, compare_all
from segcrit.metrics.summary import summary_figures
from segcrit.metrics.tables import CountTable

__all__ = ["Outcome", "write_tables"]

RESULTS: Final = "results.json"
FORMAT: Final = "segcrit evaluation"
VERSION: Final = 1
_MOST_RESAMPLES: Final = 2_000
_FEWEST_RESAMPLES: Final = 200
# Draws (images times resamples) that take about two seconds.
_DRAWS: Final = 100_000_000
# With fewer pairs no permutation test reaches p = 0.05.
_FEW_UNITS: Final = 6
_GROUP_HEADS: Final = ("group", "model", "images")
# Tables that only some evaluations have, and the columns that they begin with.
_OPTIONAL: Final[dict[str, tuple[str, ...]]] = {
    "comparison": ("figure", "first", "second"),
    "groups": _GROUP_HEADS,
    **dict.fromkeys(KINDS, ("model",)),
}
# Columns of images.csv, each for every class.
_IMAGE_FIGURES: Final = ("iou", "dice", "tp", "fp", "fn")
_VOLUMES: Final = ("true_volume", "predicted_volume")
# Up to so many images times classes results.json holds the counts of each image, from which Report.from_dict reads it;
# beyond that counts.npz alone does.
_MOST_COUNTS: Final = 100_000
# Figures of measures that belong into the summary.
_MEASURED: Final = (
    "boundary_iou", "boundary_f1", "trimap_miou", "hd95", "assd", "nsd", "cldice", "ece", "brier", "nll",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Outcome:
    """What was found: everything that tables and the page show.

    Attributes:
        tally: the counts.
        problems: of the audit.
        groups: group of each image, or None.
        resamples: of the bootstrap, None: by the number of images.
        title: heading of the report; by default it names the models.
    """

    tally: Tally
    problems: tuple[Problem, ...] = ()
    groups: Mapping[str, str] | None = None
    resamples: int | None = None
    title: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", f"Evaluation of {listed(self.tally.models)}")

    def __repr__(self) -> str:
        """One line: the counts of thousands of images are of no use on a screen."""
        figures = [f"{model} {number(report.figures[self.headline], 4)}" for model, report in self.reports.items()]
        images = counted(self.first.num_images, "image")
        return f"<Outcome {self.title!r}: {images}, {self.headline} {', '.join(figures)}>"

    @cached_property
    def reports(self) -> dict[str, Report]:
        """The report of each model."""
        return {
            model: report_of(self.tally, table, measures)
            for model, table, measures in zip(self.tally.models, self.tally.tables, self.tally.measures, strict=True)
        }

    @property
    def first(self) -> Report:
        """The report of the first model."""
        return next(iter(self.reports.values()))

    @property
    def headline(self) -> str:
        """The first figure."""
        return self.first.headline

    @cached_property
    def summary(self) -> list[str]:
        """Names of the figures worth showing first."""
        report = self.first
        names = [report.headline, *(name for name in summary_figures(report) if name != report.headline)]
        for name in _MEASURED:
            # Of a background neither outline nor distance is of interest.
            names += [own for own in (f"foreground_{name}", name) if own in report.figures][:1]
        return names

    @property
    def units(self) -> int:
        """Images, or groups of them: what intervals resample."""
        return self.first.num_images if self.groups is None else len(set(self.groups.values()))

    @property
    def caution(self) -> str:
        """What to know about intervals and tests of few images or groups; empty where there are enough."""
        if not 1 < self.units < _FEW_UNITS:
            return ""
        what = "images" if self.groups is None else "groups"
        text = f"Only {self.units} {what}: intervals are far too narrow to be trusted"
        if len(self.reports) > 1:
            # All exchanges of n pairs are 2 ** n, and each has a mirror image with the same absolute difference.
            text += f", and no test over {self.units} {what} can give a p below {2 / 2**self.units:g}"
        return text + "."

    @property
    def draws(self) -> int:
        """Resamples of an interval."""
        if self.resamples is not None:
            return self.resamples
        return int(np.clip(_DRAWS // max(1, self.first.num_images), _FEWEST_RESAMPLES, _MOST_RESAMPLES))

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Model -> figure -> interval; empty with fewer than two images."""
        if self.units < 2:
            return {model: {} for model in self.reports}
        names = [*self.summary, *(f"iou[{index}]" for index in range(self.first.num_classes))]
        found = {}
        for model, report in self.reports.items():
            drawn = bootstrap_many(report.per_image, names, resamples=self.draws, groups=self.groups)
            found[model] = {name: interval for name, interval in drawn.items() if not np.isnan(interval.low)}
        return found

    @cached_property
    def comparisons(self) -> dict[str, list[PairedComparison]]:
        """Figure -> all pairs of models; empty with one model."""
        if len(self.reports) < 2 or self.units < 2:
            return {}
        counts = {model: report.per_image for model, report in self.reports.items()}
        # Every figure of the summary, with fewer resamples for those that are no sums over images.
        return {
            name: compare_all(counts, name, resamples=self.draws, groups=self.groups)
            for name in self.summary
            if all(np.isfinite(report.figures[name]) for report in self.reports.values())
        }

    @cached_property
    def by_group(self) -> dict[str, dict[str, Report]]:
        """Group -> model -> report."""
        if self.groups is None:
            return {}
        parts = {model: report.by_group(self.groups) for model, report in self.reports.items()}
        return {group: {model: parts[model][group] for model in parts} for group in next(iter(parts.values()))}

    def image_values(self, report: Report) -> Floats:
        """The figure that images are ordered by, (images,), NaN where it is undefined."""
        figure = get_figure(self.image_figure, report.num_classes, None, report.per_image)
        columns = figure.columns_of(report.per_image)
        values: Floats = np.asarray(figure.combine(columns, report.task, get_policy(report.policy)))
        return values

    @property
    def image_figure(self) -> str:
        """Name of the figure that images are ordered by."""
        return "image_foreground_iou" if self.first.task == "binary" else "image_miou"

    @property
    def ignored_share(self) -> float:
        """Share of the pixels that do not count."""
        total = int(self.tally.pixels.sum())
        return 1 - self.first.num_pixels / total if total else float("nan")

    def to_dict(self, *, per_image: bool = False) -> dict[str, Any]:
        """Plain values: what ``results.json`` holds."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "resamples": self.resamples,
            "image_groups": None if self.groups is None else dict(self.groups),
            "num_images": self.first.num_images,
            "ignored_share": encode(self.ignored_share),
            "classes": [
                {"index": index, "name": name, "color": color}
                for index, (name, color) in enumerate(
                    zip(self.first.class_names, self.tally.about["colors"], strict=False)
                )
            ],
            "models": [
                {
                    "name": model,
                    "report": report.to_dict(per_image=per_image),
                    "tool_figures": encode(report.tool_figures),
                    "intervals": {name: _interval(interval) for name, interval in self.intervals[model].items()},
                }
                for model, report in self.reports.items()
            ],
            "comparisons": {name: [_comparison(pair) for pair in pairs] for name, pairs in self.comparisons.items()},
            "groups": {
                group: {
                    model: {"num_images": report.num_images, "figures": encode(report.figures)}
                    for model, report in models.items()
                }
                for group, models in self.by_group.items()
            },
            "audit": [problem.to_dict() for problem in self.problems],
            "notes": list(self.tally.notes),
            "unmatched": self.tally.sources.get("unmatched", {}),
            "settings": self.tally.about,
            "shards": [list(pair) for pair in self.tally.shards],
        }


def report_of(tally: Tally, table: CountTable, measures: Mapping[str, MeasureTable]) -> Report:
    """The report on one model."""
    settings = tally.settings
    tp, fp, fn, pixels = table.class_counts(settings.task)
    counts = PerImage(
        tally.ids, tp, fp, fn, pixels, settings.task, settings.policy, table, measures, settings.background
    )
    return Report(settings.class_names, settings.task, settings.policy, table.confusion(), counts)


def _interval(interval: Interval) -> dict[str, Any]:
    names = ("value", "low", "high", "standard_error", "level", "units", "resamples")
    return {name: encode(getattr(interval, name)) for name in names}


def _comparison(pair: PairedComparison) -> dict[str, Any]:
    """The second model against the first, as everywhere: what a new run changed in the figures of an old one."""
    change = pair.reversed()
    names = ("difference", "low", "high", "p_value", "resolvable", "level", "units", "significant")
    return {
        "first": change.b,
        "second": change.a,
        "value_first": encode(change.value_b),
        "value_second": encode(change.value_a),
        **{name: encode(getattr(change, name)) for name in names},
    }


def write_tables(outcome: Outcome, folder: Path) -> None:
    """Write results.json and the tables figures.csv, classes.csv, confusion.csv and images.csv.

    Where there are several models, or groups: comparison.csv and groups.csv; and one table a measure. Those of them that
    an earlier evaluation wrote there and this one does not are removed.
    """
    small = outcome.first.num_images * outcome.first.num_classes * len(outcome.reports) <= _MOST_COUNTS
    text = json.dumps(outcome.to_dict(per_image=small), indent=1, ensure_ascii=False, allow_nan=False)
    atomic.atomic_write_text(folder / RESULTS, text + "\n")
    _csv(folder / "figures.csv", ("model", "figure", "value", "low", "high"), _figure_rows(outcome))
    report = outcome.first
    classes = [
        {"model": model} | row | {name: getattr(interval, name, "") for name in ("low", "high")}
        for model, report in outcome.reports.items()
        for row in report.class_rows()
        for interval in [outcome.intervals[model].get(f"iou[{row['index']}]")]
    ]
    names = ["iou_low" if key == "low" else "iou_high" if key == "high" else key for key in classes[0]]
    _csv(folder / "classes.csv", names, (list(row.values()) for row in classes))
    _csv(folder / "confusion.csv", _confusion_head(report), _confusion_rows(outcome))
    _csv(folder / "images.csv", *_image_table(outcome))
    optional: dict[str, Table] = measured_tables(outcome.reports)
    if outcome.comparisons:
        heads = ["figure", *_comparison(next(iter(outcome.comparisons.values()))[0])]
        rows = [[name, *_comparison(pair).values()] for name, pairs in outcome.comparisons.items() for pair in pairs]
        optional["comparison"] = heads, rows
    if outcome.by_group:
        figures = list(report.figures)
        rows = [
            [group, model, own.num_images, *(own.figures[name] for name in figures)]
            for group, models in outcome.by_group.items()
            for model, own in models.items()
        ]
        optional["groups"] = [*_GROUP_HEADS, *figures], rows
    for name, first in _OPTIONAL.items():
        path = folder / f"{name}.csv"
        if name in optional:
            _csv(path, *optional[name])
        elif _begins(path, first):
            path.unlink()


def _begins(path: Path, heads: Sequence[str]) -> bool:
    """Whether a table has these first columns: one that was written here, and no file of the user's of the same name."""
    if not path.is_file():
        return False
    begins = f"{','.join(heads)},".encode()
    with atomic.open_regular(path) as stream:
        return stream.read(len(begins)) == begins


def _figure_rows(outcome: Outcome) -> Iterable[Sequence[Any]]:
    for model, report in outcome.reports.items():
        for name, value in report.figures.items():
            interval = outcome.intervals[model].get(name)
            yield model, name, value, getattr(interval, "low", ""), getattr(interval, "high", "")


def _confusion_head(report: Report) -> list[str]:
    if report.task == "multilabel":
        return ["model", "channel", "tn", "fp", "fn", "tp"]
    return ["model", "truth", *(f"predicted {name}" for name in report.class_names)]


def _confusion_rows(outcome: Outcome) -> Iterable[Sequence[Any]]:
    for model, report in outcome.reports.items():
        for name, row in zip(report.class_names, report.confusion, strict=True):
            yield model, name, *np.asarray(row).ravel().tolist()


def _image_table(outcome: Outcome) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """One row a model and image; the figures of class ``road`` in the columns ``iou[road]``, ``tp[road]``, ...

    Volumes are in the unit of the files, cubed; there are none where no file tells the size of its voxels.
    """
    names = outcome.first.class_names
    volumes = bool((~np.isnan(outcome.tally.voxels)).any())
    kinds = [*_IMAGE_FIGURES, *(_VOLUMES if volumes else ())]
    head = ["model", "image", "pixels", outcome.image_figure, *(f"{kind}[{name}]" for kind in kinds for name in names)]
    head += image_columns(outcome.first)[0]
    if outcome.groups is not None:
        head.insert(2, "group")

    def rows() -> Iterable[Sequence[Any]]:
        for model, report in outcome.reports.items():
            counts = report.per_image
            pixels = counts.pixels if counts.pixels.ndim == 1 else counts.pixels.sum(axis=1)
            values, measured = outcome.image_values(report), image_columns(report)[1]
            tables = [getattr(counts, kind) for kind in _IMAGE_FIGURES]
            if volumes:
                voxel = outcome.tally.voxels[:, None]
                tables += [(counts.tp + counts.fn) * voxel, (counts.tp + counts.fp) * voxel]
            for place, image in enumerate(counts.ids):
                group = [] if outcome.groups is None else [outcome.groups[image]]
                figures = [value for table in tables for value in table[place].tolist()]
                yield (
                    model, image, *group, int(pixels[place]), float(values[place]), *figures, *measured[place].tolist()
                )  # fmt: skip

    return head, rows()


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    atomic.atomic_write_text(path, csv_text(chain([head], rows)))
