"""The Triton kernels in Triton's interpreter, in processes of their own: it is chosen before Triton is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from segcrit.engines.triton.availability import is_installed
from tests.rules.source import REPOSITORY

pytestmark = pytest.mark.skipif(not is_installed(), reason="Triton is not installed: pip install 'segcrit[triton]'")


def in_the_interpreter(*arguments: str) -> str:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("file", ["test_kernels.py", "test_kernel_inputs.py"])
def test_kernels(file: str) -> None:
    output = in_the_interpreter("pytest", "-p", "no:xdist", f"tests/triton/{file}")
    counted = re.search(r"(\d+) passed", output)
    assert counted is not None, output[-2000:]
    assert int(counted[1]) > 40
    assert "skipped" not in output.splitlines()[-1]


@pytest.mark.slow
def test_random_cases() -> None:
    output = in_the_interpreter("tests.triton.fuzz", "--cases", "20", "--seed", "1000")
    assert " 0 disagree" in output
