"""The measurement as a picture: how near each loss comes to the time that the compulsory bytes take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcrit.core.atomic import atomic_path
from segcrit.core.optional import require

COLOURS = {"torch": "#8c8c8c", "torch.compile": "#5d6d7e", "segcrit": "#1f5fa8", "segcrit compiled": "#4a90d9"}


def draw(result: dict[str, Any], path: Path) -> None:
    """A group of bars for each case and loss: time over that of the compulsory bytes, so that 1 is the floor."""
    plt = require("matplotlib.pyplot", extra="bench")
    bars, labels, colours = [], [], []
    for case in result["cases"]:
        floor = case["compulsory_bytes"] / result["copy_bytes_a_second"] * 1e3
        for row in case["rows"]:
            if row["library"] == "segcrit reference":
                continue
            # As it is called, like the others; as a graph beside it.
            for time, how in ((row["milliseconds"], ""), (row["replayed"], " as a CUDA graph")):
                if time is not None:
                    bars.append(time / floor)
                    labels.append(f"{case['name']}: {row['kind']}, {row['library']}{how}")
                    colours.append(COLOURS.get(row["library"], "#b07aa1"))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.19 * len(bars)), layout="constrained")
    axes.barh(range(len(bars)), bars, color=colours)
    axes.set_yticks(range(len(bars)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("time of forward and backward / time of the compulsory bytes at the speed of a copy")
    axes.set_title(f"{result['device']}, {result['copy_bytes_a_second'] / 1e12:.2f} TB/s measured for a copy")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=140)
    plt.close(figure)
