"""The tables of docs/performance.md, from what `gpu_check.py` measured.

In: the JSON file of `gpu_check.py --json`. Out: Markdown on standard output.

    python benchmarks/table.py benchmarks/results/h200.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from math import exp, log
from pathlib import Path
from typing import Any

CASES = (("bfloat16", "value"), ("bfloat16", "gradient"), ("float32", "value"), ("float32", "gradient"))


def speed(found: dict[str, Any]) -> Iterator[str]:
    """Roof fraction and times, an activation a row."""
    rows = {(row["name"], row["dtype"], row["kind"]): row for row in found["throughput"]}
    yield "| | " + " | ".join(f"{dtype} {kind}" for dtype, kind in CASES) + " |"
    yield "|---|" + "---|" * len(CASES)
    for name in dict.fromkeys(row["name"] for row in found["throughput"]):
        cells = []
        for case in CASES:
            row = rows.get((name, *case))
            if row is None:
                cells.append("-")
                continue
            peers = [row[peer] for peer in ("eager", "compile") if isinstance(row.get(peer), float)]
            others = [time / row["ours"] for time in peers]
            cells.append(f"{row['fraction']:.2f} ({', '.join(f'{other:.2f}' for other in others)})")
        yield f"| {name} | " + " | ".join(cells) + " |"
    means = []
    for dtype, kind in CASES:
        chosen = [row for row in found["throughput"] if (row["dtype"], row["kind"]) == (dtype, kind)]
        for peer in ("eager", "compile"):
            ratios = [row[peer] / row["ours"] for row in chosen if isinstance(row.get(peer), float)]
            mean = exp(sum(map(log, ratios)) / len(ratios))
            means.append(f"{dtype} {kind} {mean:.2f} times as fast as {peer}")
    yield ""
    yield "Geometric means: " + "; ".join(means) + "."


def accuracy(found: dict[str, Any]) -> Iterator[str]:
    """Worst errors in ulps, value / gradient."""
    dtypes = ("float16", "bfloat16", "float32", "float64")
    rows = {(row["name"], row["dtype"], row["kind"]): row for row in found["accuracy"]}
    yield "| ulp, value / gradient | " + " | ".join(dtypes) + " |"
    yield "|---|" + "---|" * len(dtypes)
    for name in sorted({row["name"] for row in found["accuracy"]}):
        cells = [
            " / ".join(f"{rows[name, dtype, kind]['ulp']:.3g}" for kind in ("value", "gradient"))
            for dtype in dtypes
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def main(path: str) -> None:
    """Both tables."""
    found = json.loads(Path(path).read_text())
    print("\n".join([*speed(found), "", *accuracy(found)]))


if __name__ == "__main__":
    main(sys.argv[1])
