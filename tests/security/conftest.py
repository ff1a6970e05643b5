"""One small finished comparison, which tests copy and then damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import segcrit
from segcrit.apps.compare import session
from tests.compare.making import write_folder

MODEL = "unet?features=(4,4,4,4,4,4)"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` and ``run``, two losses of two steps."""
    root = tmp_path_factory.mktemp("finished")
    write_folder(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "render_report", lambda results, folder: folder / "report.html")
        segcrit.compare(
            MODEL, root / "data", ["ce", "dice"], out=root / "run", steps=2, epochs=1, batch_size=2, crop=16,
            num_workers=0, progress=False,
        )  # fmt: skip
    return root


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the comparison's folder."""
    monkeypatch.setattr(session, "render_report", lambda results, folder: folder / "report.html")
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))
