"""The picture of docs/performance.md: how much of the roof is reached, against the size of the tensor.

In: what `dslgen bench --sweep NAME,... --json` wrote. Out: an SVG, the same bytes for the same figures. Needs
matplotlib; `table.py` calls it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart by those who do not see red or green (Okabe and Ito)."""
KINDS = ("value", "gradient")


def draw(found: dict[str, Any], path: Path) -> None:
    """A panel for each dtype and direction; a colour for each activation, PyTorch's own dashed."""
    rows = [row for row in found["sweep"] if row["offset"] == 0 and row["n"] & (row["n"] - 1) == 0]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    plt.rcParams.update({"svg.hashsalt": "roof", "font.size": 8, "svg.fonttype": "none"})
    figure, axes = plt.subplots(
        len(KINDS), len(dtypes), figsize=(3 * len(dtypes), 4.6), sharex=True, sharey=True, squeeze=False
    )
    for panels, kind in zip(axes, KINDS, strict=True):
        for panel, dtype in zip(panels, dtypes, strict=True):
            for name, colour in zip(names, COLOURS, strict=False):
                line = [
                    row for row in rows if (row["name"], row["dtype"], row["kind"]) == (name, dtype, kind)
                ]
                for rival, style in (("dslgen", "-"), ("eager", ":")):
                    points = [
                        (row["n"], row["roof"] / row["ms"][rival]) for row in line if rival in row["ms"]
                    ]
                    panel.plot(*zip(*points, strict=True), style, color=colour, marker=".", markersize=4)
            panel.axhline(1, color="0.6", linewidth=0.8, zorder=0)
            panel.set_xscale("log", base=2)
            panel.set_ylim(bottom=0)
            panel.set_title(f"{dtype}, {kind}", fontsize=8)
            panel.grid(alpha=0.3, linewidth=0.5)
    for panel in axes[-1]:
        panel.set_xlabel("elements")
    for panels in axes:
        panels[0].set_ylabel("fraction of the roof")
    handles = [plt.Line2D([], [], color=colour) for _, colour in zip(names, COLOURS, strict=False)]
    handles += [plt.Line2D([], [], color="0.3", linestyle=style) for style in ("-", ":")]
    labels = [*names[: len(COLOURS)], "dslgen", "eager PyTorch"]
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
