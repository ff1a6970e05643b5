"""Options of what an evaluator measures beside its counts, and the arrays that were measured on each image.

The arrays of an image have a fixed size. They lie beside the counts of the image, under the same id, so that all that
holds for counts holds for them: any order, repeated images, merging, processes, bootstrap over images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import encode, floats
from segcrit.core.names import nearest
from segcrit.metrics.ratios import Integers

__all__ = ["MeasureOptions", "MeasureTable", "Values", "measure_from_dict", "read_measures"]

# The arrays of one image.
Values = Mapping[str, npt.NDArray[Any]]

# kind -> class. A measure enters it when its module is imported.
_KINDS: Final[dict[str, type[MeasureOptions]]] = {}


@dataclass(frozen=True)
class MeasureOptions(ABC):
    """Options of a measure; two evaluators merge where these are equal.

    Attributes:
        kind: the word for this measure.
        is_additive: the arrays of parts of an image add up to those of the image, so that it can be read by windows.
        reads_probabilities: looks at logits, not only at labels.
        holds_lock: works mostly in Python, where threads wait for each other and processes do not.
    """

    kind: ClassVar[str]
    is_additive: ClassVar[bool] = False
    reads_probabilities: ClassVar[bool] = False
    holds_lock: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    @property
    def takes_spacing(self) -> bool:
        """Whether it asks for the size of the pixels of each image."""
        return False

    @abstractmethod
    def layout(self, classes: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape and type (int or float) of each array of an image."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :func:`measure_from_dict` reads them back."""
        return {"kind": self.kind, **encode(asdict(self))}


@dataclass(frozen=True, eq=False)
class MeasureTable:
    """What one measure found on each image.

    Attributes:
        measure: its options.
        arrays: name -> (images, \\*shape).
    """

    measure: MeasureOptions
    arrays: Mapping[str, npt.NDArray[Any]]

    @classmethod
    def collect(cls, measure: MeasureOptions, classes: int, rows: Sequence[Values]) -> MeasureTable:
        """Stack the arrays of several images."""
        arrays = {}
        for name, (shape, kind) in measure.layout(classes).items():
            dtype = np.int64 if kind is int else np.float64
            stacked = np.stack([row[name] for row in rows]) if rows else np.zeros((0, *shape))
            arrays[name] = stacked.astype(dtype)
        return cls(measure, arrays)

    def row(self, image: int) -> Values:
        """The arrays of one image."""
        return {name: values[image] for name, values in self.arrays.items()}

    def select(self, rows: Integers) -> MeasureTable:
        """The images with these row numbers."""
        return MeasureTable(self.measure, {name: values[rows] for name, values in self.arrays.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"options": self.measure.to_dict(), "arrays": encode(dict(self.arrays))}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], classes: int, images: int) -> MeasureTable:
        """Build the table again.

        Raises:
            DataError: a field is missing, or an array has another shape.
        """
        try:
            measure = measure_from_dict(content["options"])
            given = content["arrays"]
            arrays: dict[str, npt.NDArray[Any]] = {}
            for name, (shape, kind) in measure.layout(classes).items():
                values = np.asarray(given[name], dtype=np.int64) if kind is int else floats(given[name])
                arrays[name] = values.reshape(images, *shape)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "a measure with its options and arrays", f"another: {error}", "Write it with to_dict(per_image=True)."
            ) from None
        return cls(measure, arrays)


def measure_from_dict(content: Mapping[str, Any]) -> MeasureOptions:
    """Build a measure from what :meth:`Measure.to_dict` returned.

    Raises:
        ParameterError: no such measure, or an option that it does not have.
    """
    options = dict(content)
    kind = _class_of(options.pop("kind", None))
    known = {entry.name for entry in fields(kind)}
    if unknown := sorted(set(options) - known):
        hint = nearest(unknown[0], known)
        raise ParameterError(
            f"options of {kind.kind} among {', '.join(sorted(known))}", repr(unknown[0]), hint or "Leave it out."
        )
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})


def read_measures(measures: Iterable[Any] | str) -> tuple[MeasureOptions, ...]:
    """Words, measures or their dictionaries, as measures in the order of their kinds.

    Raises:
        ParameterError: no such measure, or one kind twice.
    """
    given = [measures] if isinstance(measures, (str, MeasureOptions)) else list(measures)
    found: list[MeasureOptions] = []
    for entry in given:
        if isinstance(entry, MeasureOptions):
            found.append(entry)
        elif isinstance(entry, Mapping):
            found.append(measure_from_dict(entry))
        else:
            found.append(_class_of(entry)())
    kinds = [measure.kind for measure in found]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise ParameterError("each measure once", f"{twice!r} twice", "Use a second evaluator for other options.")
    return tuple(sorted(found, key=lambda measure: measure.kind))


def _class_of(word: Any) -> type[MeasureOptions]:
    if not isinstance(word, str) or word not in _KINDS:
        known = ", ".join(repr(name) for name in sorted(_KINDS))
        hint = nearest(str(word), _KINDS)
        raise ParameterError(f"measures among {known}", repr(word), hint or "Give one of these words, or a measure.")
    return _KINDS[word]
