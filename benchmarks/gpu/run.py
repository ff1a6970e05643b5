"""Check and time the GPU engine:

    python benchmarks/gpu/run.py --check                 compare with the reference engine and stop
    python benchmarks/gpu/run.py --only VOC "2 classes"  some cases, into runs/gpu
    python benchmarks/gpu/run.py                         everything

Writes benchmarks/gpu/results/DATE-DEVICE.json and a picture beside it: forward and backward of each loss beside the time
that the compulsory bytes take at the measured speed of a copy, PyTorch eager and compiled, and the peers that are installed.
Exit status: 0; 1 if a number is wrong or something of segcrit could not be measured; 2 if nothing can run here.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from cases import cases

import segcrit
from segcrit.apps.bench.contenders import contender_versions
from segcrit.apps.bench.suite import file_name
from segcrit.core.atomic import atomic_write_text

HERE = Path(__file__).resolve().parent
RESULTS, PARTS = HERE / "results", HERE.parents[1] / "runs" / "gpu"
# Shares of the floor, and ratios of times: what the engine is built to reach on an H200.
NEAR, LOVASZ, UPSAMPLED_MIB = 0.8, 3.0, 200
FASTER = {"torch": 4.0, "torch.compile": 2.0}  # with interpolated logits


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [case.name for case in cases()]
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=names, help="some cases")
    parser.add_argument("--check", action="store_true", help="compare with the reference engine and stop")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    engine = next(item for item in segcrit.backends() if item.name == "triton")
    if not engine.available or not torch.cuda.is_available():
        reason = engine.reason if torch.cuda.is_available() else "no CUDA device that PyTorch can use"
        print(f"benchmarks/gpu/run.py: nothing was measured: {reason}", file=sys.stderr)
        return 2
    from check import check_case
    from measure import copy_bandwidth, run_case

    chosen = [case for case in cases() if options.only is None or case.name in options.only]
    draws = find_spec("matplotlib") is not None
    if not options.check and not draws:
        print("matplotlib is not installed, so there will be no picture: pip install 'segcrit[bench]'", file=sys.stderr)
    wrong = []
    for number, case in enumerate(chosen, 1):
        print(f"checking {number}/{len(chosen)}: {case.name}", flush=True)
        wrong += check_case(case)
    print("\n".join(wrong) or f"{len(chosen)} cases agree with the reference engine, twice the same bits", flush=True)
    if wrong or options.check:
        return 1 if wrong else 0
    result: dict[str, Any] = describe() | {"copy_bytes_a_second": copy_bandwidth(), "cases": []}
    print(f"{result['device']}: {result['copy_bytes_a_second'] / 1e12:.2f} TB/s for a copy")
    path = (
        options.out or (PARTS if options.only else RESULTS) / f"{file_name(result['date'][:10], result['device'])}.json"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        print(f"{case.name}: {case.problem.title}", flush=True)
        result["cases"].append(run_case(case, partial(print, flush=True)))
        # What an interruption leaves is a result too.
        atomic_write_text(path, json.dumps(result, indent=1))
    print("\n".join(verdicts(result)))
    print(path)
    if draws:
        from plot import draw

        draw(result, path.with_suffix(".png"))
        print(path.with_suffix(".png"))
    missing = not_measured(result)
    print("\n".join(missing), end="\n" if missing else "", file=sys.stderr)
    return 1 if missing else 0


def describe() -> dict[str, Any]:
    """Device, driver, versions."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    versions = contender_versions()
    import triton

    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "cache_bytes": properties.L2_cache_size,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "versions": versions | {"triton": triton.__version__},
    }


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def not_measured(result: dict[str, Any]) -> list[str]:
    """What of segcrit has no time, as it is called or as a graph, and why."""
    return [
        f"{case['name']}, {row['kind']}: not measured: {row['note']}"
        for case in result["cases"]
        for row in case["rows"]
        if row["library"] in ("segcrit", "segcrit compiled")
        and (row["milliseconds"] is None or row["replayed"] is None)
    ]


def verdicts(result: dict[str, Any]) -> list[str]:
    """How near each loss comes to the floor, and whether the targets are met.

    The floor and the losses among themselves are compared as graphs, where there are such times, so that Python's part does
    not count; other libraries as everything is called.
    """
    lines = []
    for case in result["cases"]:
        floor = case["compulsory_bytes"] / result["copy_bytes_a_second"] * 1e3
        rows = [row for row in case["rows"] if row["milliseconds"] is not None]
        ours = {row["kind"]: row for row in rows if row["library"] == "segcrit"}
        for kind, row in ours.items():
            time = row["replayed"] or row["milliseconds"]
            line = f"{case['name']}, {kind}: {time:.3f} ms, {floor / time:.0%} of the speed of the compulsory bytes"
            if case["upsample"] == 1 and case["shape"][1] >= 19 and "lovasz" not in kind:
                line += f" (target {NEAR:.0%}: {'met' if floor / time >= NEAR else 'missed'})"
            compiled = [r["replayed"] for r in rows if r["kind"] == kind and r["library"] == "segcrit compiled"]
            if compiled and compiled[0] is not None:
                line += f", {floor / compiled[0]:.0%} compiled"
            if kind == "lovasz" and "ce" in ours:
                ratio = time / (ours["ce"]["replayed"] or ours["ce"]["milliseconds"])
                line += f", {ratio:.1f} × ce (target {LOVASZ}: {'met' if ratio <= LOVASZ else 'missed'})"
            if case["upsample"] != 1:
                peak = row["peak_mib"]
                line += f", {peak:.0f} MiB (target {UPSAMPLED_MIB}: {'met' if peak <= UPSAMPLED_MIB else 'missed'})"
                for library, wanted in FASTER.items():
                    others = [r["milliseconds"] for r in rows if r["kind"] == kind and r["library"] == library]
                    if others:
                        faster = min(others) / row["milliseconds"]
                        line += f", {faster:.1f} × faster than {library}"
                        line += f" (target {wanted}: {'met' if faster >= wanted else 'missed'})"
            if case["logits_bytes"] <= result["cache_bytes"]:
                line += "; the logits fit into the GPU's cache, which flatters"
            lines.append(line)
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
