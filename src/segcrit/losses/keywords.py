"""Parameters that do not exist: the error names the one that was meant.

Python's own ``TypeError: unexpected keyword argument`` knows neither near names nor what a parameter is called in the
library that a user comes from. :func:`checked_keywords` puts a better error in its place, and costs half a microsecond.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from segcrit.core.errors import SegcritError, UnknownParameterError
from segcrit.core.names import nearest

__all__ = ["checked_keywords", "parameter_hint"]

P = ParamSpec("P")
R = TypeVar("R")

# What PyTorch, MONAI, segmentation-models-pytorch, kornia and MMSegmentation call it; the first that exists is named.
_CALLED_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = types.MappingProxyType(
    {
        "weight": ("class_weight",),
        "weights": ("class_weight",),
        "class_weights": ("class_weight",),
        "ce_weight": ("class_weight",),
        "loss_weight": ("class_weight",),
        "sample_weight": ("pixel_weight",),
        "ignore_label": ("ignore_index",),
        "ignore_value": ("ignore_index",),
        "ignore": ("ignore_index",),
        "label_smooth": ("label_smoothing",),
        "smoothing": ("label_smoothing", "smooth"),
        "eps": ("smooth", "label_smoothing"),
        "epsilon": ("smooth", "label_smoothing"),
        "smooth_nr": ("smooth",),
        "smooth_dr": ("smooth",),
        "squared_pred": ("squared",),
        "exponent": ("squared",),
        "batch": ("per_image",),
        "batch_dice": ("per_image",),
        "n_classes": ("num_classes",),
        "classes": ("num_classes",),
        "mode": ("task",),
        "size_average": ("reduction",),
        "reduce": ("reduction",),
    }
)
_ADVICE: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "include_background": "Write classes=[1, 2, ...] with the classes that count.",
        "to_onehot_y": "Leave it out: labels are taken as they are.",
        "from_logits": "Leave it out: losses take logits, never probabilities.",
        "softmax": "Leave it out: losses take logits; task says whether a softmax or a sigmoid follows.",
        "sigmoid": "Leave it out: losses take logits; a sigmoid is task='binary' or 'multilabel'.",
        "use_sigmoid": "Leave it out: losses take logits; a sigmoid is task='binary' or 'multilabel'.",
    }
)


def parameter_hint(word: str, known: Iterable[str]) -> str:
    """What to write instead of a parameter that does not exist, or an empty text.

    Example:
        >>> parameter_hint("smoth", ["smooth", "squared"]), parameter_hint("weight", ["pixel_weight", "class_weight"])
        ("Did you mean 'smooth'?", "Did you mean 'class_weight'?")
        >>> parameter_hint("include_background", ["smooth"])
        'Write classes=[1, 2, ...] with the classes that count.'
    """
    names = list(known)
    for name in _CALLED_ELSEWHERE.get(word, ()):
        if name in names:
            return f"Did you mean {name!r}?"
    return _ADVICE.get(word, "") or nearest(word, names)


def checked_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function or ``__init__`` say which parameter was meant when it is given one that it does not have.

    Signature, annotations and documentation stay those of the function.

    Example:
        >>> @checked_keywords
        ... def blur(image, *, radius=1): return image
        >>> blur(0, raduis=2)
        Traceback (most recent call last):
        ...
        segcrit.core.errors.UnknownParameterError: expected a parameter of blur, got 'raduis'. Did you mean 'radius'? ...
    """
    explain = functools.partial(_explain, function)

    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except TypeError as error:
            explained = explain(error, arguments, keywords)
            if explained is None:
                raise
            raise explained from None

    # With the globals of the function's module, by which doctest tells what is defined there from what is imported.
    module: dict[str, Any] = getattr(function, "__globals__", globals())
    own = types.FunctionType(call.__code__, module, call.__name__, None, call.__closure__)
    return functools.wraps(function)(own)


def _explain(
    function: Any, error: TypeError, arguments: tuple[object, ...], keywords: Mapping[str, object]
) -> UnknownParameterError | None:
    """The error to raise instead, or None where the call itself was in order."""
    if isinstance(error, SegcritError):
        return None
    parameters = inspect.signature(function).parameters
    by_place = [name for name, one in parameters.items() if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    is_method = by_place[:1] == ["self"]
    name = function.__qualname__.split(".")[0] if is_method else function.__name__
    known = [word for word in parameters if word != "self"]
    listing = f"{name} takes: {', '.join(known)}."
    unknown = [word for word in keywords if word not in parameters]
    if unknown:
        hint = _term_hint(unknown[0]) if "expression" in known else ""
        hint = hint or parameter_hint(unknown[0], known)
        return UnknownParameterError(f"a parameter of {name}", repr(unknown[0]), f"{hint} {listing}".strip())
    if len(arguments) > len(by_place):
        first = by_place[is_method:]
        expected = f"parameters of {name} by their names" + (f" after {' and '.join(first)}" if first else "")
        got = f"{len(arguments) - len(by_place)} without a name"
        return UnknownParameterError(expected, got, f"Write name=value. {listing}")
    return None


def _term_hint(word: str) -> str:
    """For a function that takes an expression: the parameter belongs to a term of it."""
    from segcrit.losses.table import list_losses

    owners = [row.name for row in list_losses() if word in row.parameters]
    return f"It belongs to a term: write it in the expression, as in '{owners[0]}({word}=...)'." if owners else ""
