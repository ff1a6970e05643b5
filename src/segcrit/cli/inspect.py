"""``segcrit inspect``: look through a data set before training on it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segcrit.cli import _console
from segcrit.cli._parser import add_file_memory
from segcrit.core.numbers import counted, number, percent

if TYPE_CHECKING:
    from segcrit.data.audit.advice import Recommendation
    from segcrit.data.audit.auditing import Audit
    from segcrit.data.model import SegmentationData
    from segcrit.data.problems import Problem

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Reads every image and mask of a data folder once and reports
  - how much of the pixels each class covers, and class weights that balance this,
  - labels that are no class, masks coded 0 and 255, sizes that differ, missing and damaged files, duplicates,
  - the splits, and whether every class is in each of them,
  - which losses suit the data, each with its reason and the figure behind it.
Without DATA: the default data, land cover seen from space."""

EPILOG = """\
examples:
  segcrit inspect
  segcrit inspect DATA --group-by "patient\\d+"
  segcrit inspect DATA --train-labels scribbles
  segcrit inspect DATA --json > data.json

exit codes: 0, 2 when something makes training impossible."""

ERROR = 2
_BAR = 8
_VERDICTS = {"try": "", "contrast": "as a contrast: ", "careful": "careful: "}
# Options that tell how a data folder is read; compare has them as well.
_FOLDER_OPTIONS = ("train_labels", "group_by", "pair", "valid")


def add_parser(subparsers: Any) -> None:
    """Add the command ``inspect``."""
    parser = subparsers.add_parser("inspect", help="look through a data folder", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="folder with images/ and masks/, or an nnU-Net raw folder"
    )
    parser.add_argument(
        "--train-labels", metavar="FOLDER", help="other labels for the training split, such as scribbles"
    )
    parser.add_argument("--group-by", metavar="REGEX", help="what in an image's name tells its group (patient, scene)")
    parser.add_argument("--pair", metavar="REGEX", help="what the names of image and mask share, in a bracket")
    parser.add_argument("--valid", metavar="FOLDER", help="masks of the pixels that count: 0 there is ignored")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    add_file_memory(parser)


def run(arguments: argparse.Namespace) -> int:
    """Inspect the data and print what was found; 2 when it cannot be trained on."""
    from segcrit.data.audit.auditing import audit
    from segcrit.data.folders.folder import load_folder
    from segcrit.data.landcover import land_cover
    from segcrit.data.problems import FolderError

    try:
        if arguments.data is None:
            _refuse_folder_options(arguments)
            data = land_cover()
        else:
            data = load_folder(
                arguments.data,
                train_labels=arguments.train_labels,
                group_by=arguments.group_by,
                pair=arguments.pair,
                valid=arguments.valid,
            )
    except FolderError as error:
        _report_unusable(arguments, error.problems)
        return ERROR
    report = audit(data)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(report, data, arguments)
    return ERROR if report.has_errors else 0


def _refuse_folder_options(arguments: argparse.Namespace) -> None:
    from segcrit.core.errors import ParameterError

    for option in _FOLDER_OPTIONS:
        if getattr(arguments, option) is not None:
            name = "--" + option.replace("_", "-")
            raise ParameterError(f"a DATA folder beside {name}", "the default data", "Name the folder.")


def _report_unusable(arguments: argparse.Namespace, problems: Sequence[Problem]) -> None:
    """A folder that cannot even be laid out as a data set: every reason, and no figures."""
    if arguments.json:
        content = {"root": arguments.data, "has_errors": True, "problems": [entry.to_dict() for entry in problems]}
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    _console.heading(f"{arguments.data} cannot be used yet")
    _print_problems(problems)


