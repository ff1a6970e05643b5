"""The panels of the images on which the losses disagree: image, truth, prediction, error, and the class legend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcrit.apps.compare.records import ClassEntry, Example, Figures, LossResult, Results
from segcrit.apps.compare.report.pictures import IGNORED, error_uri, label_uri, photo_uri, read_labels
from segcrit.core.errors import DataError

__all__ = ["Gallery", "Panel", "Prediction", "gallery"]


@dataclass(frozen=True)
class Prediction:
    """What one loss made of an image."""

    loss: LossResult
    seed: int
    figures: Figures
    labels: str
    errors: str
    wrong: float  # share of the judged pixels of the picture that are wrong


@dataclass(frozen=True)
class Panel:
    """One image with the predictions of every loss."""

    example: Example
    image: str
    truth: str
    width: int
    height: int
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True)
class Gallery:
    """All panels, the classes to be seen in them, and how many examples had no pictures left."""

    panels: tuple[Panel, ...]
    legend: tuple[ClassEntry, ...]
    has_ignored: bool
    missing: int


def gallery(results: Results, run_dir: Path) -> Gallery:
    """Read the pictures that the results name; an example whose files are gone is left out and counted."""
    losses = {loss.name: loss for loss in results.losses}
    panels, missing = [], 0
    seen: set[int] = set()
    for example in results.examples:
        try:
            panel, values = _panel(results, example, run_dir, losses)
        except DataError:
            missing += 1
            continue
        panels.append(panel)
        seen |= values
    legend = tuple(entry for entry in results.data.classes if entry.index in seen)
    has_ignored = IGNORED in seen and len(results.data.classes) <= IGNORED
    return Gallery(tuple(panels), legend, has_ignored, missing)


def _panel(results: Results, example: Example, run_dir: Path, losses: dict[str, LossResult]) -> tuple[Panel, set[int]]:
    classes = results.data.classes
    truth = read_labels(run_dir / example.truth)
    seen = set(np.unique(truth).tolist())
    predictions = []
    for prediction in example.predictions:
        labels = read_labels(run_dir / prediction.labels)
        if labels.shape != truth.shape:
            raise DataError(
                f"a prediction of the size {truth.shape} of the truth", f"{labels.shape}", "Run the comparison again."
            )
        seen |= set(np.unique(labels).tolist())
        judged = truth != IGNORED
        predictions.append(
            Prediction(
                loss=losses[prediction.loss],
                seed=prediction.seed,
                figures=prediction.figures,
                labels=label_uri(labels, classes),
                errors=error_uri(truth, labels),
                wrong=float((labels != truth)[judged].mean()) if judged.any() else float("nan"),
            )
        )
    height, width = truth.shape
    image = photo_uri(run_dir / example.image)
    return Panel(example, image, label_uri(truth, classes), width, height, tuple(predictions)), seen
