"""Figures of an evaluation by slow loops over pixels, written without the package."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def confusion(prediction: np.ndarray, truth: np.ndarray, classes: int, ignored: int) -> list[list[int]]:
    matrix = [[0] * classes for _ in range(classes)]
    for guess, label in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if label != ignored:
            matrix[int(label)][int(guess)] += 1
    return matrix


def argmax(logits: np.ndarray) -> np.ndarray:
    """(N, C, ...) -> (N, ...): the first largest value."""
    images, classes = logits.shape[:2]
    result = np.zeros((images, *logits.shape[2:]), dtype=np.int64)
    for place in np.ndindex(result.shape):
        best = 0
        for index in range(1, classes):
            if logits[(place[0], index, *place[1:])] > logits[(place[0], best, *place[1:])]:
                best = index
        result[place] = best
    return result


def sigmoid_labels(logits: np.ndarray, threshold: float) -> np.ndarray:
    return np.vectorize(lambda z: int(1 / (1 + math.exp(-z)) > threshold), otypes=[np.int64])(logits)


def class_figures(matrix: list[list[int]]) -> dict[str, list[float]]:
    """NaN for a class in neither; a 0/0 of a class in one of the two counts 0."""
    result: dict[str, list[float]] = {"iou": [], "dice": [], "precision": [], "recall": []}
    for index in range(len(matrix)):
        hit = matrix[index][index]
        truth = sum(matrix[index])
        guess = sum(row[index] for row in matrix)
        if truth + guess == 0:
            for values in result.values():
                values.append(math.nan)
            continue
        result["iou"].append(hit / (truth + guess - hit))
        result["dice"].append(2 * hit / (truth + guess))
        result["precision"].append(hit / guess if guess else 0.0)
        result["recall"].append(hit / truth if truth else 0.0)
    return result


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def figures(matrices: list[list[list[int]]], background: bool = True) -> dict[str, Any]:
    """All figures from the confusion matrices of the images."""
    classes = len(matrices[0])
    total = [[sum(m[t][p] for m in matrices) for p in range(classes)] for t in range(classes)]
    over_all = class_figures(total)
    each = [class_figures(matrix) for matrix in matrices]
    first = 1 if background else 0
    pixels = sum(map(sum, total))
    right = sum(total[c][c] for c in range(classes))
    truth = [sum(total[c]) for c in range(classes)]
    guess = [sum(row[c] for row in total) for c in range(classes)]
    expected = sum(t * g for t, g in zip(truth, guess, strict=True)) / pixels**2 if pixels else math.nan
    result: dict[str, Any] = dict(over_all)
    result["miou"] = mean(over_all["iou"])
    result["mean_dice"] = mean(over_all["dice"])
    result["foreground_iou"] = mean(over_all["iou"][first:])
    result["foreground_dice"] = mean(over_all["dice"][first:])
    result["pixel_accuracy"] = right / pixels if pixels else math.nan
    result["mean_accuracy"] = mean(over_all["recall"])
    result["mean_precision"] = mean(over_all["precision"])
    result["frequency_weighted_iou"] = (
        sum(truth[c] * over_all["iou"][c] for c in range(classes) if truth[c]) / pixels if pixels else math.nan
    )
    result["kappa"] = (right / pixels - expected) / (1 - expected) if pixels and expected != 1 else math.nan
    for name in ("iou", "dice"):
        result["image_miou" if name == "iou" else "image_dice"] = mean([mean(one[name]) for one in each])
        result[f"image_foreground_{name}"] = mean([mean(one[name][first:]) for one in each])
        per_class = [mean([one[name][c] for one in each]) for c in range(classes)]
        result["class_miou" if name == "iou" else "class_dice"] = mean(per_class)
        result[f"class_foreground_{name}"] = mean(per_class[first:])
    result["worst_image_miou"] = lowest([mean(one["iou"]) for one in each], 10)
    result["worst_class_miou"] = mean([lowest([one["iou"][c] for one in each], 10) for c in range(classes)])
    return result


def lowest(values: list[float], percent: float) -> float:
    """Mean of the lowest values: this percentage of those that are known, at least one."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return math.nan
    number = 0
    while 100 * (number + 1) <= percent * len(known) + 1e-6:
        number += 1
    number = max(1, number)
    return sum(known[:number]) / number
