"""Multiclass tasks, backward: dz_k = u (e_k − p_k Σ_c e_c) with e_c = p_c dL/dp_c + dL/d(log p_c).

The normalizers of the forward pass give p from one read. Where Σ e needs the probabilities, a first loop over the classes
forms it and the second reads the logits from the cache.
"""

import triton.language as tl

import triton
from segcrit.engines.triton.kernels.arithmetic import expm1_of_negative, focal_slope, select
from segcrit.engines.triton.kernels.errors import NO_ERRORS, PROBABILITY, bin_of
from segcrit.engines.triton.kernels.logits import read_logits, samples_at
from segcrit.engines.triton.kernels.target import SHARES, read_pixels, share_of


@triton.jit
def rows_of_image(tables, image, images, CLASSES: tl.constexpr, PER_IMAGE: tl.constexpr, BINS: tl.constexpr,
                  BINS_PER_IMAGE: tl.constexpr):  # fmt: skip
    """(the image's row of the tables, from one sum to the next, where the image's histograms begin)."""
    table_row = tables + (image * CLASSES if PER_IMAGE else image * 0)
    field = (images if PER_IMAGE else 1) * CLASSES
    histogram = image * (CLASSES * 2 * BINS) if BINS_PER_IMAGE else image * 0
    return table_row, field, histogram


@triton.jit
def region_slope(p, t, tables, field, c, CLASSES: tl.constexpr, HAS_I: tl.constexpr, HAS_P: tl.constexpr,
                 HAS_Q: tl.constexpr, HAS_D: tl.constexpr):  # fmt: skip
    """dL/dp = F_I t + F_P + 2 p F_Q + F_D sign(p − t); ``tables`` starts at the row of the image, ``field`` is from one
    sum to the next."""
    known = c < CLASSES
    slope = tl.zeros_like(p)
    if HAS_P:
        slope += tl.load(tables + field + c, mask=known, other=0.0)
    if HAS_I:
        slope += tl.load(tables + c, mask=known, other=0.0) * t
    if HAS_Q:
        slope += 2.0 * tl.load(tables + 2 * field + c, mask=known, other=0.0) * p
    if HAS_D:
        distance = tl.load(tables + 6 * field + c, mask=known, other=0.0)
        slope += tl.where(p > t, distance, tl.where(p < t, -distance, 0.0))
    return slope


@triton.jit
def error_slope(moments, histogram, c, hit, error, mask, KIND: tl.constexpr, BINS: tl.constexpr):
    """dL/d(error) of the bin of each error."""
    _, place = bin_of(error, KIND, BINS)
    cell = histogram + (c.to(tl.int64) * 2 + hit.to(tl.int64)) * BINS + place
    return tl.load(moments + cell, mask=mask, other=0.0)


@triton.jit
def label_slope(
    log_p, label, upstream, map_gradient, coefficients, image, pixel, inside, images, pixels,
    CLASSES: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr,
):  # fmt: skip
    """dL/d(log p) of the label, all pixel losses together, where the target is one label: (BLOCK,)."""
    result = tl.zeros_like(log_p)
    for j in tl.static_range(LOSSES):
        factor = tl.load(coefficients + 2 * j * CLASSES + label, mask=label >= 0, other=0.0)
        number = tl.load(upstream + j)
        slope = select(factor, focal_slope(log_p, GAMMAS[j]))
        if map_gradient is not None:
            number += tl.load(map_gradient + (j * images + image) * pixels + pixel, mask=inside, other=0.0)
        result = tl.where(label >= 0, result + number * slope, 0.0)
    return result


