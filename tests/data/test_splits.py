"""Splits: deterministic, of the wanted sizes, never through a group, with every class in every part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.apps.compare.batches.folder_source import FolderSource
from segcrit.cli import main
from segcrit.core.errors import DataError
from segcrit.data.folders.folder import load_folder
from segcrit.data.folders.series import divided_series, find_series
from segcrit.data.folders.splits import make_split, read_groups_file
from tests.data.making import blocks, write_folder


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


# --- series ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "series"),
    [
        ([f"patient{p:03}_frame{f:02}_slice_{k}" for p in range(5) for f in (1, 12) for k in range(8)], 5),
        ([f"{drive}_{frame:06}" for drive in ("0001TP", "0006R0", "Seq05VD") for frame in range(30, 240, 30)], 3),
        ([f"{city}_{scene:06}_000019" for city in ("aachen", "bonn", "ulm") for scene in range(9)], 3),
        ([f"scene{n}_tile_{i}_{j}" for n in range(4) for i in range(3) for j in range(3)], 4),
        ([f"patient{p}/slice{k}" for p in range(4) for k in range(5)], 4),
        ([f"image_{number}" for number in range(30)], 0),
        ([f"{number:05}" for number in range(30)], 0),
        ([f"{year}_{(number * 7919) ** 2 % 9973:06}" for year in (2007, 2008, 2009) for number in range(30)], 0),
        (["5cc036b65f7f2d54", "00071198d059ba7f", "f4a1", "b67a6e5da8b1cfa5"], 0),
    ],
)
def test_series_that_names_tell_of(names: list[str], series: int) -> None:
    found = find_series(names)
    assert (0 if found is None else len(set(found.groups.values()))) == series
    if found is not None:
        keys = {name: re.search(found.pattern, name) for name in names}
        own = {name: match[1] if match.re.groups else match[0] for name, match in keys.items() if match}
        assert len({(own[name], found.groups[name]) for name in names}) == series == len(set(own.values()))


def test_divided_series_are_told_with_what_mends_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path, {f"p{p}_s{s}": blocks([0, 1]) for p in range(8) for s in range(3)})
    data = load_folder(root)
    (problem,) = (entry for entry in data.problems if entry.code == "series-divided")
    assert any("--group-by" in note for note in FolderSource(data).notes())
    assert any("--group-by" in note for note in FolderSource(data).info.notes)
    main(["inspect", str(root), "--json"])
    assert "series-divided" in {entry["code"] for entry in json.loads(capsys.readouterr().out)["problems"]}
    pattern = re.findall(r"--group-by '([^']+)'", problem.message)[0]
    mended = load_folder(root, group_by=pattern)
    assert not mended.problems
    assert mended.groups is not None
    assert len(set(mended.groups.values())) == 8
    assert not load_folder(root, group_by=".+").problems
    # Splits of the user's own are his decision.
    write_folder(root, {}, splits={"train": ["p0_s0", "p1_s1"], "val": ["p0_s1"], "test": ["p0_s2"]})
    assert not load_folder(root).problems


def test_series_on_one_side_are_fine() -> None:
    names = {
        part: [f"p{p}_s{s}" for p in members for s in range(3)]
        for part, members in (("train", (0, 1)), ("val", (2, 3)))
    }
    assert not divided_series(names)


def test_an_image_of_two_groups(tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("image,group\na,1\nb,2\na,2\n")
    with pytest.raises(DataError, match="two for a"):
        read_groups_file(file, {"a": "a", "b": "b"})
