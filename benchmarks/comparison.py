"""The table of docs/comparison.md, from the times that `dslgen bench --json` wrote.

    python benchmarks/comparison.py benchmarks/results/speed-h200.json

In: times of every activation beside its rivals. Out: for each rival, type and direction, how many times as
fast our kernels are (geometric mean), and of how many activations they are faster, as fast within 5 %, and
slower.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from table import between_marks

PAGE = Path(__file__).resolve().parents[1] / "docs" / "comparison.md"
PART = "comparison"
NEAR = 1.05
"""Times that differ by less are as good as equal from one run to the next."""


def table(found: dict[str, Any]) -> Iterator[str]:
    """A row for each rival that was measured, each type and each direction.

    >>> rows = [{"dtype": "float32", "kind": "value", "ms": {"dslgen": 1.0, "eager": ms}} for ms in (1, 4)]
    >>> list(table({"throughput": rows}))[2:]
    ['| eager | float32 | value | 2 | 2.00 | 1 | 1 | 0 |']
    """
    yield "| against | type | | activations | times as fast | faster | as fast | slower |"
    yield "|---|---|---|---|---|---|---|---|"
    rows = found["throughput"]
    for rival in dict.fromkeys(name for row in rows for name in row["ms"] if name != "dslgen"):
        for dtype, kind in dict.fromkeys((row["dtype"], row["kind"]) for row in rows):
            ratios = [
                row["ms"][rival] / row["ms"]["dslgen"]
                for row in rows
                if (row["dtype"], row["kind"]) == (dtype, kind) and {rival, "dslgen"} <= set(row["ms"])
            ]
            if ratios:
                faster, slower = sum(r > NEAR for r in ratios), sum(r < 1 / NEAR for r in ratios)
                counts = f"{faster} | {len(ratios) - faster - slower} | {slower}"
                mean = f"{geometric_mean(ratios):.2f}"
                yield f"| {rival} | {dtype} | {kind} | {len(ratios)} | {mean} | {counts} |"


def written(page: str, found: dict[str, Any]) -> str:
    """The page with the table put in."""
    return between_marks(page, PART, "\n".join(table(found)))


if __name__ == "__main__":
    times = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), times), encoding="utf-8")
