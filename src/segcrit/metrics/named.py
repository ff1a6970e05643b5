"""The figures that every evaluation has, by name."""

from __future__ import annotations

import re
from typing import Final

from segcrit.core.errors import ParameterError
from segcrit.core.names import nearest
from segcrit.metrics.definition import (
    Figure,
    columns_of,
    frequency_weighted_iou,
    kappa,
    mean_of_known,
    mean_ratio,
    of_counts,
    pixel_accuracy,
)
from segcrit.metrics.measures.base import measures_of
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import CLASS_RATIOS

__all__ = ["FIGURES", "Figure", "columns_of", "evaluate", "figures_of", "get_figure", "measured_figures"]


def _worst(name: str, basis: str, share: float) -> Figure:
    percent = f"{100 * share:g}"
    if name == "worst_image_miou":
        label, over = "Worst images' mIoU", f"Mean IoU of the classes of an image, over the {percent} % of the images"
    else:
        label = "Worst images' mIoU over classes"
        over = f"Mean over classes of the IoU over the {percent} % of the images with the class"
    return Figure(
        name if share == _WORST else f"{name}[{percent}]",
        f"{label} ({percent} %)",
        f"{over} in which it is lowest, at least one.",
        basis,
        mean_of_known,
        worst=share,
    )


# The share of the images that the worst-case figures look at unless another is named.
_WORST: Final = 0.1
_WORST_BASES: Final = {"worst_image_miou": "image:iou", "worst_class_miou": "class:iou"}

_TABLE: Final = (
    Figure(
        "miou",
        "mIoU",
        "Mean over classes of the IoU over the data set (mIoU-D).",
        "counts",
        mean_ratio("iou"),
    ),
    Figure(
        "foreground_iou",
        "Foreground IoU",
        "Mean over the classes but the background, if one is, of the IoU over the data set; "
        "binary: the IoU of the foreground.",
        "foreground counts",
        mean_ratio("iou"),
    ),
    Figure(
        "mean_dice",
        "Mean Dice",
        "Mean over classes of the Dice (F1) over the data set.",
        "counts",
        mean_ratio("dice"),
    ),
    Figure(
        "foreground_dice",
        "Foreground Dice",
        "Mean over the classes but the background, if one is, of the Dice over the data set; "
        "binary: the Dice of the foreground.",
        "foreground counts",
        mean_ratio("dice"),
    ),
    Figure(
        "pixel_accuracy",
        "Pixel accuracy",
        "Share of the pixels that are right.",
        "counts",
        of_counts(pixel_accuracy),
    ),
    Figure("mean_accuracy", "Mean accuracy", "Mean over classes of the recall.", "counts", mean_ratio("recall")),
    Figure(
        "mean_precision",
        "Mean precision",
        "Mean over classes of the precision.",
        "counts",
        mean_ratio("precision"),
    ),
    Figure(
        "frequency_weighted_iou",
        "Frequency-weighted IoU",
        "Mean of the IoU over classes, each weighted by its share of the true pixels.",
        "counts",
        of_counts(frequency_weighted_iou),
    ),
    Figure(
        "kappa",
        "Cohen's kappa",
        "Agreement beyond what the class shares give by chance.",
        "counts",
        of_counts(kappa),
    ),
    Figure(
        "image_miou",
        "mIoU over images",
        "Mean over images of the mean IoU of the classes of that image (mIoU-I).",
        "image:iou",
        mean_of_known,
    ),
    Figure(
        "image_dice",
        "Dice over images",
        "Mean over images of the mean Dice of the classes of that image.",
        "image:dice",
        mean_of_known,
    ),
    Figure(
        "image_foreground_iou",
        "Foreground IoU over images",
        "Mean over images of the mean IoU of their foreground classes.",
        "foreground:iou",
        mean_of_known,
    ),
    Figure(
        "image_foreground_dice",
        "Foreground Dice over images",
        "Mean over images of the mean Dice of their foreground classes; binary: the usual per-image Dice.",
        "foreground:dice",
        mean_of_known,
    ),
    Figure(
        "class_miou",
        "mIoU over classes",
        "Mean over classes of the mean IoU over the images that hold the class (mIoU-C).",
        "class:iou",
        mean_of_known,
    ),
    Figure(
        "class_dice",
        "Dice over classes",
        "Mean over classes of the mean Dice over the images that hold the class.",
        "class:dice",
        mean_of_known,
    ),
    Figure(
        "class_foreground_iou",
        "Foreground IoU over classes",
        "Mean over the classes but the background, if one is, of the mean IoU over the images that hold the class.",
        "foreground class:iou",
        mean_of_known,
    ),
    Figure(
        "class_foreground_dice",
        "Foreground Dice over classes",
        "Mean over the classes but the background, if one is, of the mean Dice over the images that hold the class.",
        "foreground class:dice",
        mean_of_known,
    ),
    *(_worst(name, basis, _WORST) for name, basis in _WORST_BASES.items()),
)

