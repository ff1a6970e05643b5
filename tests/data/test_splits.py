"""Splits: deterministic, of the wanted sizes, never through a group, with every class in every part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.data.splits import make_split
from segcrit.errors import DataError


def _rare(images: int, holders: int, seed: int = 0) -> np.ndarray:
    """One common class, one that only ``holders`` images hold, in very different amounts."""
    random = np.random.default_rng(seed)
    content = np.zeros((images, 2), dtype=np.int64)
    content[:, 0] = 1000
    content[random.permutation(images)[:holders], 1] = random.integers(1, 500, size=holders)
    return content


@pytest.mark.parametrize("holders", [3, 4, 6, 10])
@pytest.mark.parametrize("images", [12, 82, 400])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rare_class_is_in_every_part(images: int, holders: int, seed: int) -> None:
    names = [f"image{index:03d}" for index in range(images)]
    content = _rare(images, holders, seed)
    split = make_split(names, content, seed=seed)
    for members in split.values():
        assert content[[names.index(name) for name in members], 1].sum() > 0
    assert len(split["train"]) == pytest.approx(0.7 * images, abs=max(1.5, 0.05 * images))


def test_a_hash_of_names_would_lose_the_class() -> None:
    """The test above can fail: shares alone do not bring a rare class into every part."""
    content = _rare(82, 4)
    lost = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(82)
        parts = np.split(order, [57, 70])
        lost += any(content[part, 1].sum() == 0 for part in parts)
    assert lost > 5


@settings(max_examples=25, deadline=None)
@given(
    images=st.integers(3, 60),
    groups=st.integers(3, 30),
    classes=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_laws_of_a_split(images: int, groups: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"n{index}" for index in range(images)]
    content = random.integers(0, 3, size=(images, classes)) * random.integers(0, 100, size=(images, classes))
    group_of = {name: str(index % groups) for index, name in enumerate(names)}
    if len(set(group_of.values())) < 3:
        return
    split = make_split(names, content, groups=group_of, seed=seed)
    assert sorted(name for members in split.values() for name in members) == sorted(names)
    assert all(split.values())
    places = [{group_of[name] for name in members} for members in split.values()]
    assert sum(map(len, places)) == len(set().union(*places))
    assert split == make_split(names, content, groups=group_of, seed=seed)
    # The order in which images are listed means nothing.
    shuffled = random.permutation(images)
    assert split == make_split([names[i] for i in shuffled], content[shuffled], groups=group_of, seed=seed)


def test_this_very_split() -> None:
    """The split of a data set stays the same over versions of segcrit, NumPy and Python."""
    content = np.array([[1000, 40 * (index in (2, 3, 7))] for index in range(12)])
    split = make_split([f"t{index:02d}" for index in range(12)], content)
    assert split["val"] == ("t07", "t09")
    assert split["test"] == ("t01", "t02")


def test_other_shares_and_two_parts() -> None:
    names = [f"t{index}" for index in range(40)]
    split = make_split(names, np.ones((40, 1), dtype=np.int64), shares={"val": 0.5, "test": 0.5})
    assert {part: len(members) for part, members in split.items()} == {"val": 20, "test": 20}


def test_fewer_groups_than_parts() -> None:
    names = ["a", "b", "c", "d"]
    with pytest.raises(DataError, match=r"at least 3 groups .* got 2 groups"):
        make_split(names, np.ones((4, 1), dtype=np.int64), groups=dict(zip(names, "xxyy", strict=True)))
