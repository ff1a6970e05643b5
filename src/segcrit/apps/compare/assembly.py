"""Puts the results of a run together: what ``results.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from segcrit.apps.compare.batches.augmentation import describe_augmentation
from segcrit.apps.compare.records import (
    Baseline,
    ComputedWord,
    DataInfo,
    ImageCounts,
    LossResult,
    NetworkInfo,
    Results,
    RunInfo,
    SeedResult,
)
from segcrit.apps.compare.run_directory import LossPlan, RunState
from segcrit.apps.compare.settings import Settings
from segcrit.apps.compare.training.context import Context
from segcrit.apps.compare.training.inference import describe_inference
from segcrit.apps.compare.training.one import figures_of
from segcrit.core.machine import describe_machine, versions
from segcrit.metrics.per_image import PerImage
from segcrit.metrics.report import Report

__all__ = ["assemble", "loss_results"]

_LONGEST_NAME: Final = 60
_PACKAGES: Final = (
    "torch", "lightning", "monai", "numpy", "segmentation-models-pytorch", "timm", "transformers", "tensorboard"
)  # fmt: skip
_OPTIMIZER_NAMES: Final = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD, Nesterov momentum 0.9"}
_SCHEDULE_NAMES: Final = {
    "one-cycle": "one cycle: cosine warm-up over 10 % of the steps, cosine decay to 0",
    "polynomial": "polynomial decay to 0, power 0.9",
    "constant": "constant",
}


def loss_results(
    context: Context, plans: Sequence[LossPlan], finished: Mapping[tuple[str, int], SeedResult]
) -> tuple[LossResult, ...]:
    """The losses with those of their trainings that are finished."""
    names: dict[str, str] = {}
    for plan in plans:
        short = plan.canonical
        if len(short) > _LONGEST_NAME:
            short = f"{short[: _LONGEST_NAME - 3]}..."
        if short in names.values():
            short = f"{plan.folder.split('-')[0]} {short}"
        names[plan.canonical] = short
    arguments = _criterion_arguments(context)
    return tuple(
        LossResult(
            name=names[plan.canonical],
            given=plan.given,
            canonical=plan.canonical,
            criterion_expression=plan.resolved,
            criterion_arguments=arguments,
            color=position,
            seeds=tuple(
                finished[plan.canonical, seed] for seed in context.settings.seeds if (plan.canonical, seed) in finished
            ),
            resolved=plan.resolved if plan.words else "",
        )
        for position, plan in enumerate(plans)
    )


def _criterion_arguments(context: Context) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if context.settings.task != "multiclass":
        arguments["task"] = context.settings.task
    if context.source.info.ignore_index is not None:
        arguments["ignore_index"] = context.source.info.ignore_index
    return arguments


def assemble(
    context: Context,
    state: RunState,
    losses: tuple[LossResult, ...],
    *,
    notes: Sequence[str],
    world: int,
    devices: Sequence[torch.device],
) -> Results:
    """Everything but the examples."""
    settings = context.settings
    complete = all(len(loss.seeds) == len(settings.seeds) for loss in losses)
    counts = next((seed.counts for loss in losses for seed in loss.seeds if seed.counts is not None), None)
    confusion = next((seed.confusion for loss in losses for seed in loss.seeds if seed.confusion is not None), None)
    parameters = context.network.build(settings.seeds[0]).parameters()
    run = RunInfo(
        created=state.created,
        elapsed_seconds=state.elapsed_seconds,
        segcrit_version=state.segcrit_version,
        versions=versions(_PACKAGES),
        machine=describe_machine(devices, world),
        command=state.command or "segcrit.compare(...)",
        seeds=settings.seeds,
        steps=settings.steps,
        epochs=settings.passes,
        batch_size=settings.batch_size,
        crop=settings.crop,
        optimizer=_optimizer(settings),
        learning_rate_schedule=_SCHEDULE_NAMES[settings.schedule],
        augmentation=describe_augmentation(settings.augment, context.source.info.spatial_dims, settings.crop),
        network=NetworkInfo(
            context.network.spec,
            context.network.description,
            sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        ),
        metric=settings.metric,
        precision={"32-true": "float32", "64-true": "float64"}.get(
            settings.precision, settings.precision.replace("-", " ")
        ),
        status="complete" if complete else "interrupted",
        inference=describe_inference(context.predictor),
        notes=tuple(dict.fromkeys(notes)),
    )
    data = _data(context, state, counts)
    return Results(run=run, data=data, losses=losses, baseline=_baseline(context, counts, confusion))


def _optimizer(settings: Settings) -> str:
    clip = f", gradients clipped at norm {settings.gradient_clip:g}" if settings.gradient_clip else ""
    return f"{_OPTIMIZER_NAMES[settings.optimizer]} (weight decay {settings.weight_decay:g}{clip})"


def _data(context: Context, state: RunState, counts: ImageCounts | None) -> DataInfo:
    info, task = context.source.info, context.settings.task
    frequencies = context.source.frequencies(task)
    shares = {"train": tuple(frequencies.shares.tolist())}
    labelled = frequencies.total
    ignored = {"train": frequencies.ignored / max(labelled + frequencies.ignored, 1)}
    images = dict(info.images)
    groups = info.groups
    if counts is not None:
        truth = (counts.tp + counts.fn).sum(0)
        shares["test"] = tuple((truth / max(int(truth.sum()), 1)).tolist())
        images["test"] = len(counts.ids)
        groups = {id: group for id, group in groups.items() if id in set(counts.ids)}
    unique: list[ComputedWord] = []
    for plan in state.losses:
        unique += [word for word in plan.words if word not in unique]
    return DataInfo(
        name=info.name,
        root_name=info.root_name,
        task=task,
        classes=info.classes,
        ignore_index=info.ignore_index,
        spatial_dims=info.spatial_dims,
        channels=info.channels,
        images=images,
        class_shares=shares,
        ignored_share=ignored,
        background=context.background,
        groups=groups,
        normalisation=context.source.describe_normalisation(),
        train_labels=info.train_labels,
        description=info.description,
        words=tuple(unique),
        notes=info.notes,
    )


def _baseline(context: Context, counts: ImageCounts | None, confusion: Any) -> Baseline | None:
    """The most frequent class of the training labels, predicted everywhere: its counts follow from the truth."""
    task = context.settings.task
    if counts is None or task == "multilabel":
        return None
    index = int(context.source.frequencies(task).counts.argmax())
    truth = counts.tp + counts.fn
    tp, fp, fn = np.zeros_like(truth), np.zeros_like(truth), truth.copy()
    tp[:, index] = truth[:, index]
    fp[:, index] = truth.sum(1) - truth[:, index]
    fn[:, index] = 0
    table = np.zeros((truth.shape[1],) * 2, dtype=np.int64)
    table[:, index] = truth.sum(0)
    names = tuple(entry.name for entry in context.source.info.classes)
    per_image = PerImage(counts.ids, tp, fp, fn, truth.sum(1), task, background=context.background)
    report = Report(class_names=names, task=task, policy="segcrit", confusion=table, per_image=per_image)
    return Baseline(index, figures_of(report, context.background), ImageCounts(counts.ids, tp, fp, fn), table)
