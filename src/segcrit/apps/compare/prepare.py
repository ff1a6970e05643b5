"""From what the user asked for to a comparison that can run: new, continued or extended."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from torch import nn

from segcrit.apps.compare.batches.folder_source import FolderSource
from segcrit.apps.compare.batches.loader_source import LoaderSource, first_batch, open_loaders
from segcrit.apps.compare.batches.source import Source
from segcrit.apps.compare.loss_plans import choose_losses, make_plans
from segcrit.apps.compare.run_directory import DataRecord, LossPlan, ModelRecord, RunDirectory, RunState
from segcrit.apps.compare.settings import Compute, Settings, require_same
from segcrit.apps.compare.training.context import Context, is_first_process, started_by_launcher
from segcrit.apps.compare.training.inference import make_predictor
from segcrit.apps.compare.training.networks import Network, Purpose, make_network
from segcrit.core.constants import VERSION, Task
from segcrit.core.errors import DataError, ParameterError
from segcrit.core.progress import Reporter
from segcrit.data.model import SegmentationData

__all__ = ["Prepared", "Request", "prepare"]

# Lets processes that Lightning starts on this machine find the folder that the first one chose.
_OUT_VARIABLE: Final = "SEGCRIT_COMPARE_OUT"
# nnU-Net's; the rates of the networks are for Adam.
_SGD_RATE: Final = 0.01
# Each seed is a training of every loss: a larger number is a slip.
_MOST_SEEDS: Final = 10_000
# Scribbles and points teach slowly: each step sees a hundredth of the pixels that full masks would show it.
_WEAK_LABEL_STEPS: Final = 640


# What tells how a data folder is read, beside its path; written down and asked for again when a run is continued.
FOLDER_OPTIONS: Final = ("train_labels", "group_by", "pair", "valid")


@dataclass(frozen=True)
class Request:
    """What the user asked for; None means "not said"."""

    model: str | nn.Module | Callable[..., nn.Module] | None
    data: Any
    losses: Sequence[str] | None
    out: str | Path | None
    resume: bool
    add: Sequence[str]
    options: Mapping[str, Any]  # names of Settings, those that were given
    compute: Compute
    num_classes: int | None = None
    class_names: Sequence[str] | None = None
    ignore_index: int | None = None
    train_labels: str | None = None
    group_by: str | None = None
    pair: str | None = None
    valid: str | None = None
    save_predictions: bool = False
    command: str = ""
    dry_run: bool = False


@dataclass
class Prepared:
    """A comparison that can run."""

    context: Context
    plans: tuple[LossPlan, ...]
    state: RunState
    notes: list[str] = field(default_factory=list)


def prepare(request: Request, reporter: Reporter) -> Prepared:
    """Check everything that can be checked before the first step, and set the run's folder up.

    Raises:
        SegcritError: something does not fit; nothing has been written then.
    """
    directory = RunDirectory(_folder(request))
    old: RunState | None = None
    if request.resume or request.add:
        old = directory.read()
    elif not request.dry_run and is_first_process() and os.environ.get(_OUT_VARIABLE) != str(directory.path):
        directory.require_new()
    expressions = choose_losses(request.losses, request.add, _task(request, old), old)
    source = _open_data(request, old, reporter)
    if old is not None and old.data.fingerprint != source.info.fingerprint:
        raise DataError(
            f"the data that the run in {directory.path} was started with",
            f"other images, splits or classes in {source.info.name}",
            "Give the same data, or start a new run in another folder.",
        )
    task = _task(request, old)
    network = _network(request, old, source, task)
    settings = _settings(request, old, source, network, directory)
    if settings.crop and network.fixed_size:
        network = _network(request, old, source, task, settings.crop)
    _require_background(settings, source)
    source.configure(settings, network.intensities, request.compute.num_workers, reporter.preparing)
    predictor = make_predictor(
        settings.inference,
        settings.window,
        settings.crop,
        source.info.spatial_dims,
        network.fixed_size,
        isinstance(source, LoaderSource),
        network.multiple,
    )
    context = Context(
        source, network, settings, request.compute, directory, reporter, predictor, request.save_predictions
    )
    context.passport = _passport(context)
    plans = make_plans(context, expressions, old)
    for plan in plans:
        context.criterion(plan.resolved)
    own = request.model is not None and not isinstance(request.model, str)
    model = ModelRecord(network.spec, _signature(network), own)
    if old is not None and old.model.signature != model.signature:
        raise ParameterError(
            f"the network that the run in {directory.path} was started with ({old.model.spec})",
            f"another one ({network.spec})",
            "Give the same network, or start a new run in another folder.",
        )
    state = RunState(
        created=old.created if old else datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        segcrit_version=old.segcrit_version if old else VERSION,
        command=old.command if old else request.command,
        settings=settings.to_dict(),
        data=old.data if old else _data_record(request, source),
        model=old.model if old else model,
        losses=plans,
        elapsed_seconds=old.elapsed_seconds if old else 0.0,
        notes=old.notes if old else (),
    )
    notes = list(state.notes)
    if isinstance(request.model, nn.Module) and len(settings.seeds) > 1:
        notes.append(
            "The network was given with its weights: every seed starts from them, and seeds differ in batches only."
        )
    return Prepared(context, plans, state, notes)


def _folder(request: Request) -> Path:
    if request.out is not None:
        return Path(request.out)
    if request.resume or request.add:
        raise ParameterError("the folder of the run to continue", "none", "Give it with --out.")
    if _OUT_VARIABLE in os.environ and not is_first_process():
        return Path(os.environ[_OUT_VARIABLE])
    if started_by_launcher() and not request.dry_run:
        raise ParameterError("a folder that all processes know", "none", "Give it with --out.")
    number = 1
    while (path := Path("runs") / f"compare-{number}").exists():
        number += 1
    return path


def announce_folder(directory: RunDirectory) -> None:
    """Tell processes that will be started from this one which folder it is."""
    os.environ[_OUT_VARIABLE] = str(directory.path)


def withdraw_folder() -> None:
    """Undo :func:`announce_folder`."""
    if is_first_process():
        os.environ.pop(_OUT_VARIABLE, None)


# -------------------------------------------------------------------------------------------------------- data


def _open_data(request: Request, old: RunState | None, reporter: Reporter) -> Source:
    data = request.data
    asked = {name: getattr(request, name) for name in FOLDER_OPTIONS}
    if old is not None:
        stored = old.data
        require_same(vars(stored), {name: value for name, value in asked.items() if value}, request.out)
        asked = {name: getattr(stored, name) or None for name in FOLDER_OPTIONS}
        if data is None:
            if stored.kind == "own":
                raise ParameterError(
                    "the loaders that the run was started with", "no data", "Give the same data= again."
                )
            data = stored.path if stored.kind == "folder" else None
    if data is None:
        if given := [f"--{name.replace('_', '-')}" for name, value in asked.items() if value]:
            raise ParameterError(f"a data folder for {given[0]}", "the default data", "Give DATA, the folder.")
        from segcrit.data.landcover import land_cover

        return FolderSource(land_cover())
    if isinstance(data, (str, os.PathLike)):
        from segcrit.data.folders.folder import load_folder

        reporter.preparing("looking through the data", 0, 1)
        loaded = load_folder(Path(data), **asked, progress=False)
        return FolderSource(loaded, Path(asked["train_labels"]).name if asked["train_labels"] else "")
    if isinstance(data, SegmentationData):
        return FolderSource(data, "training labels" if data.has_train_labels else "")
    loaders, module = open_loaders(data)
    task = _task(request, old)
    num_classes = request.num_classes or (len(request.class_names) if request.class_names else None)
    if num_classes is None:
        num_classes = _classes_of_network(request.model, loaders["train"], task)
    return LoaderSource(
        module if module is not None else loaders,
        num_classes,
        task=task,
        ignore_index=request.ignore_index,
        class_names=request.class_names,
    )


def _classes_of_network(model: Any, loader: Any, task: Task) -> int:
    """Number of channels that the user's own network puts out."""
    import copy

    import torch

    from segcrit.apps.compare.batches.forms import main_logits, read_output

    if not isinstance(model, nn.Module):
        raise ParameterError(
            "the number of classes of data that comes from own loaders", "none", "Give num_classes= or class_names=."
        )
    image = first_batch(loader).image[:1]
    with torch.no_grad():
        logits = main_logits(read_output(copy.deepcopy(model).cpu().eval()(image), image.ndim - 2))
    return 2 if task == "binary" else int(logits.shape[1])


