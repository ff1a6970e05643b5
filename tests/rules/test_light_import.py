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
import {module}
seconds = time.process_time() - start
loaded = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
print(json.dumps([seconds, loaded]))
"""


def _import_in_a_new_process(module: str) -> tuple[float, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)], capture_output=True, text=True, check=True
    )
    seconds, loaded = json.loads(done.stdout.splitlines()[-1])
    return seconds, set(loaded)


@pytest.mark.parametrize("module", ["segcrit", "segcrit.cli"])
def test_import_is_light(module: str) -> None:
    seconds, loaded = _import_in_a_new_process(module)
    assert not loaded & HEAVY
    assert seconds < 0.5, f"importing {module} took {seconds:.2f} s beyond torch"


def test_the_measurement_sees_a_heavy_package() -> None:
    _, loaded = _import_in_a_new_process("jinja2")
    assert loaded & HEAVY == {"jinja2"}
