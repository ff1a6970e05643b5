"""Grammar of loss expressions, parser and printer.

    expression = term { "+" term }
    term       = [ number "*" ] name [ "(" [ name "=" value { "," name "=" value } ] ")" ]
    value      = number | "True" | "False" | "None" | string | "[" [ value { "," value } ] "]"

The parser is total: every wrong text gives an ExpressionError with a caret under the mistake. No ``eval``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from segcrit.core.errors import ExpressionError, ParameterError
from segcrit.core.widths import columns_of
from segcrit.losses import formulas as _formulas  # noqa: F401 - fills the table of losses
from segcrit.losses.keywords import parameter_hint
from segcrit.losses.table import list_losses, lookup, nearest_loss

__all__ = ["Expression", "Term", "parse"]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<string>'[^'\n]*'|\"[^\"\n]*\")|(?P<mark>[-+*(),=\[\]]))"
)
_WORDS: Mapping[str, Any] = {
    "True": True,
    "False": False,
    "None": None,
    "true": True,
    "false": False,
    "none": None,
}
# What an input method or a word processor writes in place of the marks of an expression, one character for one.
_PLAIN: Mapping[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width letters, digits, ＋ ， ＝ （ ）
    **{ord(mark): plain for mark, plain in zip("\u3000\u2212“”‘’", " -\"\"''", strict=True)},
}
_MAX_DEPTH = 8
# Far above what anybody mixes, far below what would keep a machine busy: a text may come from a file.
_MAX_TERMS = 512
_MAX_LENGTH = 1 << 18
# Characters of a long expression that an error shows on each side of the mistake.
_SHOWN = 60
# Settings of a whole call, which are no parameters of a term.
_BESIDE = frozenset({"ignore_index", "task", "num_classes", "upsample", "align_corners", "pixel_weight"})


@dataclass(frozen=True)
class Term:
    """One weighted loss of an expression.

    Attributes:
        weight: factor λ, finite and not negative.
        name: name in the table of losses, aliases resolved.
        parameters: the parameters that were written, as plain Python values.
    """

    weight: float
    name: str
    parameters: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The term as an expression, ``"0.5*dice(smooth=1)"``."""
        factor = "" if self.weight == 1 else f"{format_value(self.weight)}*"
        inner = ", ".join(f"{name}={format_value(value)}" for name, value in self.parameters.items())
        return f"{factor}{self.name}({inner})" if inner else f"{factor}{self.name}"

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_term, (self.weight, self.name, dict(self.parameters))


def _restore_term(weight: float, name: str, parameters: dict[str, Any]) -> Term:
    return Term(weight, name, MappingProxyType(parameters))


