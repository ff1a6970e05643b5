"""Check the arguments of an evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from segcrit.core.constants import DEFAULT_IGNORE_INDEX, TASKS, Task
from segcrit.core.errors import ParameterError
from segcrit.metrics.background import BY_NAME, read_background
from segcrit.metrics.measure_table import read_measures

# Importing a measure makes its word known.
from segcrit.metrics.measures import boundary, objects, probability  # noqa: F401
from segcrit.metrics.measures.base import measures_of
from segcrit.metrics.policy import get_policy
from segcrit.metrics.settings import Settings, check_most

__all__ = ["make_settings"]


def make_settings(
    num_classes: int,
    *,
    task: str = "multiclass",
    threshold: float = 0.5,
    ignore_index: int = DEFAULT_IGNORE_INDEX,
    class_names: Sequence[str] | None = None,
    policy: str = "segcrit",
    upsample: str | None = None,
    align_corners: bool = False,
    measures: Iterable[Any] | str = (),
    background: int | str | None = BY_NAME,
) -> Settings:
    """Check the arguments of an evaluator.

    Raises:
        ParameterError: a value is not allowed.

    Example:
        >>> make_settings(1, task="binary").class_names
        ('background', 'foreground')
    """
    if task not in TASKS:
        raise ParameterError(f"task to be one of {TASKS}", repr(task), "Choose one of them.")
    classes = _check_num_classes(num_classes, task)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise ParameterError(
            "threshold to be a probability between 0 and 1, both excluded",
            repr(threshold),
            "Thresholds apply to the sigmoid of the logits, not to the logits; 0.5 is the usual one.",
        )
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise ParameterError(
            "ignore_index to be a whole number",
            repr(ignore_index),
            f"Give the label to leave out; {DEFAULT_IGNORE_INDEX} leaves out nothing in most data.",
        )
    if upsample not in (None, "linear"):
        raise ParameterError(
            "upsample to be None or 'linear'",
            repr(upsample),
            "Use 'linear' for logits of a lower resolution than the target.",
        )
    names = _check_names(class_names, classes, task)
    settings = Settings(
        classes=classes,
        task=task,
        threshold=float(threshold),
        ignore_index=ignore_index,
        class_names=names,
        policy=get_policy(policy).name,
        upsample="linear" if upsample else None,
        align_corners=bool(align_corners),
        measures=read_measures(measures),
        background=read_background(background, names, task),
    )
    for measure in measures_of(settings):
        measure.check(settings)
    return settings


def _check_num_classes(num_classes: int, task: Task) -> int:
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise ParameterError("num_classes to be a whole number", repr(num_classes), "Give the number of classes.")
    if task == "binary":
        if num_classes not in (1, 2):
            raise ParameterError(
                "num_classes=1 (the channel) or 2 (background and foreground) in a binary task",
                str(num_classes),
                "Use task='multiclass' for exclusive classes or task='multilabel' for overlapping ones.",
            )
        return 2
    if num_classes < (2 if task == "multiclass" else 1):
        advice = "Use task='binary' for one channel with a sigmoid." if num_classes == 1 else "Give the number."
        raise ParameterError(f"num_classes of at least {2 if task == 'multiclass' else 1}", str(num_classes), advice)
    if task == "multiclass":
        check_most(num_classes)
    return num_classes


def _check_names(class_names: Sequence[str] | None, classes: int, task: Task) -> tuple[str, ...]:
    if class_names is None:
        if task == "binary":
            return ("background", "foreground")
        return tuple(f"class {index}" for index in range(classes))
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise ParameterError("class_names to be a sequence of texts", repr(class_names), "Give a list of names.")
    names = tuple(class_names)
    if task == "binary" and len(names) == 1:
        names = ("background", *names)
    if len(names) != classes:
        raise ParameterError(f"{classes} class names", f"{len(names)}", "Give one name a class, in label order.")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ParameterError("different class names", f"{twice!r} twice", "Rename one of the two classes.")
    return names
