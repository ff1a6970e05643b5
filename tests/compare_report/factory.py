"""A made-up comparison with the shape of a real one, for the tests of the results and of the report alone.

Truth and predictions are label maps cut from smooth random fields; all counts and figures follow from them,
so the parts of the results agree with each other as they do in a real run. Nothing here trains anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segcrit.apps.compare.results import (
    Baseline,
    ClassEntry,
    ComputedWord,
    Cost,
    DataInfo,
    Example,
    ExamplePrediction,
    Figures,
    ImageCounts,
    LearningRate,
    LearningRateTrial,
    LossResult,
    NetworkInfo,
    Results,
    RunInfo,
    SeedResult,
    TrainingCurve,
    ValidationCurve,
)
from segcrit.core.machine import Machine

LAND = (
    ("water", "#2b6cb0"),
    ("forest", "#276749"),
    ("shrub and savanna", "#b7b04a"),
    ("grassland", "#8fce6a"),
    ("cropland", "#e0a33e"),
    ("barren", "#c9b79c"),
    ("snow and ice", "#f2f6fa"),
)
LOSSES = ("ce", "dice", "ce + dice", "focal", "jaccard", "ce + lovasz")
NAN = float("nan")


@dataclass
class Recipe:
    """What the made-up comparison looks like. ``noise`` is the error level of each loss, in their order."""

    losses: tuple[str, ...] = LOSSES
    noise: tuple[float, ...] = (0.6, 0.56, 0.42, 0.66, 0.54, 0.4)
    seeds: tuple[int, ...] = (0,)
    classes: tuple[tuple[str, str], ...] = LAND
    images: int = 24
    size: int = 64
    groups: int = 0
    ignored: bool = True
    diverged: tuple[str, ...] = ()
    interrupted: bool = False
    tuned: bool = False
    spatial_dims: int = 2
    examples: int = 3
    absent: tuple[int, ...] = ()  # classes that never occur
    seed_noise: float = 0.03
    share_decay: float = 0.5
    name: str = "synthetic land cover"
    description: str = "Made-up label maps for the tests of the report; no real data."
    notes: tuple[str, ...] = ()
    extra_losses: dict[str, str] = field(default_factory=dict)


def many_classes(count: int) -> tuple[tuple[str, str], ...]:
    words = ("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "window pane", "grass")
    random = np.random.default_rng(5)
    colors = random.integers(30, 230, size=(count, 3))
    return tuple((f"{words[k % 10]} {k}", "#" + bytes(colors[k].tolist()).hex()) for k in range(count))


def _fields(random: np.random.Generator, recipe: Recipe) -> NDArray[np.float64]:
    count = len(recipe.classes)
    raw = random.standard_normal((count, recipe.size, recipe.size))
    smooth = ndimage.gaussian_filter(raw, sigma=(0, recipe.size / 12, recipe.size / 12), mode="wrap")
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    prior = -recipe.share_decay * np.arange(count) / max(1.0, count / 7)
    smooth += prior[:, None, None] + random.standard_normal(count)[:, None, None] * 0.5
    smooth[list(recipe.absent)] = -1e9
    return smooth


def _counts(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Confusion of one image, rows truth, ignored pixels (255) left out."""
    valid = truth != 255
    pairs = truth[valid] * classes + predicted[valid]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.full(np.shape(top), NAN), where=np.asarray(bottom) > 0)


