"""Pictures of single images for the page: photograph, truth, predictions, errors, as data URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcrit import _extras
from segcrit.data.formats import probe, stem
from segcrit.data.reading import read_image
from segcrit.errors import DataError, SegcritError
from segcrit.evaluating.arrays import prediction_of, target_of
from segcrit.evaluating.labels import codings_of
from segcrit.evaluating.matching import Pair, match
from segcrit.evaluating.store import Tally
from segcrit.evaluation.counts import predict_labels
from segcrit.evaluation.error_colors import RIGHT, UNJUDGED, WRONG, stripes
from segcrit.evaluation.inputs import read_batch

__all__ = ["Gallery", "Panel", "Shown"]

Array = npt.NDArray[Any]
Colors = npt.NDArray[np.uint8]

# A picture is shown at most about 360 CSS pixels wide; more would only make the page larger.
_LONGEST: Final = 420
_MOST_PIXELS: Final = 1 << 26
_TINT: Final = 0.6
_PHOTO_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".npy", ".nii", ".nii.gz")


@dataclass(frozen=True)
class Shown:
    """One model's prediction of an image: two pictures, and the share of the pixels shown that are wrong."""

    model: str
    labels: str
    errors: str
    wrong: float


@dataclass(frozen=True)
class Panel:
    """One image."""

    id: str
    note: str
    photo: str | None
    truth: str
    models: tuple[Shown, ...]
    seen: frozenset[int]


class Gallery:
    """Makes panels; finds the files of an image again.

    Args:
        tally: whose sources name the folders.
        images: folder of the photographs.
    """

    def __init__(self, tally: Tally, images: str | None) -> None:
        self._tally = tally
        self._settings = tally.settings
        self._target, self._predictions = codings_of(tally.about)
        self._colors = np.array([*tally.about["colors"]], dtype=np.uint8).reshape(-1, 3)
        self._images = None if images is None else Path(images).expanduser()
        self._pairs: dict[str, Pair] | None = None

    def panel(self, name: str) -> Panel | None:
        """The panel of an image; None where its files are gone, or cannot be shown."""
        if self._settings.task == "multilabel" or not self._tally.sources:
            return None
        try:
            pair = self._pair(name)
            return None if pair is None else self._panel(pair)
        except (SegcritError, OSError):
            return None

    def _pair(self, name: str) -> Pair | None:
        if self._pairs is None:
            sources = self._tally.sources
            models = {model: Path(path) for model, path in sources["predictions"].items()}
            self._pairs = {pair.id: pair for pair in match(models, Path(sources["target"])).pairs}
        return self._pairs.get(name)

    def _panel(self, pair: Pair) -> Panel | None:
        if pair.target.suffix.lower() != ".npz" and math.prod(probe(pair.target).shape) > _MOST_PIXELS:
            return None
        settings = self._settings
        truth, _ = target_of(pair.target, self._target, settings)
        guesses: list[Array] = []
        for path, coding in zip(pair.predictions, self._predictions, strict=True):
            guess, _ = prediction_of(path, truth.shape, coding, settings, self._tally.about["values"])
            if guess.dtype.kind == "f" or guess.ndim != truth.ndim:
                batch = read_batch(guess[None], truth[None], settings)
                found = batch.prediction
                guess = (predict_labels(found, settings, truth.shape) if batch.is_logits else found)[0].numpy()
            guesses.append(guess)
        ignored = np.equal(truth, settings.ignore_index)
        photo = self._photo(pair.id, truth.shape)
        note = ""
        if truth.ndim == 3:
            wrong = np.sum([((guess != truth) & ~ignored).sum(axis=(0, 1)) for guess in guesses], axis=0)
            place = int(wrong.argmax())
            note = f"slice {place + 1} of {truth.shape[2]}, the one with most errors"
            truth, ignored = truth[..., place].T, ignored[..., place].T
            guesses = [guess[..., place].T for guess in guesses]
            photo = None if photo is None else photo[..., place].swapaxes(-1, -2)
        elif truth.ndim != 2:
            return None
        step = _steps(truth.shape)
        truth, ignored = truth[step], ignored[step]
        channels_and_step = (slice(None), *step)
        base = None if photo is None else _as_picture(photo[channels_and_step])
        shown = []
        seen = set(np.unique(truth[~ignored]).tolist())
        for model, guess in zip(self._tally.models, guesses, strict=True):
            labels = guess[step]
            seen |= set(np.unique(labels).tolist())
            errors = (labels != truth) & ~ignored
            judged = int((~ignored).sum())
            shown.append(
                Shown(
                    model,
                    self._label_uri(labels, np.zeros_like(ignored), base),
                    _error_uri(errors, ignored, base),
                    float(errors.sum() / judged) if judged else float("nan"),
                )
            )
        classes = frozenset(int(label) for label in seen if 0 <= label < len(self._colors))
        photo_uri = None if base is None else _uri(base, "JPEG", quality=86)
        return Panel(pair.id, note, photo_uri, self._label_uri(truth, ignored, base), tuple(shown), classes)

    def _photo(self, name: str, size: Sequence[int]) -> Array | None:
        """The photograph (C, \\*S) of an image, if it is found and fits."""
        if self._images is None:
            return None
        base = self._images / name
        for path in (base.parent / (base.name + ending) for ending in _PHOTO_ENDINGS):
            if path.is_file() and stem(path) == base.name:
                try:
                    return read_image(path, spatial_shape=size)
                except DataError:
                    return None
        return None

    def _label_uri(self, labels: Array, ignored: Array, base: Colors | None) -> str:
        known = np.clip(labels, 0, len(self._colors) - 1).astype(np.int64)
        picture = self._colors[known]
        ignored = ignored | (labels < 0) | (labels >= len(self._colors))
        if base is None:
            return _uri(_striped(picture, ignored), "PNG", optimize=True)
        blended = (_TINT * picture + (1 - _TINT) * base).astype(np.uint8)
        return _uri(_striped(blended, ignored), "JPEG", quality=88)


