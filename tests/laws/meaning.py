"""Laws of meaning: what counts, how it is averaged, what the best prediction is, that the gradient is the value's."""

from __future__ import annotations

import torch

from .problems import Problem, mask_of, one_hot, positive_weights, problem
from .registry import law
from .subject import Subject, holds, same


def filtered(p: Problem, keep: torch.Tensor) -> Problem:
    """Only the pixels of ``keep`` (N, *S), which holds the same number of them in each image: (N, C, M)."""
    rows = [p.logits[n][:, keep[n]] for n in range(p.images)]
    if p.task == "multilabel":
        targets = [p.target[n][:, keep[n]] for n in range(p.images)]
    else:
        targets = [p.target[n][keep[n]] for n in range(p.images)]
    return Problem(torch.stack(rows), torch.stack(targets), p.task)


def permuted(p: Problem, seed: int) -> tuple[Problem, torch.Tensor]:
    """The pixels of every image in another order, flattened to one spatial dimension, and that order."""
    size = p.logits[0, 0].numel()
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    logits = p.logits.reshape(p.images, p.classes, size)[..., order]
    if p.task == "multilabel":
        target = p.target.reshape(p.images, p.classes, size)[..., order]
    else:
        target = p.target.reshape(p.images, size)[..., order]
    return Problem(logits, target, p.task), order


@law
def ignored_equals_filtered_out(s: Subject) -> None:
    if s.fact("spatial"):
        return
    p = problem(s.task, images=3, seed=11)
    mask = mask_of(p, 9)
    weight = positive_weights(p)
    value, gradient = s.value_and_gradient(p.ignoring(mask), weight)
    kept = filtered(p, ~mask)
    kept_weight = torch.stack([weight[n][~mask[n]] for n in range(p.images)])
    wanted, wanted_gradient = s.value_and_gradient(kept, kept_weight)
    same(s, "a call with ignored pixels equals the call without those pixels", value, wanted)
    part = torch.stack([gradient[n][:, ~mask[n]] for n in range(p.images)])
    same(s, "the gradient of valid pixels does not see the ignored ones", part, wanted_gradient)
    ignored = gradient.masked_select(mask[:, None].expand_as(gradient))
    holds(s, "the gradient of an ignored pixel is exactly 0", (ignored == 0).all())


@law
def weight_zero_equals_ignored(s: Subject) -> None:
    if s.fact("spatial"):
        return  # the label of a pixel of weight 0 is known, and makes a border
    p = problem(s.task, seed=12)
    mask = mask_of(p, 7)
    weight = torch.where(mask, 0.0, positive_weights(p))
    value, gradient = s.value_and_gradient(p, weight)
    wanted, wanted_gradient = s.value_and_gradient(p.ignoring(mask), weight)
    same(s, "a pixel of weight 0 counts like an ignored one", value, wanted)
    same(s, "and so does its gradient", gradient, wanted_gradient)


@law
def ignored_nan_contributes_nothing(s: Subject) -> None:
    p = problem(s.task, seed=13)
    mask = mask_of(p, 6)
    wanted, wanted_gradient = s.value_and_gradient(p.ignoring(mask))
    for poison in (torch.nan, torch.inf, -torch.inf):
        logits = torch.where(mask[:, None], poison, p.logits)
        value, gradient = s.value_and_gradient(p.ignoring(mask).with_logits(logits))
        same(s, f"{poison} in the logits of ignored pixels changes nothing", value, wanted)
        same(s, f"{poison} in the logits of ignored pixels leaves the gradient", gradient, wanted_gradient)
        if s.fact("spatial"):
            continue
        weight = torch.where(mask, 0.0, 1.0)
        value, gradient = s.value_and_gradient(p.with_logits(logits), weight)
        same(s, f"{poison} in the logits of pixels of weight 0 changes nothing", value, wanted)
        same(s, f"{poison} where the weight is 0 leaves the gradient", gradient, wanted_gradient)


@law
def order_of_pixels_does_not_matter(s: Subject) -> None:
    if s.fact("spatial"):
        return
    p = problem(s.task, seed=14)
    p = p.ignoring(mask_of(p, 4))
    value, gradient = s.value_and_gradient(p)
    shuffled, order = permuted(p, 1)
    other, other_gradient = s.value_and_gradient(shuffled)
    same(s, "the value does not depend on the order of pixels", value, other)
    moved = gradient.reshape(p.images, p.classes, -1)[..., order]
    same(s, "the gradient moves with the pixels", moved, other_gradient)


