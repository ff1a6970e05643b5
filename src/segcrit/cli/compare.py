"""``segcrit compare``: train one network under several losses and report which one won."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrit.cli import _console
from segcrit.cli._allocator import keep_freed_memory
from segcrit.cli._parser import add_file_memory, add_import

if TYPE_CHECKING:
    from segcrit.apps.compare.prepare import Request
    from segcrit.apps.compare.records import Results
    from segcrit.apps.compare.runner import CostEstimate

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Trains the same network, from the same initial weights and on the same batches, under each loss, keeps the
checkpoint with the best validation figure, judges it on the test images, and writes report.html.

DATA is a folder with images/ and masks/ (splits/ and classes.json if you have them), or an nnU-Net raw folder.
Without DATA: land cover seen from space, 82 tiles, about a minute for each loss on two cores."""

EPILOG = """\
examples:
  segcrit compare
  segcrit compare DATA --losses ce dice "ce + dice" "focal(gamma=3)" --seeds 3 --out runs/first
  segcrit compare DATA --losses ce 'ce(class_weight="median")'       words are computed from the training images
  segcrit compare DATA --train-labels scribbles --losses partial_ce 'ce(unlabelled="background")'
  segcrit compare DATA --model smp:Unet?encoder_name=resnet34 --epochs 50 --batch-size 16 --precision bf16-mixed
  segcrit compare DATA --dry-run                                     time and memory, without training
  segcrit compare --out runs/first --resume                          after Ctrl-C, a crash or a power cut
  segcrit compare --out runs/first --add "ce + lovasz"               one loss more, from the same weights

Names of losses and their parameters: segcrit losses. Progress in a browser: tensorboard --logdir OUT/tensorboard"""


_COMMON = "The time of a step beside its loss is taken to be the same for all losses: the median of what was measured."


def add_parser(subparsers: Any) -> None:
    """Add the command ``compare``."""
    parser = subparsers.add_parser(
        "compare", help="train one network under several losses", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("data", nargs="?", metavar="DATA", help="data folder (default: land cover seen from space)")
    _add_what(parser.add_argument_group("what is compared"))
    _add_run(parser.add_argument_group("the run's folder"))
    _add_training(parser.add_argument_group("training"))
    _add_data(parser.add_argument_group("data"))
    _add_machine(parser.add_argument_group("machine"))


def _add_what(group: Any) -> None:
    group.add_argument(
        "--losses",
        nargs="+",
        metavar="LOSS",
        help='expressions (default: ce dice "ce + dice" focal jaccard "ce + lovasz")',
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="unet (default), unet?features=(32,32,64,128,256,32), smp:Unet?encoder_name=resnet34, monai:SegResNet, "
        "hf:nvidia/segformer-b0-finetuned-ade-512-512, or my_module:make_network",
    )
    group.add_argument(
        "--seeds",
        type=_seeds,
        metavar="N",
        help="number of seeds, or a list such as 3,7 (default 1)",
    )
    group.add_argument(
        "--metric",
        metavar="NAME",
        help="miou (default), foreground_iou or image_dice: chooses the checkpoint and the winner",
    )
    group.add_argument("--task", metavar="NAME", help="multiclass (default) or binary: two classes, one sigmoid")
    add_import(group)


def _add_run(group: Any) -> None:
    group.add_argument("--out", metavar="FOLDER", help="where everything is written (default: a new folder in runs/)")
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out; needs no other option, but --model for a network of your own",
    )
    group.add_argument("--add", nargs="+", default=[], metavar="LOSS", help="add losses to the run in --out")
    group.add_argument("--dry-run", action="store_true", help="measure a few steps, print time and memory, and stop")
    group.add_argument("--save-predictions", action="store_true", help="write the predicted labels of the test images")
    group.add_argument("--quiet", action="store_true", help="show no progress")


