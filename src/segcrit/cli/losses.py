"""``segcrit losses``: the table of losses, or one loss in full."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from segcrit.cli._parser import add_import
from segcrit.core.errors import ParameterError

if TYPE_CHECKING:
    from segcrit.losses.table import Loss, Parameter

__all__ = ["add_parser", "describe", "run"]

DESCRIPTION = """\
Without a name: all losses, what kind each is, and when to use it.
With a name: its formula, parameters, reference, when to use it and when not, and a line of code."""

EPILOG = """\
examples:
  segcrit losses
  segcrit losses focal
  segcrit losses --json"""

FAMILIES = {
    "pixel": "a value at each pixel, averaged",
    "region": "a function of sums over the pixels of each class",
    "ranking": "depends on the order of the errors",
}

OUTPUTS = {
    "multiclass": "softmax: each pixel has one class",
    "multilabel": "a sigmoid a channel: channels may overlap",
    "binary": "one channel, a sigmoid",
}


def add_parser(subparsers: Any) -> None:
    """Add the command ``losses``."""
    parser = subparsers.add_parser("losses", help="the table of losses", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a loss or one of its other names")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    add_import(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table or one loss."""
    from segcrit.losses import formulas  # noqa: F401 - fills the table
    from segcrit.losses.table import list_losses

    losses = list_losses() if arguments.name is None else [_find(arguments.name)]
    if arguments.json:
        described = [describe(loss) for loss in losses]
        print(json.dumps(described if arguments.name is None else described[0], indent=2, ensure_ascii=False))
    elif arguments.name is None:
        _print_table(losses)
    else:
        _print_loss(losses[0])
    return 0


def describe(loss: Loss) -> dict[str, Any]:
    """A row of the table as plain data.

    Example:
        >>> import segcrit
        >>> describe(segcrit.list_losses()[0])["name"]
        'ce'
    """
    return {
        "name": loss.name,
        "title": loss.title,
        "family": loss.family,
        "tasks": list(loss.tasks),
        "aliases": list(loss.aliases),
        "formula": loss.formula,
        "parameters": {
            name: {
                "default": parameter.default,
                "allowed": _allowed(parameter),
                "meaning": parameter.meaning,
            }
            for name, parameter in loss.parameters.items()
        },
        "reference": loss.reference,
        "use_when": loss.use_when,
        "avoid_when": loss.avoid_when,
        "function": None if loss.function is None else f"segcrit.functional.{loss.function}",
        "module": None if loss.module is None else f"segcrit.{loss.module}",
        "example": _example(loss),
    }


def _find(name: str) -> Loss:
    from segcrit.losses.expression.syntax import parse
    from segcrit.losses.table import list_losses, lookup, nearest_loss

    loss = lookup(name.strip().lower()) or lookup(name.strip())
    if loss is not None:
        return loss
    if any(mark in name for mark in "+*("):
        terms = parse(name).terms  # says what is wrong if it is no expression either
        only = lookup(terms[0].name) if len(terms) == 1 else None
        if only is not None:
            return only
        raise ParameterError(
            "the name of one loss", f"the expression {name!r}", "Name one of its terms, or use 'segcrit explain'."
        )
    listing = f"Losses: {', '.join(row.name for row in list_losses())}."
    raise ParameterError("the name of a loss", repr(name), f"{nearest_loss(name)} {listing}".strip())


def _print_table(losses: list[Loss]) -> None:
    from segcrit.cli import _console as console

    rows = [[loss.name, loss.family, ", ".join(loss.tasks), loss.use_when] for loss in losses]
    console.heading("Losses")
    console.table(["name", "family", "tasks", "use when"], rows)
    console.heading("Formulas")
    console.table(["name", "formula"], [[loss.name, loss.formula] for loss in losses])
    console.text()
    console.text('Mix them: segcrit.Criterion("ce + 0.5*dice(smooth=1)"). One in full: segcrit losses NAME.')


def _print_loss(loss: Loss) -> None:
    from segcrit.cli import _console as console

    console.heading(f"{loss.title} ({loss.name})")
    console.text(loss.formula, indent=2)
    console.text()
    about = [
        ["family", f"{loss.family}: {FAMILIES[loss.family]}"],
        *[["task", f"{task}: {OUTPUTS[task]}"] for task in loss.tasks],
        ["other names", ", ".join(loss.aliases)],
        ["use when", loss.use_when],
        ["avoid when", loss.avoid_when],
        ["reference", loss.reference],
    ]
    console.table(["about", ""], [row for row in about if row[1]])
    console.heading("Parameters")
    rows = [
        [name, _value(parameter.default), _allowed(parameter), parameter.meaning]
        for name, parameter in loss.parameters.items()
    ]
    console.table(["name", "default", "allowed", "meaning"], rows)
    console.heading("Use it")
    for line in _example(loss):
        console.text(line, indent=2)
    console.text(f"See it work: segcrit explain {loss.name}", indent=2)


def _allowed(parameter: Parameter) -> str:
    return "any value" if parameter.constraint is None else parameter.constraint.describe()


def _value(value: Any) -> str:
    from segcrit.losses.expression.syntax import format_value

    return format_value(value)


def _example(loss: Loss) -> list[str]:
    """Lines of code: as a term of an expression, as a module, as a function."""
    task = "" if "multiclass" in loss.tasks else f', task="{loss.tasks[0]}"'
    lines = [f'criterion = segcrit.Criterion("{loss.name}"{task})']
    if loss.module is not None:
        lines.append(f"criterion = segcrit.{loss.module}()")
    lines.append("loss = criterion(logits, target)")
    if loss.function is not None:
        lines.append(f"loss = segcrit.functional.{loss.function}(logits, target{task})")
    return lines
