"""The evaluator as a store: merging, repeated images, copies, processes."""

from __future__ import annotations

import copy
import io
import os
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import multiprocessing

from segcrit.core.errors import LabelError, ParameterError, ShapeError
from segcrit.metrics.evaluator import Evaluator
from segcrit.metrics.report import Report


def _same(one: Report, two: Report) -> bool:
    """Equal to the last digit wherever the figure derives from counts over the set; images in any order."""
    first, second = (np.argsort(report.per_image.ids) for report in (one, two))
    return (
        np.array_equal(one.confusion, two.confusion)
        and sorted(one.per_image.ids) == sorted(two.per_image.ids)
        and all(
            np.array_equal(getattr(one.per_image, name)[first], getattr(two.per_image, name)[second])
            for name in ("tp", "fp", "fn", "pixels")
        )
        and all(
            np.isclose(one.figures[name], two.figures[name], rtol=1e-12, atol=0, equal_nan=True) for name in one.figures
        )
    )


def _data(images: int = 8, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    truth, prediction = generator.integers(0, classes, (2, images, 25))
    return prediction, truth, [f"image{i}" for i in range(images)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_merging_in_any_order_equals_the_whole(seed: int, parts: int, repeated: bool) -> None:
    prediction, truth, ids = _data(seed=seed)
    whole = Evaluator(4).update(prediction, truth, ids).compute()
    generator = np.random.default_rng(seed)
    owner = generator.integers(0, parts, len(ids))
    evaluators = []
    for part in range(parts):
        rows = np.flatnonzero(owner == part)
        if repeated:
            rows = np.concatenate([rows, generator.integers(0, len(ids), 3)])
        generator.shuffle(rows)
        evaluator = Evaluator(4)
        for row in rows:
            evaluator.update(prediction[row : row + 1], truth[row : row + 1], [ids[row]])
        evaluators.append(evaluator)
    left = copy.deepcopy(evaluators[0])
    for other in evaluators[1:]:
        left.merge(other)
    right = Evaluator(4)
    for other in reversed(evaluators):
        right = copy.deepcopy(other).merge(right)
    assert _same(left.compute(), whole)
    assert _same(right.compute(), whole)


def test_merging_is_associative_with_conflicting_versions_of_an_image() -> None:
    truth = np.array([[0, 1, 2, 3]])
    versions = [np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 2]]), np.array([[0, 1, 3, 3]])]
    a, b, c = (Evaluator(4).update(version, truth, ["x"]) for version in versions)

    def merged(*parts: Evaluator) -> Report:
        result = Evaluator(4)
        for part in parts:
            result.merge(part)
        return result.compute()

    reference = merged(a, b, c)
    # never the best version, so that repeating an image cannot raise a score
    assert reference.pixel_accuracy == 0.75
    for order in ((a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a)):
        assert np.array_equal(merged(*order).confusion, reference.confusion)
        assert merged(*order).notes == reference.notes
    nested = copy.deepcopy(a).merge(copy.deepcopy(b).merge(c))
    assert np.array_equal(nested.compute().confusion, reference.confusion)
    assert "different predictions" in reference.notes[1]


def test_repeated_images_count_once_with_a_note() -> None:
    prediction, truth, ids = _data()
    once = Evaluator(4).update(prediction, truth, ids).compute()
    evaluator = Evaluator(4).update(prediction, truth, ids)
    evaluator.update(prediction[:3], truth[:3], ids[:3])
    report = evaluator.compute()
    assert _same(report, once)
    assert report.notes == ("3 images were given more than once and counted once.",)
    assert once.notes == ()
    inside = Evaluator(4).update(prediction[[0, 0]], truth[[0, 0]], ["a", "a"]).compute()
    assert inside.num_images == 1


def test_images_without_ids_are_never_taken_for_repetitions() -> None:
    prediction, truth, _ = _data()
    evaluator = Evaluator(4).update(prediction, truth).update(prediction, truth)
    assert evaluator.num_images == 16
    assert evaluator.compute().per_image.ids[:2] == ("#0", "#1")
    other = Evaluator(4).update(prediction, truth)
    assert evaluator.merge(other).num_images == 24
    # but the same evaluator merged again, or with itself, changes nothing
    assert evaluator.merge(other).num_images == 24
    assert evaluator.merge(evaluator).num_images == 24


def test_copies_go_their_own_way() -> None:
    prediction, truth, _ = _data()
    evaluator = Evaluator(4).update(prediction[:2], truth[:2])
    for duplicate in (
        copy.copy(evaluator),
        copy.deepcopy(evaluator),
        pickle.loads(pickle.dumps(evaluator)),
    ):
        assert _same(duplicate.compute(), evaluator.compute())
        duplicate.update(prediction[2:3], truth[2:3])
        assert (duplicate.num_images, evaluator.num_images) == (3, 2)
        original = copy.deepcopy(evaluator).update(prediction[3:4], truth[3:4])
        assert duplicate.merge(original).num_images == 4
    saved = copy.deepcopy(evaluator)
    evaluator.reset().update(prediction[4:6], truth[4:6])
    assert evaluator.merge(saved).num_images == 4


