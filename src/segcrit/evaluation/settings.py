"""What an evaluator was told: the settings that two evaluators must share to be merged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from segcrit._constants import DEFAULT_IGNORE_INDEX, TASKS, Task
from segcrit.errors import ParameterError
from segcrit.evaluation.background import BY_NAME, read_background
from segcrit.evaluation.measure import Measure, read_measures
from segcrit.evaluation.policy import get_policy

__all__ = ["Settings", "check_most", "make_settings"]

Upsample = Literal["linear"] | None

# 800 MB of counts. A mistaken number must not end in a process that the system kills for its memory.
_MOST_CLASSES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings of an evaluation.

    Attributes:
        classes: number of columns of every class figure: the classes, the channels of a multilabel task, or 2
            (background, foreground) of a binary one.
        task, threshold, ignore_index, policy, upsample, align_corners: as in :class:`segcrit.evaluation.Evaluator`.
        class_names: one name a class.
        background: the class that figures of the foreground leave out, or None.
        measures: what is measured beside the counts, in the order of their kinds.
    """

    classes: int
    task: Task
    threshold: float
    ignore_index: int
    class_names: tuple[str, ...]
    policy: str
    upsample: Upsample
    align_corners: bool
    measures: tuple[Measure, ...] = ()
    background: int | None = None

    @property
    def channels(self) -> int:
        """Size of the channel dimension of logits."""
        return 1 if self.task == "binary" else self.classes

    @property
    def matrix(self) -> tuple[int, ...]:
        """Shape of the confusion counts: (C, C), or (C, 2, 2) in a multilabel task.

        (C, C + 1) where some pixels have no predicted class and count, in the last column: the policy counts the ignore
        label as a prediction, or the ignored class is left out.
        """
        if self.task == "multilabel":
            return (self.classes, 2, 2)
        return (self.classes, self.classes + (self.ignored_prediction == "miss" or self.left_out is not None))

    @property
    def left_out(self) -> int | None:
        """The class that ``ignore_index`` names, where the policy leaves it out of the figures.

        Its true pixels are not judged. Where it is predicted for a pixel of another class, the pixel counts as one without
        a predicted class: a miss of its true class and no false alarm of this one.
        """
        is_class = self.task != "multilabel" and 0 <= self.ignore_index < self.classes
        return self.ignore_index if is_class and get_policy(self.policy).leaves_out_ignored_class else None

    @property
    def takes_spacing(self) -> bool:
        """Whether a measure asks for the size of the pixels: a file's header is read for nothing else."""
        return any(measure.takes_spacing for measure in self.measures)

    @property
    def ignored_prediction(self) -> str:
        """What a predicted ignore label is; see :class:`segcrit.evaluation.policy.Policy`."""
        return "error" if self.task == "multilabel" else get_policy(self.policy).ignored_prediction

    @property
    def dropped_prediction(self) -> int | None:
        """The predicted label whose pixels do not count under the policy: an ignore label that is no class."""
        drops = self.ignored_prediction == "skip" and not 0 <= self.ignore_index < self.classes
        return self.ignore_index if drops else None

    @property
    def logit_threshold(self) -> float:
        """The logit whose sigmoid is the threshold."""
        return math.log(self.threshold) - math.log1p(-self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for state dictionaries and results."""
        names = ("classes", "task", "threshold", "ignore_index", "policy", "upsample", "align_corners")
        listed = {"class_names": list(self.class_names), "measures": [entry.to_dict() for entry in self.measures]}
        return {name: getattr(self, name) for name in names} | listed | {"background": self.background}


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
    for measure in settings.measures:
        measure.check(settings)
    return settings


def check_most(num_classes: int) -> None:
    """Refuse numbers of exclusive classes that cannot be meant.

    Raises:
        ParameterError: more than 10,000.
    """
    if num_classes > _MOST_CLASSES:
        raise ParameterError(
            f"num_classes of at most {_MOST_CLASSES:,}, because every pair of classes is counted",
            f"{num_classes:,}",
            "Numbers of instances are no classes: give the class of each pixel.",
        )


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
