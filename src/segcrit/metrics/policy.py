"""What an evaluator does where a figure is 0/0, and how it averages: the rules of today's tools, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from segcrit.core.errors import ParameterError
from segcrit.core.names import nearest

__all__ = ["POLICIES", "Policy", "get_policy"]

Undefined = Literal["nan", "zero", "one"]
IgnoredPrediction = Literal["error", "miss", "skip"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The values of class figures that the counts leave undefined, and what the means do with them.

    The same confusion matrix has several "mIoUs" in today's tools, because they disagree on these cases only.

    Attributes:
        name: the word that selects this policy.
        note: one line that says what is special about it, compared with ``"segcrit"``.
        absent: value of a class that is neither in the truth nor in the prediction.
        absent_in_means: whether that value counts in means; otherwise it is only shown.
        truth_absent: IoU and Dice of a class that was predicted but is not in the truth.
        empty_precision: precision of a class that is in the truth but was never predicted, 0/0.
        empty_recall: recall of a class that was predicted but is not in the truth, 0/0.
        all_classes: a mean over classes is NaN as soon as one of them is; otherwise NaN is skipped.
        ignored_prediction: a predicted ``ignore_index`` where the truth counts is an ``"error"``, a ``"miss"`` (a
            false negative of the true class and no false positive) or leaves the pixel out (``"skip"``).
        leaves_out_ignored_class: where ``ignore_index`` is a class, this class has no figures, and predicting it is a
            ``"miss"``. Otherwise it is a class that is not in the truth.
        background: the class that figures of the foreground leave out where the data name none.
        figures: the tool's own names for its figures -> the names of :data:`segcrit.metrics.named.FIGURES`.
    """

    name: str
    note: str
    absent: Undefined = "nan"
    absent_in_means: bool = False
    truth_absent: Undefined = "zero"
    empty_precision: Undefined = "nan"
    empty_recall: Undefined = "nan"
    all_classes: bool = False
    ignored_prediction: IgnoredPrediction = "error"
    leaves_out_ignored_class: bool = False
    background: int | None = None
    figures: Mapping[str, str] = field(default_factory=dict)


_MMSEGMENTATION = {
    "aAcc": "pixel_accuracy",
    "mIoU": "miou",
    "mAcc": "mean_accuracy",
    "mDice": "mean_dice",
    "mPrecision": "mean_precision",
    "mRecall": "mean_accuracy",
}

_TABLE = (
    Policy(
        name="segcrit",
        note="A class neither in the truth nor in the prediction is NaN and skipped in means; "
        "one that was only predicted counts 0, so that a false alarm never raises a mean.",
        empty_precision="zero",
        empty_recall="zero",
        leaves_out_ignored_class=True,
    ),
    Policy(
        name="mmsegmentation",
        note="Over the data set; every 0/0 is NaN and skipped, so that the precision of a class that is never predicted, "
        "and its mFscore (not reproduced: Dice has the same formula without that gap), drop out of the means.",
        ignored_prediction="miss",
        figures=_MMSEGMENTATION,
    ),
    Policy(
        name="detectron2",
        note="Over the data set; a class that is not in the truth is left out of mIoU even where it was predicted, "
        "and pixels with the ignore label as prediction are left out.",
        truth_absent="nan",
        ignored_prediction="skip",
        figures={
            "mIoU": "miou",
            "fwIoU": "frequency_weighted_iou",
            "mACC": "mean_accuracy",
            "pACC": "pixel_accuracy",
        },
    ),
    Policy(
        name="cityscapes",
        note="Over the data set, with IoU as segcrit has it; a predicted ignore label is a false negative of the true "
        "class, and nothing else.",
        ignored_prediction="miss",
        leaves_out_ignored_class=True,
        figures={"averageScoreClasses": "miou"},
    ),
    Policy(
        name="torchmetrics",
        note="Over the data set (the classification metrics, macro); an absent class shows 0 and is skipped in the mean, "
        "so that the mean of the shown values is another number. A class that is ignored but predicted counts 0, as in its "
        "F1, precision, recall and accuracy; its Jaccard index alone leaves such a class out.",
        absent="zero",
        empty_precision="zero",
        empty_recall="zero",
        figures={
            "MulticlassJaccardIndex": "miou",
            "MulticlassJaccardIndex(average='weighted')": "frequency_weighted_iou",
            "MulticlassF1Score": "mean_dice",
            "MulticlassPrecision": "mean_precision",
            "MulticlassRecall": "mean_accuracy",
            "MulticlassAccuracy(average='micro')": "pixel_accuracy",
            "MulticlassAccuracy": "mean_accuracy",
            "MulticlassCohenKappa": "kappa",
        },
    ),
    Policy(
        name="monai",
        note="Over images; a class that is not in the truth of an image is left out there even where it was predicted, "
        "so that false alarms on such images cost nothing. A class in no image is NaN here and 0 in MONAI's mean_batch.",
        truth_absent="nan",
        figures={"DiceMetric": "image_dice", "MeanIoU": "image_miou"},
    ),
    Policy(
        name="huggingface",
        note="Over the data set, with IoU as segcrit has it; every 0/0 of the accuracy is NaN and skipped, and a predicted "
        "ignore label is a false negative of the true class.",
        ignored_prediction="miss",
        figures={"mean_iou": "miou", "mean_accuracy": "mean_accuracy", "overall_accuracy": "pixel_accuracy"},
    ),
    Policy(
        name="nnunet",
        note="Mean over images for each class, then over the classes but the background; one class that is in no image "
        "makes that mean NaN.",
        all_classes=True,
        background=0,
        figures={"foreground_mean Dice": "class_foreground_dice", "foreground_mean IoU": "class_foreground_iou"},
    ),
)

POLICIES: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in _TABLE})


def get_policy(name: str) -> Policy:
    """Return the policy called ``name``.

    Raises:
        ParameterError: no policy has this name.

    Example:
        >>> get_policy("segcrit").absent
        'nan'
        >>> get_policy("detectron2").truth_absent
        'nan'
    """
    try:
        return POLICIES[name]
    except (KeyError, TypeError):
        known = ", ".join(repr(known) for known in POLICIES)
        raise ParameterError(
            f"policy to be one of {known}", repr(name), nearest(str(name), POLICIES) or "Choose a known policy."
        ) from None
