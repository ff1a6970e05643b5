"""results.json: what is written is read back, what is damaged is refused, nothing half-written stays."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcrit.apps.compare.results import (
    ComputedWord,
    ImageCounts,
    Results,
    TrainingCurve,
    from_json,
    read_results,
    to_json,
    write_results,
)
from segcrit.apps.compare.verdict.text import judge
from segcrit.core import atomic
from segcrit.core.errors import DataError
from tests.compare_report.factory import Recipe, make

RECIPES = {
    "plain": Recipe(),
    "everything": Recipe(
        seeds=(3, 5),
        groups=6,
        tuned=True,
        diverged=("focal",),
        absent=(4,),
        extra_losses={"ce": "ce(class_weight=[1.0, 2.0])"},
        notes=("A note.",),
    ),
    "interrupted": Recipe(interrupted=True, ignored=False),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_round_trip(recipe: Recipe, tmp_path: Path) -> None:
    results = make(recipe, tmp_path)
    again = from_json(to_json(results))
    assert again == results
    assert to_json(again) == to_json(results)
    assert again.losses[0].seeds[0].training.steps == results.losses[0].seeds[0].training.steps


def test_records_differ_when_one_number_does() -> None:
    results = make(Recipe(losses=("ce",), images=6))
    counts = results.losses[0].seeds[0].counts
    assert counts is not None
    other = ImageCounts(counts.ids, counts.tp + 1, counts.fp, counts.fn)
    assert counts != other
    assert replace(results, run=replace(results.run, steps=441)) != results


def test_records_are_hashable_by_content() -> None:
    """Plans of a run are kept in sets and dictionaries, the records they hold with them."""
    first, second = (make(Recipe(losses=("ce",), images=6)) for _ in range(2))
    assert first is not second
    assert len({first, second}) == 1
    assert len({ComputedWord("w", (1.0,)), ComputedWord("w", (1,)), ComputedWord("w", (math.nan,))}) == 2


def test_numbers_that_json_lacks_survive() -> None:
    results = make(Recipe(losses=("ce",), images=6))
    seed = results.losses[0].seeds[0]
    curve = TrainingCurve((1, 2, 3), (0.1, 0.2, 0.3), (math.nan, math.inf, -math.inf))
    loss = replace(results.losses[0], seeds=(replace(seed, training=curve),))
    text = to_json(replace(results, losses=(loss,)))
    # Other readers of JSON (browsers, jq) do not know the words NaN and Infinity.
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    values = from_json(text).losses[0].seeds[0].training.loss
    assert math.isnan(values[0])
    assert values[1:] == (math.inf, -math.inf)


@given(
    st.integers(0, 5).flatmap(
        lambda images: st.integers(1, 6).flatmap(
            lambda classes: st.lists(
                st.integers(0, 2**40), min_size=3 * images * classes, max_size=3 * images * classes
            ).map(lambda flat: np.array(flat, dtype=np.int64).reshape(3, images, classes))
        )
    )
)
def test_counts_are_sparse_without_loss(table: np.ndarray[Any, Any]) -> None:
    counts = ImageCounts(tuple(f"i{k}" for k in range(table.shape[1])), *table)
    content = json.loads(json.dumps(counts.to_json_value()))
    assert sum(map(len, content["class_tp_fp_fn"])) == int(table.any(axis=0).sum())
    again = ImageCounts.from_json_value(content, "counts")
    assert again.ids == counts.ids
    for key in ("tp", "fp", "fn"):
        np.testing.assert_array_equal(getattr(again, key), getattr(counts, key))


def _change(content: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for part in parents:
        content = content[int(part)] if part.isdecimal() else content[part]
    if value is _GONE:
        del content[last]
    else:
        content[int(last) if last.isdecimal() else last] = value


_GONE = object()
DAMAGE: dict[str, tuple[str, object, str]] = {
    "a missing field": ("run.steps", _GONE, r"'results\.run\.steps'"),
    "a text for a number": ("run.steps", "many", r"an integer in the field 'results\.run\.steps', got 'many'"),
    "a number for a text": ("data.name", 3, r"a text in the field 'results\.data\.name'"),
    "true for a number": ("run.batch_size", True, "an integer"),
    "an unknown word": ("run.metric", "iou", "one of 'miou'"),
    "an object for a list": ("run.seeds", {}, "a list"),
    "a list for an object": ("run.versions", [], "an object"),
    "a class too few": ("data.classes", [{"index": 0, "name": "a", "color": "#000000"}], "1 values, one a class"),
    "classes not from 0": ("data.classes.0.index", 1, "classes numbered from 0"),
    "losses of one name": ("losses.1.name", "ce", "different names"),
    "a negative count": ("losses.0.seeds.0.counts.class_tp_fp_fn.0.0", [0, -1, 0, 0], "not negative"),
    "a class out of range": ("losses.0.seeds.0.counts.class_tp_fp_fn.0.0", [7, 1, 0, 0], "below 7"),
    "other images": ("losses.1.seeds.0.counts.ids.0", "elsewhere", "the same test images"),
    "curves of unequal length": ("losses.0.seeds.0.training.loss", [0.5], "curves of equal length"),
    "a confusion of another size": ("losses.0.seeds.0.confusion", [[1]], "7 × 7"),
    "a ragged confusion": ("losses.0.seeds.0.confusion", [[1], [1, 2]], "rectangular"),
    "a confusion of fractions": ("losses.0.seeds.0.confusion", [[0.5]], "integers"),
    "an example of no loss": ("examples.0.predictions.0.loss", "mse", "'mse'"),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> str:
    return to_json(make(Recipe(images=8, examples=1), tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused(case: str, content: str) -> None:
    path, value, message = DAMAGE[case]
    damaged = json.loads(content)
    _change(damaged, path, value)
    with pytest.raises(DataError, match=message):
        from_json(json.dumps(damaged))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "schema_version"),
        ('{"schema_version": 999}', "schema version 1 .* got version 999"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_results(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not text"):
        read_results(tmp_path / "results.json")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_results(tmp_path / "nowhere")


def test_fields_of_the_same_version_may_come_and_go(content: str) -> None:
    """A file of an earlier or later release with the same schema version stays readable."""
    changed = json.loads(content)
    del changed["run"]["inference"]
    changed["run"]["color_of_the_sky"] = "blue"
    assert from_json(json.dumps(changed)).run.inference == ""


def test_written_files_are_read_back_with_the_verdict(tmp_path: Path) -> None:
    results = make(Recipe(seeds=(0, 1)), tmp_path)
    path = write_results(tmp_path, results)
    again = read_results(path)
    assert again.verdict is not None
    assert again.verdict == judge(results)
    assert replace(again, verdict=None) == results
    assert read_results(tmp_path) == again


def _inconsistent(results: Results) -> Results:
    return replace(results, losses=(results.losses[0], results.losses[0]))


def test_inconsistent_results_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="different names"):
        write_results(tmp_path, _inconsistent(make(Recipe(images=6))))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(Recipe(images=6))
    write_results(tmp_path, first)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real: Callable[..., None] = atomic.atomic_write_text

    def full_disk(path: Path, content: str) -> None:
        if Path(path).name == "results.json":
            raise OSError("no space left on device")
        real(path, content)

    monkeypatch.setattr(atomic, "atomic_write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_results(tmp_path, replace(first, run=replace(first.run, steps=1)))
    assert (tmp_path / "results.json").read_bytes() == before["results.json"]
    assert {path.name for path in tmp_path.iterdir()} == set(before)
