"""The oracles agree with each other, with worked numbers and with PyTorch: otherwise they could prove nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.laws.problems import fractions, mask_of, one_hot, positive_weights, problem

from . import naive, numeric, pixel, ranking, region, scene

PIXEL = {
    "ce": pixel.cross_entropy,
    "bce": pixel.binary_cross_entropy,
    "focal": pixel.focal,
    "partial_ce": pixel.partial_cross_entropy,
}
REGION = {"dice": region.dice, "jaccard": region.jaccard, "tversky": region.tversky}


def loops(name: str, task: str):
    if name == "lovasz":
        return ranking.lovasz_softmax if task == "multiclass" else ranking.lovasz_hinge
    return {**PIXEL, **REGION}[name]


CASES = [
    ("ce", "multiclass", {}),
    ("ce", "multiclass", {"label_smoothing": 0.2, "class_weight": [0.5, 1.0, 3.0]}),
    ("bce", "binary", {"pos_weight": [3.0]}),
    ("bce", "multilabel", {"class_weight": [0.5, 1.0, 3.0], "label_smoothing": 0.1}),
    ("focal", "multiclass", {"gamma": 1.5, "alpha": [0.2, 0.3, 0.5]}),
    ("focal", "multilabel", {"gamma": 2.0, "alpha": 0.25}),
    ("partial_ce", "multiclass", {"foreground_only": True}),
    ("partial_ce", "multilabel", {"foreground_only": True}),
    ("dice", "multiclass", {"smooth": 1.0, "absent": "penalize"}),
    ("dice", "multilabel", {"squared": True, "per_image": True}),
    ("jaccard", "binary", {"log": True}),
    ("jaccard", "multiclass", {"squared": True, "class_weight": [1.0, 2.0, 3.0]}),
    ("tversky", "multiclass", {"alpha": 0.3, "beta": 0.7, "classes": [1, 2]}),
    ("lovasz", "multiclass", {"per_image": True}),
    ("lovasz", "multilabel", {}),
    ("lovasz", "binary", {"absent": "skip"}),
]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("name", "task", "options"), CASES)
def test_loops_agree_with_dense_tensors_in_value_and_gradient(name, task, options, soft, weighted):
    if soft and (name == "lovasz" or options.get("foreground_only")):
        pytest.skip("needs hard labels")
    p = problem(task, classes=3, shape=(3, 4), seed=5)
    p = p.ignoring(mask_of(p, 3))
    target = p.target
    if soft:
        target = fractions(task, p.logits)
        target[:, :, 1, 1] = 0 if task == "multiclass" else -100
    weight = positive_weights(p, zeros=True) if weighted else None
    logits = p.logits.clone().requires_grad_()
    dense = naive.loss(name, logits, target, weight, task=task, **options)
    (gradient,) = torch.autograd.grad(dense, logits)
    s = scene.read(p.logits.numpy(), target.numpy(), task=task, pixel_weight=None if weight is None else weight.numpy())
    function = loops(name, task)
    assert function(s, **options) == pytest.approx(float(dense.detach()), rel=1e-11)
    by_difference = numeric.central_difference(lambda x: function(x, **options), s)
    np.testing.assert_allclose(gradient.numpy().reshape(by_difference.shape), by_difference, rtol=2e-6, atol=2e-9)


@pytest.mark.parametrize(
    ("probabilities", "label", "loss"), [((0.3, 0.6, 0.1), 1, 0.5108), ((0.1, 0.1, 0.8), 2, 0.2231)]
)
def test_worked_cross_entropy_of_one_pixel(probabilities, label, loss):
    s = scene.read(np.log(np.array([probabilities])), np.array([label]))
    assert pixel.cross_entropy(s) == pytest.approx(loss, abs=5e-5)


def test_worked_mean_of_four_pixels():
    true = np.array([0.5025, 0.4256, 0.5050, 0.1652])
    s = scene.read(np.log(np.stack([true, 1 - true])[None]), np.zeros((1, 4), dtype=int))
    assert pixel.cross_entropy(s) == pytest.approx(1.0066, abs=5e-5)


def test_integral_equals_published_sum_of_sorted_errors():
    generator = np.random.default_rng(0)
    for _ in range(50):
        errors = generator.random(17).round(2).tolist()
        positive = (generator.random(17) < 0.4).tolist()
        if not any(positive):
            continue
        value = ranking.lovasz_extension(errors, positive, [1.0] * 17)
        assert value == pytest.approx(ranking.sorted_sum(errors, positive), rel=1e-12)


def test_integral_of_an_absent_class_is_the_largest_error():
    assert ranking.lovasz_extension([0.2, 0.7, 0.1], [False] * 3, [1.0, 0.5, 2.0]) == pytest.approx(0.7)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_index_targets_is_that_of_torch(smoothing):
    p = problem(classes=4, shape=(3, 3), seed=2)
    weight = torch.tensor([0.5, 1.0, 0.0, 2.0], dtype=torch.float64)
    wanted = torch.nn.functional.cross_entropy(p.logits, p.target, weight, label_smoothing=smoothing)
    s = scene.read(p.logits.numpy(), p.target.numpy())
    got = pixel.cross_entropy(s, label_smoothing=smoothing, class_weight=weight.tolist())
    assert got == pytest.approx(float(wanted), rel=1e-12)


def test_hand_counted_dice_jaccard_and_tversky():
    # Foreground predicted at pixels 0, 1, 2; true at pixels 2, 3: TP = 1, FP = 2, FN = 1.
    logits = np.array([[[50.0, 50.0, 50.0, -50.0, -50.0]]])
    s = scene.read(logits, np.array([[0, 0, 1, 1, 0]]), task="binary")
    assert region.dice(s) == pytest.approx(1 - 2 / 5)
    assert region.jaccard(s) == pytest.approx(1 - 1 / 4)
    assert region.tversky(s, alpha=0.25, beta=0.75) == pytest.approx(1 - 1 / (1 + 0.5 + 0.75))
    assert region.dice(s, smooth=1.0) == pytest.approx(1 - 3 / 6)
    assert region.jaccard(s, log=True) == pytest.approx(math.log(4))


def test_one_hot_is_read_as_index():
    p = problem(classes=3, shape=(4,), seed=1)
    p = p.ignoring(mask_of(p, 1))
    a = scene.read(p.logits.numpy(), p.target.numpy())
    b = scene.read(p.logits.numpy(), one_hot(p.target, 3).numpy())
    np.testing.assert_array_equal(a.truth, b.truth)
    np.testing.assert_array_equal(a.counted, b.counted)
