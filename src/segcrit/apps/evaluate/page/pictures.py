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

from segcrit.apps.evaluate.counting.store import Tally
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.reading.arrays import prediction_of, target_of
from segcrit.apps.evaluate.reading.axes import turned_for
from segcrit.apps.evaluate.reading.labels import codings_of
from segcrit.apps.evaluate.reading.matching import Pair, match
from segcrit.apps.evaluate.reading.thinning import labels_of, step_of, thin, thinned_image, thinned_maps
from segcrit.apps.evaluate.reading.windows import size_of
from segcrit.core import optional
from segcrit.core.atomic import user_path
from segcrit.core.errors import SegcritError
from segcrit.data.files.formats import probe
from segcrit.data.folders.pairing import pair_names
from segcrit.data.folders.valid_area import read_valid, without_invalid
from segcrit.data.folders.walking import find_images
from segcrit.data.reading import read_image
from segcrit.labels.mask import is_label, is_labelled
from segcrit.reports.error_colors import RIGHT, UNJUDGED, WRONG, stripes

__all__ = ["Absent", "Gallery", "Panel", "Shown", "legend_color"]

Array = npt.NDArray[Any]
Colors = npt.NDArray[np.uint8]

# A picture is shown at most about 520 CSS pixels wide; more would only make the page larger.
_LONGEST: Final = 512
# Larger maps are read by windows, and where the format does not allow that, as a whole up to the second number.
_MOST_PIXELS: Final = 1 << 26
_MOST_WHOLE: Final = 1 << 29
# From this many pixels a step on it is said that most are not shown.
_COARSE: Final = 4
_TINT: Final = 0.6
# Grey levels of a photograph below an overlay: light, whatever the photograph, so that every colour can be told apart.
_DARKEST: Final = 110
# Levels that a photograph without contrast is taken to span, so that its noise is not blown up.
_LEAST_SPAN: Final = 32


@dataclass(frozen=True)
class Shown:
    """One model's prediction of an image: two pictures, and the share of all pixels of the image that are wrong."""

    model: str
    labels: str
    errors: str
    wrong: float


@dataclass(frozen=True)
class Panel:
    """One image; the pixels of a ``small`` one, such as a slice of a volume, are shown as squares and not blurred."""

    id: str
    note: str
    photo: str | None
    truth: str
    models: tuple[Shown, ...]
    seen: frozenset[int]
    small: bool = False


