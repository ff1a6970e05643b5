"""Functions of one number, written out so that they round alike on a GPU and in Triton's interpreter."""

import triton.language as tl

import triton


@triton.jit
def expm1_of_negative(x):
    """exp(x) − 1 for x ≤ 0, exact to rounding near 0, where exp(x) − 1 would lose its digits."""
    near = x > -0.35
    y = tl.where(near, x, 0.0)
    # Taylor; the first term left out is below 1e-9 of the sum.
    tail = y * (1 / 720 + y * (1 / 5040 + y * (1 / 40320)))
    series = y * (1.0 + y * (0.5 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + tail)))))
    return tl.where(near, series, tl.exp(x) - 1.0)


@triton.jit
def log1p_of_unit(x):
    """log(1 + x) for 0 ≤ x ≤ 1 as 2 artanh(x / (2 + x)), exact to rounding near 0."""
    s = x / (2.0 + x)
    q = s * s
    tail = q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * (1 / 15))))
    return 2.0 * s * (1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + tail))))


@triton.jit
def power(base, EXPONENT: tl.constexpr):
    """base ** EXPONENT for base ≥ 0 and EXPONENT > 0."""
    if EXPONENT == 1.0:
        result = base
    elif EXPONENT == 2.0:
        result = base * base
    elif EXPONENT == 3.0:
        result = base * base * base
    else:
        result = tl.exp2(EXPONENT * tl.log2(base))
    return result


@triton.jit
def select(factor, value):
    """factor · value, and 0 where the factor is 0 even if the value is infinite."""
    return tl.where(factor == 0.0, 0.0, factor * value)


@triton.jit
def at_most_0(log_p):
    """log p where p is at most 1; NaN stays.

    A normalizer of the forward pass may round to less than the logit that is computed again here: 1 − p would be negative,
    and its broken power NaN.
    """
    return tl.where(log_p > 0.0, 0.0, log_p)


@triton.jit
def focal_value(log_p, GAMMA: tl.constexpr):
    """v = −(1 − p)^γ log p; γ = 0 is cross-entropy. See formulas/pixel.py."""
    if GAMMA == 0.0:
        value = -log_p
    else:
        log_p = at_most_0(log_p)
        value = -power(-expm1_of_negative(log_p), GAMMA) * log_p
    return value


@triton.jit
def focal_slope(log_p, GAMMA: tl.constexpr):
    """v′ = (1 − p)^γ (γ p log p / (1 − p) − 1), finite for every γ ≥ 0."""
    if GAMMA == 0.0:
        slope = tl.zeros_like(log_p) - 1.0
    else:
        log_p = at_most_0(log_p)
        error = -expm1_of_negative(log_p)
        p = tl.exp(log_p)
        ratio = tl.where(error > 0.0, log_p / tl.where(error > 0.0, error, 1.0), -1.0)
        slope = power(error, GAMMA) * (tl.where(p > 0.0, GAMMA * p * ratio, 0.0) - 1.0)
    return slope
