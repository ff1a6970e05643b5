"""Every law runs on every engine that can run here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import segcrit


@pytest.fixture(autouse=True, params=["reference", "cpu"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Force one engine; the native one also for the small images of the tests."""
    name: str = request.param
    available = {backend.name: backend for backend in segcrit.backends()}
    if not available[name].available:
        pytest.skip(available[name].reason)
    with segcrit.use_backend(name):
        yield name
