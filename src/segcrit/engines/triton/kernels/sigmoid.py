"""Sigmoid tasks: every element stands alone. Forward sums and the gradient of one run of pixels of one channel."""

import triton.language as tl

import triton
from segcrit.engines.triton.kernels.arithmetic import focal_slope, focal_value, log1p_of_unit, select
from segcrit.engines.triton.kernels.errors import MARGIN, NO_ERRORS, bin_of, count_errors
from segcrit.engines.triton.kernels.logits import read_logits, samples_at
from segcrit.engines.triton.kernels.softmax_backward import error_slope, region_slope, rows_of_image
from segcrit.engines.triton.kernels.target import read_elements


@triton.jit
def probabilities(z):
    """(p, 1 − p, log p, log(1 − p)) of logits, each exact to rounding."""
    size = tl.exp(-tl.abs(z))
    high = 1.0 / (1.0 + size)
    low = size * high
    tail = log1p_of_unit(size)
    p = tl.where(z < 0.0, low, high)
    q = tl.where(z < 0.0, high, low)
    log_p = tl.where(z < 0.0, z, 0.0) - tail
    log_q = tl.where(z < 0.0, 0.0, -z) - tail
    bad = z != z
    return tl.where(bad, z, p), tl.where(bad, z, q), log_p, log_q


@triton.jit
def margin_error(z, t):
    """max(0, 1 − z (2 t − 1)); NaN stays."""
    error = 1.0 - z * (2.0 * t - 1.0)
    return tl.where(error < 0.0, 0.0, error)


