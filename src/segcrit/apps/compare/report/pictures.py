"""The example pictures of a run as data URIs: labels in the colours of the legend, and maps of the errors."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segcrit.apps.compare.records import ClassEntry
from segcrit.core import optional
from segcrit.core.atomic import open_regular
from segcrit.core.errors import DataError
from segcrit.reports.error_colors import UNJUDGED, WRONG, stripes

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IGNORED", "error_uri", "label_uri", "photo_uri", "read_labels"]

# Value of a true label picture where nothing is judged.
IGNORED = 255
# A picture is shown at most about 360 CSS pixels wide; more would only make the file larger.
_LONGEST = 448


def _open(path: Path) -> Image.Image:
    image_module = optional.require("PIL.Image", extra="compare")
    damage = (OSError, ValueError, SyntaxError, image_module.DecompressionBombError)  # chunks of PNG: SyntaxError
    try:
        # What was written here, and no format of Pillow's that starts another program, as EPS does.
        with open_regular(path) as stream, image_module.open(stream, formats=("PNG",)) as picture:
            picture.load()
            return picture.copy()  # type: ignore[no-any-return]
    except DataError:
        raise
    except damage as error:
        raise DataError(f"a picture at {path}", str(error), "Restore the file, or run the comparison again.") from None


def _shrink(picture: Image.Image, *, labels: bool) -> Image.Image:
    image_module = optional.require("PIL.Image", extra="compare")
    longest = max(picture.size)
    if longest <= _LONGEST:
        return picture
    size = tuple(max(1, round(length * _LONGEST / longest)) for length in picture.size)
    # Class numbers must not be averaged.
    method = image_module.Resampling.NEAREST if labels else image_module.Resampling.BOX
    return picture.resize(size, method)  # type: ignore[arg-type]


def _enlarged(picture: Image.Image) -> Image.Image:
    """A small picture, such as a slice of a volume, with its pixels as squares: a browser would blur them."""
    factor = _LONGEST // max(picture.size)
    if factor < 2:
        return picture
    return picture.resize((picture.width * factor, picture.height * factor), _nearest())


def _nearest() -> Any:
    return optional.require("PIL.Image", extra="compare").Resampling.NEAREST


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def photo_uri(path: Path) -> str:
    """The image itself: a JPEG of about the size that is shown."""
    picture = _enlarged(_shrink(_open(path).convert("RGB"), labels=False))
    return _uri(picture, "JPEG", quality=86)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """A label picture as class numbers.

    Raises:
        DataError: the file is missing, damaged, or has several channels.
    """
    picture = _open(path)
    if picture.mode not in ("L", "P"):
        raise DataError(
            f"a label picture with one 8-bit channel at {path}", f"the mode {picture.mode}", "Run the comparison again."
        )
    return np.asarray(_shrink(picture, labels=True), dtype=np.uint8)


def label_uri(labels: NDArray[np.uint8], classes: Sequence[ClassEntry]) -> str:
    """Labels in the colours of their classes; what is not judged is striped, as in the maps of errors."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    for entry in classes[:256]:
        palette[entry.index] = _rgb(entry.color)
    if len(classes) < IGNORED:
        palette[IGNORED - 1], palette[IGNORED] = UNJUDGED
        second = (labels == IGNORED) & ~stripes(labels.shape)
        labels = np.where(second, np.uint8(IGNORED - 1), labels)
    elif len(classes) == IGNORED:
        palette[IGNORED] = UNJUDGED[0]  # no number is left for a second colour
    return _palette_uri(labels, palette, transparent=None)


def error_uri(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> str:
    """Wrong pixels in one strong colour, right ones transparent, ignored ones striped."""
    codes = np.where(truth == IGNORED, 2 + stripes(truth.shape), truth != predicted).astype(np.uint8)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[1], palette[2:4] = WRONG, UNJUDGED
    return _palette_uri(codes, palette, transparent=0)


def _palette_uri(labels: NDArray[np.uint8], palette: NDArray[np.uint8], *, transparent: int | None) -> str:
    image_module = optional.require("PIL.Image", extra="compare")
    indexed = image_module.fromarray(labels)
    indexed.putpalette(palette.tobytes())
    options = {} if transparent is None else {"transparency": transparent}
    return _uri(indexed, "PNG", optimize=True, **options)


def _rgb(color: str) -> tuple[int, int, int]:
    try:
        red, green, blue = bytes.fromhex(color.removeprefix("#"))
    except ValueError:
        return 128, 128, 128
    return red, green, blue
