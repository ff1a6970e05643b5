"""What an evaluator can measure beside its counts: the form that every such measure has.

A measure looks at one batch and gives, for each image, the arrays of its table; from the tables it derives figures.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segcrit.metrics.definition import Figure
from segcrit.metrics.inputs import Batch
from segcrit.metrics.measure_table import MeasureOptions, Values
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.settings import Settings

__all__ = ["Measure", "Sample", "are_spacings", "measures_of"]

# Sizes of pixels in any unit. Beyond them a header is damaged, and products of sizes leave the range of numbers.
_SMALLEST, _LARGEST = 1e-12, 1e12


def are_spacings(sizes: npt.ArrayLike) -> bool:
    """Whether all are sizes that a pixel can have.

    Example:
        >>> are_spacings([0.5, 1]), are_spacings([0.0, 1]), are_spacings([1e-300, 1])
        (True, False, False)
    """
    values = np.asarray(sizes, dtype=np.float64)
    return bool(((values >= _SMALLEST) & (values <= _LARGEST)).all())


@dataclass(frozen=True, eq=False)
class Sample:
    """A batch as measures see it.

    Attributes:
        batch: checked prediction and target.
        settings: of the evaluation.
        labels: gives the predicted labels (N, \\*S), in a multilabel task (N, C, \\*S), computed once.
        spacing: size of a pixel along each spatial dimension, one row an image, or None.
    """

    batch: Batch
    settings: Settings
    labels: Callable[[], Tensor]
    spacing: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Measure(MeasureOptions):
    """A measure: its options, and what it does with batches and with the arrays that it found."""

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Refuse an evaluator that this measure cannot work in."""

    @abstractmethod
    def measure(self, sample: Sample) -> list[Values]:
        """Measure a batch: the arrays of each image."""

    @abstractmethod
    def figures(self, counts: PerImage) -> Iterable[Figure]:
        """The scalar figures that the arrays add to a report on these counts."""

    def class_figure(self, name: str, index: int, label: str) -> Figure | None:
        """The figure ``name[index]`` of a class, or None where there is none."""
        return None

    @abstractmethod
    def result(self, counts: PerImage, class_names: tuple[str, ...]) -> Any:
        """The object that a report shows; it has ``to_dict()``."""


def measures_of(held: Settings | PerImage) -> tuple[Measure, ...]:
    """The measures of an evaluation, or of what it counted."""
    if isinstance(held, Settings):
        return cast("tuple[Measure, ...]", held.measures)
    return cast("tuple[Measure, ...]", tuple(table.measure for table in held.measures.values()))
