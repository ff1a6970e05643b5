"""No name in a file leaves the folder that it belongs to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segcrit.apps.compare.results import read_results, to_json
from segcrit.apps.compare.run_directory import RunDirectory
from segcrit.apps.evaluate.counting.store import read_tally
from segcrit.cli import main
from segcrit.core.atomic import inside
from segcrit.core.errors import DataError, SegcritError
from tests.evaluate.making import save_png

OUT = ("../elsewhere", "/etc/passwd", "a/../../b", "..", "", "a\0b")


@pytest.mark.parametrize("name", OUT)
def test_a_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(DataError) as caught:
        inside(Path("runs"), name)
    assert caught.value.code == "path-leaves-folder"


@pytest.mark.parametrize("folder", [*OUT, "01-a/b", ".", "x", "last.ckpt"])
def test_folders_of_losses_in_run_json(folder: str, run: Path) -> None:
    outside = run.parent / "elsewhere"
    (outside / "seed-0").mkdir(parents=True)
    (outside / "seed-0" / "last.ckpt").write_bytes(b"another run's")
    state = json.loads((run / "run.json").read_text())
    state["losses"][0]["folder"] = folder
    (run / "run.json").write_text(json.dumps(state))
    with pytest.raises(DataError) as caught:
        RunDirectory(run).read()
    assert caught.value.code == "path-leaves-folder"
    assert main(["compare", "--out", str(run), "--resume", "--quiet"]) == 2
    assert [path.name for path in outside.rglob("*")] == ["seed-0", "last.ckpt"]


def test_seeds_in_run_json_are_numbers(run: Path) -> None:
    state = json.loads((run / "run.json").read_text())
    state["settings"]["seeds"] = ["../../elsewhere"]
    (run / "run.json").write_text(json.dumps(state))
    assert main(["compare", "--out", str(run), "--resume", "--quiet"]) == 2


def test_pictures_in_results_json(run: Path) -> None:
    results = read_results(run)
    changed = replace(results, examples=(replace(results.examples[0], image="../../secret.png"),))
    (run / "results.json").write_text(to_json(changed))
    with pytest.raises(DataError) as caught:
        read_results(run)
    assert caught.value.code == "path-leaves-folder"


def test_images_in_counts(tmp_path: Path) -> None:
    for name in ("truth", "guess"):
        save_png(tmp_path / name / "a.png", np.eye(4, dtype=np.uint8))
    out = tmp_path / "out"
    assert (
        main(["evaluate", str(tmp_path / "guess"), str(tmp_path / "truth"), "--classes", "2", "--out", str(out)]) == 0
    )
    with np.load(out / "counts.npz") as content:
        arrays = dict(content)
    arrays["ids"] = np.frombuffer(b"../../secret", dtype=np.uint8)
    np.savez(out / "counts.npz", **arrays)
    with pytest.raises(SegcritError) as caught:
        read_tally(out / "counts.npz")
    assert caught.value.code == "path-leaves-folder"
