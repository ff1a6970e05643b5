"""``segcrit scribble``: weak labels from full masks."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any

from segcrit.core.atomic import user_path
from segcrit.core.errors import ParameterError
from segcrit.core.numbers import MISSING, percent

if TYPE_CHECKING:
    from segcrit.data.weak.folder import WeakLabels
    from segcrit.data.weak.weak import WeakLabelOptions

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Make weak labels from a folder of full masks, to see what training with them would cost:

  scribbles  one smooth stroke inside every component of every class
  points     dots in every component, or in every class
  partial    some components, or some square blocks, labelled completely

Everything else gets the value for unlabelled pixels. The files keep their names, formats and palettes; a
picture, OUT/preview.png, shows some of them beside the full masks. The same seed gives the same labels."""

EPILOG = """\
examples:
  segcrit scribble DATA/masks DATA/scribbles
  segcrit scribble DATA/masks DATA/points --kind points --points 3 --per class
  segcrit scribble DATA/masks DATA/partial --kind partial --share 0.1 --unit block
  segcrit compare DATA --train-labels scribbles --losses partial_ce 'ce(unlabelled="background")'"""

# Option -> the kinds it is for, where it is not for all of them.
ONLY_FOR = {
    "width": ("scribbles", "points"),
    "length": ("scribbles",),
    "min_size": ("scribbles", "points"),
    "points": ("points",),
    "per": ("points",),
    "share": ("partial",),
    "unit": ("partial",),
    "block": ("partial",),
    "slice_step": ("scribbles", "points"),
}
KINDS = ("scribbles", "points", "partial")


def add_parser(subparsers: Any) -> None:
    """Add the command ``scribble``."""
    parser = subparsers.add_parser(
        "scribble", help="weak labels from full masks", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("masks", metavar="MASKS", help="folder of full masks: png, tif, npy, nii, nii.gz")
    parser.add_argument("out", metavar="OUT", help="new or empty folder for the weak labels")
    parser.add_argument("--kind", choices=KINDS, default="scribbles", help="what to keep (default: scribbles)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other labels (default: 0)")
    parser.add_argument(
        "--ignore-index",
        type=int,
        metavar="VALUE",
        help="value of unlabelled pixels (default: that of ignored pixels in the masks, or 255)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in OUT")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")

    strokes = parser.add_argument_group("scribbles and points")
    strokes.add_argument("--width", type=int, metavar="PIXELS", help="thickness of strokes and dots (default: 3)")
    strokes.add_argument(
        "--length",
        type=float,
        metavar="TIMES",
        help="length of strokes; 1 goes about once along or across the component (default: 1)",
    )
    strokes.add_argument("--min-size", type=int, metavar="PIXELS", help="leave out smaller components (default: 25)")
    strokes.add_argument("--points", type=int, metavar="N", help="dots a component or class (default: 1)")
    strokes.add_argument("--per", choices=("component", "class"), help="what --points counts for (default: component)")

    partial = parser.add_argument_group("partial")
    partial.add_argument("--share", type=float, metavar="SHARE", help="part that is kept (default: 0.3)")
    partial.add_argument("--unit", choices=("component", "block"), help="what is kept whole (default: component)")
    partial.add_argument("--block", type=int, metavar="PIXELS", help="side of a block (default: 32)")

    volumes = parser.add_argument_group("volumes")
    volumes.add_argument(
        "--axis", type=int, default=-1, help="axis along which they are drawn slice by slice (default: -1, the last)"
    )
    volumes.add_argument("--slice-step", type=int, metavar="N", help="label every N-th slice only (default: 1)")

    places = parser.add_argument_group("other files")
    places.add_argument("--classes", metavar="FILE", help="classes.json (default: in MASKS or beside it)")
    places.add_argument("--images", metavar="FOLDER", help="images for the picture (default: images/ beside MASKS)")
    places.add_argument("--pair", metavar="REGEX", help="what the names of image and mask share, in a bracket")


def run(arguments: argparse.Namespace) -> int:
    """Make the weak labels and print how much of each class they cover."""
    from segcrit.data.weak.folder import write_weak_labels

    result = write_weak_labels(
        arguments.masks,
        arguments.out,
        _options(arguments),
        seed=arguments.seed,
        ignore_value=arguments.ignore_index,
        classes_file=arguments.classes,
        images=arguments.images,
        pair=arguments.pair,
        overwrite=arguments.overwrite,
    )
    if arguments.json:
        print(json.dumps(_as_json(result), indent=2, ensure_ascii=False))
    else:
        _print(result, arguments)
    return 0


def _options(arguments: argparse.Namespace) -> WeakLabelOptions:
    from segcrit.data.weak.weak import WeakLabelOptions

    given = {}
    for name, kinds in ONLY_FOR.items():
        value = getattr(arguments, name)
        if value is None:
            continue
        if arguments.kind not in kinds:
            raise ParameterError(
                f"options for --kind {arguments.kind}",
                f"--{name.replace('_', '-')}, which is for --kind {' and '.join(kinds)}",
                "Leave it out, or choose the other kind.",
            )
        given[name] = value
    return WeakLabelOptions(kind=arguments.kind, axis=arguments.axis, **given)


def _as_json(result: WeakLabels) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "files": result.files,
        "ignore_value": result.ignore_value,
        "pixels": result.pixels,
        "classes": [vars(entry) for entry in result.classes],
        "preview": str(result.preview),
        "notes": list(result.notes),
    }


def _print(result: WeakLabels, arguments: argparse.Namespace) -> None:
    from segcrit.cli import _console as console

    labelled = sum(entry.labelled for entry in result.classes)
    console.heading(
        f"{result.files} label maps in {result.folder}: {percent(labelled / max(result.pixels, 1))} labelled"
    )
    rows = []
    for entry in result.classes:
        rows.append(
            [
                entry.name,
                percent(entry.pixels / max(result.pixels, 1)),
                f"{entry.labelled:,}",
                percent(entry.labelled / entry.pixels) if entry.pixels else MISSING,
                f"{entry.labelled_images:,}",
                f"{entry.images:,}",
            ]
        )
    titles = ["class", "share of pixels", "labelled pixels", "of the class", "labelled in images", "of images"]
    console.table(titles, rows)
    console.text(f"All other pixels have the value {result.ignore_value}.")
    for note in result.notes:
        console.note(note)
    print(f"\nPicture: {result.preview}")
    if (result.folder.parent / "images").is_dir() and result.folder.parent.resolve().samefile(
        _parent_of(arguments.masks)
    ):
        data = shlex.quote(str(result.folder.parent))
        print(
            f"Train with them: segcrit compare {data} --train-labels {shlex.quote(result.folder.name)} "
            "--losses partial_ce 'ce(unlabelled=\"background\")'"
        )


def _parent_of(masks: str) -> str:

    return str(user_path(masks).resolve().parent)
