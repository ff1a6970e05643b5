"""Errors of the ranking losses, their bins, and histograms of them that do not depend on any order of addition.

A histogram holds 64-bit whole numbers. Without weights, errors in [0, 1] are counted in one word: the count above SHIFT
bits, below it the distance to the lower edge in units of 2⁻ᵘ bins. Otherwise there are two words, weight and weight · error,
in fixed point with a scale that the device computes. The bottom bin, where nearly all errors of a trained network lie, is
not counted but derived: its weight is the total less all others, its moment an ordinary sum.
"""

import triton.language as tl

import triton

NO_ERRORS = tl.constexpr(0)
PROBABILITY = tl.constexpr(1)
MARGIN = tl.constexpr(2)


@triton.jit
def bin_of(error, KIND: tl.constexpr, BINS: tl.constexpr):
    """(position, bin) of errors, the rule of engines/binning.py; NaN goes to the last bin."""
    if KIND == PROBABILITY:
        position = error * BINS
    else:
        # x = 1 + error ≥ 1: the exponent's bits are the octave, the others the mantissa in [1, 2).
        x = error + 1.0
        bits = x.to(tl.int32, bitcast=True)
        octave = (bits >> 23) - 127
        mantissa = ((bits & 0x007FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)
        position = (octave.to(tl.float32) + mantissa - 1.0) * (BINS / 8)
        position = tl.where(error == error, position, error)
    inside = tl.where(position < BINS - 1, position, BINS - 1)
    return position, inside.to(tl.int32)


@triton.jit
def count_errors(
    words, weights, scales, cell, error, position, place, u, counted,
    KIND: tl.constexpr, BINS: tl.constexpr, SHIFT: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """Add errors to the histogram; ``cell`` is the index of bin 0 of the class and label, ``counted`` a mask."""
    mask = counted & (place > 0) & (error == error) & (u == u)
    index = cell + place
    if SHIFT > 0:
        units = ((position - place.to(tl.float32)) * UNIT + 0.5).to(tl.int64)
        one = tl.full((), 1, tl.int64) << SHIFT
        tl.atomic_add(words + index, one + units, mask=mask, sem="relaxed")
    else:
        tl.atomic_add(weights + index, (u * tl.load(scales) + 0.5).to(tl.int64), mask=mask, sem="relaxed")
        if KIND == MARGIN:
            # Errors of the last bin have no bound; their sum is an ordinary one.
            mask = mask & (place < BINS - 1)
        moment = tl.where(mask, u * error, 0.0) * tl.load(scales + 1)
        tl.atomic_add(words + index, (moment + 0.5).to(tl.int64), mask=mask, sem="relaxed")


@triton.jit
def write_histograms(
    counts, moments, words, weights, scales, totals, lows, highs,
    KIND: tl.constexpr, BINS: tl.constexpr, SHIFT: tl.constexpr, UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Weights and moments (rows, BINS) in float64 from whole numbers; one program a row."""
    row = tl.program_id(0).to(tl.int64)
    first = row * BINS
    above = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, BINS, BLOCK):
        place = start + tl.arange(0, BLOCK)
        mask = place < BINS
        word = tl.load(words + first + place, mask=mask, other=0)
        if SHIFT > 0:
            count = (word >> SHIFT).to(tl.float64)
            units = (word & ((tl.full((), 1, tl.int64) << SHIFT) - 1)).to(tl.float64)
            moment = (count * place.to(tl.float64) + units / UNIT) / BINS
        else:
            weight = tl.load(weights + first + place, mask=mask, other=0)
            count = weight.to(tl.float64) / tl.load(scales).to(tl.float64)
            moment = word.to(tl.float64) / tl.load(scales + 1).to(tl.float64)
        above += tl.where(mask, count, 0.0)
        if KIND == MARGIN:
            moment = tl.where(place == BINS - 1, tl.load(highs + row), moment)
        bottom = place == 0
        tl.store(counts + first + place, count, mask=mask & ~bottom)
        tl.store(moments + first + place, tl.where(bottom, tl.load(lows + row), moment), mask=mask)
    tl.store(counts + first, tl.maximum(tl.load(totals + row) - tl.sum(above), 0.0))
