"""Confusion counts: exact, in every form of input, and strict about labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segcrit.core.errors import DataError, DeviceError, DtypeError, LabelError, ShapeError
from segcrit.metrics import counts as counting
from segcrit.metrics.counts import confusion_matrix
from segcrit.metrics.evaluator import Evaluator
from tests.evaluation import oracle

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16]


def _maps(classes: int, seed: int = 0, shape: tuple[int, ...] = (2, 13, 17)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, shape), generator.integers(0, classes, shape)


def _total(prediction: object, target: object, classes: int, **options: object) -> np.ndarray:
    return Evaluator(classes, **options).update(prediction, target).compute().confusion  # type: ignore[arg-type]


def test_four_pixels_by_hand() -> None:
    matrix = confusion_matrix(torch.tensor([[1, 1, 0, 2]]), torch.tensor([[1, 0, 0, 2]]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert matrix.dtype == torch.int64


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("classes", [2, 19, 127])
def test_labels_of_every_integer_dtype(dtype: torch.dtype, classes: int) -> None:
    prediction, truth = _maps(classes)
    expected = oracle.confusion(prediction, truth, classes, -100)
    found = confusion_matrix(torch.tensor(prediction).to(dtype), torch.tensor(truth).to(dtype), classes)
    assert found.tolist() == expected


@pytest.mark.parametrize("classes", [19, 151])
def test_uint8_labels_do_not_overflow(classes: int) -> None:
    """classes * label + prediction exceeds 255: the pair (18, 18) of 19 classes would land in (4, 10)."""
    labels = torch.arange(classes, dtype=torch.uint8)[None]
    assert torch.equal(confusion_matrix(labels, labels, classes), torch.eye(classes, dtype=torch.int64))
    prediction, truth = _maps(classes)
    expected = oracle.confusion(prediction, truth, classes, 255)
    found = confusion_matrix(prediction.astype(np.uint8), truth.astype(np.uint8), classes, ignore_index=255)
    assert found.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bool])
def test_targets_of_whole_floats_and_bool(dtype: torch.dtype) -> None:
    prediction, truth = _maps(2)
    found = confusion_matrix(torch.tensor(prediction), torch.tensor(truth).to(dtype), 2)
    assert found.tolist() == oracle.confusion(prediction, truth, 2, -100)


def test_numpy_arrays_of_any_layout() -> None:
    prediction, truth = _maps(5, shape=(3, 8, 6))
    expected = oracle.confusion(prediction, truth, 5, -100)
    frozen = truth.astype(np.uint8)
    frozen.setflags(write=False)
    reversed_twice = prediction[:, ::-1].copy()[:, ::-1]
    assert reversed_twice.strides[1] < 0
    for guess, label in [
        (prediction, frozen),
        (reversed_twice, truth.astype(">i4")),
        (np.asfortranarray(prediction), truth.astype("uint16")),
    ]:
        assert confusion_matrix(guess, label, 5).tolist() == expected


@pytest.mark.parametrize("shape", [(7,), (3, 11), (2, 5, 6), (2, 3, 4, 5)])
def test_zero_to_three_spatial_dimensions(shape: tuple[int, ...]) -> None:
    prediction, truth = _maps(4, shape=shape)
    expected = oracle.confusion(prediction, truth, 4, -100)
    assert confusion_matrix(prediction, truth, 4).tolist() == expected
    logits = np.moveaxis(np.eye(4)[prediction], -1, 1).copy()
    assert confusion_matrix(logits, truth, 4).tolist() == expected


def test_one_hot_equals_index() -> None:
    prediction, truth = _maps(4)
    expected = oracle.confusion(prediction, truth, 4, -100)
    rows = torch.nn.functional.one_hot(torch.tensor(truth), 4).movedim(-1, 1)
    for target in (rows, rows.bool(), rows.float(), rows.to(torch.uint8), torch.tensor(truth)[:, None]):
        assert confusion_matrix(prediction, target, 4).tolist() == expected
    guess = torch.nn.functional.one_hot(torch.tensor(prediction), 4).movedim(-1, 1)
    assert confusion_matrix(guess, truth, 4).tolist() == expected
    assert confusion_matrix(torch.tensor(prediction)[:, None], truth, 4).tolist() == expected
    assert confusion_matrix(torch.tensor(prediction)[:, None], rows, 4).tolist() == expected


def test_zero_row_of_a_one_hot_target_is_ignored() -> None:
    prediction, truth = _maps(3)
    rows = torch.nn.functional.one_hot(torch.tensor(truth), 3).movedim(-1, 1)
    rows[:, :, :4] = 0
    expected = oracle.confusion(prediction[:, 4:], truth[:, 4:], 3, -100)
    assert confusion_matrix(prediction, rows, 3).tolist() == expected


def test_soft_or_double_rows_are_refused() -> None:
    target = torch.full((1, 3, 2), 1 / 3)
    with pytest.raises(LabelError, match="soft labels"):
        confusion_matrix(torch.zeros(1, 2, dtype=torch.int64), target, 3)
    with pytest.raises(LabelError, match="single 1"):
        confusion_matrix(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 3, 2), 3)


def test_two_one_hot_maps_are_refused_not_miscounted() -> None:
    rows = torch.nn.functional.one_hot(torch.randint(0, 3, (2, 4, 4)), 3).movedim(-1, 1)
    with pytest.raises(ShapeError, match="argmax"):
        confusion_matrix(rows, rows, 3)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.sampled_from([-100, -1, 255, 0, 1, -(2**63)]))
@settings(max_examples=60, deadline=None)
def test_ignored_is_filtered_out(classes: int, seed: int, ignored: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, 60)
    truth[generator.random(60) < 0.3] = ignored
    prediction = generator.integers(0, classes, 60)
    # What was predicted where the truth is ignored does not matter at all.
    prediction[(truth == ignored) & (generator.random(60) < 0.5)] = 200
    kept = truth != ignored
    expected = oracle.confusion(prediction[kept], truth[kept], classes, 10**6)
    assert confusion_matrix(prediction[None], truth[None], classes, ignore_index=ignored).tolist() == expected


@pytest.mark.parametrize(
    ("label", "ignore", "advice"),
    [
        (3, 255, "num_classes to at least 4"),
        (255, -100, "ignore_index=255"),
        (-1, 255, "ignore_index=-1"),
        (-7, 255, "ignore_index=-7"),
        (2**40, 255, "num_classes"),
    ],
)
def test_label_out_of_range_is_named(label: int, ignore: int, advice: str) -> None:
    truth = torch.tensor([[0, 1, 2, label, label], [0, 0, 0, 0, 0]])
    with pytest.raises(LabelError, match=f"label {label} at 2 pixels, first in image 0") as caught:
        confusion_matrix(torch.zeros_like(truth), truth, 3, ignore_index=ignore)
    assert advice in str(caught.value)


def test_prediction_equal_to_the_number_of_classes_is_refused() -> None:
    """The pair (0, C) has the index of (1, 0) and would be counted there."""
    with pytest.raises(LabelError, match=r"predicted labels between 0 and 2.*label 3 at 1 pixel"):
        confusion_matrix(torch.tensor([[3, 0]]), torch.tensor([[0, 0]]), 3)
    with pytest.raises(LabelError, match="label -1"):
        confusion_matrix(torch.tensor([[-1, 0]]), torch.tensor([[1, 0]]), 3)


def test_masks_of_0_and_255_are_not_silently_ignored() -> None:
    evaluator = Evaluator(1, task="binary")
    with pytest.raises(LabelError, match="target > 0"):
        evaluator.update(torch.tensor([[0, 1]]), torch.tensor([[0, 255]]))


def test_fractional_labels_are_refused() -> None:
    with pytest.raises(LabelError, match=r"label 0\.5"):
        confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0.0, 0.5]]), 2)
    with pytest.raises(LabelError, match="label nan"):
        confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0.0, float("nan")]]), 2)


def test_more_than_2_to_the_24_pixels_are_counted_exactly() -> None:
    """Counts in float32 stop at 16,777,216."""
    side = 4099
    truth = torch.zeros((1, side, side), dtype=torch.uint8)
    prediction = torch.zeros_like(truth)
    prediction[0, 0, :3] = 1
    matrix = confusion_matrix(prediction, truth, 2)
    assert matrix.tolist() == [[side * side - 3, 3], [0, 0]]
    assert side * side - 3 > 2**24


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 19, 300])
def test_logits_take_the_first_largest_class(dtype: torch.dtype, classes: int) -> None:
    generator = torch.Generator().manual_seed(1)
    # Few different values, so that ties are everywhere.
    logits = torch.randint(-2, 3, (2, classes, 5, 7), generator=generator).to(dtype)
    labels = oracle.argmax(logits.double().numpy())
    truth = torch.randint(0, classes, (2, 5, 7), generator=generator)
    expected = oracle.confusion(labels, truth.numpy(), classes, -100)
    assert confusion_matrix(logits, truth, classes).tolist() == expected
    assert confusion_matrix(logits.to(memory_format=torch.channels_last), truth, classes).tolist() == expected


def test_logits_across_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces smaller than an image, and pieces that hold several images, give the same counts."""
    logits = torch.randn(5, 4, 9, 11, generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, 4, (5, 9, 11), generator=torch.Generator().manual_seed(1))
    whole = Evaluator(4).update(logits, truth).compute()
    for chunk in (7, 99, 250):
        monkeypatch.setattr(counting, "_CHUNK_CPU", chunk)
        pieces = Evaluator(4).update(logits, truth).compute()
        assert np.array_equal(pieces.per_image.tp, whole.per_image.tp)
        assert np.array_equal(pieces.confusion, whole.confusion)


