"""Files that name classes, with values that no label map holds: one sentence, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrit.cli import main
from tests.evaluate.making import save_png

HUGE = 10**30


def _nnunet(labels: Any) -> tuple[str, str]:
    return "dataset.json", json.dumps({"labels": labels, "channel_names": {"0": "R"}, "file_ending": ".png"})


FILES = (
    ("classes.json", json.dumps({"num_classes": 2, "ignore_index": HUGE})),
    ("classes.json", json.dumps({"classes": [{"index": 0, "name": "a", "values": [HUGE]}]})),
    ("obj_class_to_machine_color.json", '{"a": [1e400, 1, 1]}'),
    _nnunet({"a": [[1]]}),
    _nnunet({"a": ["x", None]}),
    _nnunet({"a": [float("inf")]}),
    _nnunet({"a": {}}),
)


@pytest.mark.parametrize(("name", "content"), FILES, ids=lambda text: text[:60])
def test_values_that_no_label_map_holds(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ("imagesTr", "labelsTr") if name == "dataset.json" else ("images", "masks")
    for index in range(4):
        save_png(tmp_path / folders[0] / f"a{index}_0000.png", np.eye(8, dtype=np.uint8))
        save_png(tmp_path / folders[1] / f"a{index}.png", np.eye(8, dtype=np.uint8))
    (tmp_path / name).write_text(content)
    assert main(["inspect", str(tmp_path)]) == 2, capsys.readouterr().err
