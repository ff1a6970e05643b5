"""What one mask of truth and one of prediction give: counts on and near their edges, and distances between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from segcrit.core import optional
from segcrit.metrics.measures.boundary.edges import Bools, DistanceField
from segcrit.metrics.ratios import Floats

__all__ = [
    "ASTRAY",
    "COUNTS",
    "DISTANCES",
    "NEAR",
    "SCALE",
    "SIDES",
    "SKELETONS",
    "TRIMAP",
    "Region",
    "Widths",
    "measure_pair",
    "skeleton_counts",
]

# Whole numbers of a pair of masks; what they are is said in measure_pair.
COUNTS: Final = (
    "presence",
    "band_both",
    "band_either",
    "truth_length",
    "truth_matched",
    "prediction_length",
    "prediction_matched",
)
DISTANCES: Final = ("hausdorff", "hd95", "hd95_pooled", "assd", "masd")
SKELETONS: Final = ("truth_skeleton", "truth_covered", "prediction_skeleton", "prediction_covered")

# Of the pixels near an edge between two true labels: of each class, and how many there are and how many are wrong.
TRIMAP: Final = ("trimap_tp", "trimap_fp", "trimap_fn")
NEAR: Final = ("near_pixels", "near_errors")
# Of an image: size of its pixels, NaN where nobody told it, and the lengths that were used.
SIDES: Final = 3
SCALE: Final = (*(f"side_{place}" for place in range(SIDES)), "band", "tolerance", "trimap", "missing")

# The class is in both, in different places, and ignored pixels all around leave no edge in either.
ASTRAY: Final = 7

_PERCENTILE: Final = 95


@dataclass(frozen=True, eq=False)
class Region:
    """A mask and its edge, cut to a box that holds both masks of the pair."""

    mask: Bools
    edge: Bools


@dataclass(frozen=True, slots=True)
class Widths:
    """Lengths in the unit of the spacing, for one image.

    Attributes:
        band: pixels of a mask nearer than this to its edge form the band of the boundary IoU.
        tolerance: an edge pixel this near to the other edge is matched.
        trimap: pixels nearer than this to an edge between two true labels form the trimap.
        missing: the distance where only one of the two has an edge.
    """

    band: float
    tolerance: float
    trimap: float
    missing: float


def measure_pair(truth: Region, guess: Region, spacing: Floats, widths: Widths) -> tuple[list[int], list[float]]:
    """Measure the masks of one class in one image.

    Returns:
        the counts, in the order of ``COUNTS``: presence (1 in the truth, 2 in the prediction, 3 in both, ASTRAY), pixels in
        both bands and in either of them, for the truth and then for the prediction the pixels of the edge and how many of
        them lie within the tolerance of the other edge; and the distances, in the order of ``DISTANCES``: NaN where
        neither has an edge.
    """
    presence = int(truth.mask.any()) + 2 * int(guess.mask.any())
    sizes = [int(np.count_nonzero(region.edge)) for region in (truth, guess)]
    alike = np.array_equal(truth.mask, guess.mask)
    fields = (
        [
            DistanceField(region.edge, spacing) if size else None
            for region, size in zip((truth, guess), sizes, strict=True)
        ]
        if not alike
        else [DistanceField(truth.edge, spacing) if sizes[0] else None] * 2
    )
    bands = [_band(region, field, widths.band) for region, field in zip((truth, guess), fields, strict=True)]
    both, either = (int(np.count_nonzero(how(*bands))) for how in (np.logical_and, np.logical_or))
    true_field, guess_field = fields
    if true_field is None or guess_field is None:
        if presence == 3 and not alike and true_field is guess_field:
            presence = ASTRAY  # neither has an edge
        one_sided = presence != 3 or true_field is not guess_field
        distances = [widths.missing if one_sided and presence else float("nan")] * len(DISTANCES)
        return [presence, both, either, sizes[0], 0, sizes[1], 0], distances
    from_truth, from_guess = guess_field.at(truth.edge), true_field.at(guess.edge)
    matched = [int(np.count_nonzero(_within(values, widths.tolerance))) for values in (from_truth, from_guess)]
    counts = [presence, both, either, sizes[0], matched[0], sizes[1], matched[1]]
    return counts, _distances(from_truth, from_guess)


def _distances(one: Floats, two: Floats) -> list[float]:
    """Hausdorff, the two 95 % Hausdorff distances and the two average distances."""
    pooled = np.concatenate([one, two])
    return [
        float(pooled.max()),
        max(float(np.percentile(one, _PERCENTILE)), float(np.percentile(two, _PERCENTILE))),
        float(np.percentile(pooled, _PERCENTILE)),
        float(pooled.mean()),
        (float(one.mean()) + float(two.mean())) / 2,
    ]


def _within(values: Floats, limit: float) -> Bools:
    # Distances are roots of sums of squares: 0.3 along an axis must be within 0.1 + 0.2.
    found: Bools = values <= limit * (1 + 1e-12)
    return found


def _band(region: Region, field: DistanceField | None, width: float) -> Bools:
    band = np.zeros_like(region.mask)
    if field is not None:
        band[region.mask] = field.at(region.mask) < width * (1 - 1e-12)
    return band


def skeleton_counts(truth: Bools, guess: Bools) -> list[int]:
    """Pixels of each skeleton, and how many of them the other mask covers, in the order of ``SKELETONS``."""
    morphology = optional.require("skimage.morphology", extra="skeleton")
    found = []
    for own, other in ((truth, guess), (guess, truth)):
        skeleton = morphology.skeletonize(own) if own.any() else own
        found += [int(np.count_nonzero(skeleton)), int(np.count_nonzero(skeleton & other))]
    return found
