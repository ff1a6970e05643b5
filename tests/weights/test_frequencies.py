"""class_frequencies over every kind of source, and pos_weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from segcrit.core.errors import DtypeError, LabelError, ParameterError, ShapeError
from segcrit.labels.weights.frequencies import ClassFrequencies, class_frequencies
from segcrit.labels.weights.positives import pos_weight

IMAGES = np.random.default_rng(3).choice([0, 0, 0, 1, 2, 255], size=(5, 6, 7)).astype(np.uint8)
IMAGES[1][IMAGES[1] == 2] = 0  # class 2 is not in every image


def _by_hand(images: list[np.ndarray], num_classes: int, ignore_index: int | None) -> dict[str, Any]:
    """Pixel by pixel, in the words of Eigen and Fergus."""
    counts, image_pixels, in_images, ignored = [0] * num_classes, [0] * num_classes, [0] * num_classes, 0
    for image in images:
        own = [0] * num_classes
        for value in image.reshape(-1).tolist():
            if value == ignore_index:
                ignored += 1
            else:
                own[value] += 1
        for label in range(num_classes):
            counts[label] += own[label]
            if own[label]:
                image_pixels[label] += sum(own)
                in_images[label] += 1
    return {
        "counts": counts,
        "image_pixels": image_pixels,
        "images": in_images,
        "num_images": len(images),
        "ignored": ignored,
    }


def _plain(result: ClassFrequencies) -> dict[str, Any]:
    assert result.counts.dtype == result.image_pixels.dtype == result.images.dtype == torch.int64
    return {
        "counts": result.counts.tolist(),
        "image_pixels": result.image_pixels.tolist(),
        "images": result.images.tolist(),
        "num_images": result.num_images,
        "ignored": result.ignored,
    }


EXPECTED = _by_hand(list(IMAGES), 3, 255)


class Pairs(Dataset):  # type: ignore[type-arg]
    """A dataset of (image, label) without an end of its own."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(3, 6, 7), torch.from_numpy(IMAGES[index % len(IMAGES)])


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for image in IMAGES:
            yield {"image": np.zeros(2), "mask": image}


@dataclass
class Sample:
    image: object
    label: object


SOURCES: dict[str, Any] = {
    "tensor": torch.from_numpy(IMAGES),
    "array": IMAGES,
    "int64": torch.from_numpy(IMAGES).long(),
    "floats": IMAGES.astype(np.float32),
    "with a channel": IMAGES[:, None],
    "list": list(IMAGES),
    "generator": (image for image in IMAGES),
    "PIL images": [Image.fromarray(image) for image in IMAGES],
    "tuples": [(None, image, "name") for image in IMAGES],
    "samples": [Sample(None, image) for image in IMAGES],
    "1-tuples": [(image,) for image in IMAGES],
    "mappings": [{"image": 0, "label": image} for image in IMAGES],
    "dataset": Pairs(),
    "stream": Stream(),
    "loader": DataLoader(Pairs(), batch_size=2),
    "stream loader": DataLoader(Stream(), batch_size=2),
    "loader of single samples": DataLoader(Pairs(), batch_size=None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same(name: str) -> None:
    assert _plain(class_frequencies(SOURCES[name], 3, 255)) == EXPECTED


def test_where_the_labels_are_can_be_said() -> None:
    items = [(image, 0) for image in IMAGES]
    assert _plain(class_frequencies(items, 3, 255, target=0)) == EXPECTED
    assert _plain(class_frequencies(items, 3, 255, target=-2)) == EXPECTED
    assert _plain(class_frequencies(items, 3, 255, target=lambda item: item[0])) == EXPECTED
    named = [{"mask": 0, "truth": image} for image in IMAGES]
    assert _plain(class_frequencies(named, 3, 255, target="truth")) == EXPECTED
    ragged = [(0, list(IMAGES[:2])), (0, list(IMAGES[2:]))]
    assert _plain(class_frequencies(ragged, 3, 255)) == EXPECTED
    batches = [IMAGES[:2], IMAGES[2:]]
    assert _plain(class_frequencies(batches, 3, 255, batched=True)) == EXPECTED


def test_images_of_different_sizes() -> None:
    images = [IMAGES[0], IMAGES[1][:3, :2], IMAGES[2][:0]]
    assert _plain(class_frequencies(images, 3, 255)) == _by_hand(images, 3, 255)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_counts_are_their_definition(data: st.DataObject) -> None:
    num_classes = data.draw(st.integers(1, 4))
    ignore_index = data.draw(st.sampled_from([-100, 255, None, 0, 100_000]))
    values = list(range(num_classes)) + ([] if ignore_index is None else [ignore_index])
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=4, max_side=4))
    array = data.draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(values)))
    expected = _by_hand(list(array), num_classes, ignore_index)
    assert _plain(class_frequencies(array, num_classes, ignore_index)) == expected
    half = len(array) // 2
    parts = class_frequencies(array[:half], num_classes, ignore_index)
    assert _plain(parts + class_frequencies(array[half:], num_classes, ignore_index)) == expected