@triton.jit
def element_gradient(
    z, t, u, valid, c, tables, field, moments, histogram, upstream, map_gradient, coefficients, image, pixel, inside,
    images, pixels, CLASSES: tl.constexpr, SCALE: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr,
    SMOOTHINGS: tl.constexpr, HAS_I: tl.constexpr, HAS_P: tl.constexpr, HAS_Q: tl.constexpr, HAS_D: tl.constexpr,
    KIND: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """dL/d(logits) of channels c at pixels."""
    p, q, log_p, log_q = probabilities(z)
    result = p * q * region_slope(p, t, tables, field, c, CLASSES, HAS_I, HAS_P, HAS_Q, HAS_D)
    if KIND != NO_ERRORS:
        error = margin_error(z, t)
        slope = error_slope(moments, histogram, c, t > 0.0, error, inside, MARGIN, BINS)
        result += tl.where(error > 0.0, -(2.0 * t - 1.0) * slope, 0.0)
    for j in tl.static_range(LOSSES):
        number = tl.load(upstream + j)
        if map_gradient is not None:
            place = ((j * images + image) * CLASSES + c) * pixels + pixel
            number += tl.load(map_gradient + place, mask=inside, other=0.0)
        smooth = t * (1.0 - SMOOTHINGS[j]) + SMOOTHINGS[j] / 2.0
        known = c < CLASSES
        positive = tl.load(coefficients + 2 * j * CLASSES + c, mask=known, other=0.0) * smooth
        negative = tl.load(coefficients + (2 * j + 1) * CLASSES + c, mask=known, other=0.0) * (1.0 - smooth)
        slope = select(positive, focal_slope(log_p, GAMMAS[j])) * q
        slope -= select(negative, focal_slope(log_q, GAMMAS[j])) * p
        result += number * slope
    return tl.where(valid, result * u * SCALE, 0.0)


@triton.jit(do_not_specialize=["images", "blocks"])
def sigmoid_forward(
    logits, target, weight, coefficients, bias, partials, maps, words, weights, scales,
    images, pixels, blocks, logits_image, logits_class, logits_pixel, target_image, target_class, target_pixel,
    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
    CLASSES: tl.constexpr, BLOCK: tl.constexpr, IGNORE: tl.constexpr, BACKGROUND: tl.constexpr,
    FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr, AXES: tl.constexpr, ALIGN: tl.constexpr,
    LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr, SLOTS: tl.constexpr, ROW_I: tl.constexpr,
    ROW_P: tl.constexpr, ROW_Q: tl.constexpr, ROW_T: tl.constexpr, ROW_U: tl.constexpr, ROW_D: tl.constexpr,
    ROW_LOW: tl.constexpr, ROW_TRUTH: tl.constexpr, KIND: tl.constexpr, BINS: tl.constexpr,
    BINS_PER_IMAGE: tl.constexpr, SHIFT: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK pixels of one channel of one image.

    Its sums go to ``partials`` (programs, SLOTS): elements that a look at the values refuses, Σ u, the pixel losses, and
    numbers whose places are the constants ROW_* (−1: not wanted).
    """
    HEAD: tl.constexpr = 2 + LOSSES
    program = tl.program_id(0)
    channel = program // blocks
    image = (channel // CLASSES).to(tl.int64)
    c = channel % CLASSES
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    t, u, valid, wrong = read_elements(
        target, weight, image, c, pixel, inside, target_image, target_class, target_pixel, pixels,
        IGNORE, BACKGROUND, FOREGROUND,
    )  # fmt: skip
    partials += program.to(tl.int64) * SLOTS
    sums = partials + HEAD
    if KIND != NO_ERRORS:
        wrong = wrong | ((t != 0.0) & (t != 1.0))
    # Also where nobody asks: otherwise the calls that look at values would need another kernel than those after them, which
    # would be compiled while a graph is captured.
    tl.store(partials, tl.sum(tl.where(wrong, 1.0, 0.0)))
    start, samples = samples_at(
        pixel, image, logits_image, logits_pixel, low_depth, low_height, low_width, depth, height, width,
        stride_depth, stride_height, stride_width, AXES, ALIGN,
    )  # fmt: skip
    counted = tl.where(valid, 0, -1)
    z = read_logits(logits, bias, start, samples, c, inside, counted, CLASSES, logits_class, AXES, SCALE, BIAS_ROWS)
    p, _q, log_p, log_q = probabilities(z)
    tl.store(partials + 1, tl.sum(u))
    for j in tl.static_range(LOSSES):
        smooth = t * (1.0 - SMOOTHINGS[j]) + SMOOTHINGS[j] / 2.0
        positive = tl.load(coefficients + 2 * j * CLASSES + c) * smooth
        negative = tl.load(coefficients + (2 * j + 1) * CLASSES + c) * (1.0 - smooth)
        value = select(positive, focal_value(log_p, GAMMAS[j])) + select(negative, focal_value(log_q, GAMMAS[j]))
        value = tl.where(valid, u * value, 0.0)
        tl.store(partials + 2 + j, tl.sum(value))
        if maps is not None:
            tl.store(maps + ((j * images + image) * CLASSES + c) * pixels + pixel, value, mask=inside)
    up = u * p
    if ROW_I >= 0:
        tl.store(sums + ROW_I, tl.sum(up * t))
    if ROW_P >= 0:
        tl.store(sums + ROW_P, tl.sum(up))
    if ROW_Q >= 0:
        tl.store(sums + ROW_Q, tl.sum(up * p))
    if ROW_T >= 0:
        tl.store(sums + ROW_T, tl.sum(u * t))
    if ROW_U >= 0:
        tl.store(sums + ROW_U, tl.sum(u * t * t))
    if ROW_D >= 0:
        tl.store(sums + ROW_D, tl.sum(u * tl.abs(p - t)))
    hit = t > 0.0
    if KIND != NO_ERRORS:
        error = margin_error(z, t)
        position, place = bin_of(error, MARGIN, BINS)
        histogram = channel if BINS_PER_IMAGE else c
        cell = (histogram.to(tl.int64) * 2 + hit.to(tl.int64)) * BINS
        count_errors(words, weights, scales, cell, error, position, place, u, valid, MARGIN, BINS, SHIFT, UNIT)
        moment = tl.where(valid, u * error, 0.0)
        low, high = tl.where(place == 0, moment, 0.0), tl.where(place == BINS - 1, moment, 0.0)
        tl.store(sums + ROW_LOW, tl.sum(tl.where(hit, 0.0, low)))
        tl.store(sums + ROW_LOW + 1, tl.sum(tl.where(hit, low, 0.0)))
        tl.store(sums + ROW_LOW + 2, tl.sum(tl.where(hit, 0.0, high)))
        tl.store(sums + ROW_LOW + 3, tl.sum(tl.where(hit, high, 0.0)))
        # The weight of the positives, which with soft targets that nobody looked at is not Σ u t.
        tl.store(sums + ROW_LOW + 4, tl.sum(tl.where(hit, u, 0.0)))
    if ROW_TRUTH >= 0:
        truth, guess = t > 0.5, z > 0.0
        tl.store(sums + ROW_TRUTH, tl.sum(tl.where(valid & ~truth & ~guess, 1.0, 0.0)))
        tl.store(sums + ROW_TRUTH + 1, tl.sum(tl.where(valid & ~truth & guess, 1.0, 0.0)))
        tl.store(sums + ROW_TRUTH + 2, tl.sum(tl.where(valid & truth & ~guess, 1.0, 0.0)))
        tl.store(sums + ROW_TRUTH + 3, tl.sum(tl.where(valid & truth & guess, 1.0, 0.0)))


@triton.jit(do_not_specialize=["images", "blocks"])
def sigmoid_backward(
    logits, target, weight, coefficients, bias, upstream, tables, moments, map_gradient, gradient,
    images, pixels, blocks, logits_image, logits_class, logits_pixel, target_image, target_class, target_pixel,
    gradient_image, gradient_class, gradient_pixel,
    CLASSES: tl.constexpr, BLOCK: tl.constexpr, IGNORE: tl.constexpr, BACKGROUND: tl.constexpr,
    FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr, LOSSES: tl.constexpr,
    GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_I: tl.constexpr,
    HAS_P: tl.constexpr, HAS_Q: tl.constexpr, HAS_D: tl.constexpr, KIND: tl.constexpr, BINS: tl.constexpr,
    BINS_PER_IMAGE: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK pixels of one channel of one image."""
    program = tl.program_id(0)
    channel = program // blocks
    image = (channel // CLASSES).to(tl.int64)
    c = channel % CLASSES
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    t, u, valid, _wrong = read_elements(
        target, weight, image, c, pixel, inside, target_image, target_class, target_pixel, pixels,
        IGNORE, BACKGROUND, FOREGROUND,
    )  # fmt: skip
    start = image * logits_image + pixel.to(tl.int64) * logits_pixel
    counted = tl.where(valid, 0, -1)
    z = read_logits(logits, bias, start, (pixel,), c, inside, counted, CLASSES, logits_class, 0, SCALE, BIAS_ROWS)
    table_row, field, histogram = rows_of_image(tables, image, images, CLASSES, PER_IMAGE, BINS, BINS_PER_IMAGE)
    dz = element_gradient(
        z, t, u, valid, c, table_row, field, moments, histogram, upstream, map_gradient, coefficients, image, pixel,
        inside, images, pixels, CLASSES, SCALE, LOSSES, GAMMAS, SMOOTHINGS, HAS_I, HAS_P, HAS_Q, HAS_D, KIND, BINS,
    )  # fmt: skip
    place = gradient + image * gradient_image + c.to(tl.int64) * gradient_class
    tl.store(place + pixel.to(tl.int64) * gradient_pixel, dz.to(gradient.dtype.element_ty), mask=inside)