def _add_training(group: Any) -> None:
    group.add_argument(
        "--steps", type=int, metavar="N", help="steps of each training (default 280; 640 with --train-labels)"
    )
    group.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="passes over the training images, each with a validation and a checkpoint; beside --steps: into how many "
        "parts the steps are divided (default 7)",
    )
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="crops in a step, over all devices (default 8; volumes 2)"
    )
    group.add_argument(
        "--crop",
        type=int,
        nargs="+",
        metavar="N",
        help="one number, or one an axis (default up to 128; volumes 64)",
    )
    group.add_argument("--learning-rate", type=float, metavar="X", help="its peak (default by network; U-Net 0.003)")
    group.add_argument(
        "--tune-lr",
        action="store_true",
        default=None,
        help="find a learning rate for each loss by four short trainings",
    )
    group.add_argument("--optimizer", metavar="NAME", help="adamw (default), adam or sgd")
    group.add_argument("--weight-decay", type=float, metavar="X", help="default 0.01")
    group.add_argument("--schedule", metavar="NAME", help="one-cycle (default), polynomial or constant")
    group.add_argument(
        "--gradient-clip", type=float, metavar="X", help="largest norm of the gradient (default 12; 0: none)"
    )
    group.add_argument("--augment", metavar="NAME", help="flip (default), full (all flips, quarter turns) or none")


def _add_data(group: Any) -> None:
    group.add_argument(
        "--train-labels",
        metavar="FOLDER",
        help="train on other labels, for example scribbles (255: unlabelled); the full masks judge",
    )
    group.add_argument(
        "--group-by", metavar="REGEX", help="finds the scene or patient in a file name; never split apart"
    )
    group.add_argument("--pair", metavar="REGEX", help="what the names of image and mask share, in a bracket")
    group.add_argument("--valid", metavar="FOLDER", help="masks of the pixels that count: 0 there is ignored")
    group.add_argument(
        "--inference", metavar="NAME", help="auto (default: whole images, a sliding window if large), whole or sliding"
    )
    group.add_argument(
        "--window", type=int, nargs="+", metavar="N", help="size of the window (default 512; volumes 128)"
    )
    group.add_argument("--num-workers", type=int, metavar="N", help="processes that read images (default: by machine)")
    add_file_memory(group)


def _add_machine(group: Any) -> None:
    group.add_argument("--accelerator", default="auto", metavar="NAME", help="auto (default), cpu, gpu, mps")
    group.add_argument("--devices", default="auto", metavar="N", help="how many, or which (0,2) (default: all)")
    group.add_argument("--num-nodes", type=int, default=1, metavar="N", help="machines of a cluster (default 1)")
    group.add_argument(
        "--strategy", default="auto", metavar="NAME", help="auto (default), ddp, ...: as Lightning names it"
    )
    group.add_argument("--precision", metavar="NAME", help="32-true (default), bf16-mixed, 16-mixed")


def _seeds(text: str) -> int | list[int]:
    try:
        return [int(part) for part in text.split(",")] if "," in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a list such as 3,7.") from None


def run(arguments: argparse.Namespace) -> int:
    """Compare, print the outcome, and end with the path of the report."""
    from segcrit.core.optional import require
    from segcrit.losses.expression.syntax import parse

    for text in (*(arguments.losses or ()), *arguments.add):
        parse(text)  # a typing error is told before the training library is loaded
    require("lightning.pytorch", extra="compare")
    keep_freed_memory()
    from segcrit.apps.compare import runner
    from segcrit.apps.compare.training.context import is_first_process

    request = _request(arguments)
    progress = False if arguments.quiet else None
    if arguments.dry_run:
        _print_estimate(runner.estimate(request, progress), request)
        return 0
    try:
        results, folder = runner.run(request, progress)
    except runner.Interrupted as interruption:
        # A network of the user's own is named at each call, because no file may name code.
        model = f" --model {shlex.quote(arguments.model)}" if arguments.model else ""
        out = shlex.quote(str(interruption.folder))
        print(f"\nsegcrit: interrupted. Continue with: segcrit compare --out {out} --resume{model}", file=sys.stderr)
        return 130
    if is_first_process():
        _print_results(results, folder)
    return 0