def _mean(values: NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else NAN


def figures_of(counts: ImageCounts) -> Figures:
    """All figures from counts, with plain sums (background: class 0)."""
    tp, fp, fn = (getattr(counts, key).sum(axis=0).astype(float) for key in ("tp", "fp", "fn"))
    iou, dice = _ratio(tp, tp + fp + fn), _ratio(2 * tp, 2 * tp + fp + fn)
    recall = _ratio(tp, tp + fn)
    # A class that exists and is never predicted has precision 0, as one that was only predicted has recall 0.
    precision = np.where((tp + fp == 0) & (fn > 0), 0.0, _ratio(tp, tp + fp))
    per_image = _ratio(2.0 * counts.tp, 2.0 * counts.tp + counts.fp + counts.fn)[:, 1:]
    share = (tp + fn) / max(1.0, (tp + fn).sum())
    return Figures(
        miou=_mean(iou),
        foreground_iou=_mean(iou[1:]),
        image_dice=_mean(np.array([_mean(row) for row in per_image])),
        pixel_accuracy=float(tp.sum() / max(1.0, (tp + fn).sum())),
        mean_accuracy=_mean(recall),
        frequency_weighted_iou=float(np.nansum(share * iou)),
        iou=tuple(iou.tolist()),
        dice=tuple(dice.tolist()),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
    )


def image_counts(ids: tuple[str, ...], confusion: NDArray[np.int64]) -> ImageCounts:
    tp = np.diagonal(confusion, axis1=1, axis2=2).copy()
    return ImageCounts(ids, tp, confusion.sum(axis=1) - tp, confusion.sum(axis=2) - tp)


def _curves(random: np.random.Generator, final: Figures, steps: int, loss: str, speed: float, stop: int | None):
    number = 120 if stop is None else stop
    at = np.linspace(1, steps, 120).astype(int)[:number]
    start = {"dice": 0.86, "jaccard": 0.92}.get(loss, 2.1)
    values = 0.15 + (start - 0.15) * np.exp(-3 * at / steps) + 0.06 * random.standard_normal(number)
    if stop is not None:
        values[-1] = NAN
    training = TrainingCurve(
        tuple(at.tolist()), tuple((at * speed).tolist()), tuple(np.abs(values).astype(float).tolist())
    )
    at = np.linspace(steps / 12, steps, 12).astype(int)
    at = at[at <= training.steps[-1]]
    rise = np.clip((1 - np.exp(-4 * at / steps)) + 0.02 * random.standard_normal(at.size), 0, 1)
    validation = ValidationCurve(
        tuple(at.tolist()),
        tuple((at * speed).tolist()),
        *(tuple((figure * rise).tolist()) for figure in
          (final.miou, final.foreground_iou, final.image_dice, final.pixel_accuracy)),
    )  # fmt: skip
    return training, validation


def make(recipe: Recipe | None = None, run_dir: Path | None = None) -> Results:
    """Build the results; with ``run_dir`` the example pictures are written there too."""
    recipe = recipe or Recipe()
    random = np.random.default_rng(7)
    classes, steps = len(recipe.classes), 440
    ids = tuple(f"tile_{k // 6 + 1:02d}_{k % 6 + 3:02d}" for k in range(recipe.images))
    fields = [_fields(random, recipe) for _ in ids]
    truths = [np.argmax(values, axis=0) for values in fields]
    if recipe.ignored:
        for truth in truths:
            truth[ndimage.gaussian_filter(random.standard_normal(truth.shape), 4) > 0.14] = 255
    shared = [_fields(random, recipe) for _ in ids]  # part of the error that all losses have in common
    predictions: dict[tuple[str, int], list[NDArray[np.int64]]] = {}
    losses = []
    for position, (loss, noise) in enumerate(zip(recipe.losses, recipe.noise, strict=False)):
        seeds = []
        for seed in recipe.seeds:
            own = np.random.default_rng([position, seed])
            level = noise + recipe.seed_noise * own.standard_normal()
            guesses = [
                np.argmax(field_ + level * (0.8 * common + 0.6 * _fields(own, recipe)), axis=0)
                for field_, common in zip(fields, shared, strict=True)
            ]
            confusion = np.stack([_counts(t, g, classes) for t, g in zip(truths, guesses, strict=True)])
            counts = image_counts(ids, confusion)
            figures = figures_of(counts)
            failed = loss in recipe.diverged
            speed = 0.105 + 0.01 * position
            training, validation = _curves(own, figures, steps, loss, speed, 30 if failed else None)
            if not failed:
                predictions[loss, seed] = guesses
            cut = recipe.interrupted and loss == recipe.losses[-1]
            seeds.append(
                SeedResult(
                    seed=seed,
                    status="diverged" if failed else "interrupted" if cut else "ok",
                    message="The loss became NaN at step 110." if failed else "Stopped by Ctrl-C." if cut else "",
                    training=training,
                    validation=validation,
                    best_step=-1 if failed else int(validation.steps[-2]),
                    best_validation=NAN if failed else validation.miou[-2],
                    learning_rate=LearningRate(
                        0.002 if not recipe.tuned else 0.004,
                        recipe.tuned,
                        tuple(
                            LearningRateTrial(rate, score)
                            for rate, score in ((0.001, 0.21), (0.002, 0.26), (0.004, 0.3), (0.03, NAN))
                        )
                        if recipe.tuned
                        else (),
                        60 if recipe.tuned else 0,
                    ),
                    cost=Cost(speed, 0.006 + 0.004 * position, 0.004 + 0.005 * position, 1.1e9 + 1e8 * position),
                    training_seconds=steps * speed,
                    checkpoint="" if failed else f"checkpoints/{position}-seed{seed}.ckpt",
                    figures=None if failed or cut else figures,
                    counts=None if failed or cut else counts,
                    confusion=None if failed or cut else confusion.sum(axis=0),
                )
            )
        losses.append(
            LossResult(
                name=loss,
                given=loss,
                canonical=loss,
                criterion_expression=loss,
                criterion_arguments={"ignore_index": 255} if recipe.ignored else {},
                color=position,
                seeds=tuple(seeds),
                resolved=recipe.extra_losses.get(loss, ""),
            )
        )
    shares = np.bincount(np.concatenate([t[t != 255] for t in truths]), minlength=classes) / sum(
        (t != 255).sum() for t in truths
    )
    majority = int(shares.argmax())
    confusion = np.stack([_counts(t, np.full_like(t, majority), classes) for t in truths])
    counts = image_counts(ids, confusion)
    results = Results(
        run=RunInfo(
            created="2026-01-05T10:20:30Z",
            elapsed_seconds=412.0,
            segcrit_version="0.1.0",
            versions={
                "python": "3.11.2",
                "torch": "2.13.0",
                "lightning": "2.6.0",
                "monai": "1.5.1",
                "numpy": "2.3.0",
            },
            machine=Machine("Linux x86_64", "Example CPU @ 2.0 GHz", 2, 2.4e10, (), 1, 2),
            command="segcrit compare --losses " + " ".join(f'"{loss}"' for loss in recipe.losses),
            seeds=recipe.seeds,
            steps=steps,
            epochs=72,
            batch_size=8,
            crop=(128,) * recipe.spatial_dims,
            optimizer="AdamW, weight decay 0.01",
            learning_rate_schedule="one cycle, peak after 10 % of the steps",
            augmentation=("random crop", "flips along each axis", "brightness ±10 %"),
            network=NetworkInfo("unet", "U-Net, encoder widths 16, 32, 64, 128", 482_311),
            metric="miou",
            precision="float32",
            status="interrupted" if recipe.interrupted else "complete",
            inference="whole images",
            notes=recipe.notes,
        ),
        data=DataInfo(
            name=recipe.name,
            root_name="",
            task="multiclass",
            classes=tuple(ClassEntry(k, name, color) for k, (name, color) in enumerate(recipe.classes)),
            ignore_index=255 if recipe.ignored else None,
            spatial_dims=recipe.spatial_dims,
            channels=3,
            images={"train": 2 * recipe.images, "val": max(1, recipe.images // 2), "test": recipe.images},
            class_shares={
                "train": tuple((np.roll(shares, 0) * 0.9 + 0.1 * shares.mean()).tolist()),
                "test": tuple(shares.tolist()),
            },
            ignored_share={"train": 0.02, "test": 0.03} if recipe.ignored else {},
            background=0,
            groups={name: f"scene {k % recipe.groups}" for k, name in enumerate(ids)} if recipe.groups else {},
            normalisation="per channel, mean and standard deviation of the training split",
            description=recipe.description,
            words=(
                ComputedWord('class_weight="median"', tuple((1 / (shares + 0.02)).tolist()), "median frequency"),
                ComputedWord('pos_weight="auto"', (3.25,), "negatives per positive"),
            )
            if recipe.extra_losses
            else (),
        ),
        losses=tuple(losses),
        baseline=Baseline(majority, figures_of(counts), counts, confusion.sum(axis=0)),
    )
    if run_dir is None:
        return results
    return _with_examples(results, recipe, run_dir, truths, predictions)


def _with_examples(
    results: Results,
    recipe: Recipe,
    run_dir: Path,
    truths: list[NDArray[np.int64]],
    predictions: dict[tuple[str, int], list[NDArray[np.int64]]],
) -> Results:
    folder = run_dir / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    palette = np.array([[int(color[k : k + 2], 16) for k in (1, 3, 5)] for _, color in recipe.classes], dtype=float)
    seed = recipe.seeds[0]
    shown = [loss for loss in recipe.losses if (loss, seed) in predictions]
    ids = [f"tile_{k // 6 + 1:02d}_{k % 6 + 3:02d}" for k in range(recipe.images)]
    examples = []
    for k in range(min(recipe.examples, recipe.images) if shown else 0):
        truth = truths[k]

        def save(name: str, labels: NDArray[np.int64]) -> str:
            Image.fromarray(labels.astype(np.uint8)).save(folder / name)
            return f"examples/{name}"

        colors = palette[np.where(truth == 255, 0, truth)] * 0.6 + 40
        picture = colors + 18 * random.standard_normal(truth.shape)[..., None]
        picture = ndimage.gaussian_filter(picture, (0.7, 0.7, 0))
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / f"{k}-image.png")
        entries = []
        for number, loss in enumerate(shown):
            labels = predictions[loss, seed][k]
            counts = image_counts((ids[k],), _counts(truth, labels, len(recipe.classes))[None])
            entries.append(ExamplePrediction(loss, seed, save(f"{k}-{number}.png", labels), figures_of(counts)))
        stack = np.stack([predictions[loss, seed][k] for loss in shown])
        different = (stack != stack[0]).any(axis=0) & (truth != 255)
        examples.append(
            Example(
                ids[k],
                f"examples/{k}-image.png",
                save(f"{k}-truth.png", truth),
                tuple(entries),
                float(different.sum() / max(1, (truth != 255).sum())),
                "slice 24 of 60 along the third axis" if recipe.spatial_dims == 3 else "",
            )
        )
    return replace(results, examples=tuple(examples))


def from_counts(counts: dict[str, list[ImageCounts]]) -> Results:
    """Results of a comparison whose test counts are given: for each loss one table a seed."""
    number = len(next(iter(counts.values())))
    classes = next(iter(counts.values()))[0].tp.shape[1]
    names = tuple((f"class {k}", "#808080") for k in range(classes))
    base = make(Recipe(losses=tuple(counts), noise=(0.5,) * len(counts), seeds=tuple(range(number)), classes=names,
                       images=2, size=16, ignored=False))  # fmt: skip
    losses = []
    for loss in base.losses:
        seeds = tuple(
            replace(seed, counts=table, figures=figures_of(table), confusion=None)
            for seed, table in zip(loss.seeds, counts[loss.name], strict=True)
        )
        losses.append(replace(loss, seeds=seeds))
    some = counts[base.losses[0].name][0]
    truth = some.tp + some.fn
    total = truth.sum(axis=1)
    tp, fp, fn = np.zeros_like(truth), np.zeros_like(truth), truth.copy()
    tp[:, 0], fp[:, 0], fn[:, 0] = truth[:, 0], total - truth[:, 0], 0
    majority = ImageCounts(some.ids, tp, fp, fn)
    return replace(base, losses=tuple(losses), baseline=Baseline(0, figures_of(majority), majority))


def two_class_counts(errors: NDArray[np.int64], pixels: int = 1000) -> ImageCounts:
    """Images of two halves, with ``errors[k]`` wrong pixels in each half of image k."""
    half = pixels // 2
    wrong = np.stack([errors, errors], axis=1)
    return ImageCounts(tuple(f"{k:04d}" for k in range(len(errors))), half - wrong, wrong, wrong.copy())
