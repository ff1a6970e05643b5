"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def _real_data_folder() -> Path | None:
    """SEGCRIT_TEST_DATA, or ../shared/data: the repository itself carries no data sets."""
    named = os.environ.get("SEGCRIT_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets (``camvid``, ``nuclei_dsb2018``, ...); without it the test is skipped."""
    folder = _real_data_folder()
    if folder is None:
        pytest.skip("no real data: set SEGCRIT_TEST_DATA to the folder that holds the data sets")
    return folder
