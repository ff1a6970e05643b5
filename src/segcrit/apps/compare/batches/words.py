"""Words in expressions, such as ``class_weight="median"``, turned into numbers with the training split."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor

from segcrit.apps.compare.batches.source import SourceInfo
from segcrit.apps.compare.records import ComputedWord
from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.labels.weights.frequencies import ClassFrequencies
from segcrit.labels.weights.positives import pos_weight
from segcrit.labels.weights.schemes import SCHEMES, class_weights
from segcrit.losses.expression.syntax import Expression, Term, parse

__all__ = ["default_losses", "resolve_words"]

_MEANINGS: Final = MappingProxyType(
    {
        "inverse": "inverse frequency",
        "sqrt_inverse": "square root of the inverse frequency",
        "median": "median frequency",
        "effective": "effective number of samples",
        "log": "1 / ln(1.02 + share)",
    }
)


def default_losses(task: Task, losses: tuple[str, ...]) -> tuple[str, ...]:
    """The default losses for a task: ``bce`` in place of ``ce`` where each channel has a sigmoid.

    Example:
        >>> default_losses("binary", ("ce", "ce + dice"))
        ('bce', 'bce + dice')
    """
    if task == "multiclass":
        return losses
    return tuple(f"b{text}" if text.startswith("ce") else text for text in losses)


def _is_word(name: str, value: Any) -> bool:
    return isinstance(value, str) and name in ("class_weight", "pos_weight")


def resolve_words(
    expression: Expression,
    task: Task,
    info: SourceInfo,
    frequencies: Callable[[], ClassFrequencies],
    positive_weights: Callable[[], Tensor] | None = None,
) -> tuple[Expression, tuple[ComputedWord, ...]]:
    """Replace words by numbers.

    Args:
        expression: the loss.
        task: the task.
        info: of the data.
        frequencies: pixels of each class in the training labels.
        positive_weights: for multilabel targets, negatives divided by positives of each channel.

    Returns:
        The expression with numbers, and what was computed.

    Raises:
        ParameterError: an unknown word, or one that does not fit the task.
    """
    words: list[ComputedWord] = []
    terms = []
    for term in expression.terms:
        parameters = dict(term.parameters)
        for name, value in term.parameters.items():
            if not _is_word(name, value):
                continue
            numbers, explanation = (
                _class_weights(value, task, info, frequencies)
                if name == "class_weight"
                else _pos_weight(value, task, info, frequencies, positive_weights)
            )
            rounded = tuple(float(f"{number:.5g}") for number in numbers)
            parameters[name] = rounded[0] if len(rounded) == 1 else list(rounded)
            words.append(ComputedWord(f'{name}="{value}"', rounded, explanation))
        terms.append(Term(term.weight, term.name, MappingProxyType(parameters)))
    # Parsed once more, so that what is trained is exactly what is printed.
    return parse(str(Expression(tuple(terms)))), tuple(words)


def _images(info: SourceInfo) -> str:
    labels = f" ({info.train_labels})" if info.train_labels else ""
    number = info.images.get("train", 0)
    return f"over {number} training images{labels}" if number else f"over the training batches{labels}"


def _class_weights(
    word: str, task: Task, info: SourceInfo, frequencies: Callable[[], ClassFrequencies]
) -> tuple[list[float], str]:
    scheme = next((known for known in SCHEMES if known == word), None)
    if scheme is None:
        raise ParameterError(
            f"class_weight to be one of {', '.join(SCHEMES)}", repr(word), "Choose one, or give numbers."
        )
    if task == "binary":
        raise ParameterError(
            "pos_weight for a binary task, which has one channel",
            f'class_weight="{word}"',
            'Write bce(pos_weight="auto").',
        )
    return class_weights(frequencies(), scheme).tolist(), f"{_MEANINGS[word]} {_images(info)}"


def _pos_weight(
    word: str,
    task: Task,
    info: SourceInfo,
    frequencies: Callable[[], ClassFrequencies],
    positive_weights: Callable[[], Tensor] | None,
) -> tuple[list[float], str]:
    if word != "auto":
        raise ParameterError('pos_weight to be "auto" or numbers', repr(word), 'Write pos_weight="auto".')
    if task == "multilabel" and positive_weights is not None:
        numbers = positive_weights().tolist()
    else:
        numbers = pos_weight(frequencies(), task=task).tolist()
    return numbers, f"negatives divided by positives {_images(info)}"
