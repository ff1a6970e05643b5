"""``segcrit explain``: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segcrit.apps.explain import build
from segcrit.cli import main


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


EXAMPLE = """\
ce on a 2×2 image with 2 classes: a worked example

1. The numbers
==============
  z: logits,   label
  Each pixel has a logit for each class and the class that is true there. A larger logit means more
  belief; only differences count.

  pixel       z₀       z₁  label
  ------  ------  -------  -----
  (0, 0)  0.1000   0.1100      1
  (0, 1)  0.2000   0.5000      0
  (1, 0)  0.5200   0.5000      0
  (1, 1)  1.3200  -0.3000      1

2. Softmax
==========
  p_c = exp(z_c) / Σ_k exp(z_k)
  The logits of a pixel become probabilities: positive numbers that sum to 1. The true class is
  marked.

  pixel        p₀       p₁
  ------  -------  -------
  (0, 0)   0.4975  0.5025*
  (0, 1)  0.4256*   0.5744
  (1, 0)  0.5050*   0.4950
  (1, 1)   0.8348  0.1652*
"""

EXAMPLE_END = """\
loss = 1.0066
=============
  segcrit.Criterion("ce"): 1.0066, agrees
  torch.nn.CrossEntropyLoss: 1.0066, agrees
"""


def test_the_worked_example(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(EXAMPLE)
    assert EXAMPLE_END in text
    assert "loss = (0.6882 + 0.8544 + 0.6832 + 1.8006) / 4 = 4.0263 / 4" in text
    assert text.endswith("The same with pictures: add --out page.html\n")
    assert not list(tmp_path.iterdir())
    assert main(["explain", "--out", "page.html"]) == 0
    assert capsys.readouterr().out.endswith(f"written: {tmp_path / 'page.html'}\n")
    assert "1.0066" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words",
    [
        ["--probs", "0.3 0.6 0.1", "--labels", "1"],
        ["--probs", "0.3", "0.6", "0.1", "--labels", "1"],
        ["ce", "--probs=0.3,0.6,0.1", "--labels=1"],
        ["ce", "--probs", "[[0.3, 0.6, 0.1]]", "--labels", "[1]"],
        ["ce", "--probs", "0.3 0.6 0.1; 0.2 0.2 0.6", "--labels", "1 ?"],
        ["ce", "--logits", "-1.203972804 -0.510825624 -2.302585093", "--labels", "1"],
    ],
)
def test_numbers_as_people_type_them(words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain", *words]) == 0
    text = capsys.readouterr().out
    assert "loss = 0.5108\n=============" in text
    assert "agrees" in text
    assert text.endswith("add --out page.html\n")
    assert not list(tmp_path.iterdir())


def test_json_is_data_only(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--task", "binary", "--logits", "1.5 -0.5 / 0.2 -2", "--labels", "1 0 / 0 1"]
    assert main(["explain", "lovasz", *words, "--json", "--out", "page.html"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["task"] == "binary"
    assert captured.err.startswith("written: ")


@pytest.mark.parametrize("name", ["page.html", "deep/er/figure.png"])
def test_out(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain", "ce + dice", "--out", name]) == 0
    assert f"written: {tmp_path / name}" in capsys.readouterr().out
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"<!doctype html>" if name.endswith("html") else b"\x89PNG")
    assert len(list((tmp_path / name).parent.iterdir())) == 1


def test_weights_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--logits", "2 1 / 1 2", "--labels", "0 1", "--class-weight", "1", "3", "--class-names", "sky", "road"]
    assert main(["explain", "dice", *words]) == 0
    text = capsys.readouterr().out
    assert "p sky" in text
    assert "loss = 0.250 · 0.2689 + 0.750 · 0.2689" in text
    assert main(["explain", "bce", "--probs", "0.5 0.5", "--labels", "1 0", "--pos-weight", "3"]) == 0
    assert "torch.nn.BCEWithLogitsLoss: 1.3863, agrees" in capsys.readouterr().out


def test_a_disagreement_is_loud(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    honest = build.library_result

    def off(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        result = honest(*arguments, **options)  # type: ignore[arg-type]
        return dataclasses.replace(result, value=result.value + 0.01)

    monkeypatch.setattr(build, "library_result", off)
    assert main(["explain", "ce", "--probs", "0.3 0.6 0.1", "--labels", "1"]) == 1
    assert "DIFFERS by 1.0e-02: please report this" in capsys.readouterr().out


def test_curves(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain", "--curves"]) == 0
    assert (tmp_path / "runs" / "explain" / "curves.html").read_text(encoding="utf-8").count("<img") == 7
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]
    assert main(["explain", "--curves", "ce", "dice(smooth=1)", "--out", "c.png"]) == 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["explain", "--curves", "ce", "--json"]) == 0
    panels = json.loads(capsys.readouterr().out)
    x, y = panels[0]["curves"]["ce"]
    assert len(x) == len(y) > 100


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--probs", "0.3 0.6 0.2", "--labels", "1"],
            "expected probabilities that sum to 1 at each pixel, got a sum of 1.1",
        ),
        (["--probs", "0.3 0.6 x", "--labels", "1"], "expected finite numbers in --probs, got 'x'. Separate"),
        (
            ["--logits", "1 2 / 3", "--labels", "1"],
            "expected rows of equal length in --logits, got 2 numbers in the first",
        ),
        (
            ["--logits", "1 2", "--labels", "2"],
            "expected labels between 0 and 1 or ignore_index, got label 2 in 1 pixels",
        ),
        (["--logits", "1 2"], "expected labels with the numbers, got numbers alone. Add --labels"),
        (["dcie"], "expected the name of a loss, got 'dcie'. Did you mean 'dice'?"),
        ([""], "expected a loss expression"),
        (["  "], "expected a loss expression"),
        (["", "--curves"], "expected a loss expression"),
        (["ce", "--out", "x.pdf"], "expected --out to end in .html or .png, got 'x.pdf'."),
        (["ce", "--curves", "--logits", "1 2"], "expected --curves alone, got --logits with it."),
        (["--data", "x", "--labels", "1"], "expected --data alone, got --labels with it."),
        (["--image", "x"], "expected --image and --checkpoint (and --data), got no --checkpoint."),
        (["--checkpoint", "x.ckpt"], "expected --image and --checkpoint (and --data), got no --image."),
        (["--checkpoint", "no.ckpt", "--image", "a"], "expected a checkpoint, got no file no.ckpt."),
        (["--curves", "ce(class_weight=[1, 2, 3])"], "expected losses without numbers for each class"),
    ],
)
def test_bad_input(words: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"segcrit: error: {line}")
    assert not list(tmp_path.iterdir())


def test_an_expression_error_shows_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ce + 0.5*dcie"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["  ce + 0.5*dcie", "           ^"]


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["explain", "ce", "--out", "file/page.html"]) == 2
    assert capsys.readouterr().err.startswith("segcrit: error: ")
