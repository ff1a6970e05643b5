"""A term's view of the problem: its probabilities, what the target says to it, and the ways back to the logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from segcrit.apps.explain.numbers import Problem
from segcrit.apps.explain.steps import Array, Column, Mask
from segcrit.core.errors import ShapeError
from segcrit.labels import mask

__all__ = ["View", "class_weights", "look", "per_class", "symbol", "target_tensor"]

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class View:
    """The problem as one term sees it.

    Attributes:
        problem: the numbers.
        logits: (pixels, classes), after the term's logit transform.
        log_p: log-probability of each class; log σ(z) in sigmoid tasks.
        log_q: log(1 − p) in sigmoid tasks.
        target: (pixels, classes), 0 where not valid.
        valid: (pixels, classes), what counts.
        scale: factor of the logit transform.
        hard: whether every target is 0 or 1.
    """

    problem: Problem
    logits: Array
    log_p: Array
    log_q: Array
    target: Array
    valid: Mask
    scale: float
    hard: bool

    @property
    def sigmoid(self) -> bool:
        """Whether each element stands alone."""
        return self.problem.task != "multiclass"

    @property
    def p(self) -> Array:
        """Probabilities."""
        return np.exp(self.log_p)

    @property
    def pixel_valid(self) -> Mask:
        """(pixels,): whether anything of the pixel counts."""
        return np.asarray(self.valid.any(1), dtype=np.bool_)

    def columns(
        self, letter: str, values: Array, kind: Any = "number", *, mark: bool | None = None
    ) -> tuple[Column, ...]:
        """One column a class; what does not count dropped; marked where the class is true (or, ``False``, is not)."""
        return tuple(
            Column(
                symbol(letter, self.problem, index),
                values[:, index],
                kind,
                marked=None if mark is None else ((self.target[:, index] > 0.5) == mark) & self.valid[:, index],
                dropped=~self.valid[:, index] if not self.valid[:, index].all() else None,
            )
            for index in range(values.shape[1])
        )

    def from_probabilities(self, slope: Array) -> Array:
        """dL/dz from dL/dp: through the softmax or the sigmoid, 0 where nothing counts."""
        p = self.p
        if self.sigmoid:
            back = p * np.exp(self.log_q) * slope
        else:
            back = p * (slope - (p * slope).sum(1, keepdims=True))
        return np.where(self.valid, back * self.scale, 0.0)


def symbol(letter: str, problem: Problem, index: int) -> str:
    """Heading of a class's column: ``p₁``, or ``p sky`` for named classes, or ``p`` alone in binary tasks.

    The index goes to the end of the letter, or where the letter has braces: ``(1−p{})^γ``.
    """
    name = problem.class_names[index]
    plain = letter.replace("{}", "")
    if problem.num_classes == 1:
        return plain
    if name in (f"class {index}", f"channel {index}"):
        subscript = str(index).translate(_SUBSCRIPTS)
        return letter.replace("{}", subscript) if "{}" in letter else letter + subscript
    return f"{plain} {name}"


def look(problem: Problem, parameters: Mapping[str, Any]) -> View:
    """Read the problem as a term with these parameters does."""
    reading = _read(
        problem,
        mask.View(
            background=parameters.get("unlabelled") == "background",
            foreground_only=bool(parameters.get("foreground_only", False)),
        ),
    )
    target, valid = reading
    scale = float(parameters.get("logit_scale", 1.0))
    logits = problem.logits * scale
    bias = parameters.get("logit_bias")
    if bias is not None:
        table = np.atleast_2d(np.asarray(bias, dtype=np.float64))
        logits = logits + (table if table.shape[0] == 1 else target @ table)
    if problem.task == "multiclass":
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        log_q = log_p
    else:
        log_p, log_q = -np.logaddexp(0.0, -logits), -np.logaddexp(0.0, logits)
    hard = bool(np.isin(target, (0.0, 1.0)).all())
    return View(problem, logits, log_p, log_q, target, valid, scale, hard)


def target_tensor(problem: Problem) -> torch.Tensor:
    """The target as the library takes it: (N, *S) labels, or (N, C, *S)."""
    shape = problem.layout.shape
    if problem.target.ndim == 1:
        labels = torch.from_numpy(problem.target).reshape(shape)
        whole = bool((labels == labels.floor()).all())
        return labels.to(torch.int64) if whole else labels[:, None] if problem.task == "binary" else labels
    values = torch.from_numpy(np.moveaxis(problem.target.reshape(*shape, -1), -1, 1).copy())
    whole = bool((values == values.floor()).all())
    return values.to(torch.int64) if whole else values


def _read(problem: Problem, view: mask.View) -> tuple[Array, Mask]:
    # What a label means (and which labels are ignored) is decided in one place of the library, so it is asked.
    target = target_tensor(problem)
    one_label_each = problem.target.ndim == 1
    reading = mask.read_target(
        target.reshape(1, -1) if one_label_each and problem.task == "multiclass" else _channels_first(problem),
        kind="index" if one_label_each else ("soft" if target.dtype.is_floating_point else "onehot"),
        sigmoid=problem.task != "multiclass",
        num_classes=problem.num_classes,
        ignore_index=problem.ignore_index,
        view=view,
        dtype=torch.float64,
        check=True,
    )
    read: npt.NDArray[np.float64] = reading.target[0].T.numpy().copy()
    counted = reading.valid[0].T.expand(-1, problem.num_classes).numpy().copy()
    return read, counted


def _channels_first(problem: Problem) -> torch.Tensor:
    values = torch.from_numpy(problem.target.reshape(problem.layout.pixels, -1).T[None].copy())
    whole = bool((values == values.floor()).all())
    return values.to(torch.int64) if whole else values


def per_class(value: Any, classes: int, what: str) -> Array:
    """A number, or one for each class, as (classes,); None is 1."""
    if value is None:
        return np.ones(classes)
    array = np.asarray(value.tolist() if isinstance(value, torch.Tensor) else value, dtype=np.float64)
    if array.ndim == 0:
        return np.full(classes, float(array))
    if array.shape != (classes,):
        raise ShapeError(
            f"{classes} numbers in {what}, one for each class", f"{array.size}", "Write as many as there are classes."
        )
    return array


def class_weights(view: View, parameters: Mapping[str, Any]) -> Array:
    """The class weights of a term, ones where none are given."""
    return per_class(parameters.get("class_weight"), view.problem.num_classes, "class_weight")