def _print_report(report: Audit, data: SegmentationData, arguments: argparse.Namespace) -> None:
    from segcrit.core.quantities import worded

    images = sum(report.images.values())
    what = worded("images", report.spatial_dims)
    channels = counted(report.channels, "channel")
    _console.heading(f"{report.name}: {images:,} {what}, {len(report.classes)} classes")
    first_line = data.description.lstrip("# ").split("\n", 1)[0]
    if first_line:
        _console.text(first_line)
    _console.text(f"{channels}, {_sizes(report.sizes)}. {worded(_ignored(report), report.spatial_dims)}")
    _console.text(report.normalisation)

    _console.heading("Classes")
    _console.table(*_class_table(report))
    legend = (
        "Width: mean width of its regions in pixels. Pieces: connected regions in an image that has the class. "
        "Weights: for class_weight, from the training labels."
    )
    _console.text(worded(legend, report.spatial_dims))
    if report.pos_weight is not None:
        _console.text(f"pos_weight for the binary task: {report.pos_weight:.3g} (negatives for each positive).")

    _console.heading("Splits")
    rows = [
        [split, f"{count}", *([f"{report.groups[split]}"] if report.groups is not None else [])]
        for split, count in report.images.items()
    ]
    _console.table(["split", what, *(["groups"] if report.groups is not None else [])], rows)

    _console.heading("What to know")
    _print_problems(report.problems)
    for note in report.notes:
        _console.text(f"- {note}", indent=2)
    if not report.problems and not report.notes:
        _console.text("Nothing is the matter with this data.", indent=2)

    if report.recommendations:
        _console.heading("Losses that suit this data")
        _console.table(["loss", "why", "measured here"], [_advice_row(entry) for entry in report.recommendations])
        _print_commands(report.recommendations, arguments)


def _sizes(sizes: Sequence[tuple[tuple[int, ...], int]]) -> str:
    shown = ["×".join(map(str, size)) for size, _ in sizes]
    if len(shown) == 1:
        return f"all {shown[0]}"
    axes = list(zip(*(size for size, _ in sizes), strict=False))
    if not axes:
        return "sizes unknown"
    span = "×".join(f"{min(axis)}-{max(axis)}" if min(axis) != max(axis) else f"{min(axis)}" for axis in axes)
    return f"{len(shown)} sizes ({span}), most often {shown[0]}"


def _ignored(report: Audit) -> str:
    if report.labelled_share < 0.5:
        return f"{percent(report.labelled_share)} of the training pixels are labelled."
    if report.ignore_index is None:
        return "Every pixel counts."
    return f"Ignored label {report.ignore_index}: {percent(report.ignored_share)} of the pixels."


def _class_table(report: Audit) -> tuple[list[str], list[list[str]]]:
    from segcrit.core.quantities import worded

    headers = [
        "class",
        "",
        worded("pixels", report.spatial_dims),
        worded("images", report.spatial_dims),
        "train",
        "val",
        "test",
        "width",
        "pieces",
        "median",
        "√inverse",
    ]
    largest = max((row.share for row in report.classes), default=0.0) or 1.0
    rows = [
        [
            f"{row.index} {row.name}",
            "█" * max(round(_BAR * row.share / largest), 1 if row.pixels else 0),
            percent(row.share),
            f"{row.images}",
            *(percent(row.split_shares[split]) for split in ("train", "val", "test")),
            number(row.shape.width, 1),
            number(row.shape.objects, 1),
            *(_weight(row.weights, scheme) for scheme in ("median", "sqrt_inverse")),
        ]
        for row in report.classes
    ]
    return headers, rows


def _weight(weights: Mapping[str, float], scheme: str) -> str:
    return f"{weights[scheme]:.3g}" if scheme in weights else "–"


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        _console.text(problem.noted, indent=2)


def _advice_row(entry: Recommendation) -> list[str]:
    expression = entry.expression + (f"  (--task {entry.task})" if entry.task else "")
    return [expression, _VERDICTS[entry.verdict] + entry.reason, entry.evidence]


def _print_commands(entries: Sequence[Recommendation], arguments: argparse.Namespace) -> None:
    """The commands that try these losses, to copy."""
    data = [] if arguments.data is None else [arguments.data]
    options = []
    for name in _FOLDER_OPTIONS:
        if getattr(arguments, name) is not None:
            options += ["--" + name.replace("_", "-"), getattr(arguments, name)]
    _console.text("\nTo train with them:")
    for task in dict.fromkeys(entry.task for entry in entries):
        losses = [entry.expression for entry in entries if entry.task == task and entry.verdict != "careful"]
        if losses:
            words = ["segcrit", "compare", *data, *options, *(["--task", task] if task else []), "--losses", *losses]
            print("  " + shlex.join(words))
