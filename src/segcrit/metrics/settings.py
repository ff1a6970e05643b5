"""What an evaluator was told: the settings that two evaluators must share to be merged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.metrics.measure_table import MeasureOptions
from segcrit.metrics.policy import get_policy

__all__ = ["Settings", "check_most"]

# 800 MB of counts. A mistaken number must not end in a process that the system kills for its memory.
_MOST_CLASSES: Final = 10_000

Upsample = Literal["linear"] | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings of an evaluation.

    Attributes:
        classes: number of columns of every class figure: the classes, the channels of a multilabel task, or 2
            (background, foreground) of a binary one.
        task, threshold, ignore_index, policy, upsample, align_corners: as in :class:`segcrit.metrics.evaluator.Evaluator`.
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
    measures: tuple[MeasureOptions, ...] = ()
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
        """What a predicted ignore label is; see :class:`segcrit.metrics.policy.Policy`."""
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
