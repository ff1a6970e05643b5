"""Write ``segcrit/functional.py`` and ``segcrit/losses/modules.py`` from the table of losses.

python tools/write_losses.py            write both files
python tools/write_losses.py --check    exit 1 where they are not what would be written
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch

import segcrit.losses.formulas  # noqa: F401 - fills the table
from segcrit.core.constraints import Boolean, ClassList, Number, PerClass, WholeNumber
from segcrit.losses.one_loss import evaluate
from segcrit.losses.table import Loss, Parameter, list_losses

PACKAGE = Path(__file__).parents[1] / "src" / "segcrit"
HEAD = (
    '"""{title}\n\n'
    "Written from the table of losses by ``tools/write_losses.py``: change the row of a loss, not this file.\n"
    '{more}"""\n'
)
START = "# fmt: off\n\nfrom __future__ import annotations\n\n"
CONSTANTS = "from segcrit.core.constants import DEFAULT_IGNORE_INDEX, Task\n"
KEYWORDS = "from segcrit.losses.keywords import checked_keywords\n"
FUNCTIONS = """
All take logits (N, C, *S) and a target as described in ``Criterion``. ``reduction="none"`` returns unreduced values: u·w·ℓ
of each pixel, (N, *S) (in sigmoid tasks of each element, (N, C, *S)), 0 where it does not count, for pixel losses; the
loss of each class, (C,) or (N, C) with ``per_image``, NaN where a class is skipped, for region and ranking losses; with
``classes=`` only the entries of those classes, in their order.
"""
WIDTH = 120
# Parameters of the call, behind those of the loss.
SETTINGS: dict[str, tuple[str, str, str]] = {
    "ignore_index": ("int", "DEFAULT_IGNORE_INDEX", "label that does not count"),
    "task": ("Task", "", '``"multiclass"``, ``"multilabel"`` or ``"binary"``'),
    "reduction": ("str", '"mean"', '``"mean"``, ``"sum"`` or ``"none"``'),
    "upsample": ("str | None", "None", '``"linear"`` interpolates the logits to the size of the target'),
    "align_corners": ("bool", "False", "as in ``torch.nn.functional.interpolate``"),
}


def annotation(parameter: Parameter) -> str:
    """The type of a parameter, from its constraint."""
    rule = parameter.constraint
    if isinstance(rule, Boolean):
        return "bool"
    if isinstance(rule, WholeNumber):
        return "int"
    if isinstance(rule, Number):
        return "float | None" if rule.optional else "float"
    if isinstance(rule, ClassList):
        return "Sequence[int] | None"
    if isinstance(rule, PerClass):
        return "Matrix" if rule.matrix else "WeightsOrNumber" if rule.scalar else "Weights"
    return "str"


def own(loss: Loss) -> list[Parameter]:
    """The parameters of a loss without the reduction, which the call has."""
    return [parameter for name, parameter in loss.parameters.items() if name != "reduction"]


def task_of(loss: Loss) -> str:
    """The default task."""
    return "multiclass" if "multiclass" in loss.tasks else "binary"


def needs_maps(loss: Loss) -> bool:
    """Whether the loss reads maps beside the target."""
    return any("_" in name for name in getattr(loss.compute, "fields", None) or ())


def signature(loss: Loss, leading: list[str], *, extra: list[str], indent: int) -> list[str]:
    """The parameters of a function, several on a line."""
    words = [f"{item.name}: {annotation(item)} = {item.default!r}" for item in own(loss)]
    words = [word.replace("'", '"') for word in words] + extra
    for name, (kind, default, _) in SETTINGS.items():
        words.append(f"{name}: {kind} = {default or chr(34) + task_of(loss) + chr(34)}")
    space = " " * indent
    # A parameter is never broken: its spaces are others until the lines are.
    text = " ".join(f"{word},".replace(" ", "\0") for word in words)
    lines = textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=space, break_long_words=False)
    return [f"{space}{', '.join(leading)},", *(line.replace("\0", " ") for line in lines)]


def paragraph(text: str, indent: int, hanging: int = 0) -> list[str]:
    """Lines of a docstring."""
    space = " " * indent
    return textwrap.wrap(
        text, WIDTH, initial_indent=space, subsequent_indent=space + " " * hanging, break_on_hyphens=False
    )


def example(loss: Loss) -> tuple[str, float]:
    """Arguments of an example and its value."""
    logits = "torch.zeros(1, 2, 4)" if task_of(loss) == "multiclass" else "torch.zeros(1, 1, 4)"
    arguments = f"{logits}, torch.tensor([[0, 1, 1, 0]])"
    tensors: tuple[Any, ...] = eval(f"({arguments})", {"torch": torch})  # the text above
    return arguments, round(float(evaluate(loss.name, *tensors, task=task_of(loss))), 4)


