"""Input that is almost right: it is either taken with its true meaning or refused with a sentence that helps."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import segcrit
from segcrit.core.errors import DtypeError, LabelError, ParameterError, ShapeError
from segcrit.losses import table

# Those that compute tensors on the processor.
BACKENDS = [item.name for item in segcrit.backends() if item.available and {"any", "cpu"} & set(item.devices)]


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, 8, 9, generator=random), torch.randint(3, (2, 8, 9), generator=random)


@pytest.mark.parametrize("ignore_index", [2**63, -(2**63) - 1, 2**64])
def test_an_ignore_label_beyond_64_bits_is_refused(ignore_index: int) -> None:
    # It would wrap around in the engines: 2**64 + 1 is 1 there, a class.
    with pytest.raises(ParameterError, match="64 bits"):
        segcrit.Criterion("ce", ignore_index=ignore_index)


@pytest.mark.parametrize("label", [-(2**63), 2**63 - 1])
def test_the_extreme_labels_can_be_ignored_and_are_named(label: int) -> None:
    logits, target = scene()
    target[0, 0] = label
    wanted = torch.nn.functional.cross_entropy(logits, target.where(target != label, -100))
    torch.testing.assert_close(segcrit.Criterion("ce", ignore_index=label)(logits, target), wanted)
    with pytest.raises(LabelError, match=str(label)):
        segcrit.Criterion("ce")(logits, target)


def test_numbers_of_numpy_are_numbers() -> None:
    logits, target = scene()
    weights = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    wanted = segcrit.Criterion("ce", class_weight=[1, 2, 3], num_classes=3, ignore_index=1)(logits, target)
    for given in (weights, list(weights)):
        criterion = segcrit.Criterion("ce", class_weight=given, num_classes=np.int64(3), ignore_index=np.int64(1))
        torch.testing.assert_close(criterion(logits, target), wanted)
    with pytest.raises(ParameterError, match="class_weight"):
        segcrit.Criterion("ce", class_weight=np.array([1.0, np.nan, 1.0]))


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("alpha", [1.5, [0.5, 2.0]])
def test_a_focal_alpha_that_makes_negatives_weigh_less_than_nothing_is_refused(task: str, alpha: object) -> None:
    text = f"focal(alpha={alpha})"
    with pytest.raises(ParameterError, match="alpha between 0 and 1"):
        segcrit.Criterion(text, task=task)
    segcrit.Criterion("focal(alpha=[0.5, 2, 1])")


@pytest.mark.parametrize("outputs", [[None], ["text"]])
def test_an_output_of_weight_zero_must_be_a_tensor_too(outputs: list[object]) -> None:
    logits, target = scene()
    with pytest.raises(DtypeError, match="each output"):
        segcrit.Criterion("ce")([logits, *outputs], target)


def test_sparse_tensors_are_refused() -> None:
    logits, target = scene()
    with pytest.raises(DtypeError, match="to_dense"):
        segcrit.Criterion("ce")(logits.to_sparse(), target)
    with pytest.raises(DtypeError, match="to_dense"):
        segcrit.Criterion("ce")(logits, target.to_sparse())


def test_the_advice_for_255_in_a_two_class_mask_knows_both_meanings() -> None:
    logits, target = scene()
    with pytest.raises(LabelError, match=r"ignore_index=255.*mask > 0"):
        segcrit.Criterion("bce", task="binary")(logits[:, :1], (target > 0) * 255)


def test_a_pos_weight_that_no_term_takes_is_checked() -> None:
    with pytest.raises(ParameterError, match="pos_weight"):
        segcrit.Criterion("ce", pos_weight="nonsense")


def test_sums_under_different_weights_are_not_added() -> None:
    logits, target = scene()
    plain, weighted = segcrit.Criterion("ce"), segcrit.Criterion("ce", class_weight=[1, 2, 3])
    with pytest.raises(ParameterError, match="same criterion"):
        plain.sums(logits, target) + weighted.sums(logits, target)
    with pytest.raises(ParameterError, match="sums made by"):
        weighted(logits, target, sums=plain.sums(logits, target))
    # A weight that no term uses makes no difference.
    plain.sums(logits, target) + segcrit.Criterion("ce", pos_weight=2.0).sums(logits, target)


def test_a_pickled_criterion_says_that_its_loss_must_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    @segcrit.region_loss
    def forgotten(s):
        return 1 - s.I / s.T

    stored = pickle.dumps(segcrit.Criterion("forgotten"))
    monkeypatch.delitem(table._TABLE, "forgotten")
    monkeypatch.delitem(table._NAMES, "forgotten")
    with pytest.raises(ParameterError, match=r"forgotten.*Import the module"):
        pickle.loads(stored)


def test_a_formula_may_read_the_table_of_sums_itself() -> None:
    @segcrit.region_loss
    def dice_of_the_table(s):
        assert s.num_classes == 3
        return 1 - 2 * s.table[0] / (s.table[1] + s.table[3])

    logits, target = scene()
    try:
        torch.testing.assert_close(dice_of_the_table(logits, target), segcrit.functional.dice(logits, target))
    finally:
        del table._TABLE["dice_of_the_table"], table._NAMES["dice_of_the_table"]


@pytest.mark.parametrize("extra", ["", ", exact=True"])
def test_autocast_does_not_round_the_logit_bias(extra: str) -> None:
    logits, target = scene()
    bias = "logit_bias=[[0.1231, 1.4562, 2.7893], [1.1114, 2.2225, 3.3336], [0.1117, 0.2228, 0.3339]]"
    criterion = segcrit.Criterion(f"lovasz({bias}{extra}) + ce({bias})")
    wanted = criterion(logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(criterion(logits, target) - wanted) == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "foo"},
        {"reduction": "avg"},
        {"ignore_index": "a"},
        {"upsample": "cubic"},
        {"absent": "penalize"},
        {"classes": [1, 1]},
    ],
)
def test_a_module_refuses_its_settings_when_it_is_made(settings: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        segcrit.DiceLoss(**settings)


def test_looking_for_probabilities_copies_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from segcrit.losses import gate

    monkeypatch.setattr(gate, "_warned_probabilities", False)
    sizes: list[int] = []
    original = torch.Tensor.reshape
    monkeypatch.setattr(torch.Tensor, "reshape", lambda self, *a: sizes.append(self.numel()) or original(self, *a))
    gate.warn_if_probabilities(torch.randn(1, 5, 64, 64).contiguous(memory_format=torch.channels_last))
    assert max(sizes) <= 5 * 64


@pytest.mark.parametrize("upsample", [None, "linear"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_view_whose_memory_holds_the_negatives_is_read_as_its_values(backend: str, upsample: str | None) -> None:
    logits, target = scene()
    view = torch.complex(logits, -logits).conj().imag
    assert view.is_neg()
    if upsample is not None:
        target = target.repeat_interleave(2, 1)
    criterion = segcrit.Criterion("ce + dice", upsample=upsample, backend=backend)
    torch.testing.assert_close(criterion(view, target), criterion(logits, target))


@pytest.mark.parametrize("upsample", [None, "linear"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_default_device_does_not_move_the_sums(backend: str, upsample: str | None) -> None:
    logits, target = scene()
    if upsample is not None:
        target = target.repeat_interleave(3, 1)
    criterion = segcrit.Criterion("ce + dice + lovasz", upsample=upsample, backend=backend)
    wanted = criterion(logits, target)
    evaluator = segcrit.Evaluator(3, upsample=upsample)
    with torch.device("meta"):
        assert torch.equal(criterion(logits.requires_grad_(), target), wanted)
        evaluator.update(logits, target)
    assert evaluator.compute().confusion.sum() == target.numel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_negative_weight_that_nobody_looks_at_counts_nothing(backend: str) -> None:
    logits, target = scene()
    weight = torch.ones(target.shape)
    weight[:, :3] = -1
    criterion = segcrit.Criterion("ce + dice", validate="never", backend=backend)
    torch.testing.assert_close(criterion(logits, target, weight), criterion(logits, target, weight.clamp_min(0)))


CHANNELS_LAST = {
    # logits, target, task, what has to be moved
    "one-hot": ((2, 3, 8, 9), (2, 8, 9, 3), "multiclass", "class axis is last: move it to position 1 with target."),
    "volume": ((2, 3, 4, 8, 9), (2, 4, 8, 9, 3), "multiclass", "with target.movedim(-1, 1)"),
    "other size": ((2, 3, 8, 9), (2, 16, 18, 3), "multiclass", "with target.movedim(-1, 1)"),
    "channels": ((2, 3, 8, 9), (2, 8, 9, 3), "multilabel", "with target.movedim(-1, 1)"),
    "one channel": ((2, 1, 8, 9), (2, 8, 9, 1), "binary", "channel axis is last: move it to position 1 with target."),
    "logits": ((2, 8, 9, 3), (2, 8, 9), "multiclass", "class axis is last: move it to position 1 with logits."),
    "logits, a column": ((2, 8, 9, 3), (2, 1, 8, 9), "multiclass", "with logits.movedim(-1, 1)"),
    "binary logits": ((2, 8, 9, 1), (2, 8, 9), "binary", "channel axis is last: move it to position 1 with logits."),
    # Both readings are possible, or another mistake is more likely: no guess.
    "sizes differ": ((2, 3, 8, 9), (2, 16, 18), "multiclass", "resize the logits"),
    "square": ((2, 3, 8, 3), (2, 4, 8, 3), "multiclass", "Bring the target"),
    "argmax over the wrong axis": ((2, 3, 8, 9), (2, 3, 8), "multiclass", "resize the logits"),
    "other batch": ((2, 3, 8, 9), (1, 8, 9, 3), "multiclass", "resize the logits"),
}


@pytest.mark.parametrize("upsample", [None, "linear"])
@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_a_class_axis_in_the_last_place_is_recognised(name: str, upsample: str | None) -> None:
    logits, target, task, words = CHANNELS_LAST[name]
    if upsample and "resize" in words:
        pytest.skip("that is what upsample does")
    if upsample and "logits" in name:
        pytest.skip("read as logits of low resolution")
    criterion = segcrit.Criterion("dice", task=task, upsample=upsample)
    with pytest.raises(ShapeError) as caught:
        criterion(torch.zeros(logits), torch.zeros(target))
    assert words in str(caught.value)


def test_the_advice_about_the_class_axis_is_right() -> None:
    logits, labels = scene()
    soft = torch.softmax(torch.randn(2, 8, 9, 3), -1)
    with pytest.raises(ShapeError, match=r"a target of shape \(2, 3, 8, 9\)"):
        segcrit.Criterion("ce")(logits, soft)
    segcrit.Criterion("ce")(logits, soft.movedim(-1, 1))
    with pytest.raises(ShapeError, match=r"logits of shape \(2, 3, 8, 9\)"):
        segcrit.Criterion("ce")(logits.movedim(1, -1), labels)
    with pytest.raises(ShapeError, match=r"logits\.movedim"):
        segcrit.Criterion("ce", num_classes=3)(logits.movedim(1, -1), labels)


@pytest.mark.parametrize("upsample", ["bilinear", "trilinear", "nearest", True, 4])
def test_another_interpolation_is_refused_with_what_linear_means(upsample: object) -> None:
    logits, target = scene()
    for call in (
        lambda: segcrit.Criterion("ce", upsample=upsample),
        lambda: segcrit.DiceLoss(upsample=upsample),
        lambda: segcrit.functional.dice(logits, target, upsample=upsample),
    ):
        with pytest.raises(ParameterError, match=r"Write upsample='linear', which is bilinear for images"):
            call()