@law
def order_of_images_does_not_matter(s: Subject) -> None:
    p = problem(s.task, images=3, seed=15)
    order = torch.tensor([2, 0, 1])
    value, gradient = s.value_and_gradient(p)
    other, other_gradient = s.value_and_gradient(Problem(p.logits[order], p.target[order], p.task))
    same(s, "the value does not depend on the order of images", value, other)
    same(s, "the gradient moves with the images", gradient[order], other_gradient)


@law
def whole_number_weights_equal_repeated_pixels(s: Subject) -> None:
    if s.fact("spatial") or s.fact("ranks"):
        return  # a pixel of weight 2 has one rank, two pixels have two
    p = problem(s.task, seed=16, shape=(12,))
    p, _ = permuted(p, 3)
    times = torch.tensor([1, 2, 3, 1, 1, 2, 1, 1, 3, 1, 1, 2])
    weight = times.double().expand(p.images, -1)
    logits = p.logits.repeat_interleave(times, -1)
    target = p.target.repeat_interleave(times, -1)
    value = s.value(p, weight)
    wanted = s.value(Problem(logits, target, p.task))
    same(s, "a pixel of weight k counts as k pixels", value, wanted)


@law
def only_the_ratio_of_pixel_weights_matters(s: Subject) -> None:
    if s.fact("smooth", 0) or s.fact("reduction") == "sum":
        return
    p = problem(s.task, seed=17)
    weight = positive_weights(p)
    same(s, "weights times 7 give the same mean", s.value(p, 7 * weight), s.value(p, weight))


@law
def class_weights_times_a_number_change_nothing(s: Subject) -> None:
    if s.task == "binary" or s.fact("reduction") == "sum" or s.fact("class_weight"):
        return
    p = problem(s.task, seed=18)
    weight = torch.tensor([0.5, 2.0, 0.0, 1.25], dtype=torch.float64)
    value = s.value(p, class_weight=weight)
    same(s, "class weights times 5 give the same mean", s.value(p, class_weight=5 * weight), value)
    equal = s.value(p, class_weight=torch.full((4,), 3.0, dtype=torch.float64))
    same(s, "equal class weights are no class weights", equal, s.value(p))


@law
def a_common_shift_of_the_logits_changes_nothing(s: Subject) -> None:
    if s.task != "multiclass" or s.fact("logit_scale"):
        return
    p = problem(s.task, seed=19)
    shift = torch.linspace(-5, 5, p.logits[:, 0].numel(), dtype=torch.float64).reshape(p.images, 1, 5, 6)
    a, gradient_a = s.value_and_gradient(p)
    b, gradient_b = s.value_and_gradient(p.with_logits(p.logits + shift))
    same(s, "a softmax does not see a number added to all logits of a pixel", a, b, rtol=1e-8)
    same(s, "nor does its gradient", gradient_a, gradient_b, rtol=1e-7, atol=1e-11)
    per_pixel = gradient_a.sum(1)
    same(s, "and the gradients of a pixel sum to 0", per_pixel, torch.zeros_like(per_pixel), atol=1e-12)


@law
def one_hot_and_soft_equal_index(s: Subject) -> None:
    if s.task != "multiclass":
        return
    p = problem(s.task, seed=20)
    p = p.ignoring(mask_of(p, 5))
    value, gradient = s.value_and_gradient(p)
    hot = one_hot(p.target, p.classes)
    for kind, target in {
        "int64 one-hot": hot,
        "bool one-hot": hot.bool(),
        "uint8 one-hot": hot.to(torch.uint8),
        "float32 one-hot": hot.float(),
        "float64 one-hot": hot.double(),
        "labels with a channel": p.target[:, None],
        "labels as floats": p.target.float(),
        "labels with a channel as floats": p.target[:, None].double(),
    }.items():
        other, other_gradient = s.value_and_gradient(p.with_target(target))
        same(s, f"{kind} equals index", other, value)
        same(s, f"{kind} equals index in the gradient", other_gradient, gradient)


@law
def the_right_prediction_is_best(s: Subject) -> None:
    p = problem(s.task, seed=21)
    # Smoothed targets forbid certainty: with them the best prediction is a moderate one.
    size = 3.0 if s.fact("label_smoothing") else 20.0
    if s.task == "multiclass":
        right = size * one_hot(p.target, p.classes).double()
        wrong = right.roll(1, 1)
    else:
        sign = 2.0 * p.target.double() - 1
        right = size * (sign if s.task == "multilabel" else sign[:, None])
        wrong = -right
    best, middle = s.value(p.with_logits(right)), s.value(p)
    worst = s.value(p.with_logits(wrong))
    holds(s, f"right {best:.3g} < random {middle:.3g} < wrong {worst:.3g}", best < middle < worst)
    if not s.fact("label_smoothing") and not s.fact("smooth") and not s.fact("spatial"):
        holds(s, f"the loss of the right prediction is 0, not {best:.3g}", abs(best) < 1e-5)


