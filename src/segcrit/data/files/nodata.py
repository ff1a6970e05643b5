"""What is done with the values that mask files declare as missing, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from segcrit.data.coding.mask_coding import LabelCoding
from segcrit.data.files.stored import Header

_WRITTEN_OUT = 1e12

__all__ = ["declared_values", "nodata_sentences"]


def declared_values(headers: Iterable[Header]) -> dict[str, Counter[str]]:
    """For each declared value, as text, how many files of which type declare it."""
    found: dict[str, Counter[str]] = {}
    for header in headers:
        if header.nodata is not None:
            found.setdefault(_text(header.nodata), Counter())[header.dtype] += 1
    return found


def _text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < _WRITTEN_OUT else f"{value:g}"


def nodata_sentences(headers: Iterable[Header], coding: LabelCoding, what: str, remedy: str) -> list[str]:
    """A sentence for each value that masks declare as missing.

    Args:
        headers: of the masks.
        coding: how they are read.
        what: the files, in the plural.
        remedy: what to do where a declared value that is read as a class means missing, with ``{value}``.
    """
    sentences, void = [], coding.ignore_index
    for text, types in declared_values(headers).items():
        value, files = float(text), f"{sum(types.values())} {what} declare {text} as missing (nodata)"
        unable = [name for name in types if not _can_hold(name, value)]
        label = coding.classes.get(int(value)) if math.isfinite(value) and value.is_integer() else None
        if unable:
            sentences.append(f"{files}, which their type {unable[0]} cannot hold: nothing is left out by it.")
        elif label is not None and label != void:
            sentences.append(f"{files}; it is read as class {label}. If it means no data, {remedy.format(value=text)}.")
        elif void is not None:
            sentences.append(f"{files}: such pixels are ignored.")
    return sentences


def _can_hold(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return True
    if kind.kind not in "ui":
        return value in (0, 1)
    limits = np.iinfo(kind)
    return value.is_integer() and limits.min <= value <= limits.max
