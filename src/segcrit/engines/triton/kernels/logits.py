"""Logits of classes at pixels: read, or interpolated from a lower resolution, and transformed to z′ = s z + b."""

import triton.language as tl

import triton


@triton.jit
def along_axis(place, low, high, ALIGN: tl.constexpr):
    """Samples and weights of output positions along one axis, the rule of engines/interpolation.py in whole numbers.

    Returns (first, second, weight of first, weight of second); a position that falls on a sample reads it twice with half
    its weight, so that no neighbour is read that may be infinite.
    """
    if ALIGN:
        above = place * (low - 1)
        below = tl.maximum(high - 1, 1)
    else:
        above = tl.maximum((2 * place + 1) * low - high, 0)
        below = 2 * high
    first = tl.minimum(above // below, low - 1)
    second = tl.minimum(first + 1, low - 1)
    rest = above - first * below
    exact = (rest == 0) | (first == second)
    share = tl.where(exact, 0.5, rest.to(tl.float32) / below)
    return first, tl.where(exact, first, second), 1.0 - share, share


@triton.jit
def place_samples(x, y, z, low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height,
                  stride_width, AXES: tl.constexpr, ALIGN: tl.constexpr):  # fmt: skip
    """Offsets and weights of the samples that output positions are interpolated from: for width, height and depth two
    offsets and two weights; those of axes beyond AXES are not read."""
    first, second, x_near, x_far = along_axis(x, low_width, width, ALIGN)
    x_first = first.to(tl.int64) * stride_width
    x_second = second.to(tl.int64) * stride_width
    y_first, y_second, y_near, y_far = x_first, x_second, x_near, x_far
    z_first, z_second, z_near, z_far = x_first, x_second, x_near, x_far
    if AXES >= 2:
        first, second, y_near, y_far = along_axis(y, low_height, height, ALIGN)
        y_first = first.to(tl.int64) * stride_height
        y_second = second.to(tl.int64) * stride_height
    if AXES == 3:
        first, second, z_near, z_far = along_axis(z, low_depth, depth, ALIGN)
        z_first = first.to(tl.int64) * stride_depth
        z_second = second.to(tl.int64) * stride_depth
    return (x_first, x_second, x_near, x_far, y_first, y_second, y_near, y_far, z_first, z_second, z_near, z_far)


@triton.jit
def samples_of_pixels(pixel, low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height,
                      stride_width, AXES: tl.constexpr, ALIGN: tl.constexpr):  # fmt: skip
    """The same for pixels of an image by their index."""
    x = pixel % width
    y = (pixel // width) % height
    z = pixel // (width * height)
    return place_samples(
        x, y, z, low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
        AXES, ALIGN,
    )  # fmt: skip


@triton.jit
def samples_at(pixel, image, logits_image, logits_pixel, low_depth, low_height, low_width, depth, height, width,
               stride_depth, stride_height, stride_width, AXES: tl.constexpr, ALIGN: tl.constexpr):  # fmt: skip
    """(start, samples) of pixels by their index, as read_logits takes them, with and without interpolation."""
    if AXES == 0:
        start = image * logits_image + pixel.to(tl.int64) * logits_pixel
        samples = (pixel,)
    else:
        start = image * logits_image
        samples = samples_of_pixels(
            pixel, low_depth, low_height, low_width, depth, height, width, stride_depth, stride_height, stride_width,
            AXES, ALIGN,
        )  # fmt: skip
    return start, samples


@triton.jit
def _row(start, samples, mask):
    near = tl.load(start + samples[0], mask=mask, other=0.0).to(tl.float32)
    far = tl.load(start + samples[1], mask=mask, other=0.0).to(tl.float32)
    return samples[2] * near + samples[3] * far


@triton.jit
def _plane(start, samples, mask):
    return samples[6] * _row(start + samples[4], samples, mask) + samples[7] * _row(start + samples[5], samples, mask)


@triton.jit
def read_logits(
    logits, bias, start, samples, c, inside, label, CLASSES: tl.constexpr, class_stride,
    AXES: tl.constexpr, SCALE: tl.constexpr, BIAS_ROWS: tl.constexpr,
):  # fmt: skip
    """z′ of classes c at pixels, 0 before the transform where the pixel does not count, −∞ for classes that do not exist.

    ``start`` is the offset of the image and, without interpolation, of the pixels. The mask is that of the tensor's end
    only, not that of the target: a load whose mask depends on data does not vectorise.
    """
    place = logits + start + c.to(tl.int64) * class_stride
    mask = inside & (c < CLASSES)
    if AXES == 0:
        z = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    elif AXES == 1:
        z = _row(place, samples, mask)
    elif AXES == 2:
        z = _plane(place, samples, mask)
    else:
        z = samples[10] * _plane(place + samples[8], samples, mask)
        z += samples[11] * _plane(place + samples[9], samples, mask)
    z = tl.where(label >= 0, z, 0.0)
    if SCALE != 1.0:
        z = z * SCALE
    if BIAS_ROWS == 1:
        z += tl.load(bias + c, mask=c < CLASSES, other=0.0)
    elif BIAS_ROWS > 1:
        z += tl.load(bias + label * CLASSES + c, mask=(label >= 0) & (c < CLASSES), other=0.0)
    return tl.where(c < CLASSES, z, float("-inf"))
