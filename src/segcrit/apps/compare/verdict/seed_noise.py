"""How far the results of one loss lie apart from seed to seed, estimated from few seeds.

Resampling a handful of seeds makes their spread too small (two seeds, resampled, show half of their
variance). So the spread is estimated with its degrees of freedom, pooled over the losses, and enters every
resample of the images as noise of that size from Student's t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segcrit.metrics.ratios import Floats, Integers

__all__ = ["Noise", "between_losses", "within_losses"]


@dataclass(frozen=True)
class Noise:
    """Spread between the seeds of one loss: variance of a single training, and how well it is known."""

    variance: Floats  # any shape: one value a figure
    freedom: int  # degrees of freedom of its estimate

    def sample(self, generator: np.random.Generator, seeds: Integers, resamples: int) -> Floats:
        """Noise of the mean over ``seeds[k]`` trainings of loss k: (resamples, losses, ...).

        One estimate of the variance serves all losses, so they share its error, Student's denominator.
        """
        shape = self.variance.shape
        scale = np.sqrt(self.freedom / generator.chisquare(self.freedom, size=(resamples, 1, *shape)))
        errors = generator.standard_normal((resamples, len(seeds), *shape))
        share = np.sqrt(self.variance / seeds.reshape(-1, *(1 for _ in shape)))
        return np.asarray(errors * scale * share)


def within_losses(by_seed: Sequence[Mapping[int, Floats]]) -> Noise | None:
    """Spread of a loss between its seeds, pooled over losses; None if no loss has two seeds."""
    freedom = sum(len(seeds) - 1 for seeds in by_seed)
    if freedom < 1:
        return None
    squares = [
        ((np.stack(list(seeds.values())) - np.mean(list(seeds.values()), axis=0)) ** 2).sum(axis=0) for seeds in by_seed
    ]
    return Noise(np.asarray(sum(squares) / freedom), freedom)


def between_losses(by_seed: Sequence[Mapping[int, Floats]]) -> Noise | None:
    """Spread that is a loss's own: what a seed does to all losses alike is taken out (a blocked design).

    Falls back to the spread within losses where fewer than two seeds were tested for all of them.
    """
    common = sorted(set.intersection(*(set(seeds) for seeds in by_seed)))
    freedom = (len(by_seed) - 1) * (len(common) - 1)
    if freedom < 1:
        return within_losses(by_seed)
    table = np.stack([np.stack([np.asarray(seeds[seed]) for seed in common]) for seeds in by_seed])
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True)
    rest = rest + table.mean(axis=(0, 1), keepdims=True)
    return Noise(np.asarray((rest**2).sum(axis=(0, 1)) / freedom), freedom)
