"""Pages load nothing from elsewhere, are well formed, and hold the numbers; figures are pictures."""

from __future__ import annotations

import base64
import re
import struct
from html.parser import HTMLParser
from importlib import resources

import matplotlib as mpl
import numpy as np
import pytest
import torch

from segcrit import Criterion
from segcrit.apps.explain import curves
from segcrit.apps.explain.build import explain_numbers
from segcrit.apps.explain.colour import cell_colour, is_dark
from segcrit.apps.explain.draw import _with_subscripts, curves_figure, map_picture, numbers_figure
from segcrit.apps.explain.fonts import fonts_for, lacking
from segcrit.apps.explain.image_page import image_page
from segcrit.apps.explain.maps import explain_image
from segcrit.apps.explain.page import curves_page, numbers_page

VOID = {"meta", "img", "br", "rect", "path", "link", "hr", "input"}


class Reader(HTMLParser):
    """Collects what a page would load, its text, and whether its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.images = 0
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.images += tag == "img"
        self.loads += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")]
        assert tag not in ("link", "iframe", "object", "embed")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(page: str) -> Reader:
    reader = Reader(page)
    assert all(source.startswith(("data:image/", "#")) for source in reader.loads), reader.loads
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert '<meta name="viewport"' in page
    return reader


@pytest.mark.parametrize(
    "loss",
    ["ce", "focal", "dice", "jaccard", "tversky", "lovasz", "partial_ce", "bce", "lovasz_hinge", "ce + 0.5*dice"],
)
def test_pages_of_numbers(loss: str) -> None:
    explanation = explain_numbers(loss)
    reader = check(numbers_page(explanation))
    assert f"loss {explanation.value:.4f}" in reader.text
    assert "✓" in reader.text
    assert "✗" not in reader.text
    for steps in (explanation.opening, *(term.steps for term in explanation.terms), explanation.closing):
        for step in steps:
            assert step.title in reader.text
            assert " ".join(step.caption.split()) in reader.text


def test_a_list_of_pixels_is_a_strip() -> None:
    page = numbers_page(explain_numbers("ce", probabilities="0.3 0.6 0.1 / 0.1 0.1 0.8 / 0.2 0.2 0.6", labels="1 2 ?"))
    check(page)
    assert 'class="strip"' in page
    assert "0.5108" in page
    assert 'class="dropped"' in page


def test_pages_of_several_images() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 2, 2, 2)).round(2)
    reader = check(
        numbers_page(explain_numbers("dice(per_image=True)", logits=logits.tolist(), labels=[[[0, 1]] * 2] * 2))
    )
    assert "image 1, class 0" in reader.text


def test_names_are_escaped() -> None:
    explanation = explain_numbers("ce", logits="1 2", labels="1", class_names=["<b>sky</b>", "a & b"])
    page = numbers_page(explanation, title="<script>alert(1)</script>")
    assert "<b>sky" not in page
    assert "<script>alert" not in page
    check(page)


def test_a_disagreement_is_shown() -> None:
    from dataclasses import replace

    explanation = explain_numbers("ce")
    wrong = replace(explanation, checks=(replace(explanation.checks[0], agrees=False),))
    assert "does not agree with the steps below, please report it" in numbers_page(wrong)


def _size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_figures() -> None:
    small, large = (_size(numbers_figure(explain_numbers(loss))) for loss in ("ce", "ce + lovasz + jaccard"))
    assert small[0] == large[0]
    assert large[1] > 2 * small[1]
    assert _size(curves_figure(curves(["ce", "dice"])))[0] > 1000


def test_a_map_keeps_its_size_and_shows_what_is_missing() -> None:
    from matplotlib import image

    values = np.array([[0.0, 1.0, 2.0], [np.nan, 0.5, 1.5]])
    png = map_picture(values)
    assert _size(png) == (3, 2)
    import io

    pixels = image.imread(io.BytesIO(png))
    assert np.allclose(pixels[1, 0, :3], 0.82, atol=0.01)
    assert pixels[0, 0, :3].sum() < pixels[0, 1, :3].sum() < pixels[0, 2, :3].sum()


def test_page_of_curves() -> None:
    panels = curves()
    page = curves_page(panels, names=["ce"])
    reader = check(page)
    assert reader.images == len(panels)
    sources = [source for source in reader.loads if source.startswith("data:image/svg+xml;base64,")]
    assert len(sources) == len(panels)
    drawing = base64.b64decode(sources[0].split(",", 1)[1]).decode()
    assert "<svg" in drawing
    assert "<image" not in drawing
    assert curves_page(panels, names=["ce"]) == page  # the same input gives the same page


@pytest.mark.parametrize("loss", ["ce + dice", "dice"])
def test_page_of_an_image(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(24, 40, dtype=torch.int64)
    label[5:10, 5:20] = 1
    label[0, 0] = 255
    logits = torch.randn(1, 2, 24, 40, generator=generator)
    maps = explain_image(
        lambda _: logits, torch.rand(3, 24, 40), label, Criterion(loss, ignore_index=255), name="street 7"
    )
    reader = check(image_page(maps, colours=[(1, 2, 3), (200, 100, 0)]))
    assert "street 7" in reader.text
    assert f"{maps.loss:.4f}" in reader.text
    assert ("Loss map" in reader.text) == (loss == "ce + dice")
    assert "not counted" in reader.text
    assert "p(class 1)" in reader.text or "p(foreground)" in reader.text


def test_large_images_and_volumes_are_shown_small() -> None:
    label = torch.zeros(1000, 1600, dtype=torch.int64)
    label[3, 5] = 1
    logits = torch.zeros(1, 2, 1000, 1600)
    logits[:, 0] = 4.0
    maps = explain_image(lambda _: logits, torch.zeros(1, 1000, 1600), label, Criterion("ce"))
    page = image_page(maps)
    assert "shrunk by 3" in check(page).text
    assert len(page) < 4_000_000
    assert maps.dominant[0].place == (3, 5)
    volume = torch.randn(1, 8, 9, 7, generator=torch.Generator().manual_seed(2))
    truth = torch.zeros(8, 9, 7, dtype=torch.int64)
    truth[2, 2, 4] = 1
    shown = explain_image(lambda x: x * 0.01 - 9, volume, truth, Criterion("bce", task="binary"))
    assert "Slice 5 of 7" in check(image_page(shown)).text


def test_colours() -> None:
    assert cell_colour("signed", 0.0, 1.0) == "#ffffff"
    assert cell_colour("signed", 1.0, 1.0) != cell_colour("signed", -1.0, 1.0)
    assert cell_colour("number", float("nan"), 1.0) == "#eeeeee"
    assert cell_colour("label", -100, 1.0) == "#eeeeee"
    assert is_dark("#0b4a85")
    assert not is_dark("#ffffff")


def test_characters_that_the_usual_font_lacks() -> None:
    from matplotlib import font_manager

    def characters(name: str) -> set[int]:
        return set(font_manager.get_font(font_manager.findfont(name)).get_charmap())

    other = next(chr(code) for code in sorted(characters("STIXGeneral") - characters("DejaVu Sans")) if code > 0x2FF)
    assert lacking(["plain", "é", other]) == ""
    with fonts_for([other]):
        assert len(mpl.rcParams["font.family"]) > 1
    nowhere = next(
        chr(code)
        for code in range(0x13000, 0x13400)
        if all(code not in font_manager.get_font(e.fname).get_charmap() for e in font_manager.fontManager.ttflist
               if not e.name.startswith("Last Resort"))
    )  # fmt: skip
    told = lacking(["class " + nowhere])
    assert f"U+{ord(nowhere):04X}" in told
    explanation = explain_numbers("dice", logits="2 0 / 0 1", labels="0 1", class_names=[nowhere, "sky"])
    assert numbers_figure(explanation).startswith(b"\x89PNG")  # warnings are errors: none about glyphs


def test_formulas_in_pictures_have_subscripts() -> None:
    assert _with_subscripts("p_c = exp(z_c)") == r"p$_{\mathrm{c}}$ = exp(z$_{\mathrm{c}}$)"
    assert _with_subscripts("class_weight=[1, 2] costs $1") == "class_weight=[1, 2] costs $1"


def test_the_ends_of_a_scale_keep_apart() -> None:
    style = (resources.files("segcrit.apps.explain") / "templates" / "base.html.j2").read_text(encoding="utf-8")
    assert re.search(r"\.ramp-ends \{[^}]*gap: 1rem", style)