@triton.jit
def class_slope(
    log_p, t, c, upstream, map_gradient, coefficients, image, pixel, inside, images, pixels,
    CLASSES: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr,
):  # fmt: skip
    """dL/d(log p) of every class, for targets with a share for each: (CHUNK, BLOCK)."""
    result = tl.zeros_like(log_p)
    for j in tl.static_range(LOSSES):
        factor = tl.load(coefficients + 2 * j * CLASSES + c, mask=c < CLASSES, other=0.0)
        number = tl.load(upstream + j)
        if map_gradient is not None:
            number += tl.load(map_gradient + (j * images + image) * pixels + pixel, mask=inside, other=0.0)
        smooth = t * (1.0 - SMOOTHINGS[j]) + SMOOTHINGS[j] / CLASSES
        result += number * select(factor * smooth, focal_slope(log_p, GAMMAS[j]))
    return result


@triton.jit
def summand(
    z, t, largest, log_total, inverse, label, of_label, c, tables, field, moments, histogram,
    upstream, map_gradient, coefficients, image, pixel, inside, images, pixels,
    CLASSES: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr,
    GENERAL: tl.constexpr, HAS_I: tl.constexpr, HAS_P: tl.constexpr, HAS_Q: tl.constexpr, HAS_D: tl.constexpr,
    KIND: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """(p, e) of classes at pixels."""
    centred = z - largest
    p = tl.exp(centred) * inverse
    hit = label == c
    e = p * region_slope(p, t, tables, field, c, CLASSES, HAS_I, HAS_P, HAS_Q, HAS_D)
    if KIND != NO_ERRORS:
        error = tl.where(hit, -expm1_of_negative(centred - log_total), p)
        known = inside & (label >= 0) & (c < CLASSES)
        slope = error_slope(moments, histogram, c, hit, error, known, PROBABILITY, BINS)
        e += p * tl.where(hit, -slope, slope)
    if GENERAL:
        e += class_slope(
            centred - log_total, t, c, upstream, map_gradient, coefficients, image, pixel, inside, images, pixels,
            CLASSES, LOSSES, GAMMAS, SMOOTHINGS,
        )  # fmt: skip
    else:
        e += tl.where(hit, of_label, 0.0)
    return p, tl.where(c < CLASSES, e, 0.0)


@triton.jit(do_not_specialize=["images", "blocks"])
def softmax_backward(
    logits, target, weight, coefficients, bias, normalizers, upstream, tables, moments, map_gradient, gradient,
    totals, of_labels, labels, images, pixels, blocks, logits_image, logits_class, logits_pixel,
    target_image, target_class, target_pixel, gradient_image, gradient_class, gradient_pixel,
    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
    CLASSES: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, FORM: tl.constexpr, IGNORE: tl.constexpr,
    BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr,
    AXES: tl.constexpr, ALIGN: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr,
    GENERAL: tl.constexpr, FOCUSED: tl.constexpr, FIRST: tl.constexpr, PER_IMAGE: tl.constexpr,
    HAS_I: tl.constexpr, HAS_P: tl.constexpr, HAS_Q: tl.constexpr, HAS_D: tl.constexpr,
    KIND: tl.constexpr, BINS: tl.constexpr, BINS_PER_IMAGE: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK pixels of one image, all classes.

    Without ``gradient`` (interpolated logits, whose samples are visited by another kernel) it leaves what that one needs of
    each pixel: Σ e in ``totals``, the label's dL/d(log p) in ``of_labels`` and the label as the losses see it in ``labels``.
    """
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    # Four pixels of a class are one load; of half precision more would fit, for more registers than there are.
    pixel = tl.max_contiguous(pixel, 4)
    label, u, _wrong, filled = read_pixels(
        target, weight, image, pixel, inside, target_image, target_class, target_pixel, pixels,
        CLASSES, FORM, IGNORE, BACKGROUND, FOREGROUND,
    )  # fmt: skip
    row = pixel[None, :]
    row_inside, row_label, row_u, row_filled = inside[None, :], label[None, :], u[None, :], filled[None, :]
    start, samples = samples_at(
        row, image, logits_image, logits_pixel, low_depth, low_height, low_width, depth, height, width,
        stride_depth, stride_height, stride_width, AXES, ALIGN,
    )  # fmt: skip
    count = (image * 0 + images) * pixels
    largest = tl.load(normalizers + image * pixels + pixel, mask=inside, other=0.0)
    total = tl.load(normalizers + count + image * pixels + pixel, mask=inside, other=1.0)
    inverse = (1.0 / total)[None, :]
    log_total = tl.log(total)
    table_row, field, histogram = rows_of_image(tables, image, images, CLASSES, PER_IMAGE, BINS, BINS_PER_IMAGE)

    log_p = tl.zeros((BLOCK,), tl.float32)
    if FOCUSED:
        z_of_label = read_logits(
            logits, bias, start, samples, tl.maximum(row_label, 0), row_inside, row_label, CLASSES, logits_class, AXES,
            SCALE, BIAS_ROWS,
        )  # fmt: skip
        log_p = tl.reshape(z_of_label, (BLOCK,)) - largest - log_total
    of_label = tl.zeros((BLOCK,), tl.float32)
    if not GENERAL:
        of_label = label_slope(
            log_p, label, upstream, map_gradient, coefficients, image, pixel, inside, images, pixels, CLASSES, LOSSES,
            GAMMAS,
        )  # fmt: skip
    e_total = of_label
    if FIRST:
        e_total = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, CLASSES, CHUNK):
            c = (first + tl.arange(0, CHUNK))[:, None]
            z = read_logits(
                logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE, BIAS_ROWS
            )
            t = share_of(
                target, image, row, row_inside, row_label, row_filled, c, target_image, target_class, target_pixel,
                CLASSES, FORM,
            )  # fmt: skip
            p, e = summand(
                z, t, largest[None, :], log_total[None, :], inverse, row_label, of_label[None, :], c, table_row, field,
                moments, histogram, upstream, map_gradient, coefficients, image, row, row_inside, images, pixels,
                CLASSES, LOSSES, GAMMAS, SMOOTHINGS, GENERAL, HAS_I, HAS_P, HAS_Q, HAS_D, KIND, BINS,
            )  # fmt: skip
            e_total += tl.sum(e, 0)
    if totals is not None:
        tl.store(totals + image * pixels + pixel, e_total, mask=inside)
    if of_labels is not None:
        tl.store(of_labels + image * pixels + pixel, of_label, mask=inside)
    if labels is not None:
        if FORM == SHARES:
            # Shares are read again; what is kept is whether the pixel counts, and whether it was filled up.
            seen = tl.where(label >= 0, tl.where(filled, 0, 1), -1)
        else:
            seen = label
        tl.store(labels + image * pixels + pixel, seen, mask=inside)
    if gradient is not None:
        place = gradient + image * gradient_image + row.to(tl.int64) * gradient_pixel
        for first in range(0, CLASSES, CHUNK):
            c = (first + tl.arange(0, CHUNK))[:, None]
            z = read_logits(
                logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE, BIAS_ROWS
            )
            t = share_of(
                target, image, row, row_inside, row_label, row_filled, c, target_image, target_class, target_pixel,
                CLASSES, FORM,
            )  # fmt: skip
            p, e = summand(
                z, t, largest[None, :], log_total[None, :], inverse, row_label, of_label[None, :], c, table_row, field,
                moments, histogram, upstream, map_gradient, coefficients, image, row, row_inside, images, pixels,
                CLASSES, LOSSES, GAMMAS, SMOOTHINGS, GENERAL, HAS_I, HAS_P, HAS_Q, HAS_D, KIND, BINS,
            )  # fmt: skip
            dz = tl.where(row_label >= 0, row_u * (e - p * e_total[None, :]) * SCALE, 0.0)
            tl.store(
                place + c.to(tl.int64) * gradient_class,
                dz.to(gradient.dtype.element_ty),
                mask=row_inside & (c < CLASSES),
            )
