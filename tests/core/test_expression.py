"""Loss expressions: what is read, what is refused and where the caret stands, and that reading undoes printing."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segcrit
from segcrit.core.errors import ExpressionError
from segcrit.losses.expression.syntax import Expression, Term, parse


@pytest.fixture
def engine() -> str:
    """Text is read without an engine: once is enough."""
    return "none"


ACCEPTED = {
    "ce": [(1.0, "ce", {})],
    "  ce+dice ": [(1.0, "ce", {}), (1.0, "dice", {})],
    "ce + 0.5*dice(smooth=1) + 2*focal(gamma=2)": [
        (1.0, "ce", {}),
        (0.5, "dice", {"smooth": 1}),
        (2.0, "focal", {"gamma": 2}),
    ],
    "iou": [(1.0, "jaccard", {})],
    "1e-3 * ce": [(0.001, "ce", {})],
    ".5*ce": [(0.5, "ce", {})],
    "0*ce + dice": [(0.0, "ce", {}), (1.0, "dice", {})],
    "dice(per_image=True, absent='penalize', smooth=1,)": [
        (1.0, "dice", {"per_image": True, "absent": "penalize", "smooth": 1})
    ],
    'ce(class_weight="median") + dice': [(1.0, "ce", {"class_weight": "median"}), (1.0, "dice", {})],
    'bce(pos_weight="auto")': [(1.0, "bce", {"pos_weight": "auto"})],
    "ce(class_weight=[1, 2.5, 0])": [(1.0, "ce", {"class_weight": [1, 2.5, 0]})],
    "ce(class_weight=None)": [(1.0, "ce", {"class_weight": None})],
    "dice(classes=[1, 2])": [(1.0, "dice", {"classes": [1, 2]})],
    "ce(unlabelled='background')": [(1.0, "ce", {"unlabelled": "background"})],
    "tversky(alpha=0.3,beta=0.7)": [(1.0, "tversky", {"alpha": 0.3, "beta": 0.7})],
    "ce + ce": [(1.0, "ce", {}), (1.0, "ce", {})],
    "ce\n + dice": [(1.0, "ce", {}), (1.0, "dice", {})],
    "dice()": [(1.0, "dice", {})],
}

# text -> (column of the caret, words that the message must hold)
REFUSED = {
    "": (0, ["empty"]),
    "   ": (0, ["empty"]),
    "cee": (0, ["'cee'", "Did you mean 'ce'?"]),
    "ce + dise": (5, ["'dise'", "Did you mean 'dice'?"]),
    "ce + jacard": (5, ["Did you mean 'jaccard'?"]),
    "CE": (0, ["Did you mean 'ce'?"]),
    "ce dice": (3, ["'+'", "'dice'"]),
    "ce +": (4, ["the end of the expression"]),
    "+ ce": (0, ["'+'"]),
    "ce ++ dice": (4, ["'+'"]),
    "ce - dice": (3, ["'-'", "added"]),
    "-1*ce": (0, ["negative"]),
    "ce*0.5": (2, ["before the loss"]),
    "0.5 dice": (4, ["'*'", "'dice'"]),
    "0.5": (3, ["'*'"]),
    "1e999*ce": (0, ["finite"]),
    "dice(smooth)": (11, ["'='"]),
    "dice(1)": (5, ["'1'", "by its name"]),
    "dice(smoth=1)": (5, ["'smoth'", "Did you mean 'smooth'?"]),
    "ce(weight=[1, 2])": (3, ["'weight'", "Did you mean 'class_weight'?"]),
    "ce(ignore_index=255)": (3, ["beside the expression"]),
    "crossentropy": (0, ["Did you mean 'ce'?", "Names are: ce,"]),
    "dice(smooth=-1)": (12, ["smooth", "-1"]),
    "dice(smooth=True)": (12, ["smooth", "True"]),
    "dice(smooth=[1])": (12, ["smooth"]),
    "dice(smooth=1": (13, ["')'"]),
    "dice(smooth=1 squared=True)": (14, ["comma"]),
    "dice(smooth=1, smooth=2)": (15, ["second time"]),
    "dice(absent=drop)": (12, ['"drop"']),
    "dice(absent='drop')": (12, ["'skip'", "'penalize'"]),
    "dice(absent='skip)": (12, ["closing quote"]),
    "focal(gamma=-2)": (12, ["gamma"]),
    "ce(label_smoothing=2)": (19, ["between 0 and 1"]),
    "ce(class_weight=[1, -2])": (16, ["class_weight"]),
    "ce(class_weight='medium')": (16, ["'median'"]),
    "ce(gamma=2)": (3, ["'gamma'", "parameter of ce"]),
    "lovasz(bins=3)": (12, ["bins"]),
    "dice(classes=[1, 1])": (13, ["different"]),
    "ce; dice": (2, ["';'"]),
    "ce + $": (5, ["'$'"]),
    "(ce + dice)": (0, ["'('"]),
    "dice)": (4, ["')'"]),
    "__import__('os')": (0, ["'__import__'"]),
    "ce(label_smoothing=nan)": (19, ["'nan'"]),
}


@pytest.mark.parametrize("text", list(ACCEPTED))
def test_accepted(text: str):
    terms = [(t.weight, t.name, dict(t.parameters)) for t in parse(text).terms]
    assert terms == ACCEPTED[text]


@pytest.mark.parametrize("text", list(REFUSED))
def test_refused_with_a_caret_under_the_mistake(text: str):
    column, words = REFUSED[text]
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    message = str(caught.value)
    for word in words:
        assert word in message
    *_, line, caret = message.split("\n")
    assert line.strip() == text.strip()
    assert caret.strip() == "^"
    indent = line.index(text) if text.strip() else 2
    assert caret.index("^") - indent == column
    assert message.startswith("expected ")
    assert isinstance(caught.value, ValueError)


def test_a_criterion_refuses_the_same_text_with_the_same_message():
    with pytest.raises(ExpressionError) as of_parser:
        parse("ce + dise")
    with pytest.raises(ExpressionError) as of_criterion:
        segcrit.Criterion("ce + dise")
    assert str(of_parser.value) == str(of_criterion.value)


@pytest.mark.parametrize("value", [None, 3, b"ce", ["ce"]])
def test_only_text_is_read(value: object):
    with pytest.raises(ExpressionError, match="as text"):
        parse(value)  # type: ignore[arg-type]


def test_every_illegal_value_of_every_parameter_is_refused_at_its_place():
    for loss in segcrit.list_losses():
        for parameter in loss.parameters.values():
            if parameter.constraint is None:
                continue
            for value in parameter.constraint.invalid():
                if not isinstance(value, (bool, int, float, str)) or (
                    isinstance(value, float) and not math.isfinite(value)
                ):
                    continue
                written = f'"{value}"' if isinstance(value, str) else repr(value)
                text = f"{loss.name}({parameter.name}={written})"
                with pytest.raises(ExpressionError) as caught:
                    parse(text)
                caret = str(caught.value).split("\n")[-1].index("^") - 2
                assert caret == text.index("=") + 1, text


def test_defaults_are_legal_in_every_expression():
    for loss in segcrit.list_losses():
        for parameter in loss.parameters.values():
            assert parameter.constraint is None or parameter.constraint.allows(parameter.default), (
                loss.name,
                parameter,
            )


def test_expressions_pickle_and_hash():
    expression = parse("ce(class_weight=[1, 2]) + 0.5*dice(smooth=1)")
    assert pickle.loads(pickle.dumps(expression)) == expression
    assert len({expression, parse(str(expression))}) == 1


def _values(parameter: Any) -> st.SearchStrategy[object]:
    numbers = st.one_of(
        st.integers(0, 3), st.floats(0, 1, allow_nan=False), st.floats(1e-9, 1e9), st.just(1e-300), st.just(1e22)
    )
    candidates = st.one_of(
        numbers,
        st.booleans(),
        st.none(),
        st.sampled_from(["skip", "penalize", "ignore", "background", "mean", "sum", "median", "auto", "inverse"]),
        st.integers(16, 65536),
        st.lists(st.one_of(st.integers(0, 9), st.floats(0, 5)), min_size=1, max_size=4),
        st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    )
    words = getattr(parameter.constraint, "words", ())

    def legal(value: object) -> bool:
        return (isinstance(value, str) and value in words) or (
            parameter.constraint is not None and parameter.constraint.allows(value)
        )

    return candidates.filter(legal)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    terms = []
    rows = [row for row in segcrit.list_losses() if row.module is not None]
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.sampled_from(rows))
        name = draw(st.sampled_from([row.name, *row.aliases]))
        chosen = draw(st.lists(st.sampled_from(sorted(row.parameters)), unique=True, max_size=3))
        parts = []
        for key in chosen:
            value = draw(_values(row.parameters[key]))
            parts.append(f'{key}="{value}"' if isinstance(value, str) else f"{key}={value!r}")
        weight = draw(st.one_of(st.none(), st.floats(0, 1e6), st.integers(0, 9)))
        space = draw(st.sampled_from(["", " ", "  "]))
        factor = "" if weight is None else f"{weight!r}{space}*{space}"
        terms.append(factor + name + (f"({(',' + space).join(parts)})" if parts else ""))
    return draw(st.sampled_from([" + ", "+", "\n+ "])).join(terms)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(expressions())
def test_reading_undoes_printing(text: str):
    expression = parse(text)
    assert isinstance(expression, Expression)
    assert all(isinstance(term, Term) for term in expression.terms)
    printed = str(expression)
    assert parse(printed) == expression
    assert str(parse(printed)) == printed


PIECES = [
    "ce",
    "dice",
    "focal",
    "smooth",
    "=",
    "(",
    ")",
    "[",
    "]",
    ",",
    "+",
    "-",
    "*",
    "1",
    "0.5",
    "1e400",
    '"',
    "'",
    " ",
    "\n",
]
PIECES += [
    "\t",
    "None",
    "true",
    "nan",
    "ß",
    "²",
    "٣",
    "\x00",
    "1_000",
    "0x1",
    "alpha",
    "classes",
    ".",
    "..",
    "e5",
    "\u2028",
]


@settings(derandomize=True, deadline=None, max_examples=600)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
def test_nothing_but_an_expression_error_escapes(text: str):
    try:
        outcome = parse(text)
    except ExpressionError as error:
        outcome = error
    if isinstance(outcome, ExpressionError):
        assert str(outcome).split("\n")[-1].strip() == "^"
    else:
        assert parse(str(outcome)) == outcome


def test_deep_nesting_is_an_error_and_not_a_crash():
    with pytest.raises(ExpressionError):
        parse("ce(class_weight=" + "[" * 5000 + "]" * 5000 + ")")
    with pytest.raises(ExpressionError):
        parse("ce" + "+" * 5000)
    assert len(parse("+".join(["ce"] * 500)).terms) == 500


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ce＋dice", "ce + dice"),
        ("ce　＋　０．５＊ｄｉｃｅ（ｓｍｏｏｔｈ＝１）", "ce + 0.5*dice(smooth=1)"),
        ("tversky(alpha=0.3，beta=0.7)", "tversky(alpha=0.3, beta=0.7)"),
        ("ce(class_weight=“median”)", 'ce(class_weight="median")'),
        ("ce(class_weight=［1，2］)", "ce(class_weight=[1, 2])"),
    ],
)
def test_full_width_characters_are_plain_ones(text: str, plain: str) -> None:
    assert parse(text) == parse(plain)


def test_the_caret_stands_below_the_mistake_in_any_script() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("損失 + dice")
    assert caught.value.advice.splitlines()[-1] == "  ^"
    with pytest.raises(ExpressionError) as caught:
        parse("ce(class_weight='道路') + 損失")
    assert caught.value.advice.splitlines()[-1].index("^") == 2 + len("ce(class_weight='    ') + ")


@pytest.mark.parametrize("text", ["+".join(["ce"] * 3000), "ce(class_weight=[" + "1," * 200_000 + "1])"])
def test_an_endless_expression_is_refused_in_a_short_message(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert len(str(caught.value)) < 1000
    assert len(parse("+".join(["ce"] * 500)).terms) == 500


def test_a_long_expression_is_shown_around_the_mistake() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(" + ".join(["ce"] * 200) + " + dcie + " + " + ".join(["ce"] * 200))
    *_, line, caret = str(caught.value).splitlines()
    assert line[caret.index("^") :].startswith("dcie")
    assert len(line) < 200
