"""The kernels compile to machine code of NVIDIA GPUs, without one, and keep their numbers in registers."""

from __future__ import annotations

import pytest

from segcrit.engines.triton.availability import is_installed, is_interpreted

from .compiling import CASES, compiling, run

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="Triton is not installed: pip install 'segcrit[triton]'"),
    pytest.mark.skipif(is_interpreted(), reason="the interpreter has no compiler"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))


@pytest.mark.parametrize("name", CASES)
def test_kernels_compile_and_spill_nothing(name: str) -> None:
    with compiling(90) as found:
        run(**CASES[name])
    assert len(found) >= 2
    for kernel in found:
        # Sixteen bytes are the stack of a function that is called, not numbers that found no register.
        assert kernel.spilled <= 16, kernel
        assert kernel.registers * 32 * kernel.warps <= 65536 // 2, "fewer than two programs fit on a multiprocessor"


@pytest.mark.parametrize("capability", [70, 80, 100])
def test_other_generations(capability: int) -> None:
    with compiling(capability) as found:
        run(**CASES["ce + dice, 19 classes"])
    assert [kernel.name for kernel in found] == ["softmax_forward", "softmax_backward"]
