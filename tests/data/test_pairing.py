"""Names: which belong together, what is said about it, and what is refused because it could mean two things."""

from __future__ import annotations

import os
import shlex
import unicodedata
from pathlib import Path

import pytest

from segcrit.core.errors import DataError, ParameterError
from segcrit.data.folders.pairing import pair_names
from segcrit.data.folders.walking import find_images, walk

FRAMES = [f"town_{index:06}_000019" for index in range(6)]
TILES = [f"tile{index}_2019" for index in range(6)]
KINDS = ("_gtFine_labelIds", "_gtFine_color", "_gtFine_instanceIds")


def _with(names: list[str], *endings: str) -> list[str]:
    return [name + ending for name in names for ending in endings]


@pytest.mark.parametrize(
    ("first", "second", "ids"),
    [
        # frame numbers and years that all names share stay in the id
        (FRAMES, _with(FRAMES, "_gtFine_labelTrainIds"), FRAMES),
        (_with(FRAMES, "_leftImg8bit"), _with(FRAMES, "_gtFine_labelTrainIds"), FRAMES),
        (TILES, _with(TILES, "_mask"), TILES),
        # one more file of an image unpairs nothing
        (TILES, [*_with(TILES, "_mask"), "tile0_2019_mask_1"], TILES),
        # several kinds of files, of which one holds labels
        (_with(FRAMES, "_leftImg8bit"), _with(FRAMES, *KINDS), FRAMES),
        (_with(FRAMES, "_leftImg8bit"), _with(FRAMES, *KINDS, "_gtFine_labelTrainIds"), FRAMES),
        # words, folders, letter case
        ([f"image_{i}" for i in range(4)], [f"mask_{i}" for i in range(4)], [str(i) for i in range(4)]),
        ([f"img{i}" for i in range(4)], [f"label{i}" for i in range(4)], [str(i) for i in range(4)]),
        ([f"p{i}/image" for i in range(4)], [f"p{i}/seg" for i in range(4)], [f"p{i}" for i in range(4)]),
        (FRAMES, [f"a/{name}" for name in FRAMES], FRAMES),
        ([f"Case_{i}" for i in range(4)], [f"case_{i}" for i in range(4)], [f"Case_{i}" for i in range(4)]),
        ([f"Case_{i}" for i in range(4)], [f"case_{i}_seg" for i in range(4)], [f"Case_{i}" for i in range(4)]),
        # DRIVE, STARE
        (
            [f"{i}_training" for i in range(21, 41)],
            [f"{i}_manual1" for i in range(21, 41)],
            [str(i) for i in range(21, 41)],
        ),
        ([f"im{i:04}" for i in range(4)], [f"im{i:04}.ah" for i in range(4)], [f"im{i:04}" for i in range(4)]),
    ],
)
def test_names_that_belong_together(first: list[str], second: list[str], ids: list[str]) -> None:
    pairing = pair_names(first, second)
    assert pairing.common == sorted(ids)
    assert pairing.how.startswith("Paired by leaving out ")
    assert all(len(set(side)) == len(set(side.values())) for side in (pairing.first, pairing.second))
    swapped = pair_names(second, first)
    assert [(swapped.first[key], swapped.second[key]) for key in swapped.common] == sorted(
        ((pairing.second[key], pairing.first[key]) for key in pairing.common), key=lambda pair: pair[0]
    )


def test_the_table_of_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/odd-folders.md").read_text(encoding="utf-8")
    table = guide.split("| one file |")[1].split("\n\n")[0]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:4]] for line in table.splitlines()[2:]]
    assert len(rows) >= 10
    for first, second, key in rows:
        names = [[pattern.replace("N", str(number)) for number in range(1, 7)] for pattern in (first, second, key)]
        assert pair_names(names[0], names[1]).common == ([] if key == "none" else names[2]), first


