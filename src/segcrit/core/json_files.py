"""JSON of files: read as data, and made into dataclasses with an error that names the place.

Floats that JSON cannot hold are written so that any JSON reader accepts the file: NaN as ``null``, infinities
as the strings ``"inf"`` and ``"-inf"``. A field ``float | None`` reads both None and NaN back as None. Arrays become
nested lists.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

from segcrit.core import atomic
from segcrit.core.errors import DataError, DtypeError

__all__ = ["Record", "damaged", "decode", "encode", "floats", "parse_json", "read_json"]

_DAMAGED: Final = "damaged-file"
_RESTORE: Final = "The file is damaged or was edited; run the comparison again, or restore the file."

T = TypeVar("T")


class Record:
    """Base of the records: equality by content, where arrays compare by element and NaN equals NaN."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and bool(encode(self) == encode(other))

    def __hash__(self) -> int:
        return hash((type(self), _frozen(encode(self))))


def encode(value: object) -> Any:
    """The JSON value of a dataclass, an array, or a plain value made of them.

    Example:
        >>> encode({"a": np.array([0.5, np.nan, np.inf]), "b": np.int64(3)})
        {'a': [0.5, None, 'inf'], 'b': 3}
    """
    writer = getattr(value, "to_json_value", None)
    if writer is not None:
        return writer()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        # Whole numbers, by far the most, need no look at each.
        return value.tolist() if value.dtype.kind in "biu" else encode(value.tolist())
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    raise DtypeError(
        "a record, a number, a text, or lists and dictionaries of them",
        f"a {type(value).__name__}",
        "Store it as a number, a list or a text.",
    )


def floats(values: Any) -> npt.NDArray[np.float64]:
    """An array of float64 from what :func:`encode` made of one.

    Example:
        >>> floats([[0.5, None], ["-inf", 2]])
        array([[ 0.5,  nan],
               [-inf,  2. ]])
    """
    array = np.asarray(values, dtype=object)
    unknown = np.frompyfunc(lambda value: value is None, 1, 1)(array).astype(bool)
    result: npt.NDArray[np.float64] = np.where(unknown, np.nan, array).astype(np.float64)
    return result


def _frozen(value: Any) -> Any:
    """A JSON value as something hashable, equal where the values are equal."""
    if isinstance(value, dict):
        return tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def read_json(path: Path, what: str = "JSON", advice: str = _RESTORE) -> Any:
    """The value of a JSON file.

    Args:
        path: of the file.
        what: it should be, for the error.
        advice: for the error.

    Raises:
        FileNotFoundError, PermissionError: it cannot be opened.
        DataError: it is no regular file, or not JSON in an encoding of ``read_text``; its code is ``"damaged-file"``.
    """
    with atomic.open_regular(path) as stream:
        text = atomic.decode_text(stream.read())
    if text is None:
        raise damaged(f"{what} in {path}", "bytes that are not text", advice)
    return parse_json(text, f"{what} in {path}", advice)


def parse_json(text: str, what: str, advice: str = _RESTORE) -> Any:
    """The value of a JSON text.

    Raises:
        DataError: it is not JSON, nested too deeply, or holds half a character, which no file or terminal takes.

    Example:
        >>> parse_json('{"a": [1, 2]}', "numbers")
        {'a': [1, 2]}
    """
    try:
        value = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # two halves make a character, one does not
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise damaged(what, f"text that is not JSON ({reason})", advice) from error
    return value


def decode(kind: type[T], value: object, place: str, *, advice: str = _RESTORE) -> T:
    """Build an object of the (dataclass or plain) type ``kind`` from a JSON value.

    Fields that have a default may be missing and unknown fields are skipped, so that a file of the same
    schema version stays readable when a field is added.

    Raises:
        DataError: the value does not fit; the message names the field and ends in ``advice``.
    """
    try:
        return cast(T, _decode(kind, value, place))
    except DataError as error:
        if error.code != _DAMAGED:
            raise
        raise damaged(error.expected, error.got, advice) from None


def damaged(expected: str, got: str, advice: str = _RESTORE) -> DataError:
    """The error of a file that is not what segcrit wrote."""
    return DataError(expected, got, advice, code=_DAMAGED)


def _refuse(place: str, expected: str, value: object) -> DataError:
    shown = repr(value)
    return damaged(f"{expected} in the field {place!r}", shown if len(shown) <= 60 else shown[:57] + "...")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, value: object, place: str) -> object:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kinds = [item for item in arguments if item is not type(None)]
        for kind in kinds[:-1]:
            try:
                return _decode(kind, value, place)
            except DataError:
                continue
        return _decode(kinds[-1], value, place)
    if origin is typing.Literal:
        if not isinstance(value, (str, int)) or value not in arguments:
            raise _refuse(place, "one of " + ", ".join(map(repr, arguments)), value)
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise _refuse(place, "an object", value)
        return {key: _decode(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is np.ndarray or origin is np.ndarray:
        return _decode_array(value, place)
    if dataclasses.is_dataclass(kind):
        return _decode_record(cast(type, kind), value, place)
    return _decode_scalar(kind, value, place)


def _decode_scalar(kind: Any, value: object, place: str) -> object:
    if kind is float:
        if value is None:
            return math.nan
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if value in ("inf", "-inf"):
            return float(value)
        raise _refuse(place, "a number", value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    raise _refuse(place, {int: "an integer", bool: "true or false", str: "a text"}[kind], value)


def _decode_tuple(arguments: tuple[Any, ...], value: object, place: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _refuse(place, "a list", value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], item, f"{place}[{k}]") for k, item in enumerate(value))
    if len(value) != len(arguments):
        raise _refuse(place, f"a list of {len(arguments)} values", value)
    return tuple(
        _decode(kind, item, f"{place}[{k}]") for k, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def _decode_array(value: object, place: str) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise _refuse(place, "a rectangular table of integers", value) from None
    if not isinstance(value, list) or (array.size and array.dtype.kind not in "iu"):
        raise _refuse(place, "a rectangular table of integers", value)
    return array.astype(np.int64)


def _decode_record(kind: type, value: object, place: str) -> object:
    if not isinstance(value, dict):
        raise _refuse(place, "an object", value)
    reader = getattr(kind, "from_json_value", None)
    if reader is not None:
        return reader(value, place)
    hints = _hints(kind)
    content: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            content[field.name] = _decode(hints[field.name], value[field.name], f"{place}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise damaged(f"the field {place + '.' + field.name!r}", "a file without it")
    return kind(**content)
