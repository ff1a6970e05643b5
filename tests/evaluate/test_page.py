"""The page: self-contained, with the figures of the tables, for every kind of task and number of models."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.page.boundaries import boundary_rows
from segcrit.apps.evaluate.page.page import render
from segcrit.apps.evaluate.page.pictures import Gallery, Panel
from segcrit.apps.evaluate.results import Outcome
from segcrit.cli import main
from segcrit.reports.error_colors import UNJUDGED, WRONG
from tests.evaluate.making import folders, maps, save_png

# Inside a sentence.
INLINE = {"b", "i", "span", "wbr"}
VOID = {"wbr", "meta", "br", "img", "path", "rect", "hr", "input", "link"}


class _Checker(HTMLParser):
    """Every tag that is opened is closed, in order; nothing is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.pictures = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.outside.append(str(value))
        self.pictures += tag == "img"
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.text += " | "

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag
        if tag not in INLINE:
            self.text += " | "


def check(text: str) -> _Checker:
    checker = _Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    assert not checker.outside
    assert "Undefined" not in text
    # Two sentences with nothing between them, or a mark that stands alone.
    assert not re.search(r"[a-z)%][.:;!?][A-Z][a-z]|(?<!\.)\.\.(?!\.)| [.,;] |\.:", checker.text)
    assert not re.search(r"\bnan\b|\bNone\b", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    return checker


def outcome_of(root: Path, models: list[str], target: str, images: str | None = None, **options: Any) -> Outcome:
    job = Job(tuple(models), target, Options(**{"classes": "3", **options}), None, images)
    tally, problems = count_files(job, root / "out", progress=False)
    return Outcome(tally, tuple(problems))


def _logits(root: Path, content: Any) -> str:
    random = np.random.default_rng(0)
    (root / "logits").mkdir()
    for name, (_, guess) in content.items():
        logits = random.normal(size=(3, *guess.shape))
        np.put_along_axis(logits, guess[None].astype(np.int64), 2.0, axis=0)
        np.save(root / "logits" / f"{name}.npy", logits.astype(np.float32))
    return str(root / "logits")


def test_one_model_with_everything(tmp_path: Path) -> None:
    content = maps(9)
    _, target = folders(tmp_path, content)
    for name, (truth, _) in content.items():
        photo = np.random.default_rng(0).integers(0, 255, (*truth.shape, 3)).astype(np.uint8)
        save_png(tmp_path / "photos" / f"{name}.png", photo)
    predictions = _logits(tmp_path, content)
    outcome = outcome_of(tmp_path, [predictions], target, measures=("boundary", "calibration"))
    text = render(outcome, images=str(tmp_path / "photos"))
    checker = check(text)
    assert checker.pictures == 5 * 4  # four worst and the median one: photograph, truth, prediction, errors
    for heading in ("Classes", "Confusion matrix", "Boundaries and interior", "Calibration", "Images", "Label audit"):
        assert f"<h2>{heading}</h2>" in text
    assert f"<b>{outcome.first.miou:.3f}</b>" in text
    interval = outcome.intervals["logits"]["miou"]
    assert f"{interval.low:.3f} – {interval.high:.3f}" in text
    worst = outcome.first.worst(1)[0]
    assert f'{worst[0]} <span class="why">worst' in text


def _guess_and_better(root: Path, number: int) -> tuple[list[str], str]:
    """The folders of two models, the second of which is right everywhere, and that of the truth."""
    content = maps(number)
    predictions, target = folders(root, content)
    for name, (truth, guess) in content.items():
        save_png(root / "better" / f"{name}.png", np.where(truth == 255, guess, truth))
    return [predictions, str(root / "better")], target


def test_two_models(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, *_guess_and_better(tmp_path, 12))
    text = render(outcome)
    check(text)
    assert "better against guess" in text
    assert "12 images improved, 0 got worse, 0 stayed the same" in text
    assert 'class="text better">better' in text
    gains = outcome.reports["better"].iou - outcome.reports["guess"].iou
    for gain in gains:
        assert f"{gain:+.3f}" in text


def test_errors_near_and_far_from_edges_add_up(tmp_path: Path) -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[:, 30:] = 1
    near, far = truth.copy(), truth.copy()
    near[10:20, 30:31] = 0  # ten pixels beside the edge
    far[10:15, 50:52] = 0  # ten pixels in the interior
    for name, guess in (("near", near), ("far", far)):
        save_png(tmp_path / "truth" / f"{name}.png", truth)
        save_png(tmp_path / "guess" / f"{name}.png", guess)
    outcome = outcome_of(
        tmp_path, [str(tmp_path / "guess")], str(tmp_path / "truth"), classes="2", measures=("boundary(trimap=3)",)
    )
    (row,) = boundary_rows(outcome) or []
    assert row["near_share"] == 0.5
    near_pixels = row["near_pixels"] * 7200
    assert row["near_rate"] == pytest.approx(10 / near_pixels)
    assert row["far_rate"] == pytest.approx(10 / (7200 - near_pixels))


def test_three_models(tmp_path: Path) -> None:
    content = maps(8)
    predictions, target = folders(tmp_path, content)
    for model in "ab":
        for name, (_, guess) in maps(8, seed=ord(model)).items():
            save_png(tmp_path / model / f"{name}.png", guess)
    outcome = outcome_of(tmp_path, [predictions, str(tmp_path / "a"), str(tmp_path / "b")], target)
    text = render(outcome)
    check(text)
    assert "mIoU, all pairs" in text


def test_binary_multilabel_one_image_and_many_classes(tmp_path: Path) -> None:
    binary = maps(5, classes=2)
    predictions, target = folders(tmp_path / "binary", binary)
    text = render(outcome_of(tmp_path / "binary", [predictions], target, classes="2", task="binary"))
    check(text)
    assert "Foreground IoU" in text
    random = np.random.default_rng(0)
    for name in "abc":
        for folder in ("truth", "guess"):
            (tmp_path / "multi" / folder).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "multi" / folder / f"{name}.npy", random.integers(0, 2, (3, 9, 9)).astype(np.uint8))
    many = outcome_of(
        tmp_path / "multi", [str(tmp_path / "multi" / "guess")], str(tmp_path / "multi" / "truth"), task="multilabel"
    )
    check(render(many))
    predictions, target = folders(tmp_path / "one", maps(1))
    check(render(outcome_of(tmp_path / "one", [predictions], target)))
    predictions, target = folders(tmp_path / "many", maps(3, size=(80, 90), classes=150))
    text = render(outcome_of(tmp_path / "many", [predictions], target, classes="150"))
    check(text)
    assert len(text) < 6_000_000


