"""Maps of an image: they add up to the loss, and they find the pixels that were planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from segcrit import Criterion
from segcrit.apps.explain.maps import concentration, explain_image
from segcrit.core.errors import DataError, LabelError, ParameterError, ShapeError


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """Logits (3, 20, 30) that are right everywhere except at (5, 7), and their labels."""
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(20, 30, dtype=torch.int64)
    label[4:12, 5:15] = 1
    label[14:18, 20:28] = 2
    logits = torch.randn(3, 20, 30, generator=generator) * 0.1
    logits += 3.0 * torch.nn.functional.one_hot(label, 3).permute(2, 0, 1)
    logits[:, 5, 7] = torch.tensor([9.0, -3.0, 0.0])
    label[0, :10] = 255
    return logits, label


def given(logits: Tensor):  # type: ignore[no-untyped-def]
    return lambda image: logits[None]


def test_the_loss_map_adds_up(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    criterion = Criterion("ce", ignore_index=255)
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, criterion)
    assert maps.loss_map is not None
    assert np.nansum(maps.loss_map) == pytest.approx(maps.loss, rel=1e-6)
    expected = torch.nn.functional.cross_entropy(logits[None], label[None], ignore_index=255)
    assert maps.loss == pytest.approx(float(expected), rel=1e-6)
    assert np.isnan(maps.loss_map[0, :10]).all()
    assert np.isnan(maps.gradient_map[0, :10]).all()
    assert maps.only_pixel_terms


def test_the_planted_pixel_dominates(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, Criterion("ce + dice", ignore_index=255))
    worst = maps.dominant[0]
    assert (worst.place, worst.truth, worst.prediction) == ((5, 7), 1, 0)
    assert worst.probability == pytest.approx(float(torch.softmax(logits[:, 5, 7], 0)[1]), rel=1e-5)
    shares = [pixel.share for pixel in maps.dominant]
    assert shares == sorted(shares, reverse=True)
    assert not maps.only_pixel_terms
    assert set(maps.terms) == {"ce", "dice"}


def test_a_region_loss_has_no_loss_map(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, Criterion("dice", ignore_index=255))
    assert maps.loss_map is None
    assert [item.name for item in maps.concentrations] == ["gradient"]
    assert maps.dominant
    row = maps.class_shares()[0]
    assert row["loss"] is None


def test_gradient_map_is_the_norm(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    criterion = Criterion("ce + jaccard", ignore_index=255)
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, criterion)
    leaf = logits[None].clone().requires_grad_()
    criterion(leaf, label[None]).backward()
    assert leaf.grad is not None
    expected = leaf.grad[0].norm(dim=0).numpy()
    assert np.allclose(np.nan_to_num(maps.gradient_map), expected, rtol=1e-5, atol=1e-9)


def test_class_shares_add_up(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, Criterion("focal", ignore_index=255))
    rows = maps.class_shares()
    for name in ("pixels", "loss", "gradient"):
        assert sum(row[name] for row in rows) == pytest.approx(1.0)


def test_binary_and_volumes() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 6, 5, 4, generator=generator)
    label = (image[0] > 0.5).to(torch.uint8)
    maps = explain_image(lambda x: x, image, label, Criterion("bce + dice", task="binary"))
    assert maps.class_names == ("background", "foreground")
    assert maps.probability.shape == (2, 6, 5, 4)
    assert np.allclose(maps.probability.sum(0), 1)
    assert len(maps.dominant[0].place) == 3


def test_what_does_not_fit_is_refused(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    image = torch.zeros(1, 20, 30)
    with pytest.raises(ShapeError, match="as large as the label"):
        explain_image(given(logits[:, :10]), image, label, Criterion("ce", ignore_index=255))
    with pytest.raises(LabelError, match="ignore_index=255"):
        explain_image(given(logits), image, label, Criterion("ce"))
    with pytest.raises(ParameterError, match="all ignored"):
        explain_image(given(logits), image, torch.full_like(label, 255), Criterion("ce", ignore_index=255))
    with pytest.raises(ParameterError, match="multilabel"):
        explain_image(given(logits), image, label, Criterion("bce", task="multilabel"))


def test_ignored_pixels_count_where_they_are_read_as_background(scene: tuple[Tensor, Tensor]) -> None:
    logits, label = scene
    criterion = Criterion('ce(unlabelled="background")', ignore_index=255)
    maps = explain_image(given(logits), torch.zeros(1, 20, 30), label, criterion)
    assert maps.valid.all()
    assert maps.loss_map is not None
    assert np.nansum(maps.loss_map) == pytest.approx(maps.loss, rel=1e-6)
    assert (maps.truth[0, :10] == 0).all()


def test_concentration() -> None:
    flat = concentration("loss", np.ones((10, 100)))
    assert dict(flat.top) == pytest.approx({0.01: 0.01, 0.1: 0.1})
    assert flat.quantity[-1] == pytest.approx(1.0)
    values = np.zeros(1000)
    values[17] = 5.0
    values[3] = np.nan
    single = concentration("loss", values)
    assert dict(single.top)[0.01] == 1.0
    assert (np.diff(single.quantity) >= 0).all()


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        explain_image(
            lambda image: torch.full((1, 3, *image.shape[2:]), float("nan")),
            torch.zeros(3, 8, 8),
            torch.zeros(8, 8, dtype=torch.int64),
            Criterion("ce + dice"),
        )
    assert caught.value.code == "not-finite"
