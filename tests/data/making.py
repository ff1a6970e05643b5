"""Small data folders for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["blocks", "photo", "write_folder", "write_json", "write_png"]


def photo(size: tuple[int, int] = (12, 16), seed: int = 0, channels: int = 3) -> npt.NDArray[np.uint8]:
    """An image of random bytes, (H, W, channels), or (H, W) for one channel."""
    values = np.random.default_rng(seed).integers(0, 256, size=(*size, channels), dtype=np.uint8)
    return values[..., 0] if channels == 1 else values


def blocks(values: Sequence[int], size: tuple[int, int] = (12, 16), dtype: Any = np.uint8) -> npt.NDArray[Any]:
    """A mask of vertical stripes, one for each value."""
    columns = np.array(values)[np.arange(size[1]) * len(values) // size[1]]
    return np.broadcast_to(columns, size).astype(dtype)


def write_png(path: Path, array: npt.NDArray[Any], palette: Sequence[int] | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(list(palette))
    image.save(path, **options)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_folder(
    root: Path,
    masks: Mapping[str, npt.NDArray[Any]],
    *,
    classes: Any = None,
    splits: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """images/ and masks/ as PNG, the images random and of the masks' size."""
    for seed, (name, mask) in enumerate(masks.items()):
        write_png(root / "masks" / f"{name}.png", mask)
        write_png(root / "images" / f"{name}.png", photo(mask.shape[:2], seed))
    if classes is not None:
        write_json(root / "classes.json", classes)
    for split, names in (splits or {}).items():
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root
