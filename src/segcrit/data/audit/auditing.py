"""A look through a whole data set: classes, labels, intensities, splits, and the losses that suit it."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from segcrit.core.errors import DataError
from segcrit.core.quantities import worded
from segcrit.data.audit.advice import Facts, Recommendation, recommend
from segcrit.data.audit.checks import check_duplicates, check_geometry, check_intensities, check_labels, check_splits
from segcrit.data.audit.counting import decoded_counts
from segcrit.data.audit.label_counts import ClassRow, LabelTable
from segcrit.data.audit.shapes import ClassShape, class_shapes
from segcrit.data.audit.survey import damaged
from segcrit.data.intensity import image_figures
from segcrit.data.model import SPLITS, SegmentationData
from segcrit.data.normalise import normalisation
from segcrit.data.problems import Problem
from segcrit.data.scanning import MaskValues, Scanner
from segcrit.labels.weights.frequencies import ClassFrequencies
from segcrit.labels.weights.positives import pos_weight
from segcrit.labels.weights.schemes import Scheme, class_weights

__all__ = ["Audit", "audit", "count_labels"]

Array = npt.NDArray[np.int64]

WEIGHT_SCHEMES: tuple[Scheme, ...] = ("median", "inverse", "sqrt_inverse", "effective")


@dataclass(frozen=True)
class Audit:
    """What was found in a data set. Made by ``audit``.

    Attributes:
        name: of the data set, ``root`` its folder.
        images: number of images in each split, ``groups`` the number of groups in each, or None.
        sizes: the most frequent image sizes and how often they occur.
        channels: of the images, ``spatial_dims`` 2 or 3.
        classes: a row a class.
        ignore_index: the ignored label, ``ignored_share`` the share of all pixels that have it.
        labelled_share: share of the training labels' pixels that are labelled.
        pos_weight: negatives over positives of two classes, or None where there are more.
        normalisation: how intensities will be normalised, a sentence.
        problems: everything that is the matter, errors first.
        notes: the decisions made while loading.
        recommendations: losses that suit the data, each with its reason.
    """

    name: str
    root: str
    images: Mapping[str, int]
    groups: Mapping[str, int] | None
    sizes: tuple[tuple[tuple[int, ...], int], ...]
    channels: int
    spatial_dims: int
    classes: tuple[ClassRow, ...]
    ignore_index: int | None
    ignored_share: float
    labelled_share: float
    pos_weight: float | None
    normalisation: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    recommendations: tuple[Recommendation, ...]

    @property
    def has_errors(self) -> bool:
        """Whether something makes training impossible."""
        return any(problem.severity == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; figures that do not exist are None."""
        content = asdict(self) | {"problems": [problem.to_dict() for problem in self.problems]}
        content["has_errors"] = self.has_errors
        cleaned = _without_nan(content)
        return dict(cleaned)


def count_labels(data: SegmentationData, ids: Sequence[str], scanner: Scanner, *, training: bool = False) -> LabelTable:
    """Count the labels of these ids: of the full masks, or of the labels that are trained on."""
    coding = data.train_coding if training and data.train_coding is not None else data.coding
    paths = {name: (data.case(name).train_label if training else None) or data.case(name).mask for name in ids}
    scan = scanner.mask_values(list(paths.values()))
    counts = np.zeros((len(ids), data.num_classes), dtype=np.int64)
    ignored = np.zeros(len(ids), dtype=np.int64)
    values: dict[str, MaskValues] = {}
    unknown: dict[str, dict[int, int]] = {}
    errors: dict[str, DataError] = {}
    for row, (name, path) in enumerate(paths.items()):
        if path in scan.errors:
            errors[name] = scan.errors[path]
            continue
        found = values[name] = scan.found[path]
        try:
            labels = decoded_counts(found, coding, path)
        except DataError as error:
            strange = {} if found.is_color else {v: n for v, n in found.counts.items() if v not in coding.table}
            if strange:
                unknown[name] = strange
            else:
                errors[name] = error
            continue
        for label, pixels in labels.items():
            if 0 <= label < data.num_classes:
                counts[row, label] += pixels
            else:
                ignored[row] += pixels
    if any(data.case(name).valid is not None for name in values):
        _count_valid(data, tuple(ids), counts, ignored, training=training)
    return LabelTable(tuple(ids), counts, ignored, values, unknown, errors)


def _count_valid(data: SegmentationData, ids: Sequence[str], counts: Array, ignored: Array, *, training: bool) -> None:
    """Count the labels of images with a valid area, pixel by pixel: counts of their files do not tell the area."""
    for row, name in enumerate(ids):
        try:
            label = data.read_label(name, "train" if training else "masks")
        except DataError:
            continue  # told by its values, or by the sizes
        inside = label[(label >= 0) & (label < data.num_classes)]
        counts[row] = np.bincount(inside.ravel(), minlength=data.num_classes)
        ignored[row] = label.size - inside.size


