"""What a report says, prints, exports and draws."""

from __future__ import annotations

import builtins
import dataclasses
import json
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrit.core.errors import DataError, MissingExtraError, ParameterError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.named import FIGURES, columns_of
from segcrit.metrics.policy import POLICIES
from segcrit.metrics.report import Report
from segcrit.metrics.statistics import compare_pair


def _report(classes: int = 4, images: int = 6, task: str = "multiclass", seed: int = 0, **options: Any) -> Report:
    generator = np.random.default_rng(seed)
    if task == "multiclass":
        truth = generator.integers(0, classes - 1, (images, 40))
        prediction = np.where(
            generator.random(truth.shape) < 0.7, truth, generator.integers(0, classes - 1, truth.shape)
        )
    else:
        shape = (images, classes, 40) if task == "multilabel" else (images, 40)
        truth = (generator.random(shape) < 0.3).astype(int)
        prediction = np.where(generator.random(shape) < 0.8, truth, 1 - truth)
    evaluator = Evaluator(classes, task=task, **options)
    return evaluator.update(prediction, truth, [f"scene/{k}" for k in range(images)]).compute()


def test_the_names_of_the_contract() -> None:
    report = _report()
    for name in (
        "miou",
        "mean_dice",
        "pixel_accuracy",
        "mean_accuracy",
        "frequency_weighted_iou",
        "foreground_iou",
        "image_miou",
        "class_miou",
        "image_dice",
        "kappa",
    ):
        assert isinstance(getattr(report, name), float)
        assert 0 < getattr(report, name) < 1
    for name in ("iou", "dice", "precision", "recall"):
        values = getattr(report, name)
        assert values.shape == (4,)
        assert values.dtype == np.float64
        assert np.isnan(values[3])
        assert not np.isnan(values[:3]).any()
    assert report.confusion.dtype == np.int64
    assert report.per_image.tp.shape == (6, 4)
    assert report.per_image.iou.shape == (6, 4)
    assert report.num_images == 6
    assert report.num_pixels == 240


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_a_report_comes_back_from_json(task: str) -> None:
    report = _report(1 if task == "binary" else 4, task=task)
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(per_image=True))))
    assert again.to_dict(per_image=True) == report.to_dict(per_image=True)
    assert (again.class_names, again.task, again.notes) == (report.class_names, report.task, report.notes)
    np.testing.assert_array_equal(again.confusion, report.confusion)
    assert again.bootstrap(resamples=200).low == report.bootstrap(resamples=200).low


def test_a_report_without_counts_or_with_other_ones_is_refused() -> None:
    report = _report()
    with pytest.raises(DataError, match=r"one without per_image\..*to_dict\(per_image=True\)"):
        Report.from_dict(report.to_dict())
    with pytest.raises(DataError, match=r"schema version 2 or older, got 3"):
        Report.from_dict(report.to_dict(per_image=True) | {"schema_version": 3})
    for part in ({"task": "multilabel"}, {"confusion": np.eye(4, dtype=int).tolist()}, {"confusion": [[240]]}):
        with pytest.raises(DataError, match="contradict each other"):
            Report.from_dict(report.to_dict(per_image=True) | part)


def test_a_report_does_not_change() -> None:
    report = _report()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.confusion = np.zeros((4, 4))  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(report))
    assert again.figures == report.figures


def test_figures_of_the_set_come_from_the_same_counts_as_the_matrix() -> None:
    report = _report()
    hits = np.diag(report.confusion)
    assert np.array_equal(report.class_counts["tp"], hits)
    assert np.array_equal(report.class_counts["fp"], report.confusion.sum(axis=0) - hits)
    assert np.array_equal(report.class_counts["fn"], report.confusion.sum(axis=1) - hits)
    assert np.array_equal(report.per_image.pixels, np.full(6, 40))


def test_bootstrap_starts_from_the_headline() -> None:
    report = _report(class_names=["sky", "road", "tree", "sea"])
    interval = report.bootstrap(resamples=500)
    assert (interval.statistic, interval.value) == ("miou", report.miou)
    assert report.bootstrap("iou[road]", resamples=500).value == report.iou[1]
    assert _report(1, task="binary").bootstrap(resamples=500).statistic == "foreground_iou"
    with pytest.raises(ParameterError, match="'lake'"):
        report.bootstrap("iou[lake]")


def test_two_reports_compare() -> None:
    one = _report(seed=0)
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, (6, 40))
    perfect = Evaluator(4).update(truth, truth, [f"scene/{k}" for k in range(6)]).compute()
    result = compare_pair(perfect.per_image, one.per_image)
    assert result.difference == pytest.approx(1 - one.miou)


def test_text_is_a_table() -> None:
    text = str(_report(class_names=["sky", "road", "a very long name of a class that goes on and on", "sea"]))
    assert "Evaluation of 6 images, 240 pixels" in text
    assert re.search(r"^mIoU +0\.\d{4}$", text, re.MULTILINE)
    assert re.search(r"^sea +0\.00% +– +– +– +–$", text, re.MULTILINE)
    assert "not in any mean" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    binary = str(_report(1, task="binary"))
    assert binary.index("Foreground IoU") < binary.index("mIoU (both classes)")
    assert "No image was evaluated." in str(Evaluator(2).compute())


