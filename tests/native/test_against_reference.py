"""The native engine against the reference engine: random cases over tasks, dtypes, layouts, labels, weights and views."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

import segcrit
from segcrit.engines import native

pytestmark = pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1])

MULTICLASS = (
    "ce",
    "ce(label_smoothing=0.1, class_weight=[0, 1, 2]) + dice",
    "focal(gamma=0.5)",
    "focal",
    "focal(gamma=1) + lovasz",
    "dice(squared=True) + ce",
    "jaccard(per_image=True)",
    "lovasz",
    "ce + dice + lovasz(bins=64)",
    "tversky(alpha=0.3, beta=0.7) + focal(gamma=3.3)",
    'ce(unlabelled="background")',
    "partial_ce(foreground_only=True) + ce(logit_scale=2)",
)
SIGMOID = (
    "bce",
    "bce(label_smoothing=0.1, pos_weight=3) + dice",
    "focal(alpha=0.25)",
    "lovasz",
    "jaccard(squared=True) + bce",
    'bce(unlabelled="background") + lovasz(bins=128)',
    "dice(per_image=True) + focal(gamma=1.5)",
)
# Relative tolerance of value and gradient: a few roundings of the arithmetic, or one of the logits' dtype in the gradient.
TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@dataclass(frozen=True)
class Case:
    """One random case, drawn from a seed."""

    text: str
    task: str
    logits: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor | None
    ignore_index: int


def draw(seed: int) -> Case:
    """A case that depends on the seed alone."""
    random = torch.Generator().manual_seed(seed)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (), generator=random))]

    task = pick("multiclass", "multilabel", "binary")
    text = pick(*(MULTICLASS if task == "multiclass" else SIGMOID))
    classes = {"multiclass": pick(2, 3, 19, 40, 150), "multilabel": pick(1, 2, 5), "binary": 1}[task]
    if "class_weight" in text:
        classes = 3
    images, height, width = pick(1, 2, 3), pick(6, 17, 40), pick(7, 16, 33)
    dtype = pick(*TOLERANCE)
    logits = (torch.randn(images, classes, height, width, generator=random) * pick(0.1, 3, 30)).to(dtype)
    layout = pick("contiguous", "channels_last", "cropped", "transposed")
    if layout == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    elif layout == "cropped":
        logits = logits[:, :, 1:, 1:]
    elif layout == "transposed":
        logits = logits.transpose(2, 3)
    height, width = logits.shape[2:]
    shape = (images, height, width) if task == "multiclass" else (images, classes, height, width)
    labels = torch.randint(classes if task == "multiclass" else 2, shape, generator=random)
    target = labels.to(pick(torch.int64, torch.uint8, torch.int16, torch.int32))
    if task != "multiclass" and pick(True, False):
        soft = "lovasz" not in text
        target = torch.rand(shape, generator=random) if soft else labels.to(torch.float32)
    ignore_index = pick(-100, 1, 255)
    weight = torch.rand(images, height, width, generator=random) if pick(True, False) else None
    if weight is not None:
        weight[weight < 0.1] = 0.0
    return Case(text, task, logits, target, weight, ignore_index)


def result(case: Case, backend: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Value, gradient and confusion counts."""
    criterion = segcrit.Criterion(
        case.text, task=case.task, ignore_index=case.ignore_index, backend=backend, statistics=True
    )
    logits = case.logits.clone(memory_format=torch.preserve_format).requires_grad_()
    value = criterion(logits, case.target, case.weight)
    # Scaled as by torch's GradScaler: below 6e-5 float16 has fewer digits than its relative tolerance asks for.
    (1.7 * (1024.0 if logits.dtype == torch.float16 else 1.0) * value).backward()
    assert logits.grad is not None
    assert criterion.last_confusion is not None
    return value.detach().double(), logits.grad.double(), criterion.last_confusion


@pytest.mark.parametrize("block", range(12))
def test_random_cases_agree_with_the_reference_engine(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(50 * block, 50 * (block + 1)):
        case = draw(seed)
        value, gradient, confusion = result(case, "reference")
        fast_value, fast_gradient, fast_confusion = result(case, "cpu")
        tolerance = TOLERANCE[case.logits.dtype]
        scale = float(gradient.abs().max()) + 1e-30
        about = f"seed {seed}: {case.text} in {case.task}, {case.logits.dtype}, {tuple(case.logits.shape)}"
        assert abs(float(value - fast_value)) <= tolerance * max(1.0, abs(float(value))), about
        assert float((gradient - fast_gradient).abs().max()) <= tolerance * scale, about
        assert torch.equal(confusion, fast_confusion), about


@pytest.mark.parametrize("instructions", ["baseline", "avx2"])
def test_every_instruction_set_of_this_processor_agrees(instructions: str) -> None:
    code = (
        "import torch; from tests.native.test_against_reference import draw, result, TOLERANCE\n"
        "from segcrit.engines import native\n"
        f"assert {instructions!r} in native.describe()[1], native.describe()[1]\n"
        "for seed in range(1000, 1060):\n"
        "    case = draw(seed)\n"
        "    (a, g, c), (b, h, d) = result(case, 'reference'), result(case, 'cpu')\n"
        "    tolerance = TOLERANCE[case.logits.dtype]\n"
        "    assert abs(float(a - b)) <= tolerance * max(1.0, abs(float(a))), seed\n"
        "    assert float((g - h).abs().max()) <= tolerance * (float(g.abs().max()) + 1e-30), seed\n"
        "    assert torch.equal(c, d), seed\n"
    )
    if not any(word in native.describe()[1] for word in ("avx512", "avx2")):
        pytest.skip("this processor has one instruction set only")
    environment = os.environ | {"SEGCRIT_INSTRUCTION_SET": instructions, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
