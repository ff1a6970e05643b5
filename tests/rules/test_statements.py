"""No assert on a user's input, one family of exceptions, one place that knows what ignored means."""

from __future__ import annotations

import ast
import builtins
from functools import cache

import pytest

from segcrit.core import errors
from tests.rules.flow import Flow, last_name
from tests.rules.source import PACKAGE, Module, functions_with_their_owner, modules

ALLOWED_ANYWHERE = {"StopIteration", "KeyboardInterrupt"}
ALLOWED_INSIDE = {"__getattr__": {"AttributeError"}, "__setattr__": {"AttributeError"}}
ALLOWED_IN_ROOM = {
    "segcrit.cli": {"SystemExit", "ArgumentTypeError", "ArgumentError"},
    # A metric of torchmetrics raises what those who use torchmetrics catch.
    "segcrit.metrics.torchmetric": {"TorchMetricsUserError"},
}

# The one module that compares a label with ignore_index; everything else receives a mask from it.
MASKING = "segcrit.labels.mask"
# Comparisons of values that a user declares, one number with another; no pixel is among them.
DECLARED_VALUES = {
    "segcrit.data.coding.classes": {"void not in used", "value in ignored"},
    "segcrit.data.files.nodata": {"label != void"},
    "segcrit.labels.palette": {"void == PNG_ENTRIES - 1"},
    "segcrit.apps.evaluate.audit.value_audit": {"settings.ignore_index in values"},
    "segcrit.apps.evaluate.reading.labels": {
        "void == label",
        "value != void",
        "value != label",
        "value in coding.ignored",
    },
    "segcrit.apps.evaluate.reading.mapping": {"self.rest != void", "void not in named", "label != void"},
    "segcrit.data.weak.files": {"value != ignore_value"},
    "segcrit.data.weak.folder": {"value in table.coding.classes"},
}


@cache
def _own_exceptions() -> frozenset[str]:
    """The classes that may be raised anywhere, and those of the package that inherit from one of them."""
    own = set(errors.__all__) | ALLOWED_ANYWHERE
    classes = [node for module in modules() for node in module.walk() if isinstance(node, ast.ClassDef)]
    grown = True
    while grown:
        more = {node.name for node in classes if any(last_name(base) in own for base in node.bases)}
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
        and last_name(node.returns) in own
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
            name = last_name(choice.func if isinstance(choice, ast.Call) else choice)
            # "raise error" passes on an exception that was caught or built before.
            is_variable = isinstance(choice, ast.Name) and not hasattr(builtins, name) and name.islower()
            if name not in here and not is_variable:
                found.append(f"{module.where(node)} raises {name or ast.unparse(choice)}")
    return found


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_no_assert(module: Module) -> None:
    found = [module.where(node) for node in module.walk() if isinstance(node, ast.Assert)]
    assert not found, f"asserts vanish under python -O; raise a class of segcrit.core.errors: {found}"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_only_our_exceptions_are_raised(module: Module) -> None:
    found = forbidden_raises(module)
    assert not found, "\n".join(found)


def test_labels_are_compared_with_the_ignore_label_in_one_place() -> None:
    flow = Flow(modules())
    found = {module.name: [(module.where(node), node) for node in flow.comparisons(module)] for module in modules()}
    assert found.pop(MASKING), f"{MASKING} no longer compares labels with the ignore label"
    others = [
        f"{where}: {ast.unparse(node)}"
        for name, nodes in found.items()
        for where, node in nodes
        if ast.unparse(node) not in DECLARED_VALUES.get(name, set())
    ]
    assert not others, f"use the mask of {MASKING}:\n" + "\n".join(others)


PLANTED = """
def of_a_sample(sample, labels):
    skipped = int(sample.settings.ignore_index)
    return labels != skipped

def _mask(labels, nothing):
    return np.equal(labels, nothing)

def by_parameter(labels, settings):
    return _mask(labels, settings.ignore_index)

@dataclass
class Kept:
    size: int
    void_number: int

def _read(settings):
    return settings.size, settings.ignore_index

def by_field(labels, settings):
    size, number = _read(settings)
    kept = Kept(size, number)
    return (labels == kept.void_number) | labels.eq(kept.size)

class Reader:
    def __init__(self, settings):
        self._left_out = settings["ignore_index"]
    def read(self, labels):
        return np.isin(labels, self._left_out) | (labels == self._size)
"""


def test_the_ignore_label_is_followed_whatever_it_is_called() -> None:
    planted = Module("segcrit.planted", modules()[0].path, ast.parse(PLANTED))
    found = [ast.unparse(node) for node in Flow([planted]).comparisons(planted)]
    assert sorted(found) == [
        "labels != skipped",
        "labels == kept.void_number",
        "np.equal(labels, nothing)",
        "np.isin(labels, self._left_out)",
    ]


def test_the_rules_notice_offenders() -> None:
    example = ast.parse(
        "def f(target, ignore_index):\n"
        "    assert target\n"
        "    raise ValueError('no')\n"
        "def g(target, ignore_index):\n"
        "    raise ShapeError('a', 'b', 'c')\n"
    )
    module = Module("segcrit.example", modules()[0].path, example)
    assert len(forbidden_raises(module)) == 1


# What the machine itself or the package holds, no file of a user: /proc, cgroups, templates, the data set built here.
OWN_FILES = {
    "segcrit.core.atomic",
    "segcrit.core.machine",
    "segcrit.cli.doctor",
    "segcrit.cli.evaluate",
    "segcrit.data.files.budget",
    "segcrit.data.landcover",
    "segcrit.reports.evaluation",
    "segcrit.apps.evaluate.page.page",
}


def bare_reads(module: Module) -> list[str]:
    """Files that are read without ``core.atomic``, which alone refuses pipes, sockets and devices."""
    found = []
    for node in module.walk():
        if not isinstance(node, ast.Call):
            continue
        name = last_name(node.func)
        bare = isinstance(node.func, ast.Name)
        texts = [entry.value for entry in node.args if isinstance(entry, ast.Constant)]
        reads = name in ("read_text", "read_bytes") and not bare and not ast.unparse(node).startswith("atomic.")
        opens = name == "open" and (bare or not node.args or "r" in texts or "rb" in texts)
        if reads or opens:
            found.append(f"{module.where(node)}: {ast.unparse(node)[:80]}")
    return found


def test_files_of_users_are_opened_in_one_place() -> None:
    users = [module for module in modules() if module.name not in OWN_FILES and ".apps.bench." not in module.name]
    assert [line for module in users for line in bare_reads(module)] == []
    code = "path.open('rb')\nopen(path)\npath.read_text()\natomic.read_text(path)\nread_text(path)"
    assert len(bare_reads(Module("a", PACKAGE / "a.py", ast.parse(code)))) == 3
