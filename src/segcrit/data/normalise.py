"""Bringing intensities to mean 0 and spread 1: for the whole data set, or image by image where scales differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from segcrit.core.errors import DataError, ParameterError
from segcrit.core.json_files import decode, encode
from segcrit.data.audit.survey import damaged
from segcrit.data.intensity import LOWER, UPPER, ChannelFigures, image_figures, is_missing
from segcrit.data.model import FloatArray, SegmentationData
from segcrit.data.problems import FolderError
from segcrit.data.scanning import Scanner

__all__ = ["Normalisation", "Scheme", "normalisation", "scale_ratio"]

Scheme = Literal["dataset", "image"]

# Where the widest intensity range of a case is this many times the narrowest, one mean cannot fit both.
MOST_RATIO = 10.0
# Mean and spread of this many images are those of all, to a fraction of a percent.
_ENOUGH = 500


@dataclass(frozen=True)
class Normalisation:
    """How the intensities of an image are brought to mean 0 and standard deviation 1. Made by ``normalisation``.

    Attributes:
        scheme: ``"dataset"``: (clip and) subtract ``mean``, divide by ``std``, the same for every image.
            ``"image"``: clip every channel of every image to its own percentiles 0.5 and 99.5, subtract its own mean,
            divide by its own standard deviation.
        mean: one number a channel, over the training split.
        std: likewise.
        lower: bounds of clipping a channel, or None: 8-bit images are not clipped.
        upper: likewise.
        nodata: values that mean "no data"; they, NaN and infinite values become 0, which is the mean.
        images: number of images the figures were taken from.

    Example:
        >>> normal = Normalisation("dataset", mean=(100.0,), std=(50.0,))
        >>> normal.apply(np.array([[50.0, 150.0, np.nan]], dtype=np.float32)).tolist()
        [[-1.0, 1.0, 0.0]]
    """

    scheme: Scheme
    mean: tuple[float, ...]
    std: tuple[float, ...]
    lower: tuple[float, ...] | None = None
    upper: tuple[float, ...] | None = None
    nodata: tuple[float, ...] = ()
    images: int = 0

    @property
    def channels(self) -> int:
        """Number of channels it is made for."""
        return len(self.mean)

    def apply(self, image: FloatArray) -> FloatArray:
        """A normalised copy of a whole image ``(channels, *S)``; ``float32``, finite everywhere.

        With the scheme ``"image"`` give the whole image and cut crops afterwards, or crops get scales of their own.

        Raises:
            DataError: the image has another number of channels.
        """
        values = np.array(image, dtype=np.float32)
        if values.ndim < 2 or values.shape[0] != self.channels:
            raise DataError(
                f"an image of {self.channels} channels, channels first",
                f"shape {values.shape}",
                "Take the normalisation that was made for this data.",
            )
        missing = is_missing(values, self.nodata)
        any_missing = bool(missing.any())
        for channel, plane in enumerate(values):
            hole = missing[channel] if any_missing else None
            self._apply_channel(plane, hole, channel)
        if any_missing:
            values[missing] = 0.0
        return values

    def _apply_channel(self, plane: FloatArray, hole: Any, channel: int) -> None:
        mean, std = self.mean[channel], self.std[channel]
        if self.scheme == "image":
            valid = plane if hole is None else plane[~hole]
            if valid.size == 0:
                return
            low, high = (float(value) for value in np.percentile(valid, (LOWER, UPPER)))
            clipped = np.clip(valid, low, high)
            mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
            np.clip(plane, low, high, out=plane)
        elif self.lower is not None and self.upper is not None:
            np.clip(plane, self.lower[channel], self.upper[channel], out=plane)
        # A constant channel becomes 0 instead of 0/0. Subtract in float64: intensities of 1e6 with a spread of 1 exist.
        scale = std if std > 1e-12 * max(1.0, abs(mean)) else 1.0
        with np.errstate(invalid="ignore"):  # NaN stays until it is set to 0
            plane[...] = (plane.astype(np.float64) - mean) / scale

    def describe(self) -> str:
        """One sentence for reports."""
        if self.scheme == "image":
            text = "Every image is clipped to its percentiles 0.5 and 99.5 and brought to mean 0 and spread 1 by itself"
        else:
            clip = "clipped and " if self.lower is not None else ""
            text = f"Images are {clip}brought to mean 0 and spread 1 with the figures of {self.images} training images"
        if self.nodata:
            text += f"; {', '.join(f'{value:g}' for value in self.nodata)} means no data and becomes 0"
        return text + "."

    def to_dict(self) -> dict[str, Any]:
        """JSON types; ``from_dict`` turns them back."""
        content: dict[str, Any] = encode(self)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Normalisation:
        """The normalisation that ``to_dict`` wrote.

        Raises:
            DataError: keys are missing or of another type.

        Example:
            >>> normal = Normalisation("image", mean=(0.0,), std=(1.0,))
            >>> Normalisation.from_dict(normal.to_dict()) == normal
            True
        """
        found = decode(cls, dict(content), "normalisation", advice="Make the results again.")
        if len(found.mean) != len(found.std):
            advice = "Make the results again."
            raise DataError("as many means as deviations", repr(dict(content)), advice, code="damaged-file")
        return found


def normalisation(
    data: SegmentationData, *, scheme: Literal["auto"] | Scheme = "auto", progress: bool | None = None
) -> Normalisation:
    """Choose how to normalise a data set, and measure what that takes on its training split.

    ``"auto"`` takes one mean and standard deviation a channel for 8-bit images. For other types it looks at the range
    (percentiles 0.5 to 99.5) of every case: where the widest is over 10 times the narrowest, as in MRI from
    several scanners, every image is normalised by itself; otherwise the data set's mean is used, and values are
    clipped to the range of ordinary images. At most 500 images, evenly taken, are measured.

    Args:
        data: the data set.
        scheme: ``"auto"``, ``"dataset"`` or ``"image"``.
        progress: True shows a bar, False none, None one in a terminal.

    Raises:
        DataError: an image cannot be read.
        ParameterError: an unknown scheme.
    """
    if scheme not in ("auto", "dataset", "image"):
        raise ParameterError('"auto", "dataset" or "image" as scheme', repr(scheme), "Choose one of them.")
    names = _evenly(sorted(data.splits["train"]), _ENOUGH)
    scan = image_figures(data, names, Scanner(data.root, progress=progress))
    if scan.errors:
        raise FolderError([damaged(scan.errors)])
    cases = [[channel for path in data.case(name).images for channel in scan.found[path].channels] for name in names]
    found = [scan.found[path] for name in names for path in data.case(name).images]
    is_8_bit = all(figures.dtype in ("uint8", "bool") for figures in found)
    chosen: Scheme
    if scheme == "auto":
        chosen = "image" if not is_8_bit and scale_ratio(cases) > MOST_RATIO else "dataset"
    else:
        chosen = scheme
    nodata = tuple(sorted({value for figures in found for value in figures.nodata} | set(data.nodata)))
    columns = [[case[channel] for case in cases if case[channel].pixels] for channel in range(data.channels)]
    pooled = [_pooled(column, clipped=not is_8_bit) for column in columns]
    lower = upper = None
    if chosen == "dataset" and not is_8_bit:
        # Not the extremes over all cases: one broken image would make the bounds meaningless.
        lower = tuple(float(np.percentile([c.low for c in column], 5)) if column else 0.0 for column in columns)
        upper = tuple(float(np.percentile([c.high for c in column], 95)) if column else 1.0 for column in columns)
    mean, std = tuple(mean for mean, _ in pooled), tuple(std for _, std in pooled)
    return Normalisation(chosen, mean, std, lower, upper, nodata, len(names))


def scale_ratio(cases: Sequence[Sequence[ChannelFigures]]) -> float:
    """Widest intensity range of a case over the narrowest, the largest of all channels; constant images aside."""
    worst = 1.0
    for column in zip(*cases, strict=True):
        spans = [figures.high - figures.low for figures in column if figures.high > figures.low]
        if spans:
            worst = max(worst, max(spans) / min(spans))
    return worst


def _pooled(column: Sequence[ChannelFigures], *, clipped: bool) -> tuple[float, float]:
    """Mean and standard deviation over images, from those of each (law of total variance)."""
    if not column:
        return 0.0, 1.0
    weights = np.array([figures.pixels for figures in column], dtype=np.float64)
    means = np.array([figures.clipped_mean if clipped else figures.mean for figures in column])
    stds = np.array([figures.clipped_std if clipped else figures.std for figures in column])
    mean = float(np.average(means, weights=weights))
    variance = float(np.average(stds**2 + (means - mean) ** 2, weights=weights))
    return mean, variance**0.5 if variance > 0 else 1.0


def _evenly(names: Sequence[str], most: int) -> list[str]:
    if len(names) <= most:
        return list(names)
    return [names[int(position)] for position in np.linspace(0, len(names) - 1, most)]
