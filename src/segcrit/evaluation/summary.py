"""A report as text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from segcrit.evaluation.figures import FIGURES, measured_figures

if TYPE_CHECKING:
    from segcrit.evaluation.report import Report

__all__ = ["as_text", "number", "summary_figures"]

_NAME_WIDTH: Final = 28


def number(value: float, digits: int = 4) -> str:
    """A figure as text; a dash where it is undefined.

    Example:
        >>> number(0.25), number(float("nan"))
        ('0.2500', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def summary_figures(report: Report) -> list[str]:
    """The figures worth showing first for this task, in order."""
    if report.task == "binary":
        names = ["foreground_iou", "foreground_dice", "miou", "mean_dice", "pixel_accuracy", "mean_accuracy"]
        return [*names, "image_foreground_iou", "image_foreground_dice", "kappa"]
    names = ["miou", "mean_dice"]
    if report.task == "multiclass":
        names.append("foreground_iou")
    return [*names, "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "image_miou", "class_miou", "kappa"]


def figure_label(report: Report, name: str) -> str:
    """The label of a figure; a binary task says what its means run over."""
    if report.task == "binary" and name in ("miou", "mean_dice"):
        return f"{FIGURES[name].label} (both classes)"
    return FIGURES[name].label


def as_text(report: Report) -> str:
    """The summary and one line a class."""
    images = "1 image" if report.num_images == 1 else f"{report.num_images:,} images"
    kind = "elements" if report.task == "multilabel" else "pixels"
    lines = [f"Evaluation of {images}, {report.num_pixels:,} {kind} ({report.task}, policy {report.policy!r})", ""]
    names = summary_figures(report)
    lines += [f"{figure_label(report, name):<{_NAME_WIDTH}}{number(report.figures[name]):>8}" for name in names]
    measured = measured_figures(report.per_image)
    if measured:
        wide = max(_NAME_WIDTH, *(len(figure.label) + 1 for figure in measured.values()))
        lines.append("")
        lines += [f"{figure.label:<{wide}}{number(report.figures[name]):>9}" for name, figure in measured.items()]
    width = min(_NAME_WIDTH, max([5, *(len(name) for name in report.class_names)]))
    lines += ["", f"{'class':<{width}}   share      IoU     Dice  precision  recall"]
    for row in report.class_rows():
        name = row["name"] if len(row["name"]) <= width else row["name"][: width - 1] + "…"
        share = "–" if math.isnan(row["share"]) else f"{100 * row['share']:.2f}%"
        lines.append(
            f"{name:<{width}}{share:>8}{number(row['iou']):>9}{number(row['dice']):>9}"
            f"{number(row['precision']):>11}{number(row['recall']):>8}"
        )
    if any(math.isnan(value) for value in report.iou):
        lines += ["", "– : neither in the truth nor in the prediction; not in any mean."]
    if report.notes:
        lines += ["", *report.notes]
    return "\n".join(lines)
