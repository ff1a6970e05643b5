"""What another loss does to the IoU of each class, with intervals."""

from __future__ import annotations

from typing import Final

import numpy as np

from segcrit.apps.compare.records import Results
from segcrit.apps.compare.verdict.ranking import SMALLEST_SAMPLE, per_image, quantiles, seeds_with_figures
from segcrit.apps.compare.verdict.records import ClassChange
from segcrit.apps.compare.verdict.seed_noise import between_losses
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.policy import get_policy
from segcrit.metrics.ratios import Floats, Integers, class_ratio
from segcrit.metrics.resampling import units

__all__ = ["class_changes"]

# Ends of a single 95 % interval need fewer resamples than the tails of many pairs together.
_CLASS_RESAMPLES: Final = 2_000


def class_changes(results: Results, reference: str) -> tuple[ClassChange, ...]:
    """Change of each class's IoU from the loss ``reference`` to every other tested one, with intervals."""
    tested = {loss.name: seeds for loss in results.losses if (seeds := seeds_with_figures(loss))}
    if reference not in tested or len(tested) < 2:
        return ()
    models = {name: [per_image(results, counts) for _, counts in seeds] for name, seeds in tested.items()}
    first = models[reference][0]
    unit, number = units(first, results.data.groups or None)
    generator = np.random.default_rng([0, 4])
    drawn = generator.integers(0, max(number, 1), size=(_CLASS_RESAMPLES, number))
    weights = np.zeros((_CLASS_RESAMPLES, number))
    np.add.at(weights, (np.arange(_CLASS_RESAMPLES)[:, None], drawn), 1.0)
    weights = weights[:, unit]  # a group's weight for each of its images
    values = {name: np.stack([_class_iou(part, None) for part in parts]) for name, parts in models.items()}
    by_seed = [
        {seed.seed: value for (seed, _), value in zip(tested[name], values[name], strict=True)} for name in models
    ]
    noise = between_losses(by_seed)
    spreads = np.stack(
        [np.mean([_class_iou(part, weights) for part in parts], axis=0) for parts in models.values()], axis=1
    )
    if noise is not None:
        sizes = np.array([len(parts) for parts in models.values()])
        spreads += noise.sample(generator, sizes, _CLASS_RESAMPLES)
    place = {name: number for number, name in enumerate(models)}
    changes = []
    for name in models:
        if name == reference:
            continue
        change = values[name].mean(axis=0) - values[reference].mean(axis=0)
        low, high = quantiles(spreads[:, place[name]] - spreads[:, place[reference]])
        few = _units_with_class([*models[name], *models[reference]], unit, number)
        low, high = (np.where(few < SMALLEST_SAMPLE, np.nan, end) for end in (low, high))
        changes.append(ClassChange(name, tuple(change.tolist()), tuple(low.tolist()), tuple(high.tolist())))
    return tuple(changes)


def _units_with_class(parts: list[PerImage], unit: Integers, number: int) -> Integers:
    """In how many images (groups) each class occurs, in the truth or in one of the predictions.

    A class in one image only has the same change in every resample that holds it: an interval without width
    that says nothing.
    """
    occurs = np.any([part.tp + part.fp + part.fn > 0 for part in parts], axis=0)
    table = np.zeros((number, occurs.shape[1]), dtype=np.int64)
    np.add.at(table, unit, occurs)
    return np.asarray((table > 0).sum(axis=0))


def _class_iou(counts: PerImage, weights: Floats | None) -> Floats:
    """IoU per class of all images, or (resamples, classes) for weighted images."""
    tp, fp, fn = (
        part.sum(axis=0) if weights is None else weights @ part.astype(np.float64)
        for part in (counts.tp, counts.fp, counts.fn)
    )
    return class_ratio("iou", tp, fp, fn, get_policy(counts.policy))
