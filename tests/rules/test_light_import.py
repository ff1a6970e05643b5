"""``import segcrit`` loads torch and numpy and nothing else that is heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "PIL",
    "IPython",
    "jinja2",
    "kornia",
    "lightning",
    "matplotlib",
    "monai",
    "nibabel",
    "pandas",
    "pytorch_lightning",
    "rich",
    "scipy",
    "tensorboard",
    "tifffile",
    "torchmetrics",
    "transformers",
    "triton",
}

# What torch itself loads is not ours, hence the difference. Processor time, because the machine may be busy.
PROGRAM = """
import json, sys, time
import numpy, torch
before, start = set(sys.modules), time.process_time()
{statement}
seconds = time.process_time() - start
loaded = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
print(json.dumps([seconds, loaded]))
"""


# Public names are imported when they are first used: use them all, except the one that loads the training library.
EVERYTHING = "import segcrit; [getattr(segcrit, name) for name in segcrit.__all__ if name != 'compare']"


def _run_in_a_new_process(statement: str) -> tuple[float, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)], capture_output=True, text=True, check=True
    )
    seconds, loaded = json.loads(done.stdout.splitlines()[-1])
    return seconds, set(loaded)


@pytest.mark.parametrize("statement", [EVERYTHING, "import segcrit.cli"])
def test_import_is_light(statement: str) -> None:
    seconds, loaded = _run_in_a_new_process(statement)
    assert not loaded & HEAVY
    assert seconds < 1.0, f"{statement} took {seconds:.2f} s beyond torch"


def test_the_measurement_sees_a_heavy_package() -> None:
    _, loaded = _run_in_a_new_process("import jinja2")
    assert loaded & HEAVY == {"jinja2"}


def test_help_starts_without_torch() -> None:
    program = (
        "import sys; from segcrit.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_first_loss_does_not_load_the_compiler() -> None:
    program = (
        "import sys, torch, segcrit; logits = torch.zeros(1, 2, 8, 8, requires_grad=True)\n"
        "segcrit.Criterion('ce + dice')(logits, torch.zeros(1, 8, 8).long()).backward()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
