"""More than 2^31 elements: offsets and counts in 64 bits. Run with SEGCRIT_TEST_LARGE=1; a minute, little memory.

Memory that is only read takes no room: pages never written to are all the same page of zeros.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import segcrit
from segcrit.engines.cpu import native

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1]),
    pytest.mark.skipif(
        os.environ.get("SEGCRIT_TEST_LARGE") != "1" or sys.platform == "win32", reason="SEGCRIT_TEST_LARGE=1 runs it"
    ),
]

CLASSES, PIXELS = 3, (1 << 30) + 12_345


def zeros(*shape: int, dtype: type = np.uint8) -> torch.Tensor:
    """Zeros that take memory only where they are written to."""
    return torch.from_numpy(np.zeros(shape, dtype))


@pytest.mark.parametrize("last", ["classes", "pixels"])
def test_pixels_beyond_2_to_the_31_are_found(last: str) -> None:
    """All is ignored but a few pixels at the far end, whose offsets do not fit into 32 bits."""
    shape = (1, CLASSES, PIXELS) if last == "pixels" else (1, PIXELS, CLASSES)
    logits = zeros(*shape, dtype=np.float16)
    if last == "classes":
        logits = logits.transpose(1, 2)
    assert logits.numel() > 1 << 31
    labels = zeros(1, PIXELS)
    random = torch.Generator().manual_seed(0)
    values = torch.randn(1, CLASSES, 700, generator=random).half()
    classes = torch.randint(1, CLASSES, (1, 700), generator=random)
    logits[..., -700:], labels[..., -700:] = values, classes.to(torch.uint8)
    criterion = segcrit.Criterion("ce + dice", ignore_index=0, backend="cpu", statistics=True)
    with torch.no_grad():
        found = criterion(logits, labels)
        wanted = segcrit.Criterion("ce + dice", ignore_index=0, backend="reference")(values, classes)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    entropy = float(F.cross_entropy(values.double(), classes))
    assert float(criterion.last_terms["ce"]) == pytest.approx(entropy, rel=1e-5)
    assert int(criterion.last_confusion.sum()) == 700
    counts = segcrit.Evaluator(CLASSES, ignore_index=0).update(logits, labels).compute().confusion
    assert np.array_equal(counts, criterion.last_confusion.numpy())


def test_a_batch_of_more_than_2_to_the_31_elements() -> None:
    """One image many times, by a stride of 0: the mean is that of the image, the counts are so many times its own."""
    images = 4000
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 5, 330, 330, generator=random)
    labels = torch.randint(5, (1, 330, 330), generator=random).to(torch.uint8)
    many = logits.expand(images, -1, -1, -1)
    assert many.numel() > 1 << 31
    criterion = segcrit.Criterion("ce + dice + lovasz", backend="cpu", statistics=True)
    with torch.no_grad():
        one = criterion(logits, labels)
        counts = criterion.last_confusion.clone()
        found = criterion(many, labels.expand(images, -1, -1))
    torch.testing.assert_close(found, one, rtol=1e-6, atol=0)
    assert torch.equal(criterion.last_confusion, images * counts)
