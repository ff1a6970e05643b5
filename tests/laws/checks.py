"""The laws as callable checks: each takes a Subject and raises AssertionError where the law does not hold.

``ALL`` lists them by name. A check returns early only where the law does not concern the loss at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .problems import IGNORE, Problem, fractions, mask_of, one_hot, positive_weights, problem
from .subject import Subject, holds, same

Check = Callable[[Subject], None]
ALL: dict[str, Check] = {}


def law(check: Check) -> Check:
    ALL[check.__name__] = check
    return check


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
        weight = torch.where(mask, 0.0, 1.0)
        value, gradient = s.value_and_gradient(p.with_logits(logits), weight)
        same(s, f"{poison} in the logits of pixels of weight 0 changes nothing", value, wanted)
        same(s, f"{poison} where the weight is 0 leaves the gradient", gradient, wanted_gradient)


@law
def order_of_pixels_does_not_matter(s: Subject) -> None:
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
    if not s.fact("label_smoothing") and not s.fact("smooth"):
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
    if s.fact("reduction") == "sum":
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
def nothing_valid_gives_a_live_zero(s: Subject) -> None:
    p = problem(s.task, seed=26)
    everything = torch.ones(p.images, *p.logits.shape[2:], dtype=torch.bool)
    empty = Problem(p.logits[:0], p.target[:0], p.task)
    for name, q, weight in (
        ("all ignored", p.ignoring(everything), None),
        ("all weights 0", p, torch.zeros(everything.shape, dtype=torch.float64)),
        ("no image", empty, None),
    ):
        value, gradient = s.value_and_gradient(q, weight)
        holds(s, f"{name}: the loss is 0, not {value}", value == 0)
        holds(s, f"{name}: the gradient is 0", (gradient == 0).all() and gradient.shape == q.logits.shape)


@law
def an_image_without_a_valid_pixel_changes_nothing(s: Subject) -> None:
    p = problem(s.task, images=3, seed=42)
    hidden = torch.zeros(3, 5, 6, dtype=torch.bool)
    hidden[1] = True
    value, gradient = s.value_and_gradient(p.ignoring(hidden))
    rest = torch.tensor([0, 2])
    wanted, wanted_gradient = s.value_and_gradient(Problem(p.logits[rest], p.target[rest], p.task))
    same(s, "the mean over images is one over those with valid pixels", value, wanted)
    same(s, "and so is its gradient", gradient[rest], wanted_gradient)


@law
def class_weights_that_sum_to_zero_give_a_live_zero(s: Subject) -> None:
    if s.task == "binary" or s.fact("class_weight"):
        return
    p = problem(s.task, seed=27)
    logits = p.logits.clone().requires_grad_()
    loss = s.call(logits, p.target, None, class_weight=torch.zeros(4, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss, logits)
    holds(s, f"the loss is 0, not {float(loss.detach())}", float(loss.detach()) == 0)
    holds(s, "the gradient is 0", (gradient == 0).all())


@law
def an_upstream_gradient_is_passed_on(s: Subject) -> None:
    p = problem(s.task, seed=28)
    _, gradient = s.value_and_gradient(p)
    logits = p.logits.clone().requires_grad_()
    (2.5 * s.call(logits, p.target) + logits.sum()).backward()
    assert logits.grad is not None
    same(s, "2.5 times the loss has 2.5 times the gradient", logits.grad, 2.5 * gradient + 1)


@law
def a_loss_may_be_used_twice(s: Subject) -> None:
    p = problem(s.task, seed=29)
    _, gradient = s.value_and_gradient(p)
    logits = p.logits.clone().requires_grad_()
    loss = s.call(logits, p.target)
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (second,) = torch.autograd.grad(loss, logits)
    same(s, "backward with retain_graph repeats itself", first, second, rtol=0, atol=0)
    loss = s.call(logits, p.target)
    again = s.call(logits, p.target)
    (total,) = torch.autograd.grad(loss + again + loss, logits)
    same(s, "a loss added three times has three times the gradient", total, 3 * gradient)


@law
def inputs_are_left_alone(s: Subject) -> None:
    p = problem(s.task, seed=30)
    p = p.ignoring(mask_of(p, 5))
    weight = positive_weights(p, zeros=True)
    class_weight = None if s.task == "binary" else torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    tensors = [p.logits.clone().requires_grad_(), p.target, weight]
    copies = [t.detach().clone() for t in tensors]
    loss = s.call(tensors[0], tensors[1], tensors[2], class_weight=class_weight)
    loss.backward()
    for tensor, copy in zip(tensors, copies, strict=True):
        holds(s, "the caller's tensors keep their values", torch.equal(tensor.detach(), copy))
    if class_weight is not None:
        holds(s, "class weights keep their values", class_weight.tolist() == [1.0, 2.0, 3.0, 4.0])


@law
def memory_layout_does_not_matter(s: Subject) -> None:
    p = problem(s.task, seed=31, shape=(4, 6))
    p = p.ignoring(mask_of(p, 3))
    weight = positive_weights(p)
    value, gradient = s.value_and_gradient(p, weight)
    wide = torch.full((*p.logits.shape[:-1], 13), torch.nan, dtype=p.logits.dtype)
    wide[..., 1::2] = p.logits
    odd = torch.empty(p.logits.numel() + 1, dtype=p.logits.dtype)[1:].reshape(p.logits.shape)
    odd.copy_(p.logits)
    stored_last = p.logits.movedim(1, -1).contiguous().movedim(-1, 1)
    target_steps = torch.stack([p.target, p.target + 1], -1)[..., 0]
    weight_steps = torch.stack([weight, weight + 1], -1)[..., 0]
    turned = p.target.transpose(-1, -2).contiguous().transpose(-1, -2)
    for name, logits, target, u in (
        ("channels last", p.logits.contiguous(memory_format=torch.channels_last), p.target, weight),
        ("classes stored last", stored_last, p.target, weight),
        ("every second column", wide[..., 1::2], p.target, weight),
        ("storage that starts off alignment", odd, p.target, weight),
        ("strided target and weight", p.logits, target_steps, weight_steps),
        ("transposed target", p.logits, turned, weight),
    ):
        view = logits.detach().requires_grad_()
        loss = s.call(view, target, u)
        (other,) = torch.autograd.grad(loss, view)
        same(s, f"{name}: same value", loss.detach(), value)
        same(s, f"{name}: same gradient", other, gradient)


@law
def huge_logits_stay_finite(s: Subject) -> None:
    p = problem(s.task, seed=32)
    for size in (1e4, -1e4):
        for dtype in (torch.float64, torch.float32):
            logits = (size * torch.sign(p.logits)).to(dtype)
            value, gradient = s.value_and_gradient(p.with_logits(logits))
            holds(s, f"finite value at logits of ±{size:g} in {dtype}", torch.isfinite(torch.tensor(value)))
            holds(s, f"finite gradient at logits of ±{size:g} in {dtype}", torch.isfinite(gradient).all())


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


@law
def labels_of_any_dtype_are_the_same(s: Subject) -> None:
    p = problem(s.task, seed=34)
    value = s.value(p)
    kinds = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    kinds += [torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
    for dtype in kinds:
        same(s, f"labels as {dtype}", s.value(p.with_target(p.target.to(dtype))), value)
    if s.task != "multiclass":
        same(s, "labels as bool", s.value(p.with_target(p.target.bool())), value)
    elif not s.fact("per_class"):
        p = problem(s.task, classes=2, seed=34)
        same(s, "two classes as bool", s.value(p.with_target(p.target.bool())), s.value(p))


@law
def weights_of_any_dtype_and_shape_are_the_same(s: Subject) -> None:
    p = problem(s.task, seed=40)
    kept = torch.rand(p.images, 5, 6, generator=torch.Generator().manual_seed(6)) < 0.7
    wanted, wanted_gradient = s.value_and_gradient(p, kept.double())
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32):
        value, gradient = s.value_and_gradient(p, kept.to(dtype))
        same(s, f"weights as {dtype}", value, wanted)
        same(s, f"weights as {dtype}, gradient", gradient, wanted_gradient)
    value, _ = s.value_and_gradient(p, kept[:, None].double())
    same(s, "weights with a channel", value, wanted)


@law
def an_axis_of_length_zero_gives_a_live_zero(s: Subject) -> None:
    for shape in ((0,), (3, 0), (0, 3), (2, 0, 2)):
        p = problem(s.task, shape=shape, seed=41)
        value, gradient = s.value_and_gradient(p)
        holds(s, f"no pixel in {shape}: the loss is 0, not {value}", value == 0)
        holds(s, f"no pixel in {shape}: an empty gradient", gradient.shape == p.logits.shape)


@law
def any_number_of_spatial_dimensions(s: Subject) -> None:
    p = problem(s.task, images=24, shape=(), seed=35)
    value, gradient = s.value_and_gradient(p)
    if s.per_image:
        # Every image is one pixel: the laws of averaging say the rest, here only that the call works.
        holds(s, "a call without spatial dimensions works", torch.isfinite(gradient).all())
    for shape in ((24,), (4, 6), (2, 3, 4)):
        logits = p.logits.movedim(0, 1).reshape(1, p.classes, *shape)
        target = p.target
        target = target.movedim(0, 1).reshape(1, p.classes, *shape) if p.task == "multilabel" else target
        target = target if p.task == "multilabel" else target.reshape(1, *shape)
        if s.per_image:
            flat = Problem(logits.reshape(1, p.classes, 24), target.reshape(*target.shape[: -len(shape)], 24), p.task)
            value = s.value(flat)
        other, other_gradient = s.value_and_gradient(Problem(logits, target, p.task))
        same(s, f"{len(shape)} spatial dimensions", other, value)
        if not s.per_image:
            moved = other_gradient.reshape(p.classes, 24).movedim(0, 1)
            same(s, f"{len(shape)} spatial dimensions, gradient", moved, gradient)


@law
def any_number_of_classes(s: Subject) -> None:
    if s.fact("per_class"):
        return
    sizes = (1,) if s.task == "binary" else (2, 3, 19, 150, 255) if s.task == "multiclass" else (1, 2, 19, 255)
    for classes in sizes:
        p = problem(s.task, classes=classes, shape=(300,), images=1, seed=36)
        value, gradient = s.value_and_gradient(p)
        holds(s, f"finite at {classes} classes", torch.isfinite(torch.tensor(value)) and value > 0)
        holds(s, f"finite gradient at {classes} classes", torch.isfinite(gradient).all() and gradient.any())
        order = torch.randperm(classes, generator=torch.Generator().manual_seed(5))
        logits = p.logits[:, order]
        if s.task == "multilabel":
            target = p.target[:, order]
        elif s.task == "multiclass":
            target = torch.argsort(order)[p.target]
        else:
            target = p.target
        if s.fact("classes") is None and not s.fact("names_classes"):
            other = s.value(Problem(logits, target, p.task))
            same(s, f"the names of {classes} classes do not matter", other, value)


@law
def soft_targets_are_accepted_or_refused(s: Subject) -> None:
    p = problem(s.task, seed=37)
    soft = fractions(s.task, p.logits)
    if s.family == "ranking":
        try:
            s.value(p.with_target(soft))
        except (ValueError, TypeError) as error:
            holds(
                s, "the refusal speaks of soft or fractional targets", "fraction" in str(error) or "soft" in str(error)
            )
        else:
            holds(s, "fractional targets are refused", False)
        return
    if s.fact("foreground_only"):
        return
    holds(s, "a soft target gives a finite loss", torch.isfinite(torch.tensor(s.value(p.with_target(soft)))))
    if s.fact("proper"):
        inverse = torch.log(soft) if s.task == "multiclass" else torch.logit(soft)
        at_target, gradient = s.value_and_gradient(p.with_target(soft).with_logits(inverse))
        holds(s, "p = t is better than elsewhere", at_target < s.value(p.with_target(soft)))
        if s.family == "region":
            same(s, "at p = t the loss is 0", at_target, 0.0, atol=1e-9)
        else:
            same(s, "at p = t the gradient is 0", gradient, torch.zeros_like(gradient), atol=1e-9)


@law
def ignore_label_of_any_value(s: Subject) -> None:
    p = problem(s.task, seed=38)
    mask = mask_of(p, 6)
    wanted = s.value(p.ignoring(mask))
    shaped = mask[:, None].expand_as(p.target) if s.task == "multilabel" else mask
    for label in (255, -1):
        marked = p.with_target(torch.where(shaped, label, p.target))
        same(s, f"ignore_index={label}", s.value(marked, ignore_index=label), wanted)
    marked = p.with_target(torch.where(shaped, 255, p.target).to(torch.uint8))
    same(s, "ignore_index=255 in uint8", s.value(marked, ignore_index=255), wanted)
    holds(s, "the ignore label is none of the classes", IGNORE < 0)


@law
def rounded_logits_round_the_loss_only(s: Subject) -> None:
    p = problem(s.task, seed=39, shape=(16, 16))
    # Pixel arithmetic is float32 or wider whatever the logits are: only the gradient is rounded to their dtype.
    arithmetic = 2e-4 if s.fact("histogram") else 2e-6
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        rounded = p.logits.to(dtype)
        value, gradient = s.value_and_gradient(p.with_logits(rounded))
        wanted, wanted_gradient = s.value_and_gradient(p.with_logits(rounded.double()))
        same(s, f"{dtype} logits: value", value, wanted, rtol=arithmetic, atol=1e-7)
        holds(s, f"{dtype} logits: gradient of that dtype", gradient.dtype == dtype)
        kind = torch.finfo(dtype)
        if s.fact("histogram"):
            # An error next to the edge of a bin may fall on the other side of it and take the weight of that bin.
            cosine = torch.cosine_similarity(gradient.double().flatten(), wanted_gradient.flatten(), 0)
            holds(s, f"{dtype} logits: cosine {float(cosine):.7f} of the gradients", cosine > 0.99999)
            continue
        error = (gradient.double() - wanted_gradient).abs()
        bound = kind.eps * wanted_gradient.abs() + kind.smallest_normal * kind.eps + 1e-6 * wanted_gradient.abs().max()
        excess = float((error - bound).max())
        holds(s, f"{dtype} logits: gradient within rounding, {excess:.3g} too far", excess <= 0)