def test_one_image_is_one_image() -> None:
    result = class_frequencies(IMAGES[0], 3, 255)
    assert result.num_images == 1
    assert class_frequencies(IMAGES[0], 3, 255, batched=True).num_images == 6


def test_default_ignore_index_is_that_of_cross_entropy() -> None:
    assert _plain(class_frequencies(torch.tensor([[0, -100, 1]]), 2))["ignored"] == 1
    with pytest.raises(LabelError, match="label 156 in 1 pixel"):
        class_frequencies(torch.tensor([[0, 156]], dtype=torch.uint8), 2)


def test_properties_and_text() -> None:
    result = class_frequencies(torch.tensor([[[0, 0], [0, 1]]]), 2)
    assert result.total == 4
    assert result.num_classes == 2
    assert result.shares.tolist() == [0.75, 0.25]
    assert "class   1:              1 pixels,  25.000%, in 1 images" in str(result)
    with pytest.raises(ParameterError, match="2 classes"):
        result + ClassFrequencies.from_counts([1, 2, 3])


@pytest.mark.parametrize("counts", [[1, -1], [0.5, 1], [float("nan")], [[1, 2]], []])
def test_from_counts_refuses(counts: Any) -> None:
    with pytest.raises((ParameterError, ShapeError)):
        ClassFrequencies.from_counts(counts)


