"""``segcrit explain``: a loss step by step with a few numbers, as maps of an image, or as curves."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrit._constants import TASKS
from segcrit.errors import MissingExtraError, ParameterError

if TYPE_CHECKING:
    from segcrit.explain.steps import Explanation, Layout, Step

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Show what a loss does. Three ways:
  with nothing, or with --logits or --probs and --labels: every step, down to the gradient, checked against
  segcrit.Criterion; with --data, --image and --checkpoint: where in an image the loss comes from;
  with --curves: losses and gradients against the probability of the truth."""

EPILOG = """\
examples:
  segcrit explain
  segcrit explain --probs "0.3 0.6 0.1" --labels 1
  segcrit explain "ce + 0.5*dice" --logits "2 0.5 / 0.1 1 / 1 0 / 0.2 0.3" --labels "0 1 / 1 0"
  segcrit explain lovasz --task binary --logits "1.5 -0.5 / 0.2 -2" --labels "1 0 / 0 1" --out lovasz.html
  segcrit explain partial_ce --probs "0.9 0.1 / 0.2 0.8 / 0.5 0.5" --labels "0 1 ?"
  segcrit explain "ce + dice" --data DATA --image ID --checkpoint runs/x/.../best.ckpt --out maps.html
  segcrit explain --curves focal dice --out curves.html

numbers: of one pixel separated by blanks or commas, pixels by / or ; (quote them). Labels may be laid out as
the rows of the image; ? is a pixel without a label. JSON lists in PyTorch's order are understood as well."""

NUMBERS_PAGE, IMAGE_PAGE, CURVES_PAGE = "segcrit-explain.html", "segcrit-image.html", "segcrit-curves.html"


