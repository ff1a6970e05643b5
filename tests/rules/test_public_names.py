"""Every public name is documented with an example, and table, functions and modules of the losses agree."""

from __future__ import annotations

import inspect

import pytest
import segcrit.functional
from torch import nn

import segcrit
from segcrit.errors import SegcritError

BUILT_IN = [loss for loss in segcrit.list_losses() if loss.function is not None]

# Arguments of every function and module that are not parameters of a loss but of the call.
CALL_ARGUMENTS = {"logits", "target", "pixel_weight", "task", "ignore_index"}


def _public_objects() -> dict[str, object]:
    names = {f"segcrit.{name}": getattr(segcrit, name) for name in segcrit.__all__}
    names |= {
        f"segcrit.functional.{name}": getattr(segcrit.functional, name) for name in segcrit.functional.__all__
    }
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


def _parameters(callable_object: object) -> dict[str, object]:
    signature = inspect.signature(callable_object)  # type: ignore[arg-type]
    return {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("loss", BUILT_IN, ids=lambda loss: loss.name)
def test_function_and_module_have_the_parameters_of_the_table(loss: segcrit.Loss) -> None:
    function = getattr(segcrit.functional, loss.function)
    module = getattr(segcrit, loss.module)
    assert inspect.isclass(module)
    assert issubclass(module, nn.Module)
    table = {name: parameter.default for name, parameter in loss.parameters.items()}
    for owner in (function, module):
        own = {k: v for k, v in _parameters(owner).items() if k in table}
        for name in sorted(set(own) - {"reduction"}):
            assert own[name] == table[name], f"{owner.__name__}({name}={own[name]!r}), table: {table[name]!r}"
    assert _parameters(function) == {
        k: v for k, v in _parameters(module).items() if k in _parameters(function)
    }
