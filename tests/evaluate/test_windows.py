"""Read by windows or as a whole, every layout of a file gives the same counts, or the same refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segcrit.apps.evaluate.counting import one_image
from segcrit.apps.evaluate.counting.run import AuditError, Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.reading.windows import windows
from segcrit.apps.evaluate.results import Outcome
from tests.evaluate.making import Array

SIZE = (90, 110)
RANDOM = np.random.default_rng(7)
TRUTH = RANDOM.integers(0, 3, SIZE).astype(np.uint8)
GUESS = np.where(RANDOM.random(SIZE) < 0.3, RANDOM.integers(0, 3, SIZE), TRUTH).astype(np.uint8)
LOGITS = RANDOM.normal(size=(3, *SIZE)).astype(np.float32)
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(0)
OBJECT, FOUND = (TRUTH > 0).astype(np.uint8), (GUESS > 0).astype(np.uint8)
BLOCK = LOGITS[0].copy()
BLOCK[:40, :40] = FOUND[:40, :40]  # logits that look like labels in the first windows
BINARY: dict[str, Any] = {"classes": "2", "task": "binary"}

Write = Callable[[Path], None]


def tif(array: Array, **options: Any) -> Write:
    return lambda folder: tifffile.imwrite(folder / "a.tif", array, **options)


def npy(array: Array) -> Write:
    return lambda folder: np.save(folder / "a.npy", array)


def rgb(array: Array) -> Array:
    return np.repeat(array[..., None], 3, axis=-1)


COLORS = [(0, 200, 0), (200, 0, 0), (0, 0, 200)]


def reordered(labels: Array) -> Write:
    """A palette file whose first two entries were swapped: its colours tell the classes, which hold classes.json's."""

    def write(folder: Path) -> None:
        table = np.zeros((3, 256), np.uint16)
        table[:, :3] = np.array(COLORS).T << 8
        tifffile.imwrite(folder / "a.tif", labels, photometric="palette", colormap=table, tile=(32, 32))
        order = (1, 0, 2)
        entries = [{"index": label, "name": "abc"[label], "color": COLORS[order[label]]} for label in range(3)]
        (folder / "classes.json").write_text(json.dumps({"classes": entries}))

    return write


# A window whose labels mean the same in either order, beside others where they do not.
PARTLY = TRUTH.copy()
PARTLY[:64, :64] = 2