FIGURES: Final[dict[str, Figure]] = {figure.name: figure for figure in _TABLE}
_CLASS_FIGURE: Final = re.compile(r"(\w+)\[(.+)\]")


def get_figure(
    name: str, num_classes: int, class_names: tuple[str, ...] | None = None, counts: PerImage | None = None
) -> Figure:
    """Return the figure ``name``: a row of :data:`FIGURES`, a class figure such as ``"iou[3]"`` or
    ``"recall[road]"``, a worst-case figure of another share in percent such as ``"worst_image_miou[5]"``, or one of
    what was measured beside the counts.

    Raises:
        ParameterError: no such figure, or no such class.

    Example:
        >>> get_figure("iou[1]", 2).label
        'iou of class 1'
    """
    if name in FIGURES:
        return FIGURES[name]
    measured = {} if counts is None else measured_figures(counts)
    if name in measured:
        return measured[name]
    match = _CLASS_FIGURE.fullmatch(name)
    if match is not None:
        found = _indexed(match[1], match[2], num_classes, class_names, counts)
        if found is not None:
            return found
    known = [*FIGURES, *measured]
    hint = nearest(str(name), known)
    raise ParameterError(
        f"a figure among {', '.join(known)}, or iou[class], dice[class], precision[class], recall[class]",
        repr(name),
        hint or "Choose one of these.",
    )


def measured_figures(counts: PerImage) -> dict[str, Figure]:
    """The figures of what was measured beside the counts."""
    return {figure.name: figure for measure in measures_of(counts) for figure in measure.figures(counts)}


def figures_of(counts: PerImage) -> dict[str, Figure]:
    """Every figure that these counts give."""
    return {**FIGURES, **measured_figures(counts)}


def _indexed(
    name: str, text: str, num_classes: int, class_names: tuple[str, ...] | None, counts: PerImage | None
) -> Figure | None:
    if name in _WORST_BASES:
        try:
            share = float(text) / 100
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise ParameterError(f"{name}[percent] with a percentage up to 100", repr(text), f"Write {name}[10].")
        return _worst(name, _WORST_BASES[name], share)
    measures = () if counts is None else measures_of(counts)
    if name not in CLASS_RATIOS and not measures:
        return None
    index = _class_index(text, num_classes, class_names)
    label = class_names[index] if class_names else f"class {index}"
    if name in CLASS_RATIOS:
        return Figure(
            f"{name}[{text}]",
            f"{name} of {label}",
            f"The {name} over the data set of {label}.",
            "counts",
            of_counts(lambda sums: sums.ratio(name)[..., index]),
        )
    found = (measure.class_figure(name, index, label) for measure in measures)
    return next((figure for figure in found if figure is not None), None)


def _class_index(text: str, num_classes: int, class_names: tuple[str, ...] | None) -> int:
    if class_names and text in class_names:
        return class_names.index(text)
    if text.isdecimal() and int(text) < num_classes:
        return int(text)
    names = f" or one of {', '.join(class_names)}" if class_names else ""
    raise ParameterError(f"a class number from 0 to {num_classes - 1}{names}", repr(text), "Name a class that exists.")


def evaluate(counts: PerImage, statistic: str, class_names: tuple[str, ...] | None = None) -> float:
    """Return one figure of all the images.

    Example:
        >>> tp, fp, fn = [[3, 1], [4, 0]], [[0, 1], [0, 0]], [[1, 0], [0, 0]]
        >>> counts = PerImage(["a", "b"], tp, fp, fn, pixels=[5, 4])
        >>> evaluate(counts, "iou[0]"), evaluate(counts, "miou")
        (0.875, 0.6875)
    """
    return get_figure(statistic, counts.num_classes, class_names, counts).of(counts)