def _data_record(request: Request, source: Source) -> DataRecord:
    fingerprint, name = source.info.fingerprint, source.info.name
    if request.data is None:
        return DataRecord(fingerprint, name, "default")
    if isinstance(request.data, (str, os.PathLike)):
        asked = {option: getattr(request, option) or "" for option in FOLDER_OPTIONS}
        return DataRecord(fingerprint, name, "folder", os.fspath(request.data), **asked)
    return DataRecord(fingerprint, name, "own")


# ----------------------------------------------------------------------------------------- network and settings


def _task(request: Request, old: RunState | None) -> Task:
    given = request.options.get("task")
    stored = old.settings["task"] if old else None
    return given or stored or "multiclass"


def _network(request: Request, old: RunState | None, source: Source, task: Task, crop: tuple[int, ...] = ()) -> Network:
    model, named_in = request.model, None
    if model is None:
        if old is not None and old.model.own:
            raise ParameterError(
                f"the network that the run was started with ({old.model.spec})",
                "no model",
                "Give the same model= again.",
            )
        if old is not None:
            named_in = RunDirectory(_folder(request)).run_file
        model = old.model.spec if old else "unet"
    info = source.info
    if task == "binary" and info.num_classes != 2:
        raise ParameterError(
            "data of two classes for a binary task", f"{info.num_classes} classes", "Leave --task out (multiclass)."
        )
    if task == "multilabel" and isinstance(source, FolderSource):
        raise ParameterError(
            "own loaders for a multilabel task",
            "a data folder, whose masks hold one class a pixel",
            "Leave --task out, or call segcrit.compare with loaders that yield (N, C, *S) targets.",
        )
    outputs = 1 if task == "binary" else info.num_classes
    return make_network(model, Purpose(info.channels, outputs, info.spatial_dims, crop), named_in=named_in)


