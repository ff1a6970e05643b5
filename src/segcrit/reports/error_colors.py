"""How maps of errors are drawn, alike in every report: wrong pixels red, those that are not judged striped."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["RIGHT", "UNJUDGED", "WRONG", "legend_style", "stripes"]

WRONG: Final = (214, 28, 96)
# What is right shows the image, which may have any colour; without an image it is nearly white.
RIGHT: Final = (245, 247, 249)
# The two colours of the stripes. A plain grey would look like a class, or like the sky of a photograph.
UNJUDGED: Final = ((112, 120, 131), (222, 226, 231))
_WIDTH: Final = 4


def stripes(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Diagonal stripes: True where the second colour is drawn.

    Example:
        >>> stripes((1, 9)).astype(int)
        array([[0, 0, 0, 0, 1, 1, 1, 1, 0]])
    """
    rows, columns = np.indices(shape, sparse=True)
    return np.asarray((rows + columns) // _WIDTH % 2 == 1, dtype=np.bool_)


def legend_style() -> str:
    """The same colours for a legend: rules for the classes ``wrong-pixel`` and ``unjudged``.

    Example:
        >>> print(legend_style().splitlines()[0])
        .wrong-pixel { background: #d61c60; }
    """
    wrong, first, second = ("#" + bytes(color).hex() for color in (WRONG, *UNJUDGED))
    return (
        f".wrong-pixel {{ background: {wrong}; }}\n"
        f".unjudged {{ background: repeating-linear-gradient(135deg, {first} 0 3px, {second} 3px 6px); }}\n"
    )
