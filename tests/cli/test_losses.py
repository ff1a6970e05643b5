"""``segcrit losses``: the table and one loss, from the same rows as everything else."""

from __future__ import annotations

import json

import pytest

import segcrit
from segcrit.cli import main

ROWS = [loss for loss in segcrit.list_losses() if loss.function is not None]


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for loss in ROWS:
        assert f" {loss.name} {loss.family} " in text


@pytest.mark.parametrize("loss", ROWS, ids=lambda loss: loss.name)
def test_one_loss(loss: segcrit.Loss, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[name-defined]
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["losses", loss.name]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert " ".join(loss.formula.split()) in text
    assert loss.reference in text
    for name in loss.parameters:
        assert f" {name} " in text
    for alias in loss.aliases:
        assert main(["losses", alias]) == 0
        assert f"({loss.name})" in capsys.readouterr().out


def test_focal_snapshot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["losses", "focal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        "Focal loss (focal)",
        "==================",
        "  ℓ_i = −α (1 − p_t)^γ log p_t;  mean as for cross-entropy, α not in the denominator",
    ]
    assert any(line.split()[:2] == ["gamma", "2"] for line in lines)
    assert '  criterion = segcrit.Criterion("focal")' in lines


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) >= {loss.name for loss in ROWS}
    assert rows["focal"]["parameters"]["gamma"]["default"] == 2.0
    assert main(["losses", "iou", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "jaccard"


@pytest.mark.parametrize("loss", ROWS, ids=lambda loss: loss.name)
def test_the_example_of_a_loss_runs(loss: segcrit.Loss) -> None:  # type: ignore[name-defined]
    import torch

    from segcrit.cli.losses import describe

    binary = "multiclass" not in loss.tasks
    logits = torch.randn(1, 1 if binary else 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 2, (1, 4, 4), generator=torch.Generator().manual_seed(1))
    # The example names the first task of a sigmoid loss; one channel of labels fits binary and multilabel.
    names = {
        "segcrit": segcrit,
        "logits": logits,
        "target": target if "multilabel" not in loss.tasks[:1] else target[:, None],
    }
    values = []
    for line in describe(loss)["example"]:
        exec(line, names)
        if line.startswith("loss ="):
            values.append(float(names["loss"]))  # type: ignore[arg-type]
    assert values[0] == pytest.approx(values[1])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("jacard", "Did you mean 'jaccard'?"),
        ("crossentropy", "Did you mean 'ce'?"),  # the name that the list shows, not its alias
        ("lovasz_softmx", "Did you mean 'lovasz'?"),
        ("zzz", "Losses: ce, bce, focal"),
        ("ce + dice", "got the expression 'ce + dice'"),
        ("ce + ", "the name of a loss"),
    ],
)
def test_unknown(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("segcrit: error: ")
    assert words in error


def test_a_term_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["losses", "0.5*iou(smooth=1)"]) == 0
    assert "Jaccard loss (jaccard)" in capsys.readouterr().out
