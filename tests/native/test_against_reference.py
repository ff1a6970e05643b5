"""The native engine against the reference engine on random cases; more of them with ``python -m tests.native.fuzz``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from segcrit.engines.cpu import native

from .fuzz import check, main

pytestmark = [
    pytest.mark.skipif(not native.describe()[0], reason=native.describe()[1]),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # what a scalar alpha or an absent class is worth to a user
]

CASES = 300
# Cases that once disagreed: margins of float64 rounded to float32; logits interpolated otherwise backward than forward; a
# log probability above 0 by a rounding, to the power of a focal loss (two); a soft target 5e-9 beside the probability.
ONCE_WRONG = (832, 154_382, 100_071_161, 100_812_082, 100_406_967)


@pytest.mark.parametrize("block", range(6))
def test_random_cases_agree_with_the_reference_engine(block: int) -> None:
    size = CASES // 6
    wrong = [message for seed in range(size * block, size * (block + 1)) if (message := check(seed))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", ONCE_WRONG)
def test_a_case_that_once_disagreed(seed: int) -> None:
    assert not check(seed)


@pytest.mark.parametrize("instructions", ["baseline", "avx2"])
def test_every_instruction_set_of_this_processor_agrees(instructions: str) -> None:
    if not any(word in native.describe()[1] for word in ("avx512", "avx2")):
        pytest.skip("this processor has one instruction set only")
    environment = os.environ | {"SEGCRIT_INSTRUCTION_SET": instructions, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.native.fuzz", "--cases", "60", "--seed", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert f"instruction set {instructions}" in done.stdout
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.parametrize("factor", [1 + 4e-5, 1 - 4e-5])
def test_a_gradient_that_is_slightly_wrong_is_found(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = native.backward

    def wrong(*arguments: Any) -> Any:
        return backward(*arguments) * factor

    monkeypatch.setattr(native, "backward", wrong)
    found = [check(seed) for seed in range(40)]
    # Half precision and gradients of nothing cannot show it.
    assert sum("gradient off by" in message for message in found) >= 8


def test_a_count_at_the_wrong_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = native.forward

    def wrong(*arguments: Any) -> Any:
        result = forward(*arguments)
        return result._replace(confusion=result.confusion.flip(0))

    monkeypatch.setattr(native, "forward", wrong)
    assert sum("confusion counts differ" in check(seed) for seed in range(40)) >= 8


def test_the_command_counts_its_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out.startswith("3 cases (C++ kernels")
