"""Random cases in Triton's interpreter: ``python -m tests.triton.fuzz --cases 1000 --seed 0``.

The cases of ``tests/native/drawing.py`` without those that the kernels leave to the reference engine, and smaller. Programs
are divided so that an image has several. Prints the seeds of the cases where the engines disagree and exits with 1 if there
are any; on a GPU: ``--cuda``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import traceback
import warnings

import torch

from tests.native.checking import disagreement
from tests.native.drawing import Case, draw
from tests.native.edges import away_from_edges
from tests.triton.interpreting import hasten

# The interpreter takes some hundred microseconds for an operation on a tile: elements of the logits at the target's size,
# and pixels that may read one sample.
LARGEST = 4000
LARGEST_WINDOW = 40


def suitable(seed: int) -> Case | None:
    """The case of a seed in a dtype of the kernels, or None where it is too large for the interpreter."""
    case = draw(seed)
    if case.logits.dtype == torch.float64:
        case = dataclasses.replace(case, logits=case.logits.float())
    elements, window = case.logits.shape[0] * case.logits.shape[1], 1
    for length, low in zip(case.size, case.logits.shape[2:], strict=True):
        elements *= max(length, low)
        window *= 1 if length == low else 2 + 2 * length // low
    return None if elements > LARGEST or window > LARGEST_WINDOW else away_from_edges(case)


def check(seed: int, cuda: bool = False) -> str | None:
    """What is wrong with the case of this seed; empty if nothing, None if it was left out."""
    case = suitable(seed)
    if case is None:
        return None
    try:
        if cuda:
            moved = {name: getattr(case, name) for name in ("logits", "target", "weight")}
            moved = {name: None if value is None else value.cuda() for name, value in moved.items()}
            case = dataclasses.replace(case, **moved)
        found = disagreement(case, "triton")
    except Exception:  # a crash in Python is a finding too
        found = traceback.format_exc()
    return f"{case}: {found}" if found else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.triton.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others count up")
    parser.add_argument("--block", type=int, default=64, help="most pixels of a program; 0: as in production")
    parser.add_argument("--cuda", action="store_true", help="on the GPU instead of in the interpreter")
    options = parser.parse_args(arguments)
    # Before Triton is imported.
    if not options.cuda:
        os.environ["TRITON_INTERPRET"] = "1"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from segcrit.engines.triton import launch
    from segcrit.engines.triton.availability import describe

    available, reason = describe()
    if not available:
        print(reason, file=sys.stderr)
        return 2
    if not options.cuda:
        hasten()
    if options.block:
        launch.MOST_PLACES = options.block
    started, wrong, left_out = time.monotonic(), 0, 0
    for seed in range(options.seed, options.seed + options.cases):
        message = check(seed, options.cuda)
        left_out += message is None
        if message:
            wrong += 1
            print(message, flush=True)
    seconds = time.monotonic() - started
    print(
        f"{options.cases - left_out} cases ({reason}), {left_out} left out, {wrong} disagree, {seconds:.0f} s",
        flush=True,
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
