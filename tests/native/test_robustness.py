"""Bad, odd and empty input never ends the process: hostile cases in a process of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import segcrit
from segcrit.core.errors import SegcritError
from segcrit.engines.cpu import native

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

TEXTS = {
    "multiclass": (
        "ce + dice + lovasz",
        "focal + jaccard(per_image=True)",
        "ce(label_smoothing=0.1)",
        "lovasz(bins=17)",
    ),
    "multilabel": ("bce + dice + lovasz", "focal"),
    "binary": ("bce + lovasz(bins=16)", "dice(squared=True)"),
}
ODD = (float("nan"), float("inf"), -float("inf"), 3.4e38, -3.4e38, 1e-45, 65504.0)


def hostile_views(choice: random.Random, tensor: Tensor) -> Tensor:
    """Overlapping, broadcast, unaligned or empty."""
    kind = choice.choice(("plain", "expanded", "overlapping", "unaligned", "empty", "flipped"))
    if kind == "expanded":
        dimension = choice.randrange(tensor.ndim)
        return tensor.narrow(dimension, 0, 1).expand(tensor.shape)
    if kind == "overlapping":
        strides = [choice.choice((0, 1, 2)) for _ in tensor.shape]
        reach = sum(s * (length - 1) for s, length in zip(strides, tensor.shape, strict=True)) + 1
        return tensor.reshape(-1)[:reach].as_strided(tensor.shape, strides) if reach <= tensor.numel() else tensor
    if kind == "unaligned":
        # One byte further than any element would lie.
        raw = bytearray(tensor.numel() * tensor.element_size() + 1)
        torch.frombuffer(raw, dtype=torch.uint8)[1:].copy_(tensor.reshape(-1).view(torch.uint8))
        return torch.frombuffer(raw, dtype=tensor.dtype, offset=1, count=tensor.numel()).view(tensor.shape)
    if kind == "empty" and choice.random() < 0.3:
        return tensor.narrow(choice.randrange(tensor.ndim), 0, 0)
    return tensor.flip(-1) if kind == "flipped" else tensor


def hostile(seed: int) -> None:
    """One case; an exception of segcrit is as good as a number."""
    choice, numbers = random.Random(seed), torch.Generator().manual_seed(seed)
    task = choice.choice(tuple(TEXTS))
    classes = {"multiclass": choice.choice((2, 5, 300)), "multilabel": 3, "binary": 1}[task]
    size = tuple(choice.randint(1, 30) for _ in range(choice.choice((0, 1, 2, 2, 3)) if classes < 300 else 1))
    dtype = choice.choice((torch.float32, torch.float64, torch.bfloat16, torch.float16))
    low = tuple(max(1, length // choice.choice((1, 2, 3))) for length in size)
    logits = torch.randn(2, classes, *low, generator=numbers).to(dtype)
    for _ in range(choice.choice((0, 0, 1, 5))):
        logits.view(-1)[choice.randrange(logits.numel())] = choice.choice(ODD)
    shape = (2, *size) if task == "multiclass" else (2, classes, *size)
    kind = choice.choice((torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64))
    target = torch.randint(classes if task == "multiclass" else 2, shape, generator=numbers).to(kind)
    for _ in range(choice.choice((0, 0, 1, 3))):
        info = torch.finfo(kind) if kind.is_floating_point else torch.iinfo(kind)
        bad = choice.choice((info.min, info.max, -1, 255, classes, float("nan") if kind.is_floating_point else 77))
        target.view(-1)[choice.randrange(target.numel())] = max(info.min, min(info.max, bad)) if bad == bad else bad
    weight = None
    if choice.random() < 0.3:
        weight = torch.rand(2, *size, generator=numbers)
        weight.view(-1)[0] = choice.choice((0.0, 1e-45, 3.4e38, *ODD[:3]))
    options: dict[str, Any] = {"ignore_index": choice.choice((-100, -1, 1, 255, 2**63 - 1, -(2**63)))}
    options |= {"upsample": "linear", "align_corners": choice.random() < 0.5, "statistics": True}
    criterion = segcrit.Criterion(
        choice.choice(TEXTS[task]), task=task, backend="cpu", validate=choice.choice(("always", "never")), **options
    )
    logits, target = hostile_views(choice, logits), hostile_views(choice, target)
    evaluator = segcrit.Evaluator(max(2, classes), task=task, upsample="linear")
    for action in (
        lambda: criterion(logits.detach().requires_grad_(), target, weight).backward(),
        lambda: evaluator.update(logits, target),
    ):
        try:
            action()
        except SegcritError:
            pass
        except RuntimeError as error:
            # PyTorch refuses to differentiate into views that overlap: a message, not a crash.
            if "overlap" not in str(error) and "single memory location" not in str(error):
                raise


@pytest.mark.parametrize("instructions", ["", "baseline"])
def test_hostile_input_does_not_end_the_process(instructions: str) -> None:
    environment = os.environ | ({"SEGCRIT_INSTRUCTION_SET": instructions} if instructions else {})
    command = [sys.executable, "-m", "tests.native.test_robustness", "0", "150"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stdout[-300:]}{done.stderr[-3000:]}"
    assert done.stdout.split()[-1] == "149"


def main() -> None:
    """``python -m tests.native.test_robustness FIRST COUNT``: the last number printed is the case that was begun last."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    first, count = (int(argument) for argument in sys.argv[1:])
    for seed in range(first, first + count):
        print(seed, flush=True)
        hostile(seed)


if __name__ == "__main__":
    main()
