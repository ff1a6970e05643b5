"""Names from files start nothing where they are shown: in a spreadsheet; for the terminal see tests/cli/test_frame.py."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.cli import main
from segcrit.core.csv_tables import csv_text, name_of_cell
from tests.evaluate.making import save_png

NAMES = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "＝1", "'=1", "plain", "'s", "-1", "Größe")


@given(st.text(alphabet="'=+-@\t1ea＝,\"", max_size=6) | st.sampled_from(NAMES))
@settings(max_examples=200, deadline=None)
def test_every_name_reads_back_and_none_is_a_formula(name: str) -> None:
    ((cell,),) = (
        csv.reader(io.StringIO(csv_text([[name]]), newline="")) if name else ((csv_text([[""]]).strip('"\n'),),)
    )
    assert name_of_cell(cell) == name
    if cell[:1] in tuple("=+-@\t＝"):
        float(cell)  # a number, which starts nothing


def test_tables_of_an_evaluation(tmp_path: Path) -> None:
    for folder in ("truth", "guess"):
        save_png(tmp_path / folder / "=a.png", np.eye(4, dtype=np.uint8))
    entries = [{"index": 0, "name": "=1+1"}, {"index": 1, "name": "@x"}]
    (tmp_path / "classes.json").write_text(json.dumps({"num_classes": 2, "classes": entries}))
    (tmp_path / "groups.csv").write_text(csv_text([["image", "group"], ["=a", "-g"]]))
    words = ["evaluate", str(tmp_path / "guess"), str(tmp_path / "truth"), "--classes", str(tmp_path / "classes.json")]
    out = tmp_path / "out"
    assert main([*words, "--groups", str(tmp_path / "groups.csv"), "--out", str(out), "--no-report"]) == 0
    found = set()
    for path in out.glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_bytes().decode(), newline="")):
            for cell in row:
                found.add(name_of_cell(cell))
                if cell[:1] in tuple("=+-@\t"):
                    float(cell)
    assert {"=1+1", "@x", "=a", "-g"} <= found


@pytest.mark.parametrize("value", [-0.5, -1, "-1.5e-3", "-inf"])
def test_numbers_stay_numbers(value: object) -> None:
    assert csv_text([[value]]) == f"{value}\n"
