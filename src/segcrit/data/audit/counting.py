"""Pixels of each label, from the counts of stored values: masks are read once, whatever is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrit.core.errors import DataError
from segcrit.data.audit.survey import damaged
from segcrit.data.coding.mask_coding import LabelCoding, StoredMask
from segcrit.data.problems import FolderError
from segcrit.data.scanning import MaskValues, Scanner

__all__ = ["class_pixels", "decoded_counts"]


def class_pixels(
    coding: LabelCoding, num_classes: int, paths: Sequence[Path], scanner: Scanner
) -> npt.NDArray[np.int64]:
    """Pixels of each class in each mask, ``(masks, classes)``, without reading a mask twice.

    Raises:
        FolderError: masks are damaged.
        DataError: a mask holds a value that is no class.
    """
    scan = scanner.mask_values(paths)
    if scan.errors:
        raise FolderError([damaged(scan.errors)])
    result = np.zeros((len(paths), num_classes), dtype=np.int64)
    for row, path in enumerate(paths):
        for label, pixels in decoded_counts(scan.found[path], coding, path).items():
            if 0 <= label < num_classes:
                result[row, label] += pixels
    return result


def decoded_counts(values: MaskValues, coding: LabelCoding, path: Path | None = None) -> dict[int, int]:
    """Pixels of each label, ignored ones included, from the counts of stored values.

    Raises:
        DataError: a value is no class; its pixels are counted in the message.
    """
    keys = list(values.counts)
    array: npt.NDArray[Any]
    if values.is_color:
        array = np.array([[key >> 16, key >> 8 & 255, key & 255] for key in keys], dtype=np.uint8).reshape(-1, 1, 3)
    else:
        array = np.array(keys, dtype=np.int64).reshape(-1, 1)
    counts: dict[int, int] = {}
    try:
        labels = coding.decode(
            StoredMask(array, values.is_color, values.palette, values.mode, nodata=values.nodata), path
        )
    except DataError as error:
        unknown = {key: pixels for key, pixels in values.counts.items() if key not in coding.table}
        raise (error if values.is_color else coding.unknown_error(unknown, path)) from None
    for label, pixels in zip(labels.ravel().tolist(), values.counts.values(), strict=True):
        counts[label] = counts.get(label, 0) + pixels
    return counts
