"""The whole explanation of a loss expression on a few pixels, checked against the library and torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segcrit.apps.explain.check import Result as Other
from segcrit.apps.explain.check import library_result, term_result, torch_result
from segcrit.apps.explain.numbers import Numbers, Problem, make_problem, read_numbers
from segcrit.apps.explain.pixel import Result, pixel_steps
from segcrit.apps.explain.ranking import has_ties, ranking_steps
from segcrit.apps.explain.region import region_steps
from segcrit.apps.explain.steps import (
    Array,
    Check,
    ClassTable,
    Column,
    Explanation,
    PixelTable,
    Step,
    TermExplanation,
    format_number,
)
from segcrit.apps.explain.view import View, look
from segcrit.core.constants import Task
from segcrit.core.errors import ExpressionError, ParameterError
from segcrit.losses.expression.syntax import Expression, Term, parse
from segcrit.losses.formulas.reducers import reducer_of
from segcrit.losses.table import Loss, lookup

__all__ = ["explain_numbers", "explain_problem", "only_sigmoid", "worked_example"]

PIXEL = ("ce", "bce", "focal", "partial_ce")
REGION = ("dice", "jaccard", "tversky")
RANKING = ("lovasz", "lovasz_hinge")
WORDS_NEED_DATA = "Give numbers: the words are computed from a training split, which a few pixels do not have."

# Four pixels in reading order. Their true classes have the probabilities σ(0.01), σ(−0.3), σ(0.02) and σ(−1.62), that
# is 0.5025, 0.4256, 0.5050 and 0.1652: two coin tosses, one small mistake, one bad one.
EXAMPLE_LOGITS = ((0.10, 0.11), (0.20, 0.50), (0.52, 0.50), (1.32, -0.30))
EXAMPLE_LABELS = ((1, 0), (0, 1))


def explain_numbers(
    loss: str = "ce",
    *,
    logits: str | Sequence[Any] | None = None,
    probabilities: str | Sequence[Any] | None = None,
    labels: str | int | Sequence[Any] | None = None,
    task: Task | None = None,
    ignore_index: int = -100,
    class_weight: Sequence[float] | None = None,
    pos_weight: float | Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
) -> Explanation:
    """Compute every step of a loss on a few pixels: probabilities, costs, sums, mean, gradient.

    The numbers come from explicit steps in float64; the value and the gradient are then compared with
    ``segcrit.Criterion`` and, for cross-entropy, with PyTorch's own loss.

    Args:
        loss: a loss expression.
        logits: text as on the command line (``"1.2 0.3 / 0.1 2.0"``, pixels separated by ``/`` or ``;``), or nested lists
            in PyTorch's order.
        probabilities: the same, instead of logits.
        labels: one label a pixel, laid out as the image, or a one-hot, soft or multilabel target. Without numbers and
            labels the worked example is explained.
        task: None to find it from the numbers.
        ignore_index: label that does not count; ``?`` in text.
        class_weight: one weight for each class.
        pos_weight: weight of positives in ``bce``.
        class_names: names for the tables.

    Returns:
        The steps as data; ``segcrit.apps.explain.draw`` and ``segcrit.apps.explain.page`` make pictures of it.

    Raises:
        ParameterError, ShapeError, LabelError: the numbers do not make sense, each with what to do.

    Example:
        >>> explanation = explain_numbers("ce", probabilities="0.3 0.6 0.1", labels="1")
        >>> round(explanation.value, 4), explanation.agrees
        (0.5108, True)
    """
    expression = parse(loss)
    if logits is not None and probabilities is not None:
        raise ParameterError("logits or probabilities", "both", "Give one of the two.")
    given = logits if logits is not None else probabilities
    if given is None and labels is None:
        problem = worked_example(expression, task, ignore_index)
        return explain_problem(expression, problem, class_weight=class_weight, pos_weight=pos_weight)
    if given is None:
        raise ParameterError("logits or probabilities with the labels", "labels alone", "Add --logits or --probs.")
    if labels is None:
        raise ParameterError(
            "labels with the numbers", "numbers alone", "Add --labels, one for each pixel, for example --labels 1."
        )
    problem = make_problem(
        _numbers(given, "--logits" if logits is not None else "--probs", None),
        _numbers(labels, "--labels", ignore_index),
        source="logits" if logits is not None else "probabilities",
        task=task,
        sigmoid_only=only_sigmoid(expression),
        ignore_index=ignore_index,
        class_names=class_names,
    )
    return explain_problem(expression, problem, class_weight=class_weight, pos_weight=pos_weight)


def _numbers(value: str | int | Sequence[Any], what: str, ignore_index: int | None) -> Numbers:
    if isinstance(value, str):
        return read_numbers(value, what, ignore_index=ignore_index)
    to_list = getattr(value, "tolist", None)  # arrays and tensors
    return read_numbers(str(value if to_list is None else to_list()), what)


def only_sigmoid(expression: Expression) -> bool:
    """Whether a term is not defined for multiclass, so that one number belongs to one pixel."""
    return any("multiclass" not in _row(term).tasks for term in expression.terms)


def worked_example(expression: Expression, task: Task | None = None, ignore_index: int = -100) -> Problem:
    """A 2×2 image with 2 classes; as one channel for the losses of binary tasks, partly labelled for partial losses."""
    chosen: Task = task if task is not None else ("binary" if only_sigmoid(expression) else "multiclass")
    logits = np.array(EXAMPLE_LOGITS)
    labels = np.array(EXAMPLE_LABELS, dtype=np.float64)
    if any(term.name == "partial_ce" for term in expression.terms):
        labels[0, 1] = ignore_index
    if chosen == "multiclass":
        scores = Numbers(logits, from_json=False)
    elif chosen == "binary":
        # The softmax of two classes is the sigmoid of the difference of their logits.
        scores = Numbers((logits[:, 1] - logits[:, 0]).reshape(2, 2), from_json=False)
    else:
        scores = Numbers(logits, from_json=False)
        labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], dtype=np.float64)
    return make_problem(
        scores, Numbers(labels, from_json=False), source="logits", task=chosen, ignore_index=ignore_index
    )


def explain_problem(
    expression: Expression | str,
    problem: Problem,
    *,
    class_weight: Sequence[float] | None = None,
    pos_weight: float | Sequence[float] | None = None,
) -> Explanation:
    """Explain a loss on a problem that was read before; see ``explain_numbers``."""
    parsed = parse(expression) if isinstance(expression, str) else expression
    plain = look(problem, {})
    library = library_result(parsed, problem, class_weight=class_weight, pos_weight=pos_weight)
    terms = tuple(_explain_term(term, problem, class_weight, pos_weight) for term in parsed.terms)
    value = sum(term.weight * term.value for term in terms)
    gradient = np.sum([term.weight * term.gradient for term in terms], axis=0)
    checks = [_compare(library, value, gradient, tied=_ties_matter(parsed, problem))]
    peer = torch_result(parsed, problem, class_weight, pos_weight)
    if peer is not None:
        checks.append(_compare(peer, value, gradient, tied=False))
    return Explanation(
        expression=str(parsed),
        task=problem.task,
        layout=problem.layout,
        class_names=problem.class_names,
        opening=(_input_step(plain), _probability_step(plain)),
        terms=terms,
        closing=_closing(terms, value, gradient, plain) if len(terms) > 1 or terms[0].weight != 1 else (),
        value=value,
        gradient=gradient,
        checks=tuple(checks),
        notes=problem.notes,
    )


def _row(term: Term) -> Loss:
    loss = lookup(term.name)
    if loss is None:
        raise ExpressionError("the name of a loss", repr(term.name), "See 'segcrit losses' for the names.")
    return loss


def _explain_term(
    term: Term,
    problem: Problem,
    class_weight: Sequence[float] | None,
    pos_weight: float | Sequence[float] | None,
) -> TermExplanation:
    hinge = term.name in RANKING and problem.task != "multiclass"
    row = lookup("lovasz_hinge") if hinge else None
    row = row if row is not None else _row(term)
    parameters: dict[str, Any] = {name: parameter.default for name, parameter in row.parameters.items()}
    if class_weight is not None:
        parameters["class_weight"] = list(class_weight)
    if pos_weight is not None and "pos_weight" in parameters:
        parameters["pos_weight"] = pos_weight
    parameters.update(term.parameters)
    for name in ("class_weight", "pos_weight"):
        if isinstance(parameters.get(name), str):
            raise ParameterError(f"numbers as {name}", f"the word {parameters[name]!r}", WORDS_NEED_DATA)

    view = look(problem, parameters)
    found = _steps_of(row.name, parameters, view)
    if found is None:
        return _library_only(term, row, problem, class_weight, pos_weight)
    steps, value, gradient = found
    transformed = _transform_step(view, parameters)
    return TermExplanation(term.text, row.title, term.weight, (*transformed, *steps), value, gradient)


def _steps_of(name: str, parameters: Mapping[str, Any], view: View) -> Result | None:
    # Of a loss that drops pixels (keep=, ohem=) there is the library's value only, as of a user's formula.
    if name in PIXEL and reducer_of(parameters) is None:
        return pixel_steps(name, parameters, view)
    if name in REGION:
        return region_steps(name, parameters, view)
    if name in RANKING:
        return ranking_steps(parameters, view, hinge=name == "lovasz_hinge")
    return None


def _library_only(
    term: Term,
    row: Loss,
    problem: Problem,
    class_weight: Sequence[float] | None,
    pos_weight: float | Sequence[float] | None,
) -> TermExplanation:
    """A loss whose steps are not written here (a user's own formula): its value and gradient from the library."""
    result = term_result(term, problem, class_weight=class_weight, pos_weight=pos_weight)
    view = look(problem, {})
    step = Step(
        row.title,
        row.formula or f"{row.name} as its formula says",
        "The steps of this loss are not spelled out; value and gradient are those of the library.",
        (PixelTable(view.columns("∂z", result.gradient, "signed")),),
        (("loss", result.value),),
    )
    return TermExplanation(term.text, row.title, term.weight, (step,), result.value, result.gradient, spelled_out=False)


def _transform_step(view: View, parameters: Mapping[str, Any]) -> tuple[Step, ...]:
    if view.scale == 1 and parameters.get("logit_bias") is None:
        return ()
    name = "sigmoid" if view.sigmoid else "softmax"
    return (
        Step(
            "Logit transform",
            f"z′ = s · z + b,  s = {view.scale:g},  then the {name} again",
            "This term changes the logits before its probabilities are formed.",
            (
                PixelTable(view.columns("z′", view.logits)),
                PixelTable(view.columns("p", view.p, "probability", mark=True)),
            ),
        ),
    )


def _input_step(view: View) -> Step:
    problem = view.problem
    columns = view.columns("z", problem.logits, "signed")
    if problem.target.ndim == 1:
        dropped = ~view.pixel_valid
        columns += (Column("label", problem.target, "label", dropped=dropped if dropped.any() else None),)
        what = "and the class that is true there"
    else:
        soft = problem.target.astype(np.float64)
        columns += view.columns("t", soft, "target")
        what = "and its target"
    caption = f"Each pixel has a logit for each class {what}. A larger logit means more belief; only differences count."
    if view.sigmoid:
        caption = f"Each element has a logit {what}. A positive logit says yes, a negative one no."
    if problem.source == "probabilities":
        caption = (
            "Probabilities were given. "
            + ("Their logarithms" if not view.sigmoid else "log p − log(1 − p)")
            + " are used "
            "as logits, because the next step turns these back into the same probabilities."
        )
    if not view.pixel_valid.all() or not view.valid.all():
        caption += " Pixels in brackets or struck out carry the ignore label."
    return Step(
        "The numbers",
        "z: logits,   " + ("label" if problem.target.ndim == 1 else "t: target"),
        caption,
        (PixelTable(columns),),
    )


def _probability_step(view: View) -> Step:
    if view.sigmoid:
        return Step(
            "Sigmoid",
            "p = 1 / (1 + exp(−z))",
            "Each logit becomes a probability of its own: 0 becomes one half, large becomes sure.",
            (PixelTable(view.columns("p", view.p, "probability", mark=True)),),
        )
    return Step(
        "Softmax",
        "p_c = exp(z_c) / Σ_k exp(z_k)",
        "The logits of a pixel become probabilities: positive numbers that sum to 1. The true class is marked.",
        (PixelTable(view.columns("p", view.p, "probability", mark=True)),),
    )


def _closing(terms: tuple[TermExplanation, ...], value: float, gradient: Array, view: View) -> tuple[Step, ...]:
    columns = (
        ("weight", tuple(term.weight for term in terms)),
        ("value", tuple(term.value for term in terms)),
        ("weight · value", tuple(term.weight * term.value for term in terms)),
        ("largest |∂z|", tuple(float(np.abs(term.weight * term.gradient).max(initial=0.0)) for term in terms)),
    )
    total = " + ".join(format_number(term.weight * term.value) for term in terms)
    return (
        Step(
            "Sum of the terms",
            f"loss = {total}",
            "A mixture adds its terms, and their gradients add as well. The last column shows which term pulls harder here.",
            (
                ClassTable("term", tuple(term.text for term in terms), columns),
                PixelTable(view.columns("∂z", gradient, "signed")),
            ),
            (("loss", value),),
        ),
    )


def _compare(other: Other, value: float, gradient: Array, *, tied: bool) -> Check:
    tolerance = 1e-8 * max(1.0, abs(value))
    difference = abs(other.value - value)
    if tied:
        # Rounding decides which of two equal errors comes first, and either order gives a valid gradient.
        remark = "some errors are equal, so that several gradients are right and they were not compared"
        return Check(other.name, other.value, difference, None, bool(difference <= tolerance), tolerance, remark)
    gap = float(np.abs(other.gradient - gradient).max(initial=0.0))
    agrees = bool(difference <= tolerance and gap <= tolerance)
    return Check(other.name, other.value, difference, gap, agrees, tolerance)


def _ties_matter(expression: Expression, problem: Problem) -> bool:
    """Whether a Lovász term has equal errors of positives and negatives: its gradient is then one of several."""
    hinge = problem.task != "multiclass"
    return any(
        has_ties(look(problem, term.parameters), hinge=hinge) for term in expression.terms if term.name in RANKING
    )
