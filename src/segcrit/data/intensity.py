"""What the intensities of each image are: range, mean, spread, and values that mean "no data"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.data.files.stored import equals_nodata
from segcrit.data.model import FloatArray, SegmentationData
from segcrit.data.reading import mask_shape, match_channels, read_image
from segcrit.data.scanning import Scan, Scanner

__all__ = ["LOWER", "UPPER", "ChannelFigures", "ImageFigures", "image_figures", "is_missing"]

# Percentiles that bound the ordinary intensities of an image; nnU-Net clips CT at the same ones.
LOWER, UPPER = 0.5, 99.5
# What programs write for "no data" where they declare nothing: GDAL, ESRI, netCDF, int16 minimum, float32 minimum.
_SENTINELS = (-99999.0, -9999.0, -32768.0, -1e20, -1e30, float(np.finfo(np.float32).min))
# Percentiles of a larger image are taken from a regular sample of about this many pixels.
_SAMPLE = 2_000_000


@dataclass(frozen=True)
class ChannelFigures:
    """Figures of one channel of one image, missing values left out.

    Attributes:
        pixels: number of values.
        low: 0.5th percentile, ``high`` the 99.5th.
        minimum: smallest value, ``maximum`` the largest.
        mean: of all values, ``std`` their standard deviation.
        clipped_mean: after clipping to ``low`` ... ``high``, ``clipped_std`` likewise.
    """

    pixels: int
    minimum: float
    maximum: float
    low: float
    high: float
    mean: float
    std: float
    clipped_mean: float
    clipped_std: float


@dataclass(frozen=True)
class ImageFigures:
    """Figures of one image file.

    Attributes:
        channels: of each channel.
        nodata: values found that can only mean "no data".
        missing: share of values that are missing: NaN, infinite, or no data.
        dtype: NumPy type in the file.
    """

    channels: tuple[ChannelFigures, ...]
    nodata: tuple[float, ...]
    missing: float
    dtype: str


def is_missing(image: FloatArray, nodata: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Where values are missing: not finite, or one of ``nodata``.

    Example:
        >>> is_missing(np.array([1.0, np.nan, -9999.0], dtype=np.float32), [-9999.0]).tolist()
        [False, True, True]
    """
    missing: npt.NDArray[np.bool_] = ~np.isfinite(image)
    for value in nodata:
        missing |= equals_nodata(image, value)
    return missing


def image_figures(data: SegmentationData, ids: Sequence[str], scanner: Scanner) -> Scan[ImageFigures]:
    """The figures of the image files of these ids; files that cannot be read are among the errors."""
    masks = [data.case(name).mask for name in ids]
    sizes = {mask: mask_shape(header, data.spatial_dims) for mask, header in scanner.headers(masks).found.items()}
    images = {path: sizes.get(data.case(name).mask) for name in ids for path in data.case(name).images}
    whole = {data.case(name).images[0] for name in ids if len(data.case(name).images) == 1}
    headers = scanner.headers(list(images)).found

    def measure(path: Path) -> dict[str, Any]:
        image = read_image(path, spatial_shape=images[path])
        if path in whole:  # not one channel of several
            image = match_channels(image, data.channels, path)
        dtype = headers[path].dtype if path in headers else ""
        return asdict(figures_of(image, dtype, data.nodata))

    scan = scanner.run("intensity", list(images), measure, "Measuring intensities")
    return Scan({path: _from_json(value) for path, value in scan.found.items()}, scan.errors)


def figures_of(image: FloatArray, dtype: str = "", declared: Sequence[float] = ()) -> ImageFigures:
    """Figures of an image ``(channels, *S)``."""
    if dtype == "uint8" and not declared:
        return ImageFigures(tuple(_channel_of_bytes(plane) for plane in image), (), 0.0, dtype)
    nodata = tuple(sorted({*declared, *_undeclared(image, dtype)}))
    missing = is_missing(image, nodata)
    channels = []
    for plane, hole in zip(image, missing, strict=True):
        values = plane[~hole] if hole.any() else plane.reshape(-1)
        channels.append(_channel(values))
    return ImageFigures(tuple(channels), nodata, float(missing.mean()) if missing.size else 0.0, dtype)


def _undeclared(image: FloatArray, dtype: str) -> list[float]:
    """Sentinels that the image holds and that lie further below all other values than these spread."""
    if dtype in ("uint8", "bool") or image.size == 0:
        return []
    found = []
    finite = image[np.isfinite(image)]
    for value in _SENTINELS:
        hits = finite == np.float32(value)
        if not hits.any():
            continue
        rest = finite[~hits]
        others = rest[~np.isin(rest, np.array(_SENTINELS, dtype=np.float32))]
        if others.size == 0 or float(others.min()) - value > float(others.max()) - float(others.min()):
            found.append(value)
    return found


def _channel(values: npt.NDArray[np.float32]) -> ChannelFigures:
    if values.size == 0:
        return ChannelFigures(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    sample = values[:: max(1, values.size // _SAMPLE)]
    low, high = (float(value) for value in np.percentile(sample, (LOWER, UPPER)))
    clipped = np.clip(values, low, high)
    return ChannelFigures(
        pixels=int(values.size),
        minimum=float(values.min()),
        maximum=float(values.max()),
        low=low,
        high=high,
        mean=float(values.mean(dtype=np.float64)),
        std=float(values.std(dtype=np.float64)),
        clipped_mean=float(clipped.mean(dtype=np.float64)),
        clipped_std=float(clipped.std(dtype=np.float64)),
    )


def _channel_of_bytes(plane: FloatArray) -> ChannelFigures:
    """The same from a histogram of 256 values, many times faster."""
    histogram = np.bincount(plane.reshape(-1).astype(np.uint8), minlength=256)
    pixels = int(histogram.sum())
    present = np.flatnonzero(histogram)
    if not pixels:
        return ChannelFigures(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    cumulative = np.cumsum(histogram)
    low, high = (float(np.searchsorted(cumulative, share / 100 * pixels)) for share in (LOWER, UPPER))
    values = np.arange(256, dtype=np.float64)
    mean, std = _moments(values, histogram)
    clipped_mean, clipped_std = _moments(np.clip(values, low, high), histogram)
    return ChannelFigures(
        pixels, float(present[0]), float(present[-1]), low, high, mean, std, clipped_mean, clipped_std
    )


def _moments(values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> tuple[float, float]:
    mean = float(np.average(values, weights=weights))
    return mean, float(np.average((values - mean) ** 2, weights=weights)) ** 0.5


def _from_json(value: dict[str, Any]) -> ImageFigures:
    return ImageFigures(
        tuple(ChannelFigures(**channel) for channel in value["channels"]),
        tuple(value["nodata"]),
        value["missing"],
        value["dtype"],
    )
