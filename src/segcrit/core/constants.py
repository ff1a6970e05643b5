"""Names and values that several rooms share."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["DEFAULT_IGNORE_INDEX", "TASKS", "VERSION", "Task"]

Task = Literal["multiclass", "multilabel", "binary"]
TASKS: Final[tuple[Task, ...]] = ("multiclass", "multilabel", "binary")

# torch.nn.CrossEntropyLoss's default, so that replacing it changes nothing.
DEFAULT_IGNORE_INDEX: Final = -100

# The same as in pyproject.toml, which a test holds.
VERSION: Final = "0.1.0"
