"""The project's own measurement: the shapes of its targets and of its documentation."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from segcrit.apps.bench.contenders import COMPILED, EAGER, EVALUATION, OURS, REFERENCE, find
from segcrit.apps.bench.memory import Entry
from segcrit.apps.bench.problems import Problem
from segcrit.apps.bench.session import PanelPlan, plan_panel

__all__ = [
    "BINARY",
    "DEEP",
    "FEW",
    "FIRST",
    "LABELS",
    "LOGITS",
    "LOW_RESOLUTION",
    "MANY",
    "SHOWN",
    "SMALL",
    "UPSAMPLED",
    "VARIANTS",
    "VOLUME",
    "file_name",
    "plans",
]

# Names of the panels; targets and the README refer to them.
FIRST: Final = "21 classes"
MANY: Final = "150 classes"
FEW: Final = "2 classes"
BINARY: Final = "binary"
VOLUME: Final = "volumes, 4 classes"
DEEP: Final = "volumes, 14 classes"
SMALL: Final = "small batch"
VARIANTS: Final = "dtypes and layouts"
UPSAMPLED: Final = "upsampled 4 times"
LOGITS: Final = "evaluation of logits"
LABELS: Final = "evaluation of labels"
LOW_RESOLUTION: Final = "evaluation of logits, upsampled 4 times"

_MIXTURE: Final = "ce + dice"

# What the picture shows: panel and kind.
SHOWN: Final = (
    (FIRST, "ce"),
    (FIRST, _MIXTURE),
    (FIRST, "focal"),
    (FIRST, "lovasz"),
    (UPSAMPLED, "ce"),
    (LOGITS, EVALUATION[0]),
)


def plans() -> list[PanelPlan]:
    """Every panel, the one that the README shows first."""
    first = Problem((2, 21, 512, 512))
    losses = ("ce", "dice", _MIXTURE, "focal", "jaccard", "tversky(alpha=0.3, beta=0.7)", "lovasz", "ce + lovasz")
    low = Problem((4, 150, 128, 128), upsample=4)
    judged = Problem((4, 21, 512, 512))
    return [
        plan_panel(first, losses, key=FIRST),
        # One step of kornia's Lovász takes seconds here and is at 21 classes already.
        _without(
            plan_panel(Problem((1, 150, 512, 512)), ("ce", _MIXTURE, "focal", "lovasz"), key=MANY),
            ("lovasz", "kornia", "LovaszSoftmaxLoss"),
        ),
        plan_panel(Problem((8, 2, 512, 512)), ("ce", _MIXTURE), key=FEW),
        plan_panel(Problem((8, 1, 512, 512), "binary"), ("bce(pos_weight=3)", "bce + dice", "lovasz"), key=BINARY),
        plan_panel(Problem((2, 4, 96, 96, 96)), ("ce", _MIXTURE), key=VOLUME),
        plan_panel(Problem((1, 14, 128, 128, 64)), (_MIXTURE,), key=DEEP),
        plan_panel(Problem((2, 19, 128, 128)), ("ce", _MIXTURE), key=SMALL),
        _variants(first),
        plan_panel(low, ("ce",), key=UPSAMPLED),
        plan_panel(judged, EVALUATION[:1], key=LOGITS),
        plan_panel(judged, EVALUATION[1:], key=LABELS),
        plan_panel(low, EVALUATION[:1], key=LOW_RESOLUTION, libraries=(EAGER, REFERENCE, OURS)),
    ]


def _without(plan: PanelPlan, key: tuple[str, str, str]) -> PanelPlan:
    return replace(plan, entries=tuple(entry for entry in plan.entries if entry.contender.key != key))


def _variants(problem: Problem) -> PanelPlan:
    """The same loss for logits of other dtypes and layouts, in the same turns."""
    variants = [
        problem,
        *(replace(problem, dtype=dtype) for dtype in ("bfloat16", "float16")),
        replace(problem, channels_last=True),
    ]
    keys = [
        (_MIXTURE, EAGER, "F.cross_entropy + Dice"),
        (_MIXTURE, COMPILED, "F.cross_entropy + Dice"),
        (_MIXTURE, OURS, _MIXTURE),
    ]
    contenders = [find(problem.task, key) for key in keys]
    entries = [Entry(contender, variant) for variant in variants for contender in contenders]
    return PanelPlan(VARIANTS, problem, tuple(entries))


def file_name(*words: object) -> str:
    """Name of a file of results: letters, digits and hyphens.

    Example:
        >>> file_name("2026-11-25", "AMD EPYC(tm)", 2, "threads")
        '2026-11-25-amd-epyc-tm-2-threads'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(map(str, words)).lower()).strip("-")
