"""Problems: shapes, sizes in bytes, labels and logits as they should be, clear errors."""

from __future__ import annotations

import math

import pytest
import torch

from segcrit.apps.bench.problems import Problem
from segcrit.core.errors import ParameterError


@pytest.mark.parametrize(
    "problem",
    [
        Problem((5, 4)),
        Problem((2, 4, 33)),
        Problem((2, 4, 33, 20), channels_last=True),
        Problem((2, 4, 9, 33, 17), dtype="bfloat16"),
        Problem((2, 1, 33, 20), "binary"),
        Problem((2, 3, 33, 20), "multilabel", "float64"),
        Problem((2, 4, 8, 5), upsample=4),
        Problem((2, 3, 8, 5), "multilabel", upsample=2),
    ],
    ids=lambda problem: problem.title,
)
def test_tensors_are_what_the_problem_says(problem: Problem) -> None:
    tensors = problem.make()
    again = problem.make()
    assert torch.equal(tensors.logits, again.logits)
    assert tuple(tensors.logits.shape) == problem.shape
    assert str(tensors.logits.dtype) == f"torch.{problem.dtype}"
    assert tensors.logits.is_leaf
    assert tensors.logits.nbytes == problem.logits_bytes
    assert tensors.target.nbytes == problem.target_bytes
    assert tensors.target.shape[0] == problem.shape[0]
    assert tuple(tensors.target.shape[-len(problem.size) :] if problem.size else ()) == problem.target_size
    if problem.task == "multiclass":
        assert tensors.target.unique().tolist() == list(range(problem.classes))
        assert tensors.target.numel() == problem.pixels
    else:
        assert tensors.target.unique().tolist() == [0, 1]
        assert tensors.target.shape[1] == problem.classes
    if problem.channels_last:
        assert tensors.logits.is_contiguous(memory_format=torch.channels_last)
    assert problem.full_bytes == problem.logits_bytes * problem.upsample ** len(problem.size)


def test_logits_are_like_those_of_a_trained_network() -> None:
    """Mostly right, sometimes wrong, sure in some regions and unsure in others."""
    tensors = Problem((2, 19, 128, 128)).make()
    logits = tensors.logits.detach()
    right = (logits.argmax(1) == tensors.target).double().mean()
    assert 0.5 < float(right) < 0.98
    sure = logits.softmax(1).gather(1, tensors.target[:, None])
    assert float((sure > 0.95).double().mean()) > 0.1
    assert float((sure < 0.3).double().mean()) > 0.1


def test_smaller_problems_keep_what_decides_the_memory() -> None:
    problem = Problem((4, 150, 128, 128), dtype="bfloat16", upsample=4)
    small = problem.smaller(1 << 20)
    assert small.pixels * small.classes <= 1 << 20
    assert small.pixels * small.classes > 1 << 17
    assert (small.classes, small.dtype, small.upsample) == (150, "bfloat16", 4)
    assert problem.smaller(math.inf) == problem  # type: ignore[arg-type]
    assert Problem((1, 300)).smaller(10).shape == (1, 300)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": (2,)}, "a shape N,C"),
        ({"shape": (2, 3, 4, 4, 4, 4)}, "up to 3 spatial"),
        ({"shape": (2, 0, 4)}, "all at least 1"),
        ({"shape": (2, 1, 4)}, "--task binary"),
        ({"shape": (2, 2, 4), "task": "binary"}, "one channel"),
        ({"shape": (2, 2, 4), "task": "both"}, "a task of"),
        ({"shape": (2, 2, 4), "dtype": "int8"}, "a dtype of"),
        ({"shape": (2, 2), "upsample": 2}, "spatial dimensions to upsample"),
        ({"shape": (2, 2, 4), "upsample": 0}, "a whole factor"),
        ({"shape": (2, 2, 4), "channels_last": True}, "2 or 3 spatial"),
    ],
)
def test_wrong_problems(arguments: dict, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Problem(**arguments)