def _signature(network: Network) -> str:
    """What must be the same when a run is continued: names and shapes of all weights."""
    shapes = [(name, tuple(value.shape)) for name, value in network.build(0).state_dict().items()]
    return sha256(repr(sorted(shapes)).encode()).hexdigest()[:16]


def _settings(
    request: Request, old: RunState | None, source: Source, network: Network, directory: RunDirectory
) -> Settings:
    given = dict(request.options)
    dimensions = source.info.spatial_dims
    for name in ("crop", "window"):
        if given.get(name) is not None:
            given[name] = _sizes(name, given[name], dimensions)
    if given.get("seeds") is not None:
        given["seeds"] = _seeds(given["seeds"])
    given = {name: value for name, value in given.items() if value is not None}
    if old is not None:
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        stored = dict(old.settings)
        if "epochs" in plain and "steps" not in plain and stored["passes"]:
            plain["passes"] = plain.pop("epochs")
        require_same(stored, plain, directory.path)
        return Settings.from_dict(stored)
    defaults = source.default_settings()
    if request.train_labels is not None:
        defaults.setdefault("steps", _WEAK_LABEL_STEPS)
    epoch_steps = defaults.pop("epoch_steps", None)
    rate = _SGD_RATE if given.get("optimizer") == "sgd" else network.learning_rate
    settings = Settings(**(defaults | {"learning_rate": rate} | given))
    return _with_length(settings, given, source, epoch_steps)


def _with_length(settings: Settings, given: Mapping[str, Any], source: Source, epoch_steps: int | None) -> Settings:
    """Fill in steps from epochs, or epochs from steps."""
    if "steps" in given:
        if "epochs" not in given and epoch_steps is not None:
            return replace(settings, epochs=max(1, -(-settings.steps // epoch_steps)))
        return replace(settings, epochs=min(settings.epochs, settings.steps))
    if epoch_steps is None:
        images = source.info.images.get("train") or 0
        if isinstance(source, LoaderSource):
            raise ParameterError("the length of a training on loaders without len()", "none", "Give steps=.")
        if "epochs" not in given:
            return settings
        epoch_steps = -(-images // settings.batch_size)
    return replace(settings, steps=settings.epochs * epoch_steps, passes=settings.epochs)


def _require_background(settings: Settings, source: Source) -> None:
    """Foreground IoU without a background would be the mIoU under another name."""
    info = source.info
    if settings.metric == "foreground_iou" and settings.task == "multiclass" and info.background is None:
        raise ParameterError(
            "data with a background class for the metric foreground_iou",
            f"{info.name}, whose class 0 is {info.classes[0].name!r}",
            'Choose the metric miou; or, if that class is the background, write "background": 0 into classes.json '
            "(own loaders: name it background in class_names).",
        )


def _sizes(name: str, value: Any, dimensions: int) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if len(sizes) == 1:
        sizes *= dimensions
    if len(sizes) != dimensions:
        raise ParameterError(
            f"one size or {dimensions} sizes for {name}", " ".join(map(str, sizes)), "Give one size an axis."
        )
    return sizes


def _seeds(value: Any) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _MOST_SEEDS:
            raise ParameterError(f"1 to {_MOST_SEEDS:,} seeds", reprlib.repr(value), "Give --seeds 3, or a list.")
        return tuple(range(value))
    return tuple(value)


def _passport(context: Context) -> dict[str, Any]:
    """What a checkpoint carries with it, so that someone can use the network: plain values only."""
    info, settings = context.source.info, context.settings
    return {
        "model": context.network.spec,
        "num_classes": info.num_classes,
        "channels": info.channels,
        "spatial_dims": info.spatial_dims,
        "task": settings.task,
        "crop": list(settings.crop),
        "ignore_index": info.ignore_index,
        "classes": [entry.name for entry in info.classes],
        "colors": [entry.color for entry in info.classes],
        "normalisation": context.source.normalisation,
    }
