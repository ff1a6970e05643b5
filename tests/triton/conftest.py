"""Tests of the kernels run where TRITON_INTERPRET is set before Triton is imported: in processes that test_interpreter.py
starts, or ``TRITON_INTERPRET=1 python -m pytest tests/triton/test_kernels.py`` by hand."""

from __future__ import annotations

from segcrit.engines.triton.availability import is_interpreted

from .interpreting import hasten

if is_interpreted():
    hasten()

collect_ignore = [] if is_interpreted() else ["test_kernels.py", "test_kernel_inputs.py"]
