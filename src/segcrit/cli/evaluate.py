"""``segcrit evaluate``: judge folders of predictions against label maps."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrit.cli import _console
from segcrit.cli._evaluation_text import print_outcome, print_problems
from segcrit.cli._parser import add_file_memory
from segcrit.core import atomic
from segcrit.core.atomic import user_path
from segcrit.core.errors import ParameterError

if TYPE_CHECKING:
    from types import FrameType

    from segcrit.apps.evaluate.counting.run import AuditError, Job
    from segcrit.data.problems import Problem

__all__ = [
    "add_output_options",
    "add_parser",
    "check_output",
    "finish",
    "report_unusable",
    "run",
]

DESCRIPTION = """\
Matches predictions and label maps by name, looks through all of them for mistakes (unknown values, masks of 0 and 255,
sizes that differ, damaged files), counts, and writes report.html, results.json and CSV tables with the same figures.

PRED and TARGET are folders (or single files) of label images (index, palette or colour PNG, TIFF), npy or npz arrays of
labels, logits or probabilities, or NIfTI volumes. Several PRED are compared on the same images. NAME=PRED names one.

Classes come from --classes, else from a classes.json in TARGET or beside it, else from the values in TARGET."""

EPILOG = """\
examples:
  segcrit evaluate predictions masks --classes 19
  segcrit evaluate predictions data/masks --only data/splits/test.txt
  segcrit evaluate unet=runs/a deeplab=runs/b masks --classes classes.json --groups scenes.csv
  segcrit evaluate predictions labels --map "7:0,8:1,11:2,*:ignore" --classes road,sidewalk,building
  segcrit evaluate logits masks --classes 19 --measures boundary "calibration(bins=20)"
  segcrit evaluate predictions masks --classes 19 --shard 3/16 --out runs/eval     one job of a cluster's array
  segcrit merge runs/eval --out runs/eval                                          all shards, in one result
  segcrit evaluate --out runs/eval --resume                                        after Ctrl-C, a crash or a kill

