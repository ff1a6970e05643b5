"""Sizes: which ones the kernels take, and that those of a training run do not compile them again."""

from __future__ import annotations

import pytest
import torch

from segcrit.engines.request import Request, Sweep
from segcrit.engines.triton.engine import CAPABILITIES
from segcrit.engines.triton.histograms import Words, most_pixels


def _is_taken(low: tuple[int, ...], high: tuple[int, ...], **options: object) -> bool:
    logits, target = torch.empty(1, 2, *low, device="meta"), torch.empty(1, *high, dtype=torch.int64, device="meta")
    request = Request(task="multiclass", upsample=low != high, **options)  # type: ignore[arg-type]
    return CAPABILITIES.has_sweep(Sweep(logits, target, None, torch.ones(1, 2, 2), None), request)


@pytest.mark.parametrize(
    ("low", "high", "taken"),
    [
        ((46340, 46340), (46340, 46340), False),  # of the fractions of a position
        ((32000, 32000), (32000, 32000), True),
        ((2**31 - 1,), (2**31 - 1,), False),
        ((2000, 1000, 2000), (2, 2, 2), False),  # more samples than 32 bits count, fewer pixels
        ((2, 2, 2), (2000, 1000, 2000), False),
        ((1000, 1000, 2000), (2, 2, 2), True),
    ],
)
def test_pixels_and_samples_that_32_bits_count(low: tuple[int, ...], high: tuple[int, ...], taken: bool) -> None:
    assert _is_taken(low, high) == taken


def _words(pixels: int) -> Words:
    request = Request(task="multiclass", errors="probability", bins=16)
    return Words.make((1, 2, 2, 16), pixels, request, None, torch.device("cpu"))


def test_histograms_of_a_smaller_last_batch_need_no_other_kernel() -> None:
    layouts = {(_words(pixels).shift, _words(pixels).unit) for pixels in (1, 1000, 16 * 512 * 512, 3 * 512 * 512)}
    assert len(layouts) == 1


@pytest.mark.parametrize("pixels", [1, 2**20, 2**24 - 1, 2**24, 2**26, most_pixels()])
def test_words_hold_the_errors_of_all_pixels(pixels: int) -> None:
    words = _words(pixels)
    # Each error counts once and lies at most a whole bin above the lower edge.
    largest = pixels * ((1 << words.shift) + int(words.unit))
    assert pixels * int(words.unit) < 1 << words.shift, "distances would run over into the count"
    assert largest < 1 << 63
