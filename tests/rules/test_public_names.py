"""Every public name is documented with an example, and table, functions and modules of the losses agree."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable

import pytest
from torch import nn

import segcrit
import segcrit.functional
from segcrit.core.errors import SegcritError
from segcrit.losses.table import Loss
from tests.rules.source import REPOSITORY

BUILT_IN = [loss for loss in segcrit.list_losses() if loss.function is not None]


def _public_objects() -> dict[str, object]:
    names = {f"segcrit.{name}": getattr(segcrit, name) for name in segcrit.__all__}
    names |= {f"segcrit.functional.{name}": getattr(segcrit.functional, name) for name in segcrit.functional.__all__}
    return names


def _needs_an_example(thing: object) -> bool:
    if inspect.isclass(thing):
        return not (issubclass(thing, SegcritError) and thing is not SegcritError)
    return callable(thing)


@pytest.mark.parametrize("name", _public_objects())
def test_public_name_has_an_example(name: str) -> None:
    thing = _public_objects()[name]
    if inspect.ismodule(thing) or not callable(thing):
        pytest.skip("not a class or a function")
    text = inspect.getdoc(thing) or ""
    assert len(text) > 40, f"{name} has no docstring"
    if _needs_an_example(thing):
        assert ">>> " in text, f"the docstring of {name} has no example"


def test_all_lists_what_exists() -> None:
    assert len(set(segcrit.__all__)) == len(segcrit.__all__)
    assert all(hasattr(segcrit, name) for name in segcrit.__all__)


def test_the_table_and_the_functions_list_the_same_losses() -> None:
    assert {loss.function for loss in BUILT_IN} == set(segcrit.functional.__all__)
    assert {loss.module for loss in BUILT_IN} <= set(segcrit.__all__)


def _keywords(callable_object: Callable[..., object]) -> dict[str, object]:
    """Keyword-only parameters with their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(callable_object).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("loss", BUILT_IN, ids=lambda loss: loss.name)
def test_function_and_module_have_the_parameters_of_the_table(loss: Loss) -> None:
    function = _keywords(getattr(segcrit.functional, loss.function))
    module_class = getattr(segcrit, loss.module)
    assert issubclass(module_class, nn.Module)
    table = {name: parameter.default for name, parameter in loss.parameters.items()}
    assert table.items() <= function.items()
    # A module receives the weights of the pixels when it is called, a function with everything else.
    assert function.pop("pixel_weight", None) is None
    assert function.pop("maps", None) is None
    assert _keywords(module_class) == function


def test_functions_and_modules_are_written_from_the_table() -> None:
    """What ``make check`` looks at."""
    spec = importlib.util.spec_from_file_location("write_losses", REPOSITORY / "tools" / "write_losses.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(["--check"]) == 0
