"""The Evaluator's counts from the kernels against its PyTorch path: the same counts, or the same error."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import segcrit
from segcrit import Evaluator
from segcrit.engines.cpu import native
from segcrit.metrics import counts as counting

from .edges import MODES

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def odd_strides(choice: random.Random, tensor: Tensor) -> Tensor:
    """The same values in another place."""
    kind = choice.choice(("plain", "plain", "last", "cropped", "stepped"))
    if kind == "last" and tensor.ndim > 2:
        return tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    if kind == "cropped":
        larger = tensor.new_zeros([length + 1 for length in tensor.shape])
        return larger[tuple(slice(1, None) for _ in tensor.shape)].copy_(tensor)
    if kind == "stepped":
        return tensor.repeat_interleave(2, -1)[..., ::2]
    return tensor


def draw(seed: int) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Settings of an evaluator, a prediction and a target; some with NaN or labels that are no class."""
    choice, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    task = choice.choice(("multiclass", "multiclass", "multilabel", "binary"))
    classes = {"multiclass": choice.choice((2, 3, 19, 150)), "multilabel": choice.choice((2, 5)), "binary": 1}[task]
    size = tuple(choice.randint(1, 40) for _ in range(choice.choice((1, 2, 2, 3)) if classes < 150 else 1))
    images = choice.choice((1, 1, 2, 3))
    options: dict[str, Any] = {"task": task, "ignore_index": choice.choice((-100, -1, 1, 255, 2**63 - 1, -(2**63)))}
    options["num_classes"] = 2 if task == "binary" else classes
    if task != "multiclass":
        options["threshold"] = choice.choice((0.5, 0.3))
    shape = (images, classes, *size) if task == "multilabel" else (images, *size)
    top = classes if task == "multiclass" else 2
    target = torch.randint(top, shape, generator=numbers).to(choice.choice(INTEGERS))
    if torch.iinfo(target.dtype).min <= options["ignore_index"] <= torch.iinfo(target.dtype).max:
        target[torch.rand(shape, generator=numbers) < 0.2] = options["ignore_index"]
    if choice.random() < 0.15:
        info = torch.iinfo(target.dtype)
        target.view(-1)[choice.randrange(target.numel())] = choice.choice((info.min, info.max, min(top, info.max)))
    if choice.random() < 0.6:
        prediction = (2 * torch.randn(images, classes, *size, generator=numbers)).to(choice.choice(FLOATS))
        if choice.random() < 0.5:
            prediction = prediction.round()  # ties
        if choice.random() < 0.15:
            odd = choice.choice((float("nan"), float("inf"), -float("inf")))
            prediction.view(-1)[choice.randrange(prediction.numel())] = odd
    else:
        prediction = torch.randint(top, shape, generator=numbers).to(choice.choice((*INTEGERS, torch.bool)))
        if choice.random() < 0.15 and prediction.dtype != torch.bool:
            prediction.view(-1)[choice.randrange(prediction.numel())] = choice.choice((-1, 100, 255)) % 256 % 128
    return options, odd_strides(choice, prediction), odd_strides(choice, target)


def outcome(options: dict[str, Any], prediction: Tensor, target: Tensor, backend: str) -> Any:
    """The confusion of the set and of each image, or the error."""
    evaluator = Evaluator(**options)
    with segcrit.use_backend(backend):
        try:
            evaluator.update(prediction, target)
        except segcrit.core.errors.SegcritError as error:
            return type(error).__name__, str(error)
    report = evaluator.compute()
    return report.confusion.tolist(), report.per_image.tp.tolist(), report.per_image.fp.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("block", range(5))
def test_the_same_counts_or_the_same_error(block: int) -> None:
    errors = 0
    for seed in range(80 * block, 80 * (block + 1)):
        options, prediction, target = draw(seed)
        wanted = outcome(options, prediction, target, "reference")
        assert outcome(options, prediction, target, "cpu") == wanted, (seed, options, prediction.dtype, target.dtype)
        errors += isinstance(wanted[0], str)
    assert 2 <= errors <= 60


