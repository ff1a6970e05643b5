"""Numbers from a shell: what is understood, and what is refused with a clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segcrit.apps.explain.numbers import make_problem, read_numbers
from segcrit.core.errors import ParameterError, SegcritError, ShapeError

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
TABLES = arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=FINITE)


@given(TABLES, st.sampled_from([" ", ",", ", ", "\t", "  "]), st.sampled_from(["/", ";", " / ", " ; ", "\n"]))
def test_text_is_read_back(table: np.ndarray, between: str, rows: str) -> None:
    text = rows.join(between.join(repr(float(value)) for value in row) for row in table)
    assert (read_numbers(text, "--logits").values == table).all()


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=1, max_dims=4, max_side=3), elements=FINITE))
def test_json_is_read_back(values: np.ndarray) -> None:
    read = read_numbers(json.dumps(values.tolist()), "--logits")
    assert read.from_json
    assert (read.values == values).all()


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    message, values = "", np.empty(0)
    try:
        values = read_numbers(text, "--labels", ignore_index=255).values
    except SegcritError as error:
        message = str(error)
    assert "--labels" in message or values.size
    assert np.isfinite(values).all()


@given(st.text(alphabet='[]0123456789.,-e nul"', max_size=30).map(lambda text: "[" + text))
@settings(max_examples=300)
def test_any_list_is_read_or_refused(text: str) -> None:
    try:
        values = read_numbers(text, "--logits").values
    except SegcritError:
        return
    assert np.isfinite(values).all()
    assert values.size


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ParameterError, "got an empty text"),
        ("0.3 0.6 x", ParameterError, "got 'x'"),
        ("0.3 nan", ParameterError, "got 'nan'"),
        ("1 2 / 3", ShapeError, "2 numbers in the first row and 1 in row 2"),
        ("[1, 2", ParameterError, "text that is none at character"),
        ("[[1, 2], [3]]", ShapeError, r"inner shapes \(2,\) and \(1,\)"),
        ("[1, [2]]", ShapeError, "lists of equal length"),
        ('["1"]', ParameterError, "numbers only, without quotes"),
        ("[true]", ParameterError, "numbers only"),
        ("[]", ParameterError, "got none"),
        ("[" * 10 + "]" * 10, ShapeError, "at most 4 levels"),
    ],
)
def test_bad_numbers(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_numbers(text, "--probs")


def problem(scores: str, labels: str, **options: object):
    return make_problem(
        read_numbers(scores, "--logits"),
        read_numbers(labels, "--labels", ignore_index=-100),
        **({"source": "logits"} | options),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("scores", "labels", "task", "shape", "classes"),
    [
        ("0.3 0.6 0.1", "1", "multiclass", (1, 1), 3),
        ("1 2 / 3 4 / 5 6", "0 1 0", "multiclass", (1, 3), 2),
        ("1 2 / 3 4 / 5 6", "0 / 1 / 0", "multiclass", (1, 3), 2),
        ("1 2 / 3 4 / 5 6 / 7 8", "0 1 / 1 0", "multiclass", (1, 2, 2), 2),
        ("1 2 3 / 4 5 6", "1 0 0 / 0 0.5 0.5", "multiclass", (1, 2), 3),
        ("1.5", "1", "binary", (1, 1), 1),
        ("1 / 2 / 3", "1 0 1", "binary", (1, 3), 1),
        ("[[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[0, 0], [0, 0]]]", "[[0, 1], [2, 0]]", "multiclass", (1, 2, 2), 3),
        ("[[[[1, 2]], [[3, 4]]], [[[5, 6]], [[7, 8]]]]", "[[[0, 1]], [[1, 0]]]", "multiclass", (2, 1, 2), 2),
        ("[[1, 2], [3, 4]]", "[0, 1]", "multiclass", (1, 2), 2),
        ("[1, 2, 3]", "2", "multiclass", (1, 1), 3),
    ],
)
def test_task_and_layout_are_found(scores: str, labels: str, task: str, shape: tuple[int, ...], classes: int) -> None:
    found = problem(scores, labels)
    assert (found.task, found.layout.shape, found.num_classes) == (task, shape, classes)


def test_json_of_an_image_has_classes_first() -> None:
    found = problem("[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]", "[[0, 1], [1, 0]]")
    assert found.logits.tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]


def test_binary_numbers_are_the_rows_of_an_image() -> None:
    found = problem("1 2 / 3 4", "0 1 / 1 0", task="binary")
    assert found.layout.shape == (1, 2, 2)
    assert found.logits[:, 0].tolist() == [1, 2, 3, 4]
    assert found.target.tolist() == [0, 1, 1, 0]


def test_one_number_a_label_needs_the_task() -> None:
    with pytest.raises(ParameterError, match="Add --task binary or --task multilabel"):
        problem("1 2 3", "1 1 0")
    assert problem("1 2 3", "1 1 0", sigmoid_only=True).notes
    assert problem("1 2 3", "1 1 0", task="multilabel").target.tolist() == [[1, 1, 0]]


def test_a_question_mark_is_a_pixel_without_label() -> None:
    assert problem("1 2 / 3 4", "1 ?").target.tolist() == [1, -100]


@pytest.mark.parametrize(
    ("scores", "labels", "options", "words"),
    [
        ("1 2 / 3 4", "1", {}, "one label for each pixel"),
        ("1 2 / 3 4", "1 0 1", {}, "3 labels for 2 pixels of 2 numbers"),
        ("0.3 0.3 0.3", "1", {"source": "probabilities"}, "a sum of 0.9 at pixel 0"),
        ("0.3 1.7", "1", {"source": "probabilities"}, "got 1.7"),
        (" / ".join(["1 2"] * 300), " ".join(["1"] * 300), {}, "300 pixels and 2 classes"),
        ("1 2", "1", {"class_names": ["sky"]}, "2 class names"),
    ],
)
def test_numbers_that_do_not_fit(scores: str, labels: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(SegcritError, match=words):
        problem(scores, labels, **options)


def test_probabilities_become_logits_and_remarks() -> None:
    exact = problem("0.3 0.6 0.1", "1", source="probabilities")
    assert not exact.notes
    assert np.allclose(np.exp(exact.logits), [[0.3, 0.6, 0.1]])
    rounded = problem("0.33 0.33 0.33", "1", source="probabilities")
    assert "divided by its sum" in rounded.notes[0]
    assert np.allclose(np.exp(rounded.logits), 1 / 3)
    certain = problem("1 0", "0", source="probabilities")
    assert "no finite logit" in certain.notes[0]
    assert np.isfinite(certain.logits).all()
    binary = problem("0.25", "0", source="probabilities")
    assert np.allclose(binary.logits, np.log(0.25 / 0.75))
