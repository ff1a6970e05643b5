"""``segcrit explain``: a loss step by step with a few numbers, as maps of an image, or as curves."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrit.cli._explain_text import print_explanation, print_maps
from segcrit.cli._parser import add_import
from segcrit.core.constants import TASKS
from segcrit.core.errors import ParameterError

if TYPE_CHECKING:
    from segcrit.apps.explain.maps import ImageMaps
    from segcrit.apps.explain.steps import Explanation

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

# Where pages go that nobody gave a place: beside what segcrit compare writes, never into the folder one happens to be in.
PAGES = Path("runs") / "explain"


def add_parser(subparsers: Any) -> None:
    """Add the command ``explain``."""
    parser = subparsers.add_parser(
        "explain", help="what a loss does, step by step", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument(
        "loss", nargs="?", metavar="LOSS", help='a loss or a mixture such as "ce + 0.5*dice" (default: ce)'
    )
    add_import(parser)
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
    image.add_argument("--pair", metavar="REGEX", help="what the names of image and mask share, in a bracket")
    image.add_argument("--image", metavar="ID", help="name of the image, without its ending")
    image.add_argument("--checkpoint", metavar="PATH", help="a checkpoint written by segcrit compare")
    image.add_argument("--model", metavar="SPEC", help="the network, where the checkpoint does not tell it")
    curves = parser.add_argument_group("curves")
    curves.add_argument(
        "--curves", nargs="*", metavar="LOSS", help="losses against probability; without names the common ones"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        metavar="FILE",
        help="a page (.html) or, for numbers and curves, a figure (.png); default: numbers are printed, maps and curves "
        "become a page in runs/explain/",
    )
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
    from segcrit.apps.explain.build import explain_numbers
    from segcrit.apps.explain.numbers import read_numbers

    def joined(words: list[str] | None) -> str | None:
        return None if words is None else " ".join(words)

    def flat(words: list[str] | None, what: str) -> list[float] | None:
        return None if words is None else [float(v) for v in read_numbers(" ".join(words), what).values.reshape(-1)]

    positive = flat(arguments.pos_weight, "--pos-weight")
    explanation = explain_numbers(
        "ce" if arguments.loss is None else arguments.loss,
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
        print_explanation(explanation, title)
    if arguments.out is not None:
        _write_numbers(Path(arguments.out), explanation, title)
        _say_path(Path(arguments.out), arguments.json)
    elif not arguments.json:
        print("\nThe same with pictures: add --out page.html")
    return 0 if explanation.agrees else 1


def _example_title(explanation: Explanation) -> str:
    shape = "×".join(str(size) for size in explanation.layout.shape[1:])
    classes = len(explanation.class_names)
    what = (
        f"{classes} classes" if explanation.task == "multiclass" else f"{classes} channel{'s' if classes > 1 else ''}"
    )
    return f"{explanation.expression} on a {shape} image with {what}: a worked example"


def _write_numbers(path: Path, explanation: Explanation, title: str | None) -> None:
    """Write the page or figure."""
    from segcrit.apps.explain import page
    from segcrit.core.atomic import atomic_write_bytes, atomic_write_text

    if path.suffix.lower() == ".png":
        from segcrit.apps.explain.draw import numbers_figure

        atomic_write_bytes(path, numbers_figure(explanation, title=title))
    else:
        atomic_write_text(path, page.numbers_page(explanation, title=title, command=_command_hint()))


def _command_hint() -> str:
    return 'segcrit explain "ce + dice" --probs "0.9 0.1 / 0.4 0.6 / 0.7 0.3 / 0.2 0.8" --labels "0 1 / 1 1" --out mine.html'


def _say_path(path: Path, on_stderr: bool) -> None:
    print(f"{'' if on_stderr else chr(10)}written: {path.resolve()}", file=sys.stderr if on_stderr else sys.stdout)


def _curves(arguments: argparse.Namespace) -> int:
    """Write the page or figure of curves, or print their points."""
    from segcrit.apps.explain.curves import DEFAULT_LOSSES, curves
    from segcrit.core.atomic import atomic_write_bytes, atomic_write_text

    names = ([] if arguments.loss is None else [arguments.loss]) + arguments.curves
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
    path = Path(arguments.out or PAGES / "curves.html")
    if path.suffix.lower() == ".png":
        from segcrit.apps.explain.draw import curves_figure

        atomic_write_bytes(path, curves_figure(panels))
    else:
        from segcrit.apps.explain.page import curves_page

        atomic_write_text(path, curves_page(panels, names=names or DEFAULT_LOSSES))
    _say_path(path, arguments.json)
    return 0


def _image(arguments: argparse.Namespace) -> int:
    """Write the page of an image's maps, and print the figures of it."""
    if arguments.checkpoint is None or arguments.image is None:
        missing = "--checkpoint" if arguments.checkpoint is None else "--image"
        raise ParameterError(
            "--image and --checkpoint (and --data)",
            f"no {missing}",
            "Name the image and a checkpoint of segcrit compare.",
        )
    if arguments.out is not None and Path(arguments.out).suffix.lower() == ".png":
        raise ParameterError(
            "--out to end in .html for maps", repr(arguments.out), "Maps are several pictures: a page."
        )
    import torch

    from segcrit.apps.explain.maps import explain_image
    from segcrit.cli._trained import load_trained, open_data
    from segcrit.core.atomic import atomic_write_text
    from segcrit.core.constants import DEFAULT_IGNORE_INDEX
    from segcrit.data.folders.splits import name_index, resolve
    from segcrit.losses.criterion import Criterion

    trained = load_trained(arguments.checkpoint, arguments.model)
    data = open_data(arguments.data, trained.path, arguments.pair)
    trained.check_data(data)
    sample = data.read(resolve(arguments.image, name_index(data.cases)) or arguments.image)
    criterion = Criterion(
        trained.loss if arguments.loss is None else arguments.loss,
        task=trained.task,
        ignore_index=DEFAULT_IGNORE_INDEX if data.ignore_index is None else data.ignore_index,
    )
    maps = explain_image(
        trained.predict,
        torch.from_numpy(trained.normalise(sample.image)),
        torch.from_numpy(sample.label),
        criterion,
        name=sample.id,
        class_names=data.class_names,
        picture=sample.image,
    )
    if arguments.json:
        print(json.dumps(_maps_dict(maps), indent=2, ensure_ascii=False))
        if arguments.out is None:
            return 0
    else:
        print_maps(maps)
    from segcrit.apps.explain.image_page import image_page

    source = f"Image {sample.id} of {data.name}; network {trained.model}, trained with {trained.loss}."
    path = Path(arguments.out or PAGES / f"{sample.id}.html")
    atomic_write_text(path, image_page(maps, colours=[entry.color for entry in data.classes], source=source))
    _say_path(path, arguments.json)
    return 0


def _maps_dict(maps: ImageMaps) -> dict[str, Any]:
    return {
        "image": maps.name,
        "loss": {"expression": maps.expression, "value": maps.loss, "terms": dict(maps.terms)},
        "concentration": {
            item.name: [{"pixels": pixels, "share": share} for pixels, share in item.top]
            for item in maps.concentrations
        },
        "classes": maps.class_shares(),
        "dominant": [vars(pixel) for pixel in maps.dominant],
    }
