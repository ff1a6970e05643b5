"""Pictures of single images: what they show, how large a file may be, and what is said where there is none."""

from __future__ import annotations

import base64
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.options import Options
from segcrit.apps.evaluate.page import pictures
from segcrit.apps.evaluate.page.page import render
from segcrit.apps.evaluate.page.pictures import Gallery, Panel
from segcrit.apps.evaluate.reading import thinning
from segcrit.apps.evaluate.reading.thinning import thinned_image
from segcrit.apps.evaluate.results import Outcome
from tests.evaluate.making import folders, maps, save_png


def _outcome(root: Path, models: list[str], target: str, **options: Any) -> Outcome:
    job = Job(tuple(models), target, Options(**{"classes": "3", **options}))
    tally, problems = count_files(job, root / "out", progress=False)
    return Outcome(tally, tuple(problems))


def _pixels(uri: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def _panel(gallery: Gallery, name: str) -> Panel:
    panel = gallery.panel(name)
    assert isinstance(panel, Panel), panel
    return panel


def test_the_share_of_errors_is_that_of_the_whole_image(tmp_path: Path) -> None:
    """Errors that fall between the pixels that a thinned picture shows."""
    truth = np.zeros((1200, 1200), np.uint8)
    guess = truth.copy()
    guess[::3, :261] = 1
    predictions, target = folders(tmp_path, {"a": (truth, guess)})
    outcome = _outcome(tmp_path, [predictions], target)
    (shown,) = _panel(Gallery(outcome.tally, None), "a").models
    assert shown.wrong == np.mean(truth != guess) == 0.0725
    assert "errors: 7.2 % of the pixels" in render(outcome) or "errors: 7.3 % of the pixels" in render(outcome)


@pytest.mark.parametrize(("wrong", "text"), [(0, "0 %"), (1, "&lt; 0.01 %")])
def test_few_errors_are_not_none(tmp_path: Path, wrong: int, text: str) -> None:
    truth = np.zeros((200, 200), np.uint8)
    guess = truth.copy()
    guess[7, :wrong] = 1
    predictions, target = folders(tmp_path, {"a": (truth, guess)})
    assert f"errors: {text} of the pixels" in render(_outcome(tmp_path, [predictions], target))


def _large(root: Path, tiled: bool, size: int = 700) -> tuple[Any, Any, Outcome]:
    tifffile = pytest.importorskip("tifffile")
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (size, size + 90)).astype(np.uint8)
    truth[:30] = 255
    guess = np.where(random.random(truth.shape) < 0.2, 1, truth).astype(np.uint8)
    guess[guess == 255] = 0
    for folder, array in (("truth", truth), ("guess", guess)):
        if tiled:
            (root / folder).mkdir()
            tifffile.imwrite(root / folder / "a.tif", array, tile=(64, 48), compression="deflate")
        else:
            save_png(root / folder / "a.png", array)
    return truth, guess, _outcome(root, [str(root / "guess")], str(root / "truth"))


