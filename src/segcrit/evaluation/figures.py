"""Named figures of a set of images, each written as a function of sums over images.

Every figure here is ``combine(sum over images of columns)``: of the counts for figures over the data set, of
(value, known) pairs for means over images. So the figure of the data set, of any bootstrap resample (a row of
weights times the columns) and of any permutation comes from one formula, and a block of resamples is one
matrix multiplication.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np

from segcrit._constants import Task
from segcrit.errors import ParameterError
from segcrit.evaluation.per_image import PerImage
from segcrit.evaluation.policy import Policy, get_policy
from segcrit.evaluation.ratios import CLASS_RATIOS, Floats, class_ratio, nan_mean

__all__ = ["FIGURES", "Figure", "Sums", "columns_of", "evaluate", "get_figure"]


class Sums(NamedTuple):
    """Sums of the counts over images; any leading shape, classes last."""

    tp: Floats
    fp: Floats
    fn: Floats
    pixels: Floats
    task: Task
    policy: Policy

    def ratio(self, name: str) -> Floats:
        """A class figure (..., C); see :func:`segcrit.evaluation.ratios.class_ratio`."""
        return class_ratio(name, self.tp, self.fp, self.fn, self.policy)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure by name.

    Attributes:
        name: how code calls it, for example ``"miou"``.
        label: how people call it.
        description: its definition in one sentence.
        basis: which columns it sums: ``"counts"``, or ``"<kind>:<ratio>"`` for values per image (see
            :func:`columns_of`).
        combine: summed columns (..., K), task, policy -> (...).
    """

    name: str
    label: str
    description: str
    basis: str
    combine: Callable[[Floats, Task, Policy], Floats]


def columns_of(counts: PerImage, basis: str) -> Floats:
    """The columns (images, K) whose sums a figure of this basis needs.

    - ``"counts"``: tp, fp, fn of every class, then pixels of every class;
    - ``"image:iou"`` (or dice, ...): the mean over the classes of the image and 1; 0 and 0 if there is none;
    - ``"foreground:iou"``: the same without the background;
    - ``"class:iou"``: for every class its value and 1; 0 and 0 where it is absent from the image.
    """
    if basis == "counts":
        pixels = counts.pixels if counts.pixels.ndim == 2 else np.repeat(counts.pixels[:, None], counts.num_classes, 1)
        return np.concatenate([counts.tp, counts.fp, counts.fn, pixels], axis=1).astype(np.float64)
    kind, ratio = basis.split(":")
    values: Floats = getattr(counts, ratio)
    if kind == "foreground":
        values = _foreground(values, counts.task)
    if kind in ("image", "foreground"):
        values = nan_mean(values)[:, None]
    known = ~np.isnan(values)
    return np.concatenate([np.where(known, values, 0.0), known], axis=1).astype(np.float64)


def _foreground(values: Floats, task: Task) -> Floats:
    """Without class 0, the background; in a multilabel task every channel is an object."""
    return values if task == "multilabel" else values[..., 1:]


def _split(sums: Floats, task: Task, policy: Policy) -> Sums:
    tp, fp, fn, pixels = np.split(sums, 4, axis=-1)
    return Sums(tp, fp, fn, pixels, task, policy)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    result: Floats = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
    return result


def _pixel_accuracy(sums: Sums) -> Floats:
    if sums.task == "multilabel":
        judged = sums.pixels.sum(-1)
        return _divide(judged - sums.fp.sum(-1) - sums.fn.sum(-1), judged)
    judged = sums.pixels[..., 0] if sums.pixels.shape[-1] else np.zeros(sums.pixels.shape[:-1])
    return _divide(sums.tp.sum(-1), judged)


def _frequency_weighted_iou(sums: Sums) -> Floats:
    truth = sums.tp + sums.fn
    return _divide((truth * np.nan_to_num(sums.ratio("iou"))).sum(-1), truth.sum(-1))


def _kappa(sums: Sums) -> Floats:
    """(observed - expected) / (1 - expected) agreement; multilabel: mean of the channels' binary kappa."""
    truth, predicted = sums.tp + sums.fn, sums.tp + sums.fp
    if sums.task == "multilabel":
        pixels = sums.pixels
        agreed = pixels - sums.fp - sums.fn
        chance = truth * predicted + (pixels - truth) * (pixels - predicted)
        return nan_mean(_divide(agreed * pixels - chance, pixels * pixels - chance))
    total = sums.pixels[..., 0] if sums.pixels.shape[-1] else np.zeros(sums.pixels.shape[:-1])
    chance = (truth * predicted).sum(-1)
    return _divide(sums.tp.sum(-1) * total - chance, total * total - chance)


def _of_counts(formula: Callable[[Sums], Floats]) -> Callable[[Floats, Task, Policy], Floats]:
    return lambda sums, task, policy: formula(_split(sums, task, policy))


def _mean_ratio(ratio: str) -> Callable[[Floats, Task, Policy], Floats]:
    return _of_counts(lambda sums: nan_mean(sums.ratio(ratio)))


