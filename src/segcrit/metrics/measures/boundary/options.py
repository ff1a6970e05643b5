"""The measure of boundaries: its options, and a batch through it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from segcrit.core import optional
from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError, ShapeError
from segcrit.labels.mask import is_labelled
from segcrit.metrics.definition import Figure
from segcrit.metrics.measure_table import Values
from segcrit.metrics.measures.base import Measure, Sample, are_spacings
from segcrit.metrics.measures.boundary.edges import Bools, DistanceField, edge_pixels
from segcrit.metrics.measures.boundary.figures import class_figure, figures
from segcrit.metrics.measures.boundary.result import BoundaryScores
from segcrit.metrics.measures.boundary.scores import (
    COUNTS,
    DISTANCES,
    NEAR,
    SCALE,
    SIDES,
    SKELETONS,
    TRIMAP,
    Region,
    Widths,
    measure_pair,
    skeleton_counts,
)
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.ratios import Floats, Integers
from segcrit.metrics.settings import Settings

__all__ = ["Boundary"]

# Of the diagonal of the image: the band of Cheng et al. 2021 for COCO, the tolerance of Csurka et al. 2013.
_BAND: Final = 0.02
_TOLERANCE: Final = 0.0075
# Headers hold sizes in single precision.
_SAME: Final = 1e-6


@dataclass(frozen=True)
class Boundary(Measure):
    """Boundary and distance metrics of each class: a measure of an evaluator.

    The edge of a mask is the set of its pixels that touch, along an axis, a valid pixel outside it. Distances are those
    between the centres of pixels, exact, in the unit of the spacing. From one distance transform a mask come:

    - ``boundary_iou``: IoU of the two bands, the pixels of each mask nearer than ``band`` to its edge (Cheng et al. 2021;
      their code measures the band in squares, this one in circles);
    - ``boundary_f1``: harmonic mean of the shares of the two edges that lie within ``tolerance`` of the other (Csurka
      et al. 2013), and ``nsd``, the normalised surface distance, the share of both edges together (Nikolov et al. 2018);
    - ``hausdorff``: the largest distance from one edge to the other; ``hd95``: the larger of the two 95 % quantiles, of the
      distances from the truth's edge and from the prediction's (MONAI, DeepMind); ``hd95_pooled``: the 95 % quantile
      of all these distances together (MedPy);
    - ``assd``: mean of all these distances (MONAI, MedPy); ``masd``: mean of the two means;
    - ``trimap_miou``: the mIoU of the pixels nearer than ``trimap`` to any edge between two true labels, and
      ``interior_miou``, that of all others; ``edge_error_rate`` and ``interior_error_rate``, the shares of these pixels
      that are wrong, and ``interior_error_share``, the share of the wrong pixels that lie in the interior: wrong outlines
      near the edges, missed and confused objects elsewhere;
    - ``cldice``: harmonic mean of the shares of the two skeletons that the other mask covers (Shit et al. 2021).

    All but the trimap and the interior are means over the images of a class, then over classes; ``dataset_boundary_iou``,
    ``dataset_boundary_f1`` and ``dataset_nsd`` add up pixels over the data set first. Where a class is the background,
    ``foreground_hd95``, ``foreground_assd`` and the others are the same means over the other classes.

    Ignored pixels belong to no mask, and a border towards them is no edge. Empty masks: a class in neither
    truth nor prediction is NaN and skipped. Where only one of the two has the class, or an edge, the scores are 0 and
    the distances ``missing``, so that a missed object never improves a figure. So they are where ignored pixels all around
    leave no edge in either, but the regions differ. A class without an edge whose regions are the same, for example
    one that fills all that is valid in both, has nothing to judge: NaN.

    Args:
        spacing: size of a pixel: a number for all spatial dimensions, or one number for each of them. Default: that of
            each image, ``update(..., spacing=)`` or, in ``segcrit evaluate``, the file's header, and 1 where there is none.
            A spacing given here holds for all images: headers are not read, and another one at ``update`` is an error.
            ``report.boundary.scale`` says what was used.
        band: width in the unit of the spacing. Default: 2 % of the diagonal of the image, rounded to whole pixels (of
            several sizes, the smallest), at least one: what Cheng's code takes.
        tolerance: in the unit of the spacing. Default: 0.75 % of the diagonal.
        trimap: width in the unit of the spacing. Default: that of ``band``.
        frame: the frame of the image counts as an edge of what touches it, as in MONAI, SciPy and the code of the boundary
            IoU. By default it does not: both masks touch it for free, which raises every score.
        missing: a number, ``"diagonal"`` (the largest distance that the image has room for) or ``"nan"``, with which
            missed classes are skipped, as in MONAI, and a model that misses more may look better.
        classes: measure these only. Default: all, in a binary task the foreground.
        cldice: measure the skeletons, too; needs ``scikit-image``.

    Needs ``scipy``.

    Example:
        >>> import numpy as np, segcrit
        >>> truth, guess = np.zeros((2, 1, 20, 20), dtype=int)
        >>> truth[:, 5:15, 5:15], guess[:, 5:15, 7:17] = 1, 1
        >>> evaluator = segcrit.Evaluator(2, measures=[segcrit.Boundary(tolerance=1)])
        >>> scores = evaluator.update(guess, truth).compute().boundary
        >>> scores.hausdorff
        array([2., 2.])
    """

    spacing: float | Sequence[float] | None = None
    band: float | None = None
    tolerance: float | None = None
    trimap: float | None = None
    frame: bool = False
    missing: float | str = "diagonal"
    classes: Sequence[int] | None = None
    cldice: bool = False
    kind: ClassVar[str] = "boundary"
    holds_lock: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("band", 0.0), ("tolerance", -1.0), ("trimap", 0.0)):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and least < value < math.inf):
                raise ParameterError(f"{name} to be a length", repr(value), "Give it in the unit of the spacing.")
        known = self.missing in ("diagonal", "nan") if isinstance(self.missing, str) else _is_number(self.missing)
        if not known or (_is_number(self.missing) and not 0 <= float(self.missing) < math.inf):
            raise ParameterError(
                "missing to be 'diagonal', 'nan' or a distance",
                repr(self.missing),
                "An infinite distance would make every mean infinite; report.boundary.missed counts the cases.",
            )
        if self.spacing is not None:
            object.__setattr__(self, "spacing", _read_spacing(self.spacing))
        if self.classes is not None:
            classes = tuple(self.classes)
            if not classes or len(set(classes)) != len(classes) or not all(type(index) is int for index in classes):
                raise ParameterError(
                    "classes to be different class numbers", repr(self.classes), "Write classes=(1, 2)."
                )
            object.__setattr__(self, "classes", classes)

    @property
    def takes_spacing(self) -> bool:
        """Only where it has none of its own."""
        return self.spacing is None

    def check(self, settings: Settings) -> None:
        """Any task; needs scipy, for the skeletons scikit-image."""
        optional.require("scipy.ndimage", extra="data")
        if self.cldice:
            optional.require("skimage.morphology", extra="skeleton")
        if self.classes is not None and not all(0 <= index < settings.classes for index in self.classes):
            raise ParameterError(
                f"classes between 0 and {settings.classes - 1}", repr(self.classes), "Name classes that exist."
            )

    def chosen(self, classes: int, task: Task) -> list[int]:
        """The classes that are measured."""
        if self.classes is not None:
            return list(self.classes)
        return [1] if task == "binary" else list(range(classes))

    def layout(self, classes: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Counts and distances of each class; classes that are not measured stay absent. And the scale of the image."""
        whole = (*COUNTS, *TRIMAP, *NEAR, *(SKELETONS if self.cldice else ()))
        return {
            **dict.fromkeys(whole, ((classes,), int)),
            **dict.fromkeys(DISTANCES, ((classes,), float)),
            "scale": ((len(SCALE),), float),
        }

    def measure(self, sample: Sample) -> list[Values]:
        """The arrays of each image."""
        settings = sample.settings
        truths, guesses = sample.batch.target.cpu().numpy(), sample.labels().cpu().numpy()
        if truths.ndim - 1 - (settings.task == "multilabel") < 1:
            raise ShapeError(
                "images with spatial dimensions", str(truths.shape), "A boundary needs pixels that touch each other."
            )
        rows: list[Values] = []
        for place, (truth, guess) in enumerate(zip(truths, guesses, strict=True)):
            valid = is_labelled(truth, sample.batch.ignored)
            if settings.dropped_prediction is not None:
                # As in the counts, from which the figures of the interior take those near the edges.
                valid &= is_labelled(guess, settings.dropped_prediction)
            dimensions = truth.ndim - (settings.task == "multilabel")
            spacing = self._spacing(sample, place, dimensions)
            widths = self._widths(truth.shape[-dimensions:], spacing)
            found = {
                name: np.full(shape, 0 if kind is int else np.nan, dtype=np.int64 if kind is int else np.float64)
                for name, (shape, kind) in self.layout(settings.classes).items()
            }
            known = self.spacing is not None or sample.spacing is not None
            sides = [*(spacing if known else ()), *[np.nan] * SIDES][:SIDES]
            found["scale"][:] = [*sides, widths.band, widths.tolerance, widths.trimap, widths.missing]
            chosen = [index for index in self.chosen(settings.classes, settings.task) if index != settings.left_out]
            if settings.task == "multilabel":
                for index in chosen:
                    pair = truth[index] == 1, guess[index] == 1
                    self._measure_maps(*pair, valid[index], spacing, widths, [(index, 1)], found, row=index)
            else:
                # One map for all classes, whichever are measured: what is counted over all of them stands in row 0.
                pairs = [(index, index) for index in chosen]
                self._measure_maps(truth, guess, valid, spacing, widths, pairs, found, row=0)
            rows.append(found)
        return rows

    def _spacing(self, sample: Sample, place: int, dimensions: int) -> Floats:
        """The size of a pixel: that of the options, which hold for all images, or else that of the image."""
        given = None if sample.spacing is None else np.asarray(sample.spacing[place], dtype=np.float64)
        if self.spacing is None:
            return np.ones(dimensions) if given is None else given
        own = np.asarray(self.spacing, dtype=np.float64)
        if own.ndim and len(own) != dimensions:
            raise ShapeError(
                f"a spacing of {dimensions} numbers", f"{len(own)}", "Give one number a spatial dimension."
            )
        own = np.broadcast_to(own, (dimensions,))
        if given is not None and not np.allclose(given, own, rtol=_SAME, atol=0.0):
            raise ParameterError(
                f"one spacing, such as that of the measure, {tuple(own.tolist())}",
                f"spacing={tuple(given.tolist())} for an image",
                "Give it once: to the measure for all images, or to update for each.",
            )
        return own

    def _widths(self, shape: tuple[int, ...], spacing: Floats) -> Widths:
        diagonal = float(np.linalg.norm(np.asarray(shape) * spacing))
        farthest = float(np.linalg.norm((np.asarray(shape) - 1) * spacing))
        pixel = float(spacing.min())
        band = max(1, round(_BAND * diagonal / pixel)) * pixel if self.band is None else self.band
        if self.missing == "diagonal":
            missing = farthest
        else:
            missing = float(self.missing)
        return Widths(
            band=band,
            tolerance=_TOLERANCE * diagonal if self.tolerance is None else self.tolerance,
            trimap=band if self.trimap is None else self.trimap,
            missing=missing,
        )

    def _measure_maps(
        self,
        truth: Any,
        guess: Any,
        valid: Bools,
        spacing: Floats,
        widths: Widths,
        classes: list[tuple[int, int]],
        found: dict[str, Any],
        *,
        row: int,
    ) -> None:
        """Fill in the classes of one map: pairs of the class's number and its label in the map."""
        ndimage = optional.require("scipy.ndimage", extra="data")
        labels = max((label for _, label in classes), default=0) + 1
        # Shifted by one, so that 0 can mean "nothing here": what is not valid, in both maps.
        maps = [np.where(valid, values.astype(np.int32) + 1, 0) for values in (truth, guess)]
        edges = [edge_pixels(values, valid, frame=self.frame) for values in maps]
        boxes = [ndimage.find_objects(values, max_label=labels) for values in maps]
        near = self._trimap(maps[0], valid, edges[0], spacing, widths.trimap)
        for name, hits in zip(NEAR, (near, near & (maps[0] != maps[1])), strict=True):
            found[name][row] = np.count_nonzero(hits)
        for index, label in classes:
            box = _union([boxes[0][label], boxes[1][label]])
            if box is None:
                continue
            masks = [values[box] == label + 1 for values in maps]
            true, guessed = (Region(mask, mask & edge[box]) for mask, edge in zip(masks, edges, strict=True))
            counts, distances = measure_pair(true, guessed, spacing, widths)
            for name, value in zip((*COUNTS, *DISTANCES), (*counts, *distances), strict=True):
                found[name][index] = value
            part = near[box]
            for name, hits in zip(
                TRIMAP, (masks[0] & masks[1], ~masks[0] & masks[1], masks[0] & ~masks[1]), strict=True
            ):
                found[name][index] = np.count_nonzero(hits & part)
            if self.cldice:
                for name, value in zip(SKELETONS, skeleton_counts(*masks), strict=True):
                    found[name][index] = value

    def _trimap(self, truth: Integers, valid: Bools, edges: Bools, spacing: Floats, width: float) -> Bools:
        between = edge_pixels(truth, valid) if self.frame else edges
        near = np.zeros_like(valid)
        if between.any():
            near[valid] = DistanceField(between, spacing).at(valid) < width * (1 - 1e-12)
        return near

    def figures(self, counts: PerImage) -> Iterable[Figure]:
        """The scalar figures."""
        chosen = self.chosen(counts.num_classes, counts.task)
        foreground = [index for index in chosen if index in counts.foreground]
        return figures(chosen, foreground, self.cldice)

    def class_figure(self, name: str, index: int, label: str) -> Figure | None:
        """The figure of a class."""
        return class_figure(name, index, label, self.cldice)

    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> BoundaryScores:
        """The scores over the data set."""
        return BoundaryScores(counts, class_names)


def _read_spacing(given: Any) -> float | tuple[float, ...]:
    """A number for all dimensions, or one for each."""
    try:
        spacing = float(given) if _is_number(given) else tuple(float(size) for size in given)
    except (TypeError, ValueError):
        spacing = ()
    sizes = (spacing,) if isinstance(spacing, float) else spacing
    if not sizes or not are_spacings(sizes):
        raise ParameterError("a spacing of positive numbers", repr(given), "Give the size of a pixel.")
    return spacing


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _union(boxes: list[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """The smallest box that holds all boxes."""
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*known, strict=True)
    )
