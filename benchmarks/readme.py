"""Writes the newest measurement into the README, between its two markers; no number is typed by hand.

python benchmarks/readme.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- benchmark: written by benchmarks/readme.py -->", "<!-- end of benchmark -->"


def main() -> None:
    path = max((ROOT / "benchmarks" / "results").glob("*.json"), key=lambda item: json.loads(item.read_text())["date"])
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    block = render(json.loads(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix())
    readme.write_text(f"{head}{START}\n{block}\n{END}{tail}", encoding="utf-8")


def render(document: dict[str, Any], path: str) -> str:
    """One Markdown table for the first shape of the measurement."""
    measured, machine, versions = document["shapes"][0], document["machine"], document["versions"]
    shape = "×".join(map(str, measured["shape"]))
    lines = [
        (
            f"Forward and backward on {shape} {document['dtype']} logits, medians in one run; a copy of the logits takes "
            f"{measured['copy_ms']:.1f} ms. Memory: peak beyond the logits, gradient included."
        ),
        "",
        "| loss | library | time | extra memory |",
        "|---|---|---:|---:|",
    ]
    for row in measured["rows"]:
        if "failed" in row:
            continue
        extra = row.get("resident_bytes") or row.get("allocated_bytes")
        memory = "–" if extra is None else f"{extra / measured['logits_bytes']:.1f} × logits"
        cells = [row["name"], row["library"], f"{row['median_ms']:.0f} ms", memory]
        if row["library"] == "segcrit":
            cells = [f"**{cell}**" for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        (
            f"{machine['processor']}, {machine['threads']} threads, torch {versions['torch']}, {document['date'][:10]}: "
            f"[{Path(path).name}]({path}). `make bench` measures your machine."
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
