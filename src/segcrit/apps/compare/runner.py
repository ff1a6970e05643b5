"""``segcrit.compare``: the same network under several losses, on the same batches, and who won."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segcrit.apps.compare.prepare import Request, prepare, withdraw_folder
from segcrit.apps.compare.records import Results
from segcrit.apps.compare.session import CostEstimate, Session, estimate_cost
from segcrit.apps.compare.settings import Compute
from segcrit.apps.compare.training.context import is_first_process
from segcrit.apps.compare.training.quiet import quiet
from segcrit.core import optional
from segcrit.core.progress import make_reporter

__all__ = ["CostEstimate", "Interrupted", "compare", "estimate", "run"]


def compare(
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    data: Any = None,
    losses: Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    seeds: int | Sequence[int] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    crop: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    tune_learning_rate: bool | None = None,
    optimizer: str | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    gradient_clip: float | None = None,
    augment: str | None = None,
    metric: str | None = None,
    task: str | None = None,
    precision: str | None = None,
    inference: str | None = None,
    window: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    ignore_index: int | None = None,
    train_labels: str | None = None,
    group_by: str | None = None,
    pair: str | None = None,
    valid: str | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    num_workers: int | None = None,
    resume: bool = False,
    add: Sequence[str] = (),
    save_predictions: bool = False,
    progress: bool | None = None,
) -> Results:
    """Train the same network under several losses and report which one won.

    Every loss starts from the same initial weights and sees the same batches; the best checkpoint by the validation
    ``metric`` is judged on the test images. Lightning trains; the run's folder holds checkpoints, TensorBoard logs,
    ``report.html``, ``results.json`` and CSV files. A run that was interrupted, even killed, goes on with
    ``resume=True`` and loses at most the epoch it was in.

    Args:
        model: ``"unet"`` (default), ``"smp:Unet?encoder_name=resnet34"``, ``"monai:SegResNet"``, ``"hf:NAME"``,
            ``"my_module:make_network"``; a network; or a function that makes one.
        data: a data folder (see :func:`segcrit.data.folders.folder.load_folder`); a ``SegmentationData``; loaders as
            ``{"train": ..., "val": ..., "test": ...}`` or a pair or triple, yielding ``(image, target)`` or dictionaries;
            a LightningDataModule; None for the default data, land cover seen from space.
        losses: expressions; by default ce, dice, ce + dice, focal, jaccard, ce + lovasz. Words such as
            ``class_weight="median"`` and ``pos_weight="auto"`` are computed from the training split.
        out: the run's folder; by default a new one in ``runs/``.
        seeds: how many seeds (0, 1, ...), or which; default 1.
        steps: optimisation steps of each training; default 280.
        epochs: passes over the training images, validated after each. Beside ``steps``: into how many parts
            the training is divided, with a validation and a checkpoint after each; default 7.
        batch_size: crops in a step over all devices; default 8 for images, 2 for volumes.
        crop: size of the training crops; by default 128 (2-D) or 64 (3-D) where the images are so large.
        learning_rate: peak of the schedule; by default what suits the network (0.003 for the
            U-Net), 0.01 with ``"sgd"``.
        tune_learning_rate: give each loss its own learning rate from a short search around it.
        optimizer: ``"adamw"`` (default), ``"adam"`` or ``"sgd"``.
        weight_decay: of the optimiser; default 0.01.
        schedule: ``"one-cycle"`` (default), ``"polynomial"`` or ``"constant"``.
        gradient_clip: largest norm of the gradient; default 12, 0 for none.
        augment: ``"flip"`` (default: left-right), ``"full"`` (all flips and quarter turns) or ``"none"``.
        metric: ``"miou"`` (default), ``"foreground_iou"`` or ``"image_dice"``: chooses checkpoints and the winner.
        task: ``"multiclass"`` (default), ``"binary"`` (two classes, one logit) or ``"multilabel"`` (own loaders).
        precision: as Lightning names it; default ``"32-true"``.
        inference: ``"auto"`` (default), ``"whole"`` or ``"sliding"``.
        window: size of the sliding window.
        num_classes: of data from own loaders, where the network is not given.
        class_names: of data from own loaders.
        ignore_index: of data from own loaders; default -100.
        train_labels: folder with other labels to train on (scribbles, for example); the full masks judge.
        group_by: regular expression that finds the scene or patient in a file name.
        pair: regular expression whose first bracket finds in a file name what image and mask share.
        valid: folder with masks of the pixels that count; pixels that are 0 there are ignored, in losses and figures.
        accelerator, devices, num_nodes, strategy: as ``lightning.pytorch.Trainer`` takes them.
        num_workers: processes that read images; None chooses.
        resume: go on with the run in ``out``; everything else may be left out.
        add: losses to add to the run in ``out``.
        save_predictions: write the predicted labels of the test images.
        progress: False shows nothing.

    Returns:
        The results, as ``results.json`` holds them.

    Raises:
        SegcritError: something does not fit, or memory ran out; the message says what to do.

    Example:
        >>> results = compare("unet", "data/camvid", ["ce", "dice"], out="runs/camvid")  # doctest: +SKIP
        >>> print(results.verdict.headline)  # doctest: +SKIP
    """
    request = Request(
        model=model,
        data=data,
        losses=losses,
        out=out,
        resume=resume,
        add=tuple(add) if not isinstance(add, str) else add,
        options={
            "task": task,
            "seeds": seeds,
            "steps": steps,
            "epochs": epochs,
            "batch_size": batch_size,
            "crop": crop,
            "learning_rate": learning_rate,
            "tune_learning_rate": tune_learning_rate,
            "optimizer": optimizer,
            "weight_decay": weight_decay,
            "schedule": schedule,
            "gradient_clip": gradient_clip,
            "augment": augment,
            "metric": metric,
            "precision": precision,
            "inference": inference,
            "window": window,
        },
        compute=Compute(accelerator, devices, num_nodes, strategy, num_workers),
        num_classes=num_classes,
        class_names=class_names,
        ignore_index=ignore_index,
        train_labels=train_labels,
        group_by=group_by,
        pair=pair,
        valid=valid,
        save_predictions=save_predictions,
    )
    return run(request, progress)[0]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the run's folder holds what is needed to go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"continue with resume=True and out={str(folder)!r}")


def run(request: Request, progress: bool | None = None) -> tuple[Results, Path]:
    """Do what a request asks for.

    Returns:
        The results and the run's folder.

    Raises:
        Interrupted: Ctrl-C.
    """
    _require_packages()
    reporter = make_reporter(progress if is_first_process() else False)
    begin = time.monotonic()
    try:
        with quiet(), _kept_random_state():
            prepared = prepare(request, reporter)
            try:
                results = Session(prepared, begin).run()
            except KeyboardInterrupt:
                if not prepared.context.directory.run_file.exists():
                    raise  # before anything was written: there is nothing to go on with
                raise Interrupted(prepared.context.directory.path) from None
    finally:
        reporter.close()
        withdraw_folder()
    return results, prepared.context.directory.path


def estimate(request: Request, progress: bool | None = None) -> CostEstimate:
    """Measure a few real steps of every loss and say what the comparison will cost; nothing is written.

    Raises:
        TrainingError: memory ran out; the message names a batch size that fits.
    """
    _require_packages()
    reporter = make_reporter(progress)
    try:
        with quiet(), _kept_random_state():
            prepared = prepare(replace(request, dry_run=True), reporter)
            return estimate_cost(prepared)
    finally:
        reporter.close()


def _require_packages() -> None:
    for module in ("lightning.pytorch", "monai", "tensorboard", "PIL.Image", "jinja2", "matplotlib"):
        optional.require(module, extra="compare")


@contextmanager
def _kept_random_state() -> Iterator[None]:
    """Leave the user's generators as they were."""
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)
