"""What the target and the weights say of a run of pixels: the ignore rule of ``_masking.py`` in Triton."""

import triton.language as tl

import triton

# Forms of the target, as the host numbers them.
LABELS = tl.constexpr(0)
ONE_HOT = tl.constexpr(1)
SHARES = tl.constexpr(2)

# Sums of a soft target's row may differ from 1 by rounding: half precision keeps about three digits.
ROW_TOLERANCE = tl.constexpr(1e-2)


@triton.jit
def read_pixels(
    target, weight, image, pixel, inside, target_image, target_class, target_pixel, pixels,
    CLASSES: tl.constexpr, FORM: tl.constexpr, IGNORE: tl.constexpr,
    BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr,
):  # fmt: skip
    """Labels and weights of pixels (BLOCK,).

    Returns (label, u, wrong, filled): the label, −1 where the pixel does not count (of shares the largest one's); its
    weight, 0 where it does not count and NaN where the target is no class; where a look at the values would raise; and
    ignored pixels that are read as background.
    """
    start = target + image * target_image + pixel.to(tl.int64) * target_pixel
    # Of a class; 64-bit, for a volume has more classes times pixels than 32 bits count.
    offset = image * 0
    label = tl.zeros_like(pixel)
    if FORM == LABELS:
        value = tl.load(start, mask=inside, other=0)
        if value.dtype.is_floating():
            if value.dtype.primitive_bitwidth < 32:
                value = value.to(tl.float32)
            known = (value >= 0) & (value < CLASSES) & (tl.floor(value) == value)
            ignored = value == IGNORE
        else:
            value = value.to(tl.int64)
            known = (value >= 0) & (value < CLASSES)
            ignored = value == IGNORE
        label = tl.where(known, value, 0).to(tl.int32)
    elif FORM == ONE_HOT:
        ones = tl.zeros_like(pixel)
        others = tl.zeros_like(pixel)
        for c in range(CLASSES):
            value = tl.load(start + offset, mask=inside, other=0)
            offset += target_class
            one = value == 1
            label = tl.where(one, c, label)
            ones += one.to(tl.int32)
            others += ((value != 0) & (value != 1)).to(tl.int32)
        ignored = (ones == 0) & (others == 0)
        known = (ones == 1) & (others == 0)
    else:
        total = tl.zeros_like(pixel).to(tl.float32)
        highest = total
        some = pixel < 0
        outside = pixel < 0
        for c in range(CLASSES):
            share = tl.load(start + offset, mask=inside, other=0).to(tl.float32)
            offset += target_class
            total += share
            some = some | (share != 0)
            outside = outside | ~((share >= 0) & (share <= 1 + ROW_TOLERANCE))
            label = tl.where(share > highest, c, label)
            highest = tl.where(share > highest, share, highest)
        ignored = ~some
        known = ~outside & (tl.abs(total - 1) <= ROW_TOLERANCE)
    return _count(label, known, ignored, weight, image, pixel, inside, pixels, BACKGROUND, FOREGROUND)


@triton.jit
def _count(
    label, known, ignored, weight, image, pixel, inside, pixels, BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr
):
    bad = inside & ~known & ~ignored
    filled = inside & ignored
    if BACKGROUND:
        valid = inside
        label = tl.where(ignored, 0, label)
    else:
        valid = inside & ~ignored
    if FOREGROUND:
        valid = valid & ((label != 0) | bad)
    valid, u, wrong = weigh(valid, bad, weight, image, pixel, inside, pixels)
    return tl.where(valid, label, -1), u, wrong, filled


@triton.jit
def weigh(valid, bad, weight, image, pixel, inside, pixels):
    """Apply the weights (N, P): (valid, u, wrong)."""
    wrong = bad
    u = tl.where(valid, 1.0, 0.0)
    if weight is not None:
        given = tl.load(weight + image * pixels + pixel, mask=inside, other=0.0)
        wrong = wrong | (inside & ~((given >= 0.0) & (given < float("inf"))))
        # A weight that is NaN and was not looked at must not vanish.
        valid = valid & ((given > 0.0) | (given != given))
        u = tl.where(valid, given, 0.0)
    return valid, tl.where(bad & valid, float("nan"), u), wrong


@triton.jit
def share_of(
    target, image, pixel, inside, label, filled, c, target_image, target_class, target_pixel,
    CLASSES: tl.constexpr, FORM: tl.constexpr,
):  # fmt: skip
    """t of classes c (CHUNK, 1) at pixels (1, BLOCK): (CHUNK, BLOCK), 0 where a pixel does not count."""
    if FORM == SHARES:
        place = target + image * target_image + c.to(tl.int64) * target_class + pixel.to(tl.int64) * target_pixel
        t = tl.load(place, mask=inside & (c < CLASSES), other=0).to(tl.float32)
        t = tl.where(filled & (c == 0), 1.0, t)
        t = tl.where(label >= 0, t, 0.0)
    else:
        t = tl.where(label == c, 1.0, 0.0)
    return t


@triton.jit
def read_elements(
    target, weight, image, c, pixel, inside, target_image, target_class, target_pixel, pixels,
    IGNORE: tl.constexpr, BACKGROUND: tl.constexpr, FOREGROUND: tl.constexpr,
):  # fmt: skip
    """Elements of channels c at pixels, in sigmoid tasks: (t, u, valid, wrong)."""
    place = target + image * target_image + c.to(tl.int64) * target_class + pixel.to(tl.int64) * target_pixel
    value = tl.load(place, mask=inside, other=0)
    if value.dtype.is_floating():
        if value.dtype.primitive_bitwidth < 32:
            value = value.to(tl.float32)
        ignored = value == IGNORE
    else:
        value = value.to(tl.int64)
        ignored = value == IGNORE
    t = value.to(tl.float32)
    bad = inside & ~ignored & ~((t >= 0.0) & (t <= 1.0))
    if BACKGROUND:
        t = tl.where(ignored, 0.0, t)
        valid = inside
    else:
        valid = inside & ~ignored
    if FOREGROUND:
        valid = valid & ((t > 0.0) | bad)
    valid, u, wrong = weigh(valid, bad, weight, image, pixel, inside, pixels)
    return tl.where(valid, t, 0.0), u, valid, wrong
