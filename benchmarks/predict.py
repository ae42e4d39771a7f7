"""What `dslgen inspect` predicts against what was measured: a table, a picture, the error. Needs no GPU.

In: the committed counts (sm_90) and times (H200). Out: docs/prediction.md and docs/prediction.svg.

    python -m benchmarks.predict
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

import matplotlib.pyplot as plt

from dsl.gpu import gpus
from dsl.inspect import from_json
from dsl.predict import SHARPNESS, SUSTAINED, Prediction, predict

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COLOURS = {"memory": "#0072b2", "issue": "#d55e00", "special": "#009e73"}

HEADER = """\
# Predicted and measured

`dslgen inspect NAME --target h200` says how long a kernel takes without a GPU, from its machine instructions
and the figures in `dsl/gpus/`. Here that is held to what was measured on an H200, {count} kernels of
{elements:,} elements (`benchmarks/results/speed-h200.json`). Written by `python -m benchmarks.predict`.

The mean error is {mean:.1f} %, the median {median:.1f} %, the worst {worst:.0f} % ({worst_name}).
{limited} kernels are predicted to be limited by something else than memory; among these the mean error is
{mean_limited:.1f} %.

Two constants were fitted: kernels run at {sustained:.0%} of the peak rate of issue, and limits bend into one
another with the power {sharpness}. That was done with the first {fitted} kernels that were measured; of the
others, which came later, the mean error is {mean_later:.1f} %. Fitted to one of the two types alone the
constants come out as 85 % and 8 (float32) or 75 % and 12 (bfloat16). The kernels were counted as
Triton 3.7.1 compiles them and measured with 3.6.0. Instructions of branches that are hardly ever taken are
counted as if they were. What other GPUs do was not measured; where a figure is assumed its file says so.

![predicted against measured](prediction.svg)

| kernel | limit | predicted, ms | measured, ms | error |
|---|---|---:|---:|---:|
"""


FITTED = 108
"""So many kernels, the first that were measured, are those that the constants were fitted to."""


def rows() -> list[tuple[str, Prediction, float, float, int]]:
    """Every kernel that was counted and measured: its name, the prediction, both in ms, the elements."""
    _, counts = from_json((RESULTS / "instructions-sm_90.json").read_text(encoding="utf-8"))
    measured = json.loads((RESULTS / "speed-h200.json").read_text(encoding="utf-8"))
    found = []
    for row in measured["throughput"]:
        name = f"{row['dtype']}/{row['name']}/{row['kind']}"
        if f"sm_90/{name}" in counts and "dslgen" in row["ms"]:
            prediction = predict(counts[f"sm_90/{name}"], gpus()["h200"])
            found.append(
                (name, prediction, prediction.total * row["n"] * 1e-9, row["ms"]["dslgen"], row["n"])
            )
    return found


def page(found: list[tuple[str, Prediction, float, float, int]]) -> str:
    """The table under what it says."""
    errors = {name: abs(ours / ms - 1) * 100 for name, _, ours, ms, _ in found}
    limited = [errors[name] for name, prediction, *_ in found if prediction.limit != "memory"]
    worst = max(errors, key=lambda name: errors[name])
    later = list(errors.values())[FITTED:]
    text = HEADER.format(
        count=len(found),
        elements=found[0][-1],
        mean=mean(errors.values()),
        median=median(errors.values()),
        worst=errors[worst],
        worst_name=worst,
        limited=len(limited),
        mean_limited=mean(limited),
        sustained=SUSTAINED,
        sharpness=SHARPNESS,
        fitted=FITTED,
        mean_later=mean(later),
    )
    for name, prediction, ours, ms, _ in sorted(found, key=lambda row: -errors[row[0]]):
        text += f"| {name} | {prediction.limit} | {ours:.3f} | {ms:.3f} | {(ours / ms - 1) * 100:+.1f} % |\n"
    return text


def draw(found: list[Any], path: Path) -> None:
    """A point for each kernel, in the colour of its limit."""
    plt.rcParams.update({"svg.hashsalt": "prediction", "font.size": 8, "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(4.5, 4.2))
    for limit, colour in COLOURS.items():
        points = [(ms, ours) for _, prediction, ours, ms, _ in found if prediction.limit == limit]
        if points:
            axes.plot(*zip(*points, strict=True), ".", color=colour, label=f"limited by {limit}")
    ends = [0.1, 0.7]
    axes.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    axes.set(xlabel="measured, ms", ylabel="predicted, ms", xscale="log", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, linewidth=0.5, which="both")
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def main() -> None:
    """Write both files."""
    found = rows()
    (ROOT / "docs" / "prediction.md").write_text(page(found), encoding="utf-8")
    draw(found, ROOT / "docs" / "prediction.svg")


if __name__ == "__main__":
    main()
