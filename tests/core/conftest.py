"""The tests of the core run on every engine that can run here."""

from __future__ import annotations

from tests.laws.conftest import engine

__all__ = ["engine"]