def summary(loss: Loss, indent: int) -> list[str]:
    """The first lines of a docstring."""
    first, *more = paragraph(f"{loss.title}: {loss.formula}.", indent, 0)
    space = " " * indent
    if more or len(first) + 3 > WIDTH:
        lines = [f'{space}"""{loss.title}.', "", *paragraph(f"{loss.formula}.", indent)]
    else:
        lines = [f'{space}"""{first.strip()}']
    lines += ["", *paragraph(f"Reference: {loss.reference}.", indent)]
    return [*lines, "", *paragraph(loss.notes, indent)] if loss.notes else lines


def function(loss: Loss) -> str:
    """The text of one function."""
    extra = ["pixel_weight: Tensor | None = None"]
    arguments = [
        ("logits", f"(N, C, *S), before the {'softmax' if task_of(loss) == 'multiclass' else 'sigmoid'}"),
        ("target", "labels (N, *S) or (N, 1, *S), or one-hot or soft (N, C, *S)"),
        *((item.name, item.meaning) for item in own(loss)),
        ("pixel_weight", "(N, *S), finite, ≥ 0"),
    ]
    if needs_maps(loss):
        extra.append("maps: Mapping[str, Tensor] | None = None")
        arguments.append(("maps", "made by ``segcrit.derive``; default: derived from the target"))
    arguments += [(name, meaning) for name, (_, _, meaning) in SETTINGS.items()]
    call, value = example(loss)
    lines = ["@checked_keywords", f"def {loss.function}("]
    lines += signature(loss, ["logits: Tensor", "target: Tensor", "*"], extra=extra, indent=4)
    lines += [") -> Tensor:", *summary(loss, 4), "", "    Args:"]
    for name, meaning in arguments:
        lines += paragraph(f"{name}: {meaning}.", 8, 4)
    lines += [
        "", "    Returns:",
        '        0-d tensor, float32 or, for float64 logits, float64; unreduced values with ``reduction="none"``.',
        "", "    Raises:",
        "        ShapeError, DtypeError, DeviceError, LabelError, ParameterError: what was expected, what came, what to do.",
        "", "    Example:", "        >>> import torch",
        f"        >>> round(float({loss.function}({call})), 4)", f"        {value}", '    """',
        f'    return evaluate("{loss.name}", **locals())',
    ]  # fmt: skip
    return "\n".join(lines)


def module(loss: Loss) -> str:
    """The text of one class."""
    call, value = example(loss)
    lines = [f"class {loss.module}(FunctionalLoss):", *summary(loss, 4), ""]
    lines += [f"    The parameters are those of ``segcrit.functional.{loss.function}``.", "", "    Example:"]
    lines += ["        >>> import torch", f"        >>> loss = {loss.module}()"]
    lines += [f"        >>> round(float(loss({call})), 4)", f"        {value}", '    """', ""]
    lines += [
        f'    loss = "{loss.name}"',
        "",
        "    @checked_keywords",
        "    def __init__(",
    ]
    lines += signature(loss, ["self", "*"], extra=[], indent=8)
    lines += ["    ) -> None:", "        super().__init__(locals())"]
    return "\n".join(lines)


def texts() -> dict[Path, str]:
    """The files and what they hold."""
    losses = [loss for loss in list_losses() if loss.function is not None]
    functions = (
        HEAD.format(title="The losses as functions: the meanings of ``Criterion``, one call, no state.", more=FUNCTIONS)
        + f"\n{START}from collections.abc import Mapping, Sequence\n\nfrom torch import Tensor\n\n{CONSTANTS}{KEYWORDS}"
        + "from segcrit.losses.one_loss import Matrix, Weights, WeightsOrNumber, evaluate\n"
    )
    modules = (
        HEAD.format(title="The losses as modules, with the parameters of the functions.", more="")
        + f"\n{START}from collections.abc import Sequence\n\n{CONSTANTS}{KEYWORDS}"
        + "from segcrit.losses.one_loss import FunctionalLoss, Matrix, Weights, WeightsOrNumber\n"
    )
    found = {}
    for file, head, names, write in (
        ("functional.py", functions, [str(loss.function) for loss in losses], function),
        ("losses/modules.py", modules, [str(loss.module) for loss in losses], module),
    ):
        public = "".join(f'    "{name}",\n' for name in sorted(names))
        found[PACKAGE / file] = f"{head}\n__all__ = [\n{public}]\n\n\n" + "\n\n\n".join(map(write, losses)) + "\n"
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where a file is stale")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in texts().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if not check:
            path.write_text(text, "utf-8")
        print(f"{path.name} {'is stale: run python tools/write_losses.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
