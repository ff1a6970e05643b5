"""Which losses suit a data set: rules from measured figures, each with its reason and the figure behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from segcrit.core.numbers import percent
from segcrit.core.quantities import worded

if TYPE_CHECKING:
    from segcrit.data.audit.label_counts import ClassRow

__all__ = ["Facts", "Recommendation", "recommend"]

Verdict = Literal["try", "contrast", "careful"]

# Where the rules begin. They are rules of thumb, set so that they fit the data the losses were proposed for: median
# weights for CamVid (over 50 to 1), Dice for small organs, focal for images that are mostly background.
IMBALANCED = 5.0  # pixels of the most frequent class over those of the rarest
STRONGLY_IMBALANCED = 20.0
WILD_WEIGHTS = 100.0  # largest class weight over the smallest
EASY_MAJORITY = 0.6  # share of the most frequent class
THIN_CORE = 0.2  # share of a class that lies more than 2 pixels inside it
RAGGED_OBJECTS, RAGGED_WIDTH = 50.0, 5.0  # pieces an image, and their mean width
SMALL_OBJECT = 0.005  # share of the image
VARYING = 30.0  # 90th over 10th percentile of a class's share of an image


@dataclass(frozen=True)
class Recommendation:
    """One loss for the data at hand.

    Attributes:
        verdict: ``"try"``; ``"contrast"``: what not to do, worth training beside the others to see the difference;
            ``"careful"``: likely to disappoint here.
        expression: as for ``segcrit compare --losses``.
        reason: why, in plain words.
        evidence: the measured figure behind it.
        task: the task it needs where this is not the default, such as ``"binary"``; otherwise an empty text.
    """

    verdict: Verdict
    expression: str
    reason: str
    evidence: str
    task: str = ""

    def worded(self, spatial_dims: int) -> Recommendation:
        """The same in the words for images or for volumes."""
        return replace(self, reason=worded(self.reason, spatial_dims), evidence=worded(self.evidence, spatial_dims))


@dataclass(frozen=True)
class Facts:
    """The figures that the rules look at.

    Attributes:
        rows: the classes.
        train_counts: ``(images, classes)`` pixels in the labels that are trained on.
        labelled_share: share of their pixels that are labelled.
        weak: whether they are other labels than the full masks.
        positive_weight: negatives over positives of a two-class set, else None.
        median_weights: median-frequency weights.
    """

    rows: Sequence[ClassRow]
    train_counts: npt.NDArray[np.int64]
    labelled_share: float
    weak: bool
    positive_weight: float | None
    median_weights: Sequence[float]

    @property
    def train_shares(self) -> npt.NDArray[np.float64]:
        """Share of each class in the labelled pixels that are trained on."""
        counts = self.train_counts.sum(axis=0)
        shares: npt.NDArray[np.float64] = counts / counts.sum()
        return shares


def recommend(facts: Facts) -> tuple[Recommendation, ...]:
    """The losses to try, the most fundamental first, then what to be careful with."""
    if facts.weak or facts.labelled_share < 0.5:
        return tuple(_for_weak_labels(facts))
    shares = facts.train_shares
    most = int(shares.argmax())
    baseline = Recommendation(
        "try",
        "ce",
        "the baseline: every pixel counts the same, probabilities are close to calibrated",
        f"calling every pixel {facts.rows[most].name} would be right for {percent(shares[most])} of them",
    )
    found = [baseline, *_for_imbalance(facts), *_for_mean_iou(facts), *_for_regions(facts), *_for_two_classes(facts)]
    # sorted() keeps the order of equals.
    return tuple(sorted(found, key=lambda entry: entry.verdict != "try"))


def _for_weak_labels(facts: Facts) -> list[Recommendation]:
    evidence = f"{percent(facts.labelled_share)} of the training pixels are labelled"
    found = [
        Recommendation(
            "try", "partial_ce", "learns from the labelled pixels only and guesses nothing about the others", evidence
        ),
        Recommendation(
            "try", "partial_ce + dice", "the same with a Dice term on the labelled pixels, for rare classes", evidence
        ),
        Recommendation(
            "contrast",
            'ce(unlabelled="background")',
            "what happens when weak labels are fed to an ordinary loss: it learns to draw only what was scribbled",
            evidence,
        ),
    ]
    if facts.train_counts[:, 0].sum() == 0:
        name = facts.rows[0].name
        found.append(
            Recommendation(
                "careful",
                "partial_ce",
                f"alone it cannot know {name}: calling every pixel something else costs nothing; label some {name}",
                f"the training labels hold no pixel of {name}",
            )
        )
    return found


def _for_imbalance(facts: Facts) -> list[Recommendation]:
    shares = facts.train_shares
    present = np.flatnonzero(shares).tolist()
    if len(present) < 2:
        return []
    rarest, most = min(present, key=lambda label: shares[label]), int(shares.argmax())
    ratio = float(shares[most] / shares[rarest])
    names = [row.name for row in facts.rows]
    evidence = (
        f"{names[most]} covers {percent(shares[most])} of the training pixels, {names[rarest]} "
        f"{percent(shares[rarest])}: {ratio:,.0f} to 1"
    )
    if ratio < IMBALANCED:
        reason = "classes are balanced, so expect little: a check that region terms do no harm"
        return [Recommendation("try", "ce + dice", reason, evidence)]
    reason = "the Dice term counts every class alike, whatever its size; ce keeps training steady"
    found = [Recommendation("try", "ce + dice", reason, evidence)]
    if ratio >= STRONGLY_IMBALANCED:
        weights = [facts.median_weights[label] for label in present]
        spread = f"weights from {min(weights):.2g} to {max(weights):.2g}"
        if max(weights) / min(weights) <= WILD_WEIGHTS:
            reason = "rare classes count more within ce itself: more of them is found, with more false alarms"
            found.append(Recommendation("try", 'ce(class_weight="median")', reason, f"{evidence}; {spread}"))
        else:
            reason = "rare classes count more within ce itself, without the extremes of full balancing"
            found.append(Recommendation("try", 'ce(class_weight="sqrt_inverse")', reason, evidence))
            reason = "a few pixels of the rarest class would drive the training"
            found.append(Recommendation("careful", 'ce(class_weight="inverse")', reason, f"even median {spread}"))
    if shares[most] >= EASY_MAJORITY and not _ragged(facts):
        reason = "most pixels are soon easy: focal leaves them out gradually, so that the hard ones drive training"
        covered = f"{names[most]} alone covers {percent(shares[most])} of the training pixels"
        found.append(Recommendation("try", "focal", reason, covered))
    return found


def _for_mean_iou(facts: Facts) -> list[Recommendation]:
    rows = [row for row in facts.rows if row.pixels]
    if len(rows) < 2:
        return []
    rarest = min(rows, key=lambda row: row.share)
    reason = "the default figure of merit is mean IoU, and Lovász is its closest convex stand-in"
    evidence = f"{rarest.name}, {percent(rarest.share)} of the pixels, decides 1/{len(rows)} of the mean IoU"
    return [Recommendation("try", "ce + lovasz", reason, evidence)]


def _inner(facts: Facts) -> list[ClassRow]:
    """All classes but the largest, which surrounds the others: its regions say nothing about what is hard to draw."""
    return sorted((row for row in facts.rows if row.pixels), key=lambda row: -row.share)[1:]


def _ragged(facts: Facts) -> list[ClassRow]:
    """Classes in many small pieces: labels that are noisy, or finer than anybody can draw."""
    return [row for row in facts.rows if row.shape.objects >= RAGGED_OBJECTS and row.shape.width <= RAGGED_WIDTH]


def _for_regions(facts: Facts) -> list[Recommendation]:
    found = []
    inner, ragged = _inner(facts), _ragged(facts)
    thin = sorted((row for row in inner if row.shape.core <= THIN_CORE), key=lambda row: row.shape.core)
    if thin:
        listing = ", ".join(f"{row.name} {percent(row.shape.core)}" for row in thin[:4])
        found.append(
            Recommendation(
                "try",
                "ce + tversky(alpha=0.3, beta=0.7)",
                "thin structures are lost first: a missed pixel (β) should cost more than a false alarm (α)",
                f"pixels more than 2 pixels inside their region: {listing}",
            )
        )
    swings = _swings(facts, [row.index for row in inner])
    if swings and max(swings.values()) >= VARYING and facts.train_shares.max() >= EASY_MAJORITY:
        label = max(swings, key=lambda key: swings[key])
        found.append(
            Recommendation(
                "try",
                "ce + dice(per_image=True)",
                "images with little of a class count as much as images full of it",
                f"{facts.rows[label].name}: its size differs {swings[label]:,.0f} times between images "
                "(90th over 10th percentile)",
            )
        )
    small = [row for row in inner if row.shape.object_share <= SMALL_OBJECT]
    if small:
        row = min(small, key=lambda entry: entry.shape.object_share)
        found.append(
            Recommendation(
                "careful",
                "dice",
                "alone on small objects it starts slowly and is noisy: keep ce beside it",
                f"half of the pixels of {row.name} lie in objects of at most {row.shape.object_size:,.0f} pixels, "
                f"{percent(row.shape.object_share)} of an image",
            )
        )
    if ragged:
        row = max(ragged, key=lambda entry: entry.shape.objects)
        found.append(
            Recommendation(
                "careful",
                "focal",
                "it turns to the hard pixels, and in ragged labels these are often wrong or arbitrary",
                f"{row.name} lies in {row.shape.objects:,.0f} pieces an image, {row.shape.width:.1f} pixels wide on average",
            )
        )
    return found


def _swings(facts: Facts, labels: Sequence[int]) -> dict[int, float]:
    """90th over 10th percentile of each class's share of the image, over the training images that hold it."""
    total = facts.train_counts.sum(axis=1)
    found = {}
    for label in labels:
        has = facts.train_counts[:, label] > 0
        # A class in few images says nothing; one in few of them is the business of class weights.
        if has.sum() >= 20 and has.mean() >= 0.5:
            low, high = np.percentile(facts.train_counts[has, label] / total[has], (10, 90))
            found[label] = float(high / low)
    return found


def _for_two_classes(facts: Facts) -> list[Recommendation]:
    if len(facts.rows) != 2 or facts.positive_weight is None:
        return []
    share = 1 / (1 + facts.positive_weight)
    evidence = (
        f"{facts.rows[1].name} covers {percent(share)} of the training pixels: "
        f"{facts.positive_weight:.3g} negatives for each positive"
    )
    reason = "two classes need one output channel with a sigmoid"
    found = [Recommendation("try", "bce + dice", reason, evidence, "binary")]
    if facts.positive_weight >= IMBALANCED:
        reason = "balances foreground and background: more is found, with more false alarms"
        found.append(Recommendation("try", 'bce(pos_weight="auto")', reason, evidence, "binary"))
    return found
