"""The measure of boundaries: its options, and a batch through it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from segcrit import _extras
from segcrit.errors import ParameterError, ShapeError
from segcrit.evaluation.boundary.edges import Bools, DistanceField, edge_pixels
from segcrit.evaluation.boundary.result import BoundaryScores, class_figure, figures
from segcrit.evaluation.boundary.scores import (
    COUNTS,
    DISTANCES,
    SKELETONS,
    Region,
    Widths,
    measure_pair,
    skeleton_counts,
)
from segcrit.evaluation.measure import Measure, Sample, Values
from segcrit.evaluation.ratios import Floats, Integers

if TYPE_CHECKING:
    from segcrit._constants import Task
    from segcrit.evaluation.figure import Figure
    from segcrit.evaluation.per_image import PerImage
    from segcrit.evaluation.settings import Settings

__all__ = ["Boundary"]

TRIMAP: Final = ("trimap_tp", "trimap_fp", "trimap_fn")

# Of the diagonal of the image: the band of Cheng et al. 2021 for COCO, the tolerance of Csurka et al. 2013.
_BAND: Final = 0.02
_TOLERANCE: Final = 0.0075


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
    - ``trimap_miou``: the mIoU of the pixels nearer than ``trimap`` to any edge between two true labels;
    - ``cldice``: harmonic mean of the shares of the two skeletons that the other mask covers (Shit et al. 2021).

    All but the trimap are means over the images of a class, then over classes; ``dataset_boundary_iou``,
    ``dataset_boundary_f1`` and ``dataset_nsd`` add up pixels over the data set first.

    Ignored pixels belong to no mask, and a border towards them is no edge. Empty masks: a class in neither
    truth nor prediction is NaN and skipped. Where only one of the two has the class, or an edge, the scores are 0 and
    the distances ``missing``, so that a missed object never improves a figure. So they are where ignored pixels all around
    leave no edge in either, but the regions differ. A class without an edge whose regions are the same, for example
    one that fills all that is valid in both, has nothing to judge: NaN.

    Args:
        spacing: size of a pixel along each spatial dimension; ``update(..., spacing=)`` comes first. Default: 1.
        band: width in the unit of the spacing. Default: 2 % of the diagonal of the image, at least a pixel.
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

    spacing: Sequence[float] | None = None
    band: float | None = None
    tolerance: float | None = None
    trimap: float | None = None
    frame: bool = False
    missing: float | str = "diagonal"
    classes: Sequence[int] | None = None
    cldice: bool = False
    kind: ClassVar[str] = "boundary"

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
            spacing = tuple(float(size) for size in self.spacing)
            if not spacing or not all(0 < size < math.inf for size in spacing):
                raise ParameterError("a spacing of positive numbers", repr(self.spacing), "Give the size of a pixel.")
            object.__setattr__(self, "spacing", spacing)
        if self.classes is not None:
            classes = tuple(self.classes)
            if not classes or len(set(classes)) != len(classes) or not all(type(index) is int for index in classes):
                raise ParameterError(
                    "classes to be different class numbers", repr(self.classes), "Write classes=(1, 2)."
                )
            object.__setattr__(self, "classes", classes)

    def check(self, settings: Settings) -> None:
        """Any task; needs scipy, for the skeletons scikit-image."""
        _extras.require("scipy.ndimage", extra="data")
        if self.cldice:
            _extras.require("skimage.morphology", extra="skeleton")
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
        """Counts and distances of each class; classes that are not measured stay absent."""
        whole = (*COUNTS, *TRIMAP, *(SKELETONS if self.cldice else ()))
        return {
            **dict.fromkeys(whole, ((classes,), int)),
            **dict.fromkeys(DISTANCES, ((classes,), float)),
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
            valid = np.not_equal(truth, sample.batch.ignored)
            dimensions = truth.ndim - (settings.task == "multilabel")
            spacing = self._spacing(sample, place, dimensions)
            found = {
                name: np.full(shape, 0 if kind is int else np.nan, dtype=np.int64 if kind is int else np.float64)
                for name, (shape, kind) in self.layout(settings.classes).items()
            }
            chosen = self.chosen(settings.classes, settings.task)
            if settings.task == "multilabel":
                for index in chosen:
                    pair = truth[index] == 1, guess[index] == 1
                    self._measure_maps(*pair, valid[index], spacing, [(index, 1)], found)
            else:
                self._measure_maps(truth, guess, valid, spacing, [(index, index) for index in chosen], found)
            rows.append(found)
        return rows

    def _spacing(self, sample: Sample, place: int, dimensions: int) -> Floats:
        if sample.spacing is not None:
            return np.asarray(sample.spacing[place], dtype=np.float64)
        if self.spacing is None:
            return np.ones(dimensions)
        if len(self.spacing) != dimensions:
            raise ShapeError(
                f"a spacing of {dimensions} numbers", f"{len(self.spacing)}", "Give one number a spatial dimension."
            )
        return np.asarray(self.spacing, dtype=np.float64)

    def _widths(self, shape: tuple[int, ...], spacing: Floats) -> Widths:
        diagonal = float(np.linalg.norm(np.asarray(shape) * spacing))
        farthest = float(np.linalg.norm((np.asarray(shape) - 1) * spacing))
        band = max(_BAND * diagonal, float(spacing.min())) if self.band is None else self.band
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
        classes: list[tuple[int, int]],
        found: dict[str, Any],
    ) -> None:
        """Fill in the classes of one map: pairs of the class's number and its label in the map."""
        ndimage = _extras.require("scipy.ndimage", extra="data")
        widths = self._widths(truth.shape, spacing)
        labels = max(label for _, label in classes) + 1
        # Shifted by one, so that 0 can mean "nothing here": what is not valid, in both maps.
        maps = [np.where(valid, values.astype(np.int32) + 1, 0) for values in (truth, guess)]
        edges = [edge_pixels(values, valid, frame=self.frame) for values in maps]
        boxes = [ndimage.find_objects(values, max_label=labels) for values in maps]
        near = self._trimap(maps[0], valid, edges[0], spacing, widths.trimap)
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

    def figures(self, classes: int, task: Task) -> Iterable[Figure]:
        """The scalar figures."""
        return figures(self.chosen(classes, task), self.cldice)

    def class_figure(self, name: str, index: int, label: str) -> Figure | None:
        """The figure of a class."""
        return class_figure(name, index, label, self.cldice)

    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> BoundaryScores:
        """The scores over the data set."""
        return BoundaryScores(counts, class_names)


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
