"""Laws of use: any shape, dtype, layout and size, nothing valid, huge numbers, a loss used twice."""

from __future__ import annotations

import torch

from .problems import IGNORE, Problem, fractions, mask_of, positive_weights, problem
from .registry import law
from .subject import Subject, holds, same


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
    without = s.task == "binary" or s.fact("class_weight") == "refused"
    class_weight = None if without else torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
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
    if s.fact("spatial"):
        return
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
    if s.family == "ranking" or s.fact("spatial"):
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
