"""Labels to colours and back, for colour masks, palette images and pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from segcrit.core.errors import DataError, LabelError, ParameterError, ShapeError
from segcrit.core.optional import require
from segcrit.labels.class_list import Entry, as_color, entries_of, fill_colors, read_classes, split_classes
from segcrit.labels.color_decoding import decode
from segcrit.labels.colors import NAMED_COLORS, Color, distinct_colors
from segcrit.labels.label_maps import Labels, as_label_tensor, check_classes, check_num_classes
from segcrit.labels.mask import is_label
from segcrit.labels.palette_images import PNG_ENTRIES, class_colors, colors_decide, image_palette, palette_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Palette"]

# Tried in this order for ignored pixels: black, PASCAL VOC's cream, white, grey, magenta.
_IGNORE_COLORS: tuple[Color, ...] = (
    (0, 0, 0),
    (224, 224, 192),
    (255, 255, 255),
    (128, 128, 128),
    (255, 0, 255),
)


@dataclass(frozen=True, init=False)
class Palette:
    """One colour and one name for every class, and a colour for ignored pixels.

    Build it from colours, or with :meth:`default`, :meth:`named`, :meth:`from_classes`, :meth:`from_json` or
    :meth:`from_image`. It is immutable, hashable, and compares by value.

    Args:
        colors: one colour a class, as three numbers 0 … 255 or as ``"#rrggbb"``.
        names: one name a class; ``"class 0"`` and so on if left out.
        ignore_index: the label of pixels without a class, or None if there is none. 255, the usual void of
            8-bit masks, is the default.
        ignore_color: its colour. By default the first of black, PASCAL VOC's cream (224, 224, 192), white,
            grey and magenta that no class has.

    Attributes:
        colors: tuple of (red, green, blue).
        names: tuple of str.
        ignore_index: int or None.
        ignore_color: (red, green, blue).

    Raises:
        ParameterError: a colour cannot be read, numbers of names and colours differ, or ``ignore_index`` is a
            class.

    Example:
        >>> import numpy as np
        >>> palette = Palette([(0, 0, 255), "#ff0000"], names=["sea", "land"])
        >>> palette.encode(np.array([[0, 1, 255]])).tolist()
        [[[0, 0, 255], [255, 0, 0], [0, 0, 0]]]
        >>> palette.decode(palette.encode(np.array([[0, 1, 255]]))).tolist()
        [[0, 1, 255]]
    """

    colors: tuple[Color, ...]
    names: tuple[str, ...]
    ignore_index: int | None
    ignore_color: Color

    def __init__(
        self,
        colors: Iterable[Sequence[int] | str] | npt.NDArray[Any],
        *,
        names: Iterable[str] | None = None,
        ignore_index: int | None = 255,
        ignore_color: Sequence[int] | str | None = None,
    ) -> None:
        own_colors = tuple(as_color(color) for color in colors)
        if not own_colors:
            raise ParameterError("a palette of at least one colour", "no colour", "Pass one colour a class.")
        own_names = tuple(f"class {index}" for index in range(len(own_colors)))
        if names is not None:
            own_names = tuple(str(name) for name in names)
        if len(own_names) != len(own_colors):
            raise ParameterError(
                f"as many names as colours ({len(own_colors)})",
                f"{len(own_names)} names",
                "Name every class.",
            )
        if ignore_index is not None and 0 <= ignore_index < len(own_colors):
            raise ParameterError(
                f"an ignore_index outside the classes 0 to {len(own_colors) - 1}",
                str(ignore_index),
                "Pass ignore_index=None if no label is ignored.",
            )
        if ignore_color is None:
            free = (color for color in _IGNORE_COLORS if color not in own_colors)
            own_ignore_color = next(free, _IGNORE_COLORS[0])
        else:
            own_ignore_color = as_color(ignore_color)
        object.__setattr__(self, "colors", own_colors)
        object.__setattr__(self, "names", own_names)
        object.__setattr__(self, "ignore_index", None if ignore_index is None else int(ignore_index))
        object.__setattr__(self, "ignore_color", own_ignore_color)

    @classmethod
    def default(
        cls, num_classes: int, *, names: Iterable[str] | None = None, ignore_index: int | None = 255
    ) -> Palette:
        """Colours that stay apart, for colour-blind readers too, and that do not depend on ``num_classes``.

        The first seven are those of Okabe and Ito (2008); further ones are chosen as far as possible from all
        before them in CIELAB, under normal vision, protanopia and deuteranopia. Black, white and grey are
        left free: ignored pixels are black.

        Args:
            num_classes: 1 … 256. With 256, label 255 is a class, and the default ``ignore_index`` becomes
                None.
            names: one name a class.
            ignore_index: the label of pixels without a class, or None.

        Example:
            >>> Palette.default(3).hex_colors
            ('#0072b2', '#e69f00', '#009e73')
        """
        check_num_classes(num_classes)
        if num_classes > PNG_ENTRIES:
            raise ParameterError(
                f"at most {PNG_ENTRIES} classes", str(num_classes), "Build a Palette from your own colours."
            )
        void = ignore_index
        if num_classes == PNG_ENTRIES and void == PNG_ENTRIES - 1:
            void = None
        return cls(distinct_colors(num_classes), names=names, ignore_index=void)

    @classmethod
    def named(cls, name: str) -> Palette:
        """The classes and colours of a well-known data set, ignored label 255.

        Args:
            name: ``"voc"`` (PASCAL VOC, 21 classes), ``"cityscapes"`` (19 training classes) or ``"camvid"``
                (the 11 classes of SegNet).

        Example:
            >>> Palette.named("cityscapes").names[:3]
            ('road', 'sidewalk', 'building')
        """
        if name not in NAMED_COLORS:
            known = ", ".join(repr(known) for known in sorted(NAMED_COLORS))
            raise ParameterError(f"one of {known}", repr(name), "Build a Palette from your own colours.")
        classes, ignore_color = NAMED_COLORS[name]
        return cls(classes.values(), names=classes, ignore_color=ignore_color)

    @classmethod
    def from_classes(
        cls,
        classes: Iterable[Any],
        *,
        ignore_index: int | None = 255,
        ignore_color: Sequence[int] | str | None = None,
    ) -> Palette:
        """A palette from class descriptions.

        Args:
            classes: for each class a name, a pair (name, colour), a mapping with ``"name"`` and optionally
                ``"index"`` and ``"color"``, or an object with such attributes. Without indices the order
                counts; a class without a colour gets one of :meth:`default` that no other class has.
            ignore_index: the label of pixels without a class, or None; a class with this index gives the name
                and colour of ignored pixels and is not counted.
            ignore_color: the colour of ignored pixels.

        Raises:
            ParameterError: indices are not 0, 1, … without gaps.

        Example:
            >>> Palette.from_classes([("sea", (0, 0, 255)), "land"]).colors
            ((0, 0, 255), (0, 114, 178))
        """
        return cls._from_entries(entries_of(classes), ignore_index, ignore_color)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Palette:
        """A palette from a ``classes.json``.

        It holds ``{"ignore_index": 255, "classes": [{"index": 0, "name": "sea", "color": [0, 0, 255]}, …]}``.
        A file without ``ignore_index`` has 255, one that says ``null`` has none.

        Raises:
            DataError: the file is missing, is not JSON, or describes no classes.
        """
        entries, ignore_index = read_classes(path)
        try:
            return cls._from_entries(entries, ignore_index, None)
        except ParameterError as error:
            raise DataError(
                error.expected, f"{error.got} in {os.fspath(path)}", error.advice, code=error.code
            ) from error

    @classmethod
    def _from_entries(
        cls, entries: Sequence[Entry], ignore_index: int | None, ignore_color: Sequence[int] | str | None
    ) -> Palette:
        classes, ignored = split_classes(entries, ignore_index)
        if ignored is not None and ignore_color is None:
            ignore_color = ignored.color
        taken = [] if ignore_color is None else [as_color(ignore_color)]
        return cls(
            fill_colors(classes, taken),
            names=[entry.name for entry in classes],
            ignore_index=ignore_index,
            ignore_color=ignore_color,
        )

    @classmethod
    def from_image(cls, image: Image, num_classes: int | None = None, *, ignore_index: int | None = 255) -> Palette:
        """The palette that a palette-mode image carries; most annotation tools write such images.

        Args:
            image: a PIL image of mode "P".
            num_classes: how many entries are classes; by default those up to the highest label in the image,
                the ignored one apart.
            ignore_index: the label of pixels without a class, or None. Its entry gives the ignore colour.

        Raises:
            DataError: the image has no palette, or fewer entries than asked for.
        """
        colors, ignore_color = class_colors(image, num_classes, ignore_index)
        return cls(colors, ignore_index=ignore_index, ignore_color=ignore_color)

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.colors)

    def __iter__(self) -> Iterator[Color]:
        return iter(self.colors)

    def __getitem__(self, label: int) -> Color:
        """Colour of a label, the ignored one included."""
        by_label: dict[int | None, Color] = {self.ignore_index: self.ignore_color, **dict(enumerate(self))}
        if label not in by_label:
            raise LabelError(f"a label from 0 to {len(self) - 1}", str(label), "Build a larger palette.")
        return by_label[label]

    @property
    def num_classes(self) -> int:
        """Number of classes, the ignored label not counted."""
        return len(self.colors)

    @property
    def hex_colors(self) -> tuple[str, ...]:
        """The class colours as ``"#rrggbb"``."""
        return tuple("#{:02x}{:02x}{:02x}".format(*color) for color in self.colors)

    def encode(self, labels: Labels) -> npt.NDArray[np.uint8]:
        """Labels as colours.

        Args:
            labels: class indices of any shape (*S); a tensor or array of any integer type.

        Returns:
            A new uint8 array of shape (*S, 3).

        Raises:
            LabelError: a label is neither a class nor ``ignore_index``.
        """
        table = np.array([*self.colors, self.ignore_color], dtype=np.uint8)
        rgb: npt.NDArray[np.uint8] = table[self._entry_numbers(labels, self.num_classes)]
        return rgb

    def decode(self, rgb: npt.ArrayLike, *, tolerance: float = 0.0) -> npt.NDArray[Any]:
        """Colours as labels: the inverse of :meth:`encode`.

        Args:
            rgb: uint8 colours of shape (*S, 3), or (*S, 4) if every pixel is opaque.
            tolerance: a colour that is no class's counts as the nearest class's if their Euclidean distance
                in RGB is at most this. 0 (default) takes exact colours only. Around 32 rescues masks that
                were saved as JPEG, except at borders, where colours mix.

        Returns:
            Labels of shape (*S): uint8 if the classes and ``ignore_index`` fit, int64 otherwise.

        Raises:
            LabelError: unknown colours; the message names them, their pixels, and the nearest class.
            ParameterError: two classes share a colour, so that it cannot be read back.
        """
        return decode(rgb, self.colors, self.names, self.ignore_index, self.ignore_color, tolerance)

    def to_image(self, labels: Labels) -> Image:
        """Labels as a PIL image of mode "P": its pixels are the labels, its palette the class colours.

        Any viewer shows the colours, any reader of label masks reads the indices. An ``ignore_index`` outside
        0 … 255, such as -100, is stored as 255; :meth:`labels_from_image` turns it back.

        Args:
            labels: class indices of shape (H, W).

        Raises:
            LabelError: a label is neither a class nor ``ignore_index``.
            ShapeError: ``labels`` is not two-dimensional.
            ParameterError: the palette has more than 256 entries.
        """
        pil = require("PIL.Image", extra="data")
        entries = self.png_palette()
        if len(labels.shape) != 2:
            raise ShapeError("labels of shape (H, W)", f"shape {tuple(labels.shape)}", "Pass one image.")
        image: Image = pil.fromarray(self._entry_numbers(labels, self._stored_ignore()).astype(np.uint8))
        # Mode "L" becomes mode "P" in place when a palette is put on it.
        image.putpalette(entries)
        return image

    def labels_from_image(self, image: Image) -> npt.NDArray[Any]:
        """Labels of a mask image in any of the three usual codings.

        - palette image: the indices are the labels, unless the colours that occur are those of this palette
          in another order: then the colours decide, because image editors reorder the entries when they save;
        - grey image: the grey values are the labels;
        - colour image: :meth:`decode`.

        Args:
            image: a PIL image.

        Raises:
            LabelError: a label or colour is not known.
        """
        if image.mode == "P":
            if self._by_color(image):
                return self.decode(palette_pixels(image))
        elif image.mode in ("RGB", "RGBA"):
            return self.decode(np.asarray(image))
        labels = as_label_tensor(np.asarray(image))
        stored = self._stored_ignore()
        if stored is not None and self.ignore_index is not None:
            labels = labels.to(torch.int64).masked_fill_(is_label(labels, stored), self.ignore_index)
        check_classes(labels, self.num_classes, self.ignore_index, "labels in the image")
        return labels.numpy()

    def _by_color(self, image: Image) -> bool:
        stored = self._stored_ignore()
        places = {color: [label] for label, color in enumerate(self)}
        if stored is not None:
            places[self.ignore_color] = [stored]
        different = len(places) == len(self) + (stored is not None)
        return different and colors_decide(np.unique(np.asarray(image)), image_palette(image), places)

    def png_palette(self) -> list[int]:
        """The 768 numbers that ``Image.putpalette`` takes: class colours, black, the ignore colour."""
        stored = self._stored_ignore()
        if max(self.num_classes - 1, stored or 0) >= PNG_ENTRIES:
            raise ParameterError(
                f"at most {PNG_ENTRIES} labels in a palette image, the ignored one included",
                f"{self.num_classes} classes and ignore_index {self.ignore_index}",
                "Save such labels as 16-bit PNG or .npy.",
            )
        entries = np.zeros((PNG_ENTRIES, 3), dtype=np.uint8)
        entries[: self.num_classes] = self.colors
        if stored is not None:
            entries[stored] = self.ignore_color
        return [int(value) for value in entries.reshape(-1)]

    def _stored_ignore(self) -> int | None:
        """The palette entry of ignored pixels: their label, or the last entry if their label is no entry."""
        if self.ignore_index is None or 0 <= self.ignore_index < PNG_ENTRIES:
            return self.ignore_index
        return max(PNG_ENTRIES - 1, self.num_classes)

    def _entry_numbers(self, labels: Labels, ignore_entry: int | None) -> npt.NDArray[Any]:
        """Labels as checked indices, ignored pixels as ``ignore_entry``."""
        tensor = as_label_tensor(labels)
        check_classes(tensor, self.num_classes, self.ignore_index)
        array: npt.NDArray[Any] = tensor.cpu().numpy()
        if self.ignore_index is None or ignore_entry is None:
            return array
        ignored = is_label(tensor, self.ignore_index).cpu().numpy()
        if not ignored.any():
            return array
        entries = array.astype(np.promote_types(array.dtype, np.min_scalar_type(ignore_entry)))
        entries[ignored] = ignore_entry
        return entries
