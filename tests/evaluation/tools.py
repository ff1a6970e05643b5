"""What other tools compute from a confusion matrix, written from their definitions in plain loops.

Each function takes the confusion matrices of the images (rows truth, columns prediction; a column more where the tool
knows predictions that are no class) and returns the figures under the tool's own names.
"""

from __future__ import annotations

import math

Matrix = list[list[int]]


def _sums(matrices: list[Matrix]) -> Matrix:
    first = matrices[0]
    return [[sum(m[t][p] for m in matrices) for p in range(len(first[0]))] for t in range(len(first))]


def _areas(matrix: Matrix) -> tuple[list[int], list[int], list[int]]:
    """Intersection, label and prediction areas of each class."""
    classes = range(len(matrix))
    return (
        [matrix[c][c] for c in classes],
        [sum(matrix[c]) for c in classes],
        [sum(r[c] for r in matrix) for c in classes],
    )


def _nanmean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _divide(a: float, b: float) -> float:
    return a / b if b else math.nan


def mmsegmentation(matrices: list[Matrix]) -> dict[str, float]:
    """IoUMetric: areas over the data set, elementwise division, nanmean."""
    hit, label, guess = _areas(_sums(matrices))
    triples = list(zip(hit, label, guess, strict=True))
    return {
        "aAcc": _divide(sum(hit), sum(label)),
        "mIoU": _nanmean([_divide(h, t + g - h) for h, t, g in triples]),
        "mAcc": _nanmean([_divide(h, t) for h, t, g in triples]),
        "mDice": _nanmean([_divide(2 * h, t + g) for h, t, g in triples]),
        "mPrecision": _nanmean([_divide(h, g) for h, t, g in triples]),
        "mRecall": _nanmean([_divide(h, t) for h, t, g in triples]),
    }


def mmsegmentation_fscore(matrices: list[Matrix]) -> float:
    """mFscore: the harmonic mean of precision and recall, which is 0/0 where both are 0."""
    hit, label, guess = _areas(_sums(matrices))
    values = []
    for h, t, g in zip(hit, label, guess, strict=True):
        precision, recall = _divide(h, g), _divide(h, t)
        values.append(_divide(2 * precision * recall, precision + recall))
    return _nanmean(values)


def huggingface(matrices: list[Matrix]) -> dict[str, float]:
    """mean_iou: as mmsegmentation, under other names."""
    found = mmsegmentation(matrices)
    return {"mean_iou": found["mIoU"], "mean_accuracy": found["mAcc"], "overall_accuracy": found["aAcc"]}


def detectron2(matrices: list[Matrix]) -> dict[str, float]:
    """SemSegEvaluator: classes without a true pixel are left out of every mean."""
    classes = len(matrices[0])
    # The last column holds predictions of the ignore label; its pixels are in no sum.
    hit, label, guess = _areas([row[:classes] for row in _sums(matrices)])
    total = sum(label)
    triples = [(h, t, g) for h, t, g in zip(hit, label, guess, strict=True) if t > 0]
    return {
        "mIoU": _nanmean([h / (t + g - h) for h, t, g in triples]),
        "fwIoU": sum(h / (t + g - h) * t / total for h, t, g in triples) if total else math.nan,
        "mACC": _nanmean([h / t for h, t, g in triples]),
        "pACC": _divide(sum(hit), total),
    }


def cityscapes(matrices: list[Matrix]) -> dict[str, float]:
    """evalPixelLevelSemanticLabeling: tp / (tp + fp + fn), with a predicted ignored label among the fn."""
    matrix = _sums(matrices)
    scores = []
    for label in range(len(matrix)):
        tp = matrix[label][label]
        fn = sum(matrix[label]) - tp
        fp = sum(matrix[other][label] for other in range(len(matrix)) if other != label)
        scores.append(_divide(tp, tp + fp + fn))
    return {"averageScoreClasses": _nanmean(scores)}


def monai(matrices: list[Matrix]) -> dict[str, float]:
    """DiceMetric and MeanIoU, reduction "mean", ignore_empty: classes not in the truth of the image are NaN."""
    dice, iou = [], []
    for matrix in matrices:
        hit, label, guess = _areas(matrix)
        triples = [(h, t, g) for h, t, g in zip(hit, label, guess, strict=True) if t > 0]
        dice.append(_nanmean([2 * h / (t + g) for h, t, g in triples]))
        iou.append(_nanmean([h / (t + g - h) for h, t, g in triples]))
    return {"DiceMetric": _nanmean(dice), "MeanIoU": _nanmean(iou)}


def nnunet(matrices: list[Matrix]) -> dict[str, float]:
    """evaluate_predictions: nanmean over the cases of each foreground class, then a plain mean over the classes."""
    areas = [_areas(matrix) for matrix in matrices]
    classes = range(1, len(matrices[0]))
    found = {}
    for name, formula in (
        ("Dice", lambda h, t, g: _divide(2 * h, t + g)),
        ("IoU", lambda h, t, g: _divide(h, t + g - h)),
    ):
        means = [_nanmean([formula(hit[c], label[c], guess[c]) for hit, label, guess in areas]) for c in classes]
        found[f"foreground_mean {name}"] = sum(means) / len(means)
    return found
