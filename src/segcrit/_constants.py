"""Names and values that several rooms share."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["DEFAULT_IGNORE_INDEX", "TASKS", "Task"]

Task = Literal["multiclass", "multilabel", "binary"]
TASKS: Final[tuple[Task, ...]] = ("multiclass", "multilabel", "binary")

# torch.nn.CrossEntropyLoss's default, so that replacing it changes nothing.
DEFAULT_IGNORE_INDEX: Final = -100