def test_what_is_passed_over_is_told() -> None:
    pairing = pair_names(TILES, [*_with(TILES, "_mask"), "tile0_2019_mask_1"])
    assert pairing.others == ("tile0_2019_mask_1",)
    assert "tile0_2019_mask_1" in pairing.how
    chosen = pair_names(FRAMES, _with(FRAMES, *KINDS, "_gtFine_labelTrainIds"))
    assert chosen.preferred
    assert set(chosen.second.values()) == set(_with(FRAMES, "_gtFine_labelTrainIds"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([f"train_{i}" for i in range(4)], [f"test_{i}" for i in range(4)]),
        ([f"{i}_train" for i in range(4)], [f"{i}_test" for i in range(4)]),
        ([f"train/{i}" for i in range(4)], [f"test/{i}" for i in range(4)]),
        ([f"tile_{i}_2019" for i in range(4)], [f"tile_{i}_2020" for i in range(4)]),
        (["car"], ["mask"]),
    ],
)
def test_names_that_do_not_belong_together(first: list[str], second: list[str]) -> None:
    pairing = pair_names(first, second)
    assert pairing.common == []
    assert sorted(pairing.first.values()) == first  # nothing gets lost
    assert "--pair" in pairing.listing()
    assert "(0 pairs)" in pairing.listing()


def test_a_truth_without_a_partner_is_not_taken_for_another_kind_of_file() -> None:
    names = ["x_1", "x_2", "x_1_2"]
    pairing = pair_names(names[:2], _with(names, "_mask"))
    assert (pairing.others, set(pairing.second) - set(pairing.first)) == ((), {"x_1_2"})


def test_several_masks_of_each_image_are_asked_about() -> None:
    names = [str(index) for index in range(10)]
    with pytest.raises(DataError) as caught:
        pair_names(names, _with(names, "_a", "_b"))
    assert "--pair '(.+)_a$' or --pair '(.+)_b$'" in caught.value.advice
    assert pair_names(names, _with(names, "_a", "_b"), "(.+)_b$").common == names


@pytest.mark.parametrize("pattern", [r"^train_(.+)|^test_(.+)", r"\d+$"])
def test_an_expression_decides(pattern: str) -> None:
    pairing = pair_names([f"train_{i}" for i in range(3)], [f"test_{i}" for i in range(3)], pattern)
    assert pairing.common == ["0", "1", "2"]
    assert pattern in pairing.how or repr(pattern) in pairing.how


def test_expressions_that_are_wrong() -> None:
    with pytest.raises(ParameterError, match="regular expression"):
        pair_names(["a"], ["b"], "(")
    with pytest.raises(DataError, match="tells the images apart"):
        pair_names(["a_1", "a_2"], ["a_1"], "a")


# --- folders ------------------------------------------------------------------------------------------------------------


def test_links_to_folders_cost_no_more_than_the_folders(tmp_path: Path) -> None:
    """Twelve folders, each with three links to the next one: 3^12 paths."""
    for level in range(12):
        (tmp_path / f"level{level}").mkdir()
    for level in range(11):
        for number in range(3):
            (tmp_path / f"level{level}" / f"link{number}").symlink_to(tmp_path / f"level{level + 1}")
    (tmp_path / "level11" / "round").symlink_to(tmp_path)
    (tmp_path / "level11" / "a.png").write_bytes(b"")
    assert len(list(walk(tmp_path))) == 13
    assert list(find_images(tmp_path).files) == ["level11/a"]
    assert list(find_images(tmp_path / "level10").files) == ["link0/a"]


def test_names_look_alike_in_either_unicode_form(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / form).mkdir()
        (tmp_path / form / f"{unicodedata.normalize(form, 'façade_é')}.png").write_bytes(b"")
    files = [find_images(tmp_path / form).files for form in ("NFC", "NFD")]
    assert set(files[0]) == set(files[1]) == {unicodedata.normalize("NFC", "façade_é")}


@pytest.mark.parametrize("name", [b"two\nlines.png", b"not \xff text.png"])
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
        pass
    with pytest.raises(DataError, match="text on one line"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [("{:04d}", "{}"), ("case_{:03d}_0000", "case_{:03d}"), ("aa-{}x", "bb-{}x"), ("n{}", "N{}Mask")],
)
def test_the_pattern_that_is_advised_pairs_the_names_when_it_is_pasted(first: str, second: str) -> None:
    sides = [[text.format(number) for number in range(1, 9)] for text in (first, second)]
    assert not pair_names(*sides).common
    advice = pair_names(*sides).listing()
    words = shlex.split(advice[advice.rindex("--pair ") :].removesuffix("."))
    assert len(pair_names(*sides, words[1]).common) == 8
