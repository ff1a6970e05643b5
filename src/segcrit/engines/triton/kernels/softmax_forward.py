"""Multiclass tasks, forward: one read of the logits from memory, a second from the cache where probabilities are summed."""

import triton.language as tl

import triton
from segcrit.engines.triton.kernels.arithmetic import expm1_of_negative, focal_value, select
from segcrit.engines.triton.kernels.errors import NO_ERRORS, PROBABILITY, bin_of, count_errors
from segcrit.engines.triton.kernels.logits import read_logits, samples_at
from segcrit.engines.triton.kernels.target import SHARES, read_pixels, share_of


@triton.jit
def store_sums(partials, row, c, values, CLASSES: tl.constexpr):
    """Sums over the pixels of a tile (CHUNK, BLOCK) to the places of its classes."""
    tl.store(partials + row * CLASSES + c, tl.sum(values, 1), mask=c < CLASSES)


@triton.jit(do_not_specialize=["images", "blocks"])
def softmax_forward(
    logits, target, weight, coefficients, bias, partials, maps, normalizers, words, weights, scales, confusion,
    images, pixels, blocks, logits_image, logits_class, logits_pixel, target_image, target_class, target_pixel,
    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
    CLASSES: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, FORM: tl.constexpr, IGNORE: tl.constexpr,
    BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr,
    AXES: tl.constexpr, ALIGN: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr,
    GENERAL: tl.constexpr, SECOND: tl.constexpr, SLOTS: tl.constexpr, ROW_I: tl.constexpr, ROW_P: tl.constexpr,
    ROW_Q: tl.constexpr, ROW_T: tl.constexpr, ROW_U: tl.constexpr, ROW_D: tl.constexpr, ROW_LOW: tl.constexpr,
    ROW_TRUTH: tl.constexpr, KIND: tl.constexpr, BINS: tl.constexpr, BINS_PER_IMAGE: tl.constexpr,
    SHIFT: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK pixels of one image.

    Its sums go to ``partials`` (programs, SLOTS): pixels that a look at the values refuses, Σ u, the pixel losses, and rows
    of CLASSES numbers, whose indices are the constants ROW_* (−1: not wanted).
    """
    HEAD: tl.constexpr = 2 + LOSSES
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    # Four pixels of a class are one load; of half precision more would fit, for more registers than there are.
    pixel = tl.max_contiguous(pixel, 4)
    label, u, wrong, filled = read_pixels(
        target, weight, image, pixel, inside, target_image, target_class, target_pixel, pixels,
        CLASSES, FORM, IGNORE, BACKGROUND, FOREGROUND,
    )  # fmt: skip
    partials += program.to(tl.int64) * SLOTS
    sums = partials + HEAD
    # Also where nobody asks: otherwise the calls that look at values would need another kernel than those after them, which
    # would be compiled while a graph is captured.
    tl.store(partials, tl.sum(tl.where(wrong, 1.0, 0.0)))
    row = pixel[None, :]
    row_inside, row_label, row_u, row_filled = inside[None, :], label[None, :], u[None, :], filled[None, :]
    start, samples = samples_at(
        row, image, logits_image, logits_pixel, low_depth, low_height, low_width, depth, height, width,
        stride_depth, stride_height, stride_width, AXES, ALIGN,
    )  # fmt: skip

    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    of_label = tl.zeros((BLOCK,), tl.float32)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    predicted = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, CLASSES, CHUNK):
        c1 = first + tl.arange(0, CHUNK)
        c = c1[:, None]
        z = read_logits(
            logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE, BIAS_ROWS
        )
        higher = tl.maximum(largest, tl.max(z, 0))
        # A pixel whose classes so far are all masked by −∞ has nothing to scale.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(z - shift[None, :]), 0)
        largest = higher
        of_label += tl.sum(tl.where(c == row_label, z, 0.0), 0)
        if ROW_TRUTH >= 0:
            # As torch.argmax: the first of equals, and NaN above all.
            rank = tl.where(z == z, z, float("inf"))
            top = tl.max(rank, 0)
            where = tl.min(tl.where(rank == top[None, :], c, CLASSES), 0)
            predicted = tl.where(top > best, where, predicted)
            best = tl.maximum(top, best)
            truth = tl.where((row_label == c) & (row_u == row_u), 1.0, 0.0)
            store_sums(sums, ROW_TRUTH, c1, truth, CLASSES)
        if not SECOND and ROW_T >= 0:
            store_sums(sums, ROW_T, c1, tl.where(row_label == c, row_u, 0.0), CLASSES)
    log_total = tl.log(total)
    counted = label >= 0
    if normalizers is not None:
        count = (image * 0 + images) * pixels
        tl.store(normalizers + image * pixels + pixel, largest, mask=inside)
        tl.store(normalizers + count + image * pixels + pixel, total, mask=inside)
    if confusion is not None:
        missed = counted & (u == u) & (predicted != label)
        tl.atomic_add(
            confusion + label * CLASSES + predicted, tl.full((BLOCK,), 1, tl.int64), mask=missed, sem="relaxed"
        )
    tl.store(partials + 1, tl.sum(u))

    if LOSSES > 0:
        if not GENERAL:
            log_p = (of_label - largest) - log_total
            for j in tl.static_range(LOSSES):
                factor = tl.load(coefficients + 2 * j * CLASSES + label, mask=counted, other=0.0)
                value = tl.where(counted, u * select(factor, focal_value(log_p, GAMMAS[j])), 0.0)
                tl.store(partials + 2 + j, tl.sum(value))
                if maps is not None:
                    tl.store(maps + (j * images + image) * pixels + pixel, value, mask=inside)
        else:
            for j in tl.static_range(LOSSES):
                value = tl.zeros((BLOCK,), tl.float32)
                for first in range(0, CLASSES, CHUNK):
                    c = (first + tl.arange(0, CHUNK))[:, None]
                    z = read_logits(
                        logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE,
                        BIAS_ROWS,
                    )  # fmt: skip
                    t = share_of(
                        target, image, row, row_inside, row_label, row_filled, c, target_image, target_class,
                        target_pixel, CLASSES, FORM,
                    )  # fmt: skip
                    t = t * (1.0 - SMOOTHINGS[j]) + SMOOTHINGS[j] / CLASSES
                    factor = tl.load(coefficients + 2 * j * CLASSES + c, mask=c < CLASSES, other=0.0)
                    log_p = (z - largest[None, :]) - log_total[None, :]
                    value += tl.sum(select(factor * t, focal_value(log_p, GAMMAS[j])), 0)
                value = tl.where(counted, u * value, 0.0)
                tl.store(partials + 2 + j, tl.sum(value))
                if maps is not None:
                    tl.store(maps + (j * images + image) * pixels + pixel, value, mask=inside)

    if SECOND:
        histogram = image * (CLASSES * 2 * BINS) if BINS_PER_IMAGE else image * 0
        inverse = 1.0 / total
        for first in range(0, CLASSES, CHUNK):
            c1 = first + tl.arange(0, CHUNK)
            c = c1[:, None]
            z = read_logits(
                logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE, BIAS_ROWS
            )
            centred = z - largest[None, :]
            p = tl.exp(centred) * inverse[None, :]
            hit = row_label == c
            if FORM == SHARES:
                t = share_of(
                    target, image, row, row_inside, row_label, row_filled, c, target_image, target_class, target_pixel,
                    CLASSES, FORM,
                )  # fmt: skip
                ut = row_u * t
            else:
                t = tl.where(hit, 1.0, 0.0)
                ut = tl.where(hit, row_u, 0.0)
            up = row_u * p
            if ROW_I >= 0:
                store_sums(sums, ROW_I, c1, ut * p, CLASSES)
            if ROW_P >= 0:
                store_sums(sums, ROW_P, c1, up, CLASSES)
            if ROW_Q >= 0:
                store_sums(sums, ROW_Q, c1, up * p, CLASSES)
            if ROW_T >= 0:
                store_sums(sums, ROW_T, c1, ut, CLASSES)
            if ROW_U >= 0:
                store_sums(sums, ROW_U, c1, ut * t, CLASSES)
            if ROW_D >= 0:
                store_sums(sums, ROW_D, c1, row_u * tl.abs(p - t), CLASSES)
            if KIND != NO_ERRORS:
                # 1 − p = −expm1(log p) keeps the small errors of confident pixels.
                error = tl.where(hit, -expm1_of_negative(centred - log_total[None, :]), p)
                position, place = bin_of(error, PROBABILITY, BINS)
                cell = histogram + (c.to(tl.int64) * 2 + hit.to(tl.int64)) * BINS
                count_errors(
                    words, weights, scales, cell, error, position, place, row_u, (row_label >= 0) & (c < CLASSES),
                    PROBABILITY, BINS, SHIFT, UNIT,
                )  # fmt: skip
                low = tl.where((place == 0) | (error != error), row_u * error, 0.0)
                store_sums(sums, ROW_LOW, c1, tl.where(hit, 0.0, low), CLASSES)
                store_sums(sums, ROW_LOW + 1, c1, tl.where(hit, low, 0.0), CLASSES)
