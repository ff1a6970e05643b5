"""Which losses a run trains: those given, those stored, those added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segcrit.apps.compare.batches.words import default_losses, resolve_words
from segcrit.apps.compare.run_directory import LossPlan, RunState, folder_name
from segcrit.apps.compare.settings import DEFAULT_LOSSES
from segcrit.apps.compare.training.context import Context
from segcrit.core.constants import Task
from segcrit.core.errors import ParameterError
from segcrit.losses.expression.syntax import Expression, parse

__all__ = ["choose_losses", "make_plans"]


def choose_losses(
    losses: Sequence[str] | None, add: Sequence[str], task: Task, old: RunState | None
) -> list[tuple[str, Expression]]:
    """The losses of a run, each as it was given and as it was understood.

    Args:
        losses: as given, None for the default or the stored ones.
        add: further losses for a run that exists.
        task: decides the default.
        old: the run that is continued or extended.

    Raises:
        ParameterError: a loss comes twice, or the losses of a run were changed.
        ExpressionError: a loss cannot be read.
    """
    if isinstance(losses, str) or isinstance(add, str):
        raise ParameterError("a list of losses", "one text", 'Write losses=["ce", "dice"].')
    stored = [(plan.given, parse(plan.canonical)) for plan in old.losses] if old else []
    given = None if losses is None else [(text, parse(text)) for text in losses]
    if old is not None:
        names = {str(expression) for _, expression in stored}
        if given is not None and {str(expression) for _, expression in given} != names:
            raise ParameterError(
                f"the losses that the run was started with ({', '.join(plan.canonical for plan in old.losses)})",
                ", ".join(str(expression) for _, expression in given),
                "Leave --losses out to continue the run, and name further losses with --add.",
            )
        added = [(text, parse(text)) for text in add]
        for _, expression in added:
            if str(expression) in names:
                raise ParameterError(
                    "losses to add that the run does not have yet",
                    f"{str(expression)!r}, which it has",
                    "Leave it out; --resume trains what is missing.",
                )
        return _unique(stored + added)
    if given is None:
        given = [(text, parse(text)) for text in default_losses(task, DEFAULT_LOSSES)]
    if not given:
        raise ParameterError("at least one loss", "none", 'Give for example --losses ce dice "ce + dice".')
    return _unique(given)


def _unique(losses: list[tuple[str, Expression]]) -> list[tuple[str, Expression]]:
    seen: dict[str, str] = {}
    for text, expression in losses:
        canonical = str(expression)
        if canonical in seen:
            raise ParameterError("different losses", f"{canonical!r} twice", "Give each loss once.")
        seen[canonical] = text
    return losses


def make_plans(
    context: Context, expressions: Iterable[tuple[str, Expression]], old: RunState | None
) -> tuple[LossPlan, ...]:
    """Folders and numbers for the losses; words are computed from the training split."""
    known = {plan.canonical: plan for plan in old.losses} if old else {}
    source, task = context.source, context.settings.task
    positive = getattr(source, "positive_weights", None)
    plans = []
    for position, (text, expression) in enumerate(expressions, start=1):
        canonical = str(expression)
        if canonical in known:
            # Numbers that were computed when the run was started stay as they were.
            plans.append(known[canonical])
            continue
        resolved, words = resolve_words(expression, task, source.info, lambda: source.frequencies(task), positive)
        plans.append(LossPlan(text, canonical, str(resolved), folder_name(position, canonical), words))
    return tuple(plans)
