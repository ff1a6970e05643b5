"""The tables of the page on odd folders say what happens to the values of masks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcrit.data.folders.folder import load_folder
from segcrit.data.problems import FolderError
from tests.data.making import blocks, photo, write_folder, write_png
from tests.evaluate.test_axes import WRITERS

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "odd-folders.md"
SIZE = (64, 64)


def _table(first: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^\| {first} .*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found[1].splitlines()]


def _alike(*values: int) -> list[Any]:
    return [blocks(values, SIZE)] * 6


def _smooth() -> list[Any]:
    small = Image.fromarray(blocks([0, 255], (8, 8)))
    return [np.asarray(small.resize((160, 160), Image.Resampling.BICUBIC))] * 6


MASKS: dict[str, list[Any]] = {
    "0, 1, 2": _alike(0, 1, 2),
    "0, 3, 7": _alike(0, 3, 7),
    "0, 255": _alike(0, 255),
    "0, 1, 255": _alike(0, 1, 255),
    "0, 1, −1": [blocks([0, 1, -1], SIZE, np.int16)] * 6,
    "0, 128, 255": _alike(0, 128, 255),
    "0, 85, 170, 255": _alike(0, 85, 170, 255),
    "0, 255 and smooth edges": _smooth(),
    "some 0, 1, others 0, 255": [blocks([0, 1], SIZE), blocks([0, 255], SIZE)] * 3,
    "some 0, 1, 2, others 0, 128, 255": [blocks([0, 1, 2], SIZE), blocks([0, 128, 255], SIZE)] * 3,
    "0, 255 as JPEG": _alike(0, 255),
    "0, 128, 255 as JPEG": _alike(0, 128, 255),
    "0 to n, another n in each": [np.arange(n * 8).reshape(n, 8).astype(np.uint8) for n in range(4, 10)],
    "colours": [np.array([[128, 64, 128], [0, 0, 142]], dtype=np.uint8)[blocks([0, 1], SIZE)]] * 6,
    "0 alone": _alike(0),
}


@pytest.mark.parametrize("row", _table("The masks hold"), ids=lambda row: row[0])
def test_values_of_masks(tmp_path: Path, row: list[str]) -> None:
    name, outcome, code = row
    masks = {f"m{index}": mask for index, mask in enumerate(MASKS[name])}
    if name.endswith("as JPEG") or "−" in name:
        for index, (own, mask) in enumerate(masks.items()):
            write_png(tmp_path / "images" / f"{own}.png", photo(mask.shape, index))
            (tmp_path / "masks").mkdir(exist_ok=True)
            if "−" in name:
                np.save(tmp_path / "masks" / f"{own}.npy", mask)
            else:
                Image.fromarray(mask).save(tmp_path / "masks" / f"{own}.jpg")
    else:
        write_folder(tmp_path, masks)
    try:
        data = load_folder(tmp_path)
        found, problems = f"{data.num_classes} classes", data.problems
    except FolderError as error:
        found, problems = "refused", error.problems[:1]
    assert outcome.startswith(found)
    assert [f"`{problem.code}`" for problem in problems] == ([code] if code else [])


def test_the_tables_list_what_is_tested() -> None:
    assert [row[0] for row in _table("The masks hold")] == list(MASKS)
    assert [row[0] for row in _table("Prediction")] == list(WRITERS)
