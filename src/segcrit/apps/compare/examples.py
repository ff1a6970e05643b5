"""Pictures of the test images on which the losses disagree most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from segcrit.apps.compare.batches.source import TestImage
from segcrit.apps.compare.predictions import write_label_png
from segcrit.apps.compare.records import Example, ExamplePrediction, LossResult
from segcrit.apps.compare.run_directory import LossPlan
from segcrit.apps.compare.training.checkpoints import WholeCheckpoints, load_weights
from segcrit.apps.compare.training.context import Context
from segcrit.apps.compare.training.module import predicted_labels
from segcrit.apps.compare.training.one import figures_of
from segcrit.core import atomic
from segcrit.core.optional import require
from segcrit.labels.mask import is_label, is_labelled

__all__ = ["choose_images", "make_examples"]

_EXAMPLES: Final = 6
_LONGEST: Final = 512
_IGNORED: Final = 255

Labels = npt.NDArray[np.int64]


def choose_images(
    losses: Sequence[LossResult], groups: Mapping[str, str] | None = None, number: int = _EXAMPLES
) -> list[str]:
    """Names of the test images on which the counts of the losses differ most, in shares of the image's pixels.

    Counts are known for every image and loss; where they differ, so do the predictions. Of a group (a patient, a scene)
    the second image comes after the first ones of all groups: its neighbours show the same over again.
    """
    tested = [next((seed.counts for seed in loss.seeds if seed.counts is not None), None) for loss in losses]
    counts = [entry for entry in tested if entry is not None]
    if not counts:
        return []
    right = np.stack([entry.tp for entry in counts])
    predicted = right + np.stack([entry.fp for entry in counts])
    spread = np.ptp(right, axis=0).sum(1) + np.ptp(predicted, axis=0).sum(1)
    pixels = np.maximum((counts[0].tp + counts[0].fn).sum(1), 1)
    names = [counts[0].ids[int(row)] for row in np.argsort(-(spread / pixels), kind="stable")]
    seen: Counter[str] = Counter()
    turns = []
    for name in names:
        group = (groups or {}).get(name, name)
        turns.append(seen[group])
        seen[group] += 1
    return [name for _, name in sorted(zip(turns, names, strict=True), key=lambda pair: pair[0])][:number]


def make_examples(
    context: Context, plans: Sequence[LossPlan], losses: Sequence[LossResult], device: torch.device
) -> tuple[Example, ...]:
    """Predict the chosen images with the best checkpoint of every loss and write the pictures.

    Losses whose checkpoint is not there any more are left out.
    """
    if context.settings.task == "multilabel":
        return ()
    ids = choose_images(losses, context.source.info.groups)
    images = {image.id: image for image in context.source.test_images(ids)}
    predictions: dict[str, list[tuple[LossResult, int, Labels]]] = {id: [] for id in images}
    for plan, loss in zip(plans, losses, strict=True):
        seed = next((seed for seed in loss.seeds if seed.figures is not None), None)
        if seed is None:
            continue
        network = _trained(context, plan, seed.seed, device)
        if network is None:
            continue
        for id, image in images.items():
            with torch.inference_mode():
                logits = context.predictor(network, image.network_input.to(device))
            labels = predicted_labels(logits.float(), context.settings.task)[0].cpu().numpy()
            predictions[id].append((loss, seed.seed, labels))
    made = [
        _example(context, number, images[id], predictions[id])
        for number, id in enumerate(id for id in ids if id in images and predictions[id])
    ]
    return tuple(sorted(made, key=lambda example: -example.disagreement))


def _trained(context: Context, plan: LossPlan, seed: int, device: torch.device) -> Any:
    folder = context.directory.training(plan, seed)
    path = folder.best if folder.best.exists() else folder.last
    if not path.exists():
        return None
    weights = WholeCheckpoints().load_checkpoint(path)["state_dict"]
    network = context.network.build(seed)
    load_weights(network, weights, f"weights of this run's network in {path}")
    return network.to(device).eval()


def _example(
    context: Context, number: int, image: TestImage, predictions: list[tuple[LossResult, int, Labels]]
) -> Example:
    info = context.source.info
    truth = image.label.astype(np.int64)
    valid = is_labelled(truth, info.criterion_ignore_index)
    stacked = np.stack([labels for _, _, labels in predictions])
    differs = (stacked != stacked[0]).any(0) & valid
    picture, shown_truth, stacked_view, view = image.image, truth, stacked, ""
    if info.spatial_dims == 3:
        at = int(differs.sum((0, 1)).argmax())
        picture, shown_truth, stacked_view = image.image[..., at], truth[..., at], stacked[..., at]
        view = f"slice {at + 1} of {truth.shape[-1]} along the third axis"
    size = shown_truth.shape
    step = max(1, -(-max(size) // _LONGEST))
    folder = context.directory.path / "examples"
    colors = [entry.color for entry in info.classes]
    path = folder / f"{number:02d}-image.png"
    _write_picture(path, picture[:, ::step, ::step])
    truth_path = folder / f"{number:02d}-truth.png"
    outside = is_label(shown_truth, info.criterion_ignore_index)
    write_label_png(truth_path, np.where(outside, _IGNORED, shown_truth)[::step, ::step], colors, _IGNORED)
    entries = []
    for position, (loss, seed, labels) in enumerate(predictions):
        label_path = folder / f"{number:02d}-loss-{loss.color:02d}.png"
        write_label_png(label_path, stacked_view[position][::step, ::step], colors)
        report = context.evaluator().update(labels[None], image.label[None].astype(np.int64), ids=[image.id]).compute()
        figures = figures_of(report, context.background)
        entries.append(ExamplePrediction(loss.name, seed, context.directory.relative(label_path), figures))
    return Example(
        id=image.id,
        image=context.directory.relative(path),
        truth=context.directory.relative(truth_path),
        predictions=tuple(entries),
        disagreement=float(differs.sum() / max(int(valid.sum()), 1)),
        view=view,
    )


def _write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """Write (channels, height, width) as 8-bit grey or RGB; other ranges than 8-bit are stretched."""
    image_module = require("PIL.Image", extra="data")
    shown = image[:3] if image.shape[0] >= 3 else image[:1]
    shown = np.nan_to_num(shown.astype(np.float64), posinf=0.0, neginf=0.0)
    is_eight_bit = shown.min() >= 0 and 1 < shown.max() <= 255 and bool((shown == np.floor(shown)).all())
    if not is_eight_bit:
        low, high = np.percentile(shown, (1, 99))
        shown = (shown - low) / (high - low if high > low else 1.0) * 255
    pixels = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    picture = image_module.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with atomic.atomic_path(path) as temporary:
        picture.save(temporary, optimize=True)