def audit(data: SegmentationData, *, progress: bool | None = None) -> Audit:
    """Look through every file of a data set.

    Reads all images and masks once (what was counted is remembered in the user's cache folder), checks labels,
    sizes, intensities, duplicates and splits, measures class shares and regions, and derives from these figures
    which losses to try. Nothing raises for a bad file: it is listed among the problems.

    Args:
        data: the data set, from ``load_folder`` or ``land_cover``.
        progress: True shows bars, False none, None in a terminal.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from segcrit.data import load_folder
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("images", "masks"):
        ...     (root / name).mkdir()
        ...     for i in range(6):
        ...         np.save(root / name / f"{i}.npy", np.roll(np.eye(8, dtype=np.uint8), i, axis=0))
        >>> report = audit(load_folder(root))
        >>> report.has_errors, report.classes[1].share
        (False, 0.125)
    """
    scanner = Scanner(data.root, progress=progress)
    ids = data.ids
    table = count_labels(data, ids, scanner)
    weak = data.has_train_labels
    training = count_labels(data, data.splits["train"], scanner, training=True) if weak else _rows(table, data, "train")
    figures = image_figures(data, ids, scanner)
    shapes = class_shapes(data, ids, progress)

    problems: list[Problem] = list(data.problems)
    if figures.errors:
        problems.append(damaged(figures.errors))
    problems += check_labels(data, table)
    if weak:
        problems += check_labels(data, training, training=True)
    problems += check_splits(data, table)
    problems += check_geometry(data, scanner)
    problems += check_intensities(data, figures.found)
    problems += check_duplicates(data, scanner)
    order = {"error": 0, "warning": 1, "note": 2}
    problems.sort(key=lambda problem: order[problem.severity])

    rows = _class_rows(data, table, training, shapes)
    total = int(table.counts.sum() + table.ignored.sum())
    labelled = int(training.counts.sum())
    labelled_share = labelled / max(1, labelled + int(training.ignored.sum()))
    positive = _pos_weight(training) if data.num_classes == 2 else None
    facts = Facts(
        rows=rows,
        train_counts=training.counts,
        labelled_share=labelled_share,
        weak=weak,
        positive_weight=positive,
        median_weights=tuple(row.weights.get("median", 1.0) for row in rows),
    )
    return Audit(
        name=data.name,
        root=str(data.root),
        images={split: len(data.splits[split]) for split in SPLITS},
        groups=_groups(data),
        sizes=_sizes(data, scanner),
        channels=data.channels,
        spatial_dims=data.spatial_dims,
        classes=rows,
        ignore_index=data.ignore_index,
        ignored_share=int(table.ignored.sum()) / max(1, total),
        labelled_share=labelled_share,
        pos_weight=positive,
        normalisation=worded(_normalisation_text(data), data.spatial_dims),
        problems=tuple(problem.worded(data.spatial_dims) for problem in problems),
        notes=tuple(worded(note, data.spatial_dims) for note in data.notes),
        recommendations=tuple(entry.worded(data.spatial_dims) for entry in recommend(facts)) if labelled else (),
    )


def _rows(table: LabelTable, data: SegmentationData, split: str) -> LabelTable:
    """The rows of one split."""
    wanted = set(data.splits[split])  # type: ignore[index]
    rows = [row for row, name in enumerate(table.ids) if name in wanted]
    names = [table.ids[row] for row in rows]
    return LabelTable(
        tuple(names),
        table.counts[rows],
        table.ignored[rows],
        {name: table.values[name] for name in names if name in table.values},
        {name: table.unknown[name] for name in names if name in table.unknown},
        {name: table.errors[name] for name in names if name in table.errors},
    )


def _class_rows(
    data: SegmentationData, table: LabelTable, training: LabelTable, shapes: Sequence[ClassShape]
) -> tuple[ClassRow, ...]:
    pixels = table.counts.sum(axis=0)
    by_split = {split: _rows(table, data, split).counts.sum(axis=0) for split in SPLITS}
    weights = _weights(training)
    return tuple(
        ClassRow(
            index=entry.index,
            name=entry.name,
            color=entry.color,
            pixels=int(pixels[label]),
            share=float(pixels[label] / max(1, pixels.sum())),
            images=int((table.counts[:, label] > 0).sum()),
            split_shares={split: float(own[label] / max(1, own.sum())) for split, own in by_split.items()},
            weights={scheme: values[label] for scheme, values in weights.items()},
            shape=shapes[label],
        )
        for label, entry in enumerate(data.classes)
    )


def _frequencies(training: LabelTable) -> ClassFrequencies:
    counts = training.counts
    present = counts > 0
    return ClassFrequencies(
        counts=torch.from_numpy(counts.sum(axis=0)),
        image_pixels=torch.from_numpy((present * counts.sum(axis=1, keepdims=True)).sum(axis=0)),
        images=torch.from_numpy(present.sum(axis=0)),
        num_images=len(counts),
        ignored=int(training.ignored.sum()),
    )


def _weights(training: LabelTable) -> dict[str, list[float]]:
    if not training.counts.any():
        return {}
    frequencies = _frequencies(training)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without a pixel are told among the problems
        return {scheme: class_weights(frequencies, scheme).tolist() for scheme in WEIGHT_SCHEMES}


def _pos_weight(training: LabelTable) -> float | None:
    if (training.counts.sum(axis=0) == 0).any():
        return None
    return float(pos_weight(_frequencies(training)))


def _groups(data: SegmentationData) -> dict[str, int] | None:
    if data.groups is None:
        return None
    return {split: len({data.groups[name] for name in data.splits[split]}) for split in SPLITS}


def _sizes(data: SegmentationData, scanner: Scanner) -> tuple[tuple[tuple[int, ...], int], ...]:
    from segcrit.data.reading import mask_shape

    headers = scanner.headers([data.case(name).mask for name in data.ids]).found
    sizes = Counter(mask_shape(header, data.spatial_dims) for header in headers.values())
    return tuple(sizes.most_common())


def _normalisation_text(data: SegmentationData) -> str:
    try:
        return normalisation(data, progress=False).describe()
    except DataError:
        return "not known, because images cannot be read"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return value