@dataclass(frozen=True)
class Absent:
    """An image without a picture, and why."""

    id: str
    why: str


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
        self._images = None if images is None else user_path(images)
        self._pairs: dict[str, Pair] | None = None
        self._photos: dict[str, Path] | None = None

    def panel(self, name: str) -> Panel | Absent:
        """The panel of an image, or why there is none."""
        if self._settings.task == "multilabel":
            return Absent(name, "the channels of a multilabel task may overlap, which one picture cannot show")
        try:
            pair = self._pair(name)
            if pair is None:
                return Absent(name, "its files are not where they were when they were counted")
            return self._panel(pair)
        except (SegcritError, OSError) as error:
            return Absent(name, f"its files cannot be read any more ({error})")

    def _pair(self, name: str) -> Pair | None:
        if self._pairs is None:
            sources = self._tally.sources
            if not sources:
                return None
            models = {model: Path(path) for model, path in sources["predictions"].items()}
            options = Options.from_dict(sources["options"])
            matched = match(models, Path(sources["target"]), pair=options.pair, valid=options.valid_area)
            self._pairs = {pair.id: pair for pair in matched.pairs}
        return self._pairs.get(name)

    def _wrong(self, name: str) -> list[float]:
        """Share of the judged pixels of the whole image that each model has wrong, by its counts."""
        row = self._tally.ids.index(name)
        shares = []
        for table in self._tally.tables:
            cells, counts = table.row(row)
            wrong = int(counts[cells // table.shape[1] != cells % table.shape[1]].sum())
            judged = int(counts.sum())
            shares.append(wrong / judged if judged else float("nan"))
        return shares

    def _panel(self, pair: Pair) -> Panel | Absent:
        maps = self._maps(pair)
        if isinstance(maps, Absent):
            return maps
        photo, notes = self._photo(pair.id, maps)
        if maps.depth:
            notes.insert(0, f"slice {maps.place + 1} of {maps.depth}, the one with most errors")
        if maps.step >= _COARSE:
            notes.append(f"one pixel of {maps.step} × {maps.step} is shown")
        base = None if photo is None else _backdrop(photo)
        truth = maps.truth
        ignored = is_label(truth, self._settings.ignore_index)
        seen = set(np.unique(truth[~ignored]).tolist())
        shown = []
        for model, labels, wrong in zip(self._tally.models, maps.guesses, self._wrong(pair.id), strict=True):
            seen |= set(np.unique(labels).tolist())
            errors = (labels != truth) & ~ignored
            picture = self._label_uri(labels, np.zeros_like(ignored), base)
            shown.append(Shown(model, picture, _error_uri(errors, ignored, base), wrong))
        classes = frozenset(int(label) for label in seen if 0 <= label < len(self._colors))
        photo_uri = None if photo is None else _uri(photo, "JPEG", quality=86)
        truth_uri = self._label_uri(truth, ignored, base)
        small = 2 * max(truth.shape) <= _LONGEST
        return Panel(pair.id, " · ".join(notes), photo_uri, truth_uri, tuple(shown), classes, small)

    def _maps(self, pair: Pair) -> _Maps | Absent:
        size = size_of(pair.target)
        values = self._tally.about["values"]
        if size is not None and math.prod(size) > _MOST_PIXELS:
            step = step_of(size, _LONGEST)
            found = thinned_maps(pair, self._target, self._predictions, self._settings, values, step)
            if found is not None:
                return _Maps(found[0], tuple(found[1:]), size, step)
        pixels = 0 if pair.target.suffix.lower() == ".npz" else math.prod(probe(pair.target).shape)
        if pixels > _MOST_WHOLE:
            return Absent(pair.id, f"it has {pixels:,} pixels, in files that cannot be read in parts")
        truth, _ = target_of(pair.target, self._target, self._settings)
        if pair.valid is not None:
            truth = without_invalid(truth, read_valid(pair.valid, truth.shape), self._settings.ignore_index)
        if truth.ndim not in (2, 3):
            return Absent(pair.id, "its label map is neither a plane nor a volume")
        step = step_of(truth.shape[:2], _LONGEST)
        guesses = []
        turned = self._tally.about.get("turned", ())
        for place, (path, coding) in enumerate(zip(pair.predictions, self._predictions, strict=True)):
            order = turned_for(turned, place, path, pair.target)
            prediction, _ = prediction_of(path, truth.shape, coding, self._settings, values, order)
            labels = labels_of(prediction, truth, self._settings)
            # A copy, so that the whole map is not kept by its thinned view.
            guesses.append(thin(labels, step).copy() if truth.ndim == 2 else labels)
        if truth.ndim == 2:
            return _Maps(thin(truth, step), tuple(guesses), truth.shape, step)
        judged = is_labelled(truth, self._settings.ignore_index)
        wrong = np.sum([((guess != truth) & judged).sum(axis=(0, 1)) for guess in guesses], axis=0)
        worst = int(wrong.argmax())
        slices = [thin(volume[..., worst].T, step) for volume in (truth, *guesses)]
        return _Maps(slices[0], tuple(slices[1:]), truth.shape, step, worst, truth.shape[2])

    def _photo(self, name: str, maps: _Maps) -> tuple[Colors | None, list[str]]:
        """The photograph of an image, as large as its maps; where it is missing, a note that says why."""
        if self._images is None:
            return None, []
        path = self._photograph(name)
        if path is not None:
            try:
                photo = _read_photo(path, maps)
            except SegcritError:
                return None, ["its photograph has another size, or is damaged"]
            except Exception:  # decoders of single tiles raise nearly anything for damaged files
                return None, ["its photograph is damaged"]
            return (None, ["its photograph is too large to be read"]) if photo is None else (_as_picture(photo), [])
        return None, ["no photograph of it was found"]

    def _photograph(self, name: str) -> Path | None:
        """The file of an image's photograph, paired with the ids as everything else is."""
        if self._photos is None and self._images is not None:
            files = find_images(self._images).files
            pairing = pair_names(self._tally.ids, files, what=("images", "photographs"))
            self._photos = {pairing.first[key]: files[pairing.second[key]] for key in pairing.common}
        return None if self._photos is None else self._photos.get(name)

    def _label_uri(self, labels: Array, ignored: Array, base: Colors | None) -> str:
        known = np.clip(labels, 0, len(self._colors) - 1).astype(np.int64)
        picture = self._colors[known]
        ignored = ignored | (labels < 0) | (labels >= len(self._colors))
        if base is None:
            return _uri(_striped(picture, ignored), "PNG", optimize=True)
        # The colour alone tells the class: the photograph below it is grey.
        blended = (_TINT * picture + (1 - _TINT) * base).astype(np.uint8)
        return _uri(_striped(blended, ignored), "JPEG", quality=88)


@dataclass(frozen=True, eq=False)
class _Maps:
    """Thinned maps of an image.

    Attributes:
        truth, guesses: labels (h, w), every ``step``-th pixel.
        size: of the whole image.
        step: how much was left out.
        place, depth: the slice of a volume, and how many it has; 0 slices: a plane.
    """

    truth: Array
    guesses: tuple[Array, ...]
    size: tuple[int, ...]
    step: int
    place: int = 0
    depth: int = 0


def _read_photo(path: Path, maps: _Maps) -> Array | None:
    """The photograph (C, h, w), thinned as the maps are; None where it is too large."""
    if maps.depth:
        volume = read_image(path, spatial_shape=maps.size)
        return thin(volume[..., maps.place].swapaxes(-1, -2), maps.step)
    if math.prod(maps.size) > _MOST_PIXELS:
        return thinned_image(path, (maps.size[0], maps.size[1]), maps.step)
    return thin(read_image(path, spatial_shape=maps.size), maps.step)


def _as_picture(photo: Array) -> Colors:
    """(C, H, W) of any range as 8-bit colours."""
    bands = (photo[:3] if photo.shape[0] >= 3 else np.repeat(photo[:1], 3, axis=0)).astype(np.float32)
    finite = bands[np.isfinite(bands)]
    low, high = (0.0, 255.0)
    if finite.size and (finite.min() < 0 or finite.max() > 255 or finite.max() <= 1):
        low, high = (float(value) for value in np.percentile(finite, [1, 99]))
    scaled = (np.nan_to_num(bands) - low) * (255.0 / max(high - low, 1e-12))
    return np.ascontiguousarray(np.moveaxis(np.clip(scaled, 0, 255), 0, -1).astype(np.uint8))


def _backdrop(photo: Colors) -> Colors:
    """A photograph as it lies below an overlay: grey, so that every colour is that of a class; light, of full contrast."""
    grey = photo.mean(axis=-1, keepdims=True)
    low, high = (float(value) for value in np.percentile(grey, [2, 98]))
    span = max(high - low, _LEAST_SPAN)
    shares = np.clip((grey - (low + high - span) / 2) / span, 0, 1)
    return np.repeat((_DARKEST + (255 - _DARKEST) * shares).astype(np.uint8), 3, axis=-1)


def legend_color(color: Sequence[int], tinted: bool) -> str:
    """The colour of a class as pictures show it: over a photograph of middle grey where it is ``tinted``.

    Example:
        >>> legend_color((128, 0, 0), False), legend_color((128, 0, 0), True)
        ('#800000', '#964949')
    """
    middle = (_DARKEST + 255) / 2
    shown = [round(_TINT * part + (1 - _TINT) * middle) if tinted else part for part in color]
    return "#{:02x}{:02x}{:02x}".format(*shown)


def _error_uri(errors: Array, ignored: Array, base: Colors | None) -> str:
    """Wrong pixels in one strong colour; what is right pale, what is not judged striped."""
    if base is None:
        picture = np.full((*errors.shape, 3), RIGHT, dtype=np.uint8)
    else:
        picture = (0.5 * base + 128).astype(np.uint8)
    picture[errors] = WRONG
    return _uri(_striped(picture, ignored), "PNG", optimize=True)


def _striped(picture: Colors, ignored: Array) -> Colors:
    """The picture with stripes where nothing is judged."""
    colors = np.array(UNJUDGED, dtype=np.uint8)[stripes(ignored.shape).astype(np.intp)]
    striped: Colors = np.where(ignored[..., None], colors, picture)
    return striped


def _uri(picture: Colors, kind: str, **options: Any) -> str:
    image_module = optional.require("PIL.Image", extra="data")
    stream = io.BytesIO()
    image_module.fromarray(np.ascontiguousarray(picture)).save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
