"""Small folders of label maps and predictions, and the figures that a loop over their pixels gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from segcrit.apps.evaluate.counting import run

Array = npt.NDArray[Any]


def maps(
    number: int = 7, size: tuple[int, int] = (12, 17), classes: int = 3, seed: int = 0
) -> dict[str, tuple[Array, Array]]:
    """id -> truth (with 255 here and there), prediction."""
    random = np.random.default_rng(seed)
    found = {}
    for index in range(number):
        truth = random.integers(0, classes, size).astype(np.uint8)
        guess = np.where(random.random(size) < 0.3, random.integers(0, classes, size), truth).astype(np.uint8)
        truth[random.random(size) < 0.1] = 255
        found[f"image{index:02d}"] = truth, guess
    return found


def save_png(path: Path, array: Array, palette: list[tuple[int, int, int]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette([part for color in palette for part in color])
    image.save(path)


def folders(root: Path, content: dict[str, tuple[Array, Array]]) -> tuple[str, str]:
    """Write both folders; returns predictions, truth."""
    for name, (truth, guess) in content.items():
        save_png(root / "truth" / f"{name}.png", truth)
        save_png(root / "guess" / f"{name}.png", guess)
    return str(root / "guess"), str(root / "truth")


def slow_confusion(content: dict[str, tuple[Array, Array]], classes: int = 3) -> Array:
    """Pairs of true and predicted class, pixel by pixel."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for truth, guess in content.values():
        for true, predicted in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if true != 255:
                matrix[true, predicted] += 1
    return matrix


def slow_miou(matrix: Array) -> float:
    values = []
    for index in range(len(matrix)):
        union = matrix[index].sum() + matrix[:, index].sum() - matrix[index, index]
        if union:
            values.append(matrix[index, index] / union)
    return float(np.mean(values))


@contextmanager
def stopped_after(number: int) -> Iterator[None]:
    """Ctrl-C comes when so many images have been counted."""
    original = run.rows_of

    def some(pairs: Any, plan: Any, workers: int) -> Any:
        for place, row in enumerate(original(pairs, plan, 1)):
            if place == number:
                raise KeyboardInterrupt
            yield row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "rows_of", some)
        yield
