"""The cases of the table of losses: for every loss and task at least one, with the facts that the laws need."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

import segcrit

from .subject import Subject

TASKS = ("multiclass", "multilabel", "binary")


@dataclass(frozen=True)
class Case:
    """One loss of the table with parameters.

    Attributes:
        loss: name in the table.
        parameters: what stands in the parentheses of the expression.
        tasks: tasks on which it runs.
        facts: see Subject.facts; the parameters are facts too.
    """

    loss: str
    parameters: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = TASKS
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_additive(self) -> bool:
        """Whether the sums of parts add up to those of the whole."""
        sorts = self.parameters.get("exact") and not self.parameters.get("per_image")
        return not sorts and not self.facts.get("ranks")

    @property
    def expression(self) -> str:
        inner = ", ".join(f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in self.parameters.items())
        return f"{self.loss}({inner})" if inner else self.loss


MULTI, SIGMOID = ("multiclass",), ("multilabel", "binary")
FOUR = [0.5, 1.0, 2.0, 0.25]

CASES = [
    Case("ce", tasks=MULTI, facts={"proper": True}),
    Case("ce", {"label_smoothing": 0.2}, MULTI),
    Case("ce", {"class_weight": FOUR}, MULTI, {"per_class": True}),
    Case("ce", {"unlabelled": "ignore", "logit_scale": 1.5}, MULTI),
    Case("ce", {"logit_bias": [0.5, -0.5, 1.0, 0.0]}, MULTI, {"per_class": True, "biased": True}),
    Case("bce", tasks=SIGMOID, facts={"proper": True}),
    Case("bce", {"pos_weight": 3.0}, SIGMOID),
    Case("bce", {"label_smoothing": 0.1}, SIGMOID),
    Case("focal"),
    Case("focal", {"gamma": 0.5}),
    Case("focal", {"gamma": 0}, facts={"proper": True}),
    Case("focal", {"alpha": 0.25}, SIGMOID),
    Case("focal", {"gamma": 1, "alpha": FOUR}, MULTI, {"per_class": True}),
    Case("focal", {"label_smoothing": 0.1}),
    Case("partial_ce", facts={"proper": True}),
    Case("partial_ce", {"foreground_only": True}, facts={"names_classes": True, "one_sided": True}),
    Case("poly1"),
    Case("ce", {"keep": 0.3}, MULTI, {"ranks": True}),
    Case("bce", {"keep": 0.3}, ("multilabel",), {"ranks": True}),
    Case("focal", {"ohem": 0.6, "min_kept": 4}, MULTI, {"ranks": True}),
    Case("dice", facts={"metric": "dice", "proper": True}),
    Case("dice", {"smooth": 1.0}),
    Case("dice", {"smooth": 1.0, "absent": "penalize"}),
    Case("dice", {"squared": True}, facts={"metric": "dice"}),
    Case("dice", {"log": True}),
    Case("dice", {"per_image": True}),
    Case("dice", {"class_weight": FOUR}, MULTI, {"per_class": True}),
    Case("dice", {"classes": [1, 2]}, MULTI, {"per_class": True}),
    Case("jaccard", facts={"metric": "jaccard", "proper": True}),
    Case("jaccard", {"squared": True, "smooth": 0.5}),
    Case("jaccard", {"log": True, "per_image": True}),
    Case("tversky", {"alpha": 0.3, "beta": 0.7}, facts={"metric": "tversky", "proper": True}),
    Case("tversky", {"alpha": 1, "beta": 0.25, "smooth": 2, "per_image": True}),
    Case("generalised_dice", facts={"class_weight": "refused", "proper": True}),
    Case("boundary", facts={"spatial": True}),
    Case("lovasz", tasks=MULTI, facts={"metric": "jaccard", "histogram": True}),
    Case("lovasz", {"exact": True}, MULTI, {"metric": "jaccard"}),
    Case("lovasz", {"per_image": True, "bins": 1024}, MULTI, {"histogram": True}),
    Case("lovasz", {"exact": True, "per_image": True, "absent": "penalize"}, MULTI),
    Case("lovasz_hinge", tasks=SIGMOID, facts={"metric": "hinge", "absent": "penalize", "histogram": True}),
    Case("lovasz_hinge", {"exact": True}, SIGMOID, {"metric": "hinge", "absent": "penalize"}),
    Case("lovasz_hinge", {"exact": True, "per_image": True}, SIGMOID, {"absent": "penalize"}),
    Case("lovasz_hinge", {"per_image": True, "absent": "skip"}, SIGMOID, {"histogram": True}),
]


def criterion(expression: str, **settings: Any) -> segcrit.Criterion:
    """A Criterion without the notices about losses that are one-sided on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return segcrit.Criterion(expression, **settings)


def subject(case: Case, task: str) -> Subject:
    """The case as a function of tensors, through Criterion."""
    family = next(row.family for row in segcrit.list_losses() if row.name == case.loss)

    def call(
        logits: Tensor,
        target: Tensor,
        pixel_weight: Tensor | None = None,
        *,
        class_weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        module = criterion(case.expression, task=task, class_weight=class_weight, ignore_index=ignore_index)
        return module(logits, target, pixel_weight)

    return Subject(
        case.expression,
        task,
        call,
        family,
        bool(case.parameters.get("per_image")),
        {**case.parameters, **case.facts},
    )


def subjects() -> list[Subject]:
    return [subject(case, task) for case in CASES for task in case.tasks]