CASES: dict[str, tuple[Write, Write, dict[str, Any]]] = {
    "integers": (tif(TRUTH, tile=(32, 48)), tif(GUESS, rowsperstrip=7), {}),
    "big-endian": (tif(TRUTH.astype(">u2"), byteorder=">", tile=(16, 16)), npy(GUESS.astype(">i4")), {}),
    "Fortran order": (npy(np.asfortranarray(TRUTH)), npy(np.asfortranarray(GUESS)), {}),
    "floating labels": (tif(TRUTH.astype(np.float32), tile=(16, 16)), tif(GUESS.astype(np.float32)), {}),
    "fractions": (tif(TRUTH), tif(GUESS + np.float32(0.5)), {}),
    "floating label arrays": (npy(TRUTH.astype(float)), npy(GUESS.astype(float)), {}),
    "an axis of one": (npy(TRUTH[None]), npy(GUESS[None]), {}),
    "floating labels, an axis of one": (npy(TRUTH), npy(GUESS[None].astype(np.float32)), {}),
    "logits": (npy(TRUTH), npy(LOGITS), {"measures": ("calibration",)}),
    "logits, channels last": (npy(TRUTH), npy(np.moveaxis(LOGITS, 0, -1)), {}),
    "logits of a TIFF": (tif(TRUTH), tif(np.moveaxis(LOGITS, 0, -1).copy(), photometric="rgb"), {}),
    "one-hot": (npy(TRUTH), npy((np.arange(3)[:, None, None] == GUESS).astype(np.uint8)), {}),
    "grey as colours": (tif(TRUTH), tif(rgb(GUESS), photometric="rgb"), {}),
    "colours of 16 bits": (tif(TRUTH), tif(rgb(GUESS).astype(np.uint16), photometric="rgb"), {}),
    "bool": (tif(OBJECT.astype(bool)), npy(FOUND.astype(bool)), {"classes": "2"}),
    "shares": (npy(TRUTH), npy(SHARES), {"values": "probabilities"}),
    "shares as bytes": (npy(TRUTH), npy(np.round(255 * SHARES).astype(np.uint8)), {"values": "probabilities"}),
    "binary": (tif(OBJECT), tif(FOUND), BINARY),
    "binary, grey shares": (
        tif(OBJECT),
        tif(RANDOM.integers(0, 256, SIZE).astype(np.uint8)),
        {"values": "probabilities", **BINARY},
    ),
    "binary, dark shares": (tif(OBJECT), tif(FOUND), {"values": "probabilities", **BINARY}),
    "binary logits": (tif(OBJECT), tif(LOGITS[0]), BINARY),
    "binary, floating labels": (tif(OBJECT), tif(FOUND.astype(np.float32)), {"threshold": 0.8, **BINARY}),
    "binary, floating label arrays": (npy(OBJECT), npy(FOUND[None].astype(float)), {"threshold": 0.8, **BINARY}),
    "binary logits like labels": (tif(OBJECT), tif(BLOCK), {"threshold": 0.8, **BINARY}),
    "palette in another order": (reordered(TRUTH), tif(GUESS), {"classes": None}),
    "palette in another order, partly": (reordered(PARTLY), tif(GUESS), {"classes": None}),
    "unknown in a corner": (
        tif(np.where((np.arange(90)[:, None] > 80) & (np.arange(110) > 100), 9, TRUTH).astype(np.uint8)),
        tif(GUESS),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_windows_and_whole_files_are_understood_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    truth, guess, options = CASES[name]
    for folder, write in (("truth", truth), ("guess", guess)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder)

    def outcome(tile: int) -> Any:
        job = Job(
            (str(tmp_path / "guess"),), str(tmp_path / "truth"), Options(**{"classes": "3", "tile": tile} | options)
        )
        try:
            report = Outcome(count_files(job, tmp_path / f"out{tile}", workers=1)[0]).first
        except AuditError as error:
            return [problem.code for problem in error.problems if problem.severity == "error"]
        return report.confusion.tolist(), {
            key: round(value, 12) for key, value in report.figures.items() if value == value
        }

    whole = outcome(4096)
    assert outcome(32) == whole
    refused = {"fractions": ["prediction-unreadable"], "unknown in a corner": ["unknown-labels"]}
    if name in refused:
        assert whole == refused[name]
    elif "floating label" in name or "dark" in name:
        guessed, true = (FOUND, OBJECT) if "binary" in name else (GUESS, TRUTH)
        if "dark" in name:
            guessed = guessed * 0
        size = int(true.max()) + 1
        assert (
            whole[0] == np.bincount(true.ravel() * size + guessed.ravel(), minlength=size**2).reshape(-1, size).tolist()
        )


def test_windows_are_what_large_files_are_read_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above compares two ways: floating labels, too, never come as a whole."""

    def refuse(*given: Any) -> Any:
        raise AssertionError("a whole file was read")

    monkeypatch.setattr(one_image, "_count_whole", refuse)
    for name in (
        "integers",
        "floating labels",
        "binary, floating labels",
        "logits",
        "palette in another order, partly",
    ):
        truth, guess, options = CASES[name]
        root = tmp_path / name
        for folder, write in (("truth", truth), ("guess", guess)):
            (root / folder).mkdir(parents=True)
            write(root / folder)
        job = Job((str(root / "guess"),), str(root / "truth"), Options(**{"classes": "3", "tile": 32} | options))
        count_files(job, root / "out", workers=1)
    assert len(list(windows(SIZE, (32, 32)))) == 12