def _request(arguments: argparse.Namespace) -> Request:
    from segcrit.apps.compare.prepare import Request
    from segcrit.apps.compare.settings import Compute

    names = (
        "task",
        "seeds",
        "steps",
        "epochs",
        "batch_size",
        "crop",
        "learning_rate",
        "optimizer",
        "weight_decay",
        "schedule",
        "gradient_clip",
        "augment",
        "metric",
        "precision",
        "inference",
        "window",
    )
    options = {name: getattr(arguments, name) for name in names} | {"tune_learning_rate": arguments.tune_lr}
    return Request(
        model=arguments.model,
        data=arguments.data,
        losses=arguments.losses,
        out=arguments.out,
        resume=arguments.resume,
        add=tuple(arguments.add),
        options=options,
        compute=Compute(
            arguments.accelerator, arguments.devices, arguments.num_nodes, arguments.strategy, arguments.num_workers
        ),
        train_labels=arguments.train_labels,
        group_by=arguments.group_by,
        pair=arguments.pair,
        valid=arguments.valid,
        save_predictions=arguments.save_predictions,
        command=shlex.join(["segcrit", *sys.argv[1:]]),
    )


def _print_results(results: Results, folder: Path) -> None:
    from segcrit.apps.compare.report.page import REPORT_FILE
    from segcrit.apps.compare.verdict.summary import mean_cost, mean_figures, shown_figures, step_seconds
    from segcrit.apps.compare.verdict.text import caveats, judge
    from segcrit.core.numbers import counted, number
    from segcrit.core.quantities import worded

    verdict = results.verdict or judge(results)
    order = {standing.loss: place for place, standing in enumerate(verdict.standings)}
    losses = sorted(results.losses, key=lambda loss: order.get(loss.name, len(order)))
    metric = results.run.metric
    labels = shown_figures(results)
    others = [name for name in ("miou", "foreground_iou", "pixel_accuracy") if name != metric and name in labels]
    headers = ["loss", *(labels[name] for name in (metric, *others)), "ms a step", "of it the loss"]
    rows = []
    steps = step_seconds(results)
    for loss in losses:
        figures, cost = mean_figures(loss), mean_cost(loss)
        if figures is None:
            status = next((seed.status for seed in loss.seeds if seed.status != "ok"), "missing")
            shown = [status, *("-" for _ in others)]
        else:
            shown = [number(getattr(figures, name)) for name in (metric, *others)]
        own = math.nan if cost is None else cost.loss_forward_seconds + cost.loss_backward_seconds
        times = [_milliseconds(steps.get(loss.name, math.nan)), _milliseconds(own, 1)]
        rows.append([loss.name, *shown, *times])
    if results.baseline is not None:
        name = results.data.classes[results.baseline.class_index].name
        shown = [number(getattr(results.baseline.figures, key)) for key in (metric, *others)]
        rows.append([f"always {name}", *shown, "-", "-"])
    tested = worded(counted(results.data.images.get("test", 0), "test image"), results.data.spatial_dims)
    _console.heading(f"{results.data.name}: {tested}")
    _console.table(headers, rows)
    if steps:
        _console.text(_COMMON)
    print()
    _console.text(" ".join([verdict.headline, *caveats(verdict)]))
    for loss in results.losses:
        for seed in loss.seeds:
            if seed.status == "diverged":
                _console.text(f"{loss.name} was stopped: {seed.message}")
    for note in results.run.notes:
        _console.text(f"Note: {worded(note, results.data.spatial_dims)}")
    print()
    print(folder / REPORT_FILE)


def _milliseconds(seconds: float, digits: int = 0) -> str:
    # Runs of a few steps have no time of the loss by itself.
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.{digits}f}"


def _print_estimate(estimate: CostEstimate, request: Request) -> None:
    from segcrit.core.numbers import duration, memory

    rows = []
    for name, cost in estimate.losses:
        rows.append(
            [
                name,
                _milliseconds(cost.step_seconds),
                _milliseconds(cost.loss_seconds, 1),
                memory(cost.peak_memory),
                duration(cost.training_seconds),
            ]
        )
    _console.heading("Estimate from a few steps of every loss; nothing was written")
    _console.table(["loss", "ms a step", "of it the loss", "peak memory", "one training"], rows)
    print()
    _console.text(_COMMON)
    _console.text(
        f"{estimate.trainings} trainings of {estimate.steps} steps: about {duration(estimate.seconds)}, "
        f"at most {memory(estimate.peak_memory)}. The same command without --dry-run starts them."
    )