def test_a_large_file_is_drawn_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture as of a file that is read as a whole, without reading it so."""
    truth, _, outcome = _large(tmp_path, tiled=True)
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "photos").mkdir()
    photo = np.random.default_rng(1).integers(0, 255, (*truth.shape, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "photos" / "a.tif", photo, tile=(64, 64), photometric="rgb")
    whole = [_panel(Gallery(outcome.tally, images), "a") for images in (None, str(tmp_path / "photos"))]
    monkeypatch.setattr(pictures, "_MOST_PIXELS", 10_000)
    monkeypatch.setattr("segcrit.apps.evaluate.reading.thinning._SIDE", 128)
    monkeypatch.setattr(pictures, "target_of", None)
    monkeypatch.setattr(pictures, "read_image", None)
    assert [_panel(Gallery(outcome.tally, images), "a") for images in (None, str(tmp_path / "photos"))] == whole
    assert whole[1].photo is not None
    thinned = thinned_image(tmp_path / "photos" / "a.tif", (700, 790), 7)
    assert np.array_equal(thinned, np.moveaxis(photo, -1, 0)[:, 3::7, 3::7])


def test_what_is_too_large_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, outcome = _large(tmp_path, tiled=False)
    monkeypatch.setattr(pictures, "_MOST_PIXELS", 10_000)
    assert "No picture of" not in render(outcome)  # read as a whole, as the counting did
    monkeypatch.setattr(pictures, "_MOST_WHOLE", 100_000)
    assert "No picture of a: it has 553,000 pixels, in files that cannot be read in parts." in render(outcome)


def test_files_that_are_gone_are_told(tmp_path: Path) -> None:
    predictions, target = folders(tmp_path, maps(3))
    outcome = _outcome(tmp_path, [predictions], target)
    (tmp_path / "truth" / "image00.png").unlink()
    (tmp_path / "truth" / "image01.png").unlink()
    text = render(outcome)
    assert "its files are not where they were when they were counted." in text
    assert text.count('<section class="panel') < 2


def test_a_missing_photograph_is_told(tmp_path: Path) -> None:
    predictions, target = folders(tmp_path, maps(2))
    outcome = _outcome(tmp_path, [predictions], target)
    save_png(tmp_path / "photos" / "image00.png", np.zeros((5, 5, 3), np.uint8))
    gallery = Gallery(outcome.tally, str(tmp_path / "photos"))
    assert _panel(gallery, "image00").note == "its photograph has another size, or is damaged"
    assert _panel(gallery, "image01").note == "no photograph of it was found"


def test_overlays_of_dark_photographs_can_be_seen(tmp_path: Path) -> None:
    """Each class in its own light colour, whatever the photograph: nearly black here, with a little structure."""
    truth = np.repeat(np.arange(3, dtype=np.uint8), 40)[None].repeat(60, axis=0)
    predictions, target = folders(tmp_path, {"a": (truth, truth)})
    random = np.random.default_rng(0)
    save_png(tmp_path / "photos" / "a.png", random.integers(0, 12, (*truth.shape, 3)).astype(np.uint8))
    outcome = _outcome(tmp_path, [predictions], target)
    picture = _pixels(_panel(Gallery(outcome.tally, str(tmp_path / "photos")), "a").truth)
    means = [picture[:, 40 * index + 8 : 40 * index + 32].mean(axis=(0, 1)) for index in range(3)]
    assert min(mean.mean() for mean in means) > 90
    colors = np.array(outcome.tally.about["colors"])
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(means[one] - means[two]).max() > 0.55 * np.abs(colors[one] - colors[two]).max()
    noise = picture[:, 8:32].std(axis=(0, 1))
    assert noise.max() < 30


def test_layout_follows_what_there_is(tmp_path: Path) -> None:
    predictions, target = folders(tmp_path, maps(3))
    folders(tmp_path / "other", maps(3, seed=1))
    (tmp_path / "other" / "guess").rename(tmp_path / "twin")
    one = render(_outcome(tmp_path, [predictions], target))
    assert '<div class="pictures bare one" style="--models: 1">' in one
    two = render(_outcome(tmp_path / "two", [predictions, str(tmp_path / "twin")], target))
    assert '<div class="pictures bare" style="--models: 2">' in two
    for place in range(3):
        save_png(tmp_path / "photos" / f"image{place:02d}.png", np.zeros((12, 17, 3), np.uint8))
    whole = render(_outcome(tmp_path, [predictions], target), images=str(tmp_path / "photos"))
    assert '<div class="pictures whole one" style="--models: 1">' in whole


@pytest.mark.parametrize("size", [(1, 600), (600, 1), (2, 2000), (3, 5000)])
@pytest.mark.parametrize("windows", [False, True])
def test_a_strip_has_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], windows: bool
) -> None:
    """Of a side shorter than half a step a line is shown, too."""
    if windows:
        monkeypatch.setattr(pictures, "_MOST_PIXELS", 1)
    generator = np.random.default_rng(0)
    truth, guess = (generator.integers(0, 3, size).astype(np.uint8) for _ in range(2))
    for folder, labels in (("truth", truth), ("guess", guess)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", labels)
    outcome = _outcome(tmp_path, [str(tmp_path / "guess")], str(tmp_path / "truth"))
    shown = _pixels(_panel(Gallery(outcome.tally, None), "a").truth)
    step = -(-max(size) // 512)
    rows, columns = (np.arange(length)[min(step // 2, length - 1) :: step] for length in size)
    colors = np.array(outcome.tally.about["colors"])
    np.testing.assert_array_equal(shown, colors[truth[np.ix_(rows, columns)]])


def test_pictures_of_a_large_image_need_no_memory_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_MOST_PIXELS", 1 << 18)
    monkeypatch.setattr(thinning, "_SIDE", 256)
    small, large = 1024, 3072
    more = _peak(tmp_path / "large", large) - _peak(tmp_path / "small", small)
    assert more < (large**2 - small**2) / 2, "the files hold five bytes a pixel"


def _peak(root: Path, side: int) -> int:
    """Bytes that the pictures of an image of three tiled files need beside what was there before."""
    labels = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8) % 3, side // 8, 0), side // 8, 1)
    photo = np.repeat(labels[..., None] * 80, 3, axis=2)
    for name, content in (("truth", labels), ("guess", np.roll(labels, 5, axis=1)), ("photos", photo)):
        (root / name).mkdir(parents=True)
        tifffile.imwrite(root / name / "a.tif", content, tile=(256, 256), compression="zlib")
    outcome = _outcome(root, [str(root / "guess")], str(root / "truth"))
    gallery = Gallery(outcome.tally, str(root / "photos"))
    tracemalloc.start()
    try:
        panel = gallery.panel("a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(panel, Panel)
    assert panel.photo is not None
    return peak
