"""The gradient of interpolated logits: each sample of low resolution gathers from the pixels that read it.

A gather adds in a fixed order, where the usual scatter needs float atomics. The pixels that read a sample lie in a window
around it; the softmax or sigmoid of each is recomputed there.
"""

import triton.language as tl

import triton
from segcrit.engines.triton.kernels.logits import along_axis, place_samples, read_logits
from segcrit.engines.triton.kernels.sigmoid import element_gradient
from segcrit.engines.triton.kernels.softmax_backward import label_slope, rows_of_image, summand
from segcrit.engines.triton.kernels.target import LABELS, SHARES, read_elements, read_pixels, share_of


@triton.jit
def window_start(sample, low, high, ALIGN: tl.constexpr):
    """The first output position along an axis that may read a sample: those after it lie in sample − 1 ≤ x < sample + 1."""
    if ALIGN:
        steps = tl.maximum(low - 1, 1)
        first = tl.maximum(sample - 1, 0) * (high - 1) // steps
    else:
        # x = (i + ½) low / high − ½ ≥ sample − 1, rounded up, with a numerator that is never negative.
        first = (tl.maximum((2 * sample - 1) * high - low, 0) + 2 * low - 1) // (2 * low)
    return first


@triton.jit
def windows_of(sample, low_depth, low_height, low_width, depth, height, width, ALIGN: tl.constexpr):
    """Place (x, y, z) of samples by their index, and the first output position along each axis that may read them."""
    x = sample % low_width
    y = (sample // low_width) % low_height
    z = sample // (low_width * low_height)
    x_first = window_start(x, low_width, width, ALIGN)
    y_first = window_start(y, low_height, height, ALIGN)
    z_first = window_start(z, low_depth, depth, ALIGN)
    return x, y, z, x_first, y_first, z_first


@triton.jit
def read_share(place, sample, low, high, ALIGN: tl.constexpr):
    """Weight with which an output position reads a sample, 0 where it does not or lies outside."""
    first, second, near, far = along_axis(tl.minimum(place, high - 1), low, high, ALIGN)
    weight = tl.where(first == sample, near, 0.0) + tl.where(second == sample, far, 0.0)
    return tl.where(place < high, weight, 0.0)


@triton.jit(do_not_specialize=["images", "blocks"])
def softmax_gather(
    logits, target, shares, weight, coefficients, bias, normalizers, upstream, tables, moments, map_gradient, totals,
    of_labels, gradient, images, pixels, blocks, logits_image, logits_class, target_image, target_class, target_pixel,
    share_image, share_class, share_pixel, gradient_image, gradient_class,
    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
    gradient_depth, gradient_height, gradient_width, window_depth, window_height, window_width,
    CLASSES: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, IGNORE: tl.constexpr, IS_SHARES: tl.constexpr,
    BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr,
    AXES: tl.constexpr, ALIGN: tl.constexpr, LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr,
    GENERAL: tl.constexpr, PER_IMAGE: tl.constexpr, HAS_I: tl.constexpr, HAS_P: tl.constexpr, HAS_Q: tl.constexpr,
    HAS_D: tl.constexpr, KIND: tl.constexpr, BINS: tl.constexpr, BINS_PER_IMAGE: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK samples of one image, CHUNK classes.

    ``target`` holds labels, or what softmax_backward left in ``labels``; ``shares`` the soft target where there is one.
    """
    program = tl.program_id(0)
    chunks: tl.constexpr = (CLASSES + CHUNK - 1) // CHUNK
    # Chunks of one run of samples follow each other: they read the same labels and normalizers.
    c = ((program % chunks) * CHUNK + tl.arange(0, CHUNK))[:, None]
    run = program // chunks
    image = (run // blocks).to(tl.int64)
    sample = (run % blocks) * BLOCK + tl.arange(0, BLOCK)
    known = sample < low_depth * low_height * low_width
    x, y, z, x_first, y_first, z_first = windows_of(
        sample, low_depth, low_height, low_width, depth, height, width, ALIGN
    )
    start = image * logits_image
    count = (image * 0 + images) * pixels
    table_row, field, histogram = rows_of_image(tables, image, images, CLASSES, PER_IMAGE, BINS, BINS_PER_IMAGE)
    result = tl.zeros((CHUNK, BLOCK), tl.float32)
    for dz in range(window_depth):
        z_place = z_first + dz
        z_share = read_share(z_place, z, low_depth, depth, ALIGN)
        for dy in range(window_height):
            y_place = y_first + dy
            y_share = read_share(y_place, y, low_height, height, ALIGN) * z_share
            for dx in range(window_width):
                x_place = x_first + dx
                read = read_share(x_place, x, low_width, width, ALIGN) * y_share
                inside = known & (read > 0.0)
                pixel = tl.where(inside, (z_place * height + y_place) * width + x_place, 0)
                label, u, _wrong, _filled = read_pixels(
                    target, weight, image, pixel, inside, target_image, target_class, target_pixel, pixels,
                    CLASSES, LABELS, IGNORE, BACKGROUND, FOREGROUND,
                )  # fmt: skip
                row = pixel[None, :]
                row_inside, row_label = inside[None, :], label[None, :]
                samples = place_samples(
                    tl.where(inside, x_place, 0)[None, :], tl.where(inside, y_place, 0)[None, :],
                    tl.where(inside, z_place, 0)[None, :], low_depth, low_height, low_width, depth, height, width,
                    stride_depth, stride_height, stride_width, AXES, ALIGN,
                )  # fmt: skip
                value = read_logits(
                    logits, bias, start, samples, c, row_inside, row_label, CLASSES, logits_class, AXES, SCALE,
                    BIAS_ROWS,
                )  # fmt: skip
                largest = tl.load(normalizers + image * pixels + pixel, mask=inside, other=0.0)
                total = tl.load(normalizers + count + image * pixels + pixel, mask=inside, other=1.0)
                of_label = tl.zeros((BLOCK,), tl.float32)
                if not GENERAL:
                    if of_labels is not None:
                        of_label = tl.load(of_labels + image * pixels + pixel, mask=inside, other=0.0)
                    else:
                        of_label = label_slope(
                            of_label, label, upstream, map_gradient, coefficients, image, pixel, inside, images, pixels,
                            CLASSES, LOSSES, GAMMAS,
                        )  # fmt: skip
                e_total = of_label
                if totals is not None:
                    e_total = tl.load(totals + image * pixels + pixel, mask=inside, other=0.0)
                if IS_SHARES:
                    t = share_of(
                        shares, image, row, row_inside, row_label, row_label == 0, c, share_image, share_class,
                        share_pixel, CLASSES, SHARES,
                    )  # fmt: skip
                else:
                    t = tl.where(row_label == c, 1.0, 0.0)
                p, e = summand(
                    value, t, largest[None, :], tl.log(total)[None, :], (1.0 / total)[None, :], row_label,
                    of_label[None, :], c, table_row, field, moments, histogram, upstream, map_gradient, coefficients,
                    image, row, row_inside, images, pixels, CLASSES, LOSSES, GAMMAS, SMOOTHINGS, GENERAL,
                    HAS_I, HAS_P, HAS_Q, HAS_D, KIND, BINS,
                )  # fmt: skip
                slope = u[None, :] * (e - p * e_total[None, :]) * SCALE
                result += tl.where(row_inside & (row_label >= 0), read[None, :] * slope, 0.0)
    place = gradient + image * gradient_image + c.to(tl.int64) * gradient_class
    place += (z.to(tl.int64) * gradient_depth + y.to(tl.int64) * gradient_height + x.to(tl.int64) * gradient_width)[
        None, :
    ]
    tl.store(place, result.to(gradient.dtype.element_ty), mask=known[None, :] & (c < CLASSES))


@triton.jit(do_not_specialize=["images", "blocks"])
def sigmoid_gather(
    logits, target, weight, coefficients, bias, upstream, tables, moments, map_gradient, gradient,
    images, pixels, blocks, logits_image, logits_class, target_image, target_class, target_pixel,
    gradient_image, gradient_class,
    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
    gradient_depth, gradient_height, gradient_width, window_depth, window_height, window_width,
    CLASSES: tl.constexpr, BLOCK: tl.constexpr, IGNORE: tl.constexpr, BACKGROUND: tl.constexpr,
    FOREGROUND: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr, AXES: tl.constexpr, ALIGN: tl.constexpr,
    LOSSES: tl.constexpr, GAMMAS: tl.constexpr, SMOOTHINGS: tl.constexpr, PER_IMAGE: tl.constexpr,
    HAS_I: tl.constexpr, HAS_P: tl.constexpr, HAS_Q: tl.constexpr, HAS_D: tl.constexpr, KIND: tl.constexpr,
    BINS: tl.constexpr, BINS_PER_IMAGE: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK samples of one channel of one image."""
    program = tl.program_id(0)
    channel = program // blocks
    image = (channel // CLASSES).to(tl.int64)
    c = channel % CLASSES
    sample = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    known = sample < low_depth * low_height * low_width
    x, y, z, x_first, y_first, z_first = windows_of(
        sample, low_depth, low_height, low_width, depth, height, width, ALIGN
    )
    table_row, field, histogram = rows_of_image(tables, image, images, CLASSES, PER_IMAGE, BINS, BINS_PER_IMAGE)
    result = tl.zeros((BLOCK,), tl.float32)
    for dz in range(window_depth):
        z_place = z_first + dz
        z_share = read_share(z_place, z, low_depth, depth, ALIGN)
        for dy in range(window_height):
            y_place = y_first + dy
            y_share = read_share(y_place, y, low_height, height, ALIGN) * z_share
            for dx in range(window_width):
                x_place = x_first + dx
                read = read_share(x_place, x, low_width, width, ALIGN) * y_share
                inside = known & (read > 0.0)
                pixel = tl.where(inside, (z_place * height + y_place) * width + x_place, 0)
                t, u, valid, _wrong = read_elements(
                    target, weight, image, c, pixel, inside, target_image, target_class, target_pixel, pixels,
                    IGNORE, BACKGROUND, FOREGROUND,
                )  # fmt: skip
                samples = place_samples(
                    tl.where(inside, x_place, 0), tl.where(inside, y_place, 0), tl.where(inside, z_place, 0),
                    low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
                    AXES, ALIGN,
                )  # fmt: skip
                value = read_logits(
                    logits, bias, image * logits_image, samples, c, inside, tl.where(valid, 0, -1), CLASSES,
                    logits_class, AXES, SCALE, BIAS_ROWS,
                )  # fmt: skip
                slope = element_gradient(
                    value, t, u, valid, c, table_row, field, moments, histogram, upstream, map_gradient, coefficients,
                    image, pixel, inside, images, pixels, CLASSES, SCALE, LOSSES, GAMMAS, SMOOTHINGS,
                    HAS_I, HAS_P, HAS_Q, HAS_D, KIND, BINS,
                )  # fmt: skip
                result += tl.where(inside, read * slope, 0.0)
    place = gradient + image * gradient_image + c.to(tl.int64) * gradient_class
    place += z.to(tl.int64) * gradient_depth + y.to(tl.int64) * gradient_height + x.to(tl.int64) * gradient_width
    tl.store(place, result.to(gradient.dtype.element_ty), mask=known)