def test_images_of_one_group(tmp_path: Path) -> None:
    predictions, target = folders(tmp_path, maps(5))
    folders(tmp_path / "other", maps(5))
    (tmp_path / "other" / "guess").rename(tmp_path / "twin")
    found = outcome_of(tmp_path, [predictions, f"twin={tmp_path / 'twin'}"], target)
    outcome = Outcome(found.tally, groups=dict.fromkeys(found.tally.ids, "scene"))
    assert outcome.intervals == {"guess": {}, "twin": {}}
    text = render(outcome)
    check(text)
    assert "All images are of one group" in text


@pytest.mark.parametrize("number", [2, 5, 6])
def test_few_images_are_said_to_prove_little(tmp_path: Path, number: int) -> None:
    predictions, target = folders(tmp_path, maps(number))
    folders(tmp_path / "other", maps(number, seed=1))
    (tmp_path / "other" / "guess").rename(tmp_path / "twin")
    outcome = outcome_of(tmp_path, [predictions, str(tmp_path / "twin")], target)
    least = min(pair.p_value for pairs in outcome.comparisons.values() for pair in pairs)
    assert least >= 2 / 2**number
    wanted = f"Only {number} images" if number < 6 else ""
    assert outcome.caution.startswith(wanted)
    assert (f"p below {2 / 2**number:g}." in render(outcome)) is bool(wanted)