def areas(choice: random.Random, top: int, pixels: int) -> Tensor:
    """Labels in stretches of 1 to 90 equal ones, as the rows of a label map."""
    values: list[int] = []
    while len(values) < pixels:
        values += [choice.randrange(top)] * choice.choice((1, 2, 15, 16, 31, 32, 33, 64, 90))
    return torch.tensor(values[:pixels], dtype=torch.uint8)


@pytest.mark.parametrize("classes", [2, 19, 150, 254, 256])
def test_areas_of_one_class(classes: int) -> None:
    """Bytes beside bytes are counted run by run, in 16-bit cells up to 255 classes; what is no class is met anywhere."""
    choice, numbers = random.Random(classes), torch.Generator().manual_seed(classes)
    errors = 0
    for _ in range(60):
        shape = (choice.choice((1, 2)), choice.choice((1, 7, 31, 32, 257, 600)))
        pixels = shape[0] * shape[1]
        ignored = choice.choice((-100, 0, 1, 255, 511))
        target, prediction = areas(choice, classes, pixels), areas(choice, classes, pixels)
        agreeing = choice.random() < 0.5
        prediction = (
            torch.where(torch.rand(pixels, generator=numbers) < 0.1, prediction, target) if agreeing else prediction
        )
        if choice.random() < 0.3 and classes < 255:
            map_ = choice.choice((target, prediction))
            first = choice.randrange(pixels)
            map_[first : first + choice.choice((1, 40))] = choice.choice((classes, 255))
        found = []
        for backend in ("reference", "cpu"):
            options = {"num_classes": classes, "ignore_index": ignored}
            found.append(outcome(options, prediction.view(shape), target.view(shape), backend))
        assert found[0] == found[1]
        errors += isinstance(found[0][0], str)
    assert classes > 254 or 3 <= errors <= 40


def test_the_kernels_do_count(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    kernels = counting.count_pairs

    def spy(*arguments: Any, **options: Any) -> Any:
        called.append(kernels(*arguments, **options))
        return called[-1]

    monkeypatch.setattr(counting, "count_pairs", spy)
    with segcrit.use_backend("cpu"):
        Evaluator(3).update(torch.randn(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert called[0] is not None
    with segcrit.use_backend("reference"):
        Evaluator(3).update(torch.randn(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert called[1] is None


@pytest.mark.parametrize("align", [False, True], ids=["pixels", "corners"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
@pytest.mark.parametrize(
    ("low", "high"), [((9,), (36,)), ((12, 9), (48, 31)), ((20, 30), (9, 14)), ((4, 5, 6), (9, 9, 25))], ids=str
)
def test_upsampled_logits_are_counted_as_after_interpolation(
    task: str, low: tuple[int, ...], high: tuple[int, ...], align: bool
) -> None:
    random_numbers = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 5, *low, generator=random_numbers)
    shape = (2, *high) if task == "multiclass" else (2, 5, *high)
    target = torch.randint(5 if task == "multiclass" else 2, shape, generator=random_numbers)
    dense = F.interpolate(logits.double(), size=high, mode=MODES[len(high)], align_corners=align)
    if task == "multiclass":
        top = dense.topk(2, 1).values
        near = top[:, 0] - top[:, 1] < 1e-5
        labels = dense.argmax(1)
    else:
        near = dense.abs() < 1e-5
        labels = (dense > 0).long()
    assert float(near.double().mean()) < 0.01
    evaluator = Evaluator(5, task=task, upsample="linear", align_corners=align)
    with segcrit.use_backend("cpu"):
        found = torch.from_numpy(evaluator.update(logits, target).compute().confusion)
        wanted = torch.from_numpy(Evaluator(5, task=task).update(labels, target).compute().confusion)
    # A pixel that is predicted otherwise leaves one cell and enters another.
    assert int((found - wanted).abs().sum()) <= 2 * int(near.sum())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_counts_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    numbers = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 7, 90, 110, generator=numbers)
    target = torch.randint(7, (2, 90, 110), generator=numbers)
    wanted = torch.zeros(7, 7, dtype=torch.int64)
    wanted.view(-1).index_add_(0, (target * 7 + logits.argmax(1)).view(-1), torch.ones(target.numel()).long())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = Evaluator(7).update(logits, target).compute().confusion
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.from_numpy(found), wanted)
