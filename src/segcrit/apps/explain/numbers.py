"""Numbers as people type them on a shell, read into a small problem: logits, target, task.

Two notations are understood. Text: numbers of one pixel separated by blanks or commas, pixels by ``;`` or ``/``;
labels of an image as its rows. JSON: nested lists in PyTorch's order, as ``tensor.tolist()`` prints them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segcrit.apps.explain.steps import Array, Layout
from segcrit.core.constants import TASKS, Task
from segcrit.core.errors import ParameterError, ShapeError

__all__ = ["IGNORE_WORDS", "Numbers", "Problem", "make_problem", "read_numbers"]

Source = Literal["logits", "probabilities"]

IGNORE_WORDS = ("?", "ignore")
MAX_PIXELS = 256
MAX_CLASSES = 32

# A probability of 0 or 1 has no finite logit; the nearest that float64 tells apart from it comfortably.
SMALLEST_PROBABILITY = 1e-12
# Rounded probabilities such as 0.33 0.33 0.33 do not sum to 1 exactly; further off is a mistake.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class Numbers:
    """Nested numbers as they were written.

    Attributes:
        values: array of the written shape.
        from_json: whether they were a JSON list (PyTorch's order) or text (one row a pixel, or a row of the image).
    """

    values: Array
    from_json: bool


@dataclass(frozen=True)
class Problem:
    """A few pixels and what is known about them.

    Attributes:
        task: ``"multiclass"``, ``"multilabel"`` or ``"binary"``.
        logits: (pixels, classes); one class in binary tasks.
        target: (pixels,) labels, or (pixels, classes) one-hot, soft or multilabel.
        layout: where the pixels lie.
        source: what was given.
        ignore_index: label that does not count.
        class_names: one a class or channel.
        notes: remarks on how the numbers were read.
    """

    task: Task
    logits: Array
    target: Array
    layout: Layout
    source: Source
    ignore_index: int
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes or channels."""
        return int(self.logits.shape[1])


def read_numbers(text: str, what: str, *, ignore_index: int | None = None) -> Numbers:
    """Read numbers from text or from a JSON list.

    Args:
        text: ``"0.3 0.6 0.1"``, ``"0.3,0.6,0.1; 0.2,0.2,0.6"``, ``"0 1 / 1 0"`` or ``"[[0.3, 0.6, 0.1]]"``.
        what: name of the option, for the error.
        ignore_index: value of the words ``?`` and ``ignore``; None where they make no sense.

    Raises:
        ParameterError: not numbers, not finite, or rows of different lengths.

    Example:
        >>> read_numbers("0.3 0.6 0.1", "--probs").values.tolist()
        [[0.3, 0.6, 0.1]]
        >>> read_numbers("0 1 / ? 0", "--labels", ignore_index=255).values.tolist()
        [[0.0, 1.0], [255.0, 0.0]]
    """
    stripped = text.strip()
    if stripped.startswith("["):
        return Numbers(_read_json(stripped, what), from_json=True)
    rows = [row for row in re.split(r"[;/\n]", stripped) if row.strip()]
    if not rows:
        raise ParameterError(
            f"numbers in {what}", "an empty text", f"Write for example {what} '0.3 0.6 0.1 / 0.2 0.2 0.6'."
        )
    values = [[_read_word(word, what, ignore_index) for word in re.split(r"[\s,]+", row.strip(" \t,"))] for row in rows]
    lengths = [len(row) for row in values]
    if len(set(lengths)) > 1:
        odd = next(index for index, length in enumerate(lengths) if length != lengths[0])
        raise ShapeError(
            f"rows of equal length in {what}",
            f"{lengths[0]} numbers in the first row and {lengths[odd]} in row {odd + 1}",
            "Separate the numbers of a row by blanks and the rows by '/' or ';'.",
        )
    return Numbers(np.array(values, dtype=np.float64), from_json=False)


def _read_word(word: str, what: str, ignore_index: int | None) -> float:
    if ignore_index is not None and word.lower() in IGNORE_WORDS:
        return float(ignore_index)
    try:
        value = float(word.replace("−", "-"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in word:
        hint = "Separate numbers by blanks or commas and pixels by '/' or ';'."
        if ignore_index is not None:
            hint += " Write ? for a pixel without a label."
        raise ParameterError(f"finite numbers in {what}", repr(word), hint)
    return value


def _read_json(text: str, what: str) -> Array:
    advice = "Write nested lists of numbers in PyTorch's order, as tensor.tolist() prints them."
    try:
        parsed = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise ParameterError(f"a JSON list of numbers in {what}", f"text that is none{place}", advice) from error
    shape = _json_shape(parsed, what, 0)
    try:
        values = np.array(parsed, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"finite numbers of one shape in {what}", "something else", advice) from error
    if not np.isfinite(values).all() or values.size == 0:
        raise ParameterError(f"finite numbers in {what}", "none, or NaN or infinity", advice)
    return values


def _json_shape(value: object, what: str, depth: int) -> tuple[int, ...]:
    if depth > 4:
        raise ShapeError(f"at most 4 levels of lists in {what}", "more", "Write (N, C, H, W) at most.")
    if not isinstance(value, list):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ParameterError(f"numbers in {what}", repr(value)[:40], "Write numbers only, without quotes.")
        return ()
    shapes = [_json_shape(item, what, depth + 1) for item in value]
    if len(set(shapes)) > 1:
        raise ShapeError(
            f"lists of equal length in {what}", f"inner shapes {shapes[0]} and {shapes[1]}", "Complete the shorter one."
        )
    return (len(value), *(shapes[0] if shapes else ()))


def make_problem(
    scores: Numbers,
    labels: Numbers,
    *,
    source: Source,
    task: Task | None = None,
    sigmoid_only: bool = False,
    ignore_index: int = -100,
    class_names: Sequence[str] | None = None,
) -> Problem:
    """Put scores and labels together: find the task, the pixels and their places.

    Args:
        scores: logits or probabilities: text rows are pixels (in binary tasks rows of the image); JSON is (C,), (N, C),
            (C, H, W) or (N, C, H, W).
        labels: one label a pixel, laid out as the image, or a one-hot, soft or multilabel target like the scores.
        source: what ``scores`` are.
        task: None to find it: several numbers a pixel are multiclass, one is binary.
        sigmoid_only: the loss is not defined for multiclass, so the numbers are pixels of a binary task.
        ignore_index: label that does not count.
        class_names: names of the classes, None for "class 0", "class 1", ...

    Raises:
        ShapeError: numbers and labels do not fit together.
        ParameterError: probabilities that are none.

    Example:
        >>> scores, labels = read_numbers("1 2 / 3 0", "--logits"), read_numbers("1 0", "--labels")
        >>> problem = make_problem(scores, labels, source="logits")
        >>> problem.task, problem.logits.shape, problem.layout.shape
        ('multiclass', (2, 2), (1, 2))
    """
    if task is not None and task not in TASKS:
        raise ParameterError(f"one of {', '.join(TASKS)} as task", repr(task), "Choose one of them.")
    notes: list[str] = []
    chosen = _find_task(scores, labels, sigmoid_only, notes) if task is None else task
    values, layout = _as_pixels(scores, chosen, source)
    target, layout = _as_target(labels, values, layout, chosen)
    _limit(values)
    logits = values if source == "logits" else _logits_of(values, chosen, notes)
    names = tuple(class_names) if class_names is not None else _default_names(chosen, values.shape[1])
    if len(names) != values.shape[1]:
        raise ShapeError(
            f"{values.shape[1]} class names", f"{len(names)}", "Give one name for each number of a pixel, in order."
        )
    return Problem(chosen, logits, target, layout, source, ignore_index, names, tuple(notes))


def _find_task(scores: Numbers, labels: Numbers, sigmoid_only: bool, notes: list[str]) -> Task:
    shape = scores.values.shape
    one_number_each = scores.values.size == labels.values.size
    per_pixel = shape[0] if scores.from_json and len(shape) in (1, 3) else (shape[1] if len(shape) > 1 else 1)
    if per_pixel == 1:
        return "binary"
    if not one_number_each:
        return "multiclass"
    if sigmoid_only:
        notes.append("Each number is read as a pixel of a binary task; --task multilabel reads them as channels.")
        return "binary"
    rows = labels.values if not labels.from_json else labels.values.reshape(labels.values.shape[0], -1)
    if not labels.from_json and np.allclose(rows.sum(1), 1.0) and (rows >= 0).all():
        return "multiclass"
    if labels.from_json and labels.values.shape == shape:
        axis = 0 if len(shape) in (1, 3) else 1
        if np.allclose(labels.values.sum(axis), 1.0) and (labels.values >= 0).all():
            return "multiclass"
    raise ParameterError(
        "labels that tell the task",
        "one label for each number, which may be pixels of a binary task or channels of a multilabel one",
        "Add --task binary or --task multilabel; for multiclass give one label for each pixel.",
    )


def _as_pixels(scores: Numbers, task: Task, source: Source) -> tuple[Array, Layout | None]:
    """Scores as (pixels, classes), and the layout where their own shape tells it."""
    values = scores.values
    if not scores.from_json:
        if task != "binary":
            return values, None
        layout = Layout((1, *values.shape)) if min(values.shape) > 1 else Layout((1, values.size))
        return values.reshape(-1, 1), layout
    if task == "binary":
        if values.ndim == 4 and values.shape[1] == 1:
            return values.reshape(-1, 1), Layout((values.shape[0], *values.shape[2:]))
        if values.ndim == 3 and values.shape[0] == 1:
            return values.reshape(-1, 1), Layout(values.shape)
        if values.ndim in (1, 2):
            shape = (1, *values.shape) if values.ndim == 1 or min(values.shape) > 1 else (1, values.size)
            return values.reshape(-1, 1), Layout(shape)
        raise ShapeError(
            "binary scores of shape (W,), (H, W), (1, H, W) or (N, 1, H, W)",
            f"{values.shape}",
            "Give one number for each pixel.",
        )
    if values.ndim == 1:
        return values[None], Layout((1, 1))
    if values.ndim == 2:
        return values, None
    if values.ndim == 3:
        values = values[None]
    classes = values.shape[1]
    layout = Layout((values.shape[0], *values.shape[2:]))
    return np.moveaxis(values, 1, -1).reshape(-1, classes), layout


def _as_target(labels: Numbers, values: Array, layout: Layout | None, task: Task) -> tuple[Array, Layout]:
    """Labels as (pixels,) or (pixels, classes), and the layout of the pixels."""
    pixels, classes = values.shape
    given = labels.values
    if task != "multilabel" and given.size == pixels:
        if layout is None:
            layout = _layout_of_labels(given, labels.from_json)
        return given.reshape(-1), layout
    if given.size == pixels * classes and classes > 1:
        if labels.from_json and given.ndim >= 3:
            channels = given[None] if given.ndim == 3 else given
            if channels.shape[1] == classes:
                return np.moveaxis(channels, 1, -1).reshape(-1, classes), layout or Layout((1, pixels))
        elif given.size == classes or given.shape[-1] == classes:
            return given.reshape(pixels, classes), layout or Layout((1, pixels))
    each = "one label for each pixel" if task != "multilabel" else "one 0 or 1 for each channel of each pixel"
    wanted = pixels if task != "multilabel" else pixels * classes
    numbers = f"{given.size} label{'s' if given.size != 1 else ''}"
    plural = "s" if pixels != 1 else ""
    raise ShapeError(
        f"{each} ({wanted})",
        f"{numbers} for {pixels} pixel{plural} of {classes} number{'s' if classes != 1 else ''}",
        "Separate the pixels of the scores by '/' or ';', and write the labels in the same order.",
    )


def _layout_of_labels(labels: Array, from_json: bool) -> Layout:
    if labels.ndim == 2 and min(labels.shape) > 1:
        return Layout((1, *labels.shape))
    if from_json and labels.ndim == 3:
        return Layout(labels.shape)
    return Layout((1, labels.size))


def _limit(values: Array) -> None:
    if values.shape[0] > MAX_PIXELS or values.shape[1] > MAX_CLASSES:
        raise ShapeError(
            f"at most {MAX_PIXELS} pixels and {MAX_CLASSES} classes to explain number by number",
            f"{values.shape[0]} pixels and {values.shape[1]} classes",
            "Give fewer numbers; for whole images use --data, --image and --checkpoint.",
        )


def _logits_of(probabilities: Array, task: Task, notes: list[str]) -> Array:
    """Logits whose softmax or sigmoid gives the probabilities."""
    if (probabilities < 0).any() or (probabilities > 1).any():
        worst = probabilities[(probabilities < 0) | (probabilities > 1)][0]
        raise ParameterError(
            "probabilities between 0 and 1", f"{worst:g}", "Give the raw outputs of a network with --logits instead."
        )
    if task == "multiclass":
        total = probabilities.sum(1)
        off = np.abs(total - 1)
        if (off > SUM_TOLERANCE).any():
            pixel = int(off.argmax())
            raise ParameterError(
                "probabilities that sum to 1 at each pixel",
                f"a sum of {total[pixel]:g} at pixel {pixel}",
                "Correct them, use --task multilabel for channels that stand alone, or --logits for raw outputs.",
            )
        if (off > 1e-9).any():
            notes.append("Some probabilities do not sum to exactly 1; each pixel was divided by its sum.")
        probabilities = probabilities / total[:, None]
    low, high = SMALLEST_PROBABILITY, 1.0 if task == "multiclass" else 1.0 - SMALLEST_PROBABILITY
    if (probabilities < low).any() or (probabilities > high).any():
        notes.append(f"A probability of 0 or 1 has no finite logit: {low:g} (or 1 − {low:g}) stands in for it.")
        probabilities = np.clip(probabilities, low, high)
    if task == "multiclass":
        return np.log(probabilities)
    return np.log(probabilities) - np.log1p(-probabilities)


def _default_names(task: Task, classes: int) -> tuple[str, ...]:
    if task == "binary":
        return ("foreground",)
    word = "channel" if task == "multilabel" else "class"
    return tuple(f"{word} {index}" for index in range(classes))