exit codes: 0, 2 for files or options that cannot be evaluated, 130 when interrupted."""

ERROR = 2
INTERRUPTED = 130
_GROUPS = "groups.csv"
# More files than this stand in a file of their own.
_SHOWN_FILES = 4


def add_parser(subparsers: Any) -> None:
    """Add the command ``evaluate``."""
    parser = subparsers.add_parser(
        "evaluate", help="judge predictions against label maps", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("paths", nargs="*", metavar="PRED ... TARGET", help="predictions, and the label maps last")
    parser.add_argument("--only", metavar="FILE.txt", help="evaluate the images named there, one a line (a split file)")
    parser.add_argument("--pair", metavar="REGEX", help="what the names of predictions and label maps share")
    parser.add_argument("--valid", metavar="FOLDER", help="masks of the pixels that count: 0 there is ignored")
    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--classes",
        metavar="CLASSES",
        help="their number, names separated by commas, a classes.json, or a text file of names",
    )
    labels.add_argument(
        "--task", default="multiclass", metavar="NAME", help="multiclass (default), binary or multilabel"
    )
    labels.add_argument("--ignore-index", metavar="N", help="label of pixels that do not count, or none (default 255)")
    labels.add_argument("--map", metavar="RULES", help='what the values of TARGET mean: "7:0,8:1,20..29:2,*:ignore"')
    labels.add_argument(
        "--map-predictions", metavar="RULES", help="the same for PRED; 'same' as in TARGET, or 'index': class numbers"
    )
    labels.add_argument(
        "--reduce-zero-label",
        nargs="?",
        const="target",
        metavar="WHERE",
        help="value 0 of TARGET is ignored and classes count from 1; 'both': so in PRED",
    )
    labels.add_argument("--values", default="auto", metavar="KIND", help="floats are logits (default) or probabilities")
    labels.add_argument(
        "--axes", metavar="ORDER", help="of arrays beside NIfTI: zyx (nnU-Net, SimpleITK) or xyz (MONAI)"
    )
    labels.add_argument("--threshold", type=float, default=0.5, metavar="P", help="of sigmoid tasks (default 0.5)")
    labels.add_argument("--upsample", metavar="linear", help="logits of lower resolution are interpolated")
    labels.add_argument("--align-corners", action="store_true", help="as in torch.nn.functional.interpolate")
    figures = parser.add_argument_group("figures")
    figures.add_argument("--policy", default="segcrit", metavar="NAME", help="absent classes as in mmsegmentation, ...")
    figures.add_argument(
        "--measures", nargs="+", default=[], metavar="M", help="boundary, calibration, curves, objects, with options"
    )
    add_output_options(figures, parser.add_argument_group("output"))
    work = parser.add_argument_group("work")
    work.add_argument("--resume", action="store_true", help="go on with an interrupted evaluation in --out")
    work.add_argument("--overwrite", action="store_true", help="replace an evaluation in --out")
    work.add_argument("--shard", metavar="I/N", help="evaluate the I-th of N parts; segcrit merge joins them")
    work.add_argument("--workers", type=int, metavar="N", help="images at a time (default: processors)")
    add_file_memory(work)
    work.add_argument(
        "--tile", type=int, default=4096, metavar="SIDE", help="window of gigapixel images (default 4096)"
    )
    work.add_argument("--allow-unmatched", action="store_true", help="evaluate the images that have both files")
    work.add_argument(
        "--save-every", type=float, default=20.0, metavar="SECONDS", help="what a kill may cost (default 20)"
    )


def add_output_options(figures: Any, output: Any) -> None:
    """Options that evaluate and merge share."""
    figures.add_argument(
        "--groups", metavar="FILE.csv", help="image, group (scene, patient): intervals resample groups"
    )
    figures.add_argument("--group-by", metavar="REGEX", help="what in an image's name tells its group")
    figures.add_argument("--resamples", type=int, metavar="N", help="of the intervals (default: up to 2,000)")
    output.add_argument("--out", metavar="FOLDER", help="where everything is written (default: a new one in runs/)")
    output.add_argument("--images", metavar="FOLDER", help="the photographs, shown in the report")
    output.add_argument("--title", metavar="TEXT", help="heading of the report")
    output.add_argument("--no-report", action="store_true", help="write tables only")
    output.add_argument("--quiet", action="store_true", help="show no progress")


def check_output(arguments: argparse.Namespace, folder: Path) -> None:
    """Refuse before the counting what would be refused after it, and a table of groups that would be written over."""
    from segcrit.metrics.statistics import check_resamples

    if arguments.resamples is not None:
        check_resamples(arguments.resamples)
    photographs = arguments.images
    if photographs is not None and not user_path(photographs).is_dir():
        raise ParameterError(
            "a folder with the photographs", f"{photographs}, which does not exist", "Correct --images."
        )
    groups = arguments.groups
    if groups is not None and os.path.realpath(user_path(groups)) == os.path.realpath(folder / _GROUPS):
        raise ParameterError(
            f"--groups of another name than {_GROUPS} in --out, where the figures of the groups are written",
            str(groups),
            "Rename it, or pass another --out.",
        )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table, and end with the path of the report."""
    from segcrit.apps.evaluate.counting.run import AuditError, Interrupted, count_files
    from segcrit.apps.evaluate.output_folder import AUDIT, require_free

    job, folder = _job(arguments)
    arguments.images, arguments.groups = job.images, job.options.groups
    check_output(arguments, folder)
    require_free(folder, job.name, resume=arguments.resume, overwrite=arguments.overwrite)
    audit = folder / (AUDIT if job.shard is None else f"{job.name}-{AUDIT}")
    # Also where a shell started the command in the background, with Ctrl-C switched off.
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        tally, problems = count_files(
            job,
            folder,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            workers=arguments.workers,
            progress=False if arguments.quiet else None,
            save_every=arguments.save_every,
        )
    except AuditError as error:
        return report_unusable(error, audit)
    except Interrupted as interruption:
        shard = "" if job.shard is None else f" --shard {job.shard[0]}/{job.shard[1]}"
        command = f"segcrit evaluate --out {shlex.quote(str(folder))} --resume{shard}"
        print(
            f"\nsegcrit: interrupted after {interruption.done} of {interruption.total} images. Continue with: {command}",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    audit.unlink(missing_ok=True)  # what an earlier attempt found
    if job.shard is not None:
        print_problems(problems)
        print(folder / f"{job.name}.npz")
        return 0
    return finish(tally, problems, folder, arguments, job.options.groups, job.options.group_by)


def finish(
    tally: Any,
    problems: Sequence[Problem],
    folder: Path,
    arguments: argparse.Namespace,
    groups: str | None,
    group_by: str | None,
) -> int:
    """Figures of counts that are complete: written, and shown as a table."""
    from segcrit.apps.evaluate.folders import write_outcome
    from segcrit.apps.evaluate.reading.matching import read_groups
    from segcrit.apps.evaluate.results import Outcome

    if not tally.ids:
        raise ParameterError("at least one image", "none", "Check what the folders hold.")
    outcome = Outcome(
        tally,
        tuple(problems),
        read_groups(tally.ids, groups, group_by),
        arguments.resamples,
        arguments.title or "",
    )
    print_outcome(outcome)
    written = write_outcome(outcome, folder, images=arguments.images, report=not arguments.no_report)
    print()
    print(written)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A cluster ends a job with SIGTERM: what was counted is written down, as after Ctrl-C.
    raise KeyboardInterrupt


def _launched_part() -> tuple[int, int] | None:
    """The part of a process that torchrun itself started several of: each evaluates its own, and merge joins them.

    A command that one process of a training starts inherits the variables, too, and evaluates everything: only the parent
    process tells the two apart.
    """
    rank, processes = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and processes.isdecimal() and 0 <= int(rank) < int(processes) and int(processes) > 1):
        return None
    try:
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return None
    if b"torchrun" not in parent and b"torch.distributed" not in parent:
        return None
    _console.note(f"part {int(rank) + 1} of {processes}, as torchrun started; then join them: segcrit merge OUT")
    return int(rank) + 1, int(processes)


