"""The report: well-formed, complete in itself, its figures those of results.json."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcrit import metrics
from segcrit.apps.compare import report
from segcrit.apps.compare.records import ComputedWord, Results
from segcrit.apps.compare.report.page import from_run, render_report
from segcrit.apps.compare.results import write_results
from segcrit.apps.compare.verdict.summary import mean_figures, step_seconds
from segcrit.apps.compare.verdict.text import judge
from segcrit.core.errors import DataError
from segcrit.core.numbers import number, percent, signed
from segcrit.core.quantities import worded
from segcrit.reports.error_colors import UNJUDGED
from tests.compare_report.factory import LAND, Recipe, from_counts, make, many_classes, two_class_counts
from tests.compare_report.page_reader import Element, read_page, table_rows

TWELVE = (
    "ce",
    "dice",
    "ce + dice",
    "focal",
    "jaccard",
    "ce + lovasz",
    "tversky(alpha=0.3, beta=0.7)",
    "0.5*ce + 0.5*dice(smooth=1, squared=True) + 2*focal(gamma=3)",
    "lovasz",
    'ce(class_weight="median") + dice',
    "focal(gamma=5)",
    "ce(label_smoothing=0.1)",
)
HOSTILE = (('<script>alert("1")</script>', "#2b6cb0"), ('long & "quoted" ' * 6, "#276749"), *LAND[2:])

RECIPES = {
    "plain": Recipe(),
    "seeds, groups, 3-D, hostile names": Recipe(
        seeds=(0, 1, 2),
        groups=8,
        spatial_dims=3,
        tuned=True,
        diverged=("focal",),
        classes=HOSTILE,
        name='<b>"my" data</b> & more',
        notes=("Two images <i>are</i> small.",),
        extra_losses={"ce": "ce(class_weight=[1.0, 2.0])"},
    ),
    "many classes, twelve losses": Recipe(
        losses=TWELVE,
        noise=tuple(0.4 + 0.03 * k for k in range(12)),
        classes=many_classes(150),
        size=40,
        images=8,
        absent=(140,),
    ),
    "one loss": Recipe(losses=("dice",), images=6),
    "interrupted": Recipe(interrupted=True, ignored=False),
    "nothing tested": Recipe(losses=("ce", "dice"), diverged=("ce", "dice")),
    "two classes, few images": Recipe(classes=LAND[:2], images=3, losses=("ce", "dice")),
}
Run = tuple[Results, Path, str, Element]


@pytest.fixture(scope="module", params=RECIPES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    results = make(RECIPES[request.param], folder)
    text = render_report(results, folder).read_text(encoding="utf-8")
    return results, folder, text, read_page(text)


def _make(tmp_path: Path, results: Results) -> tuple[str, Element]:
    text = render_report(results, tmp_path).read_text(encoding="utf-8")
    return text, read_page(text)


def _section(page: Element, name: str) -> Element:
    return page.find("section", id=name)[0]


def test_nothing_is_loaded_from_elsewhere(run: Run) -> None:
    _, folder, text, page = run
    assert "http" not in text.replace("http-equiv", "")
    assert "//" not in re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+|^\s*//.*$", "", text, flags=re.MULTILINE)
    for element in page.everything():
        for key in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            value = element.attributes.get(key)
            assert value is None or value.startswith(("data:image/", "#")), f"<{element.tag} {key}={value[:60]!r}>"
    for url in re.findall(r"url\(([^)]*)\)|@import", text):
        assert url.startswith("data:image/")
    assert not page.find("link") + page.find("iframe") + page.find("object")
    assert str(folder) not in text


def test_anchors_lead_somewhere_and_ids_are_unique(run: Run) -> None:
    page = run[3]
    ids = [element.attributes["id"] for element in page.everything() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    links = [link.attributes["href"] for link in page.find("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_document_is_complete_for_phones_and_screen_readers(run: Run) -> None:
    page = run[3]
    assert run[2].startswith("<!doctype html>")
    assert page.find("html")[0].attributes["lang"] == "en"
    assert page.find("meta", name="viewport")[0].attributes["content"] == "width=device-width, initial-scale=1"
    assert len(page.find("h1")) == 1
    for picture in page.find("img"):
        assert len(picture.attributes["alt"]) > 3
    for drawing in page.find("svg"):
        assert drawing.attributes.get("aria-label") or drawing.attributes.get("aria-hidden") == "true"
    for table in page.find("table"):
        heads = len(table.find("thead")[0].find("th", scope="col"))
        assert all(len(row) == heads for row in table_rows(table))
        assert len(table.find("th", scope="row")) == len(table_rows(table)) - 1
    # A table may be wider than a phone, the page may not: each scrolls in a box that the keyboard reaches.
    boxes = [element for element in page.find("div", class_="box") if element.attributes.get("tabindex") == "0"]
    assert len(boxes) == len(page.find("table"))


def test_no_number_is_written_as_nan(run: Run) -> None:
    page = run[3]
    visible = " ".join(element.text for element in page.find("body"))
    for script in page.find("script"):
        visible = visible.replace(script.text, "")
    messages = "became NaN at step"
    assert not re.search(r"\b([Nn]an|NaN|inf|None(?! of))\b", visible.replace(messages, ""))
    assert "nan" not in "".join(
        element.attributes.get(key, "") for element in page.everything() for key in ("d", "x", "y", "cx", "cy", "style")
        if not element.attributes.get(key, "").startswith("--photo")
    )  # fmt: skip


def test_order_of_the_sections(run: Run) -> None:
    results, _, _, page = run
    names = [section.attributes["id"] for section in page.find("section")]
    expected = ["verdict", "losses", "classes", "precision", "validation", "cost", "pictures", "details", "use"]
    assert names == [name for name in expected if name in names]
    if any(seed.figures for loss in results.losses for seed in loss.seeds):
        assert names == expected


def test_verdict_stands_first_and_in_full(run: Run) -> None:
    results, _, _, page = run
    verdict = judge(results)
    section = _section(page, "verdict")
    shown = " ".join(section.text.replace("\u00a0", " ").split())
    assert shown.startswith(f"Verdict {verdict.headline.replace('`', '')}")
    notes = [worded(note, results.data.spatial_dims) for note in results.run.notes]
    for sentence in (*verdict.sentences, *notes):
        assert " ".join(sentence.replace("`", "").split()) in shown


def test_foreground_iou_is_not_shown_where_no_class_is_the_background(tmp_path: Path) -> None:
    results = make(Recipe(losses=("ce", "dice")), tmp_path)
    for background, shown in ((0, True), (None, False)):
        changed = replace(results, data=replace(results.data, background=background))
        page = read_page(render_report(changed, tmp_path).read_text(encoding="utf-8"))
        heads = [next(iter(table_rows(table))) for section in page.find("section") for table in section.find("table")]
        assert any("foreground IoU" in head for head in heads) is shown
        assert any("per-image Dice" in head for head in heads)


def test_table_of_losses_has_the_figures_of_the_results(run: Run) -> None:
    results, _, _, page = run
    verdict = judge(results)
    rows = table_rows(_section(page, "losses").find("table")[0])
    assert rows[0][1:3] == ["mIoU", "95 % interval"]
    extra = 1 if verdict.pairs else 0
    named = {}
    for row in rows[1:]:
        loss = next(
            (loss for loss in results.losses if row[0].startswith(loss.name) and _rest(row[0], loss.name)), None
        )
        named[loss.name if loss else "baseline"] = row
    assert set(named) == {loss.name for loss in results.losses} | {"baseline"}
    standings = {standing.loss: standing for standing in verdict.standings}
    for loss in results.losses:
        figures, row = mean_figures(loss), named[loss.name]
        if figures is None:
            assert set(row[1:]) == {"–"}
            continue
        standing = standings[loss.name]
        assert row[1] == number(figures.miou) == number(standing.value)
        interval = "–" if standing.low != standing.low else f"{number(standing.low)} to {number(standing.high)}"
        assert row[2] == interval
        others = ("foreground_iou", "image_dice", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
        assert row[3 + extra :] == [number(getattr(figures, key)) for key in others]
    assert results.baseline is not None
    assert named["baseline"][1] == number(results.baseline.figures.miou)
    assert [row[0] for row in rows[1:] if row is named["baseline"]] == [rows[-1][0]]
    order = [name for name in named if name in standings]
    assert order == [standing.loss for standing in verdict.standings]


def test_the_table_says_where_the_interval_does_not_decide(run: Run) -> None:
    """Whoever reads an interval without 0 beside "cannot be told" finds the reason in the same cell."""
    results, _, _, page = run
    verdict = judge(results)
    section = _section(page, "losses")
    pairs = [pair for pair in verdict.pairs if pair.first == verdict.best]
    if not pairs:
        return
    text = " ".join(section.text.replace("\u00a0", " ").split())
    assert "a loss is told apart from the first where that interval leaves out 0" in text
    assert ("and a permutation test agrees (p ≤ 0.05" in text) is (verdict.seeds == 1)
    cells = [row[3] for row in table_rows(section.find("table")[0])[2 : 2 + len(pairs)]]
    for cell, pair in zip(cells, pairs, strict=True):
        assert cell.startswith(signed(-pair.difference))
        assert ("not told apart" in cell) is not pair.distinguishable
        assert (f"p = {number(pair.p_value)}" in cell) is pair.unconfirmed


def test_an_unconfirmed_interval_in_the_table(tmp_path: Path) -> None:
    tables = {
        name: [two_class_counts(np.full(6, level))] for name, level in (("dice", 50), ("focal", 150), ("ce", 250))
    }
    _, page = _make(tmp_path, from_counts(tables))
    rows = table_rows(_section(page, "losses").find("table")[0])
    assert [row[3].endswith("not told apart, p = 0.094") for row in rows[1:4]] == [False, True, True]


def _rest(text: str, name: str) -> bool:
    """Whether only a tag stands behind the name ("ce" also starts "ce + dice")."""
    rest = text.removeprefix(name).strip()
    return re.fullmatch(r"|leads|tied|diverged|not tested|\d+ of \d+ seeds diverged", rest) is not None


def test_class_changes_are_sorted_by_share(run: Run) -> None:
    results, _, _, page = run
    verdict = judge(results)
    if not verdict.changes:
        return
    rows = table_rows(_section(page, "classes").find("table")[0])[1:]
    shares = results.data.class_shares["test"]
    order = sorted(results.data.classes, key=lambda entry: -shares[entry.index])
    assert [row[0] for row in rows] == [" ".join(entry.name.split()) for entry in order]
    for row, entry in zip(rows, order, strict=True):
        assert row[1] == percent(shares[entry.index])
        assert row[3:] == [signed(change.change[entry.index]) for change in verdict.changes]


def test_precision_and_recall_of_every_class(run: Run) -> None:
    results, _, _, page = run
    tested = [(loss, figures) for loss in results.losses if (figures := mean_figures(loss))]
    if not tested:
        return
    table = _section(page, "precision").find("table")[0]
    rows = {row[0]: row[1:] for row in table_rows(table)[1:]}
    for entry in results.data.classes:
        k = entry.index
        cells = [f"{number(figures.precision[k], 2)}{number(figures.recall[k], 2)}" for _, figures in tested]
        assert [cell.replace(" ", "") for cell in rows[" ".join(entry.name.split())]] == cells


def test_losses_never_share_a_scale(run: Run) -> None:
    """Each chart of a training loss holds the lines of one loss only."""
    results, _, _, page = run
    folded = next(part for part in page.find("details") if part.find("summary")[0].text.startswith("Training losses"))
    charts = folded.find("svg", class_="chart")
    assert len(charts) == len([loss for loss in results.losses if any(seed.training.steps for seed in loss.seeds)])
    for chart in charts:
        assert len({group.attributes["class"] for group in chart.find("g")}) == 1
    outside = [chart for chart in page.find("svg", class_="chart") if chart not in charts and chart.find("g")]
    assert all("Validation" in chart.attributes["aria-label"] for chart in outside)


def _ends(chart: Element) -> list[float]:
    """Where the line of each loss ends."""
    return [
        float(re.findall(r"[ML]([0-9.]+) ", path.attributes["d"])[-1]) for path in chart.find("path", class_="curve")
    ]


def test_noise_of_the_machine_is_not_the_price_of_a_loss(tmp_path: Path) -> None:
    """One training was disturbed: its clock and its steps say twice the time, its loss costs what the other does."""
    results = make(Recipe(images=6, losses=("ce", "dice")), tmp_path)
    slow = []
    for loss, factor in zip(results.losses, (1.0, 2.0), strict=True):
        seed = loss.seeds[0]
        curve = replace(seed.validation, seconds=tuple(factor * second for second in seed.validation.seconds))
        cost = replace(seed.cost, step_seconds=factor * 0.1, loss_forward_seconds=0.002, loss_backward_seconds=0.003)
        slow.append(replace(loss, seeds=(replace(seed, validation=curve, cost=cost),)))
    noisy = replace(results, losses=tuple(slow))
    _, page = _make(tmp_path, noisy)
    steps, time = _section(page, "validation").find("svg", class_="chart", role="img")
    assert _ends(steps) == _ends(time)
    assert len(set(_ends(time))) == 1
    assert "(steps × time of a step)" in _section(page, "validation").text
    # The price of a loss does show: 45 ms beside 5 ms, and the rest of a step, 95 and 155 ms, is 125 ms for both.
    dear = replace(slow[1].seeds[0], cost=replace(slow[1].seeds[0].cost, loss_forward_seconds=0.042))
    costly = replace(noisy, losses=(slow[0], replace(slow[1], seeds=(dear,))))
    assert step_seconds(costly) == pytest.approx({"ce": 0.130, "dice": 0.170})
    _, page = _make(tmp_path, costly)
    first, second = _ends(_section(page, "validation").find("svg", class_="chart", role="img")[1])
    left = 52.0
    assert (first - left) / (second - left) == pytest.approx(130 / 170, abs=0.001)
    # The clock's own times stay in the results and in the table of trainings.
    assert "Training time by the clock" in _section(page, "details").text


def test_without_timed_steps_there_is_no_axis_of_time(tmp_path: Path) -> None:
    results = make(Recipe(images=6, losses=("ce",)), tmp_path)
    seed = results.losses[0].seeds[0]
    untimed = replace(seed, cost=replace(seed.cost, step_seconds=float("nan")))
    _, page = _make(tmp_path, replace(results, losses=(replace(results.losses[0], seeds=(untimed,)),)))
    section = _section(page, "validation")
    assert len(section.find("svg", class_="chart", role="img")) == 1
    assert "time" not in section.text


def test_cost_is_a_share_of_the_step(run: Run) -> None:
    results, _, _, page = run
    rows = _section(page, "cost").find("div", class_="row")
    assert len(rows) == len(results.losses)
    costs = [loss.seeds[0].cost for loss in results.losses]
    own = [cost.loss_forward_seconds + cost.loss_backward_seconds for cost in costs]
    # The network takes the same time under every loss.
    rest = float(np.median([cost.step_seconds - seconds for cost, seconds in zip(costs, own, strict=True)]))
    for row, seconds in zip(rows, own, strict=True):
        share = seconds / (rest + seconds)
        assert percent(share) in row.text
        widths = [float(part.attributes["style"].removeprefix("width:").rstrip("%")) for part in row.find("i")]
        assert (widths[0] + widths[1]) / sum(widths) == pytest.approx(share, abs=0.002)


def test_pictures_of_every_loss(run: Run) -> None:
    results, _, _, page = run
    if not results.examples:
        return
    section = _section(page, "pictures")
    shown = section.find("div", class_="panels")
    assert len(shown) == len(results.examples)
    for panels, example in zip(shown, results.examples, strict=True):
        assert len(panels.find("img")) == 2 + 2 * len(example.predictions)
        alts = [picture.attributes["alt"] for picture in panels.find("img")]
        shown_of_it = "slice" if results.data.spatial_dims == 3 else "image"
        assert alts[:2] == [f"{example.id}, the {shown_of_it}", f"{example.id}, the true classes"]
        if example.view:
            assert example.view in section.text


@pytest.mark.parametrize(
    ("losses", "classes"),
    [(1, "panels"), (2, "panels own2"), (3, "panels own3"), (4, "panels own2"), (5, "panels"), (6, "panels own2 own3")],
)
def test_no_prediction_is_alone_in_the_last_row(losses: int, classes: str, tmp_path: Path) -> None:
    """Three columns, on smaller screens two: image and truth stand apart where they would push one prediction out."""
    results = make(Recipe(losses=TWELVE[:losses], images=6, examples=1), tmp_path)
    _, page = _make(tmp_path, results)
    assert page.find("div", class_="panels")[0].attributes["class"] == classes


def test_it_ends_with_the_line_to_copy(run: Run) -> None:
    results, _, _, page = run
    verdict = judge(results)
    if not verdict.best:
        assert not page.find("section", id="use")
        return
    best = next(loss for loss in results.losses if loss.name == verdict.best)
    names: dict[str, object] = {}
    blocks = _section(page, "use").find("pre")
    assert len(blocks) == (len(verdict.top) if verdict.kind == "tie" else 1)
    source = blocks[0].text.replace("import segcrit\n", "")
    exec(source, {"segcrit": _Recorder}, names)
    assert names["criterion"] == (best.criterion_expression, best.criterion_arguments)
    # Without a script there is no button that does nothing.
    assert all("hidden" in button.attributes for button in page.find("button"))
    assert {button.attributes["data-copy"] for button in page.find("button")} == {
        block.attributes["id"] for block in blocks
    }


class _Recorder:
    """Stands for the module ``segcrit`` when the line of the report is run."""

    @staticmethod
    def Criterion(expression: str, **arguments: object) -> tuple[str, dict[str, object]]:
        return expression, arguments


def test_the_line_is_python_with_every_kind_of_argument(tmp_path: Path) -> None:
    results = make(Recipe(losses=("ce",), images=6), tmp_path)
    arguments = {"ignore_index": None, "class_weight": [0.1, 1e-7, 3.0], "align_corners": True, "task": 'a "b" \\'}
    loss = replace(results.losses[0], criterion_expression='ce(reduction="x")', criterion_arguments=arguments)
    _, page = _make(tmp_path, replace(results, losses=(loss,)))
    names: dict[str, object] = {}
    exec(_section(page, "use").find("pre")[0].text.replace("import segcrit\n", ""), {"segcrit": _Recorder}, names)
    assert names["criterion"] == ('ce(reduction="x")', arguments)


def test_names_are_escaped(tmp_path: Path) -> None:
    recipe = RECIPES["seeds, groups, 3-D, hostile names"]
    text, page = _make(tmp_path, make(recipe, tmp_path))
    assert '<script>alert("1")</script>' not in text
    assert len(page.find("script")) == 1
    assert not any(bold.text == '"my" data' for bold in page.find("b"))
    assert '<b>"my" data</b> & more' in page.find("h1")[0].text
    assert "Two volumes <i>are</i> small." in _section(page, "verdict").text


def test_made_again_it_is_the_same(tmp_path: Path) -> None:
    results = make(Recipe(images=8, seeds=(0, 1)), tmp_path)
    write_results(tmp_path, results)
    first = render_report(results, tmp_path).read_bytes()
    (tmp_path / "report.html").unlink()
    assert from_run(tmp_path).read_bytes() == first


def test_from_run_needs_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        from_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lost_pictures_are_said_and_do_no_harm(tmp_path: Path) -> None:
    results = make(Recipe(images=8), tmp_path)
    (tmp_path / results.examples[0].truth).unlink()
    (tmp_path / results.examples[1].predictions[0].labels).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    _, page = _make(tmp_path, results)
    section = _section(page, "pictures")
    assert "2 images cannot be shown" in section.text
    assert len(section.find("div", class_="panels")) == 1


def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    results = make(Recipe(images=6, losses=("ce",), examples=1), tmp_path)
    for path in (tmp_path / "examples").iterdir():
        with Image.open(path) as small:
            small.resize((1000, 900), Image.Resampling.NEAREST).save(path)
    _, page = _make(tmp_path, results)
    pictures = _section(page, "pictures").find("img")
    for picture in pictures:
        content = base64.b64decode(picture.attributes["src"].split(",")[1])
        with Image.open(io.BytesIO(content)) as opened:
            assert max(opened.size) <= 448
    # Labels are not averaged: no colour appears that is not in the legend.
    with Image.open(io.BytesIO(base64.b64decode(pictures[1].attributes["src"].split(",")[1]))) as truth:
        colors = {color for _, color in truth.convert("RGB").getcolors(1 << 20) or []}
    legend = {tuple(bytes.fromhex(color[1:])) for _, color in LAND} | set(UNJUDGED)
    assert colors <= legend


def test_weights_used_are_listed(tmp_path: Path) -> None:
    results = make(Recipe(images=6), tmp_path)
    count = len(results.data.classes)
    words = (ComputedWord('class_weight="median"', tuple(0.5 + k for k in range(count)), "median frequency"),)
    both = (*words, ComputedWord('pos_weight="auto"', (3.25,)))
    for given, expected in ((words, ["6.5000"]), (both, ["6.5000", "3.2500"]), (both[1:], ["3.2500"])):
        _, page = _make(tmp_path, replace(results, data=replace(results.data, words=given)))
        part = next(p for p in page.find("details") if p.find("summary")[0].text.startswith("Expressions"))
        assert all(text in part.text for text in expected)


def test_every_setting_is_there(tmp_path: Path) -> None:
    results = make(Recipe(images=6, tuned=True, groups=3), tmp_path)
    results = replace(results, data=replace(results.data, train_labels="scribbles", root_name="my_data"))
    _, page = _make(tmp_path, results)
    text = " ".join(_section(page, "details").text.split())
    run = results.run
    for expected in (
        run.command,
        run.network.description,
        "482,311",
        "128 × 128",
        run.optimizer,
        run.learning_rate_schedule,
        "float32",
        "2.13.0",
        "Example CPU",
        "scribbles",
        "my_data",
        results.data.description,
        "0.03 → –",
        "searched",
        "6 min 52 s",
    ):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("segcrit compare /home/zuleika/data/camvid --steps 3", "segcrit compare …/camvid --steps 3"),
        ("segcrit compare '/home/zuleika/my data/' --out=/srv/x", "segcrit compare '…/my data' --out=…/x"),
        ("segcrit compare data/camvid --out ../runs/x", "segcrit compare data/camvid --out ../runs/x"),
        ("segcrit compare ~/camvid --losses 'ce + 1/2*dice'", "segcrit compare …/camvid --losses 'ce + 1/2*dice'"),
        ("segcrit compare C:\\Users\\zuleika\\camvid", "segcrit compare …/camvid"),
    ],
)
def test_folders_of_the_machine_stay_private(command: str, shown: str, tmp_path: Path) -> None:
    results = make(Recipe(images=6, losses=("ce",)), tmp_path)
    text, page = _make(tmp_path, replace(results, run=replace(results.run, command=command)))
    assert "zuleika" not in text
    assert page.find("dl", class_="list")[0].find("dd")[0].text == shown


def test_a_loss_that_was_not_begun(tmp_path: Path) -> None:
    results = make(Recipe(images=8, seeds=(0, 1), losses=("ce", "dice")), tmp_path)
    one = (replace(results.losses[0], seeds=results.losses[0].seeds[:1]), replace(results.losses[1], seeds=()))
    _, page = _make(tmp_path, replace(results, losses=one, examples=(), run=replace(results.run, status="interrupted")))
    assert "interrupted" in page.find("p", class_="banner")[0].text
    rows = {row[0]: row for row in table_rows(_section(page, "losses").find("table")[0])}
    assert set(rows["dicenot tested"][1:]) == {"–"}
    assert "The ring is the checkpoint" in _section(page, "validation").text


def test_volumes_have_voxels(tmp_path: Path) -> None:
    recipe = Recipe(
        images=8, spatial_dims=3, losses=("ce", "dice"), groups=4, notes=("One image is small.",), description="Scans."
    )
    results = make(recipe, tmp_path)
    words = (ComputedWord('class_weight="median"', (1.0,) * len(LAND), "median over 49 training images"),)
    results = replace(
        results,
        data=replace(results.data, words=words, notes=("An image has no mask in masks/.",), train_labels="scribbles"),
        run=replace(results.run, crop=(), inference="whole images; a window for images over 4 million pixels"),
    )
    for metric in ("miou", "image_dice"):
        _, page = _make(tmp_path, replace(results, run=replace(results.run, metric=metric)))
        body = page.find("body")[0]
        texts = [part for element in body.everything() if element.tag != "script" for part in element.children]
        texts += [
            element.attributes.get(key, "") for element in body.everything() for key in ("alt", "aria-label", "title")
        ]
        said = " ".join(text for text in texts if isinstance(text, str)).replace("images.csv", "")
        assert not re.findall(r"(?i)[^ ]* [^ ]*(?:image|pixel)[^ ]* [^ ]*", said)
        assert "test volumes" in said
        assert "voxel accuracy" in said
        assert "per-volume Dice" in said
        assert "A volume has no mask in masks/." in said


def test_results_of_other_metrics_lead_the_table(tmp_path: Path) -> None:
    results = make(Recipe(images=8), tmp_path)
    _, page = _make(tmp_path, replace(results, run=replace(results.run, metric="image_dice")))
    assert table_rows(_section(page, "losses").find("table")[0])[0][1] == "per-image Dice"
    assert "per-image Dice" in _section(page, "validation").text


def _rule(style: str, selector: str) -> str:
    return re.findall(rf"^{re.escape(selector)} {{\n(.*?)^}}", style, flags=re.MULTILINE | re.DOTALL)[0]


def test_a_table_that_scrolls_shows_it(tmp_path: Path) -> None:
    """A shadow that stays at the edge, and a cover of it that scrolls with the end of the table; alike in all reports."""
    render_report(make(Recipe(images=6), tmp_path), tmp_path)
    labels = np.zeros((1, 4, 4), dtype=np.int64)
    metrics.Evaluator(2).update(labels, labels).compute().save_html(tmp_path / "evaluation.html")
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in (report.REPORT_FILE, "evaluation.html")]
    sheets = [page[page.index("<style>") : page.index("</style>")] for page in pages]
    boxes = [_rule(sheet, ".box") for sheet in sheets]
    assert boxes[0] == boxes[1]
    cover, shadow = (boxes[0].index(word) for word in (" local", " scroll"))
    assert cover < shadow  # what is listed first lies on top
    assert all(len(re.findall(r"--shadow: ", sheet)) == 2 for sheet in sheets)  # light and dark


def _luminance(color: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(color.removeprefix("#"))]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(scheme: int) -> None:
    """Texts and losses against page and boxes: the 4.5 of WCAG 2 AA in both schemes."""
    style = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{([^}]*--page[^}]*)\}", style)[scheme]
    colors = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
    texts = ["ink", "soft", "accent", "good", "bad", "warn", *(f"c{k}" for k in range(12))]
    assert set(texts) <= set(colors)
    for text in texts:
        for ground in ("page", "tint", "raised"):
            light, dark = sorted((_luminance(colors[text]), _luminance(colors[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"
    assert len({colors[f"c{k}"] for k in range(12)}) == 12
