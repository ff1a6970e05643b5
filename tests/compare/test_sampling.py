"""Batches depend on the seed and their number alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segcrit.apps.compare.batches.augmentation import augment, describe_augmentation
from segcrit.apps.compare.batches.sampling import CropDataset, EpochSampler, crop_place, place_crop

IDS = [f"image {number}" for number in range(5)]


def read(id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    number = int(id.split()[1])
    label = np.arange(20 * 24, dtype=np.int16).reshape(20, 24) + 1000 * number
    return np.stack([label, -label]).astype(np.float32), label, label.astype(np.float32)


def crops(seed: int = 0, augmentation: str = "full", crop: tuple[int, ...] = (8, 8)) -> CropDataset:
    return CropDataset(IDS, read, crop, augmentation, seed, ignore_index=-100)


def content(dataset: CropDataset, numbers: range) -> list[list[int]]:
    return [dataset[number]["label"].flatten().tolist() for number in numbers]


def test_crops_are_the_same_whatever_the_global_generators_hold() -> None:
    first = content(crops(), range(12))
    np.random.seed(99)
    torch.manual_seed(99)
    assert content(crops(), range(12)) == first
    assert content(crops(), range(11, -1, -1)) == first[::-1]


def test_another_seed_gives_other_crops() -> None:
    assert content(crops(0), range(6)) != content(crops(1), range(6))


def test_image_label_and_weight_are_cut_and_turned_alike() -> None:
    dataset = crops()
    for number in range(20):
        item = dataset[number]
        assert torch.equal(item["image"][0], item["label"].float())
        assert torch.equal(item["image"][1], -item["label"].float())
        assert torch.equal(item["weight"], item["label"].float())


def test_every_image_comes_once_in_each_turn_and_in_another_order_the_next() -> None:
    dataset = crops(augmentation="none")
    seen = [int(dataset[number]["label"].min()) // 1000 for number in range(15)]
    assert [sorted(seen[start : start + 5]) for start in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert seen[:5] != seen[5:10] or seen[5:10] != seen[10:]


def test_crops_reach_every_corner() -> None:
    generator = np.random.default_rng(0)
    label = np.zeros((9, 10), dtype=np.int64)
    places = {crop_place(label, (8, 8), -100, generator) for _ in range(200)}
    assert places == {(row, column) for row in range(2) for column in range(3)}


def test_small_images_are_surrounded_by_ignored_pixels() -> None:
    label = np.ones((4, 10), dtype=np.int64)
    start = crop_place(label, (8, 8), 255, np.random.default_rng(0))
    assert start[0] == -2
    cut = place_crop(label, start, (8, 8), 255)
    assert cut.shape == (8, 8)
    assert (cut[2:6] == 1).all()
    assert (cut[:2] == 255).all()
    assert (cut[6:] == 255).all()


def test_a_crop_without_labels_is_moved_to_a_labelled_pixel() -> None:
    label = np.full((60, 60), 255)
    label[50, 3] = 1
    generator = np.random.default_rng(0)
    for _ in range(50):
        start = crop_place(label, (16, 16), 255, generator)
        assert (place_crop(label, start, (16, 16), 255) == 1).any()
        assert all(0 <= begin <= 44 for begin in start)


def test_an_image_without_any_label_still_gives_a_crop() -> None:
    label = np.full((20, 20), 255)
    start = crop_place(label, (8, 8), 255, np.random.default_rng(0))
    assert (place_crop(label, start, (8, 8), 255) == 255).all()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_every_batch(world: int) -> None:
    lengths = (3, 2)
    whole = EpochSampler(lengths, 8)
    parts = [EpochSampler(lengths, 8, rank, world) for rank in range(world)]
    first = 0
    for epoch, length in enumerate(lengths):
        whole.start_epoch(epoch)
        numbers = list(whole)
        assert numbers == list(range(first, first + 8 * length))
        first += 8 * length
        shares = []
        for part in parts:
            part.start_epoch(epoch)
            shares.append(np.array(list(part)).reshape(length, -1))
            assert len(part) == shares[-1].size
        assert np.concatenate(shares, axis=1).flatten().tolist() == numbers


def test_volumes_are_cut_and_flipped() -> None:
    volume = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    dataset = CropDataset(["a"], lambda _: (volume[None].astype(np.float32), volume, None), (4, 4, 4), "full", 0, -1)
    items = [dataset[number] for number in range(30)]
    assert all(item["image"].shape == (1, 4, 4, 4) for item in items)
    assert "weight" not in items[0]
    steps = {tuple(np.sign([np.diff(item["label"].numpy(), axis=axis).mean() for axis in range(3)])) for item in items}
    assert len(steps) == 8


def test_left_right_flips_leave_the_vertical_alone() -> None:
    generator = np.random.default_rng(1)
    image = np.arange(12).reshape(3, 4)
    seen = {augment((image,), "flip", 2, generator)[0].tobytes() for _ in range(40)}
    assert seen == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}


def test_oblong_crops_keep_their_size() -> None:
    generator = np.random.default_rng(1)
    for _ in range(40):
        assert augment((np.zeros((1, 4, 6)),), "full", 2, generator)[0].shape == (1, 4, 6)


def test_augmentation_in_words() -> None:
    assert describe_augmentation("flip", 2, (128, 128)) == (
        "random crops of 128 × 128",
        "left-right flips, probability 0.5",
    )
    assert describe_augmentation("none", 3, ()) == ()
    assert len(describe_augmentation("full", 2, (64, 64))) == 3
