"""``segcrit inspect``: what it prints, as text and as JSON, and its exit codes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrit.cli import main
from tests.data.making import blocks, write_folder, write_json, write_png


def _folder(root: Path) -> Path:
    masks = {f"i{index:02d}": blocks([0, 0, 0, 0, 0, 0, 0, 1]) for index in range(12)}
    write_folder(root, masks, classes={"classes": ["ground", "tree"]})
    (root / "README.md").write_text("# Trees\nFree to use.\n")
    return root


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _folder(tmp_path / "my data")
    assert main(["inspect", str(root)]) == 0
    printed = capsys.readouterr().out
    for part in (
        "my data: 12 images, 2 classes",
        "Trees",
        "all 12×16",
        "1 tree",
        "12 %",
        "pos_weight",
        "no split files",
    ):
        assert part in printed
    commands = [line.strip() for line in printed.splitlines() if line.strip().startswith("segcrit compare")]
    assert len(commands) == 2  # multiclass and binary
    assert shlex.split(commands[0])[:4] == ["segcrit", "compare", str(root), "--losses"]
    assert "--task" in commands[1]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_volumes_have_voxels(form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every sentence, of figures, problems, notes and advice; names of files and commands stay."""
    root = tmp_path / "scans"
    random = np.random.default_rng(0)
    for index in range(12):
        mask = np.zeros((10, 12, 8), dtype=np.uint8)
        mask[2:6, 3 : 4 + index // 2, 1:7] = 1
        mask[7:9, 7:9, 2:4] = 2 if index < 2 else 255
        name = f"scan{index:02d}.npy"
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        np.save(root / "images" / name, random.normal(0, 1 + 10**index, mask.shape).astype(np.float32))
        np.save(root / "masks" / name, mask)
    write_json(root / "classes.json", {"classes": ["rest", "organ", "lesion"], "ignore_index": 255})
    assert main(["inspect", str(root), *form]) in (0, 2)
    printed = capsys.readouterr().out
    names = ('"images":', '"pixels":', "segcrit compare")
    prose = [line for line in printed.splitlines() if not line.strip().startswith(names)]
    text = re.sub(r"images/|per_image|pixel_weight|\S*-images?\b", "", " ".join(prose))
    assert not re.findall(r"(?i)\S* \S*(?:image|pixel)\S* \S*", text)
    assert "voxels" in text
    assert "volumes" in text


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(_folder(tmp_path)), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["classes"][1]["name"] == "tree"
    assert content["classes"][1]["share"] == pytest.approx(1 / 8)
    assert content["recommendations"][0]["expression"] == "ce"
    assert content["has_errors"] is False


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _folder(tmp_path)
    for index in range(12):
        scribble = np.full((12, 16), 255, dtype=np.uint8)
        scribble[5, 1:3], scribble[5, 15] = 0, 1
        write_png(root / "scribbles" / f"i{index:02d}.png", scribble)
    assert main(["inspect", str(root), "--train-labels", "scribbles", "--group-by", r"i\d"]) == 2
    assert "at least 3 groups" in capsys.readouterr().err
    assert main(["inspect", str(root), "--train-labels", "scribbles", "--group-by", r"i\d(\d)"]) == 0
    printed = capsys.readouterr().out
    assert "partial_ce" in printed
    assert "10 groups of 12 images" in printed
    assert r"--train-labels scribbles --group-by 'i\d(\d)'" in printed


def test_labels_that_make_training_impossible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _folder(tmp_path)
    (root / "splits").mkdir()
    for split, names in (("train", range(8)), ("val", range(8, 10)), ("test", range(10, 12))):
        (root / "splits" / f"{split}.txt").write_text("\n".join(f"i{index:02d}" for index in names))
    write_png(root / "masks" / "i05.png", blocks([0, 9]))
    assert main(["inspect", str(root)]) == 2
    assert "Error: expected values 0-1, 255 in the masks, got 9 (96 pixels)" in " ".join(
        capsys.readouterr().out.split()
    )


def _spoil_twice(root: Path) -> None:
    (root / "masks" / "i05.png").unlink()
    (root / "images" / "i06.png").write_bytes(b"no")


def test_every_reason_of_an_unusable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _folder(tmp_path)
    _spoil_twice(root)
    assert main(["inspect", str(root)]) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "image without a mask: i05" in printed
    assert "i06.png, which is damaged" in printed
    assert main(["inspect", str(root), "--json"]) == 2
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {problem["code"] for problem in content["problems"]} == {"image-without-mask", "unreadable"}


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "x.json", {})
    for words in (
        ["inspect", str(tmp_path / "none")],
        ["inspect", "--group-by", "x"],
        ["inspect", str(tmp_path / "x.json")],
    ):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.strip().splitlines()) == 1
        assert captured.err.startswith("segcrit: error: ")
