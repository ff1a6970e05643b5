"""No assert on a user's input, one family of exceptions, one place that knows what ignored means."""

from __future__ import annotations

import ast
import builtins
from functools import cache

import pytest

from segcrit import errors
from tests.rules.source import Module, functions_with_their_owner, modules

ALLOWED_ANYWHERE = {"StopIteration", "KeyboardInterrupt"}
ALLOWED_INSIDE = {"__getattr__": {"AttributeError"}, "__setattr__": {"AttributeError"}}
ALLOWED_IN_ROOM = {
    "segcrit.cli": {"SystemExit", "ArgumentTypeError", "ArgumentError"},
    # A metric of torchmetrics raises what those who use torchmetrics catch.
    "segcrit.evaluation.torchmetric": {"TorchMetricsUserError"},
}

# The one module that compares a label with ignore_index; everything else receives a mask from it.
MASKING = "segcrit._masking"


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@cache
def _own_exceptions() -> frozenset[str]:
    """The classes that may be raised anywhere, and those of the package that inherit from one of them."""
    own = set(errors.__all__) | ALLOWED_ANYWHERE
    classes = [node for module in modules() for node in module.walk() if isinstance(node, ast.ClassDef)]
    grown = True
    while grown:
        more = {node.name for node in classes if any(_last_name(base) in own for base in node.bases)}
        grown = not more <= own
        own |= more
    return frozenset(own)


@cache
def _makers_of_exceptions() -> frozenset[str]:
    """Functions of the package whose declared result is one of those classes: ``raise unknown_name(...)``."""
    own = _own_exceptions()
    return frozenset(
        node.name
        for module in modules()
        for node in module.walk()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.returns is not None
        and _last_name(node.returns) in own
    )


def forbidden_raises(module: Module) -> list[str]:
    allowed = _own_exceptions() | _makers_of_exceptions()
    for room, names in ALLOWED_IN_ROOM.items():
        if module.name.startswith(room):
            allowed |= names
    found = []
    for node, function in functions_with_their_owner(module.tree):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        here = allowed | ALLOWED_INSIDE.get(function.name if function else "", set())
        choices = (node.exc.body, node.exc.orelse) if isinstance(node.exc, ast.IfExp) else (node.exc,)
        for choice in choices:
            name = _last_name(choice.func if isinstance(choice, ast.Call) else choice)
            # "raise error" passes on an exception that was caught or built before.
            is_variable = isinstance(choice, ast.Name) and not hasattr(builtins, name) and name.islower()
            if name not in here and not is_variable:
                found.append(f"{module.where(node)} raises {name or ast.unparse(choice)}")
    return found


def comparisons_with_ignore_index(module: Module) -> list[str]:
    found = []
    for node in module.walk():
        if not isinstance(node, ast.Compare):
            continue
        operators_matter = any(isinstance(operator, (ast.Eq, ast.NotEq)) for operator in node.ops)
        names = {_last_name(operand) for operand in (node.left, *node.comparators)}
        if operators_matter and "ignore_index" in names:
            found.append(f"{module.where(node)}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_no_assert(module: Module) -> None:
    found = [module.where(node) for node in module.walk() if isinstance(node, ast.Assert)]
    assert not found, f"asserts vanish under python -O; raise a class of segcrit.errors: {found}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_only_our_exceptions_are_raised(module: Module) -> None:
    found = forbidden_raises(module)
    assert not found, "\n".join(found)


def test_ignore_index_is_compared_in_one_place() -> None:
    users = {module.name: comparisons_with_ignore_index(module) for module in modules()}
    assert users.pop(MASKING, None), f"{MASKING} no longer compares labels with ignore_index"
    found = [line for lines in users.values() for line in lines]
    assert not found, f"use the mask of {MASKING}:\n" + "\n".join(found)


def test_the_rules_notice_offenders() -> None:
    example = ast.parse(
        "def f(target, ignore_index):\n"
        "    assert target\n"
        "    raise ValueError('no')\n"
        "def g(target, ignore_index):\n"
        "    raise ShapeError('a', 'b', 'c')\n"
        "    return target == ignore_index\n"
    )
    module = Module("segcrit.example", modules()[0].path, example)
    assert len(forbidden_raises(module)) == 1
    assert len(comparisons_with_ignore_index(module)) == 1
