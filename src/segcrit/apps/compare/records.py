"""Everything that one comparison found out, as frozen dataclasses: the content of ``results.json``.

The engine fills a :class:`Results`; the verdict, the report and the CSV files are made from it alone, and
from the small pictures it names. Rules that hold everywhere:

- a number that is not known, or that does not exist (the IoU of a class that is neither in the truth nor in
  the prediction), is NaN; in JSON it is ``null``;
- shares and scores lie in [0, 1], times are in seconds, memory is in bytes;
- a tuple "per class" has one entry for each of ``data.classes``, in that order;
- paths are relative to the run's folder, with forward slashes; no absolute path of the machine is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from segcrit.apps.compare.verdict.records import Verdict
from segcrit.core.json_files import Record, damaged, decode
from segcrit.core.machine import Machine

__all__ = [
    "METRICS",
    "SCHEMA_VERSION",
    "Baseline",
    "ClassEntry",
    "ComputedWord",
    "Cost",
    "DataInfo",
    "Example",
    "ExamplePrediction",
    "Figures",
    "ImageCounts",
    "LearningRate",
    "LearningRateTrial",
    "LossResult",
    "MetricName",
    "NetworkInfo",
    "Results",
    "RunInfo",
    "SeedResult",
    "TrainingCurve",
    "ValidationCurve",
    "figure_name",
]

# Raised when a reader of the old version would misread the file; a new field with a default does not count.
SCHEMA_VERSION: Final = 1
# More than any evaluation takes; beyond it, a damaged number would ask for all memory.
_MOST_CLASSES: Final = 1 << 16

MetricName = Literal["miou", "foreground_iou", "image_dice"]

# Keys of the metric that chooses the best checkpoint, and the words people know them by.
METRICS: Final[dict[MetricName, str]] = {
    "miou": "mIoU",
    "foreground_iou": "foreground IoU",
    "image_dice": "per-image Dice",
}


def figure_name(metric: MetricName, background: int | None) -> str:
    """The evaluator's name of a metric; without a background class every class is foreground.

    Example:
        >>> figure_name("image_dice", 0), figure_name("image_dice", None)
        ('image_foreground_dice', 'image_dice')
    """
    if metric == "foreground_iou":
        return "miou" if background is None else "foreground_iou"
    if metric == "image_dice":
        return "image_dice" if background is None else "image_foreground_dice"
    return "miou"


# ---------------------------------------------------------------------------------------------------- the run


@dataclass(frozen=True, eq=False)
class NetworkInfo(Record):
    """The network that every loss trained, from the same initial weights."""

    spec: str  # what the user asked for: "unet", "smp:Unet", "mymodule:make_network"
    description: str  # one line for people: "U-Net, encoder widths 16, 32, 64, 128"
    parameters: int  # number of trainable parameters


@dataclass(frozen=True, eq=False)
class RunInfo(Record):
    """How the comparison was made."""

    created: str  # start, ISO 8601 in UTC: "2026-11-23T15:04:05Z"
    elapsed_seconds: float  # wall-clock time of all the work so far, resumed parts added up
    segcrit_version: str
    versions: dict[str, str]  # "python", "torch", "lightning", "monai", "numpy", ...
    machine: Machine
    command: str  # the command line to repeat it, or "segcrit.compare(...)" when called from Python
    seeds: tuple[int, ...]  # every seed asked for
    steps: int  # optimisation steps a loss and seed
    epochs: int  # passes over the training split (0: counted in steps only)
    batch_size: int  # images or crops a step, over all processes
    crop: tuple[int, ...]  # size of a training crop, () for whole images
    optimizer: str  # "AdamW (weight decay 0.01)"
    learning_rate_schedule: str  # "one cycle, 10 % warm-up"
    augmentation: tuple[str, ...]  # one entry a step in plain words, () for none
    network: NetworkInfo
    metric: MetricName  # the validation metric that chose the best checkpoint, and that the verdict is about
    precision: str  # "float32", "bf16 mixed"
    status: Literal["complete", "interrupted"]  # interrupted: some loss or seed is missing or was cut short
    inference: str = ""  # how test images were predicted: "whole images", "sliding window 512×512, overlap 0.25"
    notes: tuple[str, ...] = ()  # warnings and decisions that a reader must know, one sentence each


# --------------------------------------------------------------------------------------------------- the data


@dataclass(frozen=True, eq=False)
class ClassEntry(Record):
    """One class: column ``index`` of every per-class tuple and table."""

    index: int
    name: str
    color: str  # "#rrggbb", as in the data's legend


@dataclass(frozen=True, eq=False)
class ComputedWord(Record):
    """A word of an expression that was turned into numbers with the training split."""

    word: str  # 'class_weight="median"', 'pos_weight="auto"'
    values: tuple[float, ...]  # one value a class, or a single number
    explanation: str = ""  # "median frequency over 49 training images"


@dataclass(frozen=True, eq=False)
class DataInfo(Record):
    """The data, without a path of the machine."""

    name: str  # "land cover", or the folder's name
    root_name: str  # last part of the folder's path, "" for data that is not a folder
    task: Literal["multiclass", "multilabel", "binary"]
    classes: tuple[ClassEntry, ...]
    ignore_index: int | None
    spatial_dims: int  # 2 or 3
    channels: int
    images: dict[str, int]  # number of images (volumes) a split: "train", "val", "test"
    # Share of each class among the labelled pixels: keys "train" and "test", one number a class.
    class_shares: dict[str, tuple[float, ...]]
    ignored_share: dict[str, float] = field(default_factory=dict)  # share of pixels that carry no label, a split
    # Index of the class that foreground IoU and per-image Dice leave out; None: every class counts.
    background: int | None = 0
    groups: dict[str, str] = field(default_factory=dict)  # test image id -> scene or patient; {} where none exist
    normalisation: str = ""  # "per channel, mean and deviation of the training split"
    train_labels: str = ""  # name of the folder with other training labels, "" where there is none
    description: str = ""  # origin and licence of the data
    words: tuple[ComputedWord, ...] = ()  # the words of all losses, each once
    notes: tuple[str, ...] = ()  # decisions made while loading, one sentence each


# ------------------------------------------------------------------------------------------------- the losses


@dataclass(frozen=True, eq=False)
class Figures(Record):
    """Scores over the whole test split, from counts added up over its images (except ``image_dice``)."""

    miou: float  # mean over classes that exist in truth or prediction
    foreground_iou: float  # the same without the background class
    image_dice: float  # Dice per image over its present (foreground) classes, then the mean over images
    pixel_accuracy: float
    mean_accuracy: float  # mean recall of the classes that exist in the truth
    frequency_weighted_iou: float
    iou: tuple[float, ...]  # the rest: per class
    dice: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ImageCounts(Record):
    """True and false positives and false negatives of every test image and class: int64 (images, classes).

    Stored in JSON with one row ``[class, tp, fp, fn]`` for each class that occurs in an image, because with
    many classes nearly all counts are zero.
    """

    ids: tuple[str, ...]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    def to_json_value(self) -> dict[str, Any]:
        """The sparse JSON form."""
        stacked = np.stack([self.tp, self.fp, self.fn], axis=-1)
        rows = [
            [[int(index), *map(int, counts[index])] for index in np.flatnonzero(counts.any(axis=-1))]
            for counts in stacked
        ]
        return {"classes": int(self.tp.shape[1]), "ids": list(self.ids), "class_tp_fp_fn": rows}

    @classmethod
    def from_json_value(cls, value: dict[str, Any], place: str) -> ImageCounts:
        """Read the sparse JSON form.

        Raises:
            DataError: rows are missing, a class is out of range or a count is negative.
        """
        try:
            ids = decode(tuple[str, ...], value["ids"], place + ".ids")
            rows = decode(
                tuple[tuple[tuple[int, int, int, int], ...], ...],
                value["class_tp_fp_fn"],
                place + ".class_tp_fp_fn",
            )
            classes = decode(int, value["classes"], place + ".classes")
        except KeyError as error:
            raise damaged(f"the field {place}.{error.args[0]}", "a file without it") from None
        if not 0 <= classes <= _MOST_CLASSES:
            raise damaged(f"at most {_MOST_CLASSES} classes in {place}", f"{classes}")
        if len(ids) != len(rows):
            raise damaged(f"one row of counts for each of {len(ids)} images in {place}", f"{len(rows)} rows")
        counts = np.zeros((3, len(ids), classes), dtype=np.int64)
        for image, entries in enumerate(rows):
            for index, *numbers in entries:
                if not 0 <= index < classes or min(numbers) < 0 or max(numbers) >= 1 << 62:
                    raise damaged(
                        f"class indices below {classes} and counts that are not negative in {place}",
                        f"{[index, *numbers]} for image {ids[image]!r}",
                    )
                counts[:, image, index] = numbers
        return cls(ids, counts[0], counts[1], counts[2])


@dataclass(frozen=True, eq=False)
class TrainingCurve(Record):
    """The training loss; thin it to about 500 points before storing it."""

    steps: tuple[int, ...]
    # Seconds of training since the first step; validation, start-up and checkpoint writing are left out.
    seconds: tuple[float, ...]
    loss: tuple[float, ...]  # the loss at that step, or its mean since the point before


@dataclass(frozen=True, eq=False)
class ValidationCurve(Record):
    """The validation figures, one entry each time that the network was validated."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]  # as in TrainingCurve
    miou: tuple[float, ...]
    foreground_iou: tuple[float, ...]
    image_dice: tuple[float, ...]
    pixel_accuracy: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LearningRateTrial(Record):
    """One candidate of the learning-rate search."""

    value: float
    validation: float  # validation figure (``run.metric``) after the short run, NaN if it diverged