def test_many_classes_on_few_pixels() -> None:
    """Plain classification with 1000 classes: the pairs are sorted, not tabulated."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 1000, (500,), generator=generator)
    logits = torch.randn(500, 1000, generator=generator)
    report = Evaluator(1000).update(logits, truth).compute()
    right = int((logits.argmax(1) == truth).sum())
    assert report.pixel_accuracy == right / 500
    assert report.num_images == 500


def test_infinite_logits_have_an_order() -> None:
    inf = float("inf")
    logits = torch.tensor([[[-inf, inf, -inf], [-inf, 0.0, 5.0]]])
    assert confusion_matrix(logits, torch.tensor([[0, 0, 1]]), 2).tolist() == [[2, 0], [0, 1]]


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("channel", [0, -1])
def test_nan_logits_are_refused_unless_ignored(task: str, channel: int) -> None:
    classes = 1 if task == "binary" else 3
    logits = torch.randn(2, classes, 4, generator=torch.Generator().manual_seed(0))
    logits[1, channel, 2] = float("nan")
    target = torch.zeros((2, 3, 4) if task == "multilabel" else (2, 4), dtype=torch.int64)
    evaluator = Evaluator(classes, task=task, ignore_index=255)
    with pytest.raises(DataError, match=r"NaN at 1 pixel, first in image 1"):
        evaluator.update(logits, target)
    assert evaluator.num_images == 0
    target[1, ..., 2] = 255
    evaluator.update(logits, target)
    assert evaluator.compute().num_pixels == target.numel() - (3 if task == "multilabel" else 1)


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_binary_threshold_is_on_the_probability(threshold: float, dtype: torch.dtype) -> None:
    logits = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)).mul(3).to(dtype)
    truth = torch.randint(0, 2, (3, 6, 6), generator=torch.Generator().manual_seed(1))
    labels = oracle.sigmoid_labels(logits[:, 0].double().numpy(), threshold)
    expected = oracle.confusion(labels, truth.numpy(), 2, -100)
    found = _total(logits, truth, 1, task="binary", threshold=threshold)
    assert found.tolist() == expected
    assert _total(logits, truth[:, None], 2, task="binary", threshold=threshold).tolist() == expected


def test_a_tie_at_the_threshold_is_background_as_in_argmax() -> None:
    logits = torch.tensor([[[0.0, 1e-6, -1.0]]])
    assert _total(logits, torch.tensor([[1, 1, 1]]), 1, task="binary").tolist() == [[0, 0], [2, 1]]


def test_multilabel_counts_each_channel_and_ignores_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 4, generator=generator)
    truth = torch.randint(0, 2, (2, 3, 5, 4), generator=generator)
    truth[0, 1, :2] = 255
    found = _total(logits, truth, 3, task="multilabel", ignore_index=255)
    labels = oracle.sigmoid_labels(logits.numpy(), 0.5)
    for channel in range(3):
        expected = oracle.confusion(labels[:, channel], truth[:, channel].numpy(), 2, 255)
        assert found[channel].tolist() == expected
    hard = _total(torch.tensor(labels), truth.float(), 3, task="multilabel", ignore_index=255)
    assert np.array_equal(hard, found)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("size", [(23,), (9, 14), (4, 6, 5)])
def test_upsampled_logits_equal_interpolation_first(
    task: str, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_UPSAMPLED", 2 * int(np.prod(size)))  # two channels at a time
    classes = 1 if task == "binary" else 5
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, classes, *[(n + 1) // 2 for n in size], generator=generator)
    shape = (2, classes, *size) if task == "multilabel" else (2, *size)
    truth = torch.randint(0, 5 if task == "multiclass" else 2, shape, generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    full = torch.nn.functional.interpolate(logits, size=list(size), mode=mode, align_corners=False)
    expected = _total(full, truth, classes, task=task)
    assert np.array_equal(_total(logits, truth, classes, task=task, upsample="linear"), expected)
    with pytest.raises(ShapeError, match="upsample='linear'"):
        _total(logits, truth, classes, task=task)


def test_upsampled_nan_is_refused() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[0, 1, 0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        _total(logits, torch.zeros(1, 8, 8, dtype=torch.uint8), 3, upsample="linear")


def test_wrong_shapes_and_types_are_named() -> None:
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"logits of shape \(N, 3, \*S\)"):
        confusion_matrix(torch.randn(2, 4, 4, 4), labels, 3)
    with pytest.raises(ShapeError, match="give labels as integers"):
        confusion_matrix(labels.float(), labels, 3)
    with pytest.raises(ShapeError, match="matching shapes"):
        confusion_matrix(labels, labels[:, :3], 3)
    with pytest.raises(ShapeError, match="matching shapes"):
        confusion_matrix(torch.randn(1, 3, 4, 4), labels, 3)
    with pytest.raises(ShapeError, match="one-hot"):
        confusion_matrix(torch.randn(2, 3, 4, 4), torch.zeros(2, 2, 4, 4, dtype=torch.int64), 3)
    with pytest.raises(ShapeError, match="batch dimension"):
        confusion_matrix(torch.tensor(1), torch.tensor(1), 3)
    with pytest.raises(DtypeError, match="list"):
        confusion_matrix([[0]], labels, 3)
    with pytest.raises(DtypeError, match="complex"):
        confusion_matrix(labels.to(torch.complex64), labels, 3)
    with pytest.raises(DtypeError, match="numeric"):
        confusion_matrix(np.array([["a"]]), labels, 3)
    with pytest.raises(DeviceError, match="meta"):
        confusion_matrix(labels, labels.to("meta"), 3)


def test_inputs_are_left_alone() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    truth = torch.randint(0, 3, (2, 4, 4), dtype=torch.int16)
    copies = logits.detach().clone(), truth.clone()
    confusion_matrix(logits, truth, 3)
    assert torch.equal(logits, copies[0])
    assert torch.equal(truth, copies[1])
    assert logits.grad is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("upsample", [None, "linear"])
def test_a_gpu_counts_the_same(task: str, upsample: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    classes = 1 if task == "binary" else 7
    # Small whole numbers: interpolation is exact on both devices, and ties are frequent.
    logits = torch.randint(-3, 4, (3, classes, 16, 16), generator=generator).float()
    size = 32 if upsample else 16
    shape = (3, classes, size, size) if task == "multilabel" else (3, size, size)
    target = torch.randint(0, 7 if task == "multiclass" else 2, shape, generator=generator)
    target[0, ..., :3, :] = 255
    options = {"task": task, "upsample": upsample, "ignore_index": 255}
    expected = _total(logits, target, classes, **options)
    assert np.array_equal(_total(logits.cuda(), target.cuda(), classes, **options), expected)
    assert np.array_equal(_total(logits.cuda().bfloat16(), target.cuda().to(torch.uint8), classes, **options), expected)
    with pytest.raises(DeviceError, match="cuda"):
        _total(logits.cuda(), target, classes, **options)


def test_real_masks_of_a_driving_data_set(real_data: Path) -> None:
    """Masks against themselves moved by a few pixels, counted by NumPy's two-dimensional histogram."""
    image = pytest.importorskip("PIL.Image")
    files = sorted((real_data / "camvid" / "masks").glob("*.png"))[:6]
    if not files:
        pytest.skip("no CamVid masks in the data folder")
    masks = np.stack([np.asarray(image.open(file)) for file in files])
    moved = np.roll(masks, 4, axis=2)
    moved[moved == 255] = 0
    report = Evaluator(11, ignore_index=255).update(moved, masks, [file.stem for file in files]).compute()
    kept = masks != 255
    edges = np.arange(12) - 0.5
    expected, _, _ = np.histogram2d(masks[kept], moved[kept], bins=(edges, edges))
    assert np.array_equal(report.confusion, expected.astype(np.int64))
    hits = np.diag(expected)
    union = expected.sum(axis=0) + expected.sum(axis=1) - hits
    np.testing.assert_allclose(report.iou, np.where(union > 0, hits / np.maximum(union, 1), np.nan))
    assert report.num_pixels == kept.sum()
