"""The picture of an activation: f, f' and f'', and below each how far off results are; or several curves.

In: an activation, or its `Panel`s or its `Family`. Out: the bytes of a PNG or an SVG, the same for the same
of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dsl.activation import Activation, as_numbers
from dsl.certificate import show_parameters
from dsl.curves import (
    FLOOR,
    OURS,
    STRETCHES,
    TORCH,
    TYPED,
    Panel,
    ceiling,
    has_pole,
    known,
    panels,
    summary,
    without_pole,
)
from dsl.families import Family, family, has_family
from dsl.ulp import Array

KINDS = ("png", "svg")
STYLES: dict[str, dict[str, Any]] = {
    TYPED: {"color": "#f0a060", "linewidth": 3.0},
    TORCH: {"color": "#b03060", "linewidth": 1.1},
    OURS: {"color": "#0072b2", "linewidth": 1.4},
}
"""Drawn in this order, thinner lines on thicker ones, so that all can be seen where they coincide."""
TITLES = ("value", "first derivative", "second derivative")
_MARGINS = {"left": 0.08, "right": 0.985, "bottom": 0.135, "top": 0.845, "wspace": 0.13, "hspace": 0.09}
_SETTINGS: Any = {
    "svg.hashsalt": "dslgen",
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
}


def pictures(
    activation: Activation, low: float, high: float, dtype: str, kinds: Sequence[str]
) -> list[bytes]:
    """The picture of an activation for low <= x <= high, as the bytes of a file of each kind.

    Raises `CurveError` where a parameter has no default.
    """
    values = show_parameters(known(as_numbers(activation)))
    if has_family(activation):
        curves = family(activation, low, high)
        subtitle = "; ".join(filter(None, [values, f"exact values {curves.note}"]))
        return [draw_family(_title(activation, 60), subtitle, curves, kind) for kind in kinds]
    found = panels(activation, low, high, dtype)
    return [draw(*describe(activation, dtype), found, kind) for kind in kinds]


def describe(activation: Activation, dtype: str) -> tuple[str, str]:
    """The title and the subtitle of a picture with errors."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    parts = [
        show_parameters(known(as_numbers(activation))),
        "in evaluation" if activation.random else "",
        f"{dtype} on {device}, torch {torch.__version__}",
        f"worst of each of {STRETCHES} stretches",
    ]
    return _title(activation), "; ".join(filter(None, parts))


def _title(activation: Activation, room: int = 90) -> str:
    formula = " ".join(activation.formula.split())
    call = f"{activation.name}({', '.join(activation.inputs)}) = {formula}"
    return call if len(call) <= room else call[: room - 3] + "..."


def draw(title: str, subtitle: str, panels: Sequence[Panel], kind: str) -> bytes:
    """The picture, as the bytes of a file of a kind."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(12.5, 6.4))
        axes = figure.subplots(2, len(panels), gridspec_kw={"height_ratios": (1, 1.15), **_MARGINS})
        top = ceiling(panels)
        for panel, curve, error in zip(panels, *axes, strict=True):
            _curve(curve, panel)
            _errors(error, panel, top)
        for row, label in zip(axes, ("exact value", "error in ulps"), strict=True):
            row[0].set_ylabel(label)
            row[0].yaxis.set_label_coords(-0.18, 0.5)
        _headings(figure, title, subtitle)
        lines, names = axes[1][0].get_legend_handles_labels()
        legend = figure.legend(
            lines[::-1],
            names[::-1],
            loc="lower center",
            bbox_to_anchor=(0.5, 0),
            ncols=3,
            frameon=False,
        )
        for line in legend.get_lines():
            line.set_linewidth(3)
        return _file(figure, kind)


def draw_family(title: str, subtitle: str, found: Family, kind: str) -> bytes:
    """The picture of curves that belong together, as the bytes of a file of a kind."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(8.0, 5.0))
        axes = figure.subplots(gridspec_kw=_MARGINS)
        # From light to dark, in order, and dark enough for white paper at the light end.
        colours = mpl.colormaps["viridis"](np.linspace(0.85, 0.1, len(found.curves)))
        for curve, colour in zip(found.curves, colours, strict=True):
            axes.plot(curve.x, curve.y, label=curve.label, color=colour, linewidth=1.6)
        _frame(axes, found.curves[0].x)
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        _headings(figure, title, subtitle)
        figure.legend(loc="lower center", bbox_to_anchor=(0.5, 0), ncols=len(found.curves), frameon=False)
        return _file(figure, kind)


def _headings(figure: Any, title: str, subtitle: str) -> None:
    figure.text(_MARGINS["left"], 0.955, title, fontsize=13, fontweight="bold", parse_math=False)
    figure.text(_MARGINS["left"], 0.915, subtitle, color="#555555", parse_math=False)


def _file(figure: Any, kind: str) -> bytes:
    buffer = BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def _frame(axes: Any, x: Array) -> None:
    axes.set_xlim(x[0], x[-1])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)


def _curve(axes: Any, panel: Panel) -> None:
    _frame(axes, panel.x)
    values = panel.exact
    if has_pole(values):
        values, (low, high) = without_pole(values)
        axes.set_ylim(low, high)
    axes.plot(panel.x, values, color="black", linewidth=1.4)
    axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set_title(TITLES[panel.order])
    axes.tick_params(labelbottom=False)


def _errors(axes: Any, panel: Panel, top: float) -> None:
    _frame(axes, panel.x)
    for name, style in STYLES.items():
        if name not in panel.errors:
            continue
        x, worst, wrong = summary(panel.x, panel.errors[name])
        axes.plot(x, np.clip(worst, FLOOR, top), label=name, drawstyle="steps-mid", **style)
        axes.plot(x[wrong], np.full(wrong.sum(), top), "x", color=style["color"], markersize=4)
    axes.axhline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR / 2, top * 3)
    powers = [10.0**power for power in range(1, int(np.log10(top)))]
    ticks = [FLOOR, 0.5, *powers[:: 1 if len(powers) < 6 else 2], top]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, top)))
    axes.tick_params(labelleft=panel.order == 0)
    axes.grid(axis="y", color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("x")


def _tick(value: float, top: float) -> str:
    if value == top:
        return "NaN, inf"
    if value == FLOOR:
        return "exact"
    return f"{value:g}" if value < 1e4 else f"$10^{{{round(np.log10(value))}}}$"
