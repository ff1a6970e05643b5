"""What is measured: the sizes that people train on, and the losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segcrit.apps.bench.problems import Problem

LABEL_BYTES = 8  # int64, which torch's own losses ask for


@dataclass(frozen=True)
class Case:
    """Logits of one size, and the losses on them."""

    name: str
    problem: Problem
    losses: tuple[str, ...]

    @property
    def compulsory_bytes(self) -> int:
        """Logits read twice, gradient written once, labels read twice."""
        problem = self.problem
        labels = problem.pixels * (1 if problem.task == "multiclass" else problem.classes)
        # The benchmark gives sigmoid tasks their labels in the dtype of the logits, as torch asks.
        element = problem.logits_bytes // math.prod(problem.shape)
        return 3 * problem.logits_bytes + 2 * labels * (LABEL_BYTES if problem.task == "multiclass" else element)


MIXTURES = ("ce", "ce + dice", "focal", "jaccard", "tversky(alpha=0.3, beta=0.7)", "lovasz", "ce + lovasz")


def cases() -> list[Case]:
    """All of them, large enough that the logits do not fit into a cache of 50 MiB."""
    found = []
    for dtype in ("float32", "bfloat16"):
        short = "" if dtype == "float32" else ", bf16"
        found += [
            Case(f"VOC{short}", Problem((16, 21, 512, 512), dtype=dtype), MIXTURES),
            Case(f"Cityscapes{short}", Problem((8, 19, 512, 1024), dtype=dtype), MIXTURES),
            Case(f"ADE20K{short}", Problem((4, 150, 512, 512), dtype=dtype), ("ce", "ce + dice", "lovasz")),
            Case(
                f"ADE20K, logits at 1/4{short}",
                Problem((16, 150, 128, 128), dtype=dtype, upsample=4),
                ("ce", "ce + dice", "lovasz"),
            ),
            Case(f"3-D, 14 classes{short}", Problem((2, 14, 128, 128, 128), dtype=dtype), ("ce", "ce + dice")),
            Case(f"3-D, 105 classes{short}", Problem((1, 105, 128, 128, 128), dtype=dtype), ("ce", "ce + dice")),
        ]
    found += [
        Case("2 classes", Problem((32, 2, 1024, 1024)), ("ce", "ce + dice", "lovasz")),
        Case("4 classes, 3-D", Problem((4, 4, 128, 128, 128)), ("ce", "ce + dice")),
        Case("binary", Problem((32, 1, 1024, 1024), "binary"), ("bce", "bce + dice", "lovasz")),
        Case("multilabel", Problem((16, 5, 512, 512), "multilabel"), ("bce", "bce + dice")),
    ]
    return found
