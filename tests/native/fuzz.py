"""Any number of random cases: ``python -m tests.native.fuzz --cases 1000000 --seed 0``.

Prints the seeds of the cases where the native engine and the reference engine disagree and exits with 1 if there are any;
``--seed N --cases 1`` repeats one. ``--every 10000`` says how often the progress is shown. ``--only focal`` passes over the
cases whose loss has no such word: for what was changed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings

import torch

from segcrit.engines.cpu import native

from .checking import disagreement
from .drawing import draw
from .edges import away_from_edges


def check(seed: int, only: str = "") -> str | None:
    """What is wrong with the case of this seed; empty if nothing, None if it is passed over."""
    case = draw(seed)
    if only not in case.text:
        return None
    try:
        found = disagreement(away_from_edges(case))
    except Exception:  # a crash in Python is a finding too
        found = traceback.format_exc()
    return f"{case}: {found}" if found else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.native.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others count up")
    parser.add_argument("--every", type=int, default=1000, help="cases between two lines of progress")
    parser.add_argument("--only", default="", metavar="WORD", help="of the cases, those whose loss has this word in it")
    options = parser.parse_args(arguments)
    available, reason = native.describe()
    if not available:
        print(reason, file=sys.stderr)
        return 2
    # A scalar alpha or an absent class is worth a warning to a user, not here.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    started, wrong, passed_over = time.monotonic(), 0, 0
    for done, seed in enumerate(range(options.seed, options.seed + options.cases), 1):
        message = check(seed, options.only)
        passed_over += message is None
        if message:
            wrong += 1
            print(message, flush=True)
        if done % options.every == 0 or done == options.cases:
            rate = done / (time.monotonic() - started)
            others = f", {passed_over} of them passed over" if passed_over else ""
            print(f"{done} cases ({reason}){others}, {wrong} disagree, {rate:.0f} a second", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