def test_the_item_with_an_unknown_label_is_named() -> None:
    images = [np.zeros((2, 2), int), np.full((2, 2), 7), np.zeros((2, 2), int)]
    with pytest.raises(LabelError, match=r"labels in item 1 from 0 to 2 .* got label 7 in 4 pixels"):
        class_frequencies(images, 3)
    for strange in (-5, 10**6):
        with pytest.raises(LabelError, match=f"label {strange} in 1 pixel "):
            class_frequencies([np.array([0, strange, -100])], 3)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (5, DtypeError),
        ([object()], DtypeError),
        ([{"a": IMAGES}], ParameterError),
        ([{"label": IMAGES, "mask": IMAGES}], ParameterError),
        ([torch.randn(2, 3)], LabelError),
        (["text"], DtypeError),
    ],
    ids=["number", "object", "no key", "two keys", "logits", "text"],
)
def test_what_holds_no_labels(source: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        class_frequencies(source, 3)


@pytest.mark.parametrize(
    ("source", "target"), [([(IMAGES,)], 1), ([{"mask": IMAGES}], "label"), ([(IMAGES, IMAGES)], "label")]
)
def test_a_wrong_target(source: Any, target: Any) -> None:
    with pytest.raises((ParameterError, DtypeError)):
        class_frequencies(source, 3, target=target)


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert _plain(class_frequencies(list(IMAGES), 3, 255, progress=True)) == EXPECTED
    assert "Counting labels" in capsys.readouterr().err
    assert _plain(class_frequencies(DataLoader(Stream(), batch_size=2), 3, 255, progress=True)) == EXPECTED


def test_real_masks(real_data: Path) -> None:
    files = sorted((real_data / "camvid" / "masks").iterdir())[::50]
    arrays = [np.asarray(Image.open(file)) for file in files]
    result = class_frequencies(arrays, 11, 255)
    everything = np.concatenate([array.reshape(-1) for array in arrays])
    assert result.counts.tolist() == [int((everything == label).sum()) for label in range(11)]
    assert result.ignored == int((everything == 255).sum())


class TestPosWeight:
    def test_binary(self) -> None:
        labels = torch.tensor([[[0, 0], [0, 1]], [[0, 255], [0, 1]]])
        assert pos_weight(labels, ignore_index=255).tolist() == [2.5]
        assert pos_weight(labels == 1).tolist() == [3.0]
        assert pos_weight(ClassFrequencies.from_counts([300, 100])).tolist() == [3.0]
        assert pos_weight(DataLoader(list(zip("ab", labels, strict=True))), ignore_index=255).tolist() == [2.5]

    def test_multilabel_ignores_single_elements(self) -> None:
        labels = torch.tensor([[[0, 1, 1, 1], [0, 0, 0, 1]], [[0, 0, 0, 255], [0, 0, 0, 0]]])
        expected = [pytest.approx(4 / 3), 7.0]
        assert pos_weight(labels, task="multilabel", ignore_index=255).tolist() == expected
        assert pos_weight(list(labels), task="multilabel", ignore_index=255).tolist() == expected
        loader = DataLoader(list(zip("ab", labels, strict=True)), batch_size=2)
        assert pos_weight(loader, task="multilabel", ignore_index=255).tolist() == expected

    def test_the_ignore_label_may_be_a_class(self) -> None:
        assert pos_weight(torch.tensor([[[0, 0, 1]]]), task="multilabel", ignore_index=-100).tolist() == [2.0]
        with pytest.warns(UserWarning, match="channel 0 has no positives or no negatives"):
            assert pos_weight(torch.tensor([[[0, 0, 1]]]), task="multilabel", ignore_index=1).tolist() == [1.0]

    def test_classes_against_the_rest(self) -> None:
        counts = ClassFrequencies.from_counts([50, 40, 10])
        assert pos_weight(counts, task="multilabel").tolist() == [1.0, 1.5, 9.0]
        with pytest.raises(ParameterError, match="two classes"):
            pos_weight(counts)

    def test_it_balances(self) -> None:
        labels = (torch.rand(1, 2000, generator=torch.Generator().manual_seed(0)) < 0.07).float()
        logits = torch.zeros_like(labels, requires_grad=True)
        weight = pos_weight(labels)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
        loss.backward()
        # At p = 1/2 everywhere, balanced classes pull with the same force in both directions.
        assert logits.grad is not None
        assert abs(float(logits.grad.double().sum())) < 1e-6

    def test_a_channel_without_positives_or_negatives_is_left_alone(self) -> None:
        labels = torch.tensor([[[0, 0], [1, 1], [0, 1]]])
        with pytest.warns(UserWarning, match="channel 0, 1 has"):
            assert pos_weight(labels, task="multilabel").tolist() == [1.0, 1.0, 1.0]

    def test_refusals(self) -> None:
        with pytest.raises(LabelError, match="label 2"):
            pos_weight(torch.tensor([[0, 2]]))
        with pytest.raises(LabelError, match="label 2"):
            pos_weight(torch.tensor([[[0, 2]]]), task="multilabel")
        with pytest.raises(ParameterError, match="task"):
            pos_weight(torch.tensor([[0, 1]]), task="multiclass")
        with pytest.raises(ShapeError, match="2 channels in every item"):
            pos_weight([torch.zeros(2, 4), torch.zeros(3, 4)], task="multilabel")
        with pytest.raises(ParameterError, match="at least one label map"):
            pos_weight([], task="multilabel")
        with pytest.raises(ShapeError):
            pos_weight(torch.tensor([0, 1]), task="multilabel")