@dataclass(frozen=True, eq=False)
class LearningRate(Record):
    """The peak learning rate that was used, and how it was found."""

    value: float
    tuned: bool = False
    trials: tuple[LearningRateTrial, ...] = ()
    trial_steps: int = 0  # steps of each short run


@dataclass(frozen=True, eq=False)
class Cost(Record):
    """What a training step takes: medians over steps after the warm-up."""

    step_seconds: float  # the whole step, waiting for data left out if it can be
    loss_forward_seconds: float  # computing the loss from logits
    loss_backward_seconds: float  # its gradient with respect to the logits
    peak_memory_bytes: float = float("nan")  # of the device, or of the process on a CPU

    @property
    def loss_share(self) -> float:
        """Share of the step that the loss takes, forward and backward."""
        if not self.step_seconds > 0:
            return float("nan")
        return (self.loss_forward_seconds + self.loss_backward_seconds) / self.step_seconds


@dataclass(frozen=True, eq=False)
class SeedResult(Record):
    """One training: one loss, one seed."""

    seed: int
    # diverged: the loss or the weights became not finite; interrupted: cut short, figures may be missing.
    status: Literal["ok", "diverged", "interrupted"]
    training: TrainingCurve
    validation: ValidationCurve
    learning_rate: LearningRate
    cost: Cost
    training_seconds: float  # time of all steps, validation left out
    message: str = ""  # what happened, for a status other than ok
    best_step: int = -1  # step of the checkpoint that was tested, -1 if there is none
    best_validation: float = float("nan")  # its validation figure (``run.metric``)
    checkpoint: str = ""  # path of that checkpoint, "" if there is none
    figures: Figures | None = None  # test figures; None if the network was not tested
    counts: ImageCounts | None = None  # test counts, images in the same order for every loss
    confusion: NDArray[np.int64] | None = None  # (classes, classes), rows: truth


