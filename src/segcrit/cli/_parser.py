"""An argument parser whose errors are one clear line with the nearest name."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from typing import Any, NoReturn

from segcrit.cli._console import say
from segcrit.core.names import nearest

__all__ = ["Parser", "add_file_memory", "add_import", "fail", "join_negative_numbers"]

USAGE_ERROR = 2


def fail(message: str, hint: str = "") -> NoReturn:
    """Print ``segcrit: error: message`` and a hint on stderr, then leave with exit code 2."""
    say(message + (f" {hint}" if hint else ""))
    raise SystemExit(USAGE_ERROR)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions and examples, and leaves room for long option names."""

    def __init__(self, prog: str) -> None:
        columns = min(shutil.get_terminal_size((100, 24)).columns, 110)
        super().__init__(prog, max_help_position=30, width=columns - 2)


class Parser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` with nearest names in its errors and no abbreviated options.

    Abbreviations are off, because ``--label`` would mean ``--labels`` today and something else tomorrow.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", HelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def option_names(self) -> list[str]:
        """All long and short option names of this parser."""
        return [name for action in self._actions for name in action.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse's own text changes between Python versions and knows no nearest name.
        choices = None if action.choices is None else list(action.choices)
        if choices is None or value in choices:
            return
        text = ", ".join(str(choice) for choice in choices)
        hint = nearest(str(value), [str(choice) for choice in choices])
        raise argparse.ArgumentError(action, f"{value!r} is not one of {text}. {hint}".rstrip())

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        complete = message.endswith((".", "?"))
        fail(message if complete else f"{message}.", "" if complete else f"See '{self.prog} --help'.")

    def refuse_unknown(self, extra: Sequence[str]) -> NoReturn:
        """Report arguments that no option or positional took."""
        options = [word for word in extra if word.startswith("-") and word != "-"]
        if not options:
            fail(f"unexpected argument {extra[0]!r} for '{self.prog}'.", f"See '{self.prog} --help'.")
        name = options[0].split("=", 1)[0]
        hint = nearest(name, self.option_names()) or f"See '{self.prog} --help'."
        fail(f"'{self.prog}' has no option {name!r}.", hint)


class _SetBudget(argparse.Action):
    """Sets the memory budget of this process and its workers as soon as the option is read."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        from segcrit.data.files.budget import set_memory_budget

        set_memory_budget(values)


def add_file_memory(group: Any) -> None:
    """Add the option for the memory that one file may take."""
    group.add_argument(
        "--file-memory",
        action=_SetBudget,
        default=argparse.SUPPRESS,
        metavar="GIB",
        help="most memory that the array of one file may take (default: half of the machine's)",
    )


def add_import(group: Any) -> None:
    """Add the option for losses of the user's own; the modules are imported before the command runs."""
    group.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module that defines losses",
    )


NEGATIVE = re.compile(r"-[\d.]")


def join_negative_numbers(words: Sequence[str]) -> list[str]:
    """Write ``--logits -1,2`` as ``--logits=-1,2``, because argparse takes ``-1,2`` for an option.

    Example:
        >>> join_negative_numbers(["explain", "--logits", "-1,2 / 0,3", "--json"])
        ['explain', '--logits=-1,2 / 0,3', '--json']
        >>> join_negative_numbers(["explain", "--logits", "-1", "2"])
        ['explain', '--logits', '-1', '2']
    """
    joined: list[str] = []
    for word in words:
        is_value = NEGATIVE.match(word) is not None and not _is_number(word)
        if is_value and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _is_number(word: str) -> bool:
    # These argparse already takes for values; joining the first of several would cut the rest off.
    return re.fullmatch(r"-\d+|-\d*\.\d+", word) is not None