@pytest.mark.parametrize(("task", "classes"), [("multiclass", 4), ("binary", 1), ("multilabel", 3)])
def test_dictionary_is_plain_json(task: str, classes: int) -> None:
    report = _report(classes, task=task)
    content = json.loads(json.dumps(report.to_dict(per_image=True), allow_nan=False))
    assert content["schema_version"] == 2
    assert set(content["figures"]) == set(FIGURES)
    assert content["figures"]["miou"] == report.miou
    assert content["confusion"] == report.confusion.tolist()
    assert len(content["classes"]) == report.num_classes
    assert content["per_image"]["tp"] == report.per_image.tp.tolist()
    assert "per_image" not in report.to_dict()
    if task == "multiclass":
        assert content["classes"][3]["iou"] is None


def test_tables_for_pandas() -> None:
    pytest.importorskip("pandas")
    report = _report(class_names=["sky", "road", "tree", "sea"])
    classes = report.to_dataframe()
    assert classes.loc["road", "iou"] == report.iou[1]
    assert classes["tp"].sum() == np.trace(report.confusion)
    images = report.to_dataframe("images")
    assert images.index.tolist() == list(report.per_image.ids)
    assert images["mean_iou"].mean() == pytest.approx(report.image_miou)
    assert images.loc["scene/2", "iou[tree]"] == report.per_image.iou[2, 2]
    multilabel = _report(3, task="multilabel").to_dataframe("images")
    assert (multilabel["pixels"] == 120).all()
    with pytest.raises(ParameterError, match="classes"):
        report.to_dataframe("pixels")


class _Page(HTMLParser):
    """Balanced tags, and every address a page would load."""

    void = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("task", "classes", "images"),
    [
        ("multiclass", 4, 6),
        ("multiclass", 2, 1),
        ("multiclass", 40, 3),
        ("multiclass", 151, 3),
        ("binary", 1, 6),
        ("multilabel", 3, 6),
    ],
)
def test_page_is_one_whole_file(task: str, classes: int, images: int, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    report = _report(classes, images, task)
    path = tmp_path / "new" / "page.html"
    report.save_html(path, title="A <b> & b")
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == []
    assert page.loads == []
    assert "url(" not in text
    assert "@import" not in text
    assert "A &lt;b&gt; &amp; b" in text
    assert f"{report.figures[report.headline]:.3f}" in text
    assert ("svg" in page.tags) == (task != "multilabel")
    assert ("interval" in text) == (images > 1)
    assert list(path.parent.iterdir()) == [path]
    assert not re.search(r"[>: ]nan[<%;]", text.lower())


def test_page_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    Evaluator(3).compute().save_html(tmp_path / "page.html")
    assert "No image was evaluated." in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_page_names_the_largest_confusion_and_the_worst_image(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    names = ["sky", "road", "<script>"]
    truth = np.array([[0] * 10 + [1] * 10 + [2] * 10] * 3)
    prediction = truth.copy()
    prediction[1, 10:17] = 2
    report = Evaluator(3, class_names=names).update(prediction, truth, ["one", "two", "three"]).compute()
    report.save_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "true road, predicted &lt;script&gt;: 23.3 % (7 pixels)" in text
    worst = text[text.index("Worst") : text.index("Best")]
    assert re.search(r'<th scope="row">two</th><td>0\.629</td>', worst), worst


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.split(".")[0] in ("jinja2", "pandas"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **keywords)

    import importlib

    def import_module(name: str, package: str | None = None) -> Any:
        return without(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    report = _report()
    with pytest.raises(MissingExtraError, match=r"pip install 'segcrit\[compare\]'"):
        report.save_html(tmp_path / "page.html")
    with pytest.raises(MissingExtraError, match="pandas"):
        report.to_dataframe()
    assert list(tmp_path.iterdir()) == []


def test_columns_are_named_by_their_basis() -> None:
    report = _report()
    assert columns_of(report.per_image, "counts").shape == (6, 16)
    assert columns_of(report.per_image, "image:iou").shape == (6, 2)
    assert columns_of(report.per_image, "class:dice").shape == (6, 8)


@pytest.mark.parametrize("policy", POLICIES)
def test_figures_that_a_policy_leaves_undefined_are_dashes_on_the_page(tmp_path: Path, policy: str) -> None:
    """Class 1 is never predicted, class 2 is predicted only: 0/0 in precision, recall, or IoU."""
    truth, guess = np.array([[0, 0, 1, 1], [0, 0, 0, 1]]), np.array([[0, 0, 0, 2], [0, 0, 0, 0]])
    report = Evaluator(4, policy=policy).update(guess, truth, ids=["a", "b"]).compute()
    report.save_html(tmp_path / "page.html")
    # The notes of the policies speak of NaN; no number on the page is one.
    assert not re.search(r"nan\s*%|>\s*nan\s*<|\"nan", (tmp_path / "page.html").read_text().lower())