def add_parser(subparsers: Any) -> None:
    """Add the command ``explain``."""
    parser = subparsers.add_parser(
        "explain", help="what a loss does, step by step", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "loss", nargs="?", metavar="LOSS", help='a loss or a mixture such as "ce + 0.5*dice" (default: ce)'
    )
    numbers = parser.add_argument_group("your own numbers")
    numbers.add_argument("--logits", nargs="+", metavar="NUMBERS", help="raw outputs of a network")
    numbers.add_argument("--probs", nargs="+", metavar="NUMBERS", help="probabilities, instead of logits")
    numbers.add_argument(
        "--labels", nargs="+", metavar="NUMBERS", help="the true class of each pixel, or one-hot or soft"
    )
    numbers.add_argument("--task", choices=TASKS, help="default: found from the numbers")
    numbers.add_argument("--ignore-index", type=int, metavar="LABEL", help="label that does not count (default: -100)")
    numbers.add_argument("--class-weight", nargs="+", metavar="W", help="one weight for each class")
    numbers.add_argument("--pos-weight", nargs="+", metavar="W", help="weight of positives in bce")
    numbers.add_argument("--class-names", nargs="+", metavar="NAME", help="names for tables and pictures")
    image = parser.add_argument_group("an image of a data set")
    image.add_argument("--data", metavar="DATA", help="the data folder")
    image.add_argument("--image", metavar="ID", help="name of the image, without its ending")
    image.add_argument("--checkpoint", metavar="PATH", help="a checkpoint written by segcrit compare")
    image.add_argument("--model", metavar="SPEC", help="the network, where the checkpoint does not tell it")
    curves = parser.add_argument_group("curves")
    curves.add_argument(
        "--curves", nargs="*", metavar="LOSS", help="losses against probability; without names the common ones"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="FILE", help="a page (.html) or, for numbers and curves, a figure (.png)")
    output.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Explain with numbers, with an image, or with curves."""
    _check_out(arguments)
    image_options = {
        name: getattr(arguments, name) for name in ("data", "image", "checkpoint", "model") if getattr(arguments, name)
    }
    number_options = [name for name in ("logits", "probs", "labels") if getattr(arguments, name) is not None]
    if arguments.curves is not None:
        _refuse(number_options + list(image_options), "--curves")
        return _curves(arguments)
    if image_options:
        _refuse(number_options, "--data")
        return _image(arguments)
    return _numbers(arguments)


def _refuse(names: list[str], other: str) -> None:
    if names:
        raise ParameterError(f"{other} alone", f"--{names[0]} with it", "Explain one thing at a time.")


def _check_out(arguments: argparse.Namespace) -> None:
    if arguments.out is not None and Path(arguments.out).suffix.lower() not in (".html", ".htm", ".png"):
        raise ParameterError(
            "--out to end in .html or .png", repr(arguments.out), "Name a page (x.html) or a figure (x.png)."
        )


def _numbers(arguments: argparse.Namespace) -> int:
    from segcrit.explain import explain_numbers
    from segcrit.explain.numbers import read_numbers

    def joined(words: list[str] | None) -> str | None:
        return None if words is None else " ".join(words)

    def flat(words: list[str] | None, what: str) -> list[float] | None:
        return None if words is None else [float(v) for v in read_numbers(" ".join(words), what).values.reshape(-1)]

    positive = flat(arguments.pos_weight, "--pos-weight")
    explanation = explain_numbers(
        arguments.loss or "ce",
        logits=joined(arguments.logits),
        probabilities=joined(arguments.probs),
        labels=joined(arguments.labels),
        task=arguments.task,
        ignore_index=-100 if arguments.ignore_index is None else arguments.ignore_index,
        class_weight=flat(arguments.class_weight, "--class-weight"),
        pos_weight=positive[0] if positive is not None and len(positive) == 1 else positive,
        class_names=arguments.class_names,
    )
    is_example = arguments.logits is None and arguments.probs is None
    title = _example_title(explanation) if is_example else None
    if arguments.json:
        print(json.dumps(explanation.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(explanation, title)
    path = _write_numbers(arguments, explanation, title, is_example)
    if path is not None:
        _say_path(path, arguments.json)
    elif not arguments.json and not is_example:
        print("\nThe same with pictures: add --out page.html")
    return 0 if explanation.agrees else 1


def _example_title(explanation: Explanation) -> str:
    shape = "×".join(str(size) for size in explanation.layout.shape[1:])
    classes = len(explanation.class_names)
    what = (
        f"{classes} classes" if explanation.task == "multiclass" else f"{classes} channel{'s' if classes > 1 else ''}"
    )
    return f"{explanation.expression} on a {shape} image with {what}: a worked example"


def _write_numbers(
    arguments: argparse.Namespace, explanation: Explanation, title: str | None, is_example: bool
) -> Path | None:
    """Write the page or figure: where --out says, or beside for the plain example if its packages are there."""
    from segcrit._files import atomic_write_bytes, atomic_write_text
    from segcrit.explain import page

    asked = arguments.out is not None
    if not asked and (not is_example or arguments.loss is not None or arguments.json):
        return None
    path = Path(arguments.out or NUMBERS_PAGE)
    try:
        if path.suffix.lower() == ".png":
            from segcrit.explain.draw import numbers_figure

            atomic_write_bytes(path, numbers_figure(explanation, title=title))
        else:
            atomic_write_text(path, page.numbers_page(explanation, title=title, command=_command_hint()))
    except MissingExtraError as error:
        if asked:
            raise
        print(f"\nThe same as a page with pictures: {error.advice}")
        return None
    return path


def _command_hint() -> str:
    return 'segcrit explain "ce + dice" --probs "0.9 0.1 / 0.4 0.6 / 0.7 0.3 / 0.2 0.8" --labels "0 1 / 1 1" --out mine.html'


def _say_path(path: Path, on_stderr: bool) -> None:
    print(f"{'' if on_stderr else chr(10)}written: {path.resolve()}", file=sys.stderr if on_stderr else sys.stdout)


def _print(explanation: Explanation, title: str | None) -> None:
    """All steps as tables."""
    from segcrit.cli import _console as console
    from segcrit.explain.steps import format_number

    console.text(title or f"{explanation.expression}, step by step")
    for note in explanation.notes:
        console.text(f"Note: {note}")
    number = 0
    for step in explanation.opening:
        number += 1
        _print_step(step, number, explanation.layout)
    several = len(explanation.terms) > 1
    for term in explanation.terms:
        for step in term.steps:
            number += 1
            _print_step(step, number, explanation.layout, f" [{term.text}]" if several else "")
    for step in explanation.closing:
        number += 1
        _print_step(step, number, explanation.layout)
    console.heading(f"loss = {format_number(explanation.value)}")
    for check in explanation.checks:
        outcome = "agrees" if check.agrees else f"DIFFERS by {check.difference:.1e}: please report this"
        remark = f" ({check.remark})" if check.remark else ""
        console.text(f"{check.name}: {format_number(check.value)}, {outcome}{remark}", indent=2)


def _print_step(step: Step, number: int, layout: Layout, where: str = "") -> None:
    from segcrit.cli import _console as console
    from segcrit.explain.steps import ClassTable, PixelTable, format_number

    console.heading(f"{number}. {step.title}{where}")
    console.text(step.formula, indent=2)
    console.text(step.caption, indent=2)
    for block in step.blocks:
        console.text()
        if isinstance(block, PixelTable):
            rows = [
                [layout.name(pixel), *(column.text(pixel) for column in block.columns)]
                for pixel in range(layout.pixels)
            ]
            console.table(["pixel", *(column.name for column in block.columns)], rows)
        elif isinstance(block, ClassTable):
            rows = [
                [f"{name} (skipped)" if row in block.skipped else name]
                + [format_number(values[row]) for _, values in block.columns]
                for row, name in enumerate(block.rows)
            ]
            console.table([block.corner, *(name for name, _ in block.columns)], rows)
        else:
            console.text(f"{block.name}: {block.total_positives:g} of its pixels", indent=2)
            rows = [
                [
                    rank.pixel,
                    "yes" if rank.positive else "no",
                    format_number(rank.error),
                    f"{rank.positives:g}",
                    f"{rank.negatives:g}",
                    format_number(rank.jaccard),
                    format_number(rank.increment),
                    format_number(rank.product),
                ]
                for rank in block.ranks
            ]
            console.table(["pixel", "class?", "error", "F", "B", "J", "ΔJ", "error·ΔJ"], rows)
            console.text(f"sum = {format_number(block.value)}", indent=2)
    for name, value in step.results:
        console.text(f"{name} = {format_number(value)}", indent=2)


def _curves(arguments: argparse.Namespace) -> int:
    """Write the page or figure of curves, or print their points."""
    from segcrit._files import atomic_write_bytes, atomic_write_text
    from segcrit.explain.curves import DEFAULT_LOSSES, curves

    names = ([arguments.loss] if arguments.loss else []) + arguments.curves
    panels = curves(names or None)
    if arguments.json:
        points = [
            {"title": panel.title, "x": panel.x_label, "y": panel.y_label}
            | {"curves": {curve.name: [curve.x.tolist(), curve.y.tolist()] for curve in panel.curves}}
            for panel in panels
        ]
        print(json.dumps(points, ensure_ascii=False))
        if arguments.out is None:
            return 0
    path = Path(arguments.out or CURVES_PAGE)
    if path.suffix.lower() == ".png":
        from segcrit.explain.draw import curves_figure

        atomic_write_bytes(path, curves_figure(panels))
    else:
        from segcrit.explain.page import curves_page

        atomic_write_text(path, curves_page(panels, names=names or DEFAULT_LOSSES))
    _say_path(path, arguments.json)
    return 0


def _image(arguments: argparse.Namespace) -> int:
    raise NotImplementedError