@dataclass(frozen=True, eq=False)
class LossResult(Record):
    """Everything about one loss."""

    name: str  # the name to show, unique: the expression, shortened only if it is very long
    given: str  # the expression as the user wrote it
    canonical: str  # str(parse(given))
    criterion_expression: str  # first argument of the final segcrit.Criterion(...) line
    # Keyword arguments of that line, as JSON values: {"ignore_index": 255, "class_weight": [0.4, 2.1]}.
    # Computed words stand here, or in the expression, as numbers.
    criterion_arguments: dict[str, Any]
    color: int  # position in the report's list of colours; stays the same when a loss is added
    seeds: tuple[SeedResult, ...]
    resolved: str = ""  # the expression with the numbers of its computed words; "" if it has none


@dataclass(frozen=True, eq=False)
class Baseline(Record):
    """What predicting the training split's most frequent class everywhere scores on the test split."""

    class_index: int
    figures: Figures
    counts: ImageCounts
    confusion: NDArray[np.int64] | None = None


# ----------------------------------------------------------------------------------------------- the pictures


@dataclass(frozen=True, eq=False)
class ExamplePrediction(Record):
    """What one loss predicted for an example image (the first seed that was tested)."""

    loss: str  # LossResult.name
    seed: int
    labels: str  # path of the predicted labels, a PNG as Example.truth
    figures: Figures  # of this image alone (of the whole volume, not of the slice shown)


@dataclass(frozen=True, eq=False)
class Example(Record):
    """One test image on which the losses disagree, with small pictures of it (longer side at most ~512 px).

    Label pictures are 8-bit one-channel PNGs (mode "L" or "P") whose values are class indices, 255 where the
    truth is ignored; the report colours them and draws the errors. All pictures of one example have one size.
    """

    id: str
    image: str  # path of the image for people: 8-bit grey or RGB, PNG or JPEG
    truth: str  # path of the true labels
    predictions: tuple[ExamplePrediction, ...]
    disagreement: float = float("nan")  # share of its labelled pixels on which not all losses predict the same
    view: str = ""  # what is shown of it: "slice 24 of 60 along the third axis"; "" for a whole image


@dataclass(frozen=True, eq=False)
class Results(Record):
    """One comparison."""

    run: RunInfo
    data: DataInfo
    losses: tuple[LossResult, ...]
    baseline: Baseline | None = None
    examples: tuple[Example, ...] = ()
    verdict: Verdict | None = None  # leave it None: write_results fills it in
    schema_version: int = SCHEMA_VERSION