def test_ids_of_any_simple_type() -> None:
    prediction, truth, _ = _data(images=3)
    evaluator = Evaluator(4).update(prediction, truth, torch.tensor([5, 6, 7]))
    evaluator.update(prediction, truth, np.array([5, 6, 7])).update(prediction, truth, ["5", "6", "7"])
    assert evaluator.compute().per_image.ids == ("5", "6", "7")
    with pytest.raises(ShapeError, match="3 ids"):
        evaluator.update(prediction, truth, ["a"])
    with pytest.raises(ShapeError, match="sequence"):
        evaluator.update(prediction, truth, "abc")


def test_compute_twice_and_go_on() -> None:
    prediction, truth, ids = _data()
    evaluator = Evaluator(4).update(prediction[:4], truth[:4], ids[:4])
    first = evaluator.compute()
    assert _same(first, evaluator.compute())
    before = dict(first.figures)
    evaluator.update(prediction[4:], truth[4:], ids[4:])
    assert first.figures == before
    assert first.num_images == 4
    assert _same(evaluator.compute(), Evaluator(4).update(prediction, truth, ids).compute())
    assert evaluator.reset().num_images == 0


def test_the_order_of_batches_does_not_matter() -> None:
    prediction, truth, ids = _data()
    forward, backward = Evaluator(4), Evaluator(4)
    for row in range(8):
        forward.update(prediction[row : row + 1], truth[row : row + 1], ids[row : row + 1])
        other = 7 - row
        backward.update(prediction[other : other + 1], truth[other : other + 1], ids[other : other + 1])
    one, two = forward.compute(), backward.compute()
    assert _same(one, two)
    assert one.bootstrap(resamples=500) == two.bootstrap(resamples=500)


def test_a_batch_with_an_error_changes_nothing() -> None:
    prediction, truth, ids = _data()
    evaluator = Evaluator(4).update(prediction, truth, ids)
    reference = evaluator.compute()
    bad = truth.copy()
    bad[-1, -1] = 9
    with pytest.raises(LabelError, match="label 9"):
        evaluator.update(prediction, bad, [f"new{i}" for i in range(8)])
    assert _same(evaluator.compute(), reference)


def test_the_state_does_not_hold_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """State for an image: the pairs that occur, whatever its size."""
    # A pickle holds random numbers in as many bytes as they need.
    monkeypatch.setattr("segcrit.metrics.numbering.secrets.randbits", lambda bits: 1 << 40)
    sizes = []
    for side in (16, 256):
        evaluator = Evaluator(4)
        evaluator.update(np.ones((1, side, side), dtype=np.uint8), np.ones((1, side, side), dtype=np.uint8))
        sizes.append(len(pickle.dumps(evaluator)))
    assert sizes[0] == sizes[1] < 4096


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_state_dict_round_trip(task: str, tmp_path: Path) -> None:
    classes = 1 if task == "binary" else 3
    generator = torch.Generator().manual_seed(0)
    shape = (4, 3, 9) if task == "multilabel" else (4, 9)
    truth = torch.randint(0, 2, shape, generator=generator)
    evaluator = Evaluator(classes, task=task)
    evaluator.update(torch.randn(4, classes, 9, generator=generator), truth, ["a", "b", "a", "d"])
    buffer = io.BytesIO()
    torch.save(evaluator.state_dict(), buffer)
    buffer.seek(0)
    loaded = Evaluator(classes, task=task).load_state_dict(torch.load(buffer, weights_only=True))
    assert _same(loaded.compute(), evaluator.compute())
    assert loaded.compute().notes == evaluator.compute().notes
    empty = Evaluator(classes, task=task)
    assert empty.load_state_dict(Evaluator(classes, task=task).state_dict()).num_images == 0
    with pytest.raises(ParameterError, match="threshold"):
        Evaluator(classes, task=task, threshold=0.3).load_state_dict(evaluator.state_dict())
    with pytest.raises(ParameterError, match="version"):
        loaded.load_state_dict({"version": 99})


