"""Settings of every test and of every example in a docstring: fixed seeds, one thread, no window."""

from __future__ import annotations

import importlib.util
import os
import random

# Before torch and matplotlib are imported: several test processes share the machine, none opens a window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two threads, one that waits for the other leaves the core to the other test process.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch

SEED = 20190406

# The examples of modules that need an optional package are collected where it is.
collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["src/segcrit/engines/triton/kernels/*"]

# Examples are drawn from a fixed seed and without a time limit, so that a slow machine fails no test.
hypothesis.settings.register_profile("segcrit", derandomize=True, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("segcrit")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


def pytest_report_header(config: pytest.Config) -> list[str]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    data = os.environ.get("SEGCRIT_TEST_DATA", "../shared/data")
    return [
        f"segcrit: seed {SEED}, {torch.get_num_threads()} thread(s), {versions}, GPU: {gpu}",
        f"segcrit: real data sets are looked for in {data}",
    ]


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(SEED)
    np.random.seed(SEED % 2**32)
    torch.manual_seed(SEED)