def _steps(size: Sequence[int]) -> tuple[slice, ...]:
    """Every n-th pixel: labels must not be averaged."""
    step = max(1, -(-max(size) // _LONGEST))
    return tuple(slice(step // 2, None, step) for _ in size)


def _as_picture(photo: Array) -> Colors:
    """(C, H, W) of any range as 8-bit colours."""
    bands = photo[:3] if photo.shape[0] >= 3 else np.repeat(photo[:1], 3, axis=0)
    finite = bands[np.isfinite(bands)]
    low, high = (0.0, 255.0)
    if finite.size and (finite.min() < 0 or finite.max() > 255 or finite.max() <= 1):
        low, high = (float(value) for value in np.percentile(finite, [1, 99]))
    scaled = (np.nan_to_num(bands) - low) * (255.0 / max(high - low, 1e-12))
    return np.ascontiguousarray(np.moveaxis(np.clip(scaled, 0, 255), 0, -1).astype(np.uint8))


def _error_uri(errors: Array, ignored: Array, base: Colors | None) -> str:
    """Wrong pixels in one strong colour; what is right pale, what is not judged striped."""
    if base is None:
        picture = np.full((*errors.shape, 3), RIGHT, dtype=np.uint8)
    else:
        grey = base.mean(axis=-1, keepdims=True)
        picture = np.repeat((0.35 * grey + 150).astype(np.uint8), 3, axis=-1)
    picture[errors] = WRONG
    return _uri(_striped(picture, ignored), "PNG", optimize=True)


def _striped(picture: Colors, ignored: Array) -> Colors:
    """The picture with stripes where nothing is judged."""
    colors = np.array(UNJUDGED, dtype=np.uint8)[stripes(ignored.shape).astype(np.intp)]
    striped: Colors = np.where(ignored[..., None], colors, picture)
    return striped


def _uri(picture: Colors, kind: str, **options: Any) -> str:
    image_module = _extras.require("PIL.Image", extra="data")
    stream = io.BytesIO()
    image_module.fromarray(np.ascontiguousarray(picture)).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