def test_different_settings_do_not_merge() -> None:
    for change, name in [
        ({"ignore_index": 255}, "ignore_index=-100"),
        ({"class_names": ["a", "b"]}, "class_names"),
        ({"task": "multilabel"}, "task"),
    ]:
        with pytest.raises(ParameterError, match=name):
            Evaluator(2).merge(Evaluator(2, **change))
    with pytest.raises(ParameterError, match="classes"):
        Evaluator(2).merge(Evaluator(3))
    with pytest.raises(ParameterError, match="another Evaluator"):
        Evaluator(2).merge({})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "task='binary'"),
        ({"num_classes": 0, "task": "multilabel"}, "at least 1"),
        ({"num_classes": 3, "task": "binary"}, "multiclass"),
        ({"num_classes": 2.0}, "whole number"),
        ({"num_classes": True}, "whole number"),
        ({"num_classes": 2, "task": "softmax"}, "task"),
        ({"num_classes": 2, "threshold": 1.0}, "both excluded"),
        ({"num_classes": 2, "threshold": 0}, "both excluded"),
        ({"num_classes": 2, "ignore_index": None}, "ignore_index"),
        ({"num_classes": 2, "ignore_index": 1.5}, "ignore_index"),
        ({"num_classes": 2, "class_names": ["a"]}, "2 class names"),
        ({"num_classes": 2, "class_names": ["a", "a"]}, "'a' twice"),
        ({"num_classes": 2, "class_names": "ab"}, "class_names"),
        ({"num_classes": 2, "policy": "mmseg"}, "policy"),
        ({"num_classes": 2, "upsample": "nearest"}, "upsample"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Evaluator(**arguments)


def test_probabilities_given_as_logits_warn_once() -> None:
    probabilities = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(2, 4, 4, dtype=torch.uint8)
    evaluator = Evaluator(1, task="binary")
    with pytest.warns(UserWarning, match="probabilities") as caught:
        evaluator.update(probabilities, truth)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator.update(probabilities, truth)
        Evaluator(1, task="binary").update(torch.randn(2, 1, 4, 4) * 3, truth)
        # in a multiclass task the decision is the same
        Evaluator(2).update(torch.rand(2, 2, 4, 4), truth)


def _worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=world)
    prediction, truth, ids = _data(images=5)
    named, unnamed, empty = Evaluator(4), Evaluator(4), Evaluator(4)
    # As a distributed sampler does: 5 images on 2 ranks are padded to 6 by repeating the first.
    padded = [0, 1, 2, 3, 4, 0]
    for row in padded[rank::world]:
        part = slice(row, row + 1)
        named.update(prediction[part], truth[part], ids[part])
        unnamed.update(prediction[part], truth[part])
    if rank == 0:
        empty.update(prediction, truth, ids)
    reports = [evaluator.synchronize().synchronize("world").compute() for evaluator in (named, unnamed, empty)]
    try:
        Evaluator(4, ignore_index=rank).synchronize(None)
        refused = False
    except ParameterError:
        refused = True
    Path(folder, f"rank{rank}").write_bytes(pickle.dumps((reports, refused)))
    torch.distributed.destroy_process_group()


@pytest.mark.distributed
def test_two_processes_get_the_merged_counts(tmp_path: Path) -> None:
    multiprocessing.spawn(_worker, args=(2, str(tmp_path)), nprocs=2)
    prediction, truth, ids = _data(images=5)
    whole = Evaluator(4).update(prediction, truth, ids).compute()
    results = [pickle.loads((tmp_path / f"rank{rank}").read_bytes()) for rank in range(2)]
    for (named, unnamed, empty), refused in results:
        assert _same(named, whole)
        assert _same(empty, whole)
        # without ids a repeated image cannot be known
        assert unnamed.num_images == 6
        assert refused
    assert results[0][0][0].per_image.ids == results[1][0][0].per_image.ids
    assert "1 image was given more than once" in results[0][0][0].notes[0]


def test_synchronize_without_processes_does_nothing() -> None:
    prediction, truth, _ = _data()
    assert Evaluator(4).update(prediction, truth).synchronize().num_images == 8


def _fork_and_update(evaluator: Evaluator, row: int) -> Evaluator:
    prediction, truth, _ = _data()
    return evaluator.update(prediction[row : row + 1], truth[row : row + 1])


@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_processes_name_their_own_images() -> None:
    """An evaluator that started numbering before the fork must not give two images one name after it."""
    prediction, truth, _ = _data()
    evaluator = Evaluator(4).update(prediction[:1], truth[:1])
    readers = []
    for row in (1, 2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, pickle.dumps(_fork_and_update(evaluator, row)))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            readers.append(pickle.load(stream))
        os.waitpid(child, 0)
    merged = _fork_and_update(evaluator, 3).merge(readers[0]).merge(readers[1])
    whole = Evaluator(4).update(prediction[:4], truth[:4]).compute()
    assert merged.num_images == 4
    assert np.array_equal(merged.compute().confusion, whole.confusion)


def test_labels_that_may_lack_the_batch_dimension_are_warned_about_once() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (20, 32))
    evaluator = Evaluator(3)
    with pytest.warns(UserWarning, match=r"\(20, 32\) are read as 20 images.*prediction\[None\]"):
        evaluator.update(labels, labels)
    evaluator.update(labels, labels)  # once
    assert evaluator.num_images == 40
    for clear in (
        lambda own: own.update(labels[None], labels[None]),  # one image
        lambda own: own.update(labels, labels, ids=range(20)),  # images of one dimension
        lambda own: own.update(labels[:8], labels[:8]),
        lambda own: own.update(np.eye(3)[labels].transpose(0, 2, 1), labels),  # logits say which dimension is which
    ):
        clear(Evaluator(3))


def test_a_report_is_made_while_another_thread_adds_images() -> None:
    evaluator = Evaluator(3, measures=["objects"])
    prediction = torch.arange(3).repeat(4, 1, 3)[:, None].reshape(4, 3, 3)
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            evaluator.update(prediction, prediction, None)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        for _ in range(40):
            assert evaluator.compute().num_images % 1 == 0
            evaluator.state_dict()
    finally:
        stop.set()
        thread.join()