def _foreground_ratio(ratio: str) -> Callable[[Floats, Task, Policy], Floats]:
    return _of_counts(lambda sums: nan_mean(_foreground(sums.ratio(ratio), sums.task)))


def _mean_of_known(sums: Floats, task: Task, policy: Policy) -> Floats:
    """Mean of (value, known) columns: over images for each column pair, then over the pairs (classes)."""
    total, number = np.split(sums, 2, axis=-1)
    return nan_mean(_divide(total, number))


_TABLE: Final = (
    Figure(
        "miou",
        "mIoU",
        "Mean over classes of the IoU over the data set (mIoU-D).",
        "counts",
        _mean_ratio("iou"),
    ),
    Figure(
        "foreground_iou",
        "Foreground IoU",
        "Mean over the classes except 0, the background, of the IoU over the data set; "
        "binary: the IoU of the foreground.",
        "counts",
        _foreground_ratio("iou"),
    ),
    Figure(
        "mean_dice",
        "Mean Dice",
        "Mean over classes of the Dice (F1) over the data set.",
        "counts",
        _mean_ratio("dice"),
    ),
    Figure(
        "foreground_dice",
        "Foreground Dice",
        "Mean over the classes except 0, the background, of the Dice over the data set; "
        "binary: the Dice of the foreground.",
        "counts",
        _foreground_ratio("dice"),
    ),
    Figure(
        "pixel_accuracy",
        "Pixel accuracy",
        "Share of the pixels that are right.",
        "counts",
        _of_counts(_pixel_accuracy),
    ),
    Figure("mean_accuracy", "Mean accuracy", "Mean over classes of the recall.", "counts", _mean_ratio("recall")),
    Figure(
        "mean_precision",
        "Mean precision",
        "Mean over classes of the precision.",
        "counts",
        _mean_ratio("precision"),
    ),
    Figure(
        "frequency_weighted_iou",
        "Frequency-weighted IoU",
        "Mean of the IoU over classes, each weighted by its share of the true pixels.",
        "counts",
        _of_counts(_frequency_weighted_iou),
    ),
    Figure(
        "kappa",
        "Cohen's kappa",
        "Agreement beyond what the class shares give by chance.",
        "counts",
        _of_counts(_kappa),
    ),
    Figure(
        "image_miou",
        "mIoU over images",
        "Mean over images of the mean IoU of the classes of that image (mIoU-I).",
        "image:iou",
        _mean_of_known,
    ),
    Figure(
        "image_dice",
        "Dice over images",
        "Mean over images of the mean Dice of the classes of that image.",
        "image:dice",
        _mean_of_known,
    ),
    Figure(
        "image_foreground_iou",
        "Foreground IoU over images",
        "Mean over images of the mean IoU of their foreground classes.",
        "foreground:iou",
        _mean_of_known,
    ),
    Figure(
        "image_foreground_dice",
        "Foreground Dice over images",
        "Mean over images of the mean Dice of their foreground classes; binary: the usual per-image Dice.",
        "foreground:dice",
        _mean_of_known,
    ),
    Figure(
        "class_miou",
        "mIoU over classes",
        "Mean over classes of the mean IoU over the images that hold the class (mIoU-C).",
        "class:iou",
        _mean_of_known,
    ),
    Figure(
        "class_dice",
        "Dice over classes",
        "Mean over classes of the mean Dice over the images that hold the class.",
        "class:dice",
        _mean_of_known,
    ),
)

FIGURES: Final[dict[str, Figure]] = {figure.name: figure for figure in _TABLE}
_CLASS_FIGURE: Final = re.compile(r"(\w+)\[(.+)\]")


def get_figure(name: str, num_classes: int, class_names: tuple[str, ...] | None = None) -> Figure:
    """Return the figure ``name``: a row of :data:`FIGURES`, or a class figure such as ``"iou[3]"`` or
    ``"recall[road]"``.

    Raises:
        ParameterError: no such figure, or no such class.

    Example:
        >>> get_figure("iou[1]", 2).label
        'iou of class 1'
    """
    if name in FIGURES:
        return FIGURES[name]
    match = _CLASS_FIGURE.fullmatch(name)
    if match is not None and match[1] in CLASS_RATIOS:
        ratio, index = match[1], _class_index(match[2], num_classes, class_names)
        label = class_names[index] if class_names else f"class {index}"
        return Figure(
            name,
            f"{ratio} of {label}",
            f"The {ratio} over the data set of {label}.",
            "counts",
            _of_counts(lambda sums: sums.ratio(ratio)[..., index]),
        )
    close = get_close_matches(name, FIGURES, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise ParameterError(
        f"a figure among {', '.join(FIGURES)}, or iou[class], dice[class], precision[class], recall[class]",
        repr(name),
        f"{hint}Choose one of these.",
    )


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
    figure = get_figure(statistic, counts.num_classes, class_names)
    sums = columns_of(counts, figure.basis).sum(axis=0)
    return float(figure.combine(sums, counts.task, get_policy(counts.policy)))