@dataclass(frozen=True)
class Expression:
    """A parsed expression: a sum of weighted terms. ``parse(str(expression)) == expression``."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " + ".join(term.text for term in self.terms)


def format_value(value: Any) -> str:
    """A value as it is written in expressions."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, (int, float)):
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    if isinstance(value, str):
        return f'"{value}"' if '"' not in value else f"'{value}'"
    if hasattr(value, "shape"):
        # A tensor given to a function: its numbers may live on a GPU and are not read for a text nobody sees.
        return f"<tensor {tuple(value.shape)}>"
    return "[" + ", ".join(format_value(item) for item in value) + "]"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text.translate(_PLAIN)
        self.tokens = self._tokenize()
        self.position = 0

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        end = len(self.text.rstrip())
        while position < end:
            match = _TOKEN.match(self.text, position)
            if match is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                if self.text[start] in "\"'":
                    self.fail(start, "a closing quote", "the end of the text", "Close the quote.")
                self.fail(
                    start,
                    "names, numbers, quoted words, +, * and parentheses",
                    repr(self.text[start]),
                    "Remove that character.",
                )
            kind = str(match.lastgroup)
            tokens.append(_Token(kind, match.group(kind), match.start(kind)))
            position = match.end()
        tokens.append(_Token("end", "", end))
        return tokens

    def fail(self, position: int, expected: str, got: str, advice: str) -> NoReturn:
        line = self.text.replace("\n", " ").replace("\t", " ").replace("\r", " ")
        if len(line) > 2 * _SHOWN:
            start = max(0, position - _SHOWN)
            before = "..." * (start > 0)
            position += len(before) - start
            line = before + line[start : start + 2 * _SHOWN]
        raise ExpressionError(expected, got, f"{advice}\n  {line}\n  {' ' * columns_of(line[:position])}^")

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def describe(self) -> str:
        return "the end of the expression" if self.token.kind == "end" else repr(self.token.text)

    def take(self) -> _Token:
        token = self.token
        self.position += 1
        return token

    def accept(self, mark: str) -> bool:
        if self.token.kind == "mark" and self.token.text == mark:
            self.position += 1
            return True
        return False

    def require(self, mark: str, advice: str) -> None:
        if not self.accept(mark):
            self.fail(self.token.start, repr(mark), self.describe(), advice)

    def expression(self) -> Expression:
        if self.token.kind == "end":
            self.fail(0, "a loss expression", "an empty text", 'Write for example "ce + dice".')
        terms = [self.term()]
        while self.token.kind != "end":
            if self.token.text == "-":
                self.fail(
                    self.token.start,
                    "'+' between terms",
                    "'-'",
                    "Terms are added; weights cannot be negative.",
                )
            self.require("+", "Join terms with +, as in ce + 0.5*dice.")
            if len(terms) == _MAX_TERMS:
                self.fail(
                    self.token.start,
                    f"at most {_MAX_TERMS} terms",
                    f"{self.text.count('+') + 1} or so",
                    "Join equal terms to one with a weight, as in 3*ce.",
                )
            terms.append(self.term())
        return Expression(tuple(terms))

    def term(self) -> Term:
        weight = 1.0
        if self.token.text == "-":
            self.fail(
                self.token.start,
                "a loss",
                "'-'",
                "Weights cannot be negative: a loss with a negative weight is maximised.",
            )
        if self.token.kind == "number":
            start = self.token.start
            weight = self.number()
            self.require("*", "Write a weight as 0.5*dice.")
            if not math.isfinite(weight):
                self.fail(start, "a finite weight", f"{weight}", "Write a smaller number.")
        if self.token.kind != "name":
            self.fail(
                self.token.start,
                "the name of a loss",
                self.describe(),
                "Names are: " + ", ".join(_shown()) + ".",
            )
        token = self.take()
        loss = lookup(token.text)
        if loss is None:
            hint = nearest_loss(token.text)
            listing = "Names are: " + ", ".join(_shown()) + "."
            own = "A loss of your own has to be imported first (on the command line with --import MODULE)."
            self.fail(token.start, "the name of a loss", repr(token.text), f"{hint} {listing} {own}".strip())
        parameters: dict[str, Any] = {}
        if self.accept("("):
            while not self.accept(")"):
                self.parameter(loss.name, loss.parameters, parameters)
                if not self.accept(","):
                    self.require(")", "Separate parameters with a comma and close the parenthesis.")
                    break
        if self.token.text == "*":
            self.fail(self.token.start, "'+' or the end", "'*'", "Write the weight before the loss: 0.5*dice.")
        return Term(weight, loss.name, MappingProxyType(parameters))

    def parameter(self, loss: str, known: Mapping[str, Any], parameters: dict[str, Any]) -> None:
        token = self.token
        if token.kind != "name":
            self.fail(token.start, "a parameter such as smooth=1", self.describe(), "Give each value by its name.")
        self.take()
        if token.text not in known:
            hint = parameter_hint(token.text, known)
            if token.text in _BESIDE:
                hint = f"It holds for the whole call: give {token.text}=... beside the expression."
            listing = f"{loss} takes: {', '.join(known)}."
            self.fail(token.start, f"a parameter of {loss}", repr(token.text), f"{hint} {listing}".strip())
        if token.text in parameters:
            self.fail(token.start, f"{token.text} once", "it a second time", "Remove one of the two.")
        self.require("=", f"Write {token.text}=VALUE.")
        start = self.token.start
        value = self.value(0)
        words: tuple[str, ...] = getattr(known[token.text].constraint, "words", ())
        if not (isinstance(value, str) and value in words):
            try:
                known[token.text].check(value)
            except ParameterError as error:
                self.fail(start, error.expected, error.got, error.advice)
        parameters[token.text] = value

    def number(self) -> float:
        sign = -1.0 if self.accept("-") else 1.0
        if self.token.kind != "number":
            self.fail(self.token.start, "a number", self.describe(), "Write a number such as 0.5.")
        return sign * float(self.take().text)

    def value(self, depth: int) -> Any:
        token = self.token
        if depth > _MAX_DEPTH:
            self.fail(
                token.start,
                "a short list",
                "lists inside lists inside lists",
                "Use at most a table of numbers.",
            )
        if token.kind == "number" or token.text == "-":
            number = self.number()
            return int(number) if number.is_integer() and abs(number) < 1e15 else number
        if token.kind == "string":
            return self.take().text[1:-1]
        if token.kind == "name" and token.text in _WORDS:
            return _WORDS[self.take().text]
        if token.kind == "name":
            self.fail(token.start, "a value", repr(token.text), f'Put words in quotes: "{token.text}".')
        if self.accept("["):
            items: list[Any] = []
            while not self.accept("]"):
                items.append(self.value(depth + 1))
                if not self.accept(","):
                    self.require("]", "Separate the numbers with commas and close the bracket.")
                    break
            return items
        return self.fail(
            token.start,
            "a value",
            self.describe(),
            "Write a number, True, False, None, a quoted word or [...].",
        )


def _shown() -> tuple[str, ...]:
    return tuple(dict.fromkeys(loss.name for loss in list_losses()))


def parse(text: str) -> Expression:
    """Read a loss expression.

    Args:
        text: terms joined by ``+``, each with an optional weight and parameters, ``"ce + 0.5*dice(smooth=1)"``.
            Full-width characters (＋ ， （ ）) and curly quotes are read as the plain ones.

    Returns:
        The expression; aliases are resolved, values are checked.

    Raises:
        ExpressionError: with a caret under the mistake and the nearest name.

    Example:
        >>> expression = parse("ce + 0.5*iou(smooth=1.0)")
        >>> str(expression)
        'ce + 0.5*jaccard(smooth=1)'
        >>> expression.terms[1].weight
        0.5
    """
    if not isinstance(text, str):
        raise ExpressionError(
            "a loss expression as text", f"{type(text).__name__}", 'Write for example Criterion("ce + dice").'
        )
    if len(text) > _MAX_LENGTH:
        raise ExpressionError(
            f"a loss expression of at most {_MAX_LENGTH:,} characters",
            f"{len(text):,}",
            "Give long weights as a tensor.",
        )
    return _Parser(text).expression()