def test_what_is_not_judged_is_striped(tmp_path: Path) -> None:
    """The colours of the stripes are in a picture exactly where the truth is ignored."""
    truth = np.zeros((40, 40), dtype=np.uint8)
    truth[10:30] = 255
    guess = np.zeros_like(truth)
    guess[:, :5] = 1
    predictions, target = folders(tmp_path, {"a": (truth, guess)})
    tally = outcome_of(tmp_path, [predictions], target).tally
    panel = Gallery(tally, None).panel("a")
    assert isinstance(panel, Panel)
    for uri, wrong in ((panel.truth, False), (panel.models[0].errors, True)):
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as opened:
            picture = np.asarray(opened.convert("RGB"))
        striped = [(picture == np.array(color)).all(axis=-1) for color in UNJUDGED]
        assert ((striped[0] | striped[1]) == (truth == 255)).all()
        assert striped[0].sum() == striped[1].sum()
        if wrong:
            assert ((picture == np.array(WRONG)).all(axis=-1) == ((guess == 1) & (truth != 255))).all()


def test_few_groups_are_said_in_the_verdict(tmp_path: Path) -> None:
    """Where no test can find anything, the box of the verdict says so, and nothing calls a model better."""
    both, target = _guess_and_better(tmp_path, 8)
    found = outcome_of(tmp_path, both, target)
    assert found.comparisons["miou"][0].significant
    outcome = Outcome(found.tally, groups={name: str(place % 2) for place, name in enumerate(found.tally.ids)})
    text = render(outcome)
    check(text)
    box = text[text.index('<section class="headline">') : text.index("</section>")]
    assert "Only 2 groups" in box
    assert "no test over 2 groups can give a p below 0.5." in box
    assert "So few groups of images cannot tell the two apart." in box
    assert text.count("Only 2 groups") == 1
    assert '<b class="even">' in box
    assert 'class="text better"' not in text
    assert ">too few to tell</td>" in text
    single = Outcome(outcome_of(tmp_path / "one", both[:1], target).tally, groups=outcome.groups)
    text = render(single)
    assert "Only 2 groups" in text[: text.index("</section>")]
    assert text.count("Only 2 groups") == 1


