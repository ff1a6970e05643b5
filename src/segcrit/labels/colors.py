"""Colours for classes: well-known sets, and one that colour-blind readers can tell apart."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["NAMED_COLORS", "Color", "distinct_colors"]

Color: TypeAlias = tuple[int, int, int]
_Floats: TypeAlias = npt.NDArray[np.float64]

# Okabe and Ito, "Color Universal Design" (2008), without their black, which reads as "nothing here".
_OKABE_ITO: Final[tuple[Color, ...]] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
)
# Never given to a class, and kept away from: they mean "no label", paper and print.
_RESERVED: Final[tuple[Color, ...]] = ((0, 0, 0), (255, 255, 255), (128, 128, 128))

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# IEEE TVCG 2009, severity 1.0, on linear RGB: protanopia and deuteranopia, 8 % of men together with their
# mild forms.
_PROTANOPIA: Final = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPIA: Final = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
# IEC 61966-2-1: linear sRGB to XYZ, and the D65 white point that its rows add up to.
_XYZ: Final = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)


def _appearance(colors: npt.NDArray[Any]) -> tuple[_Floats, ...]:
    """CIELAB coordinates (n, 3) of sRGB colours as seen with normal vision, protanopia and deuteranopia."""
    value = np.asarray(colors, dtype=np.float64) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    views = []
    for deficiency in (np.eye(3), np.array(_PROTANOPIA), np.array(_DEUTERANOPIA)):
        seen = np.clip(linear @ deficiency.T, 0.0, 1.0)
        to_xyz = np.array(_XYZ)
        ratio = seen @ to_xyz.T / to_xyz.sum(axis=1)
        # CIE 1976, with the linear part near black: delta = 6/29.
        root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
        x, y, z = root[:, 0], root[:, 1], root[:, 2]
        views.append(np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1))
    return tuple(views)


def _distance(views: tuple[_Floats, ...], others: tuple[_Floats, ...]) -> _Floats:
    """Distance of each colour to one other: with normal vision, or 1.5 times that with deficient, if smaller.

    With factor 1 the choice runs along blue to yellow and dark to light only, and every reader loses.
    """
    normal, *deficient = (np.sqrt(((view - other) ** 2).sum(axis=1)) for view, other in zip(views, others, strict=True))
    distances = [normal, *(1.5 * distance for distance in deficient)]
    smallest: _Floats = np.minimum.reduce(distances)
    # Rounded, so that ties fall to the first candidate on every machine.
    rounded: _Floats = smallest.round(6)
    return rounded


@lru_cache(maxsize=8)
def distinct_colors(number: int) -> tuple[Color, ...]:
    """The first ``number`` of 256 colours that stay apart, for colour-blind readers too.

    The first seven are Okabe and Ito's. Each further one is, among 15³ evenly spaced RGB colours, the one of
    lightness 25 to 92 whose smallest CIELAB distance to all colours before it, and to black, white and grey,
    is largest; protanopia and deuteranopia have a say in that distance. So a longer list starts with the
    shorter one, and class 3 has the same colour whatever the number of classes.

    Example:
        >>> distinct_colors(2)
        ((0, 114, 178), (230, 159, 0))
    """
    if number <= len(_OKABE_ITO):
        return _OKABE_ITO[:number]
    level = np.round(np.linspace(0, 255, 15)).astype(np.int64)
    candidates = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    views = _appearance(candidates)
    # Near black and near white are hard to name, and vanish in a picture's shadows or on paper.
    lightness = views[0][:, 0]
    candidates = candidates[(lightness >= 25) & (lightness <= 92)]
    views = _appearance(candidates)
    taken: list[Color] = [*_RESERVED, *_OKABE_ITO]
    nearest = np.full(len(candidates), np.inf)
    for color in taken:
        nearest = np.minimum(nearest, _distance(views, _appearance(np.array([color]))))
    while len(taken) < len(_RESERVED) + number:
        choice = int(nearest.argmax())
        red, green, blue = (int(part) for part in candidates[choice])
        taken.append((red, green, blue))
        nearest = np.minimum(nearest, _distance(views, tuple(view[choice : choice + 1] for view in views)))
    return tuple(taken[len(_RESERVED) :])


def _voc_colors(number: int) -> tuple[Color, ...]:
    """PASCAL VOC's colour map: the bits of the index in threes fill the channels from their highest bit."""
    colors = []
    for index in range(number):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> (3 * bit) & 1) << (7 - bit)
            green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
        colors.append((red, green, blue))
    return tuple(colors)


_VOC_NAMES: Final = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining_table", "dog", "horse", "motorbike", "person", "potted_plant", "sheep", "sofa", "train"),
    "tv_monitor",
)

_CITYSCAPES: Final[dict[str, Color]] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic_light": (250, 170, 30),
    "traffic_sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}

# The 11 classes of SegNet's CamVid (Badrinarayanan et al., 2017), in its order.
_CAMVID: Final[dict[str, Color]] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

# Name -> (class name -> colour, colour of ignored pixels as the data set paints them).
NAMED_COLORS: Final[dict[str, tuple[dict[str, Color], Color]]] = {
    "camvid": (_CAMVID, (0, 0, 0)),
    "cityscapes": (_CITYSCAPES, (0, 0, 0)),
    "voc": (dict(zip(_VOC_NAMES, _voc_colors(21), strict=True)), (224, 224, 192)),
}
