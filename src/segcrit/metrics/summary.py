"""A report as text for a terminal."""

from __future__ import annotations

import math
from typing import Final

from segcrit.core.numbers import counted, number
from segcrit.metrics.named import FIGURES, measured_figures
from segcrit.metrics.scores import Scores

__all__ = ["as_text", "figure_label", "summary_figures"]

_NAME_WIDTH: Final = 28


def summary_figures(report: Scores) -> list[str]:
    """The figures worth showing first for this task, in order."""
    if report.task == "binary":
        names = ["foreground_iou", "foreground_dice", "miou", "mean_dice", "pixel_accuracy", "mean_accuracy"]
        return [*names, "image_foreground_iou", "image_foreground_dice", "kappa"]
    names = ["miou", "mean_dice"]
    if report.task == "multiclass" and report.background is not None:
        names += ["foreground_iou", "foreground_dice", "image_foreground_dice"]
    return [*names, "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "image_miou", "class_miou", "kappa"]


def figure_label(report: Scores, name: str) -> str:
    """The label of a figure; it says what the means of a binary task run over, and which class is no foreground."""
    if report.task == "binary" and name in ("miou", "mean_dice"):
        return f"{FIGURES[name].label} (both classes)"
    if name in ("foreground_iou", "foreground_dice") and report.task == "multiclass" and report.background is not None:
        return f"{FIGURES[name].label} (without {report.class_names[report.background]})"
    return FIGURES[name].label


def _measured_lines(report: Scores) -> list[str]:
    """One line a figure of the measures; that of the foreground stands beside that of all classes."""
    figures = measured_figures(report.per_image)
    beside = {
        name for name in figures if name.removeprefix("foreground_") in figures and name.startswith("foreground_")
    }
    rows = {name: figure.label for name, figure in figures.items() if name not in beside}
    wide = max(_NAME_WIDTH, *(len(label) + 1 for label in rows.values()))
    lines = []
    for name, label in rows.items():
        line = f"{label:<{wide}}{number(report.figures[name], 4):>9}"
        if f"foreground_{name}" in beside:
            line += f"   foreground {number(report.figures[f'foreground_{name}'], 4)}"
        lines.append(line)
    return lines


def as_text(report: Scores) -> str:
    """The summary and one line a class."""
    images = counted(report.num_images, "image")
    kind = "elements" if report.task == "multilabel" else "pixels"
    lines = [f"Evaluation of {images}, {report.num_pixels:,} {kind} ({report.task}, policy {report.policy!r})", ""]
    names = summary_figures(report)
    labels = {name: figure_label(report, name) for name in names}
    wide = max(_NAME_WIDTH, *(len(label) + 1 for label in labels.values()))
    lines += [f"{label:<{wide}}{number(report.figures[name], 4):>8}" for name, label in labels.items()]
    if measured_figures(report.per_image):
        lines += ["", *_measured_lines(report)]
        if report.boundary is not None:
            lines.append(str(report.boundary.scale))
    width = min(_NAME_WIDTH, max([5, *(len(name) for name in report.class_names)]))
    lines += ["", f"{'class':<{width}}   share      IoU     Dice  precision  recall"]
    for row in report.class_rows():
        name = row["name"] if len(row["name"]) <= width else row["name"][: width - 1] + "…"
        share = "–" if math.isnan(row["share"]) else f"{100 * row['share']:.2f}%"
        lines.append(
            f"{name:<{width}}{share:>8}{number(row['iou'], 4):>9}{number(row['dice'], 4):>9}"
            f"{number(row['precision'], 4):>11}{number(row['recall'], 4):>8}"
        )
    if any(math.isnan(value) for value in report.iou):
        lines += ["", "– : neither in the truth nor in the prediction, or ignored; not in any mean."]
    if report.notes:
        lines += ["", *report.notes]
    return "\n".join(lines)