@law
def a_step_against_the_gradient_lowers_the_loss(s: Subject) -> None:
    p = problem(s.task, seed=22)
    value, gradient = s.value_and_gradient(p)
    length = gradient.norm()
    holds(s, "the gradient is not 0", length > 0)
    after = s.value(p.with_logits(p.logits - 1e-4 * gradient / length))
    same(s, "a small step changes the loss by gradient · step", (value - after) / 1e-4, length, rtol=2e-2)


@law
def the_gradient_is_that_of_the_value(s: Subject) -> None:
    # A histogram's value jumps where an error crosses the edge of a bin: steps of 1e-6 cross none in this problem.
    p = problem(s.task, seed=23, shape=(2, 3))
    p = p.ignoring(mask_of(p, 1))
    weight = positive_weights(p)

    def function(logits: torch.Tensor) -> torch.Tensor:
        return s.call(logits, p.target, weight)

    logits = p.logits.clone().requires_grad_()
    fits = torch.autograd.gradcheck(function, (logits,), eps=1e-6, atol=1e-6, rtol=1e-5, raise_exception=False)
    holds(s, "autograd equals finite differences in float64", fits)


@law
def images_are_pooled_or_averaged(s: Subject) -> None:
    if s.fact("reduction") == "sum" or s.fact("spatial"):
        return
    p = problem(s.task, images=3, seed=24)
    value = s.value(p)
    singles = [s.value(Problem(p.logits[n : n + 1], p.target[n : n + 1], p.task)) for n in range(3)]
    average = sum(singles) / 3
    spatial = Problem(torch.cat(list(p.logits), 1)[None], torch.cat(list(p.target), -2)[None], p.task)
    pooled = s.value(spatial)
    if s.family != "pixel":
        holds(s, "the problem tells pooling from averaging", abs(average - pooled) > 1e-6)
    if s.per_image:
        same(s, "per image: the mean over images of the loss of each", value, average)
    else:
        same(s, "a batch equals one image with all its pixels", value, pooled)


@law
def an_absent_class_changes_nothing(s: Subject) -> None:
    if s.task != "multiclass" or s.fact("absent", "skip") != "skip" or s.fact("per_class"):
        return
    if s.fact("label_smoothing") or s.fact("reduction") == "sum":
        return
    p = problem(s.task, classes=3, seed=25)
    value = s.value(p)
    fourth = torch.full_like(p.logits[:, :1], -80.0)
    more = p.with_logits(torch.cat([p.logits, fourth], 1))
    same(s, "a fourth class that is neither true nor predicted changes nothing", s.value(more), value)


@law
def hard_predictions_give_one_minus_the_metric(s: Subject) -> None:
    metric = s.fact("metric")
    if metric is None:
        return
    p = problem(s.task, seed=33)
    generator = torch.Generator().manual_seed(4)
    if s.task == "multiclass":
        guess = torch.where(torch.rand(p.target.shape, generator=generator) < 0.7, p.target, p.target.roll(1, -1))
        predicted, true = one_hot(guess, p.classes).bool(), one_hot(p.target, p.classes).bool()
        logits = 60.0 * predicted.double()
    else:
        true = (p.target if s.task == "multilabel" else p.target[:, None]).bool()
        flip = torch.rand(true.shape, generator=generator) < 0.3
        predicted = true ^ flip
        # ±1 puts the hinge of right predictions at 0 and of wrong ones at 2; it is compared with half of that.
        logits = (1.0 if metric == "hinge" else 60.0) * (2 * predicted.double() - 1)
    axes = [0, *range(2, true.ndim)]
    hits = (predicted & true).sum(axes).double()
    false_positive = (predicted & ~true).sum(axes).double()
    false_negative = (~predicted & true).sum(axes).double()
    if metric == "dice":
        score = 2 * hits / (2 * hits + false_positive + false_negative)
    elif metric == "tversky":
        alpha, beta = s.fact("alpha"), s.fact("beta")
        score = hits / (hits + alpha * false_positive + beta * false_negative)
    else:
        score = hits / (hits + false_positive + false_negative)
    wanted = 1 - score.mean()
    if metric == "hinge":
        wanted = 2 * wanted
    same(s, "on hard predictions the loss is 1 − metric", s.value(p.with_logits(logits)), wanted)