def _job(arguments: argparse.Namespace) -> tuple[Job, Path]:
    from segcrit.apps.evaluate.counting.run import Job, read_job
    from segcrit.apps.evaluate.options import Options, parse_shard
    from segcrit.apps.evaluate.output_folder import new_folder

    if arguments.resume and arguments.overwrite:
        raise ParameterError("--resume or --overwrite", "both", "Go on with what is there, or replace it.")
    if arguments.workers is not None and arguments.workers < 1:
        raise ParameterError("at least one worker", str(arguments.workers), "Write --workers 4.")
    shard = _launched_part() if arguments.shard is None else parse_shard(arguments.shard)
    if not arguments.paths and arguments.resume and arguments.out is not None:
        return _resumed(arguments, read_job(Path(arguments.out), shard)), Path(arguments.out)
    if len(arguments.paths) < 2:
        raise ParameterError(
            "predictions and label maps", f"{len(arguments.paths)} paths", "Write segcrit evaluate PRED TARGET."
        )
    if arguments.resume and arguments.out is None:
        raise ParameterError("--out beside --resume", "none", "Name the folder to go on with.")
    if shard is not None and arguments.out is None:
        raise ParameterError("--out beside --shard", "none", "Name one folder for all shards.")
    void: int | str | None = arguments.ignore_index
    if isinstance(void, str) and void != "none":
        try:
            void = int(void)
        except ValueError:
            raise ParameterError("--ignore-index N, or none", repr(void), "Write --ignore-index 255.") from None
    options = Options(
        classes=arguments.classes,
        task=arguments.task,
        threshold=arguments.threshold,
        ignore_index=void,
        policy=arguments.policy,
        map=arguments.map,
        map_predictions=arguments.map_predictions,
        reduce_zero_label=arguments.reduce_zero_label,
        values=arguments.values,
        axes=arguments.axes,
        upsample=arguments.upsample,
        align_corners=arguments.align_corners,
        measures=tuple(arguments.measures),
        tile=arguments.tile,
        allow_unmatched=arguments.allow_unmatched,
        pair=arguments.pair,
        valid=arguments.valid,
        only=arguments.only,
        groups=arguments.groups,
        group_by=arguments.group_by,
    )
    *predictions, target = arguments.paths
    job = Job(tuple(predictions), target, options, shard, arguments.images)
    return job, Path(arguments.out) if arguments.out is not None else new_folder()


def _resumed(arguments: argparse.Namespace, job: Job) -> Job:
    """The job that was written down, with other groups or photographs where they are given.

    Raises:
        ParameterError: an option beside ``--resume`` that decides about the counts, which were begun without it.
    """
    free = ("groups", "group_by")
    given = {entry.name: getattr(arguments, entry.name) for entry in fields(job.options)}
    given["measures"] = tuple(given["measures"])
    given = {entry.name: given[entry.name] for entry in fields(job.options) if given[entry.name] != entry.default}
    fixed = [f"--{name.replace('_', '-')}" for name in given if name not in free]
    if fixed:
        raise ParameterError(
            "--out and --resume alone, or the whole command again",
            ", ".join(fixed),
            "Leave them out: what was begun goes on with its own options. Pass PRED and TARGET to evaluate anew.",
        )
    options = replace(job.options, **{**dict.fromkeys(free), **given}) if given else job.options
    return replace(job, options=options, images=arguments.images or job.images)


def report_unusable(error: AuditError, file: Path) -> int:
    """Every reason on stdout, the first in one line on stderr, every image in the file; no figures."""
    problems = error.problems
    errors = [problem for problem in problems if problem.severity == "error"]
    if len(problems) > 1:
        print_problems(problems)
    content = {
        "problems": [problem.to_dict() for problem in problems],
        "files": [dict(zip(("code", "model", "id"), entry, strict=True)) for entry in error.files],
    }
    atomic.atomic_write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if len(error.files) > _SHOWN_FILES:
        print(f"All {len(error.files):,} files: {file}")
    others = len(errors) - 1
    more = (
        f" ({others} more {'kind of error is' if others == 1 else 'kinds of errors are'} listed above.)"
        if others
        else ""
    )
    _console.say(f"{errors[0].message}{more}")
    return ERROR