def test_every_model_has_all_figures_of_a_class(tmp_path: Path) -> None:
    models = [f"m{number}" for number in range(3)]
    for number, model in enumerate(models):
        _, target = folders(tmp_path / model, maps(7, seed=0))
        for name, (truth, _) in maps(7).items():
            _, guess = maps(7, seed=number)[name]
            save_png(tmp_path / model / "guess" / f"{name}.png", np.where(truth == 255, 0, guess))
    outcome = outcome_of(tmp_path, [f"{model}={tmp_path / model / 'guess'}" for model in models], target)
    text = render(outcome)
    check(text)
    table = text[text.index("<h2>Classes</h2>") : text.index("<h2>Confusion matrix</h2>")]
    rows = re.findall(r'<td class="text model">(m\d)</td>(.*?)</tr>', table, flags=re.DOTALL)
    assert [model for model, _ in rows] == models * 3
    for place, (model, cells) in enumerate(rows):
        report = outcome.reports[model]
        for name in ("iou", "dice", "precision", "recall"):
            values = getattr(report, name)
            (cell,) = re.findall(f'<td class="{name}">(.*?)</td>', cells)
            assert f"{values[place // 3]:.3f}" in cell
            assert f"--w: {100 * values[place // 3]:.1f}%" in cell
            best = max(getattr(own, name)[place // 3] for own in outcome.reports.values())
            assert ("<b>" in cell) == (values[place // 3] == best)
    pairs = text[text.index("all pairs</h3>") : text.index("<h2>Classes</h2>")]
    wanted = outcome.reports["m1"].miou - outcome.reports["m0"].miou
    shown = f"{wanted:+.3f}".replace("-", "−")
    assert re.search(r'm1 − m0</th><td data-head="Difference" class="\w+">' + re.escape(shown), pairs)


def test_names_break_between_their_words(tmp_path: Path) -> None:
    """And what decides is not at the far end of a table that has to be scrolled."""
    predictions, target = folders(tmp_path, maps(6))
    folders(tmp_path / "other", maps(6, seed=1))
    (tmp_path / "other" / "guess").rename(tmp_path / "twin")
    names = f"{'x' * 60},sign_symbol,a"
    text = render(outcome_of(tmp_path, [predictions, str(tmp_path / "twin")], target, classes=names))
    check(text)
    assert "sign_<wbr>symbol</th>" in text
    assert f"{'x' * 24}<wbr>{'x' * 24}<wbr>{'x' * 12}</th>" in text
    (rule,) = re.findall(r"^th\[scope\^=row\] \{ white-space.*$", text, flags=re.MULTILINE)
    assert "anywhere" not in rule
    narrow = text[text.index("@media (max-width: 40rem) {\n  .stacked") :]
    assert ".stacked td { display: flex;" in narrow
    for head in ("Difference", "p", "Verdict", "twin"):
        assert f'<td data-head="{head}"' in text


def test_how_boundaries_were_measured_is_said(tmp_path: Path) -> None:
    content = maps(2, size=(30, 40))
    predictions, target = folders(tmp_path, content)
    measures = ("boundary(tolerance=1.5)", "objects(edges=(3,))")
    outcome = outcome_of(tmp_path, [predictions], target, measures=measures)
    text = render(outcome)
    check(text)
    assert "<dt>Unit of distances</dt><dd>pixels</dd>" in text
    assert "<dt>Tolerance of boundary F1 and NSD</dt><dd>1.5</dd>" in text
    # 2 % of a diagonal of 50 pixels, at least one pixel
    assert "<dt>Band of the boundary IoU</dt><dd>1 (by the diagonal of each image)</dd>" in text
    assert "<dd>counts a distance of 48.6 (by the diagonal of each image)</dd>" in text
    spaced = outcome_of(tmp_path / "b", [predictions], target, measures=("boundary(spacing=(0.5, 2), band=3)",))
    text = render(spaced)
    assert "<dd>that of the spacing that was given, 0.5 × 2</dd>" in text
    assert "<dt>Width of the trimap</dt><dd>3</dd>" in text
    objects = outcome.first.objects
    assert objects is not None
    table = render(outcome).split("<h2>Objects by size</h2>")[1]
    for index in range(3):
        for values in (objects.iou, objects.recall):
            for value in values[index]:
                assert f">{value:.3f}</td>" in table


def test_the_unit_is_that_of_nifti_files(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    random = np.random.default_rng(0)
    for folder in ("truth", "guess"):
        (tmp_path / folder).mkdir()
        volume = nibabel.Nifti1Image(random.integers(0, 2, (9, 8, 7)).astype(np.uint8), np.diag([0.5, 1.0, 2.5, 1.0]))
        nibabel.save(volume, tmp_path / folder / "a.nii.gz")
    paths = [str(tmp_path / "guess")], str(tmp_path / "truth")
    text = render(outcome_of(tmp_path, *paths, classes="2", measures=("boundary",)))
    check(text)
    assert "<dt>Unit of distances</dt><dd>that of the files, spacing 0.5 × 1 × 2.5</dd>" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    predictions, target = folders(tmp_path, maps(3))
    outcome = outcome_of(tmp_path, [f"<b>x={predictions}"], target, classes="<i>road,a&b,c")
    text = render(outcome)
    assert "<i>road" not in text
    assert "&lt;b&gt;x" in text


def test_the_command_writes_the_page(tmp_path: Path, capsys: Any) -> None:
    predictions, target = folders(tmp_path, maps(4))
    words = [predictions, target, "--classes", "3", "--out", str(tmp_path / "out"), "--title", "My title"]
    assert main(["evaluate", *words]) == 0
    assert "<h1>My title</h1>" in (tmp_path / "out" / "report.html").read_text()
    assert capsys.readouterr().out.rstrip().endswith("report.html")


def test_volumes_have_voxels_and_sharp_slices(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("guess", "truth"):
        (tmp_path / folder).mkdir()
        for name in "ab":
            np.save(tmp_path / folder / f"{name}.npy", random.integers(0, 3, (6, 7, 8)).astype(np.uint8))
    page = render(outcome_of(tmp_path, [str(tmp_path / "guess")], str(tmp_path / "truth")))
    text = check(page).text
    assert "2 volumes · 672 voxels" in text
    assert not re.search(r"\b(pixels?|images)\b", text.split("What the figures mean")[0])
    assert '<section class="panel small">' in page
