"""Training the same network under several losses, and the report that says which one won."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segcrit.apps.compare.results import read_results
    from segcrit.apps.compare.runner import compare

__all__ = ["compare", "read_results"]


def __getattr__(name: str) -> Any:
    # The training library is loaded when a comparison is asked for, not before.
    if name == "compare":
        from segcrit.core import optional

        optional.require("lightning.pytorch", extra="compare")
        from segcrit.apps.compare.runner import compare

        return compare
    if name == "read_results":
        from segcrit.apps.compare.results import read_results

        return read_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
