"""How much of ``segcrit evaluate`` is the decoding of its files: 2,000 pairs of PNG label maps of 1024 x 512 pixels.

    python benchmarks/folders.py                          everything, into benchmarks/results
    python benchmarks/folders.py --pairs 200 --out FILE   a smaller one

The label maps are made for it: 19 classes in blobs, the predictions blurred and wrong at their borders, in PNG files of
about the size that label maps of streets have. "Decoding" is Pillow reading the same files in as many threads and nothing
else. Rounds take turns; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segcrit.apps.bench.contenders import contender_versions
from segcrit.apps.bench.problems import interpolate
from segcrit.apps.evaluate.counting.run import Job, count_files
from segcrit.apps.evaluate.counting.workers import default_workers
from segcrit.apps.evaluate.options import Options
from segcrit.core import atomic
from segcrit.core.machine import machine_facts

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES, HEIGHT, WIDTH = 19, 512, 1024
# Every other pair is a copy of one of these under its own name: decoding it is the same work.
DIFFERENT = 50


def main() -> int:
    parser = argparse.ArgumentParser(description="The share of decoding in segcrit evaluate.")
    parser.add_argument("--pairs", type=int, default=2000, help="number of pairs (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default 3)")
    parser.add_argument("--workers", type=int, default=default_workers(), help="threads (default: the processors)")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segcrit-") as name:
        folder = Path(name)
        print(f"writing {options.pairs} pairs", file=sys.stderr)
        make(folder, options.pairs)
        times: dict[str, list[float]] = {"decoding": [], "evaluate": []}
        for number in range(options.rounds):
            times["decoding"].append(_timed(decode, folder, options.workers))
            times["evaluate"].append(_timed(count, folder, folder / f"out{number}", options.workers))
            print(f"round {number + 1}: { ({key: round(own[-1], 2) for key, own in times.items()}) }", file=sys.stderr)
        sizes = [path.stat().st_size for path in (folder / "masks").iterdir()]
    seconds = {name: statistics.median(own) for name, own in times.items()}
    content = {
        "what": "segcrit evaluate on PNG pairs, counts of every image, beside decoding the same files",
        "pairs": options.pairs,
        "size": [HEIGHT, WIDTH],
        "classes": CLASSES,
        "bytes_of_a_label_map": statistics.median(sizes),
        "workers": options.workers,
        "seconds": times,
        "median_seconds": seconds,
        "share_of_decoding": seconds["decoding"] / seconds["evaluate"],
        "machine": machine_facts(),
        "versions": contender_versions(),
    }
    path = options.out or RESULTS / f"folders-{date.today()}.json"
    atomic.atomic_write_text(path, json.dumps(content, indent=1) + "\n")
    print(f"decoding {seconds['decoding']:.1f} s of {seconds['evaluate']:.1f} s: {content['share_of_decoding']:.0%}")
    print(path)
    return 0


def make(folder: Path, pairs: int) -> None:
    """Write the label maps and the predictions."""
    random = torch.Generator().manual_seed(0)
    for name in ("masks", "predictions"):
        (folder / name).mkdir()
    for number in range(pairs):
        files = [folder / name / f"{number:05d}.png" for name in ("masks", "predictions")]
        if number >= DIFFERENT:
            for file in files:
                shutil.copyfile(file.with_name(f"{number % DIFFERENT:05d}.png"), file)
            continue
        truth = interpolate(torch.randn(1, CLASSES, 6, 11, generator=random), (HEIGHT, WIDTH))
        wrong = truth + 0.3 * interpolate(torch.randn(1, CLASSES, 17, 33, generator=random), (HEIGHT, WIDTH))
        for file, scores in zip(files, (truth, wrong), strict=True):
            Image.fromarray(scores.argmax(1)[0].to(torch.uint8).numpy()).save(file)


def decode(folder: Path, workers: int) -> None:
    """Read every file, and nothing else."""
    paths = sorted([*(folder / "masks").iterdir(), *(folder / "predictions").iterdir()])
    with ThreadPoolExecutor(workers) as executor:
        for _ in executor.map(_decode, paths):
            pass


def _decode(path: Path) -> int:
    with Image.open(path) as picture:
        return np.asarray(picture).size


def count(folder: Path, out: Path, workers: int) -> None:
    """What ``segcrit evaluate`` does until the figures."""
    job = Job((str(folder / "predictions"),), str(folder / "masks"), Options(classes=str(CLASSES)))
    count_files(job, out, workers=workers, progress=False)


def _timed(work: Callable[..., None], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
